"""What every request meets before its route: the door, and its deadline.

Plain ASGI, so that streamed answers are counted and bounded to their end.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

import holdfast as hf


class Deadlines:
    """ASGI middleware: each request gets the seconds that its X-Timeout names, and at most so many."""

    def __init__(self, app: ASGIApp, most: float = 30.0) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with hf.deadline(self.seconds(dict(scope["headers"]).get(b"x-timeout", b""))):
            await self.app(scope, receive, send)

    def seconds(self, text: bytes) -> float:
        try:
            asked = float(text)
        except ValueError:
            return self.most
        return min(asked, self.most) if 0 < asked < math.inf else self.most


class Door:
    """Counts the requests under way, and lets no more in once `draining` is set.

    A socket that is closed at once would do it too, but a client sees a refused connection then, and a load
    balancer that has not noticed yet makes an error of it. A 503 that says when is an answer.

    Args:
        outside: Paths that are always answered, and not waited for: health and metrics.
        come_back: The seconds that those who are turned away are told to wait.
    """

    def __init__(self, outside: Collection[str] = (), come_back: int = 5) -> None:
        self.outside, self.come_back = outside, come_back
        self.draining = False
        self.under_way = 0

    def middleware(self, app: ASGIApp) -> ASGIApp:
        async def through(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in self.outside:
                await app(scope, receive, send)
            elif self.draining:
                # Closed, so that a client's pool opens its next connection to another process.
                headers = {"Retry-After": str(self.come_back), "Connection": "close"}
                detail = {"detail": "not available now", "reason": "draining"}
                await JSONResponse(detail, 503, headers=headers)(scope, receive, send)
            else:
                self.under_way += 1
                try:
                    await app(scope, receive, send)
                finally:
                    self.under_way -= 1

        return through

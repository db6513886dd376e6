"""A local server with so many workers, a number that can be changed while it runs; and how it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE = 0.02
"""Seconds that a worker is busy with a request."""


class Busy(Exception):
    """The server said 429."""

    status_code = 429


class Server:
    """Serves over real sockets, on a loop in a thread of its own.

    Args:
        workers: How many requests it works on at once; assign to change it.
        queues: Does it let the others wait in line? Else it refuses them with a 429.
    """

    def __init__(self, workers: int, *, queues: bool = False) -> None:
        self.workers, self.queues = workers, queues
        self.served = self.refused = self._busy = 0
        self.port = 0
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._turn: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._turn = asyncio.get_running_loop(), asyncio.Condition()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._over.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if not self.queues and self._busy >= self.workers:
                self.refused += 1
                writer.write(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")
            else:
                await self._work(writer)
        writer.close()

    async def _work(self, writer: asyncio.StreamWriter) -> None:
        assert self._turn is not None
        async with self._turn:
            await self._turn.wait_for(lambda: self._busy < self.workers)
            self._busy += 1
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst\n")
        try:
            await asyncio.sleep(SERVICE)
        finally:
            async with self._turn:
                self._busy -= 1
                self._turn.notify_all()
        self.served += 1
        writer.write(b"last\n")

    async def ask(self) -> AsyncIterator[bytes]:
        """One request; the lines of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"POST / HTTP/1.1\r\n\r\n")
            if b"429" in await reader.readline():
                raise Busy
            await reader.readline()
            while line := await reader.readline():
                yield line
        finally:
            writer.close()

"""Where the coroutines of a manager run: its probes, its restarts, its listeners."""

from __future__ import annotations

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Home:
    """The loop that entered the manager by ``async with``, if one has and still runs."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None

    def enter(self) -> None:
        """The running loop has entered the manager."""
        import asyncio

        self._loop = asyncio.get_running_loop()

    def leave(self) -> None:
        """The loop has left it."""
        self._loop = None

    @property
    def loop(self) -> AbstractEventLoop | None:
        """The loop that is at home here, while it runs."""
        loop = self._loop
        return loop if loop is not None and loop.is_running() else None

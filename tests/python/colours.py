"""One way to write a test for all four colours of callables: functions, coroutines, generators, async generators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.testing import ManualClock

STEP = 0.25
"""Seconds of manual time between two looks at whether a call is over."""

Act = Callable[..., Any]


class Colour:
    """How a callable of one colour is made out of a plain ``act``, and how a call of it is carried to its end."""

    name = ""
    is_async = False
    is_stream = False
    door = ""
    """The method of pipelines and managers for this colour."""

    def __repr__(self) -> str:
        return self.name

    def make(self, act: Act) -> Callable[..., Any]:
        """A callable of this colour that does what ``act`` does; a stream gives the result as its only item."""
        raise NotImplementedError

    def run(self, call: Callable[..., Any], *args: Any, clock: ManualClock | None = None) -> Any:
        """The outcome of one call; under a manual clock, time goes on until it is there."""
        raise NotImplementedError


class Function(Colour):
    name, door = "function", "call"

    def make(self, act: Act) -> Callable[..., Any]:
        def target(*args: Any, **kwargs: Any) -> Any:
            return act(*args, **kwargs)

        return target

    def finish(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    def run(self, call: Callable[..., Any], *args: Any, clock: ManualClock | None = None) -> Any:
        if clock is None:
            return self.finish(call, *args)
        return in_thread(lambda: self.finish(call, *args), clock)


class Generator(Function):
    name, door, is_stream = "generator", "stream", True

    def make(self, act: Act) -> Callable[..., Any]:
        def target(*args: Any, **kwargs: Any) -> Iterator[Any]:
            yield act(*args, **kwargs)

        return target

    def finish(self, call: Callable[..., Any], *args: Any) -> Any:
        (item,) = call(*args)
        return item


class Coroutine(Colour):
    name, door, is_async = "coroutine", "acall", True

    def make(self, act: Act) -> Callable[..., Any]:
        async def target(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return act(*args, **kwargs)

        return target

    async def finish(self, call: Callable[..., Any], *args: Any) -> Any:
        return await call(*args)

    def run(self, call: Callable[..., Any], *args: Any, clock: ManualClock | None = None) -> Any:
        return asyncio.run(in_loop(self.finish(call, *args), clock))


class AsyncGenerator(Coroutine):
    name, door, is_stream = "async_generator", "astream", True

    def make(self, act: Act) -> Callable[..., Any]:
        async def target(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await asyncio.sleep(0)
            yield act(*args, **kwargs)

        return target

    async def finish(self, call: Callable[..., Any], *args: Any) -> Any:
        (item,) = [item async for item in call(*args)]
        return item


COLOURS = (Function(), Coroutine(), Generator(), AsyncGenerator())


async def in_loop(work: Awaitable[Any], clock: ManualClock | None) -> Any:
    """The outcome of ``work``, with time moving on until it is there."""
    if clock is None:
        return await work
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.aadvance(STEP)
    return await task


def in_thread(work: Callable[[], Any], clock: ManualClock | None = None) -> Any:
    """The outcome of ``work`` in a thread of its own, with time moving on until it is there."""
    thread = Worker(work)
    if clock is not None:
        while thread.is_alive():
            clock.advance(STEP)
            thread.join(0.001)
    return thread.outcome()


class Worker(threading.Thread):
    """A thread that keeps what came of its work; started at once."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self.work()
        except BaseException as error:
            self.error = error

    def outcome(self) -> Any:
        """Waits for the end; returns what the work returned, raises what it raised."""
        self.join(30)
        assert not self.is_alive(), "the work never ended"
        if self.error is not None:
            raise self.error
        return self.value

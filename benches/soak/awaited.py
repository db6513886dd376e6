"""The paths of coroutines and async generators, for `paths.py`.

What never waits is driven by hand, without a loop; what waits, a hundred at a time in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import holdfast as hf

BATCH = 100

argument, answer = object(), object()


async def fine(x: object, *, y: int = 0) -> object:
    """Answers at once."""
    return answer


async def fails(x: object) -> None:
    """Raises at once."""
    raise ValueError


async def waits(x: object) -> object:
    """Waits once."""
    await asyncio.sleep(0)
    return answer


async def hangs(x: object) -> None:
    """Waits until it is cancelled."""
    await asyncio.get_running_loop().create_future()


async def items(x: object) -> AsyncIterator[object]:
    """Gives ten."""
    for _ in range(10):
        yield answer


async def slow_items(x: object) -> AsyncIterator[object]:
    """Gives three, and waits before each."""
    for _ in range(3):
        await asyncio.sleep(0)
        yield answer


async def breaks(x: object) -> AsyncIterator[object]:
    """Gives two and raises."""
    yield answer
    yield answer
    raise ValueError


watched = [argument, answer, fine, fails, waits, hangs, items, slow_items, breaks]


def driven(step: Any) -> Any:
    """The answer of what never waits."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError


def read(stream: Any) -> int:
    """How many items it gives, none of which is waited for."""
    count = 0
    try:
        while True:
            driven(stream.__anext__())
            count += 1
    except StopAsyncIteration:
        return count


def refused(act: Callable[[], Any], kind: type[BaseException]) -> Callable[[], None]:
    """Makes a call that raises."""

    def run() -> None:
        try:
            act()
        except kind:
            return
        raise AssertionError

    return run


def in_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], Awaitable[object]]) -> Callable[[], None]:
    """Makes a batch of calls in a loop."""

    async def batch() -> None:
        for _ in range(BATCH):
            await act()

    return lambda: loop.run_until_complete(batch())


def paths(loop: asyncio.AbstractEventLoop) -> dict[str, tuple[Callable[[], object], int]]:
    """What is done once, and by how much less often than the cheapest."""
    patient = hf.CircuitBreaker(failure_threshold=None)
    shut = hf.CircuitBreaker()
    shut.force_open()
    clocked = hf.Pipeline(
        retry=hf.Retry(2, backoff=hf.constant(0)), breaker=patient, timeout=hf.Timeout(30, idle=10)
    )
    call, everything, stream = patient(fine), clocked(fine), patient(items)
    fail, refuse, no_stream = patient(fails), shut(fine), shut(items)
    wait, hang, drip, scoped, broken = (
        clocked(waits),
        clocked(hangs),
        clocked(slow_items),
        clocked(items),
        patient(breaks),
    )

    def closed_early() -> None:
        call(argument).close()

    def abandoned() -> None:
        driven(stream(argument).__anext__())

    def asked_every_way() -> None:
        made = stream(argument)
        driven(made.__anext__())
        driven(made.asend(argument))
        try:
            driven(made.athrow(ValueError))
        except ValueError:
            driven(made.aclose())

    async def cancelled() -> None:
        task = asyncio.ensure_future(hang(argument))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return

    async def dripped() -> None:
        async for _ in drip(argument):
            pass

    async def half_read() -> None:
        async for _ in stream(argument):
            break

    return {
        "await": (lambda: driven(call(argument)), 1),
        "await by name": (lambda: driven(call(x=argument, y=1)), 1),
        "await, retry, breaker, timeout": (lambda: driven(everything(argument)), 5),
        "await that fails": (refused(lambda: driven(fail(argument)), ValueError), 5),
        "await that is refused": (refused(lambda: driven(refuse(argument)), hf.CircuitOpen), 10),
        "await that waits, under a clock": (in_loop(loop, lambda: wait(argument)), 20 * BATCH),
        "await that is cancelled": (in_loop(loop, cancelled), 50 * BATCH),
        "coroutine closed before it began": (closed_early, 5),
        "async generator": (lambda: read(stream(argument)), 20),
        "async generator in a scope": (lambda: read(scoped(argument)), 20),
        "async generator that waits": (in_loop(loop, dripped), 50 * BATCH),
        "async generator that breaks": (refused(lambda: read(broken(argument)), ValueError), 20),
        "async generator that is refused": (refused(lambda: read(no_stream(argument)), hf.CircuitOpen), 20),
        "abandoned async generator": (abandoned, 20),
        "half-read in a loop": (in_loop(loop, half_read), 50 * BATCH),
        "asend, athrow, aclose": (asked_every_way, 20),
    }

"""The async rows: coroutines, async generators, timeouts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import peers
from paired import Row, aloop, share

import holdfast as hf

OLD = sys.version_info < (3, 12)
CHUNKS = 1000


async def g() -> None:
    """Never suspends."""


def rows() -> Iterator[Row]:
    """Each row of the async half of the table."""
    yield never_suspending()
    yield answering()
    yield suspending()
    yield deadline()
    yield chunks()


def never_suspending() -> Row:
    async def w(*a: Any, **k: Any) -> Any:
        return await g(*a, **k)

    variants = {
        "empty": aloop("pass"),
        "bare": aloop("await f()", f=g),
        "reference": aloop("await f()", f=w),
        "ours": aloop("await f()", f=hf.CircuitBreaker()(g)),
        **{name: aloop("await f()", f=guard(g)) for name, guard in peers.coroutine_guards().items()},
    }
    says = "of what an empty async wrapper adds"
    return Row("breaker on async def, never suspending", variants, share, says, 0.40 if OLD else 0.65)


def answering() -> Row:
    async def f(x: int) -> int:
        return x

    async def w(*a: Any, **k: Any) -> Any:
        return await f(*a, **k)

    variants = {
        "empty": aloop("pass"),
        "bare": aloop("await f(7)", f=f),
        "reference": aloop("await f(7)", f=w),
        "ours": aloop("await f(7)", f=hf.CircuitBreaker()(f)),
    }
    says = "of what an empty async wrapper adds"
    return Row("the same, with an argument and a value", variants, share, says, 0.40 if OLD else 0.65)


@__import__("types").coroutine
def pause() -> Any:
    """Suspends once, as `asyncio.sleep(0)` does."""
    yield


def suspending() -> Row:
    async def f() -> None:
        await pause()

    async def w(*a: Any, **k: Any) -> Any:
        return await f(*a, **k)

    variants = {
        "empty": aloop("pass"),
        "bare": aloop("await f()", f=f),
        "reference": aloop("await f()", f=w),
        "ours": aloop("await f()", f=hf.CircuitBreaker()(f)),
    }
    says = "of what an empty async wrapper adds"
    return Row("the same, suspending once", variants, share, says, 1.0)


def deadline() -> Row:
    ours = hf.Pipeline(retry=3, breaker=hf.CircuitBreaker(), timeout=5.0)(g)
    under = "async with timeout(5.0):\n await f()"
    variants = {
        "empty": aloop("pass"),
        "bare": aloop("await f()", f=g),
        "reference": aloop(under, f=g, timeout=asyncio.timeout),
        "ours": aloop("await f()", f=ours),
        **{name: aloop("await f()", f=guard(g)) for name, guard in peers.coroutine_retries().items()},
    }
    says = "of what asyncio.timeout alone adds"
    return Row("retry + breaker + total timeout on async def", variants, share, says, 0.15 if OLD else 0.25)


def chunks() -> Row:
    async def items() -> AsyncIterator[int]:
        for n in range(CHUNKS):
            yield n

    async def wrapper(*a: Any, **k: Any) -> AsyncIterator[int]:
        async for item in items(*a, **k):
            yield item

    consume = "async for _ in f():\n pass"
    variants = {
        "bare": aloop(consume, f=items),
        "reference": aloop(consume, f=wrapper),
        "ours": aloop(consume, f=hf.CircuitBreaker()(items)),
    }
    says = "of what an empty async-generator wrapper adds"
    return Row("async generator, per chunk", variants, share, says, 0.40 if OLD else 0.60, turns=CHUNKS)

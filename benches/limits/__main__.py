"""One job for every limiter: see README.md beside this file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

import hyx.bulkhead.api
import interlock
from aiolimiter import AsyncLimiter
from langchain_core.rate_limiters import InMemoryRateLimiter

import holdfast as hf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[[], Awaitable[None]]
    Guard = Callable[[Work], Work]

TASKS, LIMIT, LINE = 200, 8, 1000
ROUNDS, CALLS = 5, 2000
PERIOD, RATE, BURST = 0.5, 100, 10


def by_semaphore(limit: int) -> Guard:
    gate = asyncio.Semaphore(limit)

    def guard(work: Work) -> Work:
        async def guarded() -> None:
            async with gate:
                await work()

        return guarded

    return guard


CONCURRENCY: dict[str, Callable[[int], Any]] = {
    "holdfast": lambda limit: hf.Bulkhead(limit, max_queue=LINE),
    "hyx": lambda limit: hyx.bulkhead.api.bulkhead(max_concurrency=limit, max_capacity=LINE),
    "interlock-cb": lambda limit: interlock.Pipeline(interlock.BulkheadStrategy(limit, max_wait=30.0)),
    "asyncio.Semaphore": by_semaphore,
}


async def most_at_once(make: Callable[[int], Any]) -> int:
    now = most = 0

    async def work() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    guarded = make(LIMIT)(work)
    await asyncio.gather(*(guarded() for _ in range(TASKS)))
    return most


async def one_counter(name: str) -> str:
    """Is a place that a task holds refused to a thread?"""
    if name in ("hyx", "asyncio.Semaphore"):
        return "-"
    limit = hf.Bulkhead(1) if name == "holdfast" else interlock.Pipeline(interlock.BulkheadStrategy(1))
    inside, ran = asyncio.Event(), []

    async def hold() -> None:
        inside.set()
        await asyncio.sleep(0.2)

    def other() -> None:
        with contextlib.suppress(hf.BulkheadFull, interlock.BulkheadFullError):
            limit.call(lambda: ran.append(True))

    holder = asyncio.ensure_future(limit(hold)())
    await inside.wait()
    thread = Thread(target=other)
    thread.start()
    await asyncio.to_thread(thread.join)
    await holder
    return "no" if ran else "yes"


async def leaves(make: Callable[[int], Any]) -> str:
    go, served = asyncio.Event(), []

    async def hold() -> None:
        await go.wait()

    async def note() -> None:
        served.append(True)

    limit = make(1)
    holder = asyncio.ensure_future(limit(hold)())
    await asyncio.sleep(0.01)
    doomed, heir = (asyncio.ensure_future(limit(note)()) for _ in range(2))
    await asyncio.sleep(0.01)
    doomed.cancel()
    await asyncio.sleep(0.01)
    go.set()
    await asyncio.wait({holder, heir}, timeout=2.0)
    again = asyncio.ensure_future(limit(note)())
    await asyncio.wait({again}, timeout=2.0)
    return "yes" if len(served) == 2 else "no"


async def nothing() -> None:
    pass


async def pace(call: Work) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            await call()
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e9


async def passed(call: Work) -> int:
    end, count = time.monotonic() + PERIOD, 0

    async def worker() -> None:
        nonlocal count
        while time.monotonic() < end:
            await call()
            count += time.monotonic() < end

    tasks = [asyncio.ensure_future(worker()) for _ in range(20)]
    await asyncio.wait(tasks, timeout=PERIOD + 5)
    for task in tasks:
        task.cancel()
    return count


def rates() -> dict[str, Work]:
    tight = AsyncLimiter(BURST, BURST / RATE)
    bucket = InMemoryRateLimiter(requests_per_second=RATE, check_every_n_seconds=0.001, max_bucket_size=BURST)

    async def aiolimiter() -> None:
        async with tight:
            pass

    async def langchain() -> None:
        await bucket.aacquire()

    limit = hf.RateLimit(RATE, per=1.0, burst=BURST)
    return {
        "holdfast": hf.Pipeline(rate_limit=limit, timeout=30.0)(nothing),
        "aiolimiter": aiolimiter,
        "InMemoryRateLimiter": langchain,
    }


async def main() -> None:
    bare = await pace(nothing)
    print(f"{'':20}{'most at once':>14}{'sync + async':>14}{'leaves':>8}{'overhead':>12}")
    for name, make in CONCURRENCY.items():
        most, shared, left = await most_at_once(make), await one_counter(name), await leaves(make)
        over = await pace(make(LIMIT)(nothing)) - bare
        print(f"{name:20}{most:>14}{shared:>14}{left:>8}{over:>9.0f} ns")
    print(f"\n{'':20}{'passed':>14}  of {PERIOD * RATE + BURST:.0f}")
    for name, call in rates().items():
        print(f"{name:20}{await passed(call):>14}")


if __name__ == "__main__":
    asyncio.run(main())

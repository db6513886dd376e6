"""Random paths of guarded calls, from threads and tasks at once: at the end nothing may be in use (L1, L2).

``make soak`` runs a million of them; the test suite runs a few thousand (`test_limits.py`). One path is one guarded
call under a bulkhead with a short line, a rate limit and a breaker that it shares with all the others, and one way
for it to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import holdfast as hf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EXPECTED = (hf.Rejected, OSError, asyncio.CancelledError, GeneratorExit)


class World:
    """What all paths share."""

    def __init__(self) -> None:
        self.bulkhead = hf.Bulkhead(6, max_queue=16)
        self.rate = hf.RateLimit(200_000, per=1.0, burst=2000)
        self.breaker = hf.CircuitBreaker(failure_threshold=20, open_timeout=0.001, success_threshold=1)
        self.guard = hf.Pipeline(
            bulkhead=self.bulkhead,
            rate_limit=self.rate,
            breaker=self.breaker,
            retry=hf.Retry(2, backoff=hf.constant(0)),
            timeout=30.0,
        )
        self.paths = 0
        self.function = self.guard(work)
        self.coroutine = self.guard(awork)
        self.generator = self.guard(numbers)
        self.async_generator = self.guard(anumbers)

    def left(self) -> tuple[int, int, int, int]:
        """In use, in line, waiting for the rate, in flight: all must be 0."""
        return (
            self.bulkhead.in_use,
            self.bulkhead.queued,
            self.rate.metrics.queued,
            self.breaker.metrics.in_flight,
        )


def work(fails: bool) -> int:
    if fails:
        raise ConnectionError
    return 1


async def awork(fails: bool, turns: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return work(fails)


def numbers(fails: bool) -> Iterator[int]:
    yield 1
    yield work(fails)


async def anumbers(fails: bool) -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    yield work(fails)


def sync_path(world: World, dice: random.Random) -> None:
    """One path of a thread."""
    fails = dice.random() < 0.2
    with contextlib.suppress(*EXPECTED):
        match dice.randrange(5):
            case 0:
                world.function(fails)
            case 1:
                list(world.generator(fails))
            case 2:
                world.generator(fails)  # never begun
            case 3:
                next(world.generator(fails))  # begun, and forgotten
            case _:
                stream: Any = world.generator(fails)
                next(stream)
                stream.close()


async def async_path(world: World, dice: random.Random) -> None:
    """One path of a task."""
    fails, turns = dice.random() < 0.2, dice.randrange(3)
    match dice.randrange(7):
        case 0:
            await world.coroutine(fails, turns)
        case 1 | 2:  # cancelled after a few turns: before admission, in line, or in the call
            task = asyncio.ensure_future(world.coroutine(fails, turns))
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
            task.cancel()
            await task
        case 3:
            async for _ in world.async_generator(fails):
                pass
        case 4:
            world.async_generator(fails)  # never begun
        case 5:
            await anext(world.async_generator(fails))  # begun, and forgotten
        case _:
            stream: Any = world.async_generator(fails)
            await anext(stream)
            await asyncio.create_task(close(stream))  # closed elsewhere


async def close(stream: Any) -> None:
    await stream.aclose()


def thread(world: World, paths: int, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(paths):
        sync_path(world, dice)


def loop(world: World, paths: int, seed: int, together: int = 12) -> None:
    """A loop of its own, with several tasks at once."""

    async def one(paths: int, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(paths):
            with contextlib.suppress(*EXPECTED):
                await async_path(world, dice)

    async def main() -> None:
        await asyncio.gather(*(one(paths // together, seed * 1000 + n) for n in range(together)))

    asyncio.run(main())


def run(paths: int, seed: int) -> World:
    """Walks about so many paths, half of them in threads and half in loops, and waits for all."""
    world = World()
    share = paths // 6
    threads = [
        threading.Thread(target=thread if n % 2 else loop, args=(world, share, seed + n)) for n in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    gc.collect()
    return world


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    end = run(wanted, chosen)
    counts = end.breaker.metrics
    told = f"{wanted} paths, seed {chosen}: left over {end.left()}; {counts}; {end.bulkhead.metrics}"
    sys.stdout.write(f"{told}\n")
    sys.exit(end.left() != (0, 0, 0, 0))

"""A batch job against a local server whose capacity changes under way: does the limit follow?

Three servers in turn: with 20 workers, then 6, then 30, four seconds each, 20 ms a request. One refuses what is too
much with a 429; the other lets it wait, and only the time to the first line of an answer tells. The same job under
fixed limits shows what a wrong number costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from statistics import mean
from typing import TYPE_CHECKING, Any

from server import SERVICE, Busy, Server

import holdfast as hf

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES = (20, 6, 30)
SECONDS = 4.0
TASKS = 200
"""So much of the job is always ready to be sent."""


async def job(server: Server, guard: Callable[[Any], Any], end: float) -> None:
    stream = guard(server.ask)

    async def worker() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(Busy):
                async for _ in stream():
                    pass

    await asyncio.gather(*(worker() for _ in range(TASKS)))


async def watched(server: Server, limit: Any, began: float) -> list[tuple[int, float, float, int]]:
    """Per phase: workers, the mean limit in its second half, requests served per second there, refusals."""
    rows = []
    for number, workers in enumerate(PHASES):
        server.workers = workers
        await asyncio.sleep(began + (number + 0.5) * SECONDS - time.monotonic())
        served, refused, seen = server.served, server.refused, []
        while (left := began + (number + 1) * SECONDS - time.monotonic()) > 0:
            seen.append(limit.limit)
            await asyncio.sleep(min(0.05, left))
        pace = (server.served - served) / (SECONDS / 2)
        rows.append((workers, mean(seen), pace, server.refused - refused))
    return rows


async def main() -> None:
    for queues in (False, True):
        print(f"\n{'a server that lets them wait' if queues else 'a server that refuses (429)':32}", end="")
        print("".join(f"{f'{workers} workers':>30}" for workers in PHASES))
        limits = {
            "AdaptiveLimit(8)": hf.AdaptiveLimit(8, maximum=64, max_queue=TASKS),
            "Bulkhead(64)": hf.Bulkhead(64, max_queue=TASKS),
            "Bulkhead(6)": hf.Bulkhead(6, max_queue=TASKS),
        }
        for name, limit in limits.items():
            with Server(PHASES[0], queues=queues) as server:
                began = time.monotonic()
                working = asyncio.ensure_future(job(server, limit, began + len(PHASES) * SECONDS))
                rows = await watched(server, limit, began)
                await working
            print(f"{name:32}", end="")
            for workers, at, pace, refused in rows:
                share = pace / (workers / SERVICE)
                print(f"{f'limit {at:.1f}, {share:.0%}, {refused} refused':>30}", end="")
            print()
    sys.stdout.write(
        "\nPer cent: of what so many workers can serve. Refusals: in the second half of each phase.\n"
    )


if __name__ == "__main__":
    asyncio.run(main())

"""Threads on one breaker, from Python: how many guarded calls per second all of them make together.

Run with ``make report`` (or by hand, ``--json FILE`` for the figures as data). The function returns at once, so that
what is left is the guard and, on interpreters that have one, the GIL, under which more threads cannot make more calls:
what is to be seen there is whether they make fewer. Libraries take turns within each round; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import peers

import holdfast as hf

THREADS = (1, 2, 4, 8)
ROUNDS = 7
CALLS = 40_000
"""Calls of one round of the fastest; a library that takes longer makes fewer, all threads together."""
SECONDS = 0.05


def nothing() -> None:
    """What is guarded."""


def guarded() -> dict[str, Callable[[], Any]]:
    """One guarded function per library, which all threads share."""
    ours: dict[str, Callable[[], Any]] = {
        "bare": nothing,
        "holdfast": hf.CircuitBreaker(failure_threshold=peers.NEVER)(nothing),
    }
    return ours | {name: guard(nothing) for name, guard in peers.function_guards().items()}


def rate(call: Callable[[], Any], threads: int, calls: int) -> float:
    """Calls per second of all threads together."""
    together = threading.Barrier(threads + 1)
    share = max(1, calls // threads)

    def work() -> None:
        together.wait()
        for _ in repeat(None, share):
            call()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    together.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return share * threads / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    calls = guarded()
    counts = {name: min(CALLS, max(200, int(rate(call, 1, 2000) * SECONDS))) for name, call in calls.items()}
    samples: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for threads in THREADS:
            for name, call in calls.items():
                samples.setdefault((name, threads), []).append(rate(call, threads, counts[name]))
    told = [
        {"library": name, "threads": threads, "per_second": statistics.median(values)}
        for (name, threads), values in samples.items()
    ]
    print(f"CPython {platform.python_version()}: calls per second, in thousands, over so many threads")
    print(f"{'':16}", *(f"{threads:>9}" for threads in THREADS))
    for name in calls:
        row = [statistics.median(samples[name, threads]) / 1e3 for threads in THREADS]
        print(f"{name:16}", *(f"{figure:9.0f}" for figure in row))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        data = {"python": platform.python_version(), "gil": gil, "rows": told}
        options.json.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

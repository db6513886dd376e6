"""What a guard adds to a plain call, a method call, a generator, a failure and a rejection.

Every round times every row once, in an order that moves on by one each round, so that a busy neighbour disturbs
all of them alike; the empty loop is taken off, and a figure is the median of the rounds. A budget is judged by
what two rows of the same round say of each other, never by nanoseconds of different runs. On a machine that is
busy with other things only those ratios mean anything.

Run with ``make bench``; fails if a budget is missed. ``ROUNDS=7 CALLS=2000`` is a quick look.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import holdfast as hf

ROUNDS = int(os.environ.get("ROUNDS", "61"))
CALLS = int(os.environ.get("CALLS", "20000"))
CHUNKS = 1000
OLD = sys.version_info < (3, 12)
"""CPython 3.12 and later inline the frame of a bare call, so what stands in between costs more there."""

Rounds = dict[str, list[float]]


def f() -> None:
    """Does nothing."""


def f2(a: int, x: int = 0) -> None:
    """Does nothing with arguments."""


def fail() -> None:
    """Raises."""
    raise ValueError


def stream() -> Iterator[int]:
    """Gives chunks."""
    yield from range(CHUNKS)


def refuse() -> None:
    """Raises as a breaker written in Python would: an exception with the same three facts."""
    raise Refused("the circuit is open", 29.9)


class Refused(Exception):
    """What `refuse` raises."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Holder:
    """A method, bare and guarded."""

    def bare(self) -> None:
        """Does nothing."""

    guarded = hf.CircuitBreaker()(bare)


def wrapper(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The pure-Python wrapper that does nothing."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return call


def opened() -> Any:
    """A guard whose breaker is open for long."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=3600.0)
    guarded = breaker(fail)
    try:
        guarded()
    except ValueError:
        return guarded
    raise AssertionError


CATCH = "try:\n f()\nexcept E:\n pass"


def rows() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name, statement, and the names in it."""
    breaker = hf.CircuitBreaker
    rates: dict[str, Any] = {"failure_rate": 0.5, "window": hf.CountWindow(100)}
    timed: dict[str, Any] = {"failure_rate": 0.5, "slow_call": 5.0, "slow_call_rate": 0.5}
    patient = breaker(failure_threshold=10**9)
    everything = hf.Pipeline(retry=3, breaker=breaker(), timeout=30)
    return {
        "empty": ("pass", {}),
        "f()": ("f()", {"f": f}),
        "f() partial": ("f()", {"f": functools.partial(f)}),
        "f() guarded": ("f()", {"f": breaker()(f)}),
        "f() python wrapper": ("f()", {"f": wrapper(f)}),
        "f() count window": ("f()", {"f": breaker(**rates)(f)}),
        "f() time window": ("f()", {"f": breaker(failure_rate=0.5)(f)}),
        "f() time window, slow calls": ("f()", {"f": breaker(**timed)(f)}),
        "f() retry, breaker, timeout": ("f()", {"f": everything(f)}),
        "f(1, x=2)": ("f(1, x=2)", {"f": f2}),
        "f(1, x=2) partial": ("f(1, x=2)", {"f": functools.partial(f2)}),
        "f(1, x=2) guarded": ("f(1, x=2)", {"f": breaker()(f2)}),
        "o.m()": ("o.bare()", {"o": Holder()}),
        "o.m() guarded": ("o.guarded()", {"o": Holder()}),
        "raise, catch": (CATCH, {"f": fail, "E": ValueError}),
        "raise, catch guarded": (CATCH, {"f": patient(fail), "E": ValueError}),
        "refuse in python, catch": (CATCH, {"f": refuse, "E": Refused}),
        "rejection, catch": (CATCH, {"f": opened(), "E": hf.CircuitOpen}),
        "chunk": ("for _ in f(): pass", {"f": stream}),
        "chunk guarded": ("for _ in f(): pass", {"f": breaker()(stream)}),
    }


def measure() -> Rounds:
    """Nanoseconds per call (per chunk of a stream) of each row in each round, without the empty loop."""
    table = rows()
    timers = {name: timeit.Timer(statement, globals=names) for name, (statement, names) in table.items()}
    counts = {name: max(CALLS // CHUNKS, 1) if name.startswith("chunk") else CALLS for name in table}
    names = list(table)
    taken: Rounds = {name: [] for name in names}
    for turn in range(ROUNDS):
        at = turn % len(names)
        now = {
            name: timers[name].timeit(counts[name]) / counts[name] * 1e9 for name in names[at:] + names[:at]
        }
        for name in names:
            taken[name].append(
                now[name] / CHUNKS
                if name.startswith("chunk")
                else now[name] - now["empty"] * (name != "empty")
            )
    return taken


def judge(taken: Rounds) -> list[tuple[str, float, float, str]]:
    """What is promised: name, figure, the most it may be, unit."""

    def times(row: str, base: str) -> float:
        return statistics.median(a / b for a, b in zip(taken[row], taken[base], strict=True))

    def adds(row: str, base: str) -> float:
        return statistics.median(a - b for a, b in zip(taken[row], taken[base], strict=True))

    return [
        ("breaker on f() ÷ partial", times("f() guarded", "f() partial"), 1.15, "times"),
        ("breaker on f(1, x=2) ÷ partial", times("f(1, x=2) guarded", "f(1, x=2) partial"), 1.10, "times"),
        ("breaker on o.m() adds", adds("o.m() guarded", "o.m()"), 14.0 if OLD else 22.0, "ns"),
        ("time window adds", adds("f() time window", "f() guarded"), 25.0, "ns"),
        (
            "time window and slow-call rule add",
            adds("f() time window, slow calls", "f() guarded"),
            25.0,
            "ns",
        ),
        ("a failing call adds", adds("raise, catch guarded", "raise, catch"), 60.0, "ns"),
        ("rejection ÷ raise in Python", times("rejection, catch", "refuse in python, catch"), 1.0, "times"),
        ("rejection ÷ raise of a bare ValueError", times("rejection, catch", "raise, catch"), 1.0, "times"),
        ("generator, per chunk, adds", adds("chunk guarded", "chunk"), 6.0 if OLD else 12.0, "ns"),
    ]


def main() -> int:
    taken = measure()
    print(f"CPython {sys.version.split()[0]}, {ROUNDS} rounds of {CALLS} calls, medians")
    for name, values in taken.items():
        print(f"  {name:<30} {statistics.median(values):9.1f} ns")
    missed = 0
    for name, figure, most, unit in judge(taken):
        fine = figure <= most
        missed += not fine
        print(f"{'✓' if fine else '✗'} {name:<40} {figure:8.2f} {unit} (at most {most:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

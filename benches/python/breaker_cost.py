"""What a breaker costs: its memory, and reading its state.

Memory is the growth of the process' resident set over many breakers, divided by their number: the Python
object, the native block, its name, allocator overhead and all. ``tracemalloc`` and ``sys.getsizeof`` see only
Python's part of it, and are printed to show how much that is. Each measure runs in an interpreter of its own.

The state is read in a loop, paired with reads of an attribute of a slotted Python object, alternating; each
figure is the median of the rounds, the loop's own cost included in both.

Run with ``make bench``; fails if a limit is missed.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import timeit
import tracemalloc
from pathlib import Path

import holdfast

BREAKERS = 100_000
ROUNDS = 101
READS = 20_000
MOST_BYTES = 640
MOST_TIMES_AN_ATTRIBUTE = 3.0


def resident() -> int:
    """Bytes of this process in memory now."""
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def weigh(named: bool) -> None:
    """Prints the bytes per breaker."""
    kept: list[object] = [None] * BREAKERS
    names = [f"breaker-{n}" if named else None for n in range(BREAKERS)]
    warm = [holdfast.CircuitBreaker("warm") for _ in range(1000)]
    del warm
    gc.collect()
    before = resident()
    for n, name in enumerate(names):
        kept[n] = holdfast.CircuitBreaker(name)
    print((resident() - before) / BREAKERS)


def weigh_apart(named: bool) -> float:
    """The same in a fresh interpreter."""
    command = [sys.executable, "-P", __file__, "weigh", "named" if named else "unnamed"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


def python_part() -> float:
    """Bytes per breaker as Python's own allocator sees them."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [holdfast.CircuitBreaker() for _ in range(1000)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before - sys.getsizeof(kept)) / len(kept)


class Slotted:
    """What an attribute read is measured on."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = "closed"


def reads() -> tuple[float, float]:
    """Nanoseconds of one read: of the breaker's state, and of a slotted attribute."""
    timers = [
        timeit.Timer("it.state", globals={"it": thing}) for thing in (holdfast.CircuitBreaker(), Slotted())
    ]
    rounds = [[timer.timeit(READS) / READS * 1e9 for timer in timers] for _ in range(ROUNDS)]
    return statistics.median(row[0] for row in rounds), statistics.median(row[1] for row in rounds)


def main() -> int:
    state, attribute = reads()
    times = state / attribute
    print(f"breaker.state: {state:.1f} ns, a slotted attribute {attribute:.1f} ns:", end=" ")
    print(f"{times:.2f} times (at most {MOST_TIMES_AN_ATTRIBUTE:g})")
    fine = times <= MOST_TIMES_AN_ATTRIBUTE
    if Path("/proc/self/status").exists():
        bytes_each, named = weigh_apart(named=False), weigh_apart(named=True)
        size = sys.getsizeof(holdfast.CircuitBreaker())
        print(
            f"a breaker with default rules: {bytes_each:.0f} bytes resident (at most {MOST_BYTES});", end=" "
        )
        print(f"of these Python sees {python_part():.0f}, its object {size};", end=" ")
        print(f"with a name, and listed by it: {named:.0f}")
        fine = fine and bytes_each <= MOST_BYTES
    else:
        print("memory: not measured, there is no /proc here")
    return 0 if fine else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["weigh"]:
        weigh(sys.argv[2] == "named")
    else:
        sys.exit(main())

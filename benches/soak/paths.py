"""Ten million calls on every path of every colour: references and memory stay where they were.

``python benches/soak/paths.py [calls] [--only=text]``; part of ``make soak``. Prints what each path left behind,
and fails if any left something: live allocated blocks beyond a few of the interpreter's own, reference counts of
whatever went in, or resident memory beyond a megabyte.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awaited

import holdfast as hf
from holdfast import _native

MOST_BLOCKS = 200
MOST_BYTES = 1_000_000


def resident() -> int:
    """Bytes of this process in memory now; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * 4096


argument, answer = object(), object()


def fine(x: object, *, y: int = 0) -> object:
    """Answers."""
    return answer


def fails(x: object) -> None:
    """Raises."""
    raise ValueError


def carries(x: object) -> None:
    """Raises what has to be looked at."""
    error = ValueError()
    error.status_code = 503  # type: ignore[attr-defined]
    raise error


def items(x: object) -> Iterator[object]:
    """Gives ten."""
    for _ in range(10):
        yield answer


def breaks(x: object) -> Iterator[object]:
    """Gives one and raises."""
    yield answer
    raise ValueError


class Holder:
    """A method."""

    @hf.CircuitBreaker()
    def method(self, x: object) -> object:
        """Answers."""
        return answer


def caught(act: Callable[[Any], Any], kind: type[Exception]) -> Callable[[], None]:
    """Makes a call that raises."""

    def run() -> None:
        try:
            act(argument)
        except kind:
            return
        raise AssertionError

    return run


def with_argument(act: Callable[[Any], Any]) -> Callable[[], Any]:
    """Makes a call."""
    return lambda: act(argument)


def paths() -> dict[str, tuple[Callable[[], object], int]]:
    """What is done once, and by how much less often than the cheapest."""
    patient = hf.CircuitBreaker(failure_threshold=None)
    timed = hf.CircuitBreaker(failure_rate=1.0, slow_call=5.0, slow_call_rate=1.0)
    counted = hf.CircuitBreaker(failure_rate=1.0, window=hf.CountWindow(100))
    shut = hf.CircuitBreaker()
    shut.force_open()
    everything = hf.Pipeline(
        retry=hf.Retry(2, backoff=hf.constant(0)), breaker=hf.CircuitBreaker(), timeout=30
    )
    limited = hf.Pipeline(
        retry=hf.Retry(2, backoff=None, budget=None),
        breaker=hf.CircuitBreaker(failure_threshold=None),
        bulkhead=hf.Bulkhead(4),
        rate_limit=hf.RateLimit(10**9),
    )
    call, holder, stream = patient(fine), Holder(), patient(items)
    refused, broken = shut(fine), patient(breaks)

    def abandoned() -> None:
        next(stream(argument))

    def sent() -> None:
        open_stream = stream(argument)
        next(open_stream)
        open_stream.send(None)
        open_stream.close()

    return {
        "call": (lambda: call(argument), 1),
        "call by name": (lambda: call(x=argument, y=1), 1),
        "method": (lambda: holder.method(argument), 1),
        "count window": (with_argument(counted(fine)), 1),
        "time window, slow calls": (with_argument(timed(fine)), 1),
        "failure": (caught(patient(fails), ValueError), 1),
        "failure that is looked at": (caught(patient(carries), ValueError), 50),
        "rejection": (caught(shut(fine), hf.CircuitOpen), 1),
        "rejection that is read": (with_argument(lambda x: str(error_of(refused))), 5),
        "generator": (lambda: sum(1 for _ in stream(argument)), 20),
        "abandoned generator": (abandoned, 20),
        "generator that is sent to": (sent, 20),
        "generator that breaks": (caught(lambda x: list(broken(x)), ValueError), 20),
        "retry, breaker, timeout": (with_argument(everything(fine)), 5),
        "limits": (with_argument(limited(fine)), 5),
        "limits, and a failure": (caught(limited(fails), ValueError), 100),
        "new guard": (lambda: patient(fine)(argument), 50),
    }


def error_of(act: Callable[[Any], Any]) -> BaseException:
    """What a call raises."""
    try:
        act(argument)
    except hf.CircuitOpen as error:
        return error
    raise AssertionError


def main() -> int:
    """Walks the paths that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--only", default="", help="the paths whose names hold this")
    options = parser.parse_args()
    with asyncio.Runner() as runner:
        ways = {**paths(), **awaited.paths(runner.get_loop())}
        # The log of the breaker that was forced open loads modules, on a thread of its own.
        _native.flush_events(10.0)
        clean = [
            walk(name, act, options.calls // rarer)
            for name, (act, rarer) in ways.items()
            if options.only in name
        ]
    return 0 if all(clean) else 1


def walk(name: str, act: Callable[[], object], calls: int) -> bool:
    """Does it so often; whether everything is as it was."""
    watched = [argument, answer, fine, fails, items, hf.CircuitOpen, ValueError, *awaited.watched]
    for _ in range(min(calls, 20_000)):
        act()
    gc.collect()
    before = [sys.getrefcount(thing) for thing in watched]
    blocks, memory = sys.getallocatedblocks(), resident()
    for _ in range(calls):
        act()
    gc.collect()
    grown, bytes_more = sys.getallocatedblocks() - blocks, resident() - memory
    moved = [now - then for now, then in zip(map(sys.getrefcount, watched), before, strict=True)]
    # The loop's own few: a reference more or less is no leak over many calls.
    fine_now = grown < MOST_BLOCKS and bytes_more < MOST_BYTES and all(abs(by) < 10 for by in moved)
    mark = "✓" if fine_now else "✗"
    most = max(moved, key=abs)
    print(
        f"{mark} {name:<34} {calls:>10} times: {grown:+} blocks, {bytes_more:+} bytes, references {most:+}",
        flush=True,
    )
    return fine_now


if __name__ == "__main__":
    sys.exit(main())

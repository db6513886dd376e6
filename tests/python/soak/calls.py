"""Calls over many nodes while nodes die, stall, flap, join, drain and leave; seeded.

What must hold: every call ends in exactly one outcome, nothing is in flight at the end, memory is flat, and no
event of a source is lost or out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import holdfast as hf
from holdfast import _native

THREADS = 8
TASKS = 8
OUTAGE = [
    "node_marked_failed",
    "failover_started",
    "failover_completed",
    "recovery_started",
    "recovery_completed",
]


@dataclass
class World:
    """What each node does when it is called or asked."""

    seed: int
    names: list[str]
    mood: dict[str, str] = field(default_factory=dict)
    deeds: Counter[str] = field(default_factory=Counter)

    def answer(self, node: hf.Node) -> str:
        match self.mood.get(node.name, "well"):
            case "dead":
                raise ConnectionError(node.name)
            case "stalled":
                time.sleep(0.002)
                raise TimeoutError(node.name)
            case _:
                return node.name

    async def aanswer(self, node: hf.Node) -> str:
        match self.mood.get(node.name, "well"):
            case "dead":
                raise ConnectionError(node.name)
            case "stalled":
                await asyncio.sleep(0.002)
                raise TimeoutError(node.name)
            case _:
                return node.name

    def probe(self, node: hf.Node) -> bool:
        return self.mood.get(node.name, "well") == "well"

    def disturb(self, manager: hf.FailoverManager, stop: threading.Event) -> None:
        """Does something to somebody every few milliseconds, by the seed."""
        dice, number = random.Random(self.seed), len(self.names)
        while not stop.wait(0.001):
            deed = dice.choice(["kill", "stall", "heal", "heal", "flap", "join", "leave", "drain"])
            name = dice.choice(self.names)
            self.deeds[deed] += 1
            match deed:
                case "kill" | "stall":
                    self.mood[name] = "dead" if deed == "kill" else "stalled"
                case "heal":
                    self.mood[name] = "well"
                case "flap":
                    manager.report(name, ok=False, reason="flap")
                    manager.report(name, ok=True)
                case "join":
                    number += 1
                    manager.add_node(hf.Node(f"n{number}", print))
                    self.names.append(f"n{number}")
                case "leave" if len(self.names) > 40:
                    self.names.remove(name)
                    manager.remove_node(name)
                case "drain":
                    manager.drain(name)
                    manager.enable(name)
                case _:
                    continue


@dataclass
class Report:
    """What came of it."""

    calls: int
    outcomes: Counter[str]
    counted: int
    in_flight: int
    grown: float
    told: list[Any]
    deeds: Counter[str]
    seconds: float
    rate: float = 0.0

    def complaints(self) -> list[str]:
        """Everything that does not hold."""
        found = []
        if self.outcomes.total() != self.calls or self.counted != self.calls:
            found.append(f"{self.calls} calls, {self.outcomes.total()} outcomes, {self.counted} counted")
        if self.in_flight:
            found.append(f"{self.in_flight} in flight at the end")
        if self.grown > 64.0:
            found.append(f"memory has grown by {self.grown:.0f} MB in the second half")
        return found + complaints_about(self.told)


def complaints_about(told: list[Any]) -> list[str]:
    """Lost and reordered events."""
    numbers = [event.seq for event in told]
    found = []
    if numbers != sorted(numbers):
        found.append("events out of order")
    if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
        found.append(f"{numbers[-1] - numbers[0] + 1 - len(numbers)} events lost")
    stage: dict[str, int] = {}
    for event in told:
        if event.kind == "node_removed":
            stage.pop(event.node, None)
        if event.kind not in OUTAGE:
            continue
        place, due = OUTAGE.index(event.kind), stage.get(event.node, 0)
        if place != due:
            found.append(f"{event.node}: {event.kind} came where {OUTAGE[due]} was due")
        stage[event.node] = (place + 1) % len(OUTAGE)
    return found[:10]


def soak(calls: int, *, nodes: int = 50, seed: int = 1) -> Report:
    """Runs `calls` calls, half of them from threads and half from an event loop."""
    world = World(seed, [f"n{n}" for n in range(1, nodes + 1)])
    manager = hf.FailoverManager(
        [hf.Node(name, print) for name in world.names],
        heartbeat=hf.Heartbeat(
            0.25, failure_threshold=2, recovery_threshold=1, timeout=5.0, probe=world.probe
        ),
        breaker=hf.CircuitBreaker(failure_threshold=3, success_threshold=1, open_timeout=0.05),
        exhausted="fail_fast",
    )
    ask, aask = manager(world.answer), manager(world.aanswer)
    outcomes: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()
    memory: list[float] = []
    told: list[Any] = []
    # Of the kinds that are always made, so that a gap in their numbers is a loss.
    unsubscribe = hf.subscribe(told.append, kinds=_native.STATE_CHANGES)

    def work(share: int) -> None:
        mine: Counter[str] = Counter()
        for n in range(share):
            try:
                ask()
                mine["answered"] += 1
            except Exception as error:
                mine[type(error).__name__] += 1
            if n == share // 2:
                memory.append(rss())
        with lock:
            outcomes.update(mine)

    async def acall_all(share: int) -> None:
        async def one(times: int) -> Counter[str]:
            mine: Counter[str] = Counter()
            for n in range(times):
                try:
                    await aask()
                    mine["answered"] += 1
                except Exception as error:
                    mine[type(error).__name__] += 1
                if n % 64 == 0:
                    await asyncio.sleep(0)
            return mine

        for mine in await asyncio.gather(*(one(part) for part in parts(share, TASKS))):
            with lock:
                outcomes.update(mine)

    began, patient = time.monotonic(), sys.getswitchinterval()
    # Threads take turns ten times as often as usual: more of what may go wrong between two of them does.
    sys.setswitchinterval(0.0005)
    disturber = threading.Thread(target=world.disturb, args=(manager, stop))
    threads = [threading.Thread(target=work, args=(part,)) for part in parts(calls // 2, THREADS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(acall_all(calls - calls // 2))))
    with manager:
        for thread in (disturber, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        disturber.join()
    sys.setswitchinterval(patient)
    _native.flush_events(30.0)
    unsubscribe()
    metrics, seconds = manager.metrics, time.monotonic() - began
    grown = rss() - max(memory)
    return Report(
        calls, outcomes, metrics.calls, metrics.in_flight, grown, told, world.deeds, seconds, calls / seconds
    )


def parts(whole: int, count: int) -> list[int]:
    """`whole` in `count` parts that differ by one at most."""
    return [whole // count + (n < whole % count) for n in range(count)]


def rss() -> float:
    """The greatest memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import logging

    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    report = soak(options.calls, nodes=options.nodes, seed=options.seed)
    sys.stdout.write(
        f"seed {options.seed}: {report.calls} calls in {report.seconds:.0f} s ({report.rate:.0f}/s), "
        f"{dict(report.outcomes)}, {len(report.told)} events, {report.grown:+.1f} MB, {dict(report.deeds)}\n"
    )
    for complaint in report.complaints():
        sys.stdout.write(f"  BROKEN: {complaint}\n")
    return 1 if report.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())

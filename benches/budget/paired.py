"""Measuring in pairs: every variant of a row once per round, in rotating order, so that what slows the machine
down slows all of them.

A variant is a function of a number of turns that answers how many seconds they took, its own loop included; a row
has an empty loop of the same kind, which is taken off. Figures are medians over the rounds, and what a budget is
held against is the median of the rounds' own ratios (or differences), never a ratio of medians. Time is the
thread's own on the processor: what other processes take in between is not counted, what they do to caches is.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import repeat
from typing import Any

Run = Callable[[int], float]
Measure = Callable[[Mapping[str, float]], float]

SLICE = 0.002
"""Seconds that one variant runs at a time: short, so that the variants of a round meet the same machine."""


class Row:
    """One line of the table: its variants, and how ours is held against the others.

    Args:
        name: What is measured.
        variants: By name; ``"empty"`` is taken off all others, ``"bare"`` is the call without any guard, ``"ours"``
            is ours, ``"reference"`` what it is held against. Others are peers.
        measure: From the nanoseconds of one round's variants to the figure that the budget limits.
        says: How the figure is to be read, such as ``"of partial(f)()"``.
        limit: The most that the figure may be.
        turns: Of how many operations one turn consists.
    """

    def __init__(
        self,
        name: str,
        variants: Mapping[str, Run],
        measure: Measure,
        says: str,
        limit: float,
        turns: int = 1,
        times: Callable[[float], str] | None = None,
    ) -> None:
        self.name, self.variants, self.measure = name, dict(variants), measure
        self.says, self.limit, self.turns = says, limit, turns
        self.shown = times or (lambda figure: f"{figure:.2f}")
        self.medians: dict[str, float] = {}
        self.figure = float("nan")

    def take(self, rounds: int) -> None:
        """Runs it."""
        counts = {name: _calibrate(run) for name, run in self.variants.items()}
        samples: list[dict[str, float]] = []
        names = list(self.variants)
        gc.collect()
        gc.disable()
        try:
            for shift in range(rounds):
                order = names[shift % len(names) :] + names[: shift % len(names)]
                spent = {name: self.variants[name](counts[name]) / counts[name] for name in order}
                empty = spent.get("empty", 0.0)
                samples.append({name: (took - empty) / self.turns * 1e9 for name, took in spent.items()})
        finally:
            gc.enable()
        self.medians = {name: statistics.median(s[name] for s in samples) for name in names}
        self.figure = statistics.median(self.measure(s) for s in samples)

    @property
    def is_met(self) -> bool:
        """Is the budget kept?"""
        return self.figure <= self.limit

    def as_json(self) -> dict[str, Any]:
        """The figures as data; ``ns`` holds each variant's median, the empty loop taken off."""
        return {
            "name": self.name,
            "says": self.says,
            "figure": self.figure,
            "limit": self.limit,
            "met": self.is_met,
            "ns": self.medians,
        }

    def report(self) -> str:
        """One line for the budget, one for the peers if there are any."""
        own = [
            f"{name} {self.medians[name]:.1f}"
            for name in ("bare", "reference", "ours")
            if name in self.medians
        ]
        verdict = "met" if self.is_met else "MISSED"
        figure, limit = self.shown(self.figure), self.shown(self.limit)
        text = f"{verdict:6}  {self.name}: {figure} {self.says} (at most {limit}; ns: {', '.join(own)})"
        base = self.medians.get("bare", 0.0)
        known = ("empty", "bare", "reference", "ours")
        peers = {n: t - base for n, t in self.medians.items() if n not in known}
        if peers:
            ours = self.medians["ours"] - base
            told = ", ".join(
                f"{name} {adds:+.0f}" for name, adds in sorted(peers.items(), key=lambda p: p[1])
            )
            text += f"\n        added ns: ours {ours:+.0f}, {told}"
        return text


def ratio(spent: Mapping[str, float]) -> float:
    """Ours as a multiple of the reference."""
    return spent["ours"] / spent["reference"]


def adds(spent: Mapping[str, float]) -> float:
    """Nanoseconds that ours takes longer than the bare call."""
    return spent["ours"] - spent["bare"]


def adds_to_reference(spent: Mapping[str, float]) -> float:
    """Nanoseconds that ours takes longer than the reference."""
    return spent["ours"] - spent["reference"]


def share(spent: Mapping[str, float]) -> float:
    """What ours adds to the bare call, as a share of what the reference adds."""
    return (spent["ours"] - spent["bare"]) / (spent["reference"] - spent["bare"])


def loop(statement: str, **names: Any) -> Run:
    """A run of ``statement``, which may use ``names``; each is a local variable, as in a hot function."""
    given = "".join(f", {name}={name}" for name in names)
    code = f"def run(turns, repeat=repeat, clock=clock{given}):\n"
    code += " began = clock()\n for _ in repeat(None, turns):\n"
    code += "".join(f"  {line}\n" for line in statement.splitlines())
    code += " return clock() - began\n"
    scope = {"repeat": repeat, "clock": time.thread_time, **names}
    exec(code, scope)
    made: Run = scope["run"]
    return made


def aloop(statement: str, **names: Any) -> Run:
    """The same for a statement that awaits, in one task of a running asyncio loop."""
    given = "".join(f", {name}={name}" for name in names)
    code = f"async def run(turns, repeat=repeat, clock=clock{given}):\n"
    code += " began = clock()\n for _ in repeat(None, turns):\n"
    code += "".join(f"  {line}\n" for line in statement.splitlines())
    code += " return clock() - began\n"
    scope = {"repeat": repeat, "clock": time.thread_time, **names}
    exec(code, scope)
    run: Callable[[int], Awaitable[float]] = scope["run"]
    return lambda turns: _runner().run(run(turns))


def _runner(_kept: list[asyncio.Runner] = []) -> asyncio.Runner:  # noqa: B006 one for the whole run
    if not _kept:
        _kept.append(asyncio.Runner())
    return _kept[0]


def _calibrate(run: Run) -> int:
    for _ in range(3):  # what is made at first use, and what the interpreter specialises, is not measured
        run(200)
    turns = 1
    while (took := run(turns)) < SLICE / 4:
        turns = max(turns * 2, int(turns * SLICE / 4 / took) if took > 0 else 0)
    return max(1, int(turns * SLICE / took))

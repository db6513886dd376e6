"""The data that the benchmarks wrote, and the few figures that are quoted."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

NAMES = ("budget", "contention", "contention-native", "heartbeat", "langchain", "scoreboard", "faults")
OURS = "holdfast"
# What a row of the budget calls its variants that are not peers.
NOT_PEERS = ("empty", "bare", "reference", "ours")


@dataclass
class Figures:
    """What has been measured, by the name of its file."""

    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Figures:
        """Reads what is there."""
        found = {name: folder / f"{name}.json" for name in NAMES}
        return cls(
            {name: json.loads(path.read_text("utf-8")) for name, path in found.items() if path.exists()}
        )

    @property
    def known(self) -> list[str]:
        return [name for name in NAMES if name in self.data]

    @property
    def absent(self) -> list[str]:
        return [name for name in NAMES if name not in self.data]

    @property
    def version(self) -> str:
        found = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text("utf-8"), flags=re.MULTILINE)
        return found[1] if found else ""

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the budget."""
        return list(self.data.get("budget", {}).get("rows", []))

    def row(self, start: str) -> dict[str, Any] | None:
        """The row whose name begins so."""
        return next((row for row in self.rows() if row["name"].startswith(start)), None)

    def added(self, row: dict[str, Any]) -> dict[str, float]:
        """Nanoseconds that ours and each peer add to the bare call, the least first; ours is `holdfast`."""
        ns = row.get("ns", {})
        base = ns.get("bare", 0.0)
        told = {
            OURS if name == "ours" else name: took - base
            for name, took in ns.items()
            if name not in NOT_PEERS[:3]
        }
        return dict(sorted(told.items(), key=lambda item: item[1]))

    def peers(self, row: dict[str, Any]) -> set[str]:
        """The libraries that a row holds beside ours; other variants are described in words."""
        return {name for name in row.get("ns", {}) if name not in NOT_PEERS and " " not in name}

    def compared(self) -> list[tuple[str, dict[str, float]]]:
        """The rows that have peers."""
        return [(row["name"], self.added(row)) for row in self.rows() if self.peers(row)]

    def off(self, name: str) -> list[float]:
        """Milliseconds that the intervals between beats were off the period, of `ours` or `asyncio`."""
        cadence = self.data.get("heartbeat", {}).get("cadence")
        return [abs(took - cadence["period_ms"]) for took in cadence[name]] if cadence else []

    def totals(self) -> dict[str, int]:
        """How many behaviours each library holds, the most first."""
        results = self.data.get("scoreboard", {}).get("results", {})
        held = {
            name: sum(cell["result"] == "holds" for cell in row.values()) for name, row in results.items()
        }
        return dict(sorted(held.items(), key=lambda item: (-item[1], item[0] != OURS, item[0])))

    def tiles(self) -> list[tuple[str, str]]:
        """A figure and what it is, for each that is known."""
        told = []
        for start, text in (
            ("breaker on f(), success", "added to a call by a breaker"),
            (
                "retry + breaker + total timeout on async",
                "added by retry, breaker and deadline to an async call",
            ),
        ):
            if row := self.row(start):
                told.append((f"{self.added(row)[OURS]:.0f} ns", text))
        if langchain := self.data.get("langchain"):
            told.append((micros(langchain["invoke"]["with_resilience"]), "added to a chat model's invoke"))
        if off := self.off("ours"):
            told.append(
                (f"{percentile(off, 99):.1f} ms", "p99 of heartbeat jitter while the GIL is held for 300 ms")
            )
        if totals := self.totals():
            told.append(
                (
                    f"{totals[OURS]} of {len(self.data['scoreboard']['behaviours'])}",
                    "behaviours of a breaker hold",
                )
            )
        if cells := self.data.get("faults"):
            wrong = sum(bool(cell["wrong"]) for cell in cells)
            told.append((f"{wrong} of {len(cells)}", "faults that a client met went wrong"))
        return told


def micros(figure: float) -> str:
    """Microseconds; what is below one is not told apart from nothing by this measure."""
    return f"{figure:.1f} µs" if figure >= 1 else "< 1 µs"


def percentile(values: list[float], percent: int) -> float:
    """As `statistics.quantiles` has it; not a number for fewer than two."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else float("nan")

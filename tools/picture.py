"""Draws docs/pictures/tour.svg: what happens to a chain of models while one of its providers is killed.

    python tools/picture.py RECORD [SVG]

RECORD is what `holdfast demo --json RECORD` wrote: every bar is a count of calls that ended, every line an event at the
moment when it happened. `make picture` plays the tour and draws it. The SVG has a ground of its own and follows the
reader's light or dark scheme.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "pictures" / "tour.svg"

WIDTH, HEIGHT = 920, 420
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 118, 92
STEP = 0.1
"""Seconds that a bar stands for."""
FLOOR = HEIGHT - BOTTOM

STYLE = """
  svg { font: 13px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
  .ground { fill: #ffffff; stroke: #d5dae1; } .ink { fill: #1c2430; } .dim { fill: #5b6675; }
  .axis { stroke: #c3cad4; } .title { font-size: 19px; font-weight: 650; } .big { font-size: 17px; font-weight: 650; }
  .n0 { fill: #3b7dd8; } .n1 { fill: #e08a1e; } .n2 { fill: #3a9d78; } .failed { fill: #d03b3b; }
  .bad { fill: #c22f2f; } .good { fill: #227a55; } .rule { stroke-width: 1.4; stroke-dasharray: 4 3; }
  .rule.bad { stroke: #c22f2f; } .rule.good { stroke: #227a55; } .rule.dim { stroke: #5b6675; }
  .down { fill: #c22f2f; fill-opacity: .07; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #11161d; stroke: #2d3642; } .ink { fill: #e8edf4; } .dim { fill: #98a4b3; }
    .axis { stroke: #3a4553; } .n0 { fill: #5b9bf0; } .n1 { fill: #f0a545; } .n2 { fill: #4fb892; }
    .failed { fill: #f06a6a; } .bad { fill: #ff8080; } .good { fill: #5fd0a0; } .rule.bad { stroke: #ff8080; }
    .rule.good { stroke: #5fd0a0; } .rule.dim { stroke: #98a4b3; } .down { fill: #ff8080; fill-opacity: .09; }
  }
"""


class Chart:
    """The scales, and the elements so far."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        ends = [end["at"] for end in told["ends"]]
        self.first = math.floor(min(ends) / STEP) * STEP
        self.last = math.ceil(max(ends) / STEP) * STEP
        self.nodes = sorted({end["node"] for end in told["ends"] if end["node"]})
        self.bars = self._bars()
        self.highest = max(sum(bar.values()) for bar in self.bars.values())
        self.parts: list[str] = []

    def _bars(self) -> dict[int, Counter[str]]:
        bars: dict[int, Counter[str]] = {}
        for end in self.told["ends"]:
            bars.setdefault(math.floor((end["at"] - self.first) / STEP), Counter())[end["node"] or ""] += 1
        return bars

    def x(self, at: float) -> float:
        return LEFT + (at - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, calls: float) -> float:
        return FLOOR - calls / self.highest * (FLOOR - TOP)

    def text(self, x: float, y: float, text: str, style: str = "ink", anchor: str = "start") -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def box(self, left: float, right: float, top: float, bottom: float, style: str) -> None:
        width, height = right - left, bottom - top
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}"/>'
        )

    def moment(self, at: float, text: str, level: int, style: str, before: bool = False) -> None:
        """A vertical line with its name above the bars, after or before it; `level` 0 is the lowest line of text."""
        x, y = self.x(at), TOP - 10 - level * 18
        self.parts.append(
            f'<line x1="{x:.1f}" y1="{y + 4:.1f}" x2="{x:.1f}" y2="{FLOOR}" class="rule {style}" fill="none"/>'
        )
        before = before or x > WIDTH - 190
        self.text(x + (-5 if before else 5), y, text, style, "end" if before else "start")

    def draw_bars(self) -> None:
        for place, counts in sorted(self.bars.items()):
            left, right = (self.x(self.first + (place + edge) * STEP) for edge in (0, 1))
            base = 0
            for node in (*self.nodes, ""):
                if count := counts[node]:
                    style = f"n{self.nodes.index(node)}" if node else "failed"
                    self.box(left + 1, right - 1, self.y(base + count), self.y(base), style)
                    base += count

    def draw_axes(self) -> None:
        self.parts.append(f'<line x1="{LEFT}" y1="{FLOOR}" x2="{WIDTH - RIGHT}" y2="{FLOOR}" class="axis"/>')
        for half in range(math.ceil(self.first * 2), math.floor(self.last * 2) + 1):
            self.text(self.x(half / 2), FLOOR + 17, f"{half / 2:g} s", "dim", "middle")
        self.text(LEFT - 10, self.y(self.highest) + 10, f"{self.highest}", "dim", "end")
        self.text(LEFT - 10, FLOOR, "0", "dim", "end")
        self.text(LEFT - 10, (FLOOR + TOP) / 2, "calls", "dim", "end")
        self.text(LEFT - 10, (FLOOR + TOP) / 2 + 15, f"/ {STEP:g} s", "dim", "end")

    def draw_legend(self) -> None:
        x = float(LEFT)
        for number, node in enumerate(self.nodes):
            self.box(x, x + 11, FLOOR + 36, FLOOR + 47, f"n{number}")
            self.text(x + 17, FLOOR + 46, f"answered by {node}")
            x += 40 + 7.4 * len(f"answered by {node}")
        self.box(x, x + 11, FLOOR + 36, FLOOR + 47, "failed")
        self.text(x + 17, FLOOR + 46, f"failed: {self.told['failed']}")


def draw(told: dict[str, Any]) -> str:
    """The picture of one record."""
    chart, victim = Chart(told), told["victim"]
    chart.parts.append(
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10" class="ground"/>'
    )
    chart.text(
        LEFT - 42,
        34,
        f"Three model servers, one is killed: {told['failed']} of {told['calls']} calls fail",
        "ink title",
    )
    found, back = _first(told, "node_marked_failed"), _first(told, "recovery_completed")
    chart.box(chart.x(0), chart.x(back["at"]), TOP, FLOOR, "down")
    chart.draw_bars()
    chart.draw_axes()
    chart.moment(0, f"SIGKILL to {victim}", 2, "bad")
    chart.moment(found["at"], f"+{found['at']:.2f} s  its breaker opens, {victim} is out", 1, "bad")
    misses = [
        event for event in told["events"] if event["kind"] == "heartbeat_missed" and event.get("misses") == 3
    ]
    if misses:
        chart.moment(
            misses[0]["at"], f"+{misses[0]['at']:.2f} s  third heartbeat missed", 0, "dim", before=True
        )
    chart.moment(told["restarted"], f"{victim} runs again", 2, "good")
    chart.moment(back["at"], f"{back['at'] - told['restarted']:.2f} s later it is back", 1, "good")
    chart.draw_legend()
    after = back["at"] - told["restarted"]
    chart.text(
        LEFT - 42,
        HEIGHT - 18,
        f"holdfast demo, one run: {told['failed_over']} calls met the dead server and went on at another; "
        f"found after {found['at']:.2f} s, back {after:.2f} s after its restart",
        "dim",
    )
    body = "\n".join(chart.parts)
    label = f"{told['calls']} calls to three servers, one of them killed; {told['failed']} failed"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(label)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _first(told: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (
        event for event in told["events"] if event["kind"] == kind and event.get("node") == told["victim"]
    )
    return next(found)


def main(arguments: list[str]) -> int:
    record, target = Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else TARGET
    told = json.loads(record.read_text("utf-8"))
    if broken := [expectation["text"] for expectation in told["expectations"] if not expectation["held"]]:
        print(f"the tour did not hold, so there is nothing to show: {broken}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(draw(told), "utf-8")
    print(f"{target}: {told['calls']} calls, {told['failed']} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

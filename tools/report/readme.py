"""The README's tables: between two marks, made of the same figures as the page."""

from __future__ import annotations

import re
from pathlib import Path

from figures import OURS, Figures, micros, percentile

MARK = "<!-- figures: {} -->\n"
END = "<!-- end of figures -->\n"
PLAIN = {"holds": "✓", "fails": "✗", "n/a": "–"}  # noqa: RUF001 a dash, as in any table
# The columns of the short scoreboard: what has bitten people in production.
COLUMNS = {
    "one_probe": "one probe, not 30",
    "late_success": "late results ignored",
    "endless_probe": "hung probe frees its slot",
    "cancelled_probe": "cancelled probe too",
    "mid_stream_failure": "streams judged to their end",
    "callers_error": "your exception stays yours",
    "wall_clock": "clock set back",
}


def fill(readme: Path, figures: Figures) -> list[str]:
    """Replaces each table whose figures are known; answers their names."""
    text, filled = readme.read_text("utf-8"), []
    for name, made in (("scoreboard", scoreboard(figures)), ("overhead", overhead(figures))):
        pattern = re.escape(MARK.format(name)) + r".*?" + re.escape(END)
        if made and re.search(pattern, text, flags=re.DOTALL):
            text = re.sub(pattern, lambda _, n=name, m=made: MARK.format(n) + m + END, text, flags=re.DOTALL)
            filled.append(name)
    readme.write_text(text, "utf-8")
    return filled


def scoreboard(figures: Figures) -> str:
    told = figures.data.get("scoreboard")
    if not told:
        return ""
    lines = [
        f"| | of {len(told['behaviours'])} | {' | '.join(COLUMNS.values())} |",
        "|---|---|" + ":-:|" * len(COLUMNS),
    ]
    for name, count in figures.totals().items():
        marks = (PLAIN[told["results"][name][key]["result"]] for key in COLUMNS)
        shown = f"**{name}**" if name == OURS else name
        lines.append(f"| {shown} {told['versions'][name]} | {count} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def overhead(figures: Figures) -> str:
    if "budget" not in figures.data:
        return ""
    lines = ["| added to a call | Holdfast | others |", "|---|--:|---|"]
    for start, text in (
        ("breaker on f(), success", "a breaker on a function"),
        ("breaker on async def, never", "a breaker on a coroutine function"),
        ("rejection while open", "a refusal by an open breaker, raised and caught"),
        ("retry + breaker + total timeout on f()", "retry, breaker and deadline on a function"),
        ("retry + breaker + total timeout on async", "the same on a coroutine function"),
    ):
        if row := figures.row(start):
            added, peers = figures.added(row), figures.peers(row)
            others = ", ".join(f"{name} {figure:,.0f}" for name, figure in added.items() if name in peers)
            note = " (retry alone)" if start.startswith("retry") else ""
            lines.append(f"| {text} | {added[OURS]:,.0f} ns | {others}{note} |")
    if row := figures.row("generator, per chunk"):
        lines.append(f"| a breaker on a generator, per item | {row['figure']:.1f} ns | |")
    if told := figures.data.get("langchain"):
        invoke = told["invoke"]
        others = ", ".join(f"`{name}` {invoke[name]:.0f}" for name in ("with_fallbacks", "with_retry"))
        lines.append(
            f"| `with_resilience` on a chat model's `invoke` | {micros(invoke['with_resilience'])} | {others} |"
        )
    if off := figures.off("ours"):
        theirs = percentile(figures.off("asyncio"), 99)
        text = "heartbeat every 10 ms while the GIL is held for 300 ms: p99 off"
        lines.append(f"| {text} | {percentile(off, 99):.1f} ms | asyncio {theirs:.0f} |")
    python = figures.data["budget"]["python"].rpartition(".")[0]
    machine = figures.data["budget"].get("machine", "one machine")
    text = (
        f"\nMedians of one run on CPython {python} ({machine}); `make report` measures yours and draws it.\n"
    )
    return "\n".join(lines) + "\n" + text

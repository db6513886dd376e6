"""The plots, as SVG whose colours are the page's own variables."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from figures import OURS, Figures, percentile

# Colours that stand for the page's variables, which differ in light and dark.
INK, DIM, LINE, OURS_COLOUR, PEER = "#010101", "#010102", "#010103", "#010104", "#010105"
GOOD, BAD, MID, SOFT = "#010106", "#010107", "#010108", "#010109"
VARIABLES = {
    INK: "ink", DIM: "dim", LINE: "line", OURS_COLOUR: "ours", PEER: "peer",
    GOOD: "good", BAD: "bad", MID: "mid", SOFT: "soft",
}  # fmt: skip

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "holdfast",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": DIM,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": DIM,
        "ytick.color": DIM,
        "grid.color": LINE,
        "legend.frameon": False,
    }
)


def svg(figure: Any) -> str:
    """The figure without a ground, its colours named."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    # A family that every reader has, and sizes that belong to no particular font.
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, 'DejaVu Sans', sans-serif", text)


def overhead(figures: Figures) -> str:
    """A panel per row that has peers: nanoseconds added, on a logarithmic scale."""
    rows = figures.compared()
    if not rows:
        return ""
    heights = [len(added) + 1.2 for _, added in rows]
    figure, axes = plt.subplots(
        len(rows),
        1,
        figsize=(9.4, sum(heights) * 0.3),
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    least = min(value for _, added in rows for value in added.values() if value > 0)
    for axis, (name, added) in zip(axes[:, 0], rows, strict=True):
        names = list(added)[::-1]
        values = [max(added[library], least / 2) for library in names]
        colours = [OURS_COLOUR if library == OURS else PEER for library in names]
        bars = axis.barh(names, values, color=colours, height=0.68)
        axis.bar_label(
            bars, [f"{added[library]:,.0f} ns" for library in names], fontsize=9, color=DIM, padding=4
        )
        axis.set_xscale("log")
        axis.set_title(name, loc="left")
        axis.tick_params(length=0)
        axis.set_xlim(least / 2, max(value for _, row in rows for value in row.values()) * 4)
    axes[-1, 0].set_xlabel("nanoseconds added to the bare call (logarithmic)")
    axes[-1, 0].xaxis.set_major_formatter("{x:,.0f}")
    figure.tight_layout()
    return svg(figure)


def contention(figures: Figures) -> str:
    """Calls per second over threads from Python; nanoseconds per call of the core."""
    python, native = figures.data.get("contention"), figures.data.get("contention-native")
    if not python and not native:
        return ""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6))
    if python:
        for name in dict.fromkeys(row["library"] for row in python["rows"]):
            points = [
                (row["threads"], row["per_second"] / 1e6) for row in python["rows"] if row["library"] == name
            ]
            ours = {OURS: OURS_COLOUR, "bare": INK}.get(name, PEER)
            left.plot(
                *zip(*points, strict=True), marker="o", ms=4, color=ours, ls="--" if name == "bare" else "-"
            )
            left.annotate(
                name, points[-1], (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=ours
            )
        left.set(
            yscale="log",
            title="Python: million calls per second, all threads",
            xlabel="threads",
            xlim=(0.7, 12),
        )
        left.set_xticks([1, 2, 4, 8])
        left.yaxis.set_major_formatter("{x:g}")
    if native:
        styles = {"one breaker": (OURS_COLOUR, "-"), "a breaker each": (PEER, "--")}
        for rules, marker in (("failures in a row", "o"), ("and failure rate", "s")):
            for kind, (colour, line) in styles.items():
                row = [r for r in native if r["rules"] == rules and r["kind"] == kind]
                right.plot(
                    [r["threads"] for r in row],
                    [r["ns"] / r["threads"] for r in row],
                    marker=marker, ms=4, color=colour, ls=line, label=f"{kind}, {rules}",
                )  # fmt: skip
        right.set(title="Core: ns per call, over all threads", xlabel="threads", ylim=(0, None))
        right.set_xticks([1, 2, 4, 8])
        right.legend(fontsize=8.5)
    for axis in (left, right):
        axis.grid(axis="y", lw=0.6)
    figure.tight_layout()
    return svg(figure)


def heartbeat(figures: Figures) -> str:
    """The share of beats that were off by at most so much."""
    if not figures.off("ours"):
        return ""
    figure, axis = plt.subplots(figsize=(9.4, 3.2))
    for name, label, colour in (("ours", OURS, OURS_COLOUR), ("asyncio", "asyncio", PEER)):
        off = sorted(max(value, 1e-3) for value in figures.off(name))
        axis.plot(off, [(n + 1) / len(off) * 100 for n in range(len(off))], color=colour, lw=2)
        p99 = percentile(off, 99)
        axis.plot([p99], [99], marker="o", color=colour)
        said = f"{label}: 99 % within {p99:.1f} ms"
        axis.annotate(said, (p99, 99), ha="center", color=colour, xytext=(0, 9), textcoords="offset points")
    axis.set(
        xscale="log",
        xlabel="ms that an interval was off the period of 10 ms",
        ylabel="% of beats",
        ylim=(0, 116),
    )
    axis.grid(lw=0.6)
    axis.xaxis.set_major_formatter("{x:g}")
    figure.tight_layout()
    return svg(figure)


def faults(figures: Figures) -> str:
    """Two grids of faults and clients: the guard alone, and the pool."""
    cells = figures.data.get("faults")
    if not cells:
        return ""
    clients, names = sorted({c["client"] for c in cells}), list(dict.fromkeys(c["fault"] for c in cells))
    figure, axes = plt.subplots(1, 2, figsize=(9.4, len(names) * 0.125 + 1.8), sharey=True)
    for axis, side, title in zip(
        axes, ("alone", "pool"), ("a guard around one client", "a pool with a healthy node"), strict=True
    ):
        for cell in cells:
            x, y = clients.index(cell["client"]), names.index(cell["fault"])
            colour, opacity = _shade(cell, side)
            axis.add_patch(plt.Rectangle((x + 0.06, y + 0.08), 0.88, 0.84, color=colour, alpha=opacity, lw=0))
        axis.set(xlim=(0, len(clients)), ylim=(len(names), 0), title=title)
        axis.set_xticks([n + 0.5 for n in range(len(clients))], clients, rotation=90, fontsize=7.5)
        axis.set_yticks([n + 0.5 for n in range(len(names))], names, fontsize=6.8)
        axis.tick_params(length=0)
    keys = [("answered", GOOD, 0.9), ("answered at another node", OURS_COLOUR, 0.75), ("raised, as it must", SOFT, 0.6),
            ("broken off after content, and said so", MID, 0.8), ("wrong", BAD, 1.0)]  # fmt: skip
    marks = [plt.Rectangle((0, 0), 1, 1, color=colour, alpha=opacity, lw=0) for _, colour, opacity in keys]
    figure.legend(
        marks,
        [text for text, _, _ in keys],
        loc="upper center",
        ncols=5,
        fontsize=8.5,
        bbox_to_anchor=(0.5, 1.0),
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    return svg(figure)


def _shade(cell: dict[str, Any], side: str) -> tuple[str, float]:
    if cell["wrong"]:
        return BAD, 1.0
    said = cell[side]
    if "failed over" in said:
        return OURS_COLOUR, 0.75
    if "interrupted" in said:
        return MID, 0.8
    return (GOOD, 0.9) if "answered" in said else (SOFT, 0.6)

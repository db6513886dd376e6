"""The tables of the page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from figures import OURS, Figures, percentile

MARKS = {
    "holds": "<span class='good'>✓</span>",
    "fails": "<span class='bad'>✗</span>",
    "n/a": "<span class='dim'>–</span>",  # noqa: RUF001 a dash, as in any table
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()) -> str:
    """Cells are HTML already; ``styles`` are classes of the columns."""
    kinds = [*styles, *[""] * (len(head) - len(styles))]
    first = "".join(f"<th class='{kind}'>{cell}</th>" for cell, kind in zip(head, kinds, strict=True))
    rest = (
        "<tr>"
        + "".join(f"<td class='{kind}'>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<div class='wide'><table><tr>{first}</tr>{''.join(rest)}</table></div>"


def tiles(told: list[tuple[str, str]]) -> str:
    return (
        "<div class='tiles'>"
        + "".join(f"<div class='tile'><b>{f}</b>{escape(t)}</div>" for f, t in told)
        + "</div>"
    )


def _verdict(met: bool) -> str:
    return "<span class='good'>met</span>" if met else "<span class='bad'>missed</span>"


def budget(figures: Figures) -> str:
    """Every row with its limit."""
    rows = []
    for row in figures.rows():
        ns = ", ".join(
            f"{name} {row['ns'][name]:.0f}"
            for name in ("bare", "reference", "ours")
            if name in row.get("ns", {})
        )
        says = f"{row['figure']:.2f} {row['says']}"
        rows.append(
            (escape(row["name"]), escape(says), f"{row['limit']:.2f}", _verdict(row["met"]), escape(ns))
        )
    return table(["path", "figure", "at most", "", "ns"], rows, ["", "", "n", "", "dim"]) if rows else ""


def langchain(figures: Figures) -> str:
    told = figures.data.get("langchain")
    if not told:
        return ""
    names = [name for name in told["invoke"] if name != "bare"]
    rows = [
        (f"<code>{name}</code>", f"{told['invoke'][name]:.1f}", f"{told['ainvoke'][name]:.1f}")
        for name in names
    ]
    return table(["added to a LangChain chat model, µs", "invoke", "ainvoke"], rows, ["", "n", "n"])


def contention(figures: Figures) -> str:
    told = figures.data.get("contention")
    if not told:
        return ""
    threads = sorted({row["threads"] for row in told["rows"]})
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    for row in told["rows"]:
        rates[row["library"]][row["threads"]] = row["per_second"]
    rows = [
        (
            f"<code>{name}</code>",
            *(f"{per[count] / 1e3:,.0f}" for count in threads),
            f"{per[threads[-1]] / per[1]:.2f}",
        )
        for name, per in rates.items()
    ]
    head = [f"thousand calls per second ({'with' if told['gil'] else 'without'} a GIL)", *map(str, threads)]
    return table([*head, f"{threads[-1]} ÷ 1"], rows, ["", *["n"] * (len(threads) + 1)])


def heartbeat(figures: Figures) -> str:
    told = figures.data.get("heartbeat")
    if not told:
        return ""
    rows = []
    for name, label in (("ours", OURS), ("asyncio", "asyncio")):
        off = figures.off(name)
        rows.append(
            (label, str(len(off) + 1), *(f"{percentile(off, p):.2f}" for p in (50, 99)), f"{max(off):.1f}")
        )
    text = table(["", "beats", "median ms off", "p99", "most"], rows, ["", "n", "n", "n", "n"])
    if many := told.get("many"):
        text += (
            f"<p>{many['nodes']:,} nodes, each asked every 10 s by one process: {many['cpu_share']:.1%} of one "
            f"processor, {many['probes']:,} probes in {many['seconds']:.0f} s, {many['not_ready']} nodes not ready.</p>"
        )
    return text


def scoreboard(figures: Figures) -> str:
    told = figures.data.get("scoreboard")
    if not told:
        return ""
    totals = figures.totals()
    rows = [
        (escape(text), *(_cell(told["results"][name][key]) for name in totals))
        for key, text in told["behaviours"].items()
    ]
    rows.append((f"<b>holds, of {len(rows)}</b>", *(f"<b>{count}</b>" for count in totals.values())))
    head = [
        "",
        *(f"{escape(name)}<br><span class='dim'>{escape(told['versions'][name])}</span>" for name in totals),
    ]
    return table(head, rows, ["", *["c"] * len(totals)])


def _cell(cell: dict[str, str]) -> str:
    return f"<span title='{escape(cell['why'], quote=True)}'>{MARKS[cell['result']]}</span>"


def faults(figures: Figures) -> str:
    """How many cells came to what, and each that is wrong."""
    cells = figures.data.get("faults")
    if not cells:
        return ""
    requests = sum(cell["requests"] + cell["pool_requests"] for cell in cells)
    wrong = [cell for cell in cells if cell["wrong"]]
    counts = {side: Counter(cell[side] for cell in cells) for side in ("alone", "pool")}
    kinds = sorted(
        {*counts["alone"], *counts["pool"]}, key=lambda kind: -counts["pool"][kind] - counts["alone"][kind]
    )
    rows = [(escape(kind), str(counts["alone"][kind]), str(counts["pool"][kind])) for kind in kinds]
    text = f"<p>{len(cells):,} cells, {requests:,} requests to faulty servers, {len(wrong)} wrong.</p>"
    text += table(["outcome", "guard", "pool"], rows, ["", "n", "n"])
    if wrong:
        listed = [
            (escape(c["client"]), escape(c["fault"]), escape("; ".join(c["wrong"])[:300])) for c in wrong
        ]
        text += table(["client", "fault", "what is wrong"], listed)
    return text

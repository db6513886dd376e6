"""Makes one page of what the benchmarks, the scoreboard and the fault matrix have written: `make report`.

    python tools/report REPORTS

REPORTS is the folder with their JSON. The page is `report.html` in it: one file with its plots as SVG, which follows
the reader's light or dark scheme. Whatever has not been measured is left out by name. The tables of the README are
made of the same figures.

===============  ====================================================
`__main__.py`    what goes where on the page
`figures.py`     the data, and the few figures that are quoted
`plots.py`       SVG, by matplotlib
`tables.py`      HTML tables
`readme.py`      the README's tables
===============  ====================================================
"""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import plots
import readme
import tables
from figures import Figures

ROOT = Path(__file__).resolve().parents[2]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Holdfast: report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ --ink: #1c2430; --dim: #5b6675; --line: #d5dae1; --ground: #ffffff; --band: #f5f7fa;
  --ours: #d9480f; --peer: #6b7f99; --good: #2f9e6b; --bad: #d03b3b; --mid: #e0a030; --soft: #9bb4d4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8edf4; --dim: #98a4b3; --line: #313c49; --ground: #11161d;
  --band: #182029; --ours: #ff8a4c; --peer: #8fa6c4; --good: #4fb892; --bad: #f06a6a; --mid: #e6b450;
  --soft: #5b7ea8; }} }}
body {{ font: 15px/1.55 ui-sans-serif, system-ui, "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--ground); max-width: 1080px; margin: 2.2rem auto; padding: 0 1.2rem; }}
h1 {{ font-size: 1.8rem; margin-bottom: .2rem; }} h2 {{ margin-top: 2.6rem; border-bottom: 1px solid var(--line); }}
p.dim, td.dim, .dim {{ color: var(--dim); }} svg {{ width: 100%; height: auto; }}
td:first-child {{ min-width: 10rem; }} .wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 13.5px; margin: 1rem 0; width: 100%; }}
th, td {{ text-align: left; padding: .28rem .4rem; border-bottom: 1px solid var(--line); vertical-align: top; }}
th {{ background: var(--band); font-weight: 600; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.c, th.c {{ text-align: center; }} .good {{ color: var(--good); }} .bad {{ color: var(--bad); }}
.tiles {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }}
.tile {{ background: var(--band); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem 1rem; flex: 1 1 190px; }}
.tile b {{ display: block; font-size: 1.5rem; color: var(--ours); }}
</style></head><body>
<h1>Holdfast {version}: report</h1>
<p class="dim">{machine}. Measured with everything on this page in one go, by <code>make report</code>; the raw
figures lie beside it as JSON. Ratios and ranks travel; nanoseconds are this machine's.</p>
{body}
</body></html>
"""


def machine() -> str:
    """What the figures were measured on, in general terms."""
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    cores = os.cpu_count() or 1
    return (
        f"{made}, {platform.system()} on {platform.machine()}, {cores} processors, "
        f"CPython {platform.python_version()}"
    )


def section(title: str, said: str, *parts: str) -> str:
    """One section, or one line that says what would fill it."""
    shown = [part for part in parts if part]
    if not shown:
        return f"<h2>{escape(title)}</h2><p class='dim'>Not measured.</p>"
    return f"<h2>{escape(title)}</h2><p>{said}</p>" + "\n".join(shown)


def page(figures: Figures) -> str:
    """The whole page."""
    body = [
        tables.tiles(figures.tiles()),
        section(
            "Overhead",
            "What a guard adds to a call that succeeds, beside what others add to the same call in the same run. "
            "Each row's figure is the median of the rounds' own ratios or differences.",
            plots.overhead(figures),
            tables.budget(figures),
            tables.langchain(figures),
        ),
        section(
            "Contention",
            "Threads on one breaker. From Python all threads share one guarded function: under a GIL more threads "
            "cannot make more calls, and must not make fewer. The core itself, without an interpreter, beside a "
            "breaker for each thread, which shares nothing.",
            plots.contention(figures),
            tables.contention(figures),
        ),
        section(
            "Heartbeat jitter",
            "Beats every 10 ms while one native call after another holds the GIL for 300 ms: how far the interval "
            "between two beats is from the period, as it was received by another process.",
            plots.heartbeat(figures),
            tables.heartbeat(figures),
        ),
        section(
            "Scoreboard",
            "The same questions, asked from outside of every circuit breaker for Python that installs from PyPI. "
            "A dash: it has no form in which to ask.",
            tables.scoreboard(figures),
        ),
        section(
            "Fault matrix",
            "Every fault of a misbehaving provider, played to every way of using every client: once to a guard around "
            "the client, once to a pool whose other node is healthy. A red cell would be a call that hung, an answer "
            "that was not whole and passed for one, or a request too many.",
            plots.faults(figures),
            tables.faults(figures),
        ),
    ]
    return PAGE.format(version=escape(figures.version), machine=escape(machine()), body="\n".join(body))


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    figures = Figures.read(folder)
    if not figures.known:
        print(f"there are no figures in {folder}: make report", file=sys.stderr)
        return 1
    target = folder / "report.html"
    target.write_text(page(figures), "utf-8")
    print(f"{target}: {', '.join(figures.known)}")
    if absent := figures.absent:
        print(f"not measured: {', '.join(absent)}")
    for name in readme.fill(ROOT / "README.md", figures):
        print(f"README.md: the table of the {name} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

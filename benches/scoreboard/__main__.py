"""The scoreboard: which breaker does what, told from outside. See README.md beside this file.

Each behaviour of each library runs in an interpreter of its own, with a time limit, so that one that hangs or
kills its process is a ✗ and not the end of the table. Exits with 1 if ours fails one.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "reports" / "scoreboard.json"
LIMIT = 30.0
"""Seconds for one behaviour of one library; the slowest takes five."""
OURS = "holdfast"
MARKS = {"holds": "✓", "fails": "✗", "n/a": "–"}  # noqa: RUF001 a dash, as in any table


def ask(library: str, behaviour: str) -> dict[str, str]:
    """Runs one behaviour here, and says what came of it."""
    warnings.simplefilter("ignore")
    import behaviours

    behaviours.make_wall_clock_movable()
    from adapters import ADAPTERS

    try:
        asyncio.run(behaviours.BEHAVIOURS[behaviour](ADAPTERS[library]))
    except behaviours.NotApplicable as why:
        return {"result": "n/a", "why": str(why)}
    except behaviours.Fails as what:
        return {"result": "fails", "why": str(what)}
    except BaseException as error:  # noqa: BLE001 whatever it was, the table goes on
        return {"result": "fails", "why": f"{type(error).__name__}: {error}"}
    return {"result": "holds", "why": ""}


def ask_apart(library: str, behaviour: str) -> dict[str, str]:
    """The same in an interpreter of its own."""
    command = [sys.executable, str(HERE), library, behaviour]
    environment = os.environ | {"TZ": "UTC"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"result": "fails", "why": f"it hung for {LIMIT:g} s"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    tail = done.stderr.strip().splitlines()[-1:] or ["no output"]
    return {"result": "fails", "why": f"its process ended with {done.returncode}: {tail[0]}"}


def answer(library: str, behaviour: str) -> None:
    print(json.dumps(ask(library, behaviour)), flush=True)
    # Threads of calls that were never to end are still there.
    os._exit(0)


def version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def show(table: dict[str, dict[str, dict[str, str]]], rows: dict[str, str]) -> None:
    libraries = list(table)
    widest = max(len(row) for row in rows.values())
    print(" " * widest, *(f"{name:>{len(name)}}" for name in libraries), sep="  ")
    print(" " * widest, *(f"{version(name):>{len(name)}}" for name in libraries), sep="  ")
    for key, row in rows.items():
        marks = (f"{MARKS[table[name][key]['result']]:>{len(name)}}" for name in libraries)
        print(f"{row:<{widest}}", *marks, sep="  ")
    totals = (
        f"{sum(cell['result'] == 'holds' for cell in table[name].values()):>{len(name)}}"
        for name in libraries
    )
    print(f"{'holds, of ' + str(len(rows)):<{widest}}", *totals, sep="  ")
    print()
    for key, row in rows.items():
        for name in libraries:
            cell = table[name][key]
            if cell["why"]:
                print(f"{MARKS[cell['result']]} {name}: {row}: {cell['why']}")


def main() -> int:
    from adapters import ADAPTERS
    from behaviours import BEHAVIOURS

    began = time.monotonic()
    rows = {key: (behaviour.__doc__ or key).strip() for key, behaviour in BEHAVIOURS.items()}
    libraries = [name for name in ADAPTERS if version(name) != "-"]
    absent = [name for name in ADAPTERS if name not in libraries]
    # The calls mostly wait, so more than there are cores may run at once, but timing is judged too.
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = {(name, key): pool.submit(ask_apart, name, key) for name in libraries for key in rows}
        table = {name: {key: asked[name, key].result() for key in rows} for name in libraries}
    show(table, rows)
    if absent:
        print(f"not installed, so not asked: {', '.join(absent)}")
    REPORT.parent.mkdir(exist_ok=True)
    versions = {name: version(name) for name in libraries}
    report = {"versions": versions, "behaviours": rows, "results": table}
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"\n{time.monotonic() - began:.0f} s; {REPORT.relative_to(HERE.parents[1])}")
    failed = [rows[key] for key, cell in table.get(OURS, {}).items() if cell["result"] != "holds"]
    for row in failed:
        print(f"ours does not hold: {row}")
    return 1 if failed or OURS not in table else 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        answer(sys.argv[1], sys.argv[2])
    sys.exit(main())

"""Prints the budget table: each path of a guarded call against its reference, with the peers beside it.

Run with ``make bench``. ``--rounds`` (31), ``--only=text`` for the rows whose names hold it, ``--strict`` to fail
when a budget is missed, ``--json FILE`` for the figures as data. On a shared machine read the ratios, not the
nanoseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import rows_async
import rows_import
import rows_sync


def main() -> int:
    """Runs the rows that are asked for."""
    parser = argparse.ArgumentParser(prog="benches/budget", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {options.rounds} rounds")
    met, told = True, []
    for row in (*rows_sync.rows(), *rows_async.rows()):
        if options.only in row.name:
            row.take(options.rounds)
            print(row.report(), flush=True)
            told.append(row.as_json())
            met = met and row.is_met
    if options.only in "import holdfast":
        line, kept, figures = rows_import.report(options.rounds)
        print(line)
        told.append(figures)
        met = met and kept
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} processors"
        data = {
            "python": platform.python_version(),
            "machine": machine,
            "rounds": options.rounds,
            "rows": told,
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    return 1 if options.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main())

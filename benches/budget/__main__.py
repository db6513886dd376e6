"""Prints the budget table: each path of a guarded call against its reference, with the peers beside it.

Run with ``make bench``. ``--rounds`` (31), ``--only=text`` for the rows whose names hold it, ``--strict`` to fail
when a budget is missed. On a shared machine read the ratios, not the nanoseconds.
"""

from __future__ import annotations

import argparse
import platform
import sys

import rows_async
import rows_import
import rows_sync


def main() -> int:
    """Runs the rows that are asked for."""
    parser = argparse.ArgumentParser(prog="benches/budget", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {options.rounds} rounds")
    met = True
    for row in (*rows_sync.rows(), *rows_async.rows()):
        if options.only in row.name:
            row.take(options.rounds)
            print(row.report(), flush=True)
            met = met and row.is_met
    if options.only in "import holdfast":
        line, kept = rows_import.report(options.rounds)
        print(line)
        met = met and kept
    return 1 if options.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main())

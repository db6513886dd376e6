"""Exits of the interpreter with live heartbeats, probes of every kind, and listeners."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter

PROGRAM = """
import asyncio, logging, time
import holdfast as hf
from holdfast._localserver import LocalServer

logging.getLogger("holdfast").addHandler(logging.NullHandler())
server = LocalServer("a").start()

async def asked(node): await asyncio.sleep(0.001)
async def heard(event): await asyncio.sleep(0)

managers = [
    hf.FailoverManager([hf.Node("a", lambda: "a", address=server.origin)],
                       heartbeat=hf.Heartbeat(0.002, timeout=1, probe=probe))
    for probe in (hf.HttpProbe("/health"), hf.TcpProbe(), lambda node: time.sleep(0.001), asked)
]
for manager in managers:
    manager.subscribe(lambda event: None)
    manager.subscribe(heard)
end = time.monotonic() + 0.1
while time.monotonic() < end:
    for manager in managers:
        manager.call()
        manager.report("a", ok=False)
        manager.report("a", ok=True)
"""


def exit_often(times: int, side_by_side: int = 4) -> Counter[str]:
    """Runs the program `times` times; how it ended."""
    ends: Counter[str] = Counter()
    while ends.total() < times:
        batch = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", PROGRAM], stderr=subprocess.PIPE, text=True
            )
            for _ in range(min(side_by_side, times - ends.total()))
        ]
        for child in batch:
            try:
                _, complaint = child.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                ends["hung"] += 1
            else:
                ends[
                    "well" if (child.returncode, complaint) == (0, "") else f"{child.returncode}: {complaint}"
                ] += 1
    return ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    ends = exit_often(options.times)
    sys.stdout.write(f"{options.times} exits with live heartbeats and listeners: {dict(ends)}\n")
    return 0 if ends == {"well": options.times} else 1


if __name__ == "__main__":
    sys.exit(main())

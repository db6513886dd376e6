"""Heartbeats while Python is busy: their cadence at 10 ms under a held GIL, and 10 000 nodes in one process.

The same run has a heartbeat written with asyncio beside ours, for what the figures mean on this machine.
``--json FILE`` writes the figures, and every interval between two beats, as data; ``--cadence`` leaves out the many
nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import itertools
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import holdfast as hf

PERIOD = 0.010
HOLD_SECONDS = 0.300
RUN_SECONDS = 6.0
MOST_P99_MS = 5.0
NODES = 10_000
NODES_PERIOD = 10.0
NODES_JITTER = 0.1
# Rounds are due at 0, 10 and 20 s, each by up to 1 s earlier or later; the fourth begins at 27 s.
ROUNDS = 3
NODES_SECONDS = 25.0


class Peer:
    """A process of its own that notes when it is connected to."""

    PROGRAM = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listener.getsockname()[1], flush=True)
times = []
end = time.monotonic() + float(sys.argv[1])
listener.settimeout(0.5)
while time.monotonic() < end:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    times.append(time.monotonic())
    connection.close()
print(" ".join(f"{t:.6f}" for t in times), flush=True)
"""

    def __init__(self, seconds: float) -> None:
        import subprocess

        command = [sys.executable, "-c", self.PROGRAM, str(seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.times: list[float] = []

    def result(self) -> list[float]:
        assert self.process.stdout is not None
        self.times = [float(word) for word in self.process.stdout.readline().split()]
        self.process.wait()
        return self.times


def hold_the_gil(seconds: float) -> None:
    """One native call that keeps the GIL: `PyDLL` does not release it."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else float("nan")


def cadence() -> dict[str, Any]:
    ours, theirs = Peer(RUN_SECONDS + 2), Peer(RUN_SECONDS + 2)
    beat = hf.Heartbeat(PERIOD, timeout=5.0, jitter=0.0, probe=hf.TcpProbe(f"127.0.0.1:{ours.port}"))

    async def asyncio_heartbeat() -> None:
        due = time.monotonic()
        end = due + RUN_SECONDS
        while due < end:
            due += PERIOD
            await asyncio.sleep(max(due - time.monotonic(), 0))
            _, writer = await asyncio.open_connection("127.0.0.1", theirs.port)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    beside = threading.Thread(target=lambda: asyncio.run(asyncio_heartbeat()))
    beside.start()
    with hf.FailoverManager([hf.Node("a", print)], heartbeat=beat):
        end = time.monotonic() + RUN_SECONDS
        while time.monotonic() < end:
            hold_the_gil(HOLD_SECONDS)
    beside.join()
    told: dict[str, Any] = {"period_ms": PERIOD * 1e3, "gil_held_ms": HOLD_SECONDS * 1e3}
    for name, peer in (("ours", ours), ("asyncio", theirs)):
        times = peer.result()
        told[name] = [(later - earlier) * 1e3 for earlier, later in itertools.pairwise(times)]
        off = [abs(later - earlier - PERIOD) * 1e3 for earlier, later in itertools.pairwise(times)]
        sys.stdout.write(
            f"{name:<8} every {PERIOD * 1e3:.0f} ms, GIL held {HOLD_SECONDS * 1e3:.0f} ms at a time: "
            f"{len(times)} beats, |interval - period| median {statistics.median(off):.2f} ms, "
            f"p99 {p99(off):.1f} ms, most {max(off):.1f} ms\n"
        )
    return told


def is_kept(told: dict[str, Any]) -> bool:
    """Is our cadence within its budget?"""
    tail = p99([abs(interval - told["period_ms"]) for interval in told["ours"]])
    kept = tail <= MOST_P99_MS
    sys.stdout.write(f"budget: p99 of ours at most {MOST_P99_MS:.0f} ms: {'kept' if kept else 'MISSED'}\n")
    return kept


def many_nodes() -> dict[str, Any]:
    peer = Peer(NODES_SECONDS + 2)
    probe = hf.TcpProbe(f"127.0.0.1:{peer.port}")
    beat = hf.Heartbeat(NODES_PERIOD, timeout=9.0, jitter=NODES_JITTER, probe=probe)
    nodes = [hf.Node(f"n{n}", print) for n in range(NODES)]
    manager = hf.FailoverManager(nodes, heartbeat=beat, breaker=None)
    with manager:
        time.sleep(5.0)  # the first round asks everybody at once
        cpu, wall = time.process_time(), time.monotonic()
        time.sleep(NODES_SECONDS - 5.0)
        share = (time.process_time() - cpu) / (time.monotonic() - wall)
        down = sum(not view.ready for view in manager.nodes.values())
    times = peer.result()
    rounds: list[list[float]] = [[] for _ in range(ROUNDS)]
    for moment in times:
        since = moment - times[0]
        rounds[min(round(since / NODES_PERIOD), ROUNDS - 1)].append(since)
    # From the second round to the last: the first, in which all are asked at once, takes its time. The mean over the
    # nodes, because what jitter leaves of it is some ten milliseconds.
    means = [statistics.fmean(each) for each in rounds[1:] if each]
    drift = (means[-1] - means[0]) / (len(means) - 1) - NODES_PERIOD if len(means) > 1 else float("nan")
    sys.stdout.write(
        f"{NODES} nodes every {NODES_PERIOD:.0f} s by one process: {share:.1%} of one CPU, "
        f"probes per round {[len(each) for each in rounds]}, drift {drift * 1e3:+.1f} ms a round, "
        f"{down} nodes not ready\n"
    )
    figures: dict[str, Any] = {"nodes": NODES, "cpu_share": share, "probes": len(times)}
    rest = {"seconds": times[-1] - times[0], "drift_ms": drift * 1e3, "not_ready": down}
    return figures | rest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cadence", action="store_true")
    options = parser.parse_args()
    beats = cadence()
    kept = is_kept(beats)
    told = {"cadence": beats, "many": None if options.cadence else many_nodes()}
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told) + "\n", "utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

"""The matrix of real clients and faults: what each becomes under a guard, and how many requests it costs.

    python -m faults.matrix [--only WORD] [--json FILE]

Every scenario of the fault server is played to every way of using every client, once to a guard around that
client and once to a pool whose other node is healthy. It exits non-zero if

- a call hangs,
- an answer that is not whole counts as a success,
- more requests reached the server than attempts were configured, or one that is the caller's own was repeated,
- a fault is not judged as it should be,
- the pool does not answer, although the fault is not the caller's own and nothing had been handed out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import holdfast as hf

from . import shapes
from .clients import ATTEMPTS, WAYS, Answer, Way
from .scenarios import SCENARIOS
from .server import FaultServer, closed_port
from .verdicts import EXPECTED, STREAMED

HANG = 30.0
"""Seconds after which a call hangs: ten times what its clocks allow."""
WORKERS = 6
TEXT = "".join(shapes.TEXT)
ARGUMENTS = "".join(shapes.TOOL_ARGUMENTS)
REFUSED = "refused"
"""Not a scenario of the server: a port on which nobody listens."""


@dataclass
class Cell:
    """One client and one fault."""

    client: str
    fault: str
    verdict: str = ""
    """Outcome and kind, or "answer" where the fault is none to this client."""
    alone: str = ""
    """What the guard did: answered, raised, retried, interrupted."""
    pool: str = ""
    """What the pool did: failed over, raised, interrupted."""
    requests: int = 0
    pool_requests: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def scenario_names() -> list[str]:
    return [*SCENARIOS, REFUSED]


def applies(way: Way, name: str) -> bool:
    return name == REFUSED or way.stream or not SCENARIOS[name].stream


def own_fault(name: str) -> bool:
    return name != REFUSED and SCENARIOS[name].own_fault


def speaks_first(way: Way, name: str) -> bool:
    """Has something been handed out before the fault came?"""
    return name != REFUSED and way.stream and SCENARIOS[name].speaks


def whole(answer: Answer) -> bool:
    """Is it one of the two answers that the server gives?"""
    if answer.arguments:
        return "/data/scratch/old" in answer.arguments
    return answer.text == TEXT


class Matrix:
    """Plays one cell after another."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._nobody = f"http://127.0.0.1:{closed_port()}"

    def cell(self, way: Way, name: str) -> Cell:
        cell = Cell(way.name, name)
        began = time.monotonic()
        self._alone(cell, way, name)
        self._pool(cell, way, name)
        cell.seconds = round(time.monotonic() - began, 3)
        return cell

    def _url(self, name: str, mark: str) -> tuple[str, str]:
        marked = f"{name}~{mark}"
        return marked, self._nobody if name == REFUSED else self._server.url(marked)

    def _alone(self, cell: Cell, way: Way, name: str) -> None:
        marked, url = self._url(name, way.name)
        answer, error = _asked(way, [url])
        cell.requests = self._server.hits(marked)
        if error is None:
            cell.verdict = "answer"
            cell.alone = "answered" if cell.requests <= 1 else "retried, answered"
            if answer is None or not whole(answer):
                cell.wrong.append(f"took for a success: {answer!r}")
        else:
            verdict = hf.classify(error)
            cell.verdict = f"{verdict.outcome}({verdict.kind})"
            cell.alone = "interrupted" if speaks_first(way, name) else "raised"
            if cell.requests > 1:
                cell.alone = f"retried, {cell.alone}"
            cell.wrong += _misjudged(way, name, verdict)
        cell.wrong += _too_many(way, name, cell.requests)

    def _pool(self, cell: Cell, way: Way, name: str) -> None:
        marked, url = self._url(name, f"{way.name}-pool")
        answer, error = _asked(way, [url, self._server.url(f"ok~{name}-{way.name}")])
        cell.pool_requests = self._server.hits(marked)
        may_raise = own_fault(name) or speaks_first(way, name)
        if error is not None:
            cell.pool = "interrupted" if speaks_first(way, name) else "raised"
            if not may_raise:
                cell.wrong.append(f"the pool raised {type(error).__name__}: {hf.classify(error)}")
        elif answer is None or not whole(answer):
            cell.wrong.append(f"the pool took for a success: {answer!r}")
        else:
            asked = self._server.hits(f"ok~{name}-{way.name}")
            cell.pool = "failed over" if asked else "answered"
        if cell.pool_requests > ATTEMPTS:
            cell.wrong.append(f"{cell.pool_requests} requests reached the faulty node")


def _asked(way: Way, urls: list[str]) -> tuple[Answer | None, Exception | None]:
    try:
        return way.ask(urls), None
    except Exception as error:  # whatever it is goes into the matrix
        return None, error


def _misjudged(way: Way, name: str, verdict: hf.Verdict) -> list[str]:
    """What the verdict is, where it is not what the tables say."""
    expected = (STREAMED if way.stream else EXPECTED).get(name)
    if expected is None or verdict.kind == expected[1]:
        return []
    # What broke after content had come is judged by what broke it, or simply as a broken stream.
    if speaks_first(way, name):
        return []
    return [f"judged {verdict.kind}, not {expected[1]}"]


def _too_many(way: Way, name: str, requests: int) -> list[str]:
    most = 1 if own_fault(name) or speaks_first(way, name) else ATTEMPTS
    return [f"{requests} requests reached the server, not {most}"] if requests > most else []


def play(matrix: Matrix, only: str) -> Iterator[Cell]:
    """Plays every cell, several at a time; a cell that does not end is one that hangs."""
    pairs = [(way, name) for name in scenario_names() for way in WAYS if applies(way, name)]
    pairs = [(way, name) for way, name in pairs if only in name or only in way.name]
    for way in {way.name: way for way, _ in pairs}.values():
        matrix.cell(
            way, "ok"
        )  # the libraries load half of themselves at first use, which takes longer than a clock
    workers = ThreadPoolExecutor(WORKERS)
    running: list[tuple[Way, str, Future[Cell]]] = [
        (way, name, workers.submit(matrix.cell, way, name)) for way, name in pairs
    ]
    for way, name, future in running:
        try:
            # The clock starts when its turn comes: everything before it in the list has ended.
            yield future.result(timeout=HANG)
        except StillRunning:
            yield Cell(way.name, name, wrong=[f"hangs: not done after {HANG:g} s"])
    workers.shutdown(wait=False, cancel_futures=True)


def report(cells: list[Cell]) -> str:
    """One line per fault and outcome, with the clients that share it."""
    lines = [f"{'fault':<32} {'verdict':<22} {'guard':<22} {'pool':<12} {'requests':<9} {'s':>5}  clients"]
    by_fault: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_fault[cell.fault].append(cell)
    for fault, row in by_fault.items():
        groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
        for cell in row:
            groups[cell.verdict, cell.alone, cell.pool, cell.requests, cell.pool_requests].append(cell)
        for (verdict, alone, pool, requests, pool_requests), same in groups.items():
            asked = f"{requests} + {pool_requests}"
            slowest = max(cell.seconds for cell in same)
            who = f"all {len(row)}" if len(same) == len(row) else ", ".join(cell.client for cell in same)
            lines.append(
                f"{fault:<32} {verdict:<22} {alone:<22} {pool:<12} {asked:<9} {slowest:>5.1f}  {who}"
            )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Plays the matrix, prints it, and says whether everything is as it must be."""
    parser = argparse.ArgumentParser(prog="faults.matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="only faults or clients whose name contains this")
    parser.add_argument("--json", type=Path, help="where to write every cell")
    asked = parser.parse_args(argv)
    logging.getLogger("holdfast").setLevel(logging.ERROR)
    began = time.monotonic()
    with FaultServer() as server:
        cells = list(play(Matrix(server), asked.only))
        took = time.monotonic() - began
        print(report(cells))
        if asked.json is not None:
            asked.json.parent.mkdir(parents=True, exist_ok=True)
            asked.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n", "utf-8")
    wrong = [cell for cell in cells if cell.wrong]
    requests = sum(cell.requests + cell.pool_requests for cell in cells)
    print(f"\n{len(cells)} cells, {requests} requests to faulty servers, {took:.0f} s, {len(wrong)} wrong")
    for cell in wrong:
        print(f"  {cell.client}, {cell.fault}: {'; '.join(cell.wrong)}")
    return 1 if wrong or not cells else 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Not sys.exit: a call that hangs would keep its thread, and with it the process, alive.
    os._exit(status)

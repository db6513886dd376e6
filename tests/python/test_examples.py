"""Each example runs offline, as a program of its own, and prints what makes its idea visible."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# What each prints; "…" stands for anything.
PRINTED: dict[str, str] = {
    "01_quick_start": """
        first heard: What is a breaker?
        second heard: What is a heartbeat?
        second heard: What is a failover?
        second heard: What is a retry?
        calls that reached the first: 3
        calls that reached the second: 3
        first: up, last error overloaded
        second: up, last error None
    """,
    "02_circuit_breaker": """
        sun in Bern                                   circuit closed
        failed: the weather service is down           circuit closed
        failed: the weather service is down           circuit closed
        failed: the weather service is down           circuit open
        refused, worth asking again in 0.… s          circuit open
        refused, worth asking again in 0.… s          circuit open
        sun in Bern                                   circuit half_open
        sun in Bern                                   circuit closed
        8 calls: 6 asked the service, 2 were refused
    """,
    "03_retry_and_budget": """
        the answer after 3 attempts
        ConnectionError('reset') after 2 attempts
        holdfast: 2 failed attempts: #1 (…), #2 (…)
        100 calls made 110 requests, not 300; budget left: 0
    """,
    "04_timeouts_and_deadlines": """
        an answer from the second attempt (… s)
        the search may take 0.6 s
        the summary may take 0.… s
        given up: the call took longer than its total timeout of 0.6 s
    """,
    "05_failover": """
        both are up:      ['main', 'main', 'main']
        main has stopped: ['spare', 'spare', 'spare']
        why not main?     breaker open
        main is back:     ['main', 'main', 'main']
        9 calls, 2 moved to another node, 0 refused
    """,
    "06_heartbeat_and_detectors": """
        all is well: main
          node_marked_failed: main
        main is ill: spare
          recovery_completed: main
        main is well again: main
        silent for 0.5 s: phi is 0.0
        silent for 1.0 s: phi is 0.3
        silent for 1.3 s: phi is 2.9
        silent for 1.6 s: phi is 10.8
    """,
    "07_streaming": """
        cut before the first word:  second heard: Are you there?
        handed out: 'first'
        handed out: ' heard:'
        handed out: ' Are'
        cut in the middle, received: 'first heard: Are'
        cut, and resumed elsewhere: first | heard: | Are | second | heard: | Go | on | after | 'first | heard: | Are'.
    """,
    "08_agent": """
        human: How is the weather in Zürich?
           ai: ['get_weather']
         tool: sun, 25 degrees
           ai: model heard: How is the weather in Zürich?
        requests to the model: 4, for 2 answers
        calls of the tool: 2, for 1 result
    """,
    "09_openai_client": """
        True server heard: Hello
        server heard: Hello (after 3 requests)
        the client's own InternalServerError, after 3 requests
        the call took longer than its total timeout of 0.3 s (waited … s)
    """,
    "10_limits_for_a_batch": """
        40 labels, at most 8 calls at once
        40 calls at 100 a second, 20 of them at once: … s
        without a line: 8 served, 32 refused at once
    """,
    "11_hedge": """
        steady on question 4
        steady on question 9
        steady on question 14
        steady on question 19
        20 answers, 4 hedges; without them the slowest takes 2 s, with them less: True
        4 extra requests, 4 losers cancelled
    """,
    "12_last_good_answer": """
        up:   1.05 EUR
        down: 1.05 EUR
        down: no rate is known
        event fallback_used: last_good
        event fallback_used: value
    """,
    "13_events_and_metrics": """
        main on tea
        spare on tea
        main on tea
        event: node_marked_failed main
        event: failover_started main
        event: failover_completed main
        event: recovery_started main
        event: recovery_completed main
        warning: node main of chain has failed (report: its status page says so)
        3 calls, 1 outage, 1 recovery
        fault tolerance 100%, balance of the load 50%
        main: up, ready: True, outages: 1
        spare: up, ready: True, outages: 0
    """,
    "14_testing": """
        the search has failed: open
        after 29 s: open, worth asking in 1 s
        after 30 s: closed
        events: circuit_opened, circuit_half_opened, circuit_closed
        policies switched off: 1 attempt
        30 s of waiting took less than a second: True
    """,
    "15_processes": """
        both run:            ['first', 'second', 'first', 'second']
        first was killed:    ['second', 'second', 'second', 'second']
        first was restarted: ['first', 'second', 'first', 'second'] as another process: True
        at the end none runs: True
    """,
    "16_chaos": """
        out of 200 calls are answered
        unguarded:             135
        two attempts:          178
        three attempts:        193
        three and a fallback:  200
        chaos switched off:    200
    """,
    "17_priorities": """
        low      4 served, 16 refused at once
        normal   6 served,  4 refused at once
        high    10 served,  0 refused at once
    """,
}


def lines(text: str) -> list[str]:
    """The lines of a block, without the indentation that they have in common with it."""
    return [line.removeprefix(" " * 8) for line in text.strip("\n").splitlines()[:-1]]


def is_like(line: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line) is not None


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_shows_its_idea(name: str, tmp_path: Path) -> None:
    """It ends well, prints what it promises, and talks to nobody outside this machine."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    printed, expected = done.stdout.splitlines(), lines(PRINTED[name])
    assert len(printed) == len(expected), done.stdout
    assert [pair for pair in zip(printed, expected, strict=True) if not is_like(*pair)] == []


def test_every_example_is_run() -> None:
    """The numbers are without gaps, and no example is missing above."""
    there = sorted(path.stem for path in EXAMPLES.glob("[0-9]*.py"))
    assert there == sorted(PRINTED)
    assert [int(name[:2]) for name in there] == list(range(1, len(there) + 1))


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_is_short_and_says_what_it_is(name: str) -> None:
    """One idea: a page of code, below a docstring that says what runs and that it runs offline."""
    source = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert len(source.splitlines()) <= 80
    assert source.startswith('"""')
    assert "Runs offline" in source.partition('"""\n\n')[0]


def test_the_list_is_complete() -> None:
    """The README of the folder has a line for each example and each application."""
    listed = re.findall(
        r"^\| \[?`(\w+)(?:\.py|/)`", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(
        [*PRINTED, *(path.parent.name for path in EXAMPLES.glob("*/__main__.py"))]
    )

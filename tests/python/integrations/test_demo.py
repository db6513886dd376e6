"""The tour runs, in a process of its own, and what it claims is so."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import holdfast
from holdfast.cli import main


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_tour_holds() -> None:
    """Exit 0 in under 30 s; no call failed; breaker, heartbeat and recovery were seen and measured."""
    start = time.monotonic()
    tour = _run("demo")
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert time.monotonic() - start < 30
    text = tour.stdout
    assert "\x1b" not in text
    assert tour.stderr == ""
    for said in ("SIGKILL", "circuit_opened", "node_marked_failed", "recovery_completed", "Everything held."):
        assert said in text
    assert "FAIL" not in text
    calls = re.search(r"no call failed \(0 of (\d+)\)", text)
    assert calls is not None
    assert int(calls[1]) > 50
    detection = re.search(r"found it down after ([\d.]+) s", text)
    recovery = re.search(r"recovered ([\d.]+) s after", text)
    assert detection is not None
    assert recovery is not None
    assert 0.7 <= float(detection[1]) <= 1.8
    assert float(recovery[1]) <= 5.0


def test_the_tour_tells_what_happened_as_data(tmp_path: Path) -> None:
    """`--json` writes every call with its end, and the events in order; the numbers agree with each other."""
    path = tmp_path / "new" / "tour.json"
    tour = _run("demo", "--json", str(path))
    assert tour.returncode == 0, tour.stdout + tour.stderr
    told = json.loads(path.read_text("utf-8"))
    assert f"no call failed (0 of {told['calls']})" in tour.stdout
    assert told["failed"] == 0
    assert len(told["ends"]) == told["calls"]
    assert {end["node"] for end in told["ends"]} == {"alpha", "beta", "gamma"}
    while_down = [end for end in told["ends"] if 0.5 < end["at"] < told["restarted"]]
    assert {end["node"] for end in while_down} == {"alpha", "gamma"}
    kinds = [event["kind"] for event in told["events"] if event.get("node") == told["victim"]]
    assert kinds.index("node_marked_failed") < kinds.index("recovery_completed")
    assert all(expectation["held"] for expectation in told["expectations"])


def test_the_servers_of_the_tour_are_gone_afterwards() -> None:
    """Every process id that the tour printed belongs to nobody any more."""
    tour = _run("demo")
    processes = [int(pid) for pid in re.findall(r"process (\d+)", tour.stdout)]
    assert len(processes) == 4
    assert not any(_alive(pid) for pid in processes)


def test_without_langchain_openai_it_says_so() -> None:
    """One sentence that says what to install, and exit code 2."""
    program = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'langchain_openai' else find(name, *a)\n"
        "from holdfast.cli import main; sys.exit(main(['demo']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'holdfast[openai]'" in result.stderr


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version; without a command the help names the commands."""
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"holdfast {holdfast.__version__}"
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_an_interrupted_tour_ends_quietly() -> None:
    """Ctrl-C in the middle ends the tour and its servers, with the shell's exit code and no traceback."""
    command = [sys.executable, "-m", "holdfast", "demo"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as tour:
        assert tour.stdout is not None
        assert tour.stderr is not None
        said = ""
        while "All is well" not in said:
            said += tour.stdout.readline()
        tour.send_signal(signal.SIGINT)
        said += tour.stdout.read()
        complaint = tour.stderr.read()
    assert (tour.returncode, complaint) == (130, "")
    assert not any(_alive(int(pid)) for pid in re.findall(r"process (\d+)", said))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_unknown_command_is_refused() -> None:
    """Exit code 2 and a message on standard error."""
    result = _run("nonsense")
    assert result.returncode == 2
    assert "nonsense" in result.stderr


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour needs a terminal, and NO_COLOR turns it off there too."""
    import io

    from holdfast.demo.paint import Painter

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Painter(Terminal()).paint("x", "red") == "\x1b[31mx\x1b[0m"
    assert Painter(io.StringIO()).paint("x", "red") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Painter(Terminal()).paint("x", "red") == "x"

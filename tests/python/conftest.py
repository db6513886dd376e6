"""What every Python test stands on: the installed wheel, and fresh interpreters."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colours import COLOURS, Colour

ROOT = Path(__file__).resolve().parents[2]

# Forking is tested where the system can fork.
collect_ignore = [] if hasattr(os, "fork") else ["test_fork.py"]

FreshPython = Callable[[str], str]


def pytest_sessionstart() -> None:
    """Refuse to test the tree: what users get is the wheel, and only the wheel has the native module."""
    import holdfast

    where = Path(holdfast.__file__).resolve()
    if where.is_relative_to(ROOT / "python"):
        why = f"holdfast was imported from {where}; run `make test-python`"
        pytest.exit(why, returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture
def fresh_python(tmp_path: Path) -> FreshPython:
    """Runs code in a new interpreter, outside the tree, warnings as errors; returns what it printed."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(params=COLOURS, ids=repr)
def colour(request: pytest.FixtureRequest) -> Colour:
    """Each colour of callable in turn."""
    found: Colour = request.param
    return found


@pytest.fixture
def clock() -> Iterator[object]:
    """Time that stands still until the test moves it."""
    from holdfast.testing import ManualClock

    with ManualClock() as manual:
        yield manual


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What was reported as unraisable during the test, which is then no failure of it."""
    caught: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: caught.append(report.exc_value))
    return caught

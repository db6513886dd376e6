"""The soak, small: what `make soak` runs for long, run for seconds."""

from __future__ import annotations

import os

import pytest

from soak.calls import soak
from soak.exits import exit_often


@pytest.mark.parametrize("seed", [1, 2])
def test_calls_under_faults_end_in_one_outcome_each(seed: int) -> None:
    """Kills, stalls, flaps, joins, drains from threads and a loop: nothing lost, nothing left in flight."""
    report = soak(6_000, nodes=50, seed=seed)
    assert report.complaints() == [], f"seed {seed}"
    assert report.outcomes["answered"] > 3_000, report.outcomes


def test_exits_with_every_kind_of_probe_are_clean() -> None:
    """Native, plain and async probes beating, sync and async listeners: the interpreter exits."""
    assert exit_often(8) == {"well": 8}


if hasattr(os, "fork"):

    def test_r2_forks_under_load_all_end_well() -> None:
        """R2: in a process of its own, because forking beside pytest's threads is not the point."""
        import subprocess
        import sys
        from pathlib import Path

        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "soak.forks", "--times", "60"]
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout) == (0, "60 forks under load: {'well': 60}\n"), done.stderr

"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from holdfast._localserver import LocalServer

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)


def _run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_s_code_runs() -> None:
    """All blocks, in order, as a reader would type them, against a local server in OpenAI's place."""
    with LocalServer("alpha") as server:
        said = _run("\n".join(BLOCKS), OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="none")
    assert said.splitlines() == [
        "alpha heard: What is a circuit breaker? {'node': 'main', 'attempts': 1}",
        "alpha heard: What is a heartbeat?",
        "['a page about heartbeats']",
    ]
    assert len(server.requests) == 2


def test_the_quick_start_is_quick() -> None:
    """The first block is ten lines of code, and there are blocks at all."""
    assert len(BLOCKS) == 4
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 10

"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


SAID = (
    "alpha heard: What is a circuit breaker? {'node': 'main', 'attempts': 1}\n",
    "['a page about heartbeats']\n",
)


@pytest.mark.parametrize(("number", "said"), list(enumerate(SAID)))
def test_the_readme_s_code_runs(number: int, said: str) -> None:
    """Each block by itself, as a reader would paste it, against a local server in OpenAI's place."""
    with LocalServer("alpha") as server:
        assert _run(BLOCKS[number], OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="none") == said
        assert len(server.requests) == ("langchain" in BLOCKS[number])


def test_the_quick_start_is_quick() -> None:
    """Each block is ten lines of code at most, and there are blocks at all."""
    assert len(BLOCKS) == len(SAID)
    for block in BLOCKS:
        assert len([line for line in block.splitlines() if line.strip()]) <= 10

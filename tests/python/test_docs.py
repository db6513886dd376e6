"""The code on the pages of the documentation runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast._localserver import LocalServer

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {
    page.relative_to(DOCS).as_posix(): blocks
    for page in sorted(DOCS.rglob("*.md"))
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL))
}


def test_there_are_pages_with_code() -> None:
    """The pages below are found at all."""
    assert {"policies/retry.md", "policies/failover.md", "policies/circuit-breaker.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_s_code_runs(page: str) -> None:
    """All blocks of a page, in order, in one fresh interpreter with a local server in OpenAI's place."""
    with LocalServer("alpha") as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", "\n".join(PAGES[page])],
            capture_output=True,
            text=True,
            timeout=45,
            check=False,
            env={**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none"},
        )
    assert done.returncode == 0, done.stderr

"""The code on the pages of the documentation runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast as hf
from holdfast._localserver import LocalServer

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXTS = {page.relative_to(DOCS).as_posix(): page.read_text("utf-8") for page in sorted(DOCS.rglob("*.md"))}
PAGES = {
    name: blocks
    for name, text in TEXTS.items()
    if (blocks := re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
}
POLICIES = [name for name in TEXTS if name.startswith("policies/")]
# How a block that is not run may be marked: everything else would be code that nobody has tried.
NOT_RUN = {"text", "sh", "toml", "markdown", "{eval-rst}", "{toctree}"}


def test_there_are_pages_with_code() -> None:
    """The pages below are found at all."""
    assert {"policies/retry.md", "policies/failover.md", "policies/circuit-breaker.md"} <= set(PAGES)


def test_no_code_escapes() -> None:
    """Each fence is either Python, which is run below, or of a kind that is not code of ours; none is indented."""
    for name, text in TEXTS.items():
        fences = re.findall(r"^([ \t]*)`{3,}([^\n`]*)$", text, flags=re.MULTILINE)
        opened = fences[::2]
        assert len(fences) % 2 == 0, name
        assert all(not indent for indent, _ in fences), f"{name}: an indented block is not run"
        kinds = {kind for _, kind in opened} - NOT_RUN
        assert kinds <= {"python"}, f"{name}: {kinds}"
        assert sum(kind == "python" for _, kind in opened) == len(PAGES.get(name, [])), name


@pytest.mark.parametrize("page", POLICIES)
def test_a_policy_s_page_is_whole(page: str) -> None:
    """What it is for, its defaults with reasons, patterns, and what not to do with it."""
    text = TEXTS[page]
    about = text.partition("\n\n")[2].partition("\n\n")[0]
    assert about.strip(), "it begins by saying what it is for"
    assert page in PAGES, "it shows it"
    header = r"^\| (field|setting|detector) \| (default|convicts) \|.*\b(why|reason|good for)\b.*\|$"
    assert re.search(header, text, flags=re.MULTILINE), "its defaults stand in a table, with reasons"
    for heading in ("## Patterns", "## Anti-patterns"):
        _, found, rest = text.partition(f"\n{heading}\n")
        points = re.findall(r"^- \*\*", rest.partition("\n## ")[0], flags=re.MULTILINE)
        assert found, heading
        assert len(points) >= 3, f"{heading}: {len(points)} points"


def test_the_reference_is_complete() -> None:
    """Every public name has its entry in the API reference, and every entry is public."""
    text = TEXTS["api.md"]
    entries = set(re.findall(r"^\.\. auto(?:class|function|data):: (\w+)$", text, flags=re.MULTILINE))
    errors = re.search(r"automodule:: holdfast\._exceptions\n +:members: (.*)", text)
    assert errors is not None
    entries |= set(errors[1].split(", "))
    assert entries == set(hf.__all__) - {"__version__"}


def test_every_page_is_in_the_index() -> None:
    """No page is left out of the site, and no decision out of their list."""
    listed = TEXTS["index.md"].splitlines()
    for name in TEXTS:
        stem = name.removesuffix(".md")
        if name.startswith("decisions/0"):
            assert f"({Path(name).name})" in TEXTS["decisions/README.md"], name
        elif name != "index.md":
            assert stem in listed or f"{stem.partition('/')[0]}/*" in listed, name


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

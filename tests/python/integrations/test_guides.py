"""What the guides on streams and on the defaults show is what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from faults import FaultServer
from faults.shapes import TEXT

DOCS = Path(__file__).resolve().parents[3] / "docs"
HALF = "".join(TEXT[:2])


def run(page: str) -> dict[str, Any]:
    """The names that a page's code blocks define, run in order."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), flags=re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    return names


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def model(server: FaultServer, scenario: str) -> ChatOpenAI:
    return ChatOpenAI(model="stub", api_key=SecretStr("k"), base_url=server.url(scenario, "/v1"), timeout=5.0)


def test_the_guide_to_streams(server: FaultServer) -> None:
    """Its functions do what it says: tell of a cut, go on after it, ask a validator, check nothing."""
    names = run("guides/streaming.md")
    told = "".join(names["tell"](model(server, "cut-clean"), "hi"))
    assert told == f"{HALF} […cut off after {len(HALF)} characters]"
    gone_on = "".join(chunk.text for chunk in names["patient"](model(server, "cut-clean@1"), "hi"))
    assert gone_on == HALF + "".join(TEXT)
    with pytest.raises(hf.Truncated, match="refused by validate"):
        list(names["polite"](model(server, "ok")).stream("hi"))
    assert names["unchecked"](model(server, "cut-clean")).invoke("hi").text == "".join(TEXT)
    assert "".join(c.text for c in names["unchecked"](model(server, "cut-clean")).stream("hi")) == HALF


def test_the_page_on_the_defaults() -> None:
    """Its overrides are those that it says."""
    names = run("policies/llm-defaults.md")
    assert names["ask"]("?") == "…"
    assert (names["patient"].retry.attempts, names["patient"].timeout.total) == (5, 900.0)
    assert names["bare"].breaker is None

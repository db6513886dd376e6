"""What the tests of the integrations share: servers on loopback and the real ChatOpenAI in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_openai")

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from holdfast._localserver import LocalServer, ServerProcess


@pytest.fixture
def alpha() -> Iterator[LocalServer]:
    """A server on a thread of this process."""
    with LocalServer("alpha") as server:
        yield server


@pytest.fixture
def beta() -> Iterator[LocalServer]:
    """Another one."""
    with LocalServer("beta") as server:
        yield server


@pytest.fixture
def chat() -> Callable[..., ChatOpenAI]:
    """Makes a ChatOpenAI for a server, with the SDK's retries at their default (on)."""

    def make(server: LocalServer | ServerProcess, **fields: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model="m", base_url=server.base_url, api_key=SecretStr("none"), timeout=10.0, **fields
        )

    return make

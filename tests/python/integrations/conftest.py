"""What the tests of the integrations share: servers on loopback and the real ChatOpenAI in front of them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from holdfast._localserver import LocalServer, ServerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the SDK's asynchronous connections end as they do for everybody who calls `asyncio.run` twice.

    Their pool outlives the event loop they were opened in, and nothing can close them properly after that.
    """
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def no_litter() -> Iterator[None]:
    """Collects those connections before the tests of another module run, where they would be an error."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


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

"""LangChain's own standard suites for chat models, asked of the guarded ones.

On a healthy server, and on one that answers every second request with 503, beginning with the first. How
many a bare ChatOpenAI without retries fails there, `make standard-bare` shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import FailoverChatModel, with_resilience

BARE = "HOLDFAST_BARE" in os.environ
"""Ask the bare model in the place of the guarded one, to see the difference."""

FLAKY = Faults(status=503, every=2)
# Shared by all the tests, and so would its budget be: half of all requests fail.
AT_ONCE = hf.Retry(3, backoff=hf.constant(0), budget=None)

# The suites say themselves what a model must support to be asked about it (images, audio, caching).
pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    # Of pydantic, about what langchain-openai puts into `parsed`, and of the suite's own V1 schema.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning"),
]


class Factory:
    """Stands where the suites want a class: it makes a model, and knows what its class would say."""

    def __init__(self, make: Callable[..., BaseChatModel]) -> None:
        self._make = make
        self.bind_tools = ChatOpenAI.bind_tools
        self.with_structured_output = ChatOpenAI.with_structured_output
        self.is_lc_serializable = ChatOpenAI.is_lc_serializable

    def __call__(self, **params: Any) -> BaseChatModel:
        return self._make(**params)


def guarded(**params: Any) -> BaseChatModel:
    if BARE:
        return ChatOpenAI(**params, max_retries=0)
    return with_resilience(ChatOpenAI(**params), retry=AT_ONCE)


def pooled(**params: Any) -> BaseChatModel:
    nodes = [hf.Node(name, ChatOpenAI(**params)) for name in ("first", "second")]
    return FailoverChatModel(nodes, retry=AT_ONCE)


class OnAServer:
    """What the suites are told, and a fresh server for each of their tests."""

    make: Callable[..., BaseChatModel] = staticmethod(guarded)
    faults = Faults()

    @pytest.fixture(autouse=True)
    def served(self) -> Iterator[None]:
        with LocalServer("standard", faults=self.faults) as server:
            self.server = server
            yield

    @property
    def chat_model_class(self) -> Any:
        return Factory(self.make)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "m", "base_url": self.server.base_url, "api_key": "none", "stream_usage": True}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "another"


class Same:
    """Compares with what the bare model is dumped as, in the place of a stored snapshot."""

    def __init__(self, model: BaseChatModel) -> None:
        self._dump = dumpd(model)

    def __call__(self, name: str) -> Any:
        return self._dump


class UnitTests(OnAServer, ChatModelUnitTests):
    """The unit suite."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"OPENAI_API_KEY": "none"}, {"model": "m"}, {"model_name": "m"}

    @pytest.fixture
    def snapshot(self) -> Same:
        return Same(ChatOpenAI(**self.chat_model_params, max_retries=0))


class TestGuardedUnit(UnitTests):
    """A guarded ChatOpenAI is a ChatOpenAI."""


class TestGuarded(OnAServer, ChatModelIntegrationTests):
    """A guarded ChatOpenAI on a healthy server."""


class TestGuardedOnAFlakyServer(OnAServer, ChatModelIntegrationTests):
    """A guarded ChatOpenAI where every second request fails."""

    faults = FLAKY


class TestPool(OnAServer, ChatModelIntegrationTests):
    """A pool of two on a healthy server."""

    make = staticmethod(pooled)


class TestPoolOnAFlakyServer(OnAServer, ChatModelIntegrationTests):
    """A pool of two where every second request fails."""

    make = staticmethod(pooled)
    faults = FLAKY

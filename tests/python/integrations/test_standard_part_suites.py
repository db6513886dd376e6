"""LangChain's own standard suites for embeddings, tools, retrievers and vector stores, asked of the guarded ones.

On a healthy server, and on one that answers every second request with 503, beginning with the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, tool
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_openai import OpenAIEmbeddings
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests
from pydantic import SecretStr

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import with_resilience

FLAKY = Faults(status=503, every=2)
AT_ONCE = hf.Retry(3, backoff=hf.constant(0), budget=None)

pytestmark = pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")


def bare_embeddings(server: LocalServer) -> OpenAIEmbeddings:
    """Without retries of its own: what fails on the flaky server without a guard."""
    return OpenAIEmbeddings(
        model="e",
        base_url=server.base_url,
        api_key=SecretStr("none"),
        check_embedding_ctx_length=False,
        max_retries=0,
    )


class OnAServer:
    """A fresh server for each test."""

    faults = Faults()

    @pytest.fixture(autouse=True)
    def served(self) -> Iterator[None]:
        with LocalServer("standard", faults=self.faults) as server:
            self.server = server
            yield


# Embeddings


class EmbeddingsOnAServer(OnAServer):
    @property
    def embeddings_class(self) -> Any:
        return lambda **params: with_resilience(OpenAIEmbeddings(**params), retry=AT_ONCE)

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": "e",
            "base_url": self.server.base_url,
            "api_key": "none",
            "check_embedding_ctx_length": False,
        }


class TestEmbeddingsUnit(EmbeddingsOnAServer, EmbeddingsUnitTests):
    """The unit suite."""


class TestEmbeddings(EmbeddingsOnAServer, EmbeddingsIntegrationTests):
    """The integration suite."""


class TestEmbeddingsFlaky(TestEmbeddings):
    """The same where every second request fails."""

    faults = FLAKY


# Tools


def ask_tool(server: LocalServer) -> BaseTool:
    """A tool that asks the server, and does not try again itself."""
    client = openai.OpenAI(api_key="none", base_url=server.base_url, max_retries=0)

    @tool
    def ask(question: str, loudly: bool = False) -> str:
        """Asks the model.

        Args:
            question: What to ask.
            loudly: Whether to shout.
        """
        made = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
        said = made.choices[0].message.content or ""
        return said.upper() if loudly else said

    return ask


class ToolsOnAServer(OnAServer):
    @property
    def tool_constructor(self) -> Any:
        return with_resilience(ask_tool(self.server), retry=AT_ONCE)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "anything", "loudly": True}


class TestToolsUnit(ToolsOnAServer, ToolsUnitTests):
    """The unit suite."""


class TestTools(ToolsOnAServer, ToolsIntegrationTests):
    """The integration suite."""


class TestToolsFlaky(TestTools):
    """The same where every second request fails."""

    faults = FLAKY


# Retrievers


class TestRetrievers(OnAServer, RetrieversIntegrationTests):
    """The integration suite, of a retriever whose embeddings come from the server."""

    @pytest.fixture(autouse=True)
    def filled(self, served: None) -> None:
        # With texts embedded while nothing failed: it is the retriever that is asked here.
        self.server.faults = Faults()
        self.store = InMemoryVectorStore(bare_embeddings(self.server))
        self.store.add_texts([f"text {n}" for n in range(12)])
        self.server.faults = self.faults

    @property
    def retriever_constructor(self) -> Any:
        def make(k: int = 4) -> BaseRetriever:
            return with_resilience(self.store.as_retriever(search_kwargs={"k": k}), retry=AT_ONCE)

        return make

    @property
    def retriever_query_example(self) -> str:
        return "text 1"


class TestRetrieversFlaky(TestRetrievers):
    """The same where every second request fails."""

    faults = FLAKY


# Vector stores


class TestVectorStores(OnAServer, VectorStoreIntegrationTests):
    """The integration suite; texts without ids are added once, so the embeddings have a guard of their own."""

    @pytest.fixture
    def vectorstore(self) -> VectorStore:  # type: ignore[override]
        embeddings = with_resilience(bare_embeddings(self.server), retry=AT_ONCE)
        return with_resilience(InMemoryVectorStore(embeddings), retry=AT_ONCE)

    @staticmethod
    def get_embeddings() -> Embeddings:
        raise NotImplementedError("the store's own come from the server")


class TestVectorStoresFlaky(TestVectorStores):
    """The same where every second request fails."""

    faults = FLAKY


def test_bare_ones_fail_there() -> None:
    """The fault is real: what the suites pass above fails without a guard."""
    with LocalServer("standard", faults=FLAKY) as server:
        with pytest.raises(openai.InternalServerError):
            bare_embeddings(server).embed_query("x")
        server.faults = FLAKY
        with pytest.raises(openai.InternalServerError):
            ask_tool(server).invoke({"question": "x"})
        server.faults = FLAKY
        with pytest.raises(openai.InternalServerError):
            InMemoryVectorStore(bare_embeddings(server)).add_documents([Document("x")])

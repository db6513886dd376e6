"""Runnables behind a pipeline, and several behind a manager.

A chat model becomes a chat model (`chat_model.py`), a binding stays a binding around its guarded model.
Everything else (retrievers, chains, lambdas) becomes a `ResilientRunnable`, guarded on every path that
LangChain has (`_paths.py`); a batch element by element, so that one element's failure costs only that one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.vectorstores import VectorStore

import holdfast as hf
from holdfast._chat import is_chat_model
from holdfast.langchain._copies import without_sdk_retries
from holdfast.langchain._nodes import Targets, manager_for_llms
from holdfast.langchain._paths import Bare, GuardedPaths, Input, Output
from holdfast.langchain.chat_model import guard_chat_model
from holdfast.langchain.embeddings import guard_embeddings
from holdfast.langchain.retrievers import guard_retriever
from holdfast.langchain.tools import guard_tool
from holdfast.langchain.vectorstores import guard_vector_store

Part = TypeVar("Part", bound=Runnable[Any, Any] | Embeddings | VectorStore)


def with_resilience(runnable: Part, **fields: Any) -> Part:
    """The runnable with retries, a breaker and whatever else `holdfast.Pipeline` offers.

    Args:
        runnable: A chat model comes back as a model of the same class, a binding of one as a binding; so do
            tools, retrievers, embeddings and vector stores; any other runnable as a `ResilientRunnable`. It is
            not changed: the retries of its SDK are off on a copy.
        fields: The fields of `holdfast.Pipeline`; the defaults are those of `holdfast.llm_defaults`.

    Raises:
        ConfigurationError: A field breaks a rule.
    """
    return hf.llm_defaults(**fields)(runnable)


def wrap_runnable(pipeline: Any, runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The runnable behind the pipeline; what a policy applied to a runnable as a decorator gives."""
    match runnable:
        case BaseChatModel():
            return guard_chat_model(pipeline, runnable)
        case RunnableBinding():
            return runnable.model_copy(update={"bound": wrap_runnable(pipeline, runnable.bound)})
        case BaseTool():
            return guard_tool(pipeline, runnable)
        case BaseRetriever():
            return guard_retriever(pipeline, runnable)
        case _:
            return ResilientRunnable(pipeline, runnable)


def wrap_part(pipeline: Any, part: Embeddings | VectorStore) -> Embeddings | VectorStore:
    """What is no runnable: embeddings and vector stores, behind the pipeline."""
    if isinstance(part, VectorStore):
        return guard_vector_store(pipeline, part)
    return guard_embeddings(pipeline, part)


class _Guarded(GuardedPaths[Input, Output], Runnable[Input, Output]):
    """What a guarded runnable and a pool of them share: what they say of themselves.

    One call is one run in the trace, with a child for each attempt, as LangChain's own retries have it.
    """

    @property
    @abstractmethod
    def _model(self) -> Runnable[Any, Any]:
        """The runnable that speaks for this one where its types are asked for."""

    @property
    def InputType(self) -> type[Any]:  # noqa: N802
        """The type of input of the guarded runnable."""
        return self._model.InputType

    @property
    def OutputType(self) -> type[Any]:  # noqa: N802
        """The type of output of the guarded runnable."""
        return self._model.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        """The input schema of the guarded runnable."""
        return self._model.get_input_schema(config)

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        """The output schema of the guarded runnable."""
        return self._model.get_output_schema(config)

    def get_graph(self, config: RunnableConfig | None = None) -> Any:
        """The graph of the guarded runnable: a guard is no step of its own."""
        return self._model.get_graph(config)

    @property
    def config_specs(self) -> list[Any]:
        """What can be configured in the guarded runnable."""
        return self._model.config_specs


class ResilientRunnable(_Guarded[Input, Output]):
    """A runnable behind a pipeline.

    Args:
        pipeline: The `Pipeline` that every call, stream or batch element goes through.
        runnable: The runnable. It is not changed.
    """

    def __init__(self, pipeline: Any, runnable: Runnable[Any, Any]) -> None:
        self.pipeline: Any = pipeline
        self.bound: Runnable[Any, Any] = without_sdk_retries(runnable)
        self.name: str | None = runnable.get_name()

    @property
    def _model(self) -> Runnable[Any, Any]:
        return self.bound

    def _speaks(self) -> bool:
        return is_chat_model(self.bound)

    def _run(self, attempt: Callable[[Bare, str | None], Any]) -> Any:
        return self.pipeline.call(attempt, self.bound, None)

    async def _arun(self, attempt: Callable[[Bare, str | None], Awaitable[Any]]) -> Any:
        return await self.pipeline.acall(attempt, self.bound, None)

    def _run_stream(self, attempt: Callable[[Bare, str | None], Iterator[Any]]) -> Iterator[Any]:
        return cast("Iterator[Any]", self.pipeline.stream(attempt, self.bound, None))

    def _run_astream(self, attempt: Callable[[Bare, str | None], AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", self.pipeline.astream(attempt, self.bound, None))


class FailoverRunnable(_Guarded[Input, Output]):
    """One runnable over several: a call that fails on one node goes on at the next.

    Args:
        nodes: `holdfast.Node`s whose targets are runnables. They are not changed; the retries of their SDKs
            are off on the copies that are used.
        fields: The fields of `holdfast.FailoverManager`; the defaults are those of `holdfast.llm_defaults`.

    Raises:
        ConfigurationError: A target is not a runnable, or the manager refuses a field.
    """

    def __init__(self, nodes: Sequence[Any], **fields: Any) -> None:
        nodes = list(nodes)
        self.manager: Any = manager_for_llms(nodes, Runnable, fields)
        self.name: str | None = fields.get("name")
        self._targets = Targets()
        self._first = self._targets.of(nodes[0].target)
        self._all_speak = all(is_chat_model(node.target) for node in nodes)

    @property
    def _model(self) -> Runnable[Any, Any]:
        return cast("Runnable[Any, Any]", self._first)

    def _speaks(self) -> bool:
        return self._all_speak

    def _run(self, attempt: Callable[[Bare, str | None], Any]) -> Any:
        return self.manager.run(lambda node: attempt(self._targets.of(node.target), node.name))

    async def _arun(self, attempt: Callable[[Bare, str | None], Awaitable[Any]]) -> Any:
        async def on(node: Any) -> Any:
            return await attempt(self._targets.of(node.target), node.name)

        return await self.manager.arun(on)

    def _run_stream(self, attempt: Callable[[Bare, str | None], Iterator[Any]]) -> Iterator[Any]:
        return cast(
            "Iterator[Any]",
            self.manager.run_stream(lambda node: attempt(self._targets.of(node.target), node.name)),
        )

    def _run_astream(self, attempt: Callable[[Bare, str | None], AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return cast(
            "AsyncIterator[Any]",
            self.manager.run_astream(lambda node: attempt(self._targets.of(node.target), node.name)),
        )

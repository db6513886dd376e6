"""Tools, retrievers, embeddings and vector stores behind a pipeline: what they are and what they do."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langchain_core.tracers import BaseTracer
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore, VectorStoreRetriever
from langchain_openai import OpenAIEmbeddings
from langgraph.errors import GraphInterrupt
from pydantic import SecretStr

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import with_resilience


def guard(attempts: int = 3, **fields: Any) -> hf.Pipeline:
    return hf.Pipeline(retry=hf.Retry(attempts, backoff=0, budget=None), **fields)


class Failing:
    """Raises the first `times` times it is asked."""

    def __init__(self, times: int, error: Callable[[], Exception] = lambda: ConnectionError("down")) -> None:
        self.times = times
        self.asked = 0
        self._error = error

    def __call__(self) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise self._error()


class Runs(BaseTracer):
    """Collects the names and errors of the runs of a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool]] = []

    def _persist_run(self, run: Any) -> None:
        self.seen.append((run.name, run.error is not None))


# Tools


def weather(down: Failing) -> BaseTool:
    @tool
    def look(city: str, days: int = 1) -> str:
        """Looks out of the window."""
        down()
        return f"{city}: sun for {days}"

    return look


async def test_a_tool_stays_a_tool() -> None:
    """Class, name, schema and arguments are kept; failing twice, it answers at the third attempt, in one run."""
    down = Failing(2)
    own = weather(down)
    guarded = guard()(own)
    assert isinstance(guarded, StructuredTool)
    assert (guarded.name, guarded.description, guarded.args) == (own.name, own.description, own.args)
    assert guarded.get_input_jsonschema() == own.get_input_jsonschema()
    assert inspect.signature(guarded._run) == inspect.signature(own._run)
    runs = Runs()
    asked = guarded.invoke({"city": "Bern", "days": 2}, {"callbacks": [runs]})
    assert asked == "Bern: sun for 2"
    assert runs.seen == [("look", False)]
    assert down.asked == 3
    down.asked = 0
    assert await guarded.ainvoke({"city": "Bern"}) == "Bern: sun for 1"
    assert down.asked == 3


async def test_an_asynchronous_tool_and_its_injected_arguments() -> None:
    """A coroutine is awaited under the clocks, and what LangChain injects arrives."""
    down = Failing(1)

    @tool
    async def look(city: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Looks out of the window."""
        down()
        return f"{city} for {call_id}"

    guarded = guard(timeout=5.0)(look)
    call = {"name": "look", "args": {"city": "Bern"}, "id": "7", "type": "tool_call"}
    assert (await guarded.ainvoke(call)).content == "Bern for 7"
    assert down.asked == 2
    assert "call_id" not in guarded.tool_call_schema.model_json_schema()["properties"]


def test_what_a_tool_says_to_the_model_is_no_failure() -> None:
    """A `ToolException` is raised once, and handled as the tool wants it; the breaker counts a success."""
    down = Failing(9, lambda: ToolException("no such city"))
    breaker = hf.CircuitBreaker(failure_threshold=1)
    guarded = guard(breaker=breaker)(weather(down))
    with pytest.raises(ToolException, match="no such city"):
        guarded.invoke({"city": "Nowhere"})
    assert down.asked == 1
    guarded.handle_tool_error = True
    assert guarded.invoke({"city": "Nowhere"}) == "no such city"
    assert breaker.state == "closed"
    assert breaker.metrics.successes == 2


def test_an_interrupt_passes_through_a_tool() -> None:
    """Control flow of a graph only looks like an error."""
    down = Failing(9, lambda: GraphInterrupt(()))
    breaker = hf.CircuitBreaker(failure_threshold=1)
    with pytest.raises(GraphInterrupt):
        guard(breaker=breaker)(weather(down)).invoke({"city": "Bern"})
    assert down.asked == 1
    assert breaker.metrics.ignored == 1


def test_bad_arguments_never_reach_the_guard() -> None:
    """Validation comes before the attempts."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    with pytest.raises(ValueError, match="city"):
        breaker(weather(Failing(0))).invoke({})
    assert breaker.metrics.calls == 0


# Retrievers


class Shelf(BaseRetriever):
    """A retriever of one's own."""

    down: Any
    found: int = 1

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.down()
        return [Document(f"{query} {n}") for n in range(self.found)]


async def test_a_retriever_stays_a_retriever() -> None:
    """Class and fields are kept; each element of a batch has attempts of its own, in one run each."""
    down = Failing(1)
    guarded = guard()(Shelf(down=down, found=2))
    assert isinstance(guarded, Shelf)
    runs = Runs()
    assert [doc.page_content for doc in guarded.invoke("q", {"callbacks": [runs]})] == ["q 0", "q 1"]
    assert runs.seen == [("Shelf", False)]
    down.asked = 0
    assert len(await guarded.ainvoke("q")) == 2
    down.asked = 0
    assert [len(docs) for docs in guarded.batch(["a", "b", "c"])] == [2, 2, 2]
    assert down.asked == 4


# Embeddings


class Counted(Embeddings):
    """Embeddings of one's own, with pieces of two."""

    chunk_size = 2

    def __init__(self, down: Failing) -> None:
        self.down = down
        self.pieces: list[list[str]] = []
        self.drop = False

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.pieces.append(texts)
        self.down()
        return [[float(len(text))] for text in texts][: 1 if self.drop else None]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


async def test_embeddings_repeat_the_piece_that_failed_and_no_other() -> None:
    """Per batch: three pieces, the first fails once, the others are asked once."""
    own = Counted(Failing(1))
    guarded = guard()(own)
    assert isinstance(guarded, Counted)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    assert guarded.embed_documents(texts) == [[1.0], [2.0], [3.0], [4.0], [5.0]]
    assert own.pieces == [["a", "bb"], ["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert guarded.embed_documents([]) == []
    own.down.asked = 0
    assert await guarded.aembed_query("abc") == [3.0]
    assert await guarded.aembed_documents(texts=texts[:3]) == [[1.0], [2.0], [3.0]]
    assert own.down.asked == 4


def test_a_vector_that_is_missing_is_no_answer() -> None:
    """It would shift all those after it: refused after all attempts, unless nobody is to look."""
    own = Counted(Failing(0))
    own.drop = True
    with pytest.raises(hf.Truncated, match="1 embeddings for 2 texts"):
        guard(2)(own).embed_documents(["a", "b"])
    assert len(own.pieces) == 2
    assert len(guard(validate=False)(own).embed_documents(["a", "b"])) == 1


async def test_openai_embeddings_send_one_request_per_attempt() -> None:
    """A2: the SDK's own retries are off on the copy, the user's object is untouched."""
    with LocalServer("e", faults=Faults(status=503)) as server:
        own = OpenAIEmbeddings(
            model="e",
            base_url=server.base_url,
            api_key=SecretStr("k"),
            check_embedding_ctx_length=False,
        )
        guarded = with_resilience(own, retry=hf.Retry(2, backoff=0, budget=None))
        assert isinstance(guarded, OpenAIEmbeddings)
        with pytest.raises(Exception, match="503"):
            guarded.embed_query("x")
        assert len(server.requests) == 2
        with pytest.raises(Exception, match="503"):
            await guarded.aembed_documents(["x"])
        assert len(server.requests) == 4
        assert own.max_retries == 2


# Vector stores


class Shaky(InMemoryVectorStore):
    """A store whose network fails after the texts have been stored."""

    def __init__(self, down: Failing) -> None:
        super().__init__(DeterministicFakeEmbedding(size=3))
        self.down = down

    def add_documents(self, documents: list[Document], ids: Any = None, **kwargs: Any) -> list[str]:
        stored = super().add_documents(documents, ids, **kwargs)
        self.down()
        return stored

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        self.down()
        return super().similarity_search(query, k, **kwargs)


async def test_a_vector_store_stays_one_and_adds_again_only_what_has_ids() -> None:
    """Without ids a second time would double the texts: one attempt; with them it overwrites."""
    own = Shaky(Failing(1))
    guarded: VectorStore = guard()(own)
    assert isinstance(guarded, Shaky)
    with pytest.raises(ConnectionError):
        guarded.add_texts(["a"])
    assert len(own.store) == 1
    own.down.asked = 0
    guarded.add_texts(texts=["b"], ids=["1"])
    assert len(own.store) == 2
    own.down.asked = 0
    await guarded.aadd_documents([Document("c", id="2")])
    assert len(own.store) == 3


def test_a_vector_store_searches_again_and_so_do_its_retrievers() -> None:
    """Searches are repeated, once per call however they call each other; a retriever of it is guarded by it."""
    own = Shaky(Failing(0))
    own.add_texts(["a", "b"], ids=["1", "2"])
    breaker = hf.CircuitBreaker()
    guarded = guard(breaker=breaker)(own)
    own.down = Failing(1)
    assert len(guarded.search("a", "similarity", k=1)) == 1
    assert breaker.metrics.calls == 2
    own.down = Failing(1)
    retriever = guarded.as_retriever(search_kwargs={"k": 2})
    assert isinstance(retriever, VectorStoreRetriever)
    assert len(retriever.invoke("a")) == 2
    assert breaker.metrics.calls == 4


# All of them


PARTS: dict[str, Callable[[], Any]] = {
    "tool": lambda: weather(Failing(1)),
    "retriever": lambda: Shelf(down=Failing(1)),
    "embeddings": lambda: Counted(Failing(1)),
    "vector store": lambda: Shaky(Failing(1)),
}


@pytest.mark.parametrize("name", PARTS)
def test_every_policy_takes_every_part_and_they_stack(name: str) -> None:
    """Each policy alone, two around each other, and `with_resilience`; copies share the pipeline (R11)."""
    own = PARTS[name]()
    for policy in (hf.Retry(2), hf.CircuitBreaker(), hf.Timeout(5.0), guard(), hf.llm_defaults()):
        guarded = policy(own)
        assert isinstance(guarded, type(own))
        assert type(guarded).__name__ == type(own).__name__
        assert guarded._holdfast_inner is own
    assert isinstance(with_resilience(own, retry=2), type(own))
    stacked = hf.Retry(3, backoff=0, budget=None)(hf.CircuitBreaker()(own))
    assert ask(name, stacked) == ask(name, PARTS[name](), tries=2)
    copied = copy.copy(stacked)
    assert copied._holdfast_pipeline is stacked._holdfast_pipeline


def ask(name: str, part: Any, tries: int = 1) -> Any:
    """One call; tried by hand for the bare part."""
    for _ in range(tries - 1):
        with pytest.raises(ConnectionError):
            ask(name, part)
    match name:
        case "tool":
            return part.invoke({"city": "Bern"})
        case "retriever":
            return part.invoke("q")
        case "embeddings":
            return part.embed_query("abc")
        case _:
            return part.similarity_search("q")

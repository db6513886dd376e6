"""What type checkers know of guarded LangChain objects: they are what they were made from. Read, never run."""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from langchain_anthropic import ChatAnthropic
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

import holdfast as hf
from holdfast.langchain import (
    FailoverChatModel,
    FailoverRunnable,
    ResilienceMiddleware,
    ResilientFallbacks,
    ResilientRetry,
    with_resilience,
)


class Weather(BaseModel):
    """What is asked for."""

    place: str


def length(text: str) -> int:
    """What a runnable does."""
    return len(text)


# A guarded model is of the model's class.
model = with_resilience(ChatOpenAI(model="m"), retry=3, timeout=hf.Timeout(60, first_item=10))
assert_type(model, ChatOpenAI)
assert_type(hf.CircuitBreaker()(ChatAnthropic(model_name="m", timeout=None, stop=None)), ChatAnthropic)
assert_type(hf.llm_defaults()(model), ChatOpenAI)
assert_type(model.invoke("hi"), AIMessage)
assert_type(model.stream("hi"), Iterator[AIMessageChunk])

# So are parts.
assert_type(with_resilience(DeterministicFakeEmbedding(size=3)), DeterministicFakeEmbedding)
assert_type(with_resilience(InMemoryVectorStore(DeterministicFakeEmbedding(size=3))), InMemoryVectorStore)


def parts(tool: BaseTool, retriever: BaseRetriever) -> None:
    """Tools and retrievers keep their classes too."""
    assert_type(with_resilience(tool), BaseTool)
    assert_type(hf.Retry(3)(retriever), BaseRetriever)


# A pool is a chat model.
pool = FailoverChatModel(
    [hf.Node("a", model), hf.Node("b", model, tier=1)], heartbeat=hf.Heartbeat(), tags=["x"]
)
plain: BaseChatModel = pool
assert_type(pool.invoke("hi"), AIMessage)
assert_type(pool.stream("hi"), Iterator[AIMessageChunk])
assert_type(pool.bind_tools([length]).invoke("hi"), AIMessage)
assert_type(pool.manager, hf.FailoverManager)
structured = pool.with_structured_output(Weather)
assert_type(ResilienceMiddleware(retry=3, tools={"length": None}), ResilienceMiddleware)


async def aasks() -> None:
    """Awaited and iterated."""
    assert_type(await pool.ainvoke("hi"), AIMessage)
    assert_type(pool.astream("hi"), AsyncIterator[AIMessageChunk])
    assert_type(await lambda_guarded.ainvoke("x"), int)
    assert_type(await anything.ainvoke("x"), Any)


# Other runnables keep what goes in and what comes out.
lambda_guarded = with_resilience(RunnableLambda(length))
assert_type(lambda_guarded, RunnableLambda[str, int])
assert_type(lambda_guarded.batch(["x"]), list[int])
anything = FailoverRunnable([hf.Node("a", lambda_guarded)], balancer="least_connections")
assert_type(anything.invoke("x"), Any)
counting = FailoverRunnable[str, int]([hf.Node("a", lambda_guarded)])
assert_type(counting.invoke("x"), int)
assert_type(list(counting.stream("x")), list[int])
assert_type(counting.batch(["x"]), list[int])

# What stands in for LangChain's own keeps its types as well.
again = ResilientRetry(bound=RunnableLambda(length), max_attempt_number=4)
assert_type(again.invoke("x"), int)
either = ResilientFallbacks(runnable=RunnableLambda(length), fallbacks=[RunnableLambda(length)])
assert_type(either.invoke("x"), int)
assert_type(again.batch(["x"]), list[int])

# What is no field is refused at run time; what has a wrong type, here too.
ResilienceMiddleware(tools=["search"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
with_resilience(3)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]

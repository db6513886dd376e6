"""Agents whose model is guarded, by itself, as a pool or by the middleware: the same as bare, and they survive.

With tools, structured output and streaming; in every way to run an agent. LangGraph turns `invoke` into a stream
when somebody listens to messages, and a model may say `streaming=True`: both are asked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import FailoverChatModel, ResilienceMiddleware, with_resilience

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated"),
    # Of pydantic, about what langchain-openai puts into `parsed`.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

FLAKY = Faults(status=503, every=2)
ASK: Any = {"messages": [("user", "hi")]}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer("agent") as running:
        yield running


class Weather(BaseModel):
    """What is asked for in the end."""

    place: str
    degrees: int


@tool
def look_up(place: str) -> str:
    """Looks up the weather."""
    return f"sun in {place}"


def model_of(server: LocalServer, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", base_url=server.base_url, api_key=SecretStr("none"), timeout=10.0, **fields)


def agent_of(model: Any, middleware: Any = (), strategy: Any = ToolStrategy) -> Any:
    """It calls its tools one after the other, then gives its structured answer."""
    return create_agent(
        model, tools=[look_up], response_format=strategy(Weather), middleware=list(middleware)
    )


def attempts() -> hf.Retry:
    return hf.Retry(3, backoff=0, budget=None)


def guarded(model: ChatOpenAI, **more: Any) -> Any:
    return agent_of(with_resilience(model, retry=attempts()), **more)


def pooled(model: ChatOpenAI, **more: Any) -> Any:
    nodes = [hf.Node("a", model), hf.Node("b", model.model_copy())]
    return agent_of(FailoverChatModel(nodes, retry=attempts()), **more)


def in_the_middle(model: ChatOpenAI, **more: Any) -> Any:
    return agent_of(model, [ResilienceMiddleware(retry=attempts())], **more)


GUARDS: dict[str, Callable[..., Any]] = {"model": guarded, "pool": pooled, "middleware": in_the_middle}
every_guard = pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS)
both_ways = pytest.mark.parametrize("streaming", [False, True])


def told(state: Any) -> Any:
    """What an agent has said and done, without what differs from run to run."""
    said = [
        (message.type, message.content, message.name, getattr(message, "tool_calls", None))
        for message in state["messages"]
    ]
    return said, state["structured_response"]


def last_values(items: Any) -> Any:
    return [state for kind, state in items if kind == "values"][-1]


async def _amessages(agent: Any) -> Any:
    return last_values([item async for item in agent.astream(ASK, stream_mode=["values", "messages"])])


# In one event loop, for the connections that bare and guarded models may share belong to one.
RUNS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda agent: asyncio.to_thread(agent.invoke, ASK),
    "stream": lambda agent: asyncio.to_thread(lambda: list(agent.stream(ASK, stream_mode="values"))[-1]),
    "messages": lambda agent: asyncio.to_thread(
        lambda: last_values(agent.stream(ASK, stream_mode=["values", "messages"]))
    ),
    "ainvoke": lambda agent: agent.ainvoke(ASK),
    "amessages": _amessages,
}
every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


@every_guard
@every_run
@both_ways
async def test_the_same_wrapped_and_bare(
    server: LocalServer, guard: Callable[..., Any], run: Callable[[Any], Any], streaming: bool
) -> None:
    """Messages, tool calls and the structured answer; the requests on the wire, streamed or not, are the same."""
    model = model_of(server, streaming=streaming)
    expected = told(await run(agent_of(model)))
    requests = list(server.requests)
    assert told(await run(guard(model))) == expected
    assert server.requests[len(requests) :] == requests
    assert expected[1] == Weather(place="place", degrees=1)


@every_guard
@every_run
@both_ways
async def test_it_completes_where_every_other_call_fails(
    server: LocalServer, guard: Callable[..., Any], run: Callable[[Any], Any], streaming: bool
) -> None:
    """And the bare agent without the SDK's retries does not."""
    model = model_of(server, streaming=streaming, max_retries=0)
    expected = told(await run(agent_of(model)))
    server.faults = FLAKY
    assert told(await run(guard(model))) == expected
    server.faults = FLAKY
    with pytest.raises(openai.InternalServerError):
        await run(agent_of(model))


@every_guard
@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom"])
async def test_it_streams_the_same(server: LocalServer, guard: Callable[..., Any], mode: str) -> None:
    """Each stream mode gives the same items in the same order, sync and async."""
    model = model_of(server)

    def shape(item: Any) -> Any:
        if mode == "messages":
            chunk, facts = item
            return type(chunk).__name__, chunk.content, facts["langgraph_node"]
        return sorted(item)

    async def items_of(agent: Any) -> Any:
        sync = [shape(item) for item in agent.stream(ASK, stream_mode=mode)]
        return sync, [shape(item) async for item in agent.astream(ASK, stream_mode=mode)]

    assert await items_of(guard(model)) == await items_of(agent_of(model))


@every_guard
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_it_has_the_same_events(server: LocalServer, guard: Callable[..., Any], version: Any) -> None:
    """The same runs start, stream and end, under the same names but for the pool's and the middleware's own."""
    model = model_of(server)

    async def events_of(agent: Any) -> list[tuple[str, str]]:
        seen = [event async for event in agent.astream_events(ASK, version=version)]
        return [
            (event["event"], event["name"].replace("FailoverChatModel", "ChatOpenAI"))
            for event in seen
            if "ResilienceMiddleware" not in event["name"]
        ]

    assert await events_of(guard(model)) == await events_of(agent_of(model))


@every_guard
@pytest.mark.parametrize("faults", [Faults(), FLAKY], ids=["healthy", "flaky"])
async def test_typed_streams_say_the_same(
    server: LocalServer, guard: Callable[..., Any], faults: Faults
) -> None:
    """`version="v3"`: the messages and their text, healthy or not."""
    model = model_of(server, max_retries=0)

    async def texts_of(agent: Any) -> list[str]:
        run = await agent.astream_events(ASK, version="v3")
        return [str(await message.text) async for message in run.messages]

    expected = await texts_of(agent_of(model))
    server.faults = faults
    assert await texts_of(guard(model)) == expected


@every_guard
@every_run
async def test_a_structured_answer_of_the_provider_s_own_survives(
    server: LocalServer, guard: Callable[..., Any], run: Callable[[Any], Any]
) -> None:
    """Asked for by `response_format`, where no tool call is in its place."""
    model = model_of(server, max_retries=0)
    expected = told(await run(agent_of(model, strategy=ProviderStrategy)))
    assert any("response_format" in request for request in server.requests)
    server.faults = FLAKY
    assert told(await run(guard(model, strategy=ProviderStrategy))) == expected

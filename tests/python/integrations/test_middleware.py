"""Agents behind `ResilienceMiddleware`: real graphs, a real ChatOpenAI, a server on loopback that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, TimeoutPolicy, interrupt
from pydantic import BaseModel, SecretStr

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import FailoverChatModel, ResilienceMiddleware, with_resilience

FLAKY = Faults(status=503, every=2)
DEAD = Faults(status=503)
ASK: Any = {"messages": [("user", "hi")]}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer("agent") as running:
        yield running


def model_of(server: LocalServer, **fields: Any) -> ChatOpenAI:
    """With the SDK's retries at their default (on), as users have it."""
    return ChatOpenAI(model="m", base_url=server.base_url, api_key=SecretStr("none"), timeout=10.0, **fields)


def resilient(**fields: Any) -> ResilienceMiddleware:
    return ResilienceMiddleware(**{"retry": hf.Retry(3, backoff=0, budget=None), **fields})


class Weather(BaseModel):
    """What is asked for in the end."""

    place: str
    degrees: int


@tool
def look_up(place: str) -> str:
    """Looks up the weather."""
    return f"sun in {place}"


@tool
async def listen(seconds: int) -> str:
    """Listens to the wind."""
    return f"silence for {seconds}"


def agent_of(model: Any, middleware: Any = (), tools: Any = (look_up,), **more: Any) -> Any:
    """It calls its tools one after the other, then gives its structured answer."""
    return create_agent(
        model, tools=list(tools), response_format=ToolStrategy(Weather), middleware=list(middleware), **more
    )


def told(state: Any) -> Any:
    """What an agent has said and done, without what differs from run to run."""
    said = [
        (message.type, message.content, message.name, getattr(message, "tool_calls", None))
        for message in state["messages"]
    ]
    return said, state["structured_response"]


# On a healthy provider


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_healthy_agent_is_the_same_wrapped_and_bare(server: LocalServer, streaming: bool) -> None:
    """Messages, tool calls, structured output, in every way to run it; the requests on the wire are the same."""
    model = model_of(server, streaming=streaming)
    bare, wrapped = agent_of(model), agent_of(model, [resilient()])
    expected = told(bare.invoke(ASK))
    requests = server.requests
    assert told(wrapped.invoke(ASK)) == expected
    assert server.requests[len(requests) :] == requests
    assert told(await bare.ainvoke(ASK)) == expected
    assert told(await wrapped.ainvoke(ASK)) == expected
    assert expected[1] == Weather(place="place", degrees=1)
    assert [kind for kind, *_ in expected[0]].count("tool") == 2


@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom"])
async def test_a_healthy_agent_streams_the_same(server: LocalServer, mode: str) -> None:
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

    assert await items_of(agent_of(model, [resilient()])) == await items_of(agent_of(model))


async def test_a_healthy_agent_has_the_same_events(server: LocalServer) -> None:
    """The same runs start and end under the same names, but for the middleware's own hook."""
    model = model_of(server)

    async def events_of(agent: Any) -> list[tuple[str, str]]:
        seen = [event async for event in agent.astream_events(ASK, version="v2")]
        return [
            (event["event"], event["name"]) for event in seen if "ResilienceMiddleware" not in event["name"]
        ]

    assert await events_of(agent_of(model, [resilient()])) == await events_of(agent_of(model))


# On a provider that fails every other call


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_completes_on_a_provider_that_fails_every_other_call(
    server: LocalServer, streaming: bool
) -> None:
    """Invoked or streamed, sync or async; the bare agent without the SDK's retries does not."""
    model = model_of(server, streaming=streaming, max_retries=0)
    expected = told(agent_of(model).invoke(ASK))
    wrapped = agent_of(model, [resilient()])

    def modes_of(agent: Any) -> Any:
        items = list(agent.stream(ASK, stream_mode=["values", "messages"]))
        return [state for kind, state in items if kind == "values"][-1]

    ways: list[Callable[[Any], Any]] = [
        lambda agent: agent.invoke(ASK),
        lambda agent: list(agent.stream(ASK, stream_mode="values"))[-1],
        modes_of,
        lambda agent: asyncio.run(agent.ainvoke(ASK)),
    ]
    for way in ways:
        server.faults = FLAKY
        # A fresh one for each run: half of all calls failing opens the circuit in the end, as it should.
        wrapped = agent_of(model, [resilient()])
        assert told(await asyncio.to_thread(way, wrapped)) == expected
    server.faults = FLAKY
    with pytest.raises(openai.InternalServerError):
        agent_of(model).invoke(ASK)


def test_an_outage_is_never_an_answer(server: LocalServer) -> None:
    """The provider's own error is raised after all attempts; the next run begins afresh."""
    agent = agent_of(model_of(server), [resilient()], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    server.faults = DEAD
    with pytest.raises(openai.InternalServerError) as raised:
        agent.invoke(ASK, thread)
    assert len(hf.history(raised.value)) == 3
    assert len(server.requests) == 3
    server.faults = Faults()
    assert agent.invoke(None, thread)["structured_response"]


def test_the_callers_own_fault_is_raised_at_once(server: LocalServer) -> None:
    """A 400 costs one request."""
    server.faults = Faults(status=400)
    with pytest.raises(openai.BadRequestError):
        agent_of(model_of(server), [resilient()]).invoke(ASK)
    assert len(server.requests) == 1


def test_each_model_and_each_tool_has_a_breaker_of_its_own(server: LocalServer) -> None:
    """A dead model opens its circuit; another model of the same agent is asked."""
    with LocalServer("b") as other:
        server.faults = DEAD
        middleware = [
            ModelFallbackMiddleware(model_of(other, temperature=0.5)),
            resilient(retry=None, breaker=2),
        ]
        first = model_of(server)
        first.model_name = "first"
        agent = agent_of(first, middleware)
        for _ in range(2):
            assert agent.invoke(ASK)["structured_response"]
        assert len(server.requests) == 2


# One failing call is not multiplied


def theirs() -> AgentMiddleware:
    return ModelRetryMiddleware(on_failure="error", initial_delay=0.0)


def ours(**fields: Any) -> AgentMiddleware:
    return resilient(breaker=None, **fields)


LAYERS: dict[str, Callable[[], list[AgentMiddleware]]] = {
    "alone": lambda: [ours()],
    "retry outside": lambda: [theirs(), ours()],
    "retry inside": lambda: [ours(), theirs()],
    "both": lambda: [theirs(), ours(), ours(name="another")],
}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("policy", [False, True])
async def test_layers_do_not_multiply(server: LocalServer, layers: str, policy: bool) -> None:
    """A2: SDK, middleware around and inside, the graph's RetryPolicy: three requests for one failing call."""
    agent = agent_of(model_of(server), LAYERS[layers]())
    if policy:
        again = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False, retry_on=lambda error: True)
        for node in agent.nodes.values():
            node.retry_policy = [again]
    server.faults = DEAD
    for run in (agent.invoke, lambda asked: asyncio.run(agent.ainvoke(asked))):
        before = len(server.requests)
        with pytest.raises(openai.InternalServerError):
            await asyncio.to_thread(run, ASK)
        assert len(server.requests) - before == 3


def test_a_model_with_a_guard_of_its_own_keeps_it(server: LocalServer) -> None:
    """A2: `with_resilience` inside, or a pool: the inner attempts are all there are."""
    once = hf.Retry(2, backoff=0, budget=None)
    pool = FailoverChatModel([hf.Node("a", model_of(server))], retry=once)
    for model in (with_resilience(model_of(server), retry=once), pool):
        server.faults = DEAD
        before = len(server.requests)
        with pytest.raises(openai.InternalServerError):
            agent_of(model, [resilient()]).invoke(ASK)
        assert len(server.requests) - before == 2


def test_a_model_that_is_no_chat_model_is_guarded_around(server: LocalServer) -> None:
    """What LangChain's own fallbacks give is guarded as a whole."""
    server.faults = FLAKY
    bare = model_of(server, max_retries=0)
    model: Any = bare.with_fallbacks([bare])
    server.faults = Faults(status=503, times=3)
    agent = create_agent(model, tools=[], middleware=[resilient()])
    assert agent.invoke(ASK)["messages"][-1].content


# Tools


class Down:
    """Fails the first `times` times."""

    def __init__(self, times: int, error: Callable[[], Exception] = lambda: ConnectionError("down")) -> None:
        self.times, self.asked, self._error = times, 0, error

    def __call__(self) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise self._error()


def shaky(down: Down) -> BaseTool:
    @tool
    def shake(place: str) -> str:
        """Shakes."""
        down()
        return f"shaken in {place}"

    return shake


async def test_a_tool_that_fails_is_called_again(server: LocalServer) -> None:
    """Sync and async: the agent sees one result."""
    for run in ("sync", "async"):
        down = Down(2)
        agent = agent_of(model_of(server), [resilient()], [shaky(down)])
        state = agent.invoke(ASK) if run == "sync" else await agent.ainvoke(ASK)
        results = [m.content for m in state["messages"] if isinstance(m, ToolMessage)]
        assert results[0] == "shaken in place"
        assert down.asked == 3


@pytest.mark.parametrize("outside", [False, True])
def test_a_dead_tool_raises_its_own_error_once_given_up(server: LocalServer, outside: bool) -> None:
    """A2: with LangChain's own tool retries around or inside, three calls of the tool are all there are."""
    down = Down(99)
    again = ToolRetryMiddleware(on_failure="error", initial_delay=0.0, jitter=False)
    middleware = [again, resilient()] if outside else [resilient(), again]
    with pytest.raises(ConnectionError, match="down"):
        agent_of(model_of(server), middleware, [shaky(down)]).invoke(ASK)
    assert down.asked == 3


def test_each_tool_has_its_circuit(server: LocalServer) -> None:
    """After two failures the tool's circuit is open, and the model's and other tools' are not."""
    down = Down(99)
    agent = agent_of(model_of(server), [resilient(retry=None, breaker=2)], [look_up, shaky(down)])
    for error in (ConnectionError, ConnectionError, hf.CircuitOpen, hf.CircuitOpen):
        with pytest.raises(error):
            agent.invoke(ASK)
    assert down.asked == 2


def test_a_tool_may_have_a_pipeline_of_its_own_or_none(server: LocalServer) -> None:
    """`tools=`: one that must not be called twice is not."""
    for pipeline in (None, hf.Pipeline(timeout=5.0)):
        down = Down(99)
        agent = agent_of(model_of(server), [resilient(tools={"shake": pipeline})], [shaky(down)])
        with pytest.raises(ConnectionError):
            agent.invoke(ASK)
        assert down.asked == 1


async def test_a_tool_that_hangs_ends_with_the_clock(server: LocalServer) -> None:
    """An asynchronous tool is cut after the limit of an attempt."""

    @tool
    async def hang(place: str) -> str:
        """Hangs."""
        await asyncio.sleep(30.0)
        return place

    own = {"hang": hf.Pipeline(timeout=hf.Timeout(attempt=0.1))}
    with pytest.raises(hf.CallTimeout):
        await agent_of(model_of(server), [resilient(tools=own)], [hang]).ainvoke(ASK)


def test_what_a_tool_says_to_the_model_is_no_failure(server: LocalServer) -> None:
    """A `ToolException` that the tool turns into a message is one call."""
    down = Down(99, lambda: ToolException("no such place"))
    told_tool = shaky(down)
    told_tool.handle_tool_error = True
    state = agent_of(model_of(server), [resilient()], [told_tool]).invoke(ASK)
    (result, *_) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert (result.content, result.status) == ("no such place", "error")
    assert down.asked == 1


def test_an_interrupt_stops_the_graph_and_is_resumed(server: LocalServer) -> None:
    """`interrupt()` in a tool is no failure: the run stops, and goes on with the answer."""
    asked: list[str] = []

    @tool
    def approve(place: str) -> str:
        """Asks a human."""
        asked.append(place)
        return f"approved: {interrupt('may I?')}"

    agent = agent_of(model_of(server), [resilient()], [approve], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    stopped = agent.invoke(ASK, thread)
    assert stopped["__interrupt__"][0].value == "may I?"
    assert len(asked) == 1
    state = agent.invoke(Command(resume="yes"), thread)
    results = [m.content for m in state["messages"] if isinstance(m, ToolMessage)]
    assert results[0] == "approved: yes"


# The graph around it


async def test_the_graph_hears_a_heartbeat_while_we_wait(server: LocalServer) -> None:
    """A back-off longer than the node's idle time-out does not kill the node."""
    server.faults = Faults(status=503, times=1)
    middleware = resilient(retry=hf.Retry(3, backoff=hf.constant(1.2), budget=None))
    agent = create_agent(model_of(server), tools=[], middleware=[middleware])

    async def node(state: MessagesState) -> Any:
        return await agent.ainvoke(state)

    graph: Any = StateGraph(MessagesState)
    graph.add_node("agent", node, timeout=TimeoutPolicy(idle_timeout=0.6, refresh_on="heartbeat"))
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    state = await graph.compile().ainvoke(ASK)
    assert isinstance(state["messages"][-1], AIMessage)
    assert len(server.requests) == 2


def test_attempts_are_told_to_who_listens(server: LocalServer) -> None:
    """Custom stream items name what failed and how; they carry no prompt and no argument."""
    server.faults = Faults(status=503, times=1)
    agent = create_agent(model_of(server), tools=[], middleware=[resilient()])
    items = list(agent.stream(ASK, stream_mode="custom"))
    assert items == [
        {"holdfast": {"event": "attempt_failed", "of": "model", "error": "OpenAIAPIError"}}
    ] or items == [{"holdfast": {"event": "attempt_failed", "of": "model", "error": "InternalServerError"}}]


async def test_a_cancelled_run_is_nobodys_failure(server: LocalServer) -> None:
    """Cancellation passes through, and the circuit does not hear of it."""
    server.faults = Faults(delay=30.0)
    breaker = hf.CircuitBreaker(failure_threshold=1)
    agent = create_agent(model_of(server), tools=[], middleware=[resilient(breaker=breaker)])
    task = asyncio.ensure_future(agent.ainvoke(ASK))
    while not server.requests:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert breaker.state == "closed"
    assert breaker.metrics.failures == 0


def test_wrong_fields_are_refused_when_it_is_made() -> None:
    """By name, and not at the first call."""
    with pytest.raises(hf.ConfigurationError, match="attempts"):
        ResilienceMiddleware(retry=0)
    with pytest.raises(TypeError, match="retries"):
        ResilienceMiddleware(retries=3)
    assert ResilienceMiddleware(name="front").name == "front"

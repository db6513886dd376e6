"""A cut answer is never a success, and half a tool call never runs: the real clients, over real sockets.

The server plays one scenario per URL (`faults`). What the bare model does with it is stated next to what the
guarded one does, so that a client that learns to notice is noticed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("langchain")
pytest.importorskip("langchain_anthropic")

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from faults import FaultServer
from faults.shapes import TEXT, TOOL_ARGUMENTS
from holdfast.langchain import FailoverChatModel, with_resilience

WHOLE = "".join(TEXT)
HALF = "".join(TEXT[:2])
AT_ONCE = hf.Retry(3, backoff=0, budget=None)
ONCE = hf.Retry(1)

Make = Callable[..., BaseChatModel]
Read = Callable[[BaseChatModel], tuple[str, BaseException | None]]


# One loop for all: LangChain's clients share their connections, and those belong to the loop they began in.
LOOP = asyncio.Runner()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """The server that fails on purpose."""
    with FaultServer() as running, LOOP:
        yield running


@tool
def delete_path(path: str) -> str:
    """Deletes everything under a path."""
    return path


def openai(server: FaultServer, scenario: str, **fields: Any) -> ChatOpenAI:
    key = SecretStr("k")
    return ChatOpenAI(model="stub", api_key=key, base_url=server.url(scenario, "/v1"), timeout=5.0, **fields)


def responses(server: FaultServer, scenario: str, **fields: Any) -> ChatOpenAI:
    return openai(server, scenario, use_responses_api=True, **fields)


def anthropic(server: FaultServer, scenario: str, **fields: Any) -> ChatAnthropic:
    url, key = server.url(scenario), SecretStr("k")
    return ChatAnthropic(model_name="stub", api_key=key, base_url=url, timeout=5.0, stop=None, **fields)


MAKES = {"openai": openai, "responses": responses, "anthropic": anthropic}


def _stream(model: BaseChatModel) -> tuple[str, BaseException | None]:
    said = ""
    try:
        for chunk in model.stream("hi"):
            said += str(chunk.text)
    except Exception as error:
        return said, error
    return said, None


def _astream(model: BaseChatModel) -> tuple[str, BaseException | None]:
    async def read() -> tuple[str, BaseException | None]:
        said = ""
        try:
            async for chunk in model.astream("hi"):
                said += str(chunk.text)
        except Exception as error:
            return said, error
        return said, None

    return LOOP.run(read())


def _invoke(model: BaseChatModel) -> tuple[str, BaseException | None]:
    try:
        return str(model.invoke("hi").text), None
    except Exception as error:
        return "", error


def _ainvoke(model: BaseChatModel) -> tuple[str, BaseException | None]:
    try:
        return str(LOOP.run(model.ainvoke("hi")).text), None
    except Exception as error:
        return "", error


READS: dict[str, Read] = {"stream": _stream, "astream": _astream, "invoke": _invoke, "ainvoke": _ainvoke}

every_path = pytest.mark.parametrize("path", READS)
every_model = pytest.mark.parametrize("make", MAKES)


# ── healthy answers ─────────────────────────────────────────────────────────────────────────────


@every_model
@every_path
def test_a_whole_answer_comes_through(server: FaultServer, make: str, path: str) -> None:
    """What is whole is handed on whole, at the first attempt, whichever way it is asked for."""
    server.forget()
    model = with_resilience(MAKES[make](server, "ok", streaming=True), retry=AT_ONCE)
    assert READS[path](model) == (WHOLE, None)
    assert server.hits("ok") == 1


@every_model
def test_a_whole_tool_call_comes_through(server: FaultServer, make: str) -> None:
    """A tool call that is proved whole is handed out: once, with its arguments as they were sent."""
    model = with_resilience(MAKES[make](server, "ok-tool"), retry=ONCE).bind_tools([delete_path])
    merged = _sum(list(model.stream("hi")))
    assert [call["args"] for call in merged.tool_calls] == [{"path": "/data/scratch/old"}]
    assert "".join(str(piece["args"]) for piece in merged.tool_call_chunks) == "".join(TOOL_ARGUMENTS)


def _sum(chunks: list[Any]) -> Any:
    return chunks[0] + chunks[1:]


# ── cut streams ─────────────────────────────────────────────────────────────────────────────────

CUTS = ["cut-framed", "cut-unframed", "cut-clean", "cut-reset"]


@every_model
@every_path
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_stream_is_never_a_success(server: FaultServer, make: str, path: str, cut: str) -> None:
    """With framing or without, cleanly or by force: a stream cut after two words raises, and says what came."""
    server.forget()
    said, error = READS[path](with_resilience(MAKES[make](server, cut, streaming=True), retry=AT_ONCE))
    assert isinstance(error, hf.Truncated | hf.StreamInterrupted)
    assert str(error.received.text) == HALF
    assert said == (HALF if path.endswith("stream") else "")
    # What a reader of the stream has been handed is never replayed; an invocation's reader has been handed nothing.
    assert server.hits(cut) == (1 if path.endswith("stream") else 3)


@every_model
@pytest.mark.parametrize("cut", ["cut-unframed", "cut-clean"])
def test_bare_models_take_a_cut_stream_for_an_answer(server: FaultServer, make: str, cut: str) -> None:
    """Why all this: without a guard these two raise nothing, and half of the answer is the answer."""
    assert _stream(MAKES[make](server, cut)) == (HALF, None)


@every_model
@every_path
def test_all_the_words_but_no_end_marker_is_a_cut(server: FaultServer, make: str, path: str) -> None:
    """Nobody can tell whether more was to come, so it is refused, from the very first answer on."""
    _, error = READS[path](with_resilience(MAKES[make](server, "no-marker", streaming=True), retry=ONCE))
    assert isinstance(error, hf.Truncated)
    assert str(error.received.text) == WHOLE


@every_model
def test_the_check_can_be_switched_off(server: FaultServer, make: str) -> None:
    """`validate=False` takes the answer as it comes, as the bare model does."""
    model = with_resilience(MAKES[make](server, "cut-clean"), retry=ONCE, validate=False)
    assert _stream(model) == (HALF, None)


@every_model
@pytest.mark.parametrize("fault", ["empty-stream", "cut-role", "error-first-overloaded_error"])
@pytest.mark.parametrize("path", ["stream", "astream"])
def test_before_the_first_content_a_stream_is_asked_again(
    server: FaultServer, make: str, fault: str, path: str
) -> None:
    """A7, A18: an empty stream, one cut after its role, one that opens with an error: the next attempt answers."""
    server.forget()
    model = with_resilience(MAKES[make](server, f"{fault}@1"), retry=AT_ONCE)
    assert READS[path](model) == (WHOLE, None)
    assert server.hits(f"{fault}@1") == 2


@every_model
@every_path
def test_an_error_in_mid_stream_says_what_had_come(server: FaultServer, make: str, path: str) -> None:
    """An error frame after content is a `StreamInterrupted` with the text so far, never a raw SDK error."""
    fault = "error-mid-overloaded_error"
    _, error = READS[path](with_resilience(MAKES[make](server, fault, streaming=True), retry=AT_ONCE))
    assert isinstance(error, hf.StreamInterrupted)
    assert str(error.received.text) == HALF
    assert error.__cause__ is error.cause is not None


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a_pool_moves_silently_before_the_first_content(server: FaultServer, path: str) -> None:
    """A role chunk is no content: a node that breaks after it is left for one that answers."""
    pool = FailoverChatModel(
        [hf.Node("bad", openai(server, "cut-role")), hf.Node("good", openai(server, "ok"))]
    )
    assert READS[path](pool) == (WHOLE, None)


def test_a_plain_manager_checks_its_chat_models_too(server: FaultServer) -> None:
    """`FailoverManager` over chat models: the same check, and the same errors, without an adapter."""
    nodes = [hf.Node("bad", openai(server, "cut-tool")), hf.Node("good", openai(server, "ok"))]
    manager = hf.FailoverManager(nodes)
    assert "".join(str(chunk.text) for chunk in manager.stream("hi")) == WHOLE
    broken = hf.FailoverManager([hf.Node("cut", openai(server, "cut-clean"))])
    with pytest.raises(hf.Truncated) as refused:
        list(broken.stream("hi"))
    assert refused.value.received.text == HALF


def test_a_manager_s_own_functions_are_not_checked(server: FaultServer) -> None:
    """A function over the pool may answer what it likes: strings, nothing, an iterator of nothing."""
    manager = hf.FailoverManager([hf.Node("a", openai(server, "ok"))])
    assert manager.run(lambda node: node.target.invoke("hi").text) == WHOLE
    assert manager.run(lambda node: None) is None
    assert list(manager.run_stream(lambda node: iter(()))) == []


# ── resume ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", ["openai", "anthropic"])
@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a7_resume_goes_on_where_the_stream_broke(server: FaultServer, make: str, path: str) -> None:
    """A7: with `resume=` the words that follow come from a second request, made with what had been received."""
    server.forget()
    asked: list[str] = []

    def resume(interrupted: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        asked.append(str(interrupted.received.text))
        return ([("user", "hi"), ("assistant", asked[-1])],), {}

    fault = "error-mid-overloaded_error@1"
    said, error = READS[path](with_resilience(MAKES[make](server, fault), retry=AT_ONCE, resume=resume))
    assert (said, error, asked) == (HALF + WHOLE, None, [HALF])
    assert [m["role"] for m in server.requests[-1].body["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_a7_resume_in_a_pool_goes_on_at_another_node(server: FaultServer, path: str) -> None:
    """A7: the second request goes to the next node, tools and all, and what it received adds up."""
    received: list[str] = []

    def resume(interrupted: Any) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        received.append(str(interrupted.received.text))
        return ((), {}) if len(received) < 3 else None

    nodes = [hf.Node(name, openai(server, "cut-clean")) for name in ("a", "b")]
    pool = FailoverChatModel(nodes, retry=hf.Retry(5, backoff=0, budget=None), resume=resume)
    said, error = READS[path](pool)
    assert isinstance(error, hf.Truncated)
    assert received == [HALF, HALF * 2, HALF * 3]
    assert said == str(error.received.text) == HALF * 3


# ── agents ──────────────────────────────────────────────────────────────────────────────────────


class Deleted(list[str]):
    """The paths that the agent has deleted."""

    @property
    def tool(self) -> Any:
        @tool
        def delete_path(path: str) -> str:
            """Deletes everything under a path."""
            self.append(path)
            return "deleted"

        return delete_path


def run_agent(model: BaseChatModel, deleted: Deleted) -> list[BaseMessage]:
    messages: list[BaseMessage] = create_agent(model, tools=[deleted.tool]).invoke(
        {"messages": [("user", "delete the old scratch folder")]}
    )["messages"]
    return messages


def test_a_bare_agent_runs_half_a_tool_call(server: FaultServer) -> None:
    """Why all this: cut inside its arguments, the call is mended into another one, and that one runs."""
    deleted = Deleted()
    run_agent(openai(server, "agent-cut", streaming=True), deleted)
    assert deleted == ["/data/"]


def test_a_guarded_agent_does_not(server: FaultServer) -> None:
    """The same agent over the same server, guarded: the call is refused, three times, and nothing is deleted."""
    server.forget()
    deleted = Deleted()
    model = with_resilience(openai(server, "agent-cut", streaming=True), retry=AT_ONCE)
    with pytest.raises(hf.Truncated) as refused:
        run_agent(model, deleted)
    assert deleted == []
    assert server.hits("agent-cut") == 3, "nothing had been handed out, so each attempt was free to make"
    assert refused.value.received.tool_calls == []


def test_a_guarded_agent_over_a_healthy_server_completes(server: FaultServer) -> None:
    """The guard refuses nothing that is whole: the tool runs with its own arguments, and the agent ends."""
    deleted = Deleted()
    messages = run_agent(with_resilience(openai(server, "agent", streaming=True)), deleted)
    assert deleted == ["/data/scratch/old"]
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].text == WHOLE


def test_an_agent_over_a_pool_goes_on_at_the_healthy_node(server: FaultServer) -> None:
    """One node cuts every tool call, the other is well: the agent completes, with the right call only."""
    deleted = Deleted()
    pool = FailoverChatModel(
        [
            hf.Node("cuts", openai(server, "agent-cut", streaming=True)),
            hf.Node("well", openai(server, "agent", streaming=True)),
        ]
    )
    messages = run_agent(pool, deleted)
    assert deleted == ["/data/scratch/old"]
    assert messages[-1].text == WHOLE


def test_an_agent_s_own_stream_is_guarded_too(server: FaultServer) -> None:
    """`stream_mode="messages"` makes invokes into streams: the tool must not run there either."""
    deleted = Deleted()
    agent = create_agent(with_resilience(openai(server, "agent-cut"), retry=AT_ONCE), tools=[deleted.tool])
    with pytest.raises(hf.Truncated):
        list(agent.stream({"messages": [("user", "delete it")]}, stream_mode="messages"))
    assert deleted == []


@every_model
def test_text_before_a_cut_tool_call_is_handed_out_and_the_call_is_not(
    server: FaultServer, make: str
) -> None:
    """Words are shown as they come; the pieces of the call that never became whole are not shown at all."""
    chunks: list[Any] = []
    model = with_resilience(MAKES[make](server, "cut-tool-after-text"), retry=AT_ONCE)
    model = model.bind_tools([delete_path])

    def read() -> None:
        chunks.extend(model.stream("hi"))

    with pytest.raises(hf.Truncated) as refused:
        read()
    assert "".join(str(chunk.text) for chunk in chunks) == refused.value.received.text == WHOLE
    assert not any(chunk.tool_call_chunks for chunk in chunks)

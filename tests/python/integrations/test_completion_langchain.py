"""The completion check on LangChain's own messages and chunks, rule by rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

import holdfast as hf
from holdfast._completion import Completion, check_message, governor_for
from holdfast.langchain import with_resilience

ARGUMENTS = '{"path": "/data/scratch/old", "force": false}'
OPENAI = {"model_provider": "openai"}


def chunk(content: Any = "", finish: str | None = None, **fields: Any) -> ChatGenerationChunk:
    fields.setdefault("response_metadata", dict(OPENAI))
    info = {"finish_reason": finish} if finish else None
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields), generation_info=info)


def piece(args: str | None, index: int | None = 0, **fields: Any) -> ChatGenerationChunk:
    call = {"name": None, "args": args, "id": None, "index": index, "type": "tool_call_chunk", **fields}
    return chunk(tool_call_chunks=[call])


def opened(index: int = 0, args: str = "") -> ChatGenerationChunk:
    return piece(args, index, name="delete_path", id=f"call_{index}")


def drain(chunks: list[Any], kind: str = "langchain") -> tuple[list[Any], list[Any]]:
    governor = governor_for(kind)()
    released = [item for got in chunks for item in governor.item(got)]
    return released, list(governor.end())


def same(left: list[Any], right: list[Any]) -> bool:
    return [id(item) for item in left] == [id(item) for item in right]


# ── whole messages ──────────────────────────────────────────────────────────────────────────────

CALL = {"name": "f", "args": {"a": 1}, "id": "c", "type": "tool_call"}
BAD_CALL = {"name": "f", "args": "{", "id": "c", "error": None, "type": "invalid_tool_call"}
STOP = {**OPENAI, "finish_reason": "stop"}

TRUE = {
    "text": AIMessage("hi", response_metadata=STOP),
    "blocks": AIMessage([{"type": "text", "text": "hi"}], response_metadata=STOP),
    "a call": AIMessage("", tool_calls=[CALL], response_metadata=STOP),
    "a refusal": AIMessage("", additional_kwargs={"refusal": "no"}, response_metadata=STOP),
    "structured": AIMessage("", additional_kwargs={"parsed": object()}, response_metadata=STOP),
    "anthropic": AIMessage(
        "hi", response_metadata={"model_provider": "anthropic", "stop_reason": "end_turn"}
    ),
    "responses": AIMessage("hi", response_metadata={**OPENAI, "status": "completed"}),
    "bedrock": AIMessage("hi", response_metadata={"stopReason": "end_turn"}),
    "ollama": AIMessage("hi", response_metadata={"done_reason": "stop"}),
    "a provider that marks nothing": AIMessage("hi"),
    "the end of a result": ChatResult(
        generations=[ChatGeneration(message=AIMessage("hi"))], llm_output={"stop_reason": "end_turn"}
    ),
}


@pytest.mark.parametrize("name", TRUE)
def test_a_whole_message_is_believed(name: str) -> None:
    """Each provider's own end marker, in each of the places where LangChain keeps it."""
    check_message(TRUE[name])


UNTRUE = {
    "nothing": (None, "nothing"),
    "a string": ("hi", "a str"),
    "no generations": (ChatResult(generations=[]), "empty"),
    "empty": (AIMessage("", response_metadata=STOP), "empty"),
    "empty blocks": (AIMessage([{"type": "text", "text": "", "index": 0}], response_metadata=STOP), "empty"),
    "no marker": (AIMessage("hi", response_metadata=OPENAI), "end marker"),
    "no stop reason": (
        AIMessage("hi", response_metadata={"model_provider": "anthropic", "stop_reason": None}), "end marker",
    ),
    "an invalid call": (AIMessage("", invalid_tool_calls=[BAD_CALL], response_metadata=STOP), "not whole"),
    "a call at the limit": (
        AIMessage("", tool_calls=[CALL], response_metadata={**OPENAI, "finish_reason": "length"}), "length limit",
    ),
    "raw arguments": (
        AIMessage("", additional_kwargs={"tool_calls": [{"function": {"arguments": "{"}}]}, response_metadata=STOP),
        "not whole",
    ),
    "a legacy call": (
        AIMessage("", additional_kwargs={"function_call": {"arguments": "{"}}, response_metadata=STOP), "not whole",
    ),
    "a mended call": (
        AIMessageChunk("", tool_call_chunks=opened(args='{"path": "/data/').message.tool_call_chunks,
                       response_metadata=STOP),
        "not whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNTRUE)
def test_a_message_that_is_not_whole_is_refused(name: str) -> None:
    """And what is received of it has no tool calls in it."""
    message, why = UNTRUE[name]
    with pytest.raises(hf.Truncated, match=why) as refused:
        check_message(message)
    if isinstance(message, BaseMessage):
        received = refused.value.received
        assert (received.tool_calls, received.invalid_tool_calls) == ([], [])
        assert not received.additional_kwargs.keys() & {"tool_calls", "function_call"}


def test_langchain_itself_mends_half_a_call() -> None:
    """Why raw text is read: what LangChain makes of a half-written call looks whole."""
    assert opened(args='{"path": "/data/').message.tool_calls[0]["args"] == {"path": "/data/"}


def test_other_providers_must_mark_once_they_have_shown_that_they_do() -> None:
    """A node's first marked answer shows that it marks; from then on one without is a cut. Nodes are apart."""

    def message(node: str, **metadata: Any) -> AIMessage:
        return AIMessage(
            "hi", response_metadata={"holdfast": {"node": node}, "model_provider": "x", **metadata}
        )

    completion = Completion("langchain")
    completion.validate(message("a"))
    completion.validate(message("a", finish_reason="STOP"))
    with pytest.raises(hf.Truncated):
        completion.validate(message("a"))
    completion.validate(message("b"))
    completion.tell("b", True)
    with pytest.raises(hf.Truncated):
        completion.validate(message("b"))


def test_what_a_stream_has_shown_is_known_to_whole_answers_and_back() -> None:
    """One memory for both: the model is the same."""
    completion = Completion("langchain")
    governor = completion.governor()
    governor.item(chunk("hi", "stop", response_metadata={"model_provider": "x"}))
    governor.end()
    with pytest.raises(hf.Truncated):
        completion.validate(AIMessage("hi", response_metadata={"model_provider": "x"}))


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_beginning_waits_for_content() -> None:
    """Roles, ids, empty blocks and usage are no content; text, reasoning and refusals are."""
    empty = [
        chunk("", id="m"),
        chunk([]),
        chunk([{"type": "text", "text": "", "index": 0}]),
        chunk([{"type": "reasoning", "summary": [], "id": "rs", "index": 0}]),
        chunk(usage_metadata={"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}),
    ]
    for content in (
        chunk("w"),
        chunk([{"type": "thinking", "thinking": "hm", "index": 0}]),
        chunk(additional_kwargs={"refusal": "no"}),
    ):
        governor = governor_for("langchain")()
        assert [list(governor.item(item)) for item in empty] == [[]] * len(empty)
        assert not governor.heard
        assert same(list(governor.item(content)), [*empty, content])


def test_messages_are_governed_as_generations_are() -> None:
    """`stream` yields bare messages, the last one of LangChain's own making; its word is not taken."""
    last = AIMessageChunk("", chunk_position="last")
    whole = [AIMessageChunk("hi", response_metadata=OPENAI), AIMessageChunk("", response_metadata=STOP), last]
    released, rest = drain(whole)
    assert same(released + rest, whole)
    with pytest.raises(hf.Truncated) as refused:
        drain([whole[0], last])
    assert refused.value.received.content == "hi"


def test_several_calls_are_read_apart() -> None:
    """By their index, as LangChain puts them together; one that is half refuses all of them."""
    good = [
        opened(0),
        piece('{"a": ', 0),
        opened(1),
        piece("{}", 1),
        piece("1}", 0),
        chunk(finish="tool_calls"),
    ]
    released, rest = drain(good)
    assert (released, same(rest, good)) == ([], True)
    with pytest.raises(hf.Truncated):
        drain([item for item in good if item is not good[4]])


def test_calls_that_come_whole_may_share_an_index() -> None:
    """Some providers number none of their calls; each is whole for itself."""
    calls = [
        piece("{}", None, name="f", id="a"),
        piece('{"x": 1}', None, name="g", id="b"),
        chunk(finish="STOP"),
    ]
    assert same(drain(calls)[1], calls)


def test_received_has_the_words_and_no_call() -> None:
    """The words handed out, added up; of the call that was never whole, nothing."""
    governor = governor_for("langchain")()
    for item in (chunk("I will "), chunk("delete"), opened(), piece('{"path": "/da')):
        governor.item(item)
    with pytest.raises(hf.Truncated) as refused:
        governor.end()
    received = refused.value.received
    assert (received.content, received.tool_calls, received.tool_call_chunks) == ("I will delete", [], [])


def test_an_attempt_that_goes_on_has_received_what_came_before() -> None:
    """After a resumed stream breaks again, `received` is all that the reader has."""
    governor = governor_for("langchain")()
    governor.after(hf.StreamInterrupted(received=AIMessageChunk("Hello "), cause=OSError()))
    governor.item(chunk("wor"))
    broken: Any = governor.broken(OSError())
    assert broken.received.content == "Hello wor"


texts = st.dictionaries(st.text(max_size=6), st.text(max_size=12) | st.integers(), max_size=3).map(json.dumps)


@given(texts, st.lists(st.integers(0, 40), max_size=5))
def test_any_split_of_a_tool_call_is_released_once_whole_and_in_order(text: str, cuts: list[int]) -> None:
    """However the arguments are cut into chunks: nothing of them before the end, then all, in order."""
    places = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    chunks = [chunk("x"), opened(), *map(piece, pieces), chunk(finish="tool_calls")]
    released, rest = drain(chunks)
    assert same(released, chunks[:1])
    assert same(rest, chunks[1:])
    merged: Any = rest[0].message + [item.message for item in rest[1:]]
    assert merged.tool_call_chunks[0]["args"] == text


@given(texts, st.data(), st.booleans())
def test_no_proper_prefix_of_a_tool_call_is_ever_released(
    text: str, data: st.DataObject, marked: bool
) -> None:
    """Cut anywhere inside its arguments, with an end marker or without, a tool call is refused.

    One prefix is no cut: none at all, with an end marker, is a call without arguments.
    """
    length = data.draw(st.integers(1 if marked else 0, len(text) - 1))
    governor = governor_for("langchain")()
    for item in (opened(), piece(text[:length]), *([chunk(finish="tool_calls")] if marked else [])):
        assert list(governor.item(item)) == []
    with pytest.raises(hf.Truncated):
        governor.end()


# ── guarded models ──────────────────────────────────────────────────────────────────────────────


class Canned(BaseChatModel):
    """Answers with what it was given, attempt by attempt."""

    attempts: list[Any]

    @property
    def _llm_type(self) -> str:
        return "canned"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.attempts.pop(0))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from self.attempts.pop(0)


def test_one_s_own_validator_is_given_the_message_whole_or_streamed() -> None:
    """Of a whole answer and of a stream alike: what the user would get; what it refuses is asked for again."""
    asked: list[Any] = []

    def long_enough(message: AIMessage) -> bool:
        asked.append(message.text)
        return len(message.text) > 3

    model = Canned(
        attempts=[AIMessage("hi", response_metadata=STOP), AIMessage("hello", response_metadata=STOP)]
    )
    guarded = with_resilience(model, retry=hf.Retry(2, backoff=0), validate=long_enough)
    assert guarded.invoke("?").text == "hello"
    model.attempts.append([chunk("h"), chunk("i", "stop")])
    with pytest.raises(hf.Truncated, match="refused by validate"):
        list(guarded.stream("?"))
    assert asked == ["hi", "hello", "hi"]


def test_a_rule_of_one_s_own_comes_before_the_classifier_for_llm_calls() -> None:
    """`classify=` adds to the rules; what it does not speak of is judged as ever."""
    model = Canned(attempts=[AIMessage("hi", response_metadata=OPENAI)])
    guarded = with_resilience(model, retry=hf.Retry(3, backoff=0), classify=(None, 418, None, None, "ignore"))
    with pytest.raises(IndexError) as failure:
        guarded.invoke("?")
    assert [tried.kind for tried in hf.history(failure.value)] == ["truncated", "bug"]

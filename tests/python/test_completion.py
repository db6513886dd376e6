"""When an answer is believed, and what of a stream is handed out when: rule by rule, on hand-made answers.

The shapes are plain dictionaries with the fields of the providers' JSON; what the real clients make of them
is tested with the integrations.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import holdfast as hf
from holdfast._chat import for_chat
from holdfast._completion import Completion, Governor, governor_for, validator_for
from holdfast._completion.rules import Answer, fault
from holdfast.testing import ManualClock

Json = dict[str, Any]
ARGUMENTS = '{"path": "/data/scratch", "depth": 2}'


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> Json:
    return {"object": "chat.completion.chunk", "choices": [choice("delta", finish, index, **delta)]}


def completion(finish: str | None = "stop", **message: Any) -> Json:
    return {"object": "chat.completion", "choices": [choice("message", finish, 0, **message)]}


def choice(kind: str, finish: str | None, index: int, **said: Any) -> Json:
    return {"index": index, kind: said, "finish_reason": finish}


def piece(arguments: str, *, index: int = 0, id_: str | None = None) -> Json:
    return {"index": index, "id": id_, "type": "function", "function": {"arguments": arguments}}


ROLE = chunk(role="assistant", content="")
USAGE = {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}}


def words(*said: str) -> list[Json]:
    return [chunk(content=word) for word in said]


def calls(*pieces: str) -> list[Json]:
    return [chunk(tool_calls=[piece(text)]) for text in pieces]


def block(kind: str, **fields: Any) -> Json:
    return {"type": kind, **fields}


def start(index: int, **content: Any) -> Json:
    return block("content_block_start", index=index, content_block=content)


def delta(index: int, **said: Any) -> Json:
    return block("content_block_delta", index=index, delta=said)


def stop(reason: str | None) -> Json:
    return block("message_delta", delta={"stop_reason": reason})


def said(index: int, text: str) -> Json:
    return delta(index, type="text_delta", text=text)


TOOL_USE = start(1, type="tool_use", id="t", name="f", input={})
MESSAGE_START = block("message_start", message={})


def response(status: str | None = "completed", *output: Json, **more: Any) -> Json:
    return {"object": "response", "status": status, "output": list(output), **more}


def text_item(text: str) -> Json:
    return block("message", content=[block("output_text", text=text)])


def call_item(arguments: str) -> Json:
    return block("function_call", arguments=arguments, name="f", call_id="c")


def drain(governor: Governor, chunks: list[Any]) -> tuple[list[list[Any]], list[Any]]:
    """What each chunk released, and what the end did."""
    return [list(governor.item(chunk)) for chunk in chunks], list(governor.end())


# ── whole answers ───────────────────────────────────────────────────────────────────────────────

TRUE = {
    "text": ("openai", completion(content="hi")),
    "refusal": ("openai", completion(refusal="no")),
    "reasoning": ("openai", completion(reasoning_content="hm")),
    "call": ("openai", completion("tool_calls", tool_calls=[piece(ARGUMENTS)])),
    "call without arguments": ("openai", completion("tool_calls", tool_calls=[piece("")])),
    "custom tool": ("openai", completion("tool_calls", tool_calls=[{"type": "custom", "custom": {"input": "x"}}])),
    "legacy call": ("openai", completion("function_call", function_call={"arguments": "{}"})),
    "length": ("openai", completion("length", content="half of a sent")),
    "length, all of it hidden reasoning": ("openai", completion("length", content="")),
    "filtered": ("openai", completion("content_filter", content="")),
    "response": ("openai", response("completed", text_item("hi"))),
    "response with a call": ("openai", response("completed", call_item(ARGUMENTS))),
    "response at its limit": ("openai", response("incomplete", text_item("half"))),
    "response in the background": ("openai", response("queued", background=True)),
    "message": ("anthropic", block("message", stop_reason="end_turn", content=[block("text", text="hi")])),
    "tool use": ("anthropic", block("message", stop_reason="tool_use", content=[block("tool_use", input={"a": 1})])),
    "refused": ("anthropic", block("message", stop_reason="refusal", content=[])),
    "not ours": ("openai", object()),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUE)
def test_a_whole_answer_is_believed(name: str) -> None:
    """Text, a refusal, reasoning, a whole tool call; with its end marker, whatever it says: nothing is raised."""
    kind, answer = TRUE[name]
    validator_for(kind)(answer)


UNTRUE = {
    "a page of HTML": ("openai", "<html>", "a str"),
    "nothing": ("anthropic", None, "nothing"),
    "no choices": ("openai", {"object": "chat.completion", "choices": []}, "empty"),
    "null choices": ("openai", {"object": "chat.completion", "choices": None}, "empty"),
    "empty": ("openai", completion("stop", content=""), "empty"),
    "no marker": ("openai", completion(None, content="hi"), "end marker"),
    "one choice without": (
        "openai",
        completion(content="a") | {"choices": [choice("message", end, 0, content="a") for end in ("stop", None)]},
        "end marker",
    ),
    "half a call": ("openai", completion("tool_calls", tool_calls=[piece('{"path": "/data/')]), "not whole"),
    "half a second call": ("openai", completion("stop", tool_calls=[piece("{}"), piece("{")]), "not whole"),
    "half a legacy call": ("openai", completion("stop", function_call={"arguments": "{"}), "not whole"),
    "a call at the limit": ("openai", completion("length", tool_calls=[piece(ARGUMENTS)]), "length limit"),
    "given up": ("openai", completion("error", content="hi"), "given up"),
    "a response under way": ("openai", response("in_progress", text_item("hi")), "end marker"),
    "a failed response": ("openai", response("failed", text_item("hi")), "given up"),
    "an incomplete response with a call": ("openai", response("incomplete", call_item(ARGUMENTS)), "length limit"),
    "half a call in a response": ("openai", response("completed", call_item("{")), "not whole"),
    "a message without a stop reason": (
        "anthropic", block("message", stop_reason=None, content=[block("text", text="hi")]), "end marker",
    ),
    "a tool use at the limit": (
        "anthropic", block("message", stop_reason="max_tokens", content=[block("tool_use", input={})]), "length limit",
    ),
    "an empty message": ("anthropic", block("message", stop_reason="end_turn", content=[]), "empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNTRUE)
def test_an_answer_that_is_not_whole_is_refused(name: str) -> None:
    """Every way of being less than an answer is a `Truncated` that says which."""
    kind, answer, why = UNTRUE[name]
    with pytest.raises(hf.Truncated, match=why):
        validator_for(kind)(answer)


NOT_JSON = [
    "{",
    '{"a": NaN}',
    '{"a": Infinity}',
    "[1]",
    "1",
    '"x"',
    "null",
    '{"a": 1} {',
    "{'a': 1}",
    '{"a": "\n"}',
]


@pytest.mark.parametrize("text", NOT_JSON)
def test_arguments_are_one_json_object_to_the_letter(text: str) -> None:
    """What a lenient parser would mend or let pass is refused: it is not what the model said."""
    assert fault(Answer(ends=["stop"], calls=[text]), marker_required=True) is not None


def test_no_arguments_are_believed_with_a_marker_only() -> None:
    """A tool without arguments has none; without an end marker they may have been cut off whole."""
    assert fault(Answer(ends=["stop"], calls=[""]), marker_required=False) is None
    assert fault(Answer(ends=[None], calls=[""]), marker_required=False) is not None


def test_a_kind_that_there_is_not_is_refused_by_name() -> None:
    """The field, the rule and the value are named."""
    with pytest.raises(hf.ConfigurationError, match=r"kind.*'openai'.*'cohere'"):
        governor_for("cohere")


# ── streams: what is handed out when ────────────────────────────────────────────────────────────


def test_words_are_handed_out_as_they_come_and_the_beginning_with_the_first() -> None:
    """A role is held back until content follows, then released before it; nothing else waits."""
    first, second = words("Hel", "lo")
    end = chunk("stop")
    released, rest = drain(governor_for("openai")(), [ROLE, first, second, end, USAGE])
    assert released == [[], [ROLE, first], [second], [end], [USAGE]]
    assert rest == []


def test_a_tool_call_and_what_follows_it_waits_for_the_end() -> None:
    """Words before it are out at once; it, and what follows, comes in order when the end has proved it."""
    chunks = [ROLE, *words("I will"), *calls('{"a"', ": 1}"), *words("done"), chunk("tool_calls"), USAGE]
    released, rest = drain(governor_for("openai")(), chunks)
    assert released == [[], chunks[:2], [], [], [], [], []]
    assert rest == chunks[2:]


def test_an_anthropic_tool_call_waits_and_words_do_not() -> None:
    """The same for Anthropic's events, whose blocks open before they say anything."""
    opening = [MESSAGE_START, start(0, type="text", text="")]
    pieces = [delta(1, type="input_json_delta", partial_json=text) for text in ('{"a":', " 1}")]
    chunks = [*opening, said(0, "hi"), TOOL_USE, *pieces, stop("tool_use"), block("message_stop")]
    released, rest = drain(governor_for("anthropic")(), chunks)
    assert released == [[], [], chunks[:3], [], [], [], [], []]
    assert rest == chunks[3:]


def test_a_responses_tool_call_waits_and_words_do_not() -> None:
    """The same for the events of the Responses API, whose last one holds the whole answer."""
    text = block("response.output_text.delta", delta="hi")
    added = block("response.output_item.added", output_index=1, item=call_item(""))
    args = block("response.function_call_arguments.delta", output_index=1, delta=ARGUMENTS)
    done = block("response.completed", response=response("completed", text_item("hi"), call_item(ARGUMENTS)))
    created = block("response.created", response=response("in_progress"))
    released, rest = drain(governor_for("openai")(), [created, text, added, args, done])
    assert released == [[], [created, text], [], [], []]
    assert rest == [added, args, done]


def test_the_provider_s_own_tools_are_not_held_back() -> None:
    """A search that the provider makes itself asks nothing of the caller, and may take a while: it is shown."""
    search = start(0, type="server_tool_use", name="web_search", input={})
    query = delta(0, type="input_json_delta", partial_json='{"q": ')
    governor = governor_for("anthropic")()
    assert [list(governor.item(event)) for event in (search, query)] == [[search], [query]]
    working = block("response.web_search_call.searching")
    assert list(governor_for("openai")().item(working)) == [working]


CUT = {
    "nothing at all (A18)": ("openai", [], None),
    "a role": ("openai", [ROLE], ""),
    "words without a marker": ("openai", [ROLE, *words("a", "b")], "ab"),
    "half a call": ("openai", [ROLE, *words("a"), *calls('{"a"')], "a"),
    "half a call, marked": ("openai", [ROLE, *calls('{"a"'), chunk("tool_calls")], ""),
    "a call at the limit": ("openai", [*calls("{}"), chunk("length")], ""),
    "one of two choices": ("openai", [chunk(content="a"), chunk(index=1, content="b"), chunk("stop")], "a"),
    "two calls in one place": (
        "openai", [chunk(tool_calls=[piece("{}", id_=id_)]) for id_ in "xy"] + calls("{") + [chunk("stop")], "",
    ),
    "an event stream": ("anthropic", [MESSAGE_START, said(0, "hi")], "hi"),
    "half an input": (
        "anthropic", [said(0, "hi"), TOOL_USE, delta(1, type="input_json_delta", partial_json="{"), stop("tool_use")],
        "hi",
    ),
    "an error event": ("anthropic", [said(0, "hi"), block("error")], "hi"),
    "a response": ("openai", [block("response.output_text.delta", delta="hi")], "hi"),
    "a failed response": (
        "openai",
        [block("response.output_text.delta", delta="a"), block("response.failed", response=response("failed"))],
        "a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_is_not_whole_is_refused_at_its_end(name: str) -> None:
    """However it ends too early: `Truncated`, with the text that had come."""
    kind, chunks, received = CUT[name]
    governor = governor_for(kind)()
    for item in chunks:
        governor.item(item)
    with pytest.raises(hf.Truncated) as refused:
        governor.end()
    assert refused.value.received == received


def test_what_breaks_a_stream_is_told_with_what_had_come() -> None:
    """A client's error becomes `StreamInterrupted`; our own clocks and refusals stay what they are."""
    governor = governor_for("openai")()
    for item in [ROLE, *words("a", "b"), *calls("{")]:
        governor.item(item)
    error = ConnectionError("gone")
    broken = governor.broken(error)
    assert isinstance(broken, hf.StreamInterrupted)
    assert (broken.received, broken.cause) == ("ab", error)
    for own in (hf.CallTimeout(which="idle"), hf.Truncated(), broken):
        assert governor.broken(own) is own


def test_things_that_are_no_chunks_pass_as_they_come() -> None:
    """Somebody's own generator behind the same guard: its items, its end and its errors stay its own."""
    governor = governor_for("openai")()
    assert list(governor.item("word")) == ["word"]
    error = KeyError("x")
    assert governor.broken(error) is error
    assert list(governor.end()) == []


def test_without_the_check_only_the_beginning_is_held_back() -> None:
    """`validate=False`: tool pieces are handed out as they come, and the end proves nothing."""
    governor = Completion("openai", check=False).governor()
    [call] = calls('{"a"')
    assert drain(governor, [ROLE, call]) == ([[], [ROLE, call]], [])


# ── laws ────────────────────────────────────────────────────────────────────────────────────────

objects = st.dictionaries(
    st.text(max_size=8), st.text(max_size=20) | st.integers() | st.lists(st.booleans()), max_size=4
)
texts = objects.map(json.dumps) | objects.map(lambda value: json.dumps(value, ensure_ascii=False, indent=1))


@st.composite
def split(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A tool call's arguments, and the same in pieces, empty ones among them."""
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return text, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def as_openai(pieces: list[str]) -> list[Any]:
    return [ROLE, *words("x"), *calls(*pieces)]


def as_anthropic(pieces: list[str]) -> list[Any]:
    return [
        said(0, "x"),
        TOOL_USE,
        *(delta(1, type="input_json_delta", partial_json=text) for text in pieces),
    ]


DIALECTS: dict[str, tuple[Callable[[list[str]], list[Any]], Any]] = {
    "openai": (as_openai, chunk("tool_calls")),
    "anthropic": (as_anthropic, stop("tool_use")),
}


@pytest.mark.parametrize("kind", DIALECTS)
@given(split())
def test_any_split_of_a_tool_call_is_released_once_whole_and_in_order(
    kind: str, case: tuple[str, list[str]]
) -> None:
    """However the arguments are cut into chunks: nothing of them before the end, then all of it, in order."""
    shape, end = DIALECTS[kind]
    chunks = [*shape(case[1]), end]
    released, rest = drain(governor_for(kind)(), chunks)
    before = [item for items in released for item in items]
    assert before + rest == chunks
    assert before == [item for item in chunks if item in (ROLE, *words("x"), said(0, "x"))]


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("marked", [True, False])
@given(texts, st.data())
def test_no_proper_prefix_of_a_tool_call_is_ever_released(
    kind: str, marked: bool, text: str, data: st.DataObject
) -> None:
    """Cut anywhere inside its arguments, even with a good end marker after it, a tool call is refused.

    One prefix is no cut: none at all, with an end marker, is a call without arguments.
    """
    shape, end = DIALECTS[kind]
    length = data.draw(st.integers(1 if marked else 0, len(text) - 1))
    governor = governor_for(kind)()
    released = [item for got in shape([text[:length]]) for item in governor.item(got)]
    assert not any(item in calls(text[:length]) or item is TOOL_USE for item in released)
    if marked:
        governor.item(end)
    with pytest.raises(hf.Truncated):
        governor.end()


@given(st.lists(st.sampled_from(["role", "word", "usage"]), max_size=8))
@example([])
def test_without_tool_calls_nothing_is_lost_doubled_or_moved(kinds: list[str]) -> None:
    """What comes out is what went in, in order; and nothing comes out before the first word."""
    shapes = {"role": ROLE, "word": chunk(content="w"), "usage": USAGE}
    chunks = [shapes[kind] for kind in kinds]
    governor = governor_for("openai")()
    released = [item for got in chunks for item in governor.item(got)]
    assert released == (chunks if "word" in kinds else [])


# ── through a pipeline ──────────────────────────────────────────────────────────────────────────


def chat_pipeline(**fields: Any) -> hf.Pipeline:
    return for_chat(hf.Pipeline(**fields), "openai")


def test_the_form_for_chat_shares_the_parts_and_the_events() -> None:
    """It is the same pipeline: breaker, retry and clocks are shared, and its events carry the same number."""
    plain = hf.Pipeline(retry=2, breaker=hf.CircuitBreaker("b"), timeout=3.0, name="p")
    chat = for_chat(plain, "openai")
    assert (chat.breaker, chat.retry, chat.name) == (plain.breaker, plain.retry, "p")
    assert chat.timeout == plain.timeout
    assert chat.source_id == plain.source_id != hf.Pipeline().source_id


def test_a_refused_answer_is_asked_for_again() -> None:
    """A half answer is a failure like any other: retried, and counted by the breaker."""
    answers = iter([completion(None, content="ha"), completion(content="hi")])
    breaker = hf.CircuitBreaker()
    pipeline = chat_pipeline(retry=hf.Retry(2, backoff=0), breaker=breaker)
    assert pipeline.call(lambda: next(answers))["choices"][0]["finish_reason"] == "stop"
    assert breaker.metrics.failures == 1


def test_plain_functions_are_not_checked() -> None:
    """The check is silent around plain functions, whatever they return, `llm_defaults` included."""
    for pipeline in (hf.Pipeline(), hf.llm_defaults()):
        assert pipeline.call(lambda: None) is None
        assert pipeline.call(lambda: completion(None)) == completion(None)
        assert list(pipeline.stream(lambda: iter(()))) == []


def test_a_validator_of_one_s_own_comes_after_the_check() -> None:
    """It is asked about whole answers only; what it refuses is a failure as well."""
    asked: list[Any] = []
    pipeline = chat_pipeline(validate=lambda answer: asked.append(answer) or len(asked) > 1)
    whole = completion(content="hi")
    with pytest.raises(hf.Truncated, match="refused by validate"):
        pipeline.call(lambda: whole)
    assert pipeline.call(lambda: whole) == whole
    with pytest.raises(hf.Truncated, match="end marker"):
        pipeline.call(lambda: completion(None, content="hi"))
    assert asked == [whole, whole]


def test_validate_false_turns_it_off() -> None:
    """Half an answer is handed on, and a stream's end proves nothing."""
    pipeline = chat_pipeline(validate=False)
    assert pipeline.call(lambda: completion(None)) == completion(None)
    assert list(pipeline.stream(lambda: iter(calls("{")))) == calls("{")


def test_validate_is_a_callable_none_or_false() -> None:
    """Anything else is refused by name."""
    bad: Any = True
    with pytest.raises(hf.ConfigurationError, match="validate"):
        hf.Pipeline(validate=bad)


def test_a7_a_stream_that_breaks_in_a_held_back_call_is_asked_again() -> None:
    """A7: nothing has been handed out, so the next attempt answers, and only its chunks are seen."""
    good = [*calls('{"a": ', "1}"), chunk("tool_calls")]
    attempts = iter([[ROLE, *calls('{"b": ')], good])
    pipeline = chat_pipeline(retry=hf.Retry(2, backoff=0))
    assert list(pipeline.stream(lambda: iter(next(attempts)))) == good


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────


async def read(pipeline: hf.Pipeline, clock: ManualClock, *steps: tuple[float, Any]) -> list[Any]:
    """What a stream hands out whose items come after so many seconds each."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def source() -> AsyncIterator[Any]:
        while (item := await queue.get()) is not None:
            yield item

    async def collect() -> list[Any]:
        return [item async for item in pipeline.astream(source)]

    reader = asyncio.ensure_future(collect())
    for seconds, item in [*steps, (0.0, None)]:
        await clock.aadvance(seconds)
        queue.put_nowait(item)
    return await reader


async def test_a_long_tool_call_is_no_stall() -> None:
    """Pieces that are held back are signs of life: the clocks of the first item and of silence see them."""
    pieces = ["{", '"a": ', "1", "}"]
    with ManualClock() as clock:
        pipeline = chat_pipeline(timeout=hf.Timeout(first_item=5.0, idle=5.0))
        chunks = [*calls(*pieces), chunk("tool_calls")]
        assert await read(pipeline, clock, *((4.0, item) for item in chunks)) == chunks


async def test_silence_inside_a_held_back_call_is_a_stall() -> None:
    """Held back or not: no piece for longer than `idle` is a timeout of that clock."""
    with ManualClock() as clock:
        pipeline = chat_pipeline(timeout=hf.Timeout(first_item=9.0, idle=5.0))
        with pytest.raises(hf.CallTimeout) as late:
            await read(pipeline, clock, (4.0, calls("{")[0]), (6.0, calls("}")[0]))
        assert late.value.which == "idle"


async def test_a_role_does_not_stop_the_clock_of_the_first_item() -> None:
    """A server that sends roles and metadata for ever has not begun to answer."""
    with ManualClock() as clock:
        pipeline = chat_pipeline(timeout=hf.Timeout(first_item=5.0, idle=60.0))
        with pytest.raises(hf.CallTimeout) as late:
            await read(pipeline, clock, (2.0, ROLE), (2.0, USAGE), (2.0, ROLE))
        assert late.value.which == "first_item"


def test_sync_transports_learn_of_the_same_clocks() -> None:
    """What a transport may wait for is counted likewise: on through a role, anew after each piece of a call."""
    patience: list[float | None] = []

    def steps(clock: ManualClock) -> Iterator[Any]:
        for item in (ROLE, *calls("{", "}"), chunk("tool_calls")):
            clock.advance(2.0)
            attempt = hf.current_attempt()
            patience.append(None if attempt is None else attempt._patience())
            yield item

    with ManualClock() as clock:
        list(chat_pipeline(timeout=hf.Timeout(first_item=5.0, idle=9.0)).stream(steps, clock))
    assert patience == [3.0, 1.0, 7.0, 7.0]


def test_b4_pieces_that_are_held_back_renew_the_probe_s_lease() -> None:
    """B4: a probe that streams a long tool call keeps its slot; only silence would lose it."""
    with ManualClock() as clock:
        breaker = hf.CircuitBreaker(
            failure_threshold=1, open_timeout=1.0, success_threshold=1, probe_lease=5.0, half_open_max_calls=1
        )
        pipeline = chat_pipeline(breaker=breaker)

        def fails() -> None:
            raise ConnectionError

        with pytest.raises(ConnectionError):
            pipeline.call(fails)
        clock.advance(1.5)

        def probe() -> Iterator[Any]:
            for item in [*calls("{", " ", " ", "}"), chunk("tool_calls")]:
                clock.advance(4.0)
                yield item

        list(pipeline.stream(probe))
        assert breaker.state == "closed"
        assert breaker.metrics.lost == 0


def test_nothing_of_it_is_loaded_before_it_is_used(fresh_python: Callable[[str], str]) -> None:
    """Importing the package, and making pipelines for plain functions, loads none of the check."""
    code = (
        "import sys, holdfast as hf; hf.llm_defaults()(len)([]); hf.FailoverManager([hf.Node('a', len)]);"
        "print([m for m in sys.modules if 'completion' in m], 'json' in sys.modules)"
    )
    assert fresh_python(code).strip() == "[] False"


def test_no_client_is_imported() -> None:
    """The readers know their objects by names and attributes; they import nobody."""
    from holdfast import _completion

    for name, module in list(sys.modules.items()):
        if name.startswith(_completion.__name__):
            origins = {getattr(value, "__module__", None) or "" for value in vars(module).values()}
            assert not {origin.partition(".")[0] for origin in origins} & {
                "openai",
                "anthropic",
                "langchain_core",
            }

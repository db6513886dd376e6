"""Guarded runnables on every call path that LangChain has, element by element."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator, RunnableLambda
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry

import holdfast as hf
from holdfast.langchain import (
    FailoverRunnable,
    ResilientFallbacks,
    ResilientRetry,
    ResilientRunnable,
    with_resilience,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(astream_log|version='v1').*is deprecated")

NO_WAIT = hf.Retry(3, backoff=hf.constant(0), budget=None)
Wrap = Callable[[Runnable[Any, Any]], Runnable[Any, Any]]


class Down(ConnectionError):
    """What a node says that is not there."""


def as_pipeline(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return with_resilience(runnable, retry=NO_WAIT, breaker=None)


def as_policy(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return NO_WAIT(runnable)


def as_pool(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return FailoverRunnable([hf.Node("only", runnable)], retry=NO_WAIT, breaker=None)


def as_retry(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return ResilientRetry(bound=runnable, wait_exponential_jitter=False)


def as_fallbacks(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return ResilientFallbacks(runnable=runnable, fallbacks=[runnable, runnable])


WRAPS: list[Wrap] = [as_pipeline, as_policy, as_pool, as_retry, as_fallbacks]
every_wrap = pytest.mark.parametrize("wrap", WRAPS)


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _each(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def by_abatch_as_completed(runnable: Runnable[Any, Any], one: Any) -> Any:
    return asyncio.run(_all(runnable.abatch_as_completed([one])))[0][1]


def by_events(runnable: Runnable[Any, Any], one: Any) -> Any:
    events = asyncio.run(_all(runnable.astream_events(one, version="v2")))
    return events[-1]["data"]["output"]


def by_old_events(runnable: Runnable[Any, Any], one: Any) -> Any:
    events = asyncio.run(_all(runnable.astream_events(one, version="v1")))
    return events[-1]["data"]["output"]


def by_log(runnable: Runnable[Any, Any], one: Any) -> Any:
    async def last() -> Any:
        state: Any = None
        async for patch in runnable.astream_log(one):
            state = patch if state is None else state + patch
        return state.state["final_output"]

    return asyncio.run(last())


PATHS: dict[str, Callable[[Runnable[Any, Any], Any], Any]] = {
    "invoke": lambda it, one: it.invoke(one),
    "batch": lambda it, one: it.batch([one])[0],
    "batch_as_completed": lambda it, one: next(iter(it.batch_as_completed([one])))[1],
    "stream": lambda it, one: next(iter(list(it.stream(one)))),
    "transform": lambda it, one: next(iter(list(it.transform(iter([one]))))),
    "ainvoke": lambda it, one: asyncio.run(it.ainvoke(one)),  # type: ignore[arg-type]
    "abatch": lambda it, one: asyncio.run(it.abatch([one]))[0],  # type: ignore[arg-type]
    "abatch_as_completed": by_abatch_as_completed,
    "astream": lambda it, one: asyncio.run(_all(it.astream(one)))[0],
    "atransform": lambda it, one: asyncio.run(_all(it.atransform(_each(one))))[0],
    "astream_events": by_events,
    "astream_events v1": by_old_events,
    "astream_log": by_log,
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


class Flaky:
    """Fails each input `times` times, then answers twice the number."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.seen: list[int] = []

    def __call__(self, number: int) -> int:
        self.seen.append(number)
        if self.seen.count(number) <= self.times:
            raise Down("not yet")
        return number * 2


@every_wrap
@every_path
def test_every_path_is_tried_again(wrap: Wrap, path: Callable[..., Any]) -> None:
    """Two failures cost two further attempts, whichever way the runnable is called."""
    flaky = Flaky(times=2)
    assert path(wrap(RunnableLambda(flaky)), 21) == 42
    assert flaky.seen == [21] * 3


@every_wrap
@every_path
def test_every_path_ends_with_the_last_attempt(wrap: Wrap, path: Callable[..., Any]) -> None:
    """What fails for good is asked three times, and its own error comes out."""
    flaky = Flaky(times=99)
    with pytest.raises(Down):
        path(wrap(RunnableLambda(flaky)), 1)
    assert flaky.seen == [1] * 3


@every_wrap
@every_path
def test_every_path_works_in_a_chain(wrap: Wrap, path: Callable[..., Any]) -> None:
    """As the middle of a chain it is tried again too: a chain that streams calls `transform`."""
    flaky = Flaky()
    chain = RunnableLambda(lambda number: number + 1) | wrap(RunnableLambda(flaky)) | RunnableLambda(str)
    assert path(chain, 1) == "4"
    assert flaky.seen == [2, 2]


# Batches


def sometimes(number: int) -> int:
    """Even numbers answer, odd ones never do."""
    if number % 2:
        raise Down(number)
    return number * 10


def _abatch(runnable: Runnable[Any, Any], numbers: list[int]) -> list[Any]:
    return asyncio.run(runnable.abatch(numbers, return_exceptions=True))  # type: ignore[arg-type]


def _completed(runnable: Runnable[Any, Any], numbers: list[int]) -> list[Any]:
    return [one for _, one in sorted(runnable.batch_as_completed(numbers, return_exceptions=True))]


def _acompleted(runnable: Runnable[Any, Any], numbers: list[int]) -> list[Any]:
    answers = asyncio.run(_all(runnable.abatch_as_completed(numbers, return_exceptions=True)))
    return [one for _, one in sorted(answers)]


BATCHES = [
    lambda it, numbers: it.batch(numbers, return_exceptions=True),
    _abatch,
    _completed,
    _acompleted,
]


@every_wrap
@pytest.mark.parametrize("batch", BATCHES)
def test_each_element_has_its_own_answer(wrap: Wrap, batch: Callable[..., Any]) -> None:
    """Answers and errors stand in the places of their inputs; nobody gets a neighbour's."""
    answers = batch(wrap(RunnableLambda(sometimes)), [0, 1, 2, 3, 4])
    assert [answers[0], answers[2], answers[4]] == [0, 20, 40]
    assert [error.args for error in (answers[1], answers[3])] == [(1,), (3,)]


@every_wrap
def test_a_batch_raises_where_it_was_not_told_to_return(wrap: Wrap) -> None:
    """LangChain's retry hands back a neighbour's answer here, and no error (its issue 35475)."""
    with pytest.raises(Down) as failure:
        wrap(RunnableLambda(sometimes)).batch([0, 2, 3])
    assert failure.value.args == (3,)


@every_wrap
def test_an_element_costs_only_its_own_attempts(wrap: Wrap) -> None:
    """The element that fails is asked again, its neighbours are not, whatever the order."""
    for numbers in ([1, 2], [2, 1]):
        seen: list[int] = []

        def once_for_two(number: int, seen: list[int] = seen) -> int:
            seen.append(number)
            if number == 1 and seen.count(1) == 1:
                raise Down("first")
            return number

        assert wrap(RunnableLambda(once_for_two)).batch(numbers) == numbers
        assert sorted(seen) == [1, 1, 2]


@every_wrap
def test_max_concurrency_is_honoured(wrap: Wrap) -> None:
    """No more elements are under way than the config says, in either colour."""
    lock, under_way, most = threading.Lock(), 0, 0

    def count(number: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.002)
        with lock:
            under_way -= 1
        return number

    runnable = wrap(RunnableLambda(count))
    config: RunnableConfig = {"max_concurrency": 2}
    assert runnable.batch(list(range(8)), config) == list(range(8))
    assert asyncio.run(runnable.abatch(list(range(8)), config)) == list(range(8))  # type: ignore[arg-type]
    assert most <= 2


@every_wrap
def test_an_empty_batch_is_empty(wrap: Wrap) -> None:
    """Nothing asked, nothing answered."""
    assert wrap(RunnableLambda(sometimes)).batch([]) == []


# Streams


class Chunks:
    """A generator of letters that breaks `times` times after `after` of them."""

    def __init__(self, times: int, after: int) -> None:
        self.times, self.after, self.calls = times, after, 0

    def letters(self, words: Iterator[str]) -> Iterator[str]:
        self.calls += 1
        for place, letter in enumerate("".join(words)):
            if place == self.after and self.calls <= self.times:
                raise Down("cut")
            yield letter

    async def aletters(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        for letter in self.letters(iter([word async for word in words])):
            yield letter

    @property
    def runnable(self) -> Runnable[str, str]:
        return RunnableGenerator(self.letters, self.aletters)


@every_wrap
def test_a7_a_stream_is_tried_again_before_its_first_item_only(wrap: Wrap) -> None:
    """A7: cut before anything was handed out it begins anew; cut after, its error is raised, nothing replayed."""
    early, late = Chunks(times=2, after=0), Chunks(times=1, after=2)
    assert "".join(wrap(early.runnable).stream("abc")) == "abc"
    assert early.calls == 3
    received: list[str] = []
    with pytest.raises(Down):
        received.extend(wrap(late.runnable).stream("abc"))
    assert late.calls == 1


@every_wrap
def test_a8_a_streamed_input_is_kept_for_the_next_attempt(wrap: Wrap) -> None:
    """A8: what a failed attempt has read of the input, the next one reads again."""
    early = Chunks(times=2, after=0)
    assert "".join(wrap(early.runnable).transform(iter(["ab", "c"]))) == "abc"

    async def asynchronously() -> str:
        early.calls = 0
        guarded = wrap(early.runnable)
        return "".join([letter async for letter in guarded.atransform(_each("ab", "c"))])

    assert asyncio.run(asynchronously()) == "abc"


@every_wrap
def test_a_chain_goes_on_streaming_through_it(wrap: Wrap) -> None:
    """Output begins before the input has ended, as it does without the guard."""
    order: list[str] = []

    def source(_: Iterator[Any]) -> Iterator[str]:
        for letter in "abc":
            order.append(f"in {letter}")
            yield letter

    def upper(letters: Iterator[str]) -> Iterator[str]:
        for letter in letters:
            yield letter.upper()

    chain = RunnableGenerator(source) | wrap(RunnableGenerator(upper))
    for letter in chain.stream(None):
        order.append(f"out {letter}")
    assert order.index("out A") < order.index("in c")


@every_wrap
def test_a_broken_input_is_not_its_failure(wrap: Wrap) -> None:
    """What fails upstream is raised as it is, and asked neither again nor of the next."""
    calls = 0

    def broken() -> Iterator[str]:
        yield "a"
        raise Down("upstream")

    async def abroken() -> AsyncIterator[str]:
        yield "a"
        raise Down("upstream")

    def swallow(words: Iterator[str]) -> Iterator[str]:
        nonlocal calls
        calls += 1
        yield "".join(words)

    async def aswallow(words: AsyncIterator[str]) -> AsyncIterator[str]:
        nonlocal calls
        calls += 1
        yield "".join([word async for word in words])

    guarded = wrap(RunnableGenerator(swallow, aswallow))
    with pytest.raises(Down, match="upstream"):
        list(guarded.transform(broken()))
    with pytest.raises(Down, match="upstream"):
        asyncio.run(_all(guarded.atransform(abroken())))
    assert calls == 2


@every_wrap
def test_an_empty_stream_is_a_value(wrap: Wrap) -> None:
    """A18: a generator that has nothing to say is no failure."""

    def nothing(words: Iterator[str]) -> Iterator[str]:
        yield from [word for word in words if not word]

    assert list(wrap(RunnableGenerator(nothing)).stream("a")) == []


def test_r7_a_reader_who_leaves_gives_the_permit_back() -> None:
    """R7: a stream left after its first item is neither failure nor in flight, in either colour."""
    breaker = hf.CircuitBreaker()
    guarded = breaker(Chunks(0, 0).runnable)
    next(iter(guarded.stream("abc")))

    async def leave() -> None:
        async for _ in guarded.astream("abc"):
            break

    asyncio.run(leave())
    metrics = breaker.metrics
    assert (metrics.in_flight, metrics.failures) == (0, 0)


# Traces, configs and contexts


class Recorder(BaseCallbackHandler):
    """Remembers the runs of chains."""

    def __init__(self) -> None:
        self.runs: dict[Any, dict[str, Any]] = {}

    def on_chain_start(self, *args: Any, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self.runs[run_id] = {
            "parent": parent_run_id,
            "tags": kwargs["tags"],
            "name": kwargs["name"],
            "end": 0,
        }

    def on_chain_end(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
        self.runs[run_id]["end"] += 1

    def on_chain_error(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
        self.runs[run_id]["end"] += 1

    @property
    def roots(self) -> list[Any]:
        return [run_id for run_id, run in self.runs.items() if run["parent"] is None]


@every_wrap
@pytest.mark.parametrize(
    "call",
    [
        lambda it, config: it.invoke(1, config),
        lambda it, config: list(it.stream(1, config)),
        lambda it, config: asyncio.run(it.ainvoke(1, config)),
        lambda it, config: asyncio.run(_all(it.astream(1, config))),
        lambda it, config: it.batch([1], config),
        lambda it, config: asyncio.run(it.abatch([1], config)),
    ],
    ids=["invoke", "stream", "ainvoke", "astream", "batch", "abatch"],
)
def test_one_call_is_one_run_with_its_attempts_below(wrap: Wrap, call: Callable[..., Any]) -> None:
    """The run id and name given are the call's; each attempt is a child of it; every run ends once."""
    recorder, run_id = Recorder(), uuid4()
    config = {"callbacks": [recorder], "run_id": run_id, "run_name": "mine", "tags": ["t"]}
    call(wrap(RunnableLambda(Flaky())), config)
    assert recorder.roots == [run_id]
    attempts = [run for key, run in recorder.runs.items() if key != run_id]
    assert recorder.runs[run_id]["name"] == "mine"
    assert [run["parent"] for run in attempts] == [run_id, run_id]
    assert all(run["end"] == 1 for run in recorder.runs.values())
    assert all("t" in run["tags"] for run in recorder.runs.values())


@pytest.mark.parametrize("wrap", [as_pipeline, as_policy, as_pool, as_retry])
def test_later_attempts_are_tagged_as_langchain_tags_them(wrap: Wrap) -> None:
    """The second attempt has the tag `retry:attempt:2`; in a pool each names its node."""
    recorder = Recorder()
    wrap(RunnableLambda(Flaky())).invoke(1, {"callbacks": [recorder]})
    _, first, second = recorder.runs.values()
    assert "retry:attempt:2" in second["tags"]
    assert not any(tag.startswith("retry:attempt") for tag in first["tags"])
    assert ("holdfast:node:only" in first["tags"]) == (wrap is as_pool)


@every_wrap
def test_r5_config_and_contextvars_reach_every_attempt(wrap: Wrap) -> None:
    """R5: what is configurable, and what the caller's context holds, each attempt sees."""
    from contextvars import ContextVar

    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[tuple[str, Any]] = []

    def look(number: int, config: RunnableConfig) -> int:
        seen.append((who.get(), config["configurable"]["key"]))
        if len(seen) == 1:
            raise Down("again")
        return number

    who.set("me")
    wrap(RunnableLambda(look)).invoke(1, {"configurable": {"key": "k"}})
    assert seen == [("me", "k"), ("me", "k")]


@every_wrap
def test_bound_arguments_reach_every_attempt(wrap: Wrap) -> None:
    """`bind` and keyword arguments pass through, on the calls and on the streams."""
    seen: list[int] = []

    def add(number: int, *, more: int) -> int:
        seen.append(more)
        return number + more

    guarded = wrap(RunnableLambda(add)).bind(more=2)
    assert guarded.invoke(1) == 3
    assert list(guarded.stream(1)) == [3]
    assert asyncio.run(guarded.ainvoke(1)) == 3  # type: ignore[arg-type]


@every_wrap
def test_it_says_of_itself_what_the_runnable_says(wrap: Wrap) -> None:
    """Types and schemas are those of what is guarded."""

    def length(text: str) -> int:
        return len(text)

    bare = RunnableLambda(length)
    guarded = wrap(bare)
    assert guarded.get_input_jsonschema() == bare.get_input_jsonschema()
    assert guarded.get_output_jsonschema() == bare.get_output_jsonschema()
    assert (guarded.InputType, guarded.OutputType) == (bare.InputType, bare.OutputType)


@every_wrap
def test_b7_cancellation_is_never_swallowed(wrap: Wrap) -> None:
    """B7, R8: a cancelled call is cancelled, at once and without a further attempt."""
    calls = 0

    async def slow(_: Any) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.ensure_future(wrap(RunnableLambda(slow)).ainvoke(None))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert calls == 1


# ResilientRetry in the place of RunnableRetry


def retrying(function: Callable[..., Any], **fields: Any) -> ResilientRetry:
    return ResilientRetry(bound=RunnableLambda(function), **{"wait_exponential_jitter": False, **fields})


def test_it_stands_where_langchain_s_retry_stands() -> None:
    """Same class to `isinstance`, same fields, same name, id and dump."""
    bare = RunnableLambda(sometimes)
    fields: dict[str, Any] = {"bound": bare, "max_attempt_number": 5, "retry_exception_types": (KeyError,)}
    ours, theirs = ResilientRetry(**fields), RunnableRetry[Any, Any](**fields)
    assert isinstance(ours, RunnableRetry)
    assert ResilientRetry.model_fields.keys() == RunnableRetry.model_fields.keys()
    assert ours.get_name() == theirs.get_name()
    assert ours.lc_id() == theirs.lc_id() == ["langchain", "schema", "runnable", "RunnableRetry"]
    assert dumpd(ours) == dumpd(theirs)


class Refused(Exception):
    """An HTTP error with a status."""

    def __init__(self, status_code: int, **headers: str) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


def test_what_no_attempt_can_cure_is_not_tried_again() -> None:
    """With the default exceptions a 401 is sent once; LangChain sends it three times."""
    seen: list[int] = []

    def refuse(status: int) -> None:
        seen.append(status)
        raise Refused(status)

    with pytest.raises(Refused):
        retrying(refuse).invoke(401)
    assert seen == [401]
    with pytest.raises(Refused):
        retrying(refuse, retry_exception_types=(Refused,)).invoke(401)
    assert seen == [401] * 4


@pytest.mark.parametrize("given", [(KeyError,), lambda exc: isinstance(exc, KeyError)])
def test_only_what_was_named_is_tried_again(given: Any) -> None:
    """Types and predicates both narrow, and attempts are counted as asked."""
    seen: list[type[Exception]] = []

    def fail(kind: type[Exception]) -> None:
        seen.append(kind)
        raise kind("x")

    for kind in (KeyError, OSError):
        with pytest.raises(kind):
            retrying(fail, retry_exception_types=given, max_attempt_number=4).invoke(kind)
    assert seen == [KeyError] * 4 + [OSError]


def test_base_exceptions_are_raised_even_if_named() -> None:
    """LangChain swallows a cancellation if told to retry `BaseException`, and calls again."""
    calls = 0

    def stop(_: Any) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrying(stop, retry_exception_types=(BaseException,)).invoke(0)
    assert calls == 1


def test_a_wait_that_the_server_asks_for_is_waited() -> None:
    """Retry-After counts, not only the back-off; LangChain does not read it."""
    from holdfast.testing import ManualClock

    calls: list[float] = []
    with ManualClock() as clock:

        def busy(_: Any) -> str:
            calls.append(clock.now)
            if len(calls) == 1:
                raise Refused(429, Retry_After="7")
            return "fine"

        worker = threading.Thread(target=retrying(busy).invoke, args=(0,))
        worker.start()
        while worker.is_alive():
            clock.advance(1.0)
            worker.join(0.005)
    assert calls[1] - calls[0] >= 7


def test_waits_grow_and_are_jittered_at_the_cap_too() -> None:
    """A4: a thousand waits of the twentieth retry differ, within the bounds that were given."""
    from holdfast.langchain.retry import _wait

    numbers = {"initial": 1.0, "max": 60.0, "exp_base": 2.0, "jitter": 1.0}
    assert 1.0 <= _wait(1, **numbers) <= 2.0
    assert 4.0 <= _wait(3, **numbers) <= 5.0
    late = {_wait(20, **numbers) for _ in range(1000)}
    assert len(late) > 990
    assert 59.0 <= min(late) <= max(late) <= 60.0
    assert _wait(5000, **numbers) <= 60.0


def test_its_own_sdk_does_not_multiply_attempts() -> None:
    """A2: a retry around a retry makes three attempts, not nine."""
    flaky = Flaky(times=99)
    with pytest.raises(Down):
        as_retry(as_retry(RunnableLambda(flaky))).invoke(1)
    assert len(flaky.seen) == 3


class Speaker(GenericFakeChatModel):
    """A chat model that fails `failures` times, and can bind tools."""

    failures: int = 0
    calls: int = 0
    bound: list[Any] = []  # noqa: RUF012  # pydantic copies it for each model

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.calls += 1
        if self.calls <= self.failures:
            raise Down("down")
        return super()._generate(*args, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.bound.append(tools)
        return self.bind(tools=tools)


def speaker(*words: str, failures: int = 0) -> Speaker:
    return Speaker(messages=iter(AIMessage(word) for word in words), failures=failures)


def test_what_a_retried_model_binds_is_retried() -> None:
    """`bind_tools` is an AttributeError on LangChain's retry, so that no agent takes it."""
    model = speaker("hello there", failures=1)
    bound = ResilientRetry(bound=model, wait_exponential_jitter=False).bind_tools(["t"])
    assert isinstance(bound, ResilientRetry)
    assert bound.invoke("hi").content == "hello there"
    assert (model.calls, model.bound) == (2, [["t"]])
    assert ResilientRetry(bound=model).messages is model.messages
    with pytest.raises(AttributeError):
        _ = ResilientRetry(bound=model).nonsense


def test_it_copies_and_changes_like_a_value() -> None:
    """Copies have their own fields; a field that is set later counts."""
    flaky = Flaky(times=4)
    first = as_retry(RunnableLambda(flaky))
    assert isinstance(first, ResilientRetry)
    with pytest.raises(Down):
        first.invoke(1)
    for other in (copy.copy(first), copy.deepcopy(first), first.model_copy()):
        other.max_attempt_number = 5
        other.bound = first.bound
        flaky.seen.clear()
        assert other.invoke(1) == 2


def test_the_drop_ins_pickle_if_what_they_hold_does() -> None:
    """As LangChain's do: the engine inside is made anew."""
    model = speaker()
    model.messages = iter(())
    retry = ResilientRetry(bound=_Double(), max_attempt_number=7)
    retry.invoke(1)
    again = pickle.loads(pickle.dumps(retry))
    assert (again.max_attempt_number, again.invoke(2)) == (7, 4)
    both = ResilientFallbacks(runnable=_Double(), fallbacks=[_Double()])
    both.invoke(1)
    assert pickle.loads(pickle.dumps(both)).invoke(2) == 4


class _Double(Runnable[int, int]):
    def invoke(self, input: int, config: Any = None, **kwargs: Any) -> int:  # noqa: A002
        return input * 2


# ResilientFallbacks in the place of RunnableWithFallbacks


def failing(error: Exception, seen: list[Any] | None = None) -> Runnable[Any, Any]:
    def fail(given: Any) -> Any:
        if seen is not None:
            seen.append(given)
        raise error

    return RunnableLambda(fail)


def falling(*runnables: Runnable[Any, Any], **fields: Any) -> ResilientFallbacks:
    return ResilientFallbacks(runnable=runnables[0], fallbacks=list(runnables[1:]), **fields)


def test_it_stands_where_langchain_s_fallbacks_stand() -> None:
    """Same class to `isinstance`, same fields, same name, id and dump."""
    bare = RunnableLambda(sometimes)
    fields: dict[str, Any] = {"runnable": bare, "fallbacks": [bare], "exceptions_to_handle": (KeyError,)}
    ours = ResilientFallbacks(**fields)
    assert isinstance(ours, RunnableWithFallbacks)
    assert ResilientFallbacks.model_fields.keys() == RunnableWithFallbacks.model_fields.keys()
    assert ours.get_name() == RunnableWithFallbacks(runnable=bare, fallbacks=[]).get_name()
    assert ours.get_name("input") == "RunnableWithFallbacksInput"
    assert ours.lc_id() == ["langchain", "schema", "runnable", "RunnableWithFallbacks"]
    assert dumpd(ours) == dumpd(RunnableWithFallbacks(**fields))


def test_they_are_asked_in_order_and_the_first_error_is_raised() -> None:
    """Each is asked once; what comes out is the first one's error, told what the others said."""
    first, second = Down("first"), KeyError("second")
    with pytest.raises(Down) as failure:
        falling(failing(first), failing(second)).invoke(1)
    assert failure.value is first
    assert first.__context__ is None
    assert [tried.node for tried in hf.history(first)] == ["0:fail", "1:fail"]
    assert any("2 failed attempts" in note for note in first.__notes__)


def test_only_the_exceptions_named_are_handled() -> None:
    """Another exception is raised at once, and so is a cancellation that was named."""
    seen: list[Any] = []
    spare = RunnableLambda(lambda given: seen.append(given) or "spare")
    with pytest.raises(OSError, match="x"):
        falling(failing(OSError("x")), spare, exceptions_to_handle=(KeyError,)).invoke(1)
    assert falling(failing(KeyError("x")), spare, exceptions_to_handle=(KeyError,)).invoke(2) == "spare"

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        falling(RunnableLambda(stop), spare, exceptions_to_handle=(BaseException,)).invoke(3)
    assert seen == [2]


@every_path
def test_the_exception_reaches_the_next_in_a_copy_of_the_input(path: Callable[..., Any]) -> None:
    """`exception_key` puts the error before the next runnable; the caller's dictionary stays as it was."""
    seen: list[Any] = []

    def take(given: dict[str, Any]) -> str:
        seen.append(given)
        return "taken"

    error, given = Down("why"), {"question": 1}
    assert path(falling(failing(error), RunnableLambda(take), exception_key="error"), given) == "taken"
    assert seen == [{"question": 1, "error": error}]
    assert given == {"question": 1}


def test_an_exception_key_needs_a_dictionary() -> None:
    """As LangChain's says, before anything is asked."""
    with pytest.raises(ValueError, match="dictionary"):
        falling(failing(Down()), exception_key="error").invoke(1)


def test_a_dead_one_is_passed_over_after_a_while() -> None:
    """Ten calls with a dead first runnable ask it five times, not ten; what is no fault of it is not held."""
    dead: list[Any] = []
    pair = falling(failing(Down("dead"), dead), RunnableLambda(lambda given: given))
    assert [pair.invoke(number) for number in range(10)] == list(range(10))
    assert len(dead) == 5
    picky: list[Any] = []
    pair = falling(failing(ValueError("not this one"), picky), RunnableLambda(lambda given: given))
    assert [pair.invoke(number) for number in range(10)] == list(range(10))
    assert len(picky) == 10


def test_what_the_first_binds_is_bound_to_all() -> None:
    """`bind_tools` needs no annotation to be seen, and `generate` no imports of the annotations' names."""
    first, second = speaker("no", failures=99), speaker("yes indeed")
    pair = falling(first, second)
    bound = pair.bind_tools(["t"])
    assert isinstance(bound, ResilientFallbacks)
    assert bound.invoke("hi").content == "yes indeed"
    assert (first.bound, second.bound) == ([["t"]], [["t"]])
    assert callable(pair.generate)
    assert callable(pair.with_structured_output)
    assert pair._llm_type == first._llm_type


# Typed streams


def chat_pool(*models: BaseChatModel) -> Runnable[Any, Any]:
    nodes = [hf.Node(f"n{place}", model) for place, model in enumerate(models)]
    return FailoverRunnable(nodes, breaker=None)


@pytest.mark.parametrize("build", [chat_pool, falling])
def test_typed_streams_move_to_the_next_model(build: Callable[..., Runnable[Any, Any]]) -> None:
    """`stream_events(version="v3")`, which LangChain's fallbacks do not have, in both colours."""

    def pool() -> Any:
        return build(speaker(failures=99), speaker("hello there"))

    stream = pool().stream_events("hi", version="v3")
    assert "".join(stream.text) == "hello there"
    assert stream.output.text == "hello there"

    async def asynchronously() -> Any:
        stream = await pool().astream_events("hi", version="v3")
        return [part async for part in stream.text], (await stream).text

    parts, whole = asyncio.run(asynchronously())
    assert "".join(parts) == whole == "hello there"


def test_a_typed_stream_that_fails_raises_when_it_is_read() -> None:
    """The error of the last attempt comes out of `output`, and nothing is asked before."""
    model = speaker(failures=99)
    stream = as_retry(model).stream_events("hi", version="v3")  # type: ignore[call-overload]
    assert model.calls == 0
    with pytest.raises(Down):
        _ = stream.output
    assert model.calls == 3


@every_wrap
def test_what_has_no_typed_stream_says_so(wrap: Wrap) -> None:
    """A lambda behind a guard refuses `version="v3"` as a bare lambda does."""
    with pytest.raises(NotImplementedError):
        wrap(RunnableLambda(sometimes)).stream_events(0, version="v3")

    async def ask() -> None:
        await wrap(RunnableLambda(sometimes)).astream_events(0, version="v3")

    with pytest.raises(NotImplementedError):
        asyncio.run(ask())


def test_a_guard_is_a_runnable_of_its_own_kind() -> None:
    """What is no chat model becomes a `ResilientRunnable`, and shares the breaker it was made with."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    guarded = breaker(RunnableLambda(sometimes))
    assert isinstance(guarded, ResilientRunnable)
    answers = guarded.batch([1, 3, 5], {"max_concurrency": 1}, return_exceptions=True)
    assert [type(one) for one in answers] == [Down, Down, hf.CircuitOpen]

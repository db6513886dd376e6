"""Fallback: another answer when the call has failed; when it may stand in, how it shows, what is kept."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import holdfast as hf
from colours import COLOURS, Colour
from holdfast._fingerprint import fingerprint
from holdfast.testing import ManualClock, record_events

every_colour = pytest.mark.parametrize("colour", COLOURS, ids=repr)


class Refused(Exception):
    """An error that carries the status of a refused request."""

    status_code = 400


def failing(error: Exception | None = None) -> Any:
    def act(*_args: object) -> object:
        raise error or ConnectionError("down")

    return act


@every_colour
def test_a_value_stands_in_for_a_failed_call(colour: Colour) -> None:
    """After the last attempt the value is returned; a stream gives it as its only item."""
    calls: list[int] = []

    def act() -> object:
        calls.append(1)
        raise ConnectionError("down")

    guarded = hf.resilient(retry=hf.Retry(2, backoff=0.0), fallback=hf.Fallback(value="sorry"))(
        colour.make(act)
    )
    assert colour.run(guarded) == "sorry"
    assert len(calls) == 2


@every_colour
def test_none_is_a_value(colour: Colour) -> None:
    """`value=None` is an answer, and not the lack of one."""
    assert colour.run(hf.Fallback(value=None)(colour.make(failing()))) is None


@every_colour
def test_a_good_answer_is_left_alone(colour: Colour) -> None:
    """A call that goes well never sees its fallback."""
    assert colour.run(hf.Fallback(call=failing())(colour.make(lambda x: x + 1)), 1) == 2


@every_colour
def test_the_callable_is_given_the_error_of_the_last_attempt(colour: Colour) -> None:
    """It sees the user's own exception, with the history of the attempts behind it."""
    seen: list[BaseException] = []

    def instead(error: BaseException) -> str:
        seen.append(error)
        return "other"

    pipeline = hf.Pipeline(retry=hf.Retry(3, backoff=0.0), fallback=hf.Fallback(call=instead))
    assert colour.run(pipeline(colour.make(failing()))) == "other"
    assert isinstance(seen[0], ConnectionError)
    assert len(hf.history(seen[0])) == 3


@every_colour
def test_a_refusal_is_covered(colour: Colour) -> None:
    """The fallback sits outside of the breaker: it stands in for a call that nobody was asked for, too."""
    breaker = hf.CircuitBreaker("search")
    breaker.force_open()
    guarded = hf.resilient(breaker=breaker, fallback=hf.Fallback(value=0))(colour.make(lambda: 1))
    assert colour.run(guarded) == 0


@every_colour
def test_no_node_ready_is_covered(colour: Colour) -> None:
    """The same over a pool: of one that is disabled, and of one that fails."""
    manager = hf.FailoverManager([hf.Node("a", colour.make(failing()))], fallback=hf.Fallback(value="cached"))
    door = getattr(manager, colour.door)
    assert colour.run(door) == "cached"
    manager.disable("a")
    assert colour.run(door) == "cached"


@every_colour
def test_the_callers_own_faults_are_raised(colour: Colour) -> None:
    """A refused request (400) and a configuration error are raised as they are, unless asked for."""
    for error in (Refused(), hf.ConfigurationError("no such thing")):
        target = colour.make(failing(error))
        with pytest.raises(type(error)):
            colour.run(hf.Fallback(value="sorry")(target))
        assert colour.run(hf.Fallback(value="sorry", on=Exception)(target)) == "sorry"


@every_colour
def test_on_narrows_what_is_covered(colour: Colour) -> None:
    """Types, several types, or a predicate."""
    target = colour.make(failing(ConnectionError("down")))
    for covers in (OSError, (KeyError, OSError), lambda error: "down" in str(error)):
        assert colour.run(hf.Fallback(value=1, on=covers)(target)) == 1
    for other in (KeyError, (KeyError, ValueError), lambda error: False):
        with pytest.raises(ConnectionError, match="down"):
            colour.run(hf.Fallback(value=1, on=other)(target))


@every_colour
def test_what_the_callable_raises_is_raised(colour: Colour) -> None:
    """Its own exception goes out, and shows what it was to stand in for."""

    def instead(error: BaseException) -> object:
        raise LookupError("nothing cached")

    with pytest.raises(LookupError) as caught:
        colour.run(hf.Fallback(call=instead)(colour.make(failing())))
    assert isinstance(caught.value.__context__, ConnectionError)


@every_colour
def test_each_use_is_an_event_without_the_answer(colour: Colour) -> None:
    """`fallback_used` names the way and the kind of failure, never an answer or an argument."""
    pipeline = hf.Pipeline(fallback=hf.Fallback(value="secret answer"), name="ask")
    with record_events(pipeline, ["fallback_used"]) as events:
        colour.run(pipeline(colour.make(failing())))
    (event,) = events.events
    assert (event.source, event.how, event.error) == ("ask", "value", "unknown")
    assert "secret" not in repr(event)
    assert "secret" not in repr(pipeline)


def test_cancellation_is_not_a_failure_to_stand_in_for() -> None:
    """B7: who cancels a call gets no other answer."""
    used: list[BaseException] = []

    @hf.Fallback(call=used.append, on=BaseException)
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert used == []


def test_an_async_callable_answers_async_calls_only() -> None:
    """It is awaited by them; for a sync call it is refused by name, and nobody is warned of its coroutine."""

    async def instead(error: BaseException) -> str:
        await asyncio.sleep(0)
        return f"after {type(error).__name__}"

    fallback = hf.Fallback(call=instead)

    @fallback
    async def ask() -> str:
        raise ConnectionError

    @fallback
    def ask_sync() -> str:
        raise ConnectionError

    assert asyncio.run(ask()) == "after ConnectionError"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(hf.ConfigurationError) as caught:
            ask_sync()
    assert caught.value.field == "call"


def test_a_timeout_is_covered_and_the_substitute_has_its_own_time() -> None:
    """The call's clocks are over; none of them runs for the substitute, which may await."""

    async def instead(error: BaseException) -> str:
        await asyncio.sleep(0)
        return "in time"

    @hf.resilient(timeout=1.0, fallback=hf.Fallback(call=instead))
    async def ask() -> str:
        await asyncio.Event().wait()
        return "never"

    async def main(clock: ManualClock) -> str:
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        await clock.aadvance(1.5)
        return await task

    with ManualClock() as clock:
        assert asyncio.run(main(clock)) == "in time"


def test_a7_a_stream_falls_back_before_its_first_item_only() -> None:
    """A7: after something was handed out the error is raised; before, the substitute's items come."""
    fallback = hf.Fallback(value=["x", "y"])

    @fallback
    def early() -> Iterator[str]:
        raise ConnectionError
        yield "never"

    @fallback
    def late() -> Iterator[str]:
        yield "a"
        raise ConnectionError

    assert list(early()) == ["x", "y"]
    stream = late()
    assert next(stream) == "a"
    with pytest.raises(ConnectionError):
        next(stream)


def test_a7_an_async_stream_likewise() -> None:
    """A7 for async generators; the substitute may be an async generator, which is closed with the stream."""
    closed: list[str] = []

    async def instead(items: list[str]) -> AsyncIterator[str]:
        try:
            for item in items:
                yield item
        finally:
            closed.append("closed")

    @hf.Fallback(call=lambda error: instead(["x", "y"]))
    async def early() -> AsyncIterator[str]:
        raise ConnectionError
        yield "never"

    @hf.Fallback(value="x")
    async def late() -> AsyncIterator[str]:
        yield "a"
        raise ConnectionError

    async def main() -> None:
        assert [item async for item in early()] == ["x", "y"]
        assert closed == ["closed"]
        stream: Any = early()
        assert await anext(stream) == "x"
        await stream.aclose()
        assert closed == ["closed", "closed"]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        broken = late()
        assert await anext(broken) == "a"
        with pytest.raises(ConnectionError):
            await anext(broken)

    asyncio.run(main())


def test_a_callable_may_give_a_generator_of_its_own() -> None:
    """Its items follow, and closing the stream closes it."""
    closed: list[bool] = []

    def instead(error: BaseException) -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    @hf.Fallback(call=instead)
    def numbers() -> Iterator[int]:
        raise ConnectionError
        yield 0

    assert list(numbers()) == [1, 2]
    stream: Any = numbers()
    assert next(stream) == 1
    stream.close()
    assert closed == [True, True]


# ---- the last good answer ----


class Flaky:
    """Answers until it is told to fail."""

    def __init__(self) -> None:
        self.down = False
        self.answers = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        if self.down:
            raise ConnectionError("down")
        self.answers += 1
        return f"{args} {self.answers}"


@every_colour
def test_the_last_good_answer_to_the_same_input_stands_in_until_it_is_too_old(colour: Colour) -> None:
    """By input; the newest one; exactly as old as the limit is good enough, older is not."""
    act = Flaky()
    with ManualClock() as clock:
        ask = hf.Fallback(last_good=60.0)(colour.make(act))
        assert colour.run(ask, "a") == "('a',) 1"
        assert colour.run(ask, "a") == "('a',) 2"
        assert colour.run(ask, "b") == "('b',) 3"
        act.down = True
        clock.advance(60.0)
        assert colour.run(ask, "a") == "('a',) 2"
        with pytest.raises(ConnectionError):
            colour.run(ask, "c")
        clock.advance(0.001)
        with pytest.raises(ConnectionError):
            colour.run(ask, "a")


def test_the_value_answers_where_there_is_no_last_good_one() -> None:
    """`last_good` first, then `value` or `call`; the event says which."""
    act = Flaky()
    pipeline = hf.Pipeline(fallback=hf.Fallback(last_good=60.0, value="none"))

    @pipeline
    def ask(question: str) -> object:
        return act(question)

    ask("a")
    act.down = True
    with record_events(pipeline, ["fallback_used"]) as events:
        assert (ask("a"), ask("b")) == ("('a',) 1", "none")
    assert [event.how for event in events] == ["last_good", "value"]


def test_two_functions_of_one_fallback_do_not_share_answers() -> None:
    """The function is part of what makes an input."""
    fallback = hf.Fallback(last_good=60.0)
    down = False

    @fallback
    def one(x: int) -> str:
        if down:
            raise ConnectionError
        return "one"

    @fallback
    def two(x: int) -> str:
        raise ConnectionError

    assert one(1) == "one"
    down = True
    assert one(1) == "one"
    with pytest.raises(ConnectionError):
        two(1)


def test_kept_answers_are_copies() -> None:
    """What a caller does to his answer is not done to the next one's."""
    down = False

    @hf.Fallback(last_good=60.0)
    def ask() -> list[int]:
        if down:
            raise ConnectionError
        return [1]

    ask().append(2)
    down = True
    ask().append(3)
    assert ask() == [1]


def test_the_memory_is_bounded() -> None:
    """The oldest answers make room."""
    act = Flaky()
    ask = hf.Fallback(last_good=60.0, max_entries=2)(lambda x: act(x))
    for x in "abc":
        ask(x)
    act.down = True
    with pytest.raises(ConnectionError):
        ask("a")
    assert ask("b")
    assert ask("c")


def test_a_key_of_the_users_own_decides_what_is_the_same_input() -> None:
    """`key(args, kwargs)`, as for breakers."""
    act = Flaky()
    ask = hf.Fallback(last_good=60.0, key=lambda args, kwargs: args[0])(lambda *args: act(*args))
    first = ask("tenant", 1)
    act.down = True
    assert ask("tenant", 2) == first


def test_a_refused_answer_is_not_kept() -> None:
    """What `validate` does not believe today is no good answer tomorrow."""
    answers = ["half", ConnectionError("down")]

    @hf.resilient(validate=lambda answer: answer != "half", fallback=hf.Fallback(last_good=60.0))
    def ask() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(hf.Truncated):
        ask()
    with pytest.raises(ConnectionError):
        ask()


def test_only_whole_streams_are_kept() -> None:
    """A stream that broke or was left half-way leaves the last whole one in its place."""
    breaks = False

    @hf.Fallback(last_good=60.0)
    def numbers() -> Iterator[int]:
        if breaks:
            raise ConnectionError
        yield 1
        yield 2

    stream: Any = numbers()
    assert next(stream) == 1
    stream.close()
    breaks = True
    with pytest.raises(ConnectionError):
        list(numbers())
    breaks = False
    assert list(numbers()) == [1, 2]
    breaks = True
    assert list(numbers()) == [1, 2]


def test_inputs_are_the_same_by_value() -> None:
    """Equal containers of any order of keys are one input; what has no value has no fingerprint."""
    assert fingerprint({"a": [1, 2.0], "b": {"x", "y"}}) == fingerprint({"b": {"y", "x"}, "a": [1, 2.0]})
    different = [1, 1.0, True, "1", b"1", None, [1], (1,), {1: 1}, {1}, ["a", "b"], ["ab"], [["a"], "b"], int]
    assert len({fingerprint(value) for value in different}) == len(different)
    assert fingerprint(lambda: 1) is None
    assert fingerprint(open) == fingerprint(open)
    loop: list[object] = []
    loop.append(loop)
    assert fingerprint(loop) is None


def test_arguments_without_a_value_are_not_kept() -> None:
    """No answer is better than that of another input."""
    act = Flaky()
    ask = hf.Fallback(last_good=60.0)(lambda x: act(x))
    ask(lambda: 1)
    act.down = True
    with pytest.raises(ConnectionError):
        ask(lambda: 2)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "value"),
        ({"value": 1, "call": print}, "value"),
        ({"call": 3}, "call"),
        ({"last_good": 0}, "last_good"),
        ({"last_good": float("nan")}, "last_good"),
        ({"last_good": "1"}, "last_good"),
        ({"value": 1, "on": 3}, "on"),
        ({"value": 1, "on": ()}, "on"),
        ({"value": 1, "key": str}, "last_good"),
        ({"last_good": 1, "key": 3}, "key"),
        ({"last_good": 1, "cache": object()}, "cache"),
        ({"last_good": 1, "max_entries": 0}, "max_entries"),
    ],
)
def test_nonsense_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    """Every configuration error names its field."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.Fallback(**fields)
    assert caught.value.field == field


def test_a_number_is_its_value() -> None:
    """A number where a policy is expected is its first field."""
    assert hf.resilient(fallback=0)(failing())() == 0
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.Pipeline(fallback="x")  # type: ignore[arg-type]
    assert caught.value.field == "fallback"

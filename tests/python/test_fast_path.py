"""The fast path says and does what the long way says and does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import traceback
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast._classify import judge_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.testing import ManualClock


def counts(breaker: hf.CircuitBreaker) -> tuple[int, int, int, int]:
    """What a breaker has made of its calls."""
    m = breaker.metrics
    return m.successes, m.failures, m.throttled, m.ignored


# ---- verdicts ----


class Status(Exception):
    status_code = 503


class Asked(Exception):
    """Its facts come from nowhere."""

    def __getattr__(self, name: str) -> object:
        if name == "status_code":
            return 400
        raise AttributeError(name)


class Slotted(Exception):
    __slots__ = ("note",)


class Meta(type):
    pass


class Odd(Exception, metaclass=Meta):
    pass


class GraphBubbleUp(Exception):
    """Control flow, by its name."""


def noted() -> Exception:
    error = ValueError("noted")
    error.add_note("a note")
    return error


def carrying(**attributes: object) -> Exception:
    error = RuntimeError("carries facts")
    error.__dict__.update(attributes)
    return error


def caused(cause: BaseException) -> Exception:
    error = RuntimeError("caused")
    error.__cause__ = cause
    return error


ZOO: dict[str, Callable[[], BaseException]] = {
    "plain": ValueError,
    "with text": lambda: KeyError("x"),
    "of the system": lambda: OSError(2, "no such file"),
    "slotted": Slotted,
    "of an odd metaclass": Odd,
    "with a note": noted,
    "with a status of its class": Status,
    "with a status of its own": lambda: carrying(status_code=503),
    "with a request's fault": lambda: carrying(status_code=400),
    "with a busy status": lambda: carrying(status=429, retry_after=0),
    "with other attributes": lambda: carrying(request_id="r"),
    "that reads itself": Asked,
    "caused by nothing special": lambda: caused(ValueError()),
    "caused by a request's fault": lambda: caused(carrying(status_code=422)),
    "cancelled": asyncio.CancelledError,
    "interrupted": KeyboardInterrupt,
    "exiting": SystemExit,
    "closing": GeneratorExit,
    "control flow": GraphBubbleUp,
    "a rejection": lambda: hf.CircuitOpen(retry_after=1.0),
    "a wrong setting": lambda: hf.ConfigurationError(field="x", rule="be y", value=1),
    "a group": lambda: ExceptionGroup("g", [ValueError(), carrying(status_code=400)]),
    "a group of cancellations": lambda: BaseExceptionGroup("g", [asyncio.CancelledError()]),
    "a stop": lambda: StopIteration(3),
}


@pytest.mark.parametrize("kind", ZOO)
def test_plain_failures_are_judged_as_the_classifier_judges_them(kind: str) -> None:
    """At first sight of a class and afterwards, the native verdict counts as `judge_plain`'s does."""

    def act() -> None:
        raise ZOO[kind]()

    quick = hf.CircuitBreaker(failure_threshold=None)
    # Another callable with the same answers: these are asked, every time.
    slow = hf.CircuitBreaker(failure_threshold=None, classify=lambda exc: judge_plain(exc))
    for _ in range(3):
        for guarded in (quick(act), slow(act)):
            with pytest.raises(BaseException) as caught:  # noqa: PT011 of every kind
                guarded()
            assert type(caught.value) is type(ZOO[kind]())
        assert counts(quick) == counts(slow)


def test_a_class_that_changes_is_judged_anew() -> None:
    """A class, or its base, that is given a status later is known by it from then on, and loses it again."""

    class Base(Exception):
        pass

    class Later(Base):
        pass

    def act() -> None:
        raise Later

    breaker = hf.CircuitBreaker(failure_threshold=None)
    guarded = breaker(act)

    def call() -> tuple[int, int, int, int]:
        with pytest.raises(Later):
            guarded()
        return counts(breaker)

    assert [call(), call()] == [(0, 1, 0, 0), (0, 2, 0, 0)]
    Base.status_code = 400  # type: ignore[attr-defined]
    assert [call(), call()] == [(0, 2, 0, 1), (0, 2, 0, 2)]
    del Base.status_code  # type: ignore[attr-defined]
    assert [call(), call()] == [(0, 3, 0, 2), (0, 4, 0, 2)]


def test_many_classes_take_turns() -> None:
    """More classes than are remembered are each judged right, again and again."""
    classes = [type(f"Made{n}", (Exception,), {"status_code": 400} if n % 3 == 0 else {}) for n in range(900)]
    breaker = hf.CircuitBreaker(failure_threshold=None)

    @breaker
    def act(cls: type[Exception]) -> None:
        raise cls

    for _ in range(2):
        for cls in classes:
            with pytest.raises(cls):
                act(cls)
    assert counts(breaker) == (0, 1200, 0, 600)


def test_rules_of_the_users_are_always_asked() -> None:
    """A classifier, of the breaker's or the pipeline's, is asked about every exception, known or not."""
    asked: list[BaseException] = []

    def rule(exc: BaseException) -> str:
        asked.append(exc)
        return "ignore"

    def act() -> None:
        raise ValueError

    for guard in (hf.CircuitBreaker(classify=rule), hf.Pipeline(breaker=hf.CircuitBreaker(), classify=rule)):
        for _ in range(3):
            with pytest.raises(ValueError):  # noqa: PT011
                guard(act)()
    assert len(asked) == 6


# ---- the failing call ----


def test_a_failure_is_raised_as_it_is() -> None:
    """The same object, its context and its traceback are the user's alone; failures trip at the threshold."""
    error = ValueError("mine")
    breaker = hf.CircuitBreaker(failure_threshold=3)

    @breaker
    def act() -> None:
        raise error

    for turn in range(3):
        error.__traceback__ = None
        try:
            raise KeyError("handled")
        except KeyError as handled:
            with pytest.raises(ValueError, match="mine") as caught:
                act()
            assert caught.value is error
            assert error.__context__ is handled
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names == ["test_a_failure_is_raised_as_it_is", "act"]
        assert breaker.metrics.failures == turn + 1
    assert breaker.state == "open"


def test_an_exception_from_native_code_counts() -> None:
    """A failure of a builtin, which has never been an instance before, is an instance to who catches it."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    guarded = breaker(int)
    for _ in range(3):
        with pytest.raises(ValueError, match="invalid literal") as caught:
            guarded("x")
        assert isinstance(caught.value.args[0], str)
    assert counts(breaker) == (0, 3, 0, 0)
    assert guarded("7", base=8) == 7


# ---- rejections ----


@pytest.fixture
def opened(clock: ManualClock) -> Callable[..., Any]:
    """A guard whose breaker has just opened for 30 s."""
    breaker = hf.CircuitBreaker("b", failure_threshold=1, open_timeout=30.0)

    @breaker
    def act() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        act()
    return act


def rejected(guarded: Callable[..., Any]) -> hf.CircuitOpen:
    with pytest.raises(hf.CircuitOpen) as caught:
        guarded()
    return caught.value


def test_b16_a_rejection_is_whole(opened: Callable[..., Any], clock: ManualClock) -> None:
    """Its facts, its sentence, its `args`, repr, copy and pickle are those of one made in Python."""
    clock.advance(10.0)
    error = rejected(opened)
    twin = hf.CircuitOpen(retry_after=error.retry_after, reason="open", source="b")
    assert (error.retry_after, error.reason, error.source) == (20.0, "open", "b")
    for look in (str, repr, lambda e: e.args, lambda e: traceback.format_exception_only(e)):
        assert look(rejected(opened)) == look(twin)
    for copied in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (copied.args, copied.retry_after, copied.reason, copied.source) == (
            twin.args, 20.0, "open", "b",
        )  # fmt: skip


def test_b16_each_rejection_is_fresh(opened: Callable[..., Any]) -> None:
    """No two are one object, none carries a frame of the user's function, and each has its own context."""
    one, two = rejected(opened), rejected(opened)
    assert one is not two
    assert len(traceback.extract_tb(one.__traceback__)) == 1
    try:
        raise KeyError("handled")
    except KeyError as handled:
        three = rejected(opened)
        assert three.__context__ is handled
    assert (one.__context__, one.__cause__) == (None, None)


def test_a_rejection_by_hand_and_by_a_busy_probe(clock: ManualClock) -> None:
    """The reason is the state, and a rejection that nobody can foresee the end of has no `retry_after`."""
    breaker = hf.CircuitBreaker("b", failure_threshold=1, open_timeout=30.0)
    reasons = []

    @breaker
    def act(inner: bool = False) -> None:
        if inner:
            reasons.append(rejected(act))
        else:
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        act()
    clock.advance(30.0)
    act(inner=True)  # a probe, in which another call comes
    breaker.force_open()
    reasons.append(rejected(act))
    assert [(e.reason, e.retry_after) for e in reasons] == [("half_open", 1.0), ("forced_open", None)]
    assert [e.args == (str(e),) for e in reasons] == [True, True]


# ---- the lane of generators ----


def lane(breaker: hf.CircuitBreaker, act: Callable[..., Iterator[Any]]) -> Any:
    """A guarded generator whose first item is out, so that the next ones pass through."""
    stream = breaker(act)()
    assert next(stream) == 0
    return stream


def test_items_pass_in_order_and_the_verdict_comes_at_the_end() -> None:
    """A generator is judged when it ends: well, or by what it raises."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    assert list(lane(breaker, lambda: (yield from range(4)))) == [1, 2, 3]
    assert counts(breaker) == (1, 0, 0, 0)

    def breaks() -> Iterator[int]:
        yield from range(3)
        raise ValueError("late")

    stream = lane(breaker, breaks)
    assert [next(stream), next(stream)] == [1, 2]
    assert breaker.metrics.in_flight == 1
    with pytest.raises(ValueError, match="late"):
        next(stream)
    assert list(stream) == []
    assert counts(breaker) == (1, 1, 0, 0)


def test_the_lane_can_be_left_and_entered_again() -> None:
    """`send`, `throw` and `close` reach the generator between items that pass."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    heard: list[object] = []

    def talks() -> Iterator[int]:
        n = 0
        while True:
            try:
                heard.append((yield n))
            except KeyError as error:
                heard.append(error)
            n += 1

    stream = lane(breaker, talks)
    assert [next(stream), stream.send("hello"), next(stream)] == [1, 2, 3]
    error = KeyError("thrown")
    assert [stream.throw(error), next(stream), next(stream)] == [4, 5, 6]
    assert heard == [None, "hello", None, error, None, None]
    stream.close()
    assert list(stream) == []
    assert counts(breaker) == (0, 0, 0, 1)


def test_a_return_value_comes_through() -> None:
    """`yield from` a guarded generator has the value that the generator returned."""
    breaker = hf.CircuitBreaker()

    def returns() -> Any:
        yield 0
        yield 1
        return "the end"

    def outer() -> Any:
        got = yield from breaker(returns)()
        yield got

    assert list(outer()) == [0, 1, "the end"]


def test_a_generator_cannot_be_stepped_from_inside() -> None:
    """In the lane as outside of it: a step during a step is refused, and the stream goes on."""
    refused: list[str] = []

    def reaches() -> Iterator[int]:
        for n in range(4):
            if n:
                for act in (stream.__next__, stream.close, lambda: stream.send(None)):
                    with pytest.raises(ValueError, match="already executing") as caught:
                        act()
                    refused.append(str(caught.value))
            yield n

    stream = hf.CircuitBreaker()(reaches)()
    assert list(stream) == [0, 1, 2, 3]
    assert len(refused) == 9


def test_b4_a_probe_that_streams_does_not_use_the_lane(clock: ManualClock) -> None:
    """Each chunk of a probe renews its lease, however many there are."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=1.0, success_threshold=1, probe_lease=5.0)

    @breaker
    def act(good: bool) -> Iterator[int]:
        if not good:
            raise ValueError
        yield from range(20)

    with pytest.raises(ValueError):  # noqa: PT011
        list(act(False))
    clock.advance(1.0)
    for _ in act(True):
        clock.advance(4.0)
    assert breaker.state == "closed"
    assert breaker.metrics.lost == 0


# ---- the time ----


def test_lagging_time_is_exact_under_a_manual_clock(clock: ManualClock) -> None:
    """A breaker that reads the kernel's tick sees a manual clock exactly: slow is from the limit on."""
    breaker = hf.CircuitBreaker(failure_threshold=None, slow_call=2.0, failure_rate=0.5, window=60.0)

    @breaker
    def act(seconds: float) -> None:
        clock.advance(seconds)

    for seconds in (1.999, 2.0, 0.0, 2.001):
        act(seconds)
    assert breaker.metrics.slow == 2


def test_the_tick_agrees_with_the_clock() -> None:
    """Without a manual clock, before one and after one, a call of no length is not slow."""
    from holdfast.testing import ManualClock

    breaker = hf.CircuitBreaker(slow_call=1.0, slow_call_rate=0.5, minimum_calls=1)
    act = breaker(lambda: None)
    for _ in range(100):
        act()
    with ManualClock() as manual:
        act()
        manual.advance(3600.0)
        act()
    for _ in range(100):
        act()
    assert (breaker.metrics.slow, breaker.state) == (0, "closed")


# ---- nothing is left behind ----


def test_nothing_is_allocated_beyond_the_call() -> None:
    """At its peak a guarded call holds no more traced memory than the bare one."""

    class Holder:
        def bare(self, x: int) -> None:
            """Does nothing."""

        guarded = hf.CircuitBreaker(failure_rate=0.5, slow_call=5.0)(bare)

    def function(x: int, *, y: int = 0) -> None:
        """Does nothing."""

    holder, guarded = Holder(), hf.CircuitBreaker()(function)
    calls: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (lambda: function(1), lambda: guarded(1)),
        (lambda: function(1, y=2), lambda: guarded(1, y=2)),
        (lambda: holder.bare(1), lambda: holder.guarded(1)),
    ]

    def peak(act: Callable[[], None]) -> int:
        act()
        tracemalloc.start()
        try:
            act()
            start = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for _ in range(100):
                act()
            return tracemalloc.get_traced_memory()[1] - start
        finally:
            tracemalloc.stop()

    for bare, same in calls:
        peak(same)
        assert peak(same) <= peak(bare)


def test_r9_references_are_given_back_on_the_fast_path() -> None:
    """Argument, answer, exception class, function and guard have the counts that they had."""
    argument, answer = object(), object()
    breaker = hf.CircuitBreaker(failure_threshold=None)

    def act(x: object, *, fails: bool = False) -> object:
        if fails:
            raise ZeroDivisionError
        return answer

    def items(x: object) -> Iterator[object]:
        yield answer
        yield answer

    guarded, stream = breaker(act), breaker(items)
    shut = hf.CircuitBreaker()
    shut.force_open()
    refused = shut(act)
    watched: list[object] = [argument, answer, act, items, guarded, stream, refused]

    def run(times: int) -> None:
        for _ in range(times):
            assert guarded(argument) is answer
            assert guarded(x=argument) is answer
            for failing in (lambda: guarded(argument, fails=True), lambda: refused(argument)):
                try:
                    failing()
                except (ZeroDivisionError, hf.CircuitOpen):
                    continue
                raise AssertionError
            assert list(stream(argument)) == [answer, answer]
            next(stream(argument))

    run(10)
    before = [sys.getrefcount(thing) for thing in watched]
    run(1000)
    assert [sys.getrefcount(thing) for thing in watched] == before

"""The semantics of attempts (retry, deadline, streams before their first item), seen from Python."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS, Worker, in_loop, in_thread
from holdfast.testing import record_events, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour
    from holdfast.testing import ManualClock

STREAMS = [c for c in COLOURS if c.is_stream]


def at_once(attempts: int = 3, **fields: Any) -> hf.Retry:
    return hf.Retry(attempts, backoff=hf.constant(0), **fields)


class Flaky:
    """Fails `failures` times with a new error each time, then gives its number of calls."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, *_args: Any) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"failure {self.calls}")
        return self.calls


# ---- order ----


def test_a1_the_breaker_sees_every_attempt(colour: Colour) -> None:
    """Retry is outside: three attempts of one call are three calls to the breaker."""
    breaker = hf.CircuitBreaker()
    act = Flaky(2)
    assert colour.run(hf.Pipeline(retry=at_once(), breaker=breaker)(colour.make(act))) == 3
    assert (breaker.metrics.calls, breaker.metrics.failures, breaker.metrics.successes) == (3, 2, 1)


def test_a1_a_breaker_that_opens_ends_the_attempts(colour: Colour) -> None:
    """Once the breaker has opened no attempt is made, and the caller gets the failure that opened it."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    act = Flaky(99)
    with pytest.raises(ConnectionError, match="failure 2"):
        colour.run(hf.Pipeline(retry=at_once(10), breaker=breaker)(colour.make(act)))
    assert act.calls == 2


def test_a1_an_open_breaker_moves_the_call_to_another_node(colour: Colour) -> None:
    """In a pool an open breaker costs no attempt and no wait: the other node is asked first."""
    bad, good = Flaky(99), Flaky(0)
    nodes = [hf.Node("bad", colour.make(bad)), hf.Node("good", colour.make(good))]
    manager = hf.FailoverManager(nodes, breaker=hf.CircuitBreaker(failure_threshold=1))
    for n in range(1, 5):
        assert colour.run(getattr(manager, colour.door)) == n
    assert bad.calls == 1


# ---- waits ----


def test_a4_jitter_comes_after_the_cap() -> None:
    """At attempt 20 a thousand draws are nearly all different, below the cap, with mean cap/2."""
    draws = [hf.Retry(backoff=hf.exponential(0.5, cap=8.0)).draw(20) for _ in range(1000)]
    waits = [wait for wait in draws if wait is not None]
    assert len(set(waits)) >= 990
    assert all(0 <= wait < 8.0 for wait in waits)
    assert 3.6 < mean(waits) < 4.4  # standard error 0.073: more than five of them to either side


def test_a4_each_law_draws_what_it_promises() -> None:
    """Constant, linear, exponential and decorrelated waits lie where their docstrings say."""
    assert [hf.Retry(backoff=hf.constant(0.25)).draw(n) for n in (1, 9)] == [0.25, 0.25]
    line = hf.Retry(backoff=hf.linear(1.0, 0.5, cap=2.0, jitter="none"))
    assert [line.draw(n) for n in (1, 2, 3, 9)] == [1.0, 1.5, 2.0, 2.0]
    curve = hf.Retry(backoff=hf.exponential(0.5, factor=3.0, cap=8.0, jitter="none"))
    assert [curve.draw(n) for n in (1, 2, 3, 4)] == [0.5, 1.5, 4.5, 8.0]
    equal = hf.Retry(backoff=hf.exponential(4.0, cap=8.0, jitter="equal"))
    assert all(2.0 <= (equal.draw(1) or 0) <= 4.0 for _ in range(100))
    grown = hf.Retry(backoff=hf.decorrelated(0.5, cap=8.0))
    assert all(0.5 <= (grown.draw(1) or 0) <= 1.5 for _ in range(100))
    assert hf.Retry(backoff=lambda n: n).draw(1) is None


def test_a_users_own_back_off_is_asked(colour: Colour, clock: ManualClock) -> None:
    """A callable back-off is given the retry's number, and its answer in seconds is waited."""
    asked: list[int] = []

    def backoff(retry: int) -> float:
        asked.append(retry)
        return retry * 2.0

    pipeline = hf.Pipeline(retry=hf.Retry(3, backoff=backoff))
    with record_events(pipeline, kinds=["retry_scheduled"]) as events:
        assert colour.run(pipeline(colour.make(Flaky(2))), clock=clock) == 3
    assert asked == [1, 2]
    assert [event.delay for event in events] == [2.0, 4.0]


def test_a_users_own_back_off_waits_at_least_as_long_as_the_callee_asked(clock: ManualClock) -> None:
    """A callable back-off that would come back too early is overruled by Retry-After."""
    error = ConnectionError("busy")
    error.retry_after = 7.0  # type: ignore[attr-defined]
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=lambda n: 1.0))
    with record_events(pipeline, kinds=["retry_scheduled"]) as events:
        assert in_thread(lambda: pipeline.call(scripted(error, "fine")), clock) == "fine"
    assert [event.delay for event in events] == [7.0]


@pytest.mark.parametrize(
    "broken", [lambda n: 1 / 0, lambda n: "soon", lambda n: float("nan"), lambda n: -1.0]
)
def test_a_back_off_that_fails_does_not_replace_the_users_error(
    broken: Callable[[int], Any], colour: Colour, clock: ManualClock, unraisable: list[BaseException]
) -> None:
    """A back-off that raises or gives nonsense is reported, and the default law takes its place."""
    act = Flaky(99)
    with pytest.raises(ConnectionError, match="failure 2"):
        colour.run(hf.Pipeline(retry=hf.Retry(2, backoff=broken))(colour.make(act)), clock=clock)
    assert act.calls == 2
    assert [type(error) for error in unraisable] in ([ZeroDivisionError], [hf.ConfigurationError])


def test_a6_each_call_has_its_own_back_off(clock: ManualClock) -> None:
    """A hundred failing calls do not make the next one wait longer: the growth belongs to one call."""
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.exponential(1.0, jitter="none"), budget=None))
    with record_events(pipeline, kinds=["retry_scheduled"]) as events:
        for _ in range(10):
            assert in_thread(lambda: pipeline.call(Flaky(1)), clock) == 2
    assert [event.delay for event in events] == [1.0] * 10


async def test_a6_nothing_is_waited_for_after_the_last_attempt(clock: ManualClock) -> None:
    """Two attempts with 10 s between them take 10 s of manual time, not 20."""
    began = clock.now
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(10.0)))

    async def fail() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await in_loop(pipeline.acall(fail), clock)
    assert clock.now - began == pytest.approx(10.0, abs=0.26)


async def test_a6_back_off_is_cancellable(clock: ManualClock) -> None:
    """A task cancelled in its back-off ends at once, with no further attempt."""
    act = Flaky(99)

    @hf.Retry(5, backoff=hf.constant(3600.0))
    async def call() -> int:
        return act()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert act.calls == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.aadvance(7200.0)
    assert act.calls == 1


# ---- the deadline ----


async def test_a5_the_deadline_wins_over_the_back_off(clock: ManualClock) -> None:
    """If the next attempt would start at or after the deadline, the last error comes now, without a wait."""
    for delay, attempts in ((1.0, 1), (0.99, 2)):
        act = Flaky(99)

        async def call(act: Flaky = act) -> int:
            return act()

        began = clock.now
        pipeline = hf.Pipeline(retry=hf.Retry(5, backoff=hf.constant(delay)), timeout=1.0)
        with pytest.raises(ConnectionError, match=f"failure {attempts}"):
            await in_loop(pipeline.acall(call), clock)
        assert act.calls == attempts
        assert clock.now - began < 1.3


async def test_a5_the_time_left_reaches_each_attempt(clock: ManualClock) -> None:
    """Inside an attempt `current_attempt().time_left` is what remains of the whole call's deadline."""
    seen: list[tuple[int, float | None]] = []

    @hf.resilient(retry=hf.Retry(3, backoff=hf.constant(2.0)), timeout=10.0)
    async def call() -> str:
        here = hf.current_attempt()
        assert here is not None
        seen.append((here.number, here.time_left))
        if here.number < 3:
            raise ConnectionError
        return "fine"

    assert await in_loop(call(), clock) == "fine"
    assert seen == [(1, pytest.approx(10.0)), (2, pytest.approx(8.0)), (3, pytest.approx(6.0))]
    assert hf.current_attempt() is None


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a5_an_attempt_knows_what_it_may_take_itself(clock: ManualClock, asynchronous: bool) -> None:
    """`attempt_time_left` is by the nearest clock: the attempt's own, the call's, or that of an attempt around it."""
    seen: list[float | None] = []

    def look() -> None:
        here = hf.current_attempt()
        assert here is not None
        seen.append(here.attempt_time_left)
        if here.number < 3:
            clock.advance(4.0)
            raise ConnectionError

    def plain() -> None:
        look()

    async def coroutine() -> None:
        look()

    async def run(pipeline: hf.Pipeline) -> list[float | None]:
        seen.clear()
        await pipeline.acall(coroutine) if asynchronous else pipeline.call(plain)
        return seen

    again = hf.Retry(3, backoff=0.0, budget=None)
    both = hf.Pipeline(retry=again, timeout=hf.Timeout(10.0, attempt=5.0))
    assert await run(both) == [pytest.approx(5.0), pytest.approx(5.0), pytest.approx(2.0)]
    attempt_alone = hf.Pipeline(retry=again, timeout=hf.Timeout(attempt=5.0))
    assert await run(attempt_alone) == [pytest.approx(5.0)] * 3
    assert await run(hf.Pipeline(retry=again)) == [None] * 3


def test_a5_a_slow_sync_function_is_not_interrupted_and_not_tried_again(clock: ManualClock) -> None:
    """A failure that comes after the deadline ends the call; a value that comes late is returned, or refused."""
    act = Flaky(99)

    def slow_failure() -> int:
        clock.advance(5.0)
        return act()

    with pytest.raises(ConnectionError, match="failure 1"):
        hf.Pipeline(retry=at_once(), timeout=1.0).call(slow_failure)

    def slow_value() -> str:
        clock.advance(5.0)
        return "late"

    lenient = hf.Pipeline(timeout=1.0)
    with record_events(lenient, kinds=["call_timed_out"]) as events:
        assert lenient.call(slow_value) == "late"
    assert [(event.which, event.limit) for event in events] == [("total", 1.0)]
    strict = hf.Pipeline(timeout=hf.Timeout(1.0, late="raise"))
    with pytest.raises(hf.CallTimeout) as caught:
        strict.call(slow_value)
    assert (caught.value.which, caught.value.limit) == ("total", 1.0)
    assert isinstance(caught.value, TimeoutError)


def test_max_elapsed_bounds_the_start_of_attempts(colour: Colour, clock: ManualClock) -> None:
    """No attempt starts later than `max_elapsed` after the call began."""
    act = Flaky(99)
    retry = hf.Retry(10, backoff=hf.constant(1.0), max_elapsed=2.5)
    with pytest.raises(ConnectionError):
        colour.run(hf.Pipeline(retry=retry)(colour.make(act)), clock=clock)
    assert 1 <= act.calls <= 3


def test_an_inner_call_inherits_the_deadline(colour: Colour, clock: ManualClock) -> None:
    """`with hf.deadline(…)` bounds the attempts of every guarded call inside it."""
    act = Flaky(99)
    guarded = hf.Pipeline(retry=hf.Retry(5, backoff=hf.constant(10.0)))(colour.make(act))

    def call() -> None:
        with hf.deadline(5.0):
            colour.run(guarded)

    with pytest.raises(ConnectionError, match="failure 1"):
        call()
    assert act.calls == 1


# ---- streams ----


@pytest.mark.parametrize("colour", STREAMS, ids=repr)
def test_a7_before_its_first_item_a_stream_is_tried_again(colour: Colour) -> None:
    """A stream that fails before it has given anything is made anew."""
    act = Flaky(2)
    assert colour.run(hf.Pipeline(retry=at_once())(colour.make(act))) == 3


@pytest.mark.parametrize("colour", STREAMS, ids=repr)
def test_a7_after_its_first_item_a_stream_is_never_replayed(colour: Colour) -> None:
    """Once an item was handed out a failure is raised as it is: no retry, no failover, no second first item."""
    made = 0
    got: list[int] = []
    mine = ConnectionError("half-way")

    def items() -> Any:
        nonlocal made
        made += 1
        yield 1
        raise mine

    async def aitems() -> Any:
        for item in items():
            yield item

    target = aitems if colour.is_async else items
    manager = hf.FailoverManager([hf.Node("a", target), hf.Node("b", target)], retry=at_once())

    async def aread() -> None:
        async for item in manager.astream():
            got.append(item)

    with pytest.raises(ConnectionError) as caught:
        if colour.is_async:
            asyncio.run(aread())
        else:
            for item in manager.stream():
                got.append(item)
    assert caught.value is mine
    assert (made, got) == (1, [1])
    assert manager.metrics.failovers == 0


@pytest.mark.parametrize("colour", STREAMS, ids=repr)
def test_a18_an_empty_stream_is_a_value(colour: Colour) -> None:
    """A plain stream that ends without an item is a success: not tried again, even by a rule on values."""
    made = 0

    def nothing() -> Any:
        nonlocal made
        made += 1
        yield from ()

    async def anothing() -> Any:
        for item in nothing():
            yield item

    breaker = hf.CircuitBreaker(failure_threshold=1)
    pipeline = hf.Pipeline(retry=at_once(retry_if_result=lambda value: not value), breaker=breaker)

    async def aread() -> list[Any]:
        return [item async for item in pipeline.astream(anothing)]

    assert (asyncio.run(aread()) if colour.is_async else list(pipeline.stream(nothing))) == []
    assert made == 1
    assert (breaker.metrics.successes, breaker.metrics.failures) == (1, 0)


def test_a_streams_own_value_comes_through() -> None:
    """`yield from` gets what the generator returns; `send` and `throw` reach it."""

    @hf.Retry(3)
    def echo() -> Any:
        got = []
        try:
            while True:
                got.append((yield len(got)))
        except KeyError:
            return got

    def outer() -> Any:
        return (yield from echo())

    stream = outer()
    assert next(stream) == 0
    assert stream.send("a") == 1
    assert stream.send("b") == 2
    with pytest.raises(StopIteration) as end:
        stream.throw(KeyError("enough"))
    assert end.value.value == ["a", "b"]


# ---- deciding ----


@pytest.mark.parametrize("colour", [c for c in COLOURS if not c.is_stream], ids=repr)
def test_a13_a_value_can_ask_for_another_attempt(colour: Colour) -> None:
    """A predicate on the value retries it; when attempts run out the last value is returned."""
    retry = at_once(retry_if_result=lambda value: value < 3)
    assert colour.run(hf.Pipeline(retry=retry)(colour.make(Flaky(0)))) == 3
    two = at_once(2, retry_if_result=lambda value: value < 99)
    breaker = hf.CircuitBreaker()
    assert colour.run(hf.Pipeline(retry=two, breaker=breaker)(colour.make(Flaky(0)))) == 2
    assert breaker.metrics.failures == 2


def test_a13_a_predicate_that_raises_is_reported_and_the_value_stands(
    unraisable: list[BaseException],
) -> None:
    """A broken predicate neither replaces nor repeats a good answer."""
    act = Flaky(0)
    assert hf.Pipeline(retry=at_once(retry_if_result=lambda value: value["nonsense"])).call(act) == 1
    assert act.calls == 1
    assert [type(error) for error in unraisable] == [TypeError]


def test_a14_the_latest_outcome_decides(colour: Colour, clock: ManualClock) -> None:
    """The wait is the latest error's Retry-After, not the first one's; a latest 400 ends it."""

    class Status(Exception):
        def __init__(self, status: int, retry_after: float | None = None) -> None:
            super().__init__(f"HTTP {status}")
            self.status_code = status
            self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    act = scripted(Status(503, 9), Status(503, 2), Status(400), "never")
    pipeline = hf.Pipeline(retry=hf.Retry(9, backoff=hf.constant(0)))
    with (
        record_events(pipeline, kinds=["retry_scheduled"]) as events,
        pytest.raises(Status, match="HTTP 400"),
    ):
        colour.run(pipeline(colour.make(act)), clock=clock)
    assert [event.delay for event in events] == [9.0, 2.0]
    assert act.calls == 3


def test_a15_a_node_that_failed_this_call_is_asked_last(colour: Colour) -> None:
    """Untried nodes come first; a node that failed is asked again only when every other has failed too."""
    order: list[str] = []

    def node(name: str) -> hf.Node:
        def act(*_args: Any) -> Any:
            order.append(name)
            raise ConnectionError(name)

        return hf.Node(name, colour.make(act))

    manager = hf.FailoverManager([node("a"), node("b"), node("c")], retry=at_once(7), breaker=None)
    with pytest.raises(ConnectionError):
        colour.run(getattr(manager, colour.door))
    assert sorted(order[:3]) == ["a", "b", "c"]
    assert all(earlier != later for earlier, later in itertools.pairwise(order))
    assert len(order) == 7


def test_a15_without_retry_each_ready_node_is_asked_once(colour: Colour) -> None:
    """With `retry=None` a call ends when every ready node has failed it."""
    act = Flaky(99)
    manager = hf.FailoverManager([hf.Node(name, colour.make(act)) for name in "abc"], breaker=None)
    with pytest.raises(ConnectionError, match="failure 3"):
        colour.run(getattr(manager, colour.door))
    assert act.calls == 3


def test_a16_an_attempt_sees_nothing_of_the_one_before(colour: Colour) -> None:
    """Each attempt is called anew with the caller's own arguments, and its own attempt number."""
    seen: list[tuple[Any, ...]] = []

    def act(items: tuple[int, ...], **options: Any) -> str:
        here = hf.current_attempt()
        assert here is not None
        seen.append((items, dict(options), here.number))
        options["spoiled"] = True
        if len(seen) < 3:
            raise ConnectionError
        return "fine"

    guarded = hf.Pipeline(retry=at_once())(colour.make(act))
    assert colour.run(lambda *args: guarded(*args, model="m"), (1, 2)) == "fine"
    assert seen == [((1, 2), {"model": "m"}, n) for n in (1, 2, 3)]


async def test_a16_context_variables_reach_each_attempt() -> None:
    """What the caller has set in its context is there in every attempt, and stays the caller's."""
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    @hf.Retry(3, backoff=hf.constant(0))
    async def call() -> None:
        seen.append(who.get())
        await asyncio.sleep(0)
        if len(seen) < 3:
            raise ConnectionError

    who.set("alice")
    await call()
    assert seen == ["alice"] * 3


async def test_a17_when_the_caller_is_gone_no_attempt_starts() -> None:
    """Cancelling the caller cancels the request under way, and neither retry nor failover follows."""
    calls: list[str] = []
    cancelled: list[str] = []

    def node(name: str) -> hf.Node:
        async def hang() -> None:
            calls.append(name)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        return hf.Node(name, hang)

    manager = hf.FailoverManager([node("a"), node("b")], retry=at_once())
    task = asyncio.ensure_future(manager.acall())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (calls, cancelled) == (["a"], ["a"])
    assert manager.metrics.in_flight == 0
    assert manager.nodes["a"].failures == 0


# ---- one layer, one budget ----


def test_a2_nested_layers_do_not_multiply(colour: Colour) -> None:
    """Three nested layers of three attempts on a dead callee make three calls, not 27."""
    act = Flaky(99)
    nested = colour.make(act)
    for _ in range(3):
        nested = hf.Pipeline(retry=at_once())(nested)
    with pytest.raises(ConnectionError, match="failure 3") as caught:
        colour.run(nested)
    assert act.calls == 3
    assert len(hf.history(caught.value)) == 3
    notes = [note for note in caught.value.__notes__ if note.startswith("holdfast: ")]
    assert len(notes) == 1


def test_a2_an_outer_layer_can_ask_for_more(colour: Colour) -> None:
    """`Retry(nested=True)` tries again what the inner layer has given up on."""
    act = Flaky(99)
    inner = hf.Pipeline(retry=at_once(2))(colour.make(act))
    with pytest.raises(ConnectionError):
        colour.run(hf.Pipeline(retry=at_once(3, nested=True))(inner))
    assert act.calls == 6


def test_a2_an_outer_manager_still_moves_to_another_node(colour: Colour) -> None:
    """What the inner layer of one node has given up on is tried on the next node, with its own attempts."""
    bad, good = Flaky(99), Flaky(1)
    nodes = [
        hf.Node(n, hf.Pipeline(retry=at_once(2))(colour.make(act)))
        for n, act in (("bad", bad), ("good", good))
    ]
    manager = hf.FailoverManager(nodes)
    assert colour.run(getattr(manager, colour.door)) == 2
    assert (bad.calls, good.calls) == (2, 2)


def test_a3_a_shared_budget_ends_the_retries_of_all_calls(colour: Colour) -> None:
    """Two retries' worth of tokens allow two retries over all calls, and first-try successes earn more."""
    budget = hf.RetryBudget(tokens=2.0, per_success=0.5)
    one, other = (hf.Pipeline(retry=at_once(9, budget=budget)) for _ in range(2))
    dead = Flaky(99)
    with pytest.raises(ConnectionError):
        colour.run(one(colour.make(dead)))
    assert dead.calls == 3
    with pytest.raises(ConnectionError):
        colour.run(other(colour.make(dead)))
    assert dead.calls == 4
    for _ in range(2):
        colour.run(one(colour.make(Flaky(0))))
    assert budget.available == 1.0
    assert colour.run(other(colour.make(Flaky(1)))) == 2
    assert budget.available == 0.0


def test_a3_asking_another_node_costs_no_token(colour: Colour) -> None:
    """Failover to an untried node is no retry: an empty budget does not hinder it."""
    bad, good = Flaky(99), Flaky(0)
    nodes = [hf.Node("bad", colour.make(bad)), hf.Node("good", colour.make(good))]
    manager = hf.FailoverManager(nodes, retry=at_once(budget=hf.RetryBudget(0.0)))
    assert colour.run(getattr(manager, colour.door)) == 1


# ---- what the caller is told ----


def test_the_last_errors_notes_and_history_tell_the_attempts(colour: Colour, clock: ManualClock) -> None:
    """The last original exception is raised, with one note for people and the same facts as data."""
    errors = [ConnectionError("first"), TimeoutError("second")]

    def node(name: str, error: Exception) -> hf.Node:
        return hf.Node(name, colour.make(scripted(error)))

    manager = hf.FailoverManager([node("a", errors[0]), node("b", errors[1])])
    with pytest.raises(TimeoutError) as caught:
        colour.run(getattr(manager, colour.door))
    assert caught.value is errors[1]
    history = hf.history(caught.value)
    assert [(tried.number, tried.node) for tried in history] == [(1, "a"), (2, "b")]
    assert all(tried.took == 0.0 for tried in history)
    (note,) = caught.value.__notes__
    assert note.startswith("holdfast: 2 failed attempts")
    assert "'a'" in note
    assert "'b'" in note


def test_one_attempt_leaves_no_note(colour: Colour) -> None:
    """Without attempts to tell of, the exception is as it was."""
    with pytest.raises(ConnectionError) as caught:
        colour.run(hf.CircuitBreaker()(colour.make(Flaky(9))))
    assert hf.history(caught.value) == ()
    assert not hasattr(caught.value, "__notes__")


def test_an_exception_object_that_is_raised_again_keeps_one_note(colour: Colour) -> None:
    """A callee with one exception instance for all its failures gets no growing notes, and fresh history."""
    mine = ConnectionError("the same")
    mine.add_note("the user's own")
    guarded = hf.Pipeline(retry=at_once(2))(colour.make(scripted(mine)))
    for _ in range(5):
        with pytest.raises(ConnectionError):
            colour.run(guarded)
    assert len(hf.history(mine)) == 2
    assert [note.startswith("holdfast: ") for note in mine.__notes__] == [False, True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_that_takes_no_notes_is_raised_all_the_same(unraisable: list[BaseException]) -> None:
    """A setter that objects costs the note, not the user's exception."""

    class Closed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"no {name} here")

    with pytest.raises(Closed):
        hf.Pipeline(retry=at_once(2)).call(scripted(Closed("mine")))
    assert [type(error) for error in unraisable] == [AttributeError]


# ---- Retry-After ----


class Answer:
    def __init__(self, status: int, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Http(Exception):
    """An HTTP error of no library in particular."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status_code}")
        self.response = answer


def with_attribute(value: object) -> Exception:
    error = ConnectionError("busy")
    error.retry_after = value  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (with_attribute(3), 3.0),
        (with_attribute(2.5), 2.5),
        (with_attribute(timedelta(seconds=4)), 4.0),
        (Http(Answer(503, retry_after="7")), 7.0),
        (Http(Answer(429, Retry_After="1.5")), 1.5),
        (Http(Answer(429, retry_after_ms="250")), 0.25),
    ],
    ids=repr,
)
def test_retry_after_is_read_by_duck_typing(error: Exception, seconds: float, clock: ManualClock) -> None:
    """Numbers, durations and headers of any exception are waited for."""
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0)))
    with record_events(pipeline, kinds=["retry_scheduled"]) as events:
        assert in_thread(lambda: pipeline.call(scripted(error, "fine")), clock) == "fine"
    assert [event.delay for event in events] == [seconds]


def test_retry_after_as_a_date_is_read_against_the_wall_clock(clock: ManualClock) -> None:
    """An HTTP date 30 s ahead is waited for, to the second that the format has."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0)))
    with record_events(pipeline, kinds=["retry_scheduled"]) as events:
        error = Http(Answer(503, retry_after=date))
        assert in_thread(lambda: pipeline.call(scripted(error, "fine")), clock) == "fine"
    assert [28.0 <= event.delay <= 30.0 for event in events] == [True]


@pytest.mark.parametrize("nonsense", [-1, float("nan"), float("inf"), "soon", True, None, object()])
def test_a_retry_after_that_makes_no_sense_is_not_waited_for(nonsense: object) -> None:
    """Negative, non-finite and non-numeric wishes are passed over."""
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0)))
    assert pipeline.call(scripted(with_attribute(nonsense), "fine")) == "fine"


def test_b19_a_longer_wish_than_the_cap_ends_the_call_and_a_shorter_one_is_waited(
    colour: Colour, clock: ManualClock
) -> None:
    """Up to `retry_after_cap` the wish is waited for; above it the error comes at once."""
    for wish, calls in ((5.0, 2), (5.1, 1)):
        act = scripted(with_attribute(wish))
        pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0), retry_after_cap=5.0))
        with pytest.raises(ConnectionError):
            colour.run(pipeline(colour.make(act)), clock=clock)
        assert act.calls == calls


def test_a_wish_can_be_left_unheard() -> None:
    """With `respect_retry_after=False` only the back-off is waited for."""
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0), respect_retry_after=False))
    assert pipeline.call(scripted(with_attribute(3600), "fine")) == "fine"


# ---- threads ----


def test_a_call_in_back_off_does_not_hold_other_threads_up(clock: ManualClock) -> None:
    """While one thread waits in its back-off, others call through the same guard."""
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(10.0)))
    failed = threading.Event()

    def fail_once() -> str:
        if not failed.is_set():
            failed.set()
            raise ConnectionError
        return "fine"

    waiting = Worker(lambda: pipeline.call(fail_once))
    assert failed.wait(10)
    assert [Worker(lambda n=n: pipeline.call(int, n)).outcome() for n in range(5)] == list(range(5))  # type: ignore[misc]
    assert waiting.is_alive()
    while waiting.is_alive():
        clock.advance(1.0)
        time.sleep(0.001)
    assert waiting.outcome() == "fine"


def test_a_back_off_may_be_a_duration() -> None:
    """Seconds or a timedelta stand for a constant back-off."""
    for given in (0.25, timedelta(milliseconds=250)):
        assert [hf.Retry(backoff=given).draw(n) for n in (1, 2, 9)] == [0.25] * 3
    for refused in (-1, float("nan"), timedelta(-1), "1"):
        with pytest.raises(hf.ConfigurationError, match="backoff"):
            hf.Retry(backoff=refused)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [int, "ValueError", 7, (ValueError, int), [ValueError]])
def test_retry_on_is_checked_where_it_is_written(wrong: Any) -> None:
    """What is neither exception types nor a callable is refused by `Retry` itself, by name."""
    with pytest.raises(hf.ConfigurationError, match="retry_on"):
        hf.Retry(retry_on=wrong)
    for fine in (ValueError, (ValueError, OSError), lambda exc: True):
        hf.Retry(retry_on=fine)


@pytest.mark.parametrize("which", ["total", "attempt"])
def test_a5_a_value_after_its_deadline_counts_as_slow(which: str, clock: ManualClock) -> None:
    """Also of a breaker that knows no slow calls; the value is returned, and the event says which clock."""
    breaker = hf.CircuitBreaker("late")
    guarded = hf.Pipeline(breaker=breaker, timeout=hf.Timeout(**{which: 1.0}))

    def slow() -> str:
        clock.advance(2)
        return "late"

    with record_events(kinds=["call_timed_out"]) as events:
        assert guarded.call(slow) == "late"
        assert guarded.call(lambda: "quick") == "quick"
    assert [(event.which, event.limit) for event in events] == [(which, 1.0)]
    assert (breaker.metrics.successes, breaker.metrics.slow) == (2, 1)

"""The breaker's semantics, seen from Python and through every driver."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS, Worker
from holdfast.testing import record_events

if TYPE_CHECKING:
    from colours import Colour
    from holdfast.testing import ManualClock

STATES = ["circuit_opened", "circuit_half_opened", "circuit_closed"]
NOT_EXCEPTIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


def tripped(**fields: Any) -> hf.CircuitBreaker:
    """A breaker that has just opened by a failure."""
    breaker = hf.CircuitBreaker(failure_threshold=1, **fields)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    assert breaker.state == "open"
    return breaker


def fail() -> None:
    raise ConnectionError("down")


def adds_up(metrics: hf.BreakerMetrics) -> bool:
    terms = ("successes", "failures", "throttled", "ignored", "late", "lost", "rejected", "in_flight")
    return metrics.calls == sum(getattr(metrics, term) for term in terms)


# ---- eras and leases ----


def test_b1_a_late_answer_from_before_the_opening_changes_nothing(clock: ManualClock) -> None:
    """A call admitted while closed that ends well while half-open does not count as a good probe."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=30.0)
    go = threading.Event()
    slow = Worker(lambda: breaker.call(lambda: go.wait(10)))
    while breaker.metrics.in_flight == 0:
        time.sleep(0.001)
    with pytest.raises(ConnectionError):
        breaker.call(fail)
    clock.advance(30.0)
    probe_started, probe_may_end = threading.Event(), threading.Event()

    def probe() -> None:
        probe_started.set()
        probe_may_end.wait(10)

    probing = Worker(lambda: breaker.call(probe))
    assert probe_started.wait(10)
    assert breaker.state == "half_open"
    go.set()
    assert slow.outcome() is True
    assert breaker.state == "half_open"
    assert breaker.metrics.late == 1
    probe_may_end.set()
    probing.outcome()
    assert breaker.state == "closed"
    assert adds_up(breaker.metrics)


def test_b1_a_late_failure_does_not_reopen(colour: Colour, clock: ManualClock) -> None:
    """A call admitted before the opening that fails after the closing is late, and the breaker stays closed."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=5.0)

    def later(*_args: Any) -> None:
        with pytest.raises(ConnectionError):
            breaker.call(fail)
        clock_tick.append(breaker.state)
        raise ConnectionError("late")

    clock_tick: list[str] = []
    with pytest.raises(ConnectionError, match="late"):
        colour.run(breaker(colour.make(later)))
    assert clock_tick == ["open"]
    assert (breaker.metrics.failures, breaker.metrics.late) == (1, 1)
    clock.advance(5.0)
    assert breaker.call(lambda: "well") == "well"
    assert breaker.state == "closed"


def test_b3_a_probe_that_never_ends_loses_its_slot(clock: ManualClock) -> None:
    """After its lease a hung probe counts as lost, another may go, and its own end is fenced."""
    breaker = tripped(open_timeout=1.0, success_threshold=1, probe_lease=60.0)
    clock.advance(1.0)
    go = threading.Event()
    hung = Worker(lambda: breaker.call(lambda: go.wait(10)))
    while breaker.metrics.in_flight == 0:
        time.sleep(0.001)
    with pytest.raises(hf.CircuitOpen):
        breaker.call(fail)
    clock.advance(60.0)
    assert breaker.call(lambda: "well") == "well"
    assert breaker.state == "closed"
    assert breaker.metrics.lost == 1
    go.set()
    assert hung.outcome() is True
    assert (breaker.metrics.successes, breaker.metrics.lost) == (1, 1)
    assert adds_up(breaker.metrics)


def test_b3_an_abandoned_stream_gives_its_probe_slot_back_at_once(clock: ManualClock) -> None:
    """Dropping a half-read probe frees the slot without waiting for the lease, and says nothing of the callee."""
    breaker = tripped(open_timeout=1.0, success_threshold=1)
    clock.advance(1.0)

    @breaker
    def items() -> Any:
        yield 1
        yield 2

    stream = items()
    assert next(stream) == 1
    with pytest.raises(hf.CircuitOpen):
        breaker.call(fail)
    del stream
    assert breaker.state == "half_open"
    assert breaker.call(lambda: "well") == "well"
    assert breaker.state == "closed"


@pytest.mark.parametrize("probes", [1, 3])
async def test_b5_a_half_open_herd_sends_no_more_probes_than_allowed(probes: int, clock: ManualClock) -> None:
    """Of 30 concurrent arrivals at most `half_open_max_calls` run; the rest learn when to come back."""
    breaker = tripped(open_timeout=1.0, half_open_max_calls=probes, success_threshold=3)
    await clock.aadvance(1.0)
    running, most = 0, 0
    gate = asyncio.Event()

    @breaker
    async def probe() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return "well"

    herd = [asyncio.create_task(probe()) for _ in range(30)]
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*herd, return_exceptions=True)
    rejected = [o for o in outcomes if isinstance(o, hf.CircuitOpen)]
    assert most == probes
    assert len(rejected) == 30 - probes
    assert all(
        r.retry_after is not None and 0 < r.retry_after <= 1 and r.reason == "half_open" for r in rejected
    )


def test_b5_threads_that_arrive_together_send_no_more_probes_than_allowed(clock: ManualClock) -> None:
    """The same with 16 threads that are let go at once."""
    breaker = tripped(open_timeout=1.0, half_open_max_calls=2, success_threshold=16)
    clock.advance(1.0)
    start, leave = threading.Barrier(16), threading.Event()
    entered: list[int] = []

    def probe(number: int) -> None:
        entered.append(number)
        leave.wait(10)

    def arrive(number: int) -> str:
        start.wait(10)
        try:
            breaker.call(probe, number)
        except hf.CircuitOpen:
            return "rejected"
        return "ran"

    workers = [Worker(lambda n=n: arrive(n)) for n in range(16)]  # type: ignore[misc]
    while breaker.metrics.rejected < 14:
        time.sleep(0.001)
    leave.set()
    outcomes = [worker.outcome() for worker in workers]
    assert (outcomes.count("ran"), len(entered)) == (2, 2)
    assert adds_up(breaker.metrics)


# ---- what counts ----


@pytest.mark.parametrize("kind", NOT_EXCEPTIONS)
def test_b7_what_is_no_exception_is_neither_good_nor_bad(kind: type[BaseException], colour: Colour) -> None:
    """Cancellation, closing, Ctrl-C and exit pass through unchanged, uncounted, and give the permit back."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    raised = kind("bye")

    def act() -> None:
        raise raised

    async def escape() -> BaseException:
        # asyncio re-raises some of these out of its own loop: they are caught inside of it.
        try:
            await colour.finish(breaker(colour.make(act)))  # type: ignore[attr-defined]
        except BaseException as error:
            return error
        raise AssertionError("it must raise")

    if colour.is_async:
        caught = asyncio.run(escape())
    else:
        with pytest.raises(kind) as info:
            colour.run(breaker(colour.make(act)))
        caught = info.value
    assert caught is raised
    metrics = breaker.metrics
    assert (metrics.failures, metrics.successes, metrics.ignored, metrics.in_flight) == (0, 0, 1, 0)
    assert breaker.state == "closed"


@pytest.mark.parametrize("kind", NOT_EXCEPTIONS)
def test_b7_a_probe_that_is_cancelled_neither_closes_nor_reopens(
    kind: type[BaseException], clock: ManualClock
) -> None:
    """A cancelled probe leaves the breaker half-open, with its slot free for the next one."""
    breaker = tripped(open_timeout=1.0, success_threshold=1)
    clock.advance(1.0)

    def act() -> None:
        raise kind

    with pytest.raises(kind):
        breaker.call(act)
    assert breaker.state == "half_open"
    assert breaker.call(lambda: "well") == "well"
    assert breaker.state == "closed"


def test_b13_one_trip_is_told_once_and_does_not_grow(clock: ManualClock) -> None:
    """Failures of calls that were under way when it opened emit nothing and do not extend the open time."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=30.0)
    go = threading.Event()

    def hang_then_fail() -> None:
        go.wait(10)
        fail()

    with record_events(breaker, kinds=STATES) as events:
        workers = [Worker(lambda: breaker.call(hang_then_fail)) for _ in range(5)]
        while breaker.metrics.in_flight < 5:
            time.sleep(0.001)
        with pytest.raises(ConnectionError):
            breaker.call(fail)
        clock.advance(10.0)
        go.set()
        for worker in workers:
            with pytest.raises(ConnectionError):
                worker.outcome()
        assert events.kinds == ["circuit_opened"]
    assert breaker.retry_after == pytest.approx(20.0)
    assert (breaker.metrics.opened, breaker.metrics.late) == (1, 5)


def test_b15_the_call_that_trips_it_raises_its_own_error(colour: Colour) -> None:
    """The caller whose failure opens the breaker gets that very exception object, not `CircuitOpen`."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    mine = ConnectionError("mine")

    def act() -> None:
        raise mine

    guarded = breaker(colour.make(act))
    with pytest.raises(ConnectionError) as caught:
        colour.run(guarded)
    assert caught.value is mine
    assert mine.__cause__ is None
    assert breaker.state == "open"
    with pytest.raises(hf.CircuitOpen):
        colour.run(guarded)


def test_b16_each_rejection_is_a_fresh_exception(colour: Colour) -> None:
    """Rejections are different objects whose tracebacks do not grow from one to the next."""
    breaker = hf.CircuitBreaker("b16")
    breaker.force_open()
    guarded = breaker(colour.make(fail))
    caught: list[hf.CircuitOpen] = []
    for _ in range(5):
        with pytest.raises(hf.CircuitOpen) as info:
            colour.run(guarded)
        caught.append(info.value)
    assert len({id(error) for error in caught}) == 5
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in caught}) == 1
    assert all(error.__cause__ is None for error in caught)
    assert {(e.source, e.reason, e.retry_after) for e in caught} == {("b16", "forced_open", None)}


def test_b16_a_rejection_keeps_no_frame_of_an_earlier_call_alive() -> None:
    """What was local to the function whose failure opened the breaker is free once that call has ended."""

    class Thing:
        pass

    things: list[weakref.ref[Thing]] = []
    breaker = hf.CircuitBreaker(failure_threshold=1)

    @breaker
    def failing() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        fail()

    with pytest.raises(ConnectionError):
        failing()
    with pytest.raises(hf.CircuitOpen) as caught:
        failing()
    gc.collect()
    assert things[0]() is None
    assert caught.value.__context__ is None


# ---- time ----


def test_b12_the_wall_clock_decides_nothing(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """With `time.time` an hour off in either direction a breaker opens, waits and closes as ever."""
    now = time.time()
    for offset in (-3600.0, +3600.0):
        monkeypatch.setattr(time, "time", lambda offset=offset: now + offset)
        breaker = tripped(open_timeout=30.0, success_threshold=1)
        clock.advance(29.9)
        with pytest.raises(hf.CircuitOpen) as caught:
            breaker.call(lambda: "well")
        assert caught.value.retry_after == pytest.approx(0.1)
        clock.advance(0.1)
        assert breaker.call(lambda: "well") == "well"
        assert breaker.state == "closed"


# ---- drivers ----


def test_b25_no_lock_is_held_over_the_call() -> None:
    """Five threads are inside the guarded function at the same moment."""
    breaker = hf.CircuitBreaker()
    together = threading.Barrier(5)
    guarded = breaker(lambda: together.wait(10))
    workers = [Worker(guarded) for _ in range(5)]
    assert sorted(worker.outcome() for worker in workers) == [0, 1, 2, 3, 4]


def test_b25_failures_count_in_every_colour(colour: Colour) -> None:
    """A failure counts once, when it happens, for functions, coroutines and streams alike."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    guarded = breaker(colour.make(fail))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            colour.run(guarded)
    assert (breaker.state, breaker.metrics.failures) == ("open", 2)


@pytest.mark.parametrize("colour", COLOURS[1:], ids=repr)
def test_b25_making_is_not_running(colour: Colour) -> None:
    """A coroutine or stream that is made and not begun takes no permit and counts for nothing."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    made = breaker(colour.make(fail))()
    assert breaker.metrics.calls == 0
    breaker.force_open()  # a rejection too is raised when it is begun, not when it is made
    again = breaker(colour.make(fail))()
    assert breaker.metrics.calls == 0
    for thing in (made, again):
        close = getattr(thing, "close", None)
        if close is not None:
            close()
    assert breaker.metrics.calls == 0


def test_b25_a_generator_is_judged_when_it_ends() -> None:
    """Until its end a stream is in flight; its end is its verdict, and closing it early is none."""
    breaker = hf.CircuitBreaker(failure_threshold=1)

    @breaker
    def items(bad: bool) -> Any:
        yield 1
        if bad:
            fail()
        yield 2

    stream = items(False)
    assert next(stream) == 1
    assert (breaker.metrics.in_flight, breaker.metrics.successes) == (1, 0)
    assert list(stream) == [2]
    assert (breaker.metrics.in_flight, breaker.metrics.successes) == (0, 1)

    closed = items(False)
    assert next(closed) == 1
    closed.close()
    assert (breaker.metrics.in_flight, breaker.metrics.successes, breaker.metrics.ignored) == (0, 1, 1)

    broken = items(True)
    assert next(broken) == 1
    with pytest.raises(ConnectionError):
        next(broken)
    assert (breaker.state, breaker.metrics.failures) == ("open", 1)


async def test_b25_an_async_generator_is_judged_when_it_ends() -> None:
    """The same for an async generator, closed early by `aclose`."""
    breaker = hf.CircuitBreaker(failure_threshold=1)

    @breaker
    async def items(bad: bool) -> Any:
        yield 1
        await asyncio.sleep(0)
        if bad:
            fail()
        yield 2

    stream = items(False)
    assert await anext(stream) == 1
    assert (breaker.metrics.in_flight, breaker.metrics.successes) == (1, 0)
    assert [item async for item in stream] == [2]
    assert (breaker.metrics.in_flight, breaker.metrics.successes) == (0, 1)

    closed = items(False)
    assert await anext(closed) == 1
    await closed.aclose()
    assert (breaker.metrics.in_flight, breaker.metrics.successes, breaker.metrics.ignored) == (0, 1, 1)

    broken = items(True)
    assert await anext(broken) == 1
    with pytest.raises(ConnectionError):
        await anext(broken)
    assert (breaker.state, breaker.metrics.failures) == ("open", 1)


def test_every_call_is_in_exactly_one_term_of_the_metrics(clock: ManualClock) -> None:
    """After each of a mixed row of outcomes, `calls` is the sum of its terms."""
    breaker = hf.CircuitBreaker(failure_threshold=3, success_threshold=1, open_timeout=1.0)
    classified = hf.Pipeline(breaker=breaker, classify=lambda exc: str(exc))

    def act(word: str) -> str:
        if word == "well":
            return word
        if word == "exit":
            raise SystemExit
        raise RuntimeError(word)

    row = ["well", "fail", "throttled", "ignore", "ok", "exit", "fail", "fail", "fail", "fail", "well"]
    for number, word in enumerate(row, start=1):
        with contextlib.suppress(RuntimeError, SystemExit, hf.CircuitOpen):
            classified.call(act, word)
        assert breaker.metrics.calls == number
        assert adds_up(breaker.metrics), (word, breaker.metrics)
    assert breaker.metrics.rejected == 2
    clock.advance(1.0)
    assert classified.call(act, "well") == "well"
    metrics = breaker.metrics
    assert (metrics.successes, metrics.failures, metrics.throttled, metrics.ignored) == (3, 4, 1, 2)


def test_reading_the_state_changes_nothing(clock: ManualClock) -> None:
    """An open breaker whose time is over reads "open" until a call comes; the first probe makes it half-open."""
    breaker = tripped(open_timeout=1.0)
    clock.advance(5.0)
    assert [breaker.state, breaker.state] == ["open", "open"]
    assert breaker.retry_after == 0.0
    assert breaker.call(lambda: breaker.state) == "half_open"


def test_b20_only_reset_leaves_what_was_set_by_hand(clock: ManualClock) -> None:
    """Forced and disabled states survive failures, successes and time; `reset()` ends them."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=1.0)
    for order, state in (("force_closed", "forced_closed"), ("disable", "disabled"), ("shadow", "shadow")):
        getattr(breaker, order)()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                breaker.call(fail)
        clock.advance(10.0)
        assert breaker.state == state
    breaker.force_open()
    clock.advance(3600.0)
    with pytest.raises(hf.CircuitOpen):
        breaker.call(lambda: "well")
    assert breaker.state == "forced_open"
    breaker.reset()
    assert breaker.state == "closed"
    assert breaker.call(lambda: "well") == "well"


def test_b17_one_keys_failures_do_not_reject_another() -> None:
    """A keyed breaker keeps its keys apart, and the key function sees the call's arguments."""
    breaker = hf.CircuitBreaker(failure_threshold=1, key=lambda args, kwargs: (*args, *kwargs.values())[0])

    @breaker
    def ask(model: str) -> str:
        if model == "bad":
            fail()
        return model

    with pytest.raises(ConnectionError):
        ask("bad")
    with pytest.raises(hf.CircuitOpen):
        ask("bad")
    with pytest.raises(hf.CircuitOpen):
        ask(model="bad")
    assert ask("good") == "good"
    assert ask(model="good") == "good"

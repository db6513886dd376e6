"""Events and their listeners: ordered, apart from the calls, and harmless whatever a listener does."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import pickle
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import Worker
from holdfast import _native
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing import ManualClock


def flap(breaker: hf.CircuitBreaker, times: int = 1) -> None:
    """Opens and closes it by hand: two events each time."""
    for _ in range(times):
        breaker.force_open()
        breaker.reset()


def flushed() -> bool:
    return _native.flush_events(10.0)


class Listening:
    """A subscription that ends with its block."""

    def __init__(self, subscribe: Callable[..., Callable[[], None]], *args: Any) -> None:
        self.end = subscribe(*args)

    def __enter__(self) -> None:
        """It listens already."""

    def __exit__(self, *_exc: object) -> None:
        flushed()
        self.end()


# ---- what arrives ----


def test_an_event_is_a_frozen_value(clock: ManualClock) -> None:
    """Kind, source, aware time, number and named fields; it cannot be changed, and pickles and copies."""
    breaker = hf.CircuitBreaker("b", failure_threshold=1, open_timeout=30.0)
    before = datetime.now(UTC)
    with record_events(breaker) as events, pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    (event,) = [event for event in events if event.kind == "circuit_opened"]
    assert (event.kind, event.source) == ("circuit_opened", "b")
    assert event.at.tzinfo is not None
    assert abs(event.at - before) < timedelta(seconds=60)
    assert (event.reason, event.open_for, event.failures) == ("consecutive_failures", 30.0, 1)
    assert event.fields == {"reason": "consecutive_failures", "open_for": 30.0, "failures": 1}
    with pytest.raises(AttributeError):
        event.kind = "other"
    with pytest.raises(AttributeError, match="no field 'color'"):
        event.color  # noqa: B018
    for twin in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event)):
        assert repr(twin) == repr(event)
    assert "circuit_opened" in repr(event)


def test_events_come_in_order_and_are_numbered() -> None:
    """Numbers grow from event to event; the events of each source come in the order they happened in."""
    breakers = [hf.CircuitBreaker(f"b{n}") for n in range(4)]
    with record_events(kinds=["circuit_opened", "circuit_closed"]) as events:
        workers = [Worker(lambda b=b: flap(b, 200)) for b in breakers]  # type: ignore[misc]
        for worker in workers:
            worker.outcome()
        told = events.events
    mine = [event for event in told if event.source.startswith("b")]
    assert [event.seq for event in told] == sorted(event.seq for event in told)
    for breaker in breakers:
        assert [e.kind for e in mine if e.source == breaker.name] == [
            "circuit_opened",
            "circuit_closed",
        ] * 200


def test_listeners_hear_what_they_asked_for() -> None:
    """By kind, by several kinds, by object; an object's own listener hears what it owns, and no namesake."""
    one, namesake = hf.CircuitBreaker("same"), hf.CircuitBreaker("same")
    manager = hf.FailoverManager([hf.Node("a", lambda: "a")], name="pool")
    heard: dict[str, list[str]] = {"kind": [], "kinds": [], "one": [], "manager": []}
    with (
        Listening(hf.subscribe, lambda e: heard["kind"].append(e.kind), "circuit_opened"),
        Listening(
            hf.subscribe, lambda e: heard["kinds"].append(e.kind), ["circuit_opened", "circuit_closed"]
        ),
        Listening(one.subscribe, lambda e: heard["one"].append(e.kind)),
        Listening(manager.subscribe, lambda e: heard["manager"].append(f"{e.source}: {e.kind}")),
    ):
        flap(one)
        flap(namesake)
        manager.node_breaker("a").force_open()
        flushed()
    assert heard["kind"] == ["circuit_opened"] * 3
    assert heard["kinds"] == ["circuit_opened", "circuit_closed"] * 2 + ["circuit_opened"]
    assert heard["one"] == ["circuit_opened", "circuit_closed"]
    assert len(heard["manager"]) == 1
    assert heard["manager"][0].endswith("/a: circuit_opened")


def test_unsubscribing_ends_it_and_may_be_repeated() -> None:
    """After `unsubscribe()` nothing more is heard; calling it twice does nothing; others hear on."""
    breaker = hf.CircuitBreaker()
    gone: list[Any] = []
    stays: list[Any] = []
    unsubscribe = breaker.subscribe(gone.append)
    with Listening(breaker.subscribe, stays.append):
        flap(breaker)
        assert flushed()
        unsubscribe()
        unsubscribe()
        flap(breaker)
    assert (len(gone), len(stays)) == (2, 4)


def test_costly_kinds_are_made_only_when_somebody_listens() -> None:
    """Without a listener a rejection is no event: numbers go on without a gap for it."""
    breaker = hf.CircuitBreaker()
    breaker.force_open()

    def rejected() -> None:
        with pytest.raises(hf.CircuitOpen):
            breaker.call(lambda: None)

    with record_events(breaker, kinds=["circuit_opened", "circuit_closed"]) as events:
        breaker.reset()
        breaker.force_open()
        for _ in range(5):
            rejected()
        breaker.reset()
        first, _, last = (event.seq for event in events)
    assert last - first == 2
    breaker.force_open()
    with record_events(breaker, kinds=["call_rejected"]) as events:
        rejected()
        assert [(e.kind, e.reason, e.retry_after) for e in events] == [("call_rejected", "forced_open", None)]


def test_nonsense_is_refused() -> None:
    """A listener that cannot be called and a kind that does not exist are refused by name."""
    for listener in (None, 3, "print"):
        with pytest.raises(hf.ConfigurationError) as caught:
            hf.subscribe(listener)  # type: ignore[arg-type]
        assert caught.value.field == "listener"
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.subscribe(print, kinds=["circuit_opened", "circus_opened"])
    assert (caught.value.field, caught.value.value) == ("kinds", "circus_opened")


# ---- what a listener may do (R1) ----


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_r1_a_listener_that_raises_harms_nobody(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged; the other listeners, the next events, the call and the state are as ever."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    heard: list[str] = []

    def bad(event: hf.Event) -> None:
        raise error("from the listener")

    with Listening(breaker.subscribe, bad), Listening(breaker.subscribe, lambda e: heard.append(e.kind)):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)
        breaker.reset()
        assert flushed()
    assert heard == ["circuit_opened", "circuit_closed"]
    told = [record for record in caplog.records if "a listener of" in record.getMessage()]
    assert len(told) == 2
    assert told[0].exc_info is not None
    assert told[0].exc_info[0] is error


def test_r1_a_listener_that_blocks_delays_no_call() -> None:
    """While a listener hangs, calls go on, change state, and are told when it is done."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    hangs, go = threading.Event(), threading.Event()
    heard: list[str] = []

    def slow(event: hf.Event) -> None:
        hangs.set()
        go.wait(20)
        heard.append(event.kind)

    with Listening(breaker.subscribe, slow):
        breaker.force_open()
        assert hangs.wait(10)
        began = time.monotonic()
        breaker.reset()
        for _ in range(1000):
            assert breaker.call(lambda: 1) == 1
        flap(breaker, 50)
        assert time.monotonic() - began < 10
        assert heard == []
        go.set()
        assert flushed()
    assert heard == ["circuit_opened", "circuit_closed"] * 51


def test_r1_events_beyond_the_bound_are_dropped_oldest_first() -> None:
    """A listener that hangs while 70 000 events happen costs memory for 65 536 of them, and a gap in numbers."""
    breaker = hf.CircuitBreaker()
    breaker.force_open()
    hangs, go = threading.Event(), threading.Event()
    numbers: list[int] = []

    def slow(event: hf.Event) -> None:
        hangs.set()
        go.wait(30)
        numbers.append(event.seq)

    guarded = breaker(lambda: None)
    with Listening(breaker.subscribe, slow):
        breaker.reset()
        breaker.force_open()
        assert hangs.wait(10)
        for _ in range(70_000):
            with contextlib.suppress(hf.CircuitOpen):
                guarded()
        go.set()
        assert flushed()
    assert 65_536 <= len(numbers) <= 65_540
    assert numbers == sorted(numbers)
    assert numbers[-1] - numbers[0] >= 70_000


def test_r1_a_listener_may_call_back_into_what_told_it() -> None:
    """From inside a listener: reading, calling, resetting, subscribing, unsubscribing; nothing deadlocks."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    manager = hf.FailoverManager([hf.Node("a", lambda: "a"), hf.Node("b", lambda: "b")])
    heard: list[Any] = []

    def listener(event: hf.Event) -> None:
        heard.append((event.kind, breaker.state, breaker.metrics.opened))
        if event.kind == "circuit_opened":
            breaker.reset()
            heard.append(breaker.call(lambda: "called"))
            heard.append(manager.call())
            manager.report("a", ok=False)
            breaker.subscribe(lambda e: heard.append("late listener"))()
            unsubscribe()

    unsubscribe = breaker.subscribe(listener)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    assert flushed()
    assert heard == [("circuit_opened", "open", 1), "called", "a"]
    assert breaker.state == "closed"
    assert manager.nodes["a"].state == "down"


async def test_an_async_listener_is_awaited() -> None:
    """An `async def` listener runs to its end before the next event is handed out."""
    breaker = hf.CircuitBreaker()
    heard: list[str] = []

    async def listener(event: hf.Event) -> None:
        heard.append(f"{event.kind} begun")
        await asyncio.sleep(0)
        heard.append(f"{event.kind} done")

    with Listening(breaker.subscribe, listener):
        flap(breaker)
        assert await asyncio.to_thread(flushed)
    assert heard == [
        f"{kind} {half}" for kind in ("circuit_opened", "circuit_closed") for half in ("begun", "done")
    ]


def test_many_threads_may_subscribe_at_once() -> None:
    """No subscription is lost when eight threads add and remove listeners together."""
    breaker = hf.CircuitBreaker()
    start = threading.Barrier(8)
    heard: list[int] = []

    def subscribe(number: int) -> list[Callable[[], None]]:
        start.wait(10)
        kept = []
        for n in range(50):
            end = breaker.subscribe(lambda e, k=number * 50 + n: heard.append(k))
            if n % 2:
                end()
            else:
                kept.append(end)
        return kept

    workers = [Worker(lambda n=n: subscribe(n)) for n in range(8)]  # type: ignore[misc]
    ends = [end for worker in workers for end in worker.outcome()]
    breaker.force_open()
    assert flushed()
    for end in ends:
        end()
    assert len(heard) == len(set(heard)) == 8 * 25
    breaker.reset()
    assert flushed()
    assert len(heard) == 8 * 25


# ---- the log ----


def test_each_change_of_state_is_one_line_in_the_log(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad news is one WARNING, good news one INFO, on the logger `holdfast`; calls and retries are not logged."""
    breaker = hf.CircuitBreaker("logged", failure_threshold=1, success_threshold=1, open_timeout=5.0)
    pipeline = hf.Pipeline(breaker=breaker, retry=hf.Retry(3, backoff=hf.constant(0)))
    with caplog.at_level(logging.DEBUG, "holdfast"):
        with pytest.raises(ZeroDivisionError):
            pipeline.call(lambda: 1 / 0)
        with pytest.raises(hf.CircuitOpen):
            pipeline.call(lambda: None)
        clock.advance(5.0)
        pipeline.call(lambda: None)
        assert flushed()
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "logged" in r.getMessage()]
    assert lines == [
        ("WARNING", "logged: circuit opened (reason consecutive_failures, open_for 5, failures 1)"),
        ("INFO", "logged: circuit half opened"),
        ("INFO", "logged: circuit closed (reason recovered)"),
    ]


def test_nothing_that_is_told_carries_an_argument_or_a_message() -> None:
    """Events, notes and log lines of a failing call hold neither its arguments nor its error's text."""
    secret = "sk-123"
    breaker = hf.CircuitBreaker(failure_threshold=2)
    pipeline = hf.Pipeline(breaker=breaker, retry=hf.Retry(5, backoff=hf.constant(0)))

    def fail(prompt: str, *, key: str) -> None:
        raise ConnectionError(f"{prompt} {key}")

    with record_events() as events, pytest.raises(ConnectionError) as caught:
        pipeline.call(fail, secret, key=secret)
    told = [repr(event) + str(event) for event in events]
    assert len(told) >= 3
    assert not any(secret in text for text in told)
    assert not any(secret in note for note in caught.value.__notes__)
    assert secret not in repr(hf.history(caught.value)) + repr(pipeline) + repr(breaker)

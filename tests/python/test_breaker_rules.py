"""When the breaker opens, for how long, and how it comes back: each rule through Python, in manual time."""

import asyncio
import random
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import ManualClock, record_events


@pytest.fixture(autouse=True)
def clock() -> Iterator[ManualClock]:
    with ManualClock() as clock:
        yield clock


def good(breaker: hf.CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with breaker.guard():
            pass


def bad(breaker: hf.CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        raised = error or ValueError("down")
        with pytest.raises(type(raised)) as caught, breaker.guard():
            raise raised
        assert caught.value is raised


def slow(breaker: hf.CircuitBreaker, clock: ManualClock, seconds: float) -> None:
    with breaker.guard():
        clock.advance(seconds)


def refused(breaker: hf.CircuitBreaker) -> hf.CircuitOpen:
    with pytest.raises(hf.CircuitOpen) as caught, breaker.guard():
        pytest.fail("it let a block run")
    return caught.value


def held(breaker: hf.CircuitBreaker) -> hf.Permit:
    permit = breaker.guard()
    permit.__enter__()
    return permit


def end(permit: hf.Permit, error: BaseException | None = None) -> None:
    permit.__exit__(type(error) if error else None, error, None)


def trip_reason(events: record_events) -> str:
    return next(str(event.reason) for event in events if event.kind == "circuit_opened")


class HttpError(Exception):
    """An error of a client, as it carries its status and headers."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.status_code = status
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = SimpleNamespace(status_code=status, headers=headers)


# The rules.


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_b23_consecutive_failures_open_it(threshold: int) -> None:
    """Exactly `failure_threshold` failures in a row; a success in between begins the count anew."""
    breaker = hf.CircuitBreaker(failure_threshold=threshold)
    with record_events(breaker) as events:
        bad(breaker, threshold - 1)
        good(breaker)
        bad(breaker, threshold - 1)
        assert breaker.state == "closed"
        bad(breaker)
        assert breaker.state == "open"
    assert trip_reason(events) == "consecutive_failures"


@pytest.mark.parametrize("window", [60.0, hf.CountWindow(100)])
@pytest.mark.parametrize("minimum", [1, 10])
def test_b10_a_rate_is_judged_from_minimum_calls_on(window: Any, minimum: int) -> None:
    """At m - 1 calls a rate of 1 is no rate; at the m-th it decides; later too."""
    breaker = hf.CircuitBreaker(
        failure_threshold=None, failure_rate=1.0, minimum_calls=minimum, window=window
    )
    bad(breaker, minimum - 1)
    assert breaker.state == "closed"
    bad(breaker)
    assert breaker.state == "open"


@pytest.mark.parametrize(
    ("failures", "calls", "opens"),
    [(4, 10, False), (5, 10, True), (5, 11, False), (6, 11, True), (6, 12, True)],
)
@pytest.mark.parametrize("window", [60.0, hf.CountWindow(100)])
def test_b10_a_rate_opens_at_or_above_it(failures: int, calls: int, opens: bool, window: Any) -> None:
    """≥, not >: 5 of 10 is half and opens, 5 of 11 is less and does not. The last call of each is the judge."""
    breaker = hf.CircuitBreaker(failure_threshold=None, failure_rate=0.5, minimum_calls=calls, window=window)
    bad(breaker, failures)
    good(breaker, calls - failures)
    assert breaker.state == ("open" if opens else "closed")


def test_b23_the_trip_names_its_reason(clock: ManualClock) -> None:
    """With all three rules on, each can be the one that opens, and says so."""
    rules: dict[str, Any] = {
        "failure_threshold": 3,
        "failure_rate": 0.5,
        "slow_call_rate": 0.5,
        "slow_call": 1.0,
        "minimum_calls": 10,
    }

    def reason(act: Any) -> str:
        breaker = hf.CircuitBreaker(**rules)
        with record_events(breaker, kinds=["circuit_opened"]) as events:
            act(breaker)
        assert len(events) == 1
        return trip_reason(events)

    assert reason(lambda b: bad(b, 3)) == "consecutive_failures"
    assert reason(lambda b: [(bad(b), good(b)) for _ in range(5)]) == "failure_rate"
    assert reason(lambda b: [(slow(b, clock, 1.0), good(b)) for _ in range(5)]) == "slow_call_rate"


def test_a_call_is_slow_at_the_limit(clock: ManualClock) -> None:
    """A call of exactly `slow_call` is slow, one a millisecond shorter is not, and a failure can be slow too."""
    breaker = hf.CircuitBreaker(slow_call=2.0)
    slow(breaker, clock, 1.999)
    assert breaker.metrics.slow == 0
    slow(breaker, clock, 2.0)
    with pytest.raises(ValueError, match="down"), breaker.guard():
        clock.advance(5.0)
        raise ValueError("down")
    assert breaker.metrics.slow == 2
    assert breaker.metrics.slow_call_rate == pytest.approx(2 / 3)


def test_a_stream_is_slow_by_its_first_item(clock: ManualClock) -> None:
    """A stream whose first item was quick may take as long as it likes; a late first item makes it slow."""
    breaker = hf.CircuitBreaker(slow_call=2.0)

    def source(wait: float) -> Iterator[int]:
        clock.advance(wait)
        yield 1
        clock.advance(60.0)
        yield 2

    assert list(breaker(source)(0.5)) == [1, 2]
    assert breaker.metrics.slow == 0
    assert list(breaker(source)(2.0)) == [1, 2]
    assert breaker.metrics.slow == 1
    with breaker.guard() as permit:
        permit.first_item()
        clock.advance(60.0)
    assert breaker.metrics.slow == 1


# The windows.


def test_b11_a_time_window_forgets(clock: ManualClock) -> None:
    """Failures older than the window do not count any more, even after an idle gap of years."""
    breaker = hf.CircuitBreaker(failure_threshold=None, failure_rate=0.5, minimum_calls=2, window=10.0)
    for gap in (12.0, 10.0 * 10**7):
        bad(breaker)
        assert breaker.metrics.failure_rate == 1.0
        clock.advance(gap)
        assert breaker.metrics.failure_rate == 0.0
        good(breaker, 3)
        assert breaker.state == "closed"
        clock.advance(12.0)


def test_a_count_window_forgets() -> None:
    """The last n calls count, whenever they were: n good ones push the bad ones out."""
    breaker = hf.CircuitBreaker(
        failure_threshold=None, failure_rate=0.5, minimum_calls=10, window=hf.CountWindow(10)
    )
    bad(breaker, 4)
    good(breaker, 10)
    assert breaker.metrics.failure_rate == 0.0
    bad(breaker, 4)
    assert breaker.state == "closed"
    assert breaker.metrics.failure_rate == pytest.approx(0.4)
    bad(breaker)
    assert breaker.state == "open"


def test_b2_a_window_roll_is_not_an_era(clock: ManualClock) -> None:
    """A call of 90 s under a window of 60 s counts when it settles, and can trip."""
    breaker = hf.CircuitBreaker(failure_threshold=None, failure_rate=1.0, minimum_calls=1, window=60.0)
    long = held(breaker)
    clock.advance(90.0)
    end(long, ValueError("down"))
    assert (breaker.metrics.late, breaker.metrics.failures, breaker.state) == (0, 1, "open")


# In-flight ageing.

STUCK: dict[str, Any] = {
    "failure_threshold": None,
    "slow_call_rate": 0.5,
    "slow_call": 2.0,
    "minimum_calls": 20,
}


async def test_b22_calls_that_are_stuck_trip_before_any_returns(clock: ManualClock) -> None:
    """20 tasks stuck for the slow limit open it at the next arrival, though none has come back."""
    breaker = hf.CircuitBreaker(**STUCK)
    never = asyncio.get_running_loop().create_future()

    @breaker
    async def ask() -> None:
        await never

    tasks = [asyncio.create_task(ask()) for _ in range(20)]
    await asyncio.sleep(0)
    await clock.aadvance(1.9)
    good(breaker)
    await clock.aadvance(0.2)
    with record_events(breaker) as events:
        refused(breaker)
    assert trip_reason(events) == "slow_call_rate"
    assert breaker.metrics.in_flight == 20
    never.set_result(None)
    await asyncio.gather(*tasks)
    assert (breaker.metrics.late, breaker.state) == (20, "open")


def test_b22_threads_that_are_stuck_trip_too(clock: ManualClock) -> None:
    """20 threads inside a plain function likewise; when they come back they are late and change nothing."""
    breaker = hf.CircuitBreaker(**STUCK)
    inside, leave = threading.Barrier(21), threading.Event()

    @breaker
    def ask() -> None:
        inside.wait()
        leave.wait()

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert breaker.metrics.in_flight == 20
    clock.advance(2.5)
    assert breaker.metrics.slow_call_rate == 1.0
    refused(breaker)
    leave.set()
    for thread in threads:
        thread.join()
    assert (breaker.state, breaker.metrics.late, breaker.metrics.in_flight) == ("open", 20, 0)


# Eras.


def test_b1_a_late_success_does_not_close(clock: ManualClock) -> None:
    """Calls admitted before the trip end as `late`, while it is open and while a probe runs, and change no state."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=10.0)
    first, second, third = held(breaker), held(breaker), held(breaker)
    bad(breaker)
    end(first)
    assert breaker.state == "open"
    clock.advance(10.0)
    probe = held(breaker)
    end(second)
    end(third, ValueError("late"))
    assert (breaker.state, breaker.metrics.late) == ("half_open", 3)
    end(probe)
    assert breaker.state == "closed"


def test_b13_failures_after_the_trip_do_not_extend_it(clock: ManualClock) -> None:
    """Ten failures that land after the trip emit no second event and leave the open time as it was."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0)
    others = [held(breaker) for _ in range(10)]
    with record_events(breaker, kinds=["circuit_opened"]) as events:
        bad(breaker)
        clock.advance(4.0)
        for permit in others:
            end(permit, ValueError("too"))
    assert len(events) == 1
    assert breaker.retry_after == pytest.approx(6.0)


# Probes.


@pytest.mark.parametrize("limit", [1, 3, 16])
def test_b5_of_many_arrivals_only_the_probes_run(limit: int, clock: ManualClock) -> None:
    """Of 30 that come together `half_open_max_calls` run, and the rest are told when to come back."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0, half_open_max_calls=limit)
    bad(breaker)
    clock.advance(10.0)
    probes = [held(breaker) for _ in range(limit)]
    for _ in range(30 - limit):
        refusal = refused(breaker)
        assert refusal.reason == "half_open"
        assert refusal.retry_after is not None
        assert 0.0 < refusal.retry_after <= 1.0
    assert len(probes) == limit


def test_b6_the_first_failed_probe_ends_the_round(clock: ManualClock) -> None:
    """With three probes out, one failure opens it at once; the others are late and reopen nothing."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0, half_open_max_calls=3)
    bad(breaker)
    clock.advance(10.0)
    probes = [held(breaker) for _ in range(3)]
    end(probes[1], ValueError("still down"))
    assert breaker.state == "open"
    refused(breaker)
    clock.advance(4.0)
    end(probes[0], ValueError("still down"))
    end(probes[2])
    assert breaker.retry_after == pytest.approx(6.0)
    assert (breaker.metrics.opened, breaker.metrics.late) == (2, 2)


def test_b9_an_ignored_probe_neither_closes_nor_starves(clock: ManualClock) -> None:
    """100 cancelled probes one after the other each give the slot back; the next good ones close it."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=2, open_timeout=10.0)
    bad(breaker)
    clock.advance(10.0)
    for _ in range(100):
        end(held(breaker), asyncio.CancelledError())
        assert breaker.state == "half_open"
    good(breaker, 2)
    assert breaker.state == "closed"


def test_b3_ten_thousand_hangs_never_wedge_it(clock: ManualClock) -> None:
    """Probes that never end lose their slots when the lease is over; what they say later is fenced."""
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 pytest shows it when the test fails
    rng = random.Random(seed)
    breaker = hf.CircuitBreaker(
        failure_threshold=1, success_threshold=1, open_timeout=1.0, half_open_max_calls=4, probe_lease=5.0
    )
    bad(breaker)
    hung: list[hf.Permit] = []
    while len(hung) < 10_000:
        clock.advance(1.0)
        for _ in range(rng.randrange(1, 5)):
            permit = breaker.guard()
            try:
                permit.__enter__()
            except hf.CircuitOpen:
                break
            hung.append(permit)
        else:
            continue
        clock.advance(rng.choice([2.0, 5.0]))
        if rng.random() < 0.01:
            end(hung.pop(rng.randrange(len(hung))))
            if breaker.state == "closed":
                bad(breaker)
    clock.advance(5.0)
    metrics = breaker.metrics
    assert metrics.lost + metrics.late + metrics.in_flight + metrics.successes + metrics.failures == (
        metrics.calls - metrics.rejected
    )
    assert metrics.lost > 5_000
    while breaker.state != "closed":
        clock.advance(5.0)
        good(breaker)
    before = breaker.metrics
    for permit in hung:
        end(permit, ValueError("late"))
    assert (breaker.state, breaker.metrics.failures) == ("closed", before.failures)
    assert breaker.metrics.in_flight == 0


def test_b3_a_lost_probes_late_word_is_not_heard(clock: ManualClock) -> None:
    """A probe that fails after its lease has run out does not reopen; one that succeeds does not close."""
    for error in (None, ValueError("late")):
        breaker = hf.CircuitBreaker(
            failure_threshold=1, success_threshold=1, open_timeout=1.0, probe_lease=5.0
        )
        bad(breaker)
        clock.advance(1.0)
        hung = held(breaker)
        clock.advance(5.0)
        probe = held(breaker)
        end(hung, error)
        assert (breaker.state, breaker.metrics.lost) == ("half_open", 1)
        end(probe)
        assert breaker.state == "closed"


def test_b4_a_stream_renews_its_lease(clock: ManualClock) -> None:
    """A probe that yields every 4 s keeps a lease of 5 s for a minute and closes; one that falls silent is lost."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=1.0, probe_lease=5.0)

    @breaker
    def source(gap: float) -> Iterator[int]:
        for n in range(15):
            clock.advance(gap)
            yield n

    bad(breaker)
    clock.advance(1.0)
    for _ in source(4.0):
        refused(breaker)
    assert (breaker.state, breaker.metrics.lost) == ("closed", 0)
    bad(breaker)
    clock.advance(1.0)
    list(source(6.0))
    assert (breaker.state, breaker.metrics.lost) == ("half_open", 1)


def test_b4_a_block_renews_its_lease_by_hand(clock: ManualClock) -> None:
    """`permit.renew()` is what a chunk is to a stream."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=1.0, probe_lease=5.0)
    bad(breaker)
    clock.advance(1.0)
    with breaker.guard() as permit:
        for _ in range(10):
            clock.advance(4.0)
            assert permit.renew()
    assert (breaker.state, breaker.metrics.lost) == ("closed", 0)


# How long it stays open.


def open_time(breaker: hf.CircuitBreaker) -> float:
    wait = breaker.retry_after
    assert wait is not None
    return wait


def test_b14_open_time_grows_to_its_maximum_and_decays(clock: ManualClock) -> None:
    """1, 2, 4, 8, 8 s when each probe fails; after being healthy for as long it begins at 1 s again."""
    breaker = hf.CircuitBreaker(
        failure_threshold=1,
        success_threshold=1,
        open_timeout=1.0,
        open_timeout_factor=2.0,
        open_timeout_max=8.0,
    )
    times = []
    bad(breaker)
    for _ in range(5):
        times.append(round(open_time(breaker), 3))
        clock.advance(open_time(breaker))
        bad(breaker)
    assert times == [1.0, 2.0, 4.0, 8.0, 8.0]
    clock.advance(8.0)
    good(breaker)
    clock.advance(3600.0)
    bad(breaker)
    assert open_time(breaker) == pytest.approx(1.0)


def test_b14_the_default_is_the_same_each_time(clock: ManualClock) -> None:
    """Factor 1 and no jitter: 30 s, however often it opens."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    for _ in range(5):
        bad(breaker)
        assert open_time(breaker) == pytest.approx(30.0)
        clock.advance(30.0)


def test_b14_a_thousand_breakers_do_not_probe_together(clock: ManualClock) -> None:
    """With jitter the open times of 1000 that trip together spread over ± 20 % and over nearly as many values."""
    breakers = [
        hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0, open_timeout_jitter=0.2)
        for _ in range(1000)
    ]
    for breaker in breakers:
        bad(breaker)
    times = [open_time(breaker) for breaker in breakers]
    assert min(times) >= 8.0
    assert max(times) <= 12.0
    assert len({round(time, 6) for time in times}) >= 990
    assert 9.8 < sum(times) / len(times) < 10.2


# What the callee says: throttling and Retry-After.


@pytest.mark.parametrize("status", [429, 503])
def test_b26_throttling_is_no_failure(status: int) -> None:
    """A busy answer that says when to come back is counted `throttled`, never as the callee failing."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    with record_events(breaker) as events:
        bad(breaker, error=HttpError(status, retry_after="7"))
    m = breaker.metrics
    assert (m.throttled, m.failures, m.calls) == (1, 0, 1)
    assert trip_reason(events) == "retry_after"


def test_b26_a_plain_429_opens_nothing() -> None:
    """Without a word on when to come back a 429 cools nothing down, and does not end a row of failures."""
    breaker = hf.CircuitBreaker(failure_threshold=3)
    bad(breaker, 2)
    bad(breaker, 5, HttpError(429))
    assert (breaker.state, breaker.metrics.throttled) == ("closed", 5)
    bad(breaker)
    assert breaker.state == "open"


def test_b26_a_plain_503_is_a_failure() -> None:
    """A 503 that names no time is the callee failing."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    bad(breaker, 2, HttpError(503))
    assert (breaker.state, breaker.metrics.failures) == ("open", 2)


@pytest.mark.parametrize(
    ("told", "expected"), [("7", 7.0), ("1.5", 1.5), ("90", 90.0), ("600", 600.0), ("86400", 600.0)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_b19_retry_after_opens_for_exactly_that_long(
    status: int, told: str, expected: float, clock: ManualClock
) -> None:
    """Not shorter, not longer, whatever open_timeout, factor and jitter say; up to the cool-down cap of 600 s."""
    breaker = hf.CircuitBreaker(open_timeout=30.0, open_timeout_factor=2.0, open_timeout_jitter=1.0)
    bad(breaker, error=HttpError(status, retry_after=told))
    assert (breaker.state, breaker.retry_after) == ("open", pytest.approx(expected))
    clock.advance(expected - 0.001)
    refused(breaker)
    clock.advance(0.001)
    good(breaker)


def test_b19_retry_after_zero_opens_nothing() -> None:
    """`Retry-After: 0` is no open time."""
    breaker = hf.CircuitBreaker()
    bad(breaker, error=HttpError(429, retry_after="0"))
    assert breaker.state == "closed"


def test_p12_a_later_longer_cool_down_wins(clock: ManualClock) -> None:
    """A call admitted before the trip that brings a longer Retry-After moves the end out; a shorter one does not."""
    breaker = hf.CircuitBreaker()
    shorter, longer = held(breaker), held(breaker)
    bad(breaker, error=HttpError(429, retry_after="20"))
    end(shorter, HttpError(429, retry_after="5"))
    assert breaker.retry_after == pytest.approx(20.0)
    end(longer, HttpError(429, retry_after="60"))
    assert breaker.retry_after == pytest.approx(60.0)


# What the operator says.


@pytest.mark.parametrize("order", ["force_open", "force_closed", "disable"])
def test_b20_manual_beats_automatic(order: str, clock: ManualClock) -> None:
    """Failures, successes, time and probes do not end a manual state; `reset` does, from each."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=1.0)
    for prepare in (lambda: None, lambda: bad(breaker)):
        prepare()
        getattr(breaker, order)()
        state = breaker.state
        for _ in range(5):
            if order == "force_open":
                refusal = refused(breaker)
                assert (refusal.reason, refusal.retry_after) == ("forced_open", None)
            else:
                good(breaker)
                bad(breaker, 3)
                bad(breaker, error=HttpError(429, retry_after="60"))
            clock.advance(100.0)
            assert breaker.state == state
        breaker.reset()
        assert breaker.state == "closed"


def test_b20_an_order_given_twice_is_one_change() -> None:
    """Repeating an order emits nothing and moves no call to `late`."""
    breaker = hf.CircuitBreaker()
    with record_events(breaker) as events:
        breaker.force_closed()
        permit = held(breaker)
        breaker.force_closed()
        end(permit)
    assert events.kinds == ["circuit_closed"]
    assert (breaker.metrics.late, breaker.metrics.successes) == (0, 1)


def test_b20_reset_forgets_the_recent_past() -> None:
    """After `reset` failures begin to count anew, and what was counted stays counted."""
    breaker = hf.CircuitBreaker(failure_threshold=3)
    bad(breaker, 2)
    breaker.reset()
    bad(breaker, 2)
    assert (breaker.state, breaker.metrics.failures) == ("closed", 4)


def test_b21_shadow_admits_all_and_says_when(clock: ManualClock) -> None:
    """In shadow mode every call runs, and one `would_open` is told per open time, with its reason."""
    breaker = hf.CircuitBreaker(failure_threshold=3, open_timeout=10.0)
    breaker.shadow()
    with record_events(breaker) as events:
        bad(breaker, 20)
        assert breaker.state == "shadow"
        clock.advance(10.0)
        bad(breaker, 20)
    assert [(event.kind, event.reason) for event in events] == [("would_open", "consecutive_failures")] * 2
    m = breaker.metrics
    assert (m.rejected, m.opened) == (0, 0)
    assert m.failures + m.late == 40


# Keys and time.


def test_b17_b18_keys_keep_credentials_apart() -> None:
    """A 429 with Retry-After cools the key it came with; calls with another key go on."""
    breaker = hf.CircuitBreaker("api", key=lambda args, kwargs: str(kwargs["credential"]))

    @breaker
    def ask(*, credential: str, error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return credential

    with pytest.raises(HttpError):
        ask(credential="prod-1", error=HttpError(429, retry_after="7"))
    assert ask(credential="prod-2") == "prod-2"
    with pytest.raises(hf.CircuitOpen) as caught:
        ask(credential="prod-1")
    assert caught.value.retry_after == pytest.approx(7.0)
    assert caught.value.source == "api/prod-1"


def test_b25_generators_are_judged_when_they_end(clock: ManualClock) -> None:
    """Making a guarded generator asks for nothing; its error after ten items is the failure; early close is neutral."""
    breaker = hf.CircuitBreaker(failure_threshold=1)

    @breaker
    def source(items: int, broken: bool) -> Iterator[int]:
        yield from range(items)
        if broken:
            raise ValueError("broke")

    unstarted = source(10, True)
    assert breaker.metrics.calls == 0
    early = source(10, True)
    next(early)
    early.close()
    assert breaker.metrics.ignored == 1
    with pytest.raises(ValueError, match="broke"):
        list(unstarted)
    assert (breaker.state, breaker.metrics.failures) == ("open", 1)


def test_the_sum_holds_at_every_instant(clock: ManualClock) -> None:
    """Over 5000 random steps each snapshot has every call in exactly one term."""
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 pytest shows it when the test fails
    rng = random.Random(seed)
    breaker = hf.CircuitBreaker(
        failure_threshold=3,
        failure_rate=0.6,
        minimum_calls=4,
        open_timeout=2.0,
        half_open_max_calls=2,
        probe_lease=3.0,
    )
    errors = [
        None,
        None,
        ValueError("down"),
        asyncio.CancelledError(),
        HttpError(429),
        HttpError(429, retry_after="3"),
    ]
    under_way: list[hf.Permit] = []
    terms = ("successes", "failures", "throttled", "ignored", "late", "lost", "rejected", "in_flight")
    seen: dict[str, int] = dict.fromkeys(terms, 0)
    for _ in range(5000):
        action = rng.random()
        if action < 0.5:
            permit = breaker.guard()
            try:
                permit.__enter__()
            except hf.CircuitOpen:
                pass
            else:
                under_way.append(permit)
        elif action < 0.9 and under_way:
            end(under_way.pop(rng.randrange(len(under_way))), rng.choice(errors))
        else:
            clock.advance(rng.choice([0.1, 1.0, 3.0]))
        metrics = breaker.metrics
        assert metrics.calls == sum(getattr(metrics, term) for term in terms)
        seen = {term: max(seen[term], getattr(metrics, term)) for term in terms}
    assert all(seen.values()), f"never seen: {[term for term in terms if not seen[term]]}"

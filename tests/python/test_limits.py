"""Bulkheads: one counter for every colour, a fair and bounded line, and nothing left in use on any path."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import Worker
from soak import limits as soak_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from colours import Colour
    from holdfast.testing import ManualClock

    Limit = hf.Bulkhead | hf.AdaptiveLimit


def at_rest(limit: Limit) -> bool:
    return (limit.in_use, limit.queued) == (0, 0)


def until(true: Any, patience: float = 10.0) -> None:
    """Waits for other threads to come to where ``true()`` is."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


class Holder:
    """A thread that holds one place of a limit until it is let go."""

    def __init__(self, limit: Limit) -> None:
        self.inside, self.done = threading.Event(), threading.Event()
        self.worker = Worker(lambda: limit.call(self.hold))
        assert self.inside.wait(10)

    def hold(self) -> None:
        self.inside.set()
        assert self.done.wait(30)

    def let_go(self) -> None:
        self.done.set()
        self.worker.outcome()


@contextlib.contextmanager
def held(limit: Limit) -> Iterator[Holder]:
    holder = Holder(limit)
    try:
        yield holder
    finally:
        holder.let_go()


# ---- the counter ----


def test_refuses_what_is_too_much(colour: Colour) -> None:
    """While its only place is taken every colour of call is refused, by an error that says who and why."""
    limit = hf.Bulkhead(1)
    guarded = limit(colour.make(lambda: "fine"))
    with held(limit), pytest.raises(hf.BulkheadFull) as refused:
        colour.run(guarded)
    assert (refused.value.reason, refused.value.source) == ("full", limit.name)
    assert colour.run(guarded) == "fine"
    assert at_rest(limit)
    assert limit.metrics.rejected == 1


def test_l3_sync_threads_and_async_share_one_counter() -> None:
    """A place that a thread holds is not there for a task, and the other way round."""
    limit = hf.Bulkhead(2)
    inside = asyncio.Event()

    async def hold() -> None:
        inside.set()
        await asyncio.sleep(30)

    async def main() -> None:
        task = asyncio.create_task(limit(hold)())
        await inside.wait()
        with held(limit), pytest.raises(hf.BulkheadFull):
            await limit.acall(asyncio.sleep, 0)
        with held(limit), pytest.raises(hf.BulkheadFull):
            limit.call(print)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert at_rest(limit)


def test_r4_never_more_than_the_limit_from_threads_and_loops_at_once() -> None:
    """Eight threads, half of them with a loop of many tasks, never run more than three calls together."""
    limit = hf.Bulkhead(3, max_queue=1000)
    lock, now, most = threading.Lock(), 0, 0

    def enter(change: int) -> None:
        nonlocal now, most
        with lock:
            now += change
            most = max(most, now)

    @limit
    def work() -> None:
        enter(1)
        time.sleep(0.0005)
        enter(-1)

    @limit
    async def awork() -> None:
        enter(1)
        await asyncio.sleep(0.0005)
        enter(-1)

    async def many() -> None:
        await asyncio.gather(*(awork() for _ in range(40)))

    workers = [Worker(lambda: asyncio.run(many())) for _ in range(4)]
    workers += [Worker(lambda: [work() for _ in range(40)]) for _ in range(4)]
    for worker in workers:
        worker.outcome()
    assert most == 3
    assert at_rest(limit)


def test_instances_share_names_do_not() -> None:
    """The instance is the state: what two guards are made from is shared, equal numbers are not."""
    limit = hf.Bulkhead(1)
    one, two = limit(lambda: None), hf.Pipeline(bulkhead=limit)(lambda: None)
    with held(limit):
        for guarded in (one, two):
            with pytest.raises(hf.BulkheadFull):
                guarded()
        hf.Bulkhead(1).call(lambda: None)


# ---- the line ----


def test_l4_the_line_is_first_come_first_served() -> None:
    """Threads and tasks are let in in the order they came."""
    limit = hf.Bulkhead(1, max_queue=10)
    order: list[int] = []
    with held(limit):
        workers = []
        for n in range(6):
            if n % 2:
                workers.append(Worker(lambda n=n: limit.call(order.append, n)))
            else:

                async def note(n: int) -> None:
                    order.append(n)

                workers.append(Worker(lambda n=n, note=note: asyncio.run(limit.acall(note, n))))  # type: ignore[misc]
            until(lambda n=n: limit.queued == n + 1)
    for worker in workers:
        worker.outcome()
    assert order == list(range(6))
    assert at_rest(limit)


def test_l4_the_line_is_bounded_in_length(colour: Colour) -> None:
    """One more than the line holds is refused at once."""
    limit = hf.Bulkhead(1, max_queue=1)
    with held(limit):
        waiting = Worker(lambda: limit.call(lambda: "served"))
        until(lambda: limit.queued == 1)
        with pytest.raises(hf.BulkheadFull, match="full"):
            colour.run(limit(colour.make(lambda: None)))
    assert waiting.outcome() == "served"
    assert at_rest(limit)


def test_l4_the_line_is_bounded_in_time(colour: Colour, clock: ManualClock) -> None:
    """Who has waited as long as `queue_timeout` is refused, and is out of the line."""
    limit = hf.Bulkhead(1, max_queue=1, queue_timeout=5.0)
    with held(limit):
        with pytest.raises(hf.BulkheadFull) as refused:
            colour.run(limit(colour.make(lambda: None)), clock=clock)
        assert refused.value.reason == "queue_timeout"
        assert limit.queued == 0


def test_the_deadline_bounds_the_line_too(colour: Colour, clock: ManualClock) -> None:
    """Without a time-out of its own the line is waited in until the call's deadline."""
    limit = hf.Bulkhead(1, max_queue=1)
    guarded = hf.Pipeline(bulkhead=limit, timeout=3.0)(colour.make(lambda: None))
    with held(limit), pytest.raises(hf.BulkheadFull):
        colour.run(guarded, clock=clock)
    assert at_rest(limit)


async def test_l4_a_cancelled_waiter_leaves_at_once() -> None:
    """The moment a waiting task is cancelled its place in line is free, and those behind move up."""
    limit = hf.Bulkhead(1, max_queue=2)
    go = asyncio.Event()
    first = asyncio.create_task(limit.acall(go.wait))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(limit.acall(asyncio.sleep, 0, n)) for n in range(2)]
    await asyncio.sleep(0)
    assert limit.queued == 2
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert limit.queued == 1
    go.set()
    assert await asyncio.gather(first, *waiting, return_exceptions=True) != []
    assert waiting[1].result() == 1
    assert at_rest(limit)


async def test_l4_no_wake_up_is_lost_when_the_woken_one_is_cancelled() -> None:
    """A waiter that is cancelled after it was given the place passes it on to the next."""
    limit = hf.Bulkhead(1, max_queue=10)
    for turns in range(6):
        go = asyncio.Event()
        holder = asyncio.create_task(limit.acall(go.wait))
        await asyncio.sleep(0)
        doomed = asyncio.create_task(limit.acall(asyncio.sleep, 0))
        heir = asyncio.create_task(limit.acall(asyncio.sleep, 0, "served"))
        await asyncio.sleep(0)
        go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        assert await asyncio.wait_for(heir, 10) == "served"
        await asyncio.gather(holder, doomed, return_exceptions=True)
        assert at_rest(limit)


if sys.platform != "win32":  # where a process can send itself the signal of Ctrl-C

    def test_r8_ctrl_c_ends_the_wait_in_line() -> None:
        """A waiting sync call is ended by Ctrl-C within a tenth of a second, and its place in line is free."""
        limit = hf.Bulkhead(1, max_queue=1)
        sent = 0.0

        def interrupt() -> None:
            nonlocal sent
            until(lambda: limit.queued == 1)
            time.sleep(0.02)
            sent = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)

        with held(limit):
            worker = Worker(interrupt)
            with pytest.raises(KeyboardInterrupt):
                limit.call(lambda: None)
            took = time.monotonic() - sent
            worker.outcome()
            assert limit.queued == 0
        assert took < 1.0  # 0.1 s, and as much again and more for a busy machine


async def test_retry_after_is_told_once_it_can_be_known(clock: ManualClock) -> None:
    """A full bulkhead knows how long its places are held, once it has seen one being held."""
    limit = hf.Bulkhead(1, max_queue=1)
    assert limit.retry_after == 0

    async def work() -> None:
        await hf.Pipeline(timeout=99).acall(asyncio.sleep, 0)
        clock.advance(4.0)

    await limit.acall(work)
    go = asyncio.Event()
    tasks = [asyncio.create_task(limit.acall(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(hf.BulkheadFull) as refused:
        await limit.acall(go.wait)
    assert refused.value.retry_after == pytest.approx(8.0), "its own turn and that of the one in line"
    go.set()
    await asyncio.gather(*tasks)


# ---- given back exactly once ----


def test_l1_back_after_success_and_error(colour: Colour) -> None:
    """An answer, an exception and an interrupt each give the place back once."""
    limit = hf.Bulkhead(1)
    for outcome in (None, ValueError("no"), KeyboardInterrupt()):

        def act(outcome: BaseException | None = outcome) -> None:
            if outcome is not None:
                raise outcome

        with contextlib.suppress(ValueError, KeyboardInterrupt):
            colour.run(limit(colour.make(act)))
        assert at_rest(limit)


def test_l1_a_stream_holds_its_place_to_the_end() -> None:
    """From the first step to the last, or to its close; one that is never begun holds nothing."""
    limit = hf.Bulkhead(1)

    @limit
    def numbers() -> Iterator[int]:
        yield from range(3)

    never_begun = numbers()
    assert at_rest(limit)
    stream = numbers()
    assert next(stream) == 0
    assert limit.in_use == 1
    with pytest.raises(hf.BulkheadFull):
        next(never_begun)
    assert list(stream) == [1, 2]
    assert at_rest(limit)
    closed = numbers()
    next(closed)
    closed.close()  # type: ignore[attr-defined]
    assert at_rest(limit)
    dropped = numbers()
    next(dropped)
    del dropped
    gc.collect()
    assert at_rest(limit)


async def test_l1_an_async_stream_gives_back_however_it_ends() -> None:
    """Read to the end, closed by another task, or garbage-collected in its middle."""
    limit = hf.Bulkhead(1)

    @limit
    async def numbers() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    assert [n async for n in numbers()] == [0, 1, 2]
    assert at_rest(limit)
    stream = numbers()
    await anext(stream)
    assert limit.in_use == 1
    await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]
    assert at_rest(limit)
    dropped = numbers()
    await anext(dropped)
    del dropped
    gc.collect()
    assert at_rest(limit)


@pytest.mark.parametrize("after", range(5))
async def test_l1_cancelled_between_acquire_and_call(after: int) -> None:
    """After any number of turns, a cancelled call has given back what it had."""
    limit = hf.Bulkhead(1, max_queue=1)
    rate = hf.RateLimit(10, burst=10)
    guarded = hf.Pipeline(bulkhead=limit, rate_limit=rate, retry=3)(asyncio.sleep)
    task = asyncio.create_task(guarded(30))
    for _ in range(after):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert at_rest(limit)


def test_back_off_holds_no_place(clock: ManualClock, colour: Colour) -> None:
    """While a call waits between two attempts its place is free for others."""
    limit = hf.Bulkhead(1)
    seen: list[int] = []

    def backoff(_retry: int) -> float:
        seen.append(limit.in_use)
        return 1.0

    def fail() -> None:
        seen.append(limit.in_use)
        raise ConnectionError

    retry = hf.Retry(2, backoff=backoff, budget=None)
    with pytest.raises(ConnectionError):
        colour.run(hf.Pipeline(bulkhead=limit, retry=retry)(colour.make(fail)), clock=clock)
    assert seen == [1, 0, 1]
    assert at_rest(limit)


# ---- all or nothing ----


def test_l2_a_probe_that_is_rate_limited_is_neutral(clock: ManualClock, colour: Colour) -> None:
    """A half-open breaker's probe that the limit refuses takes no probe slot, and says nothing to the breaker."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=10.0)
    rate = hf.RateLimit(1, per=100.0)
    good = [False]

    def act() -> str:
        if not good[0]:
            raise ConnectionError
        return "well"

    guarded = hf.Pipeline(breaker=breaker, rate_limit=rate)(colour.make(act))
    with pytest.raises(ConnectionError):
        colour.run(guarded)
    clock.advance(20.0)
    for _ in range(3):
        with pytest.raises(hf.RateLimited) as refused:
            colour.run(guarded)
    assert refused.value.retry_after == pytest.approx(80.0)
    assert (breaker.state, breaker.metrics.in_flight, breaker.metrics.calls) == ("open", 0, 1)
    good[0] = True
    clock.advance(80.0)
    assert colour.run(guarded) == "well"
    assert breaker.state == "closed"


def test_an_open_circuit_costs_no_quota(colour: Colour) -> None:
    """What the breaker refuses takes neither a ration nor a place."""
    breaker, rate, limit = hf.CircuitBreaker(), hf.RateLimit(5), hf.Bulkhead(1)
    breaker.force_open()
    guarded = hf.Pipeline(breaker=breaker, rate_limit=rate, bulkhead=limit)(colour.make(lambda: None))
    for _ in range(3):
        with pytest.raises(hf.CircuitOpen):
            colour.run(guarded)
    assert rate.available == pytest.approx(5.0)
    assert at_rest(limit)


def test_l2_a_ration_comes_back_when_the_bulkhead_refuses(colour: Colour, clock: ManualClock) -> None:
    """The gates are passed all or none: a full bulkhead costs no quota."""
    assert clock is not None
    rate, limit = hf.RateLimit(5), hf.Bulkhead(1)
    guarded = hf.Pipeline(rate_limit=rate, bulkhead=limit)(colour.make(lambda: None))
    with held(limit), pytest.raises(hf.BulkheadFull):
        colour.run(guarded)
    assert rate.available == pytest.approx(5.0)
    colour.run(guarded)
    assert rate.available == pytest.approx(4.0)


def test_a_breaker_that_opened_meanwhile_refuses_who_waited_in_line() -> None:
    """The breaker's permit is taken after the wait: what it has learnt meanwhile counts."""
    breaker, limit = hf.CircuitBreaker(), hf.Bulkhead(1, max_queue=1)
    pipeline = hf.Pipeline(breaker=breaker, bulkhead=limit)
    with held(limit):
        waiting = Worker(lambda: pipeline.call(lambda: None))
        until(lambda: limit.queued == 1)
        assert breaker.metrics.in_flight == 0
        breaker.force_open()
    with pytest.raises(hf.CircuitOpen):
        waiting.outcome()
    assert at_rest(limit)


# ---- where it may stand ----


def test_a_number_is_its_first_field() -> None:
    """`bulkhead=2` and `rate_limit=60` are what the classes make of them."""
    pipeline = hf.resilient(bulkhead=2, rate_limit=60)
    assert isinstance(pipeline.bulkhead, hf.Bulkhead)
    assert isinstance(pipeline.rate_limit, hf.RateLimit)
    assert (pipeline.bulkhead.limit, pipeline.rate_limit.requests, pipeline.rate_limit.per) == (2, 60, 60)
    assert hf.llm_defaults(bulkhead=3).bulkhead.limit == 3  # type: ignore[union-attr]
    assert hf.Pipeline().bulkhead is None
    assert hf.Pipeline().rate_limit is None


def test_a_manager_limits_all_its_nodes_together(colour: Colour) -> None:
    """A manager's bulkhead counts the attempts at all nodes."""
    limit = hf.Bulkhead(1)
    nodes = [hf.Node(name, colour.make(lambda: "fine")) for name in "ab"]
    manager = hf.FailoverManager(nodes, bulkhead=limit)
    with held(limit), pytest.raises(hf.BulkheadFull):
        colour.run(getattr(manager, colour.door))
    assert colour.run(getattr(manager, colour.door)) == "fine"
    assert at_rest(limit)


def test_refusals_are_events() -> None:
    """Whoever listens to the limit hears of each call that it refused."""
    limit = hf.Bulkhead(1)
    heard: list[hf.Event] = []
    stop = limit.subscribe(heard.append)
    with held(limit), pytest.raises(hf.BulkheadFull):
        limit.call(lambda: None)
    until(lambda: heard)
    stop()
    assert [(event.kind, event.source, event.reason) for event in heard] == [
        ("call_rejected", limit.name, "full")
    ]


def test_l7_a_refusal_holds_no_reference_to_the_callers_frames() -> None:
    """Each refusal is a fresh exception."""
    limit = hf.Bulkhead(1)
    refusals = []
    with held(limit):
        for _ in range(2):
            with pytest.raises(hf.BulkheadFull) as refused:
                limit.call(lambda: None)
            refusals.append(refused.value)
    assert refusals[0] is not refusals[1]


# ---- all of it at once ----


def test_l1_l2_random_paths_from_threads_and_tasks_leave_nothing() -> None:
    """Success, error, cancel anywhere, streams never begun, forgotten or closed elsewhere: every counter is 0 again."""
    seed = random.randrange(10**6)
    world = soak_limits.run(3000, seed)
    assert world.left() == (0, 0, 0, 0), f"seed {seed}"


# ---- rates ----


def test_rate_refuses_without_a_deadline_and_says_when(colour: Colour, clock: ManualClock) -> None:
    """With no deadline to wait by, what exceeds the rate is refused, and passes at the moment it is told."""
    limit = hf.RateLimit(2, per=60.0)
    guarded = limit(colour.make(lambda: "fine"))
    assert [colour.run(guarded) for _ in range(2)] == ["fine", "fine"]
    with pytest.raises(hf.RateLimited) as refused:
        colour.run(guarded)
    assert (refused.value.reason, refused.value.source) == ("exhausted", limit.name)
    assert refused.value.retry_after == pytest.approx(30.0)
    clock.advance(30.0)
    assert colour.run(guarded) == "fine"


def test_rate_waits_if_its_turn_comes_before_the_deadline(colour: Colour, clock: ManualClock) -> None:
    """A call with a deadline waits for its ration, and does not wait in vain."""
    limit = hf.RateLimit(1, per=2.0)
    guarded = hf.Pipeline(rate_limit=limit, timeout=3.0)(colour.make(lambda: "fine"))
    assert colour.run(guarded, clock=clock) == "fine"
    assert colour.run(guarded, clock=clock) == "fine", "two seconds later"
    with hf.deadline(1.0), pytest.raises(hf.RateLimited, match="no room"):
        colour.run(guarded)
    assert limit.metrics.queued == 0


async def test_l4_a_cancelled_waiter_for_a_rate_leaves_at_once(clock: ManualClock) -> None:
    """It owes nothing, and the one behind it has its turn."""
    limit = hf.RateLimit(1, per=10.0)
    pipeline = hf.Pipeline(rate_limit=limit, timeout=100.0)
    await pipeline.acall(asyncio.sleep, 0)
    first, second = (asyncio.create_task(pipeline.acall(asyncio.sleep, 0, n)) for n in range(2))
    await asyncio.sleep(0)
    assert limit.metrics.queued == 2
    first.cancel()
    await asyncio.sleep(0)
    assert limit.metrics.queued == 1
    await clock.aadvance(10.0)
    assert await second == 1
    assert limit.metrics.queued == 0


class Answer:
    """As OpenAI's client answers."""

    def __init__(self, tokens: int) -> None:
        self.usage = {"total_tokens": tokens}


@pytest.mark.parametrize(("used", "left"), [(100, 900), (20, 980), (400, 600)])
def test_l6_reserves_the_estimate_and_settles_the_actual(used: int, left: int, clock: ManualClock) -> None:
    """While the call runs its estimate is reserved; afterwards the limit has lost what the answer says."""
    assert clock is not None
    limit = hf.RateLimit(1000, cost=lambda args, _kwargs: args[0])

    def ask(_estimate: int) -> Answer:
        assert limit.available == pytest.approx(900)
        return Answer(used)

    limit.call(ask, 100)
    assert limit.available == pytest.approx(left)


async def test_l6_the_actual_may_be_told_by_a_function_of_ones_own(
    clock: ManualClock, unraisable: list[BaseException]
) -> None:
    """`actual` reads any answer; `None` leaves the estimate, and one that raises costs nobody the answer."""
    assert clock is not None

    async def ask(_text: str) -> str:
        return "12"

    def told(answer: str) -> float | None:
        return next(answers)(answer)

    answers = iter([float, lambda _answer: None, lambda _answer: 1 / 0])
    limit = hf.RateLimit(1000, cost=lambda args, _kwargs: len(args[0]), actual=told)
    lefts = []
    for _ in range(3):
        assert await limit.acall(ask, "x" * 100) == "12"
        lefts.append(limit.available)
    assert lefts == [pytest.approx(988), pytest.approx(888), pytest.approx(788)]
    assert [type(error) for error in unraisable] == [ZeroDivisionError]


def test_a_cost_that_is_no_weight_is_refused_before_the_call(colour: Colour) -> None:
    """A cost function that answers nonsense ends the call with an error that says so, and nobody is asked."""
    for nonsense in (-1, "many", float("nan"), None):
        limit = hf.RateLimit(10, cost=lambda _args, _kwargs, nonsense=nonsense: nonsense)  # type: ignore[misc,return-value]
        with pytest.raises(hf.ConfigurationError, match="cost"):
            colour.run(limit(colour.make(lambda: pytest.fail("it was asked"))))


def test_what_the_callee_says_closes_the_limit(clock: ManualClock, colour: Colour) -> None:
    """A refusal that names a delay is not sent another call before that."""
    limit = hf.RateLimit(100)

    def busy() -> None:
        raise throttled(7.0)

    def throttled(seconds: float) -> Exception:
        error = ConnectionError("slow down")
        error.retry = seconds  # type: ignore[attr-defined]
        return error

    def judge(error: BaseException) -> hf.Verdict | None:
        return hf.Verdict.throttled(delay=error.retry) if hasattr(error, "retry") else None

    guarded = hf.Pipeline(rate_limit=limit, classify=judge)(colour.make(busy))
    with pytest.raises(ConnectionError):
        colour.run(guarded)
    with pytest.raises(hf.RateLimited) as refused:
        colour.run(guarded)
    assert refused.value.retry_after == pytest.approx(7.0)
    clock.advance(7.0)
    with pytest.raises(ConnectionError):
        colour.run(guarded)


def test_l6_headers_may_only_tighten(clock: ManualClock) -> None:
    """What a provider's headers say is taken in if it is less than what is left."""
    limit = hf.RateLimit(100)
    limit.tighten(500)
    assert limit.available == pytest.approx(100)
    limit.tighten(3, 20.0)
    assert limit.available == pytest.approx(3)
    limit.tighten(0, 20.0)
    with pytest.raises(hf.RateLimited):
        limit.call(lambda: None)
    clock.advance(20.0)
    limit.call(lambda: None)


def test_several_rates_must_all_let_an_attempt_pass(clock: ManualClock) -> None:
    """Requests and tokens per minute together: what one refuses costs the other nothing (L2)."""
    assert clock is not None
    requests, tokens = hf.RateLimit(10), hf.RateLimit(100, cost=lambda args, _kwargs: args[0])
    pipeline = hf.Pipeline(rate_limit=[requests, tokens])
    pipeline.call(lambda n: n, 80)
    with pytest.raises(hf.RateLimited) as refused:
        pipeline.call(lambda n: n, 80)
    assert refused.value.source == tokens.name
    assert requests.available == pytest.approx(9)
    with pytest.raises(hf.RateLimited, match="no room") as never:
        pipeline.call(lambda n: n, 101)
    assert (never.value.reason, never.value.retry_after) == ("too_large", None)


# ---- adaptive ----


async def test_l5_overload_cuts_once_per_round_trip_and_success_grows_it() -> None:
    """Ten complaints of one round are one cut; full rounds of successes raise it again."""
    limit = hf.AdaptiveLimit(10, maximum=20)

    async def work(verdict: str) -> None:
        await asyncio.sleep(0)
        if verdict == "busy":
            raise ConnectionError

    pipeline = hf.Pipeline(bulkhead=limit, classify=lambda _error: "throttled")
    await asyncio.gather(*(pipeline.acall(work, "busy") for _ in range(10)), return_exceptions=True)
    assert (limit.limit, limit.metrics.cuts) == (7, 1)
    await asyncio.gather(*(pipeline.acall(work, "fine") for _ in range(200)))
    assert 15 <= limit.limit <= 20
    assert at_rest(limit)


async def test_l5_the_time_to_the_first_item_is_its_only_latency(clock: ManualClock) -> None:
    """Streams that last longer change nothing; streams that begin later cut the limit."""
    limit = hf.AdaptiveLimit(10)

    @limit
    async def stream(first: float, rest: float) -> AsyncIterator[int]:
        clock.advance(first)
        yield 1
        clock.advance(rest)
        yield 2

    async def run(first: float, rest: float, times: int) -> int:
        for _ in range(times):
            async for _item in stream(first, rest):
                pass
        return limit.limit

    assert await run(0.5, 1.0, 20) == 10
    assert await run(0.5, 60.0, 20) == 10
    assert await run(5.0, 1.0, 20) < 10

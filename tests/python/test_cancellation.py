"""Cancellation, timeouts and their races; guarded coroutines are as good as real ones."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.testing import ManualClock


def at_rest(*sources: Any) -> bool:
    """Nobody is in flight, and the parts of each breaker's metrics add up."""
    return all(source.metrics.in_flight == 0 for source in sources)


async def turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


# ---- cancel anywhere ----


@pytest.mark.parametrize("after", range(6))
async def test_l1_cancelled_at_any_suspension_point_a_call_leaves_nothing(after: int) -> None:
    """Cancelled after any number of turns, in the attempt or before it, the permit is back and nobody blamed."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    manager = hf.FailoverManager([hf.Node("a", lambda: None)])

    async def steps(*_args: Any) -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "fine"

    guarded = hf.Pipeline(breaker=breaker, retry=hf.Retry(3, backoff=hf.constant(0)))(steps)
    for call in (guarded, manager(steps)):
        task = asyncio.ensure_future(call())
        await turns(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert at_rest(breaker, manager)
    assert breaker.state == "closed"
    assert breaker.metrics.ignored == breaker.metrics.calls
    assert manager.nodes["a"].failures == 0


@pytest.mark.parametrize("after", range(1, 6))
async def test_l1_cancelled_in_back_off_a_call_leaves_nothing(after: int, clock: ManualClock) -> None:
    """A back-off holds no permit; cancelled, it is over, and no timer is left behind."""
    breaker = hf.CircuitBreaker(failure_threshold=99)

    async def fail() -> None:
        raise ConnectionError

    call = hf.Pipeline(breaker=breaker, retry=hf.Retry(9, backoff=hf.constant(1.0)))(fail)
    task = asyncio.ensure_future(call())
    for _ in range(after):
        await clock.aadvance(0.5)
    failures = breaker.metrics.failures
    assert at_rest(breaker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.aadvance(10.0)
    assert breaker.metrics.failures == failures


@pytest.mark.parametrize("after", range(9))
async def test_l1_cancelled_at_any_point_of_a_stream_it_leaves_nothing(after: int) -> None:
    """Cancelling the consumer of an async stream ends the user's generator and returns the permit."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    ended: list[str] = []

    @hf.Pipeline(breaker=breaker)
    async def items() -> AsyncIterator[int]:
        try:
            for n in range(3):
                await asyncio.sleep(0)
                yield n
        finally:
            ended.append("closed")

    async def consume() -> None:
        async for _ in items():
            await asyncio.sleep(0)

    task = asyncio.ensure_future(consume())
    await turns(after)
    if task.done():
        await task
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gc.collect()
    await turns(3)
    assert at_rest(breaker)
    assert (breaker.metrics.failures, breaker.state) == (0, "closed")
    assert ended in ([], ["closed"])
    assert (ended == []) == (breaker.metrics.calls == 0)


async def test_r7_a_stream_that_is_dropped_is_closed_and_its_permit_comes_back() -> None:
    """An async stream that nobody reads on is closed by the loop, as any async generator is."""
    breaker = hf.CircuitBreaker()
    closed: list[bool] = []

    @breaker
    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = items()
    assert await anext(stream) == 1
    assert breaker.metrics.in_flight == 1
    del stream
    gc.collect()
    await turns(3)
    assert (closed, breaker.metrics.in_flight, breaker.metrics.ignored) == ([True], 0, 1)


async def test_r7_a_loop_that_ends_takes_its_streams_along() -> None:
    """`asyncio.run` closes what it leaves half-read; the breaker is at rest afterwards."""
    breaker = hf.CircuitBreaker()
    kept: list[Any] = []

    @breaker
    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def leave() -> None:
        stream = items()
        kept.append(stream)
        await anext(stream)

    await asyncio.to_thread(asyncio.run, leave())
    kept.clear()
    gc.collect()
    assert at_rest(breaker)


# ---- our clock and the caller's cancel ----


async def test_b8_our_timeout_is_a_failure_and_the_callers_cancel_is_not(clock: ManualClock) -> None:
    """Both arrive as `CancelledError`: the one becomes a `CallTimeout` that counts, the other stays and does not."""
    breaker = hf.CircuitBreaker()
    seen: list[type[BaseException]] = []

    @hf.Pipeline(breaker=breaker, timeout=1.0)
    async def hang() -> None:
        try:
            await asyncio.sleep(3600)
        except BaseException as error:
            seen.append(type(error))
            raise

    with pytest.raises(hf.CallTimeout) as caught:
        await in_loop(hang(), clock)
    assert (caught.value.which, caught.value.limit) == ("total", 1.0)
    assert (breaker.metrics.failures, breaker.metrics.ignored) == (1, 0)
    task = asyncio.ensure_future(hang())
    await clock.aadvance(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (breaker.metrics.failures, breaker.metrics.ignored) == (1, 1)
    assert seen == [asyncio.CancelledError] * 2
    assert at_rest(breaker)


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_b8_both_in_one_turn_of_the_loop(first: str) -> None:
    """If the caller cancels in the very turn in which our clock rings, the caller is obeyed."""
    breaker = hf.CircuitBreaker()

    @hf.Pipeline(breaker=breaker, timeout=0.02)
    async def hang() -> None:
        await asyncio.sleep(3600)

    task = asyncio.ensure_future(hang())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    # The loop is kept from turning until both timers are due; then it runs them in the order of their times.
    loop.call_later(0.01 if first == "theirs" else 0.03, task.cancel)
    import time

    time.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert (breaker.metrics.failures, breaker.metrics.ignored) == (0, 1)


async def test_b8_a_result_in_the_turn_of_the_timeout_is_the_result() -> None:
    """A callee that has its answer when our cancel reaches it may still give it."""
    breaker = hf.CircuitBreaker()

    @hf.Pipeline(breaker=breaker, timeout=0.01)
    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "still here"
        raise AssertionError("it was never cancelled")

    assert await stubborn() == "still here"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # and no cancellation comes afterwards
    assert (breaker.metrics.successes, breaker.metrics.failures) == (1, 0)


async def test_b8_an_error_of_the_callees_own_survives_our_timeout() -> None:
    """A callee that answers our cancel with an error of its own is heard."""

    @hf.Timeout(0.01)
    async def cleanup_fails() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ConnectionError("while closing")

    with pytest.raises(ConnectionError, match="while closing"):
        await cleanup_fails()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_b8_inside_and_outside_of_asyncio_timeout() -> None:
    """`asyncio.timeout` around a guard is the caller's; inside of it it is the callee's own error."""
    breaker = hf.CircuitBreaker()

    @hf.Pipeline(breaker=breaker, timeout=5.0)
    async def hang() -> None:
        await asyncio.sleep(3600)

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await hang()
    assert not isinstance(caught.value, hf.CallTimeout)
    assert (breaker.metrics.failures, breaker.metrics.ignored) == (0, 1)

    @hf.Pipeline(breaker=breaker, timeout=5.0)
    async def own() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError) as caught:
        await own()
    assert not isinstance(caught.value, hf.CallTimeout)
    assert breaker.metrics.failures == 1


async def test_b8_nested_guards_know_their_own_clocks() -> None:
    """Of two nested timeouts the nearer one names itself, and neither leaves a cancel request behind."""

    @hf.Timeout(0.01)
    async def inner() -> None:
        await asyncio.sleep(3600)

    @hf.Timeout(5.0)
    async def outer() -> str:
        try:
            await inner()
        except hf.CallTimeout as error:
            return f"inner after {error.limit}"
        return "never"

    assert await outer() == "inner after 0.01"

    @hf.Timeout(5.0)
    async def patient() -> None:
        await asyncio.sleep(3600)

    @hf.Timeout(0.01)
    async def hasty() -> None:
        await patient()

    with pytest.raises(hf.CallTimeout) as caught:
        await hasty()
    assert caught.value.limit == 0.01
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_b8_a_task_group_is_cancelled_as_it_should_be() -> None:
    """A sibling's failure cancels the guarded call, neutrally; a guarded timeout fails the group."""
    breaker = hf.CircuitBreaker()

    @hf.Pipeline(breaker=breaker, timeout=5.0)
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ConnectionError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(hang())
            group.create_task(fail())
    assert caught.group_contains(ConnectionError)
    assert (breaker.metrics.failures, breaker.metrics.ignored) == (0, 1)

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(hf.Timeout(0.01).acall(asyncio.sleep, 3600))
            group.create_task(hang())
    assert caught.group_contains(hf.CallTimeout)
    assert breaker.metrics.ignored == 2


async def test_b8_each_streams_wait_has_its_clock(clock: ManualClock) -> None:
    """`first_item` bounds the wait for the first item, `idle` the later gaps; the consumer's time is free."""

    @hf.Timeout(first_item=2.0, idle=1.0)
    async def items(first: float, gap: float) -> AsyncIterator[str]:
        await hf_sleep(first)
        yield "a"
        await hf_sleep(gap)
        yield "b"

    async def hf_sleep(seconds: float) -> None:
        # A sleep by the same manual clock: a back-off before a second, good attempt.
        tries = 0

        async def once() -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ConnectionError

        await hf.Retry(2, backoff=hf.constant(seconds)).acall(once)

    async def read(first: float, gap: float, pause: float = 0.0) -> list[str]:
        got = []
        async for item in items(first, gap):
            got.append(item)
            if pause:
                await hf_sleep(pause)
        return got

    assert await in_loop(read(1.9, 0.9, pause=50.0), clock) == ["a", "b"]
    for first, gap, which in ((2.5, 0.0, "first_item"), (0.0, 1.5, "idle")):
        with pytest.raises(hf.CallTimeout) as caught:
            await in_loop(read(first, gap), clock)
        assert caught.value.which == which


async def test_b8_no_timer_outlives_its_call() -> None:
    """A call that ends in time, fails, or is given up half-way leaves no timer that could cancel its task later."""

    @hf.Timeout(0.03)
    async def quick() -> str:
        await asyncio.sleep(0)
        return "fine"

    assert await quick() == "fine"
    half_way = quick()
    half_way.send(None)  # it waits, its clock is set
    half_way.close()
    dropped = quick()
    dropped.send(None)
    del dropped
    gc.collect()
    await asyncio.sleep(0.06)


# ---- as good as a coroutine ----


@hf.CircuitBreaker("plain")
async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def test_asyncio_takes_it_wherever_it_takes_a_coroutine() -> None:
    """create_task, gather, wait_for, shield, ensure_future, TaskGroup and as_completed work on guarded calls."""
    assert await asyncio.create_task(add(1, 2)) == 3
    assert await asyncio.gather(add(1, 2), add(3, 4)) == [3, 7]
    assert await asyncio.wait_for(add(1, 2), 5) == 3
    assert await asyncio.shield(add(1, 2)) == 3
    assert await asyncio.ensure_future(add(1, 2)) == 3
    assert [await done for done in asyncio.as_completed([add(1, 2)])] == [3]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(add(5, 5), name="ten")
    assert task.result() == 10
    unused = add(1, 2)
    assert asyncio.iscoroutine(unused)
    assert inspect.isawaitable(unused)
    unused.close()


async def test_a_tasks_repr_names_the_function() -> None:
    """Debugging shows which call a task is at."""
    task = asyncio.create_task(add(1, 2))
    assert "add" in repr(task)
    assert task.get_coro() is not None
    assert isinstance(task.get_stack(), list)
    await task


def test_asyncio_run_takes_it() -> None:
    """`asyncio.run(guarded())` and `Runner.run` work."""
    assert asyncio.run(add(1, 2)) == 3
    with asyncio.Runner() as runner:
        assert runner.run(add(2, 3)) == 5


async def test_wait_for_cancels_it_neutrally() -> None:
    """`asyncio.wait_for` that gives up is the caller's cancel."""
    breaker = hf.CircuitBreaker()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(breaker.acall(asyncio.sleep, 3600), 0.01)
    assert (breaker.metrics.failures, breaker.metrics.ignored, breaker.metrics.in_flight) == (0, 1, 0)


async def test_awaiting_twice_is_refused() -> None:
    """A guarded call is spent when it has been awaited, as a coroutine is."""
    call = add(1, 2)
    assert await call == 3
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await call


async def test_two_tasks_cannot_await_one_call_at_once() -> None:
    """A second step while one runs is refused instead of mixing them."""

    @hf.CircuitBreaker()
    async def reenter(box: list[Any]) -> None:
        with pytest.raises(ValueError, match="already executing"):
            box[0].send(None)

    box: list[Any] = []
    box.append(reenter(box))
    await box[0]


def test_a_call_that_nobody_awaits_is_told() -> None:
    """The warning names the function; a closed one gives none."""
    with pytest.warns(RuntimeWarning, match=r"coroutine 'add' was never awaited"):
        add(1, 2)
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add(1, 2).close()
        gc.collect()


def test_a_call_that_nobody_awaits_does_not_disturb_an_error_on_its_way() -> None:
    """Unwinding a frame that holds an unawaited call warns and raises the frame's own error."""

    def forget() -> None:
        call = add(1, 2)
        raise KeyError(str(type(call)))

    with pytest.warns(RuntimeWarning, match="never awaited"):
        try:
            forget()
        except KeyError as error:
            assert "GuardedCoroutine" in str(error)
        gc.collect()


async def test_throw_and_close_reach_the_users_coroutine() -> None:
    """Driven by hand, `throw` raises inside and its answer comes out; `close` runs its finally."""
    seen: list[str] = []
    breaker = hf.CircuitBreaker()

    @breaker
    async def wait(how: str) -> str:
        try:
            await asyncio.sleep(3600)
        except KeyError:
            return "caught"
        finally:
            seen.append(how)
        return "never"

    thrown = wait("thrown")
    thrown.send(None)
    with pytest.raises(StopIteration) as end:
        thrown.throw(KeyError("in"))
    assert end.value.value == "caught"
    closed = wait("closed")
    closed.send(None)
    closed.close()
    closed.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        closed.send(None)
    unstarted = wait("unstarted")
    with pytest.raises(KeyError):
        unstarted.throw(KeyError("before"))
    assert seen == ["thrown", "closed"]
    assert breaker.metrics.in_flight == 0
    assert (breaker.metrics.successes, breaker.metrics.ignored) == (1, 1)


async def test_the_context_is_the_callers() -> None:
    """What the user's coroutine sets is seen by its caller, as with a plain `await`; tasks have copies."""
    var = contextvars.ContextVar("var", default="unset")

    @hf.Retry(2)
    async def sets() -> str:
        was = var.get()
        var.set("inside")
        await asyncio.sleep(0)
        return was

    var.set("outside")
    assert await sets() == "outside"
    assert var.get() == "inside"
    var.set("outside")
    assert await asyncio.create_task(sets()) == "outside"
    assert var.get() == "outside"


@pytest.mark.parametrize("stop", [StopIteration, StopAsyncIteration])
def test_a_stray_stop_is_an_error_and_not_an_end(stop: type[Exception]) -> None:
    """A target that raises `StopIteration` before it gives a coroutine or stream does not fake a success."""

    def broken() -> Any:
        raise stop("not the end")

    async def collect(stream: Any) -> list[Any]:
        return [item async for item in stream]

    async def call() -> Any:
        return await hf.Pipeline().acall(broken)

    ways: list[Callable[[], Any]] = [
        lambda: asyncio.run(call()),
        lambda: list(hf.Pipeline().stream(broken)),
        lambda: asyncio.run(collect(hf.Pipeline().astream(broken))),
    ]
    for way in ways:
        with pytest.raises((RuntimeError, StopAsyncIteration)) as caught:
            way()
        if stop is StopIteration:
            assert isinstance(caught.value, RuntimeError)
            assert isinstance(caught.value.__cause__, StopIteration)
    with pytest.raises(stop, match="not the end"):
        hf.Pipeline().call(broken)


async def test_async_generators_answer_as_real_ones_do() -> None:
    """asend, athrow, aclose, their order, and what comes after the end match a plain async generator's."""

    async def plain() -> Any:
        got = []
        try:
            while True:
                got.append((yield len(got)))
        except KeyError:
            yield got

    for made in (plain(), hf.Retry(3)(plain)()):
        with pytest.raises(TypeError, match="just-started"):
            await made.asend("too early")
        assert await made.asend(None) == 0
        assert await made.asend("a") == 1
        assert await made.athrow(KeyError("enough")) == ["a"]
        with pytest.raises(StopAsyncIteration):
            await anext(made)
        with pytest.raises(StopAsyncIteration):
            await anext(made)
        assert await anext(made, "default") == "default"
        assert await made.aclose() is None
        assert await made.aclose() is None
    for made in (plain(), hf.Retry(3)(plain)()):
        step = made.__anext__()
        assert await step == 0
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await step
        assert await made.aclose() is None
        with pytest.raises(StopAsyncIteration):
            await made.asend(None)


def test_generators_answer_as_real_ones_do() -> None:
    """send, throw, close, their order, and what comes after the end match a plain generator's."""

    def plain() -> Any:
        got = []
        try:
            while True:
                got.append((yield len(got)))
        except KeyError:
            yield got

    for made in (plain(), hf.Retry(3)(plain)()):
        assert iter(made) is made
        with pytest.raises(TypeError, match="just-started"):
            made.send("too early")
        assert next(made) == 0
        assert made.send("a") == 1
        assert made.throw(KeyError("enough")) == ["a"]
        with pytest.raises(StopIteration):
            next(made)
        with pytest.raises(StopIteration):
            next(made)
        with pytest.raises(OSError, match="late"):
            made.throw(OSError("late"))
        made.close()
    for made in (plain(), hf.Retry(3)(plain)()):
        made.close()
        with pytest.raises(StopIteration):
            next(made)


async def test_two_steps_of_a_stream_at_once_are_refused() -> None:
    """A second `anext` while one waits is refused, and the first goes on unharmed."""
    gate = asyncio.Event()

    @hf.Retry(2)
    async def items() -> AsyncIterator[int]:
        await gate.wait()
        yield 1

    stream = items()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await anext(stream)
    gate.set()
    assert await first == 1
    await stream.aclose()


async def test_a_step_keeps_its_stream_alive() -> None:
    """A step that is awaited after the stream's name is gone still gives its item."""
    breaker = hf.CircuitBreaker()

    @breaker
    async def items() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        yield 1

    stream = items()
    loop_of_references: list[Any] = [stream]
    loop_of_references.append(loop_of_references)
    step = stream.__anext__()
    del stream, loop_of_references
    gc.collect()
    assert await step == 1


async def test_aclose_waits_for_the_users_cleanup() -> None:
    """`aclose` runs the user's `finally`, waits in it, and hands its error on."""
    done: list[str] = []

    @hf.Retry(2)
    async def items(fail: bool) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            done.append("cleaned")
            if fail:
                raise ConnectionError("while closing")

    good = items(False)
    await anext(good)
    await good.aclose()
    bad = items(True)
    await anext(bad)
    with pytest.raises(ConnectionError, match="while closing"):
        await bad.aclose()
    assert done == ["cleaned"] * 2


def test_under_another_loop_the_error_says_so() -> None:
    """Driven by something that is not asyncio, a call that needs a clock says what it needs."""

    class Waits:
        def __await__(self) -> Any:
            yield "not a future"

    async def foreign() -> None:
        await Waits()

    call = hf.Timeout(1.0)(foreign)()
    with pytest.raises(RuntimeError, match="asyncio"):
        call.send(None)

    async def fail() -> None:
        raise ConnectionError

    sleeper = hf.Retry(2, backoff=hf.constant(1.0))(fail)()
    with pytest.raises(RuntimeError, match="asyncio"):
        sleeper.send(None)


@pytest.mark.parametrize("suspends", [False, True])
def test_under_trio_every_guarded_call_is_refused(suspends: bool) -> None:
    """Trio is refused by name at the first step, also by calls that need no clock, and nothing is asked."""
    import trio

    breaker = hf.CircuitBreaker("trio")
    asked = []

    @breaker
    async def call() -> None:
        asked.append(1)
        if suspends:
            await trio.lowlevel.checkpoint()

    @breaker
    async def stream() -> AsyncIterator[int]:
        asked.append(2)
        yield 1

    async def consume() -> None:
        async for _ in stream():
            pass

    async def loop() -> None:
        async for attempt in hf.Retry(2):
            with attempt:
                asked.append(3)

    for guarded in (call, consume, loop):
        with pytest.raises(RuntimeError, match="run by trio"):
            trio.run(guarded)
    assert asked == []
    assert breaker.metrics.calls == 0
    asyncio.run(consume())
    assert asked == [2]


def test_without_a_loop_a_call_may_be_driven_by_hand() -> None:
    """A coroutine that needs no clock runs wherever somebody sends into it, as a plain one does."""

    @hf.CircuitBreaker("by hand")
    async def double(x: int) -> int:
        return 2 * x

    with pytest.raises(StopIteration) as stopped:
        double(21).send(None)
    assert stopped.value.value == 42

"""What a guarded coroutine function gives: as good as a coroutine, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import ManualClock

CALLS = 300


class Thing:
    """Something whose references can be counted."""


async def once(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


def outcome(call: Callable[[], Awaitable[Any]]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise AssertionError("inside a loop") from None
    coroutine = call()
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except (StopIteration, ConnectionError, hf.Rejected):
        return
    coroutine.close()  # type: ignore[attr-defined]


def forgotten(call: Callable[[], Awaitable[Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        call()


def thrown(call: Callable[[], Awaitable[Any]]) -> None:
    for steps in (0, 1):
        coroutine: Any = call()
        try:
            if steps:
                coroutine.send(None)
            coroutine.throw(KeyError("thrown"))
        except (KeyError, StopIteration, ConnectionError, hf.Rejected):
            pass


@pytest.mark.parametrize("end", [outcome, forgotten, thrown])
@pytest.mark.parametrize("act", ["returns", "fails", "waits", "refused"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: hf.Pipeline(breaker=hf.CircuitBreaker(failure_threshold=None)),
        lambda: hf.Pipeline(retry=hf.Retry(2, backoff=0), breaker=hf.CircuitBreaker(failure_threshold=None)),
        lambda: hf.Pipeline(retry=hf.Retry(2, backoff=0, budget=None), timeout=60.0),
    ],
    ids=["breaker", "retry", "timeout"],
)
async def test_r9_no_reference_stays(
    end: Callable[..., None], act: str, make: Callable[[], hf.Pipeline]
) -> None:
    """Whatever becomes of a call, its arguments, its value, its guard and its memory are as before."""
    pipeline = make()
    value, argument, named = Thing(), Thing(), Thing()

    @pipeline
    async def call(_a: object, *, x: object) -> object:
        if act == "fails":
            raise ConnectionError
        if act == "waits":
            await asyncio.sleep(0)
        return value

    if act == "refused" and pipeline.breaker is not None:
        pipeline.breaker.force_open()

    def counts() -> tuple[int, ...]:
        return tuple(sys.getrefcount(thing) for thing in (value, argument, named, call, call.__wrapped__))

    async def many(n: int) -> None:
        for _ in range(n):
            end(lambda: call(argument, x=named))
        # The loop lets go of timers that were cancelled when it turns.
        await asyncio.sleep(0)
        gc.collect()

    await many(200)
    before, grown = counts(), []
    for _ in range(6):
        blocks = sys.getallocatedblocks()
        await many(CALLS)
        assert counts() == before
        grown.append(sys.getallocatedblocks() - blocks)
    # What the interpreter itself keeps moves at first; a block per call would be hundreds, each time.
    assert min(grown) < CALLS / 10
    if pipeline.breaker is not None:
        assert pipeline.breaker.metrics.in_flight == 0


async def test_values_of_every_kind_come_through_unchanged() -> None:
    """Tuples, exceptions and None are values as any other, and a value that was given out is not kept."""

    @hf.CircuitBreaker()
    async def give(value: object) -> object:
        return value

    for value in (None, (), (1, 2), StopIteration(3), ValueError("x"), ValueError, [None], 0, False):
        assert await give(value) is value
    kept = []
    for value in ((1, 2), ValueError("y"), 7):
        coroutine = give(value)
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        kept.append(stopped.value)
    assert [stop.value for stop in kept] == [(1, 2), kept[1].value, 7]
    thing = Thing()
    watched = weakref.ref(thing)
    assert await give(thing) is thing
    del thing
    gc.collect()
    assert watched() is None


async def test_iterating_by_hand_is_as_with_a_coroutine() -> None:
    """`__await__`, `next`, and `StopIteration` with the value, each of its own."""

    @hf.CircuitBreaker()
    async def seven() -> int:
        return 7

    stops = []
    for _ in range(3):
        iterator = seven().__await__()
        with pytest.raises(StopIteration) as stopped:
            next(iterator)
        stops.append(stopped.value)
        with pytest.raises(RuntimeError, match="already awaited"):
            next(iterator)
    assert [stop.value for stop in stops] == [7, 7, 7]
    assert len({id(stop) for stop in stops}) == 3


async def test_wrong_arguments_are_refused_when_it_is_called() -> None:
    """As a coroutine function does, before anything is awaited; no attempt is made of it and none counted."""
    breaker = hf.CircuitBreaker()

    @hf.Pipeline(retry=3, breaker=breaker)
    async def one(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="positional argument"):
        one()  # type: ignore[call-arg]
    assert breaker.metrics.calls == 0
    assert await one(1) == await one(x=1) == 1


async def test_a_second_attempt_gets_the_same_arguments() -> None:
    """Those by place and those by name, in order, however many there are."""
    seen = []

    @hf.Retry(3, backoff=0)
    async def flaky(*args: int, **kwargs: int) -> int:
        seen.append((args, tuple(kwargs.items())))
        if len(seen) < 3:
            raise ConnectionError
        return 1

    assert await flaky(1, 2, b=3, a=4) == 1
    assert seen == [((1, 2), (("b", 3), ("a", 4)))] * 3
    assert await flaky() == 1
    assert seen[-1] == ((), ())


async def test_methods_and_plain_functions_that_give_coroutines() -> None:
    """A guarded method binds; a function that only returns an awaitable runs when it is awaited."""
    ran = []

    class Client:
        @hf.CircuitBreaker()
        async def ask(self, x: int) -> tuple[object, int]:
            return self, x

        async def bare(self, x: int) -> tuple[object, int]:
            return self, x

    def plain() -> Awaitable[int]:
        ran.append(1)
        return asyncio.sleep(0, 5)

    client = Client()
    assert await client.ask(1) == (client, 1)
    assert await hf.CircuitBreaker()(client.bare)(2) == (client, 2)
    waiting = hf.Pipeline(breaker=1).acall(plain)
    assert ran == []
    assert await waiting == 5


async def test_it_is_a_coroutine_to_everybody() -> None:
    """The ABCs and asyncio take it; what debuggers look at shows the user's frame."""
    gate = asyncio.Event()

    @hf.CircuitBreaker()
    async def call() -> str:
        await gate.wait()
        return "done"

    coroutine = call()
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert coroutine.__name__ == "call"
    assert coroutine.cr_code is call.__wrapped__.__code__  # type: ignore[attr-defined]
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    assert coroutine.cr_frame.f_code is coroutine.cr_code
    assert coroutine.cr_await is not None
    assert coroutine.cr_running is False
    assert [frame.f_code for frame in task.get_stack()] == [coroutine.cr_code]
    gate.set()
    assert await task == "done"
    assert coroutine.cr_frame is None


async def test_a_circle_through_the_frame_is_collected() -> None:
    """A coroutine that holds its own awaitable, dropped half-way, goes away, and its permit comes back."""
    breaker = hf.CircuitBreaker()

    @breaker
    async def call(holder: list[Any], thing: Thing) -> None:
        await asyncio.sleep(60)
        assert holder, thing

    holder: list[Any] = []
    thing = Thing()
    watched = weakref.ref(thing)
    coroutine = call(holder, thing)
    holder.append(coroutine)
    coroutine.send(None)
    assert breaker.metrics.in_flight == 1
    del coroutine, holder, thing
    gc.collect()
    assert watched() is None
    assert breaker.metrics.in_flight == 0


async def test_the_first_attempts_scope_is_there_and_goes() -> None:
    """Inside it the call's facts are known, in what it awaits and in tasks it starts; then nothing is left."""
    seen = []

    async def look() -> None:
        seen.append(hf.current_attempt())

    @hf.Pipeline(retry=3, timeout=30.0)
    async def call() -> None:
        await look()
        await asyncio.create_task(look())
        await look()

    await call()
    assert hf.current_attempt() is None
    assert {attempt.number for attempt in seen if attempt is not None} == {1}
    assert len({attempt.call_id for attempt in seen if attempt is not None}) == 1
    assert all(attempt is not None and attempt.deadline is not None for attempt in seen)

    @hf.Pipeline(retry=2, timeout=30.0)
    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert hf.current_attempt() is None


async def test_a5_a_late_value_of_a_coroutine_that_never_waits(clock: ManualClock) -> None:
    """It could not be cancelled: the value is returned, counted slow and told, or refused."""
    breaker = hf.CircuitBreaker()

    async def slow() -> str:
        clock.advance(2)
        return "late"

    assert await hf.Pipeline(breaker=breaker, timeout=1.0)(slow)() == "late"
    assert (breaker.metrics.successes, breaker.metrics.slow) == (1, 1)
    with pytest.raises(hf.CallTimeout):
        await hf.Pipeline(timeout=hf.Timeout(1.0, late="raise"))(slow)()


async def test_a_probe_takes_the_long_way() -> None:
    """Half-open and shadow breakers, and an inherited deadline, work as for every other colour."""
    with ManualClock() as clock:
        breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1)

        @breaker
        async def call(fail: bool) -> int:
            if fail:
                raise ConnectionError
            return 1

        with pytest.raises(ConnectionError):
            await call(True)
        with pytest.raises(hf.CircuitOpen):
            await call(False)
        clock.advance(30)
        assert await call(False) == 1
        assert breaker.state == "closed"
        with hf.deadline(5):
            assert await call(False) == 1

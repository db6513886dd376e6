"""What a breaker must do, told from outside: by which calls get through and what they raise.

Each behaviour is a coroutine function of an adapter that returns nothing if it holds and raises `Fails` if not.
Its docstring is its row in the table.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from typing import TYPE_CHECKING, Any

from worlds import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapters import Adapter

THRESHOLD = 3
RECOVERY = 0.3
SETTLED = RECOVERY + 0.25
"""Long enough for every breaker here to have seen that its open time is over."""
HERD = 30


class Fails(Exception):
    """The behaviour does not hold; the message says what happened instead."""


class NotApplicable(Exception):
    """The library has no form in which to ask; the message says why."""


def hold(truth: object, otherwise: str) -> None:
    if not truth:
        raise Fails(otherwise)


def needs(adapter: Adapter, feature: str) -> None:
    if feature in adapter.lacks:
        raise NotApplicable(adapter.lacks[feature])


async def opened(world: World) -> None:
    for _ in range(THRESHOLD):
        await world.call(ValueError("down"))
    hold(not (await world.call()).admitted, "it does not open")


async def half_open(world: World) -> None:
    await opened(world)
    await asyncio.sleep(SETTLED)


async def hold_closed(world: World, otherwise: str) -> None:
    """One failure does not open a closed breaker: so it is closed if calls pass before and after one."""
    hold((await world.call()).admitted, otherwise)
    await world.call(ValueError("one"))
    hold((await world.call()).admitted, otherwise)


async def trips_and_recovers(adapter: Adapter) -> None:
    """trips, refuses, and recovers"""
    async with World(adapter) as world:
        await half_open(world)
        hold((await world.call()).admitted, "no probe is admitted after the open time")
        await hold_closed(world, "a good probe does not close it")


async def callers_error(adapter: Adapter) -> None:
    """the call that trips it raises the caller's own error"""
    async with World(adapter) as world:
        for n in range(THRESHOLD):
            error = ValueError(n)
            held = await world.call(error)
            hold(held.raised is error, f"call {n + 1} raised {type(held.raised).__name__} instead")


async def one_probe(adapter: Adapter) -> None:
    """half-open admits one of 30 that come together"""
    async with World(adapter) as world:
        await half_open(world)
        herd = await asyncio.gather(*(world.begin() for _ in range(HERD)))
        admitted = sum(held.admitted for held in herd)
        hold(admitted == 1, f"{admitted} of {HERD} got through")


async def cancellation_neutral(adapter: Adapter) -> None:
    """a cancelled call is no failure"""
    needs(adapter, "async")
    async with World(adapter) as world:
        for _ in range(3 * THRESHOLD):
            held: Any = await world.begin()
            hold(held.admitted, "cancelled calls opened it")
            await held.cancel()
        hold((await world.call()).admitted, "cancelled calls opened it")


async def cancelled_probe(adapter: Adapter) -> None:
    """a cancelled probe is no success and gives its slot back"""
    needs(adapter, "async")
    async with World(adapter) as world:
        await half_open(world)
        probe: Any = await world.begin()
        await probe.cancel()
        again = await world.begin()
        hold(again.admitted, "the slot did not come back")
        await again.end(ValueError("still down"))  # type: ignore[attr-defined]
        hold(not (await world.call()).admitted, "the cancelled probe closed it")


async def late_success(adapter: Adapter) -> None:
    """a late success of an older era does not close it"""
    async with World(adapter) as world:
        early, later = await world.begin(), await world.begin()
        hold(early.admitted and later.admitted, "two calls cannot run at once")
        await opened(world)
        await early.end()  # type: ignore[attr-defined]
        hold(not (await world.call()).admitted, "a late success closed it while it was open")
        await asyncio.sleep(SETTLED)
        probe = await world.begin()
        await later.end()  # type: ignore[attr-defined]
        await probe.end(ValueError("still down"))  # type: ignore[attr-defined]
        hold(not (await world.call()).admitted, "a late success closed it under a running probe")


async def late_failure(adapter: Adapter) -> None:
    """a late failure does not fail a running probe"""
    async with World(adapter) as world:
        late = await world.begin()
        await half_open_beside(world)
        probe = await world.begin()
        hold(probe.admitted, "no probe is admitted after the open time")
        await late.end(ValueError("late"))  # type: ignore[attr-defined]
        await probe.end()  # type: ignore[attr-defined]
        await hold_closed(world, "the good probe did not close it")


async def half_open_beside(world: World) -> None:
    failing = [await world.begin() for _ in range(THRESHOLD)]
    hold(all(held.admitted for held in failing), "calls cannot run at once")
    for held in failing:
        await held.end(ValueError("down"))  # type: ignore[attr-defined]
    await asyncio.sleep(SETTLED)


async def endless_probe(adapter: Adapter) -> None:
    """a probe that never ends does not wedge it"""
    async with World(adapter) as world:
        await half_open(world)
        hold((await world.begin()).admitted, "no probe is admitted after the open time")
        limit = time.monotonic() + 4.0
        while time.monotonic() < limit:
            if (await world.begin()).admitted:
                return
            await asyncio.sleep(0.2)
        raise Fails("no call got through for 4 s")


async def mid_stream_failure(adapter: Adapter) -> None:
    """a generator that fails after its first item has failed"""
    needs(adapter, "stream")
    async with World(adapter) as world:
        for _ in range(THRESHOLD):
            raised = await world.stream(1, ValueError("broke"), 2)
            hold(raised is not None, "the stream's error was swallowed")
        raised = await world.stream(1, None, 1)
        hold(raised is not None, "broken streams did not open it")


async def early_close(adapter: Adapter) -> None:
    """a consumer that closes a generator early is no failure"""
    needs(adapter, "stream")
    async with World(adapter) as world:
        for _ in range(3 * THRESHOLD):
            hold(await world.stream(5, None, 1) is None, "streams closed early opened it")


async def wall_clock(adapter: Adapter) -> None:
    """the wall clock set back an hour changes nothing"""
    async with World(adapter) as world:
        await opened(world)
        set_back(3600.0)
        await asyncio.sleep(SETTLED)
        hold((await world.call()).admitted, "it stays open for the hour")


def set_back(seconds: float) -> None:
    """Shifts the wall clock as Python code reads it. A native clock is out of reach here; the kernel's
    monotonic one is not moved by setting the wall clock either."""
    shift.seconds -= seconds


class Shift:
    """How far the wall clock is from the truth."""

    seconds = 0.0


shift = Shift()


def make_wall_clock_movable() -> None:
    """To be called before any breaker is imported: `from datetime import datetime` binds what is there."""
    real_time, real_datetime = time.time, datetime.datetime

    class Shifted(real_datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real_datetime.now(tz) + datetime.timedelta(seconds=shift.seconds)

        @classmethod
        def utcnow(cls) -> Any:
            utc = real_datetime.now(datetime.UTC).replace(tzinfo=None)
            return utc + datetime.timedelta(seconds=shift.seconds)

    time.time = lambda: real_time() + shift.seconds
    datetime.datetime = Shifted  # type: ignore[misc]


async def fresh_exception(adapter: Adapter) -> None:
    """each refusal is a new exception whose traceback does not grow"""
    async with World(adapter) as world:
        await opened(world)
        refusals = [(await world.call()).raised for _ in range(20)]
        hold(
            len({id(refusal) for refusal in refusals}) == len(refusals),
            "one exception is raised again and again",
        )
        depths = [depth(refusal) for refusal in refusals]
        hold(max(depths) == min(depths), f"its traceback grew from {min(depths)} to {max(depths)} frames")


def depth(error: BaseException | None) -> int:
    traceback, frames = error.__traceback__ if error else None, 0
    while traceback is not None:
        traceback, frames = traceback.tb_next, frames + 1
    return frames


async def parallel(adapter: Adapter) -> None:
    """no lock over the call: five of 0.3 s run side by side"""
    async with World(adapter, threads=True) as world:
        began = time.monotonic()
        if world.is_async:
            await asyncio.gather(*(world.subject.acall(lambda: asyncio.sleep(0.3)) for _ in range(5)))
        else:
            calls = (asyncio.to_thread(world.subject.call, lambda: time.sleep(0.3)) for _ in range(5))
            await asyncio.gather(*calls)
        took = time.monotonic() - began
        hold(took < 0.9, f"they took {took:.1f} s")


async def raising_listener(adapter: Adapter) -> None:
    """a listener that raises changes nothing"""
    needs(adapter, "listener")
    heard: list[object] = []

    def listener(event: object) -> None:
        heard.append(event)
        raise RuntimeError("the listener's own")

    async with World(adapter, listener=listener) as world:
        for _ in range(THRESHOLD):
            error = ValueError("down")
            held = await world.call(error)
            hold(held.raised is error, f"the caller got {type(held.raised).__name__}")
        refused = await world.call()
        hold(not refused.admitted, "it does not open")
        await asyncio.sleep(SETTLED)
        probe = await world.call()
        hold(probe.admitted and probe.raised is None, "the probe's answer did not come through")
        await hold_closed(world, "it does not close")
        hold(heard, "the listener was never called")


async def keyboard_interrupt(adapter: Adapter) -> None:
    """KeyboardInterrupt is neither success nor failure"""
    async with World(adapter) as world:
        for _ in range(THRESHOLD - 1):
            await world.call(ValueError("down"))
        for _ in range(2 * THRESHOLD):
            raised = await world.here(KeyboardInterrupt())
            hold(isinstance(raised, KeyboardInterrupt), f"it became {type(raised).__name__}")
        hold((await world.begin()).admitted, "it counted as a failure")
        await world.call(ValueError("down"))
        hold(
            not (await world.call()).admitted, "it counted as a success: the failures before it are forgotten"
        )


BEHAVIOURS: dict[str, Callable[[Adapter], Awaitable[None]]] = {
    behaviour.__name__: behaviour
    for behaviour in (
        trips_and_recovers,
        callers_error,
        one_probe,
        cancellation_neutral,
        cancelled_probe,
        late_success,
        late_failure,
        endless_probe,
        mid_stream_failure,
        early_close,
        wall_clock,
        fresh_exception,
        parallel,
        raising_listener,
        keyboard_interrupt,
    )
}

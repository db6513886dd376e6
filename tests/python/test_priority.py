"""Load shedding by priority: under pressure the less important goes first, and the core keeps running."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import pytest

import holdfast as hf
from colours import Worker
from holdfast.testing import record_events
from test_limits import at_rest, held, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour
    from holdfast.testing import ManualClock

    Level = Literal["low", "normal", "high"]


def at_priority(level: Level, work: Callable[[], Any]) -> Any:
    with hf.priority(level):
        return work()


def test_a_fifth_of_a_bulkhead_is_kept_from_low_priority(colour: Colour) -> None:
    """With eight of ten places in use a call of low priority is shed; the others still run."""
    limit = hf.Bulkhead(10)
    guarded = limit(colour.make(lambda: "served"))
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(held(limit))
        with hf.priority("low"), pytest.raises(hf.BulkheadFull) as refused:
            colour.run(guarded)
        assert refused.value.reason == "shed"
        assert colour.run(guarded) == "served"
        with hf.priority("high"):
            assert colour.run(guarded) == "served"
    with hf.priority("low"):
        assert colour.run(guarded) == "served"
    assert at_rest(limit)
    assert limit.metrics.rejected == 1


def test_small_limits_serve_low_priority_too() -> None:
    """Where a fifth is less than one place nothing is kept."""
    limit = hf.Bulkhead(1)
    with hf.priority("low"):
        assert limit.call(lambda: "served") == "served"


def test_the_more_important_stand_first_in_line() -> None:
    """High before normal before low; within one level first come, first served."""
    limit = hf.Bulkhead(1, max_queue=10)
    order: list[str] = []
    levels: list[tuple[Level, str]] = [
        ("low", "low"),
        ("normal", "first"),
        ("high", "high"),
        ("normal", "second"),
    ]
    with held(limit):
        workers = []
        for n, (level, name) in enumerate(levels):
            work = lambda name=name: limit.call(order.append, name)  # noqa: E731
            workers.append(Worker(lambda level=level, work=work: at_priority(level, work)))  # type: ignore[misc]
            until(lambda n=n: limit.queued == n + 1)
    for worker in workers:
        worker.outcome()
    assert order == ["high", "first", "second", "low"]
    assert at_rest(limit)


async def test_a_full_line_pushes_out_the_least_important_which_learns_it_at_once() -> None:
    """The one that came last among the lowest is refused with the reason "shed"; its place goes to the newcomer."""
    limit = hf.Bulkhead(1, max_queue=2)
    go = asyncio.Event()

    async def ask(level: Level, answer: str) -> str:
        with hf.priority(level):
            return await limit.acall(asyncio.sleep, 0, answer)

    holder = asyncio.create_task(limit.acall(go.wait))
    await asyncio.sleep(0)
    first, last = (asyncio.create_task(ask("low", name)) for name in ("first", "last"))
    await asyncio.sleep(0)
    with record_events(limit, ["call_rejected"]) as events:
        important = asyncio.create_task(ask("normal", "important"))
        with pytest.raises(hf.BulkheadFull) as shed:
            await asyncio.wait_for(last, 10)
        with pytest.raises(hf.BulkheadFull) as full:
            await ask("low", "too late")
    assert (shed.value.reason, full.value.reason) == ("shed", "full")
    assert [event.reason for event in events] == ["shed", "full"]
    go.set()
    assert await asyncio.gather(important, first) == ["important", "first"]
    await holder
    assert at_rest(limit)


async def test_the_core_keeps_running_under_a_flood_of_low_priority() -> None:
    """Ten times more background work than an adaptive limit serves: of the normal calls none is refused."""
    limit = hf.AdaptiveLimit(10, maximum=10, max_queue=20)

    async def ask(level: Level) -> str:
        with hf.priority(level):
            try:
                await limit.acall(asyncio.sleep, 0.001)
            except hf.BulkheadFull as refusal:
                return str(refusal.reason)
        return "served"

    background = [asyncio.create_task(ask("low")) for _ in range(300)]
    await asyncio.sleep(0)
    core = [await ask("normal") for _ in range(50)]
    told = await asyncio.gather(*background)
    assert set(core) == {"served"}
    assert {"served", "full"} >= set(told) - {"shed"}
    assert "served" in told
    assert at_rest(limit)


def test_a_fifth_of_a_rates_burst_is_kept_from_low_priority(colour: Colour, clock: ManualClock) -> None:
    """The last two of ten permits are for what is more important; after a rest low calls pass again."""
    rate = hf.RateLimit(10, per=10.0)
    guarded = rate(colour.make(lambda: "served"))
    with hf.priority("low"):
        for _ in range(8):
            assert colour.run(guarded) == "served"
        with pytest.raises(hf.RateLimited) as refused:
            colour.run(guarded)
    assert (refused.value.reason, refused.value.retry_after) == ("shed", pytest.approx(1.0))
    assert colour.run(guarded) == "served"
    clock.advance(2.0)
    with hf.priority("low"):
        assert colour.run(guarded) == "served"


def test_in_the_line_of_a_rate_the_more_important_come_first(clock: ManualClock) -> None:
    """One who waits at low priority lets the others by."""
    rate = hf.RateLimit(1, per=4.0, burst=1)
    guard = hf.Pipeline(rate_limit=rate, timeout=100.0)
    guard.call(lambda: None)
    order: list[str] = []
    low = Worker(lambda: at_priority("low", lambda: guard.call(order.append, "low")))
    until(lambda: rate.metrics.queued == 1)
    normal = Worker(lambda: guard.call(order.append, "normal"))
    until(lambda: rate.metrics.queued == 2)
    while low.is_alive():
        clock.advance(0.25)
        low.join(0.001)
    low.outcome()
    normal.outcome()
    assert order == ["normal", "low"]
    assert rate.metrics.queued == 0


def test_blocks_nest_and_calls_inside_inherit() -> None:
    """An inner block overrules; a deadline around it stays; an attempt tells its priority."""
    seen: list[str] = []

    @hf.resilient(timeout=5.0)
    def ask() -> None:
        attempt = hf.current_attempt()
        assert attempt is not None
        seen.append(attempt.priority)
        with hf.priority("low"), hf.deadline(1.0) as scope:
            seen.append(scope.priority)

    ask()
    with hf.deadline(3.0), hf.priority("high") as scope:
        assert (scope.time_left or 0) > 0
        ask()
        with hf.priority("normal"):
            ask()
    assert seen == ["normal", "low", "high", "low", "normal", "low"]


def test_a_level_that_there_is_not_is_refused_by_name() -> None:
    """Naming field, rule and value."""
    wrong: Any = "urgent"
    with pytest.raises(hf.ConfigurationError) as caught, hf.priority(wrong):
        pass
    assert (caught.value.field, caught.value.value) == ("level", "urgent")

"""Where a well-known router of LLM calls falls short, as tests against ours."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast.testing import ManualClock

BALANCERS = ("round_robin", "weighted", "random", "weighted_random", "least_connections", "p2c")
IN_TURN = ("round_robin", "weighted")


class Limited(Exception):
    """A 429 that says how long to wait."""

    status_code = 429

    def __init__(self, seconds: float) -> None:
        super().__init__("slow down")
        self.response = Answer(seconds)


class Answer:
    def __init__(self, seconds: float) -> None:
        self.status_code = 429
        self.headers = {"retry-after": str(seconds)}


class Target:
    """Answers with its name, unless it has something to raise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.raises: Exception | None = None

    def __call__(self) -> str:
        self.calls += 1
        if self.raises is not None:
            raise self.raises
        return self.name


def manager(*targets: Target, **fields: Any) -> hf.FailoverManager:
    return hf.FailoverManager([hf.Node(target.name, target) for target in targets], **fields)


def three() -> tuple[Target, Target, Target]:
    return Target("a"), Target("b"), Target("c")


@pytest.mark.parametrize("balancer", BALANCERS)
def test_concurrent_and_sequential_calls_are_spread_evenly(balancer: str, clock: ManualClock) -> None:
    """Three equal nodes, 30 concurrent and 60 sequential calls: even in turn, near it at random.

    By our clock, which stands still, all take the same.
    """

    async def main() -> None:
        seen: Counter[str] = Counter()

        def target(name: str) -> Any:
            async def answer() -> str:
                seen[name] += 1
                await asyncio.sleep(0.01)
                return name

            return answer

        pool = hf.FailoverManager([hf.Node(name, target(name)) for name in "abc"], balancer=balancer)
        await asyncio.gather(*(pool.acall() for _ in range(30)))
        if balancer in (*IN_TURN, "least_connections"):
            assert seen == {"a": 10, "b": 10, "c": 10}
        assert set(seen) == set("abc")
        seen.clear()
        for _ in range(60):
            await pool.acall()
        if balancer in IN_TURN:
            assert seen == {"a": 20, "b": 20, "c": 20}
        # Drawn at random, each is within five standard deviations of its third.
        assert all(2 <= seen[name] <= 38 for name in "abc"), seen
        assert [view.in_flight for view in pool.nodes.values()] == [0, 0, 0]

    asyncio.run(main())


@pytest.mark.parametrize("balancer", BALANCERS)
def test_cancelled_calls_leave_nothing_in_flight(balancer: str) -> None:
    """Cancelled before, during and after the pick: in-flight ends at 0, and nobody is blamed."""

    async def main() -> None:
        async def hang() -> None:
            await asyncio.Event().wait()

        pool = hf.FailoverManager([hf.Node(name, hang) for name in "abc"], balancer=balancer)
        calls = [asyncio.ensure_future(pool.acall()) for _ in range(60)]
        for call in calls[:10]:
            call.cancel()
        for turns in (1, 2):
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls[: 30 * turns]:
                call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in done)
        assert [view.in_flight for view in pool.nodes.values()] == [0, 0, 0]
        assert [view.load for view in pool.nodes.values()] == [0.0, 0.0, 0.0]
        assert all(view.ready for view in pool.nodes.values())

    asyncio.run(main())


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_recovered_node_gets_traffic_again(balancer: str, clock: ManualClock) -> None:
    """Its breaker opens; when the time is over real traffic finds out that it is back."""
    a, b, c = three()
    breaker = hf.CircuitBreaker(failure_threshold=2, success_threshold=1, open_timeout=30.0)
    pool = manager(a, b, c, balancer=balancer, breaker=breaker)
    a.raises = ConnectionError("dead")
    for _ in range(500):
        if pool.nodes["a"].state == "down":
            break
        pool.call()
        clock.advance(0.5)
    for _ in range(60):
        pool.call()
    assert (a.calls, pool.nodes["a"].state) == (2, "down")
    a.raises = None
    clock.advance(30.0)
    for _ in range(60):
        pool.call()
    assert pool.nodes["a"].state == "up"
    before = a.calls
    clock.advance(30.0)
    for _ in range(60):
        pool.call()
    assert a.calls - before >= 5


def test_a_node_that_cuts_every_stream_leaves_rotation() -> None:
    """A stream that breaks half-way counts as a failure: the node's breaker opens."""

    def cut() -> Iterator[str]:
        yield "half"
        raise ConnectionError("cut")

    def whole() -> Iterator[str]:
        yield from ("one", "two")

    pool = hf.FailoverManager(
        [hf.Node("cut", cut), hf.Node("whole", whole)], breaker=hf.CircuitBreaker(failure_threshold=3)
    )
    broken = 0
    for _ in range(20):
        try:
            assert list(pool.stream()) == ["one", "two"]
        except ConnectionError:
            broken += 1
    assert broken == 3
    assert (pool.nodes["cut"].state, pool.nodes["cut"].ready) == ("down", False)


def test_a_node_that_cuts_every_async_stream_leaves_rotation() -> None:
    """The same asynchronously."""

    async def cut() -> AsyncIterator[str]:
        yield "half"
        raise ConnectionError("cut")

    async def whole() -> AsyncIterator[str]:
        yield "whole"

    async def main() -> int:
        pool = hf.FailoverManager(
            [hf.Node("cut", cut), hf.Node("whole", whole)], breaker=hf.CircuitBreaker(failure_threshold=3)
        )
        broken = 0
        for _ in range(20):
            try:
                assert [chunk async for chunk in pool.astream()] == ["whole"]
            except ConnectionError:
                broken += 1
        assert not pool.nodes["cut"].ready
        return broken

    assert asyncio.run(main()) == 3


def test_p12_a_later_longer_cool_down_is_not_lost(clock: ManualClock) -> None:
    """P12: of several calls under way the one that is told to wait longest decides, whichever ends last."""

    async def main() -> None:
        waits = iter([5.0, 50.0, 1.0])
        gate = asyncio.Event()

        async def limited() -> str:
            wait = next(waits, 0.0)
            await gate.wait()
            raise Limited(wait)

        async def other() -> str:
            return "other"

        pool = hf.FailoverManager([hf.Node("limited", limited), hf.Node("other", other, tier=1)])
        calls = [asyncio.ensure_future(pool.acall()) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*calls) == ["other"] * 3
        assert pool.nodes["limited"].not_before == pytest.approx(50.0)

    asyncio.run(main())


def test_p12_an_hour_of_retry_after_is_capped(clock: ManualClock) -> None:
    """`Retry-After: 3600` keeps a node waiting for `cooldown_cap`, and then it is asked."""
    a, b, _ = three()
    a.raises = Limited(3600)
    pool = manager(a, b, cooldown_cap=600.0)
    assert {pool.call() for _ in range(4)} == {"b"}
    assert pool.nodes["a"].not_before == pytest.approx(600.0)
    assert "cools down" in pool.explain()["a"]
    a.raises = None
    clock.advance(600.0)
    assert {pool.call() for _ in range(4)} == {"a", "b"}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_when_all_cool_a_call_is_served_as_soon_as_one_recovers(balancer: str, clock: ManualClock) -> None:
    """All nodes are cooling down: refused with the time until the first is back, and served then."""
    targets = three()
    for target, wait in zip(targets, (40, 10, 20), strict=True):
        target.raises = Limited(wait)
    pool = manager(*targets, balancer=balancer, exhausted="fail_fast")
    with pytest.raises(Limited):
        pool.call()
    with pytest.raises(hf.NoNodeReady) as refused:
        pool.call()
    assert refused.value.retry_after == pytest.approx(10.0)
    for target in targets:
        target.raises = None
    clock.advance(10.0)
    assert [pool.call() for _ in range(3)] == ["b"] * 3
    clock.advance(30.0)
    assert {pool.call() for _ in range(100)} == {"a", "b", "c"}


def test_a_dead_single_node_costs_no_sleep_after_its_last_attempt(clock: ManualClock) -> None:
    """Three attempts, two waits: the clock, which nobody moves but the waits, shows no third."""

    async def main() -> None:
        dead = 0

        async def target() -> None:
            nonlocal dead
            dead += 1
            raise ConnectionError("dead")

        pool = hf.FailoverManager(
            [hf.Node("only", target)], retry=hf.Retry(3, backoff=hf.constant(4.0)), breaker=None
        )
        with record_events() as events:
            call = asyncio.ensure_future(pool.acall())
            await clock.aadvance(7.9)
            assert (dead, call.done()) == (2, False)
            await clock.aadvance(0.1)
            assert (dead, call.done()) == (3, True)
            with pytest.raises(ConnectionError):
                await call
        assert [event.delay for event in events if event.kind == "retry_scheduled"] == [4.0, 4.0]

    asyncio.run(main())


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a15_a_retry_never_hits_the_node_that_has_just_failed(balancer: str) -> None:
    """A15: while another node is ready the next attempt goes there, whichever the balancer."""
    asked: list[str] = []

    def failing(name: str) -> Any:
        def fail() -> None:
            asked.append(name)
            raise ConnectionError(name)

        return fail

    nodes = [hf.Node(name, failing(name)) for name in "abc"]
    pool = hf.FailoverManager(
        nodes, balancer=balancer, breaker=None, retry=hf.Retry(6, backoff=hf.constant(0.0), budget=None)
    )
    for _ in range(40):
        asked.clear()
        with pytest.raises(ConnectionError):
            pool.call()
        assert len(asked) == 6
        assert set(asked[:3]) == set("abc"), "untried nodes come first"
        assert all(one != other for one, other in pairwise(asked)), asked


@pytest.mark.parametrize("balancer", BALANCERS)
def test_p11_nodes_come_and_go_under_load_and_no_call_is_lost(balancer: str) -> None:
    """P11: join, drain, disable and remove while calls are under way; each call gets its answer."""

    async def main() -> None:
        def target(name: str) -> Any:
            async def answer() -> str:
                await asyncio.sleep(0.001)
                return name

            return answer

        pool = hf.FailoverManager([hf.Node(f"n{n}", target(f"n{n}")) for n in range(4)], balancer=balancer)
        running = True
        served: Counter[str] = Counter()

        async def load() -> None:
            while running:
                served[await pool.acall()] += 1

        callers = [asyncio.ensure_future(load()) for _ in range(16)]
        with record_events() as events:
            for turn in range(4, 40):
                pool.add_node(hf.Node(f"n{turn}", target(f"n{turn}")))
                (pool.drain if turn % 2 else pool.disable)(f"n{turn - 4}")
                await asyncio.sleep(0.002)
                pool.remove_node(f"n{turn - 4}")
        running = False
        await asyncio.gather(*callers)
        assert list(pool.nodes) == ["n36", "n37", "n38", "n39"]
        assert [view.in_flight for view in pool.nodes.values()] == [0] * 4
        assert len(served) > 20
        kinds = Counter(event.kind for event in events)
        assert (kinds["node_added"], kinds["node_removed"]) == (36, 36)

    asyncio.run(main())

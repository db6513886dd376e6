"""Limits of a node's own: a full node is passed over, and what was taken is given back exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from test_limits import held, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from colours import Colour
    from holdfast.testing import ManualClock


def named(name: str, colour: Colour, **fields: Any) -> hf.Node:
    return hf.Node(name, colour.make(lambda *_args: name), **fields)


def ask(manager: hf.FailoverManager, colour: Colour, *args: Any, clock: ManualClock | None = None) -> Any:
    return colour.run(getattr(manager, colour.door), *args, clock=clock)


def test_a_full_node_is_passed_over(colour: Colour) -> None:
    """While its place is taken every call goes to the other; then it has its turn again."""
    limit = hf.Bulkhead(1)
    manager = hf.FailoverManager([named("a", colour, bulkhead=limit), named("b", colour)])
    with held(limit):
        assert [ask(manager, colour) for _ in range(4)] == ["b"] * 4
        assert manager.explain()["a"] == "full: 1 of 1 calls"
        assert not manager.nodes["a"].ready
    assert {ask(manager, colour) for _ in range(4)} == {"a", "b"}
    assert (limit.in_use, limit.metrics.rejected) == (0, 0)


def test_a_node_without_permits_is_passed_over(colour: Colour, clock: ManualClock) -> None:
    """Three calls of ten go to the node that may have three; with time it may have one more."""
    manager = hf.FailoverManager(
        [named("a", colour, rate_limit=hf.RateLimit(3, per=30.0)), named("b", colour)]
    )
    told = [ask(manager, colour) for _ in range(10)]
    assert (told.count("a"), told.count("b")) == (3, 7)
    assert manager.explain()["a"].startswith("rate limit for")
    clock.advance(10.0)
    told = [ask(manager, colour) for _ in range(4)]
    assert told.count("a") == 1


def test_p16_where_all_are_full_the_refusal_says_so(colour: Colour) -> None:
    """Without a deadline the call is refused at once, with the reason of each node."""
    limit = hf.Bulkhead(1)
    manager = hf.FailoverManager([named("a", colour, bulkhead=limit)])
    with held(limit), pytest.raises(hf.NoNodeReady, match="a: full: 1 of 1 calls"):
        ask(manager, colour)
    assert ask(manager, colour) == "a"


def test_where_all_are_full_a_call_waits_within_its_deadline(clock: ManualClock) -> None:
    """As it waits for a node that is down."""
    limit = hf.Bulkhead(1)
    manager = hf.FailoverManager([hf.Node("a", lambda: "served", bulkhead=limit)], timeout=60.0)
    from colours import Worker

    with held(limit):
        waiting = Worker(manager.call)
        for _ in range(20):
            clock.advance(0.1)
        assert waiting.is_alive()
    while waiting.is_alive():
        clock.advance(0.1)
        waiting.join(0.001)
    assert waiting.outcome() == "served"


def test_l2_a_probe_is_not_taken_for_a_call_that_a_limit_refuses(clock: ManualClock) -> None:
    """A half-open node that is full keeps its probe for a call that is made."""
    limit = hf.Bulkhead(1)
    bad = True

    def target() -> str:
        if bad:
            raise ConnectionError
        return "a"

    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=5.0, success_threshold=1)
    nodes = [hf.Node("a", target, bulkhead=limit), hf.Node("b", lambda: "b", tier=1)]
    manager = hf.FailoverManager(nodes, breaker=breaker)
    assert manager.call() == "b"
    bad = False
    clock.advance(6.0)
    with held(limit):
        assert manager.call() == "b"
    assert manager.call() == "a"
    assert limit.in_use == 0


def test_weighed_calls_go_where_they_fit() -> None:
    """A node's `cost` weighs its calls; a large one goes to the node that has room for it."""
    small = hf.RateLimit(100, cost=lambda args, _kwargs: args[0])
    manager = hf.FailoverManager(
        [hf.Node("small", lambda _n: "small", rate_limit=small), hf.Node("large", lambda _n: "large")]
    )
    assert [manager.call(500) for _ in range(3)] == ["large"] * 3
    assert {manager.call(40) for _ in range(2)} == {"small", "large"}
    assert small.available == pytest.approx(60, abs=0.5)


def test_nodes_that_join_and_leave_bring_and_take_their_limits() -> None:
    """`add_node` and `remove_node`."""
    limit = hf.Bulkhead(1)
    weighed: list[int] = []

    def cost(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> float:
        weighed.append(args[0])
        return 1.0

    manager = hf.FailoverManager([hf.Node("a", lambda _n: "a")])
    manager.add_node(hf.Node("b", lambda _n: "b", bulkhead=limit, rate_limit=hf.RateLimit(100, cost=cost)))
    with held(limit):
        assert {manager.call(1) for _ in range(4)} == {"a"}
    assert {manager.call(2) for _ in range(4)} == {"a", "b"}
    manager.remove_node("b")
    weighed.clear()
    assert {manager.call(3) for _ in range(4)} == {"a"}
    assert weighed == []


def test_hedges_need_room_at_the_other_node() -> None:
    """A10: a second attempt is not made at a node that is full, and nobody waits in line for it."""
    limit = hf.Bulkhead(1, max_queue=5)

    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "slow"

    async def quick() -> str:
        return "quick"

    manager = hf.FailoverManager(
        [hf.Node("slow", slow), hf.Node("quick", quick, bulkhead=limit)], hedge=hf.Hedge(0.01, safe=True)
    )
    with held(limit):
        assert asyncio.run(manager.acall()) == "slow"
        assert limit.queued == 0


def test_the_first_item_cuts_a_nodes_adaptive_limit(clock: ManualClock) -> None:
    """L5: a stream that begins late speaks to the limit of its node."""
    limit = hf.AdaptiveLimit(10)
    late = 0.5

    def stream() -> Iterator[int]:
        clock.advance(late)
        yield 1

    manager = hf.FailoverManager([hf.Node("a", stream, bulkhead=limit)])
    for _ in range(20):
        assert list(manager.stream()) == [1]
    assert limit.limit == 10
    late = 5.0
    for _ in range(20):
        assert list(manager.stream()) == [1]
    assert limit.limit < 10


EXPECTED = (hf.Rejected, OSError, asyncio.CancelledError)


def work(fails: bool) -> int:
    if fails:
        raise ConnectionError
    return 1


async def awork(fails: bool) -> int:
    await asyncio.sleep(0)
    return work(fails)


async def items(fails: bool) -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    yield work(fails)


async def walk(awaited: hf.FailoverManager, streamed: hf.FailoverManager, dice: random.Random) -> None:
    """One call and one way for it to end."""
    fails = dice.random() < 0.2
    match dice.randrange(5):
        case 0:
            await awaited.acall(fails)
        case 1:
            task = asyncio.ensure_future(awaited.acall(fails))
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
            task.cancel()
            await task
        case 2:
            streamed.astream(fails)
        case 3:
            await anext(streamed.astream(fails))
        case _:
            stream: Any = streamed.astream(fails)
            await anext(stream)
            await asyncio.create_task(stream.aclose())


async def walks(awaited: hf.FailoverManager, streamed: hf.FailoverManager, seed: int) -> None:
    async def one(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(100):
            with contextlib.suppress(*EXPECTED):
                await walk(awaited, streamed, dice)

    await asyncio.gather(*(one(seed * 100 + n) for n in range(8)))


@pytest.mark.parametrize("seed", [1, 2])
def test_l1_random_paths_leave_every_nodes_counters_at_zero(seed: int) -> None:
    """Success, error, cancel, never begun, begun and forgotten, closed elsewhere: from threads and a loop at once."""
    limits = [hf.Bulkhead(2), hf.AdaptiveLimit(3, maximum=4), hf.Bulkhead(1, max_queue=3)]

    def pool(target: Any, **fields: Any) -> hf.FailoverManager:
        nodes = [hf.Node(str(n), target, bulkhead=limit) for n, limit in enumerate(limits)]
        return hf.FailoverManager(nodes, breaker=None, retry=hf.Retry(2, backoff=0, budget=None), **fields)

    plain, awaited, streamed = pool(work), pool(awork, hedge=hf.Hedge(0.0, safe=True)), pool(items)

    def thread(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(300):
            with contextlib.suppress(*EXPECTED):
                plain.call(dice.random() < 0.2)

    threads = [threading.Thread(target=thread, args=(seed * 10 + n,)) for n in range(3)]
    for each in threads:
        each.start()
    asyncio.run(walks(awaited, streamed, seed))
    for each in threads:
        each.join()
    gc.collect()
    until(lambda: all(limit.in_use == 0 for limit in limits))
    assert [(limit.in_use, limit.queued) for limit in limits] == [(0, 0)] * 3
    for manager in (plain, awaited, streamed):
        assert {view.in_flight for view in manager.nodes.values()} == {0}

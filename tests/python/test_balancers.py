"""Balancers through the manager: shares, loads, keys, and balancers of the user's own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colours import Colour
    from holdfast.testing import ManualClock

NAMED = ("round_robin", "weighted", "random", "weighted_random", "least_connections", "p2c")


def manager(*names: str, weights: Sequence[float] = (), colour: Colour = COLOURS[0], **fields: Any) -> Any:
    """Nodes that answer with their own names."""
    given = list(weights) or [1.0] * len(names)
    nodes = [
        hf.Node(name, colour.make(lambda *_, name=name, **__: name), weight=weight)
        for name, weight in zip(names, given, strict=True)
    ]
    return hf.FailoverManager(nodes, **fields)


def counted(pool: Any, calls: int) -> Counter[str]:
    return Counter(pool.call() for _ in range(calls))


# ---- stated distributions ----


@pytest.mark.parametrize("balancer", NAMED)
def test_every_balancer_gives_equals_the_same(balancer: str, clock: ManualClock) -> None:
    """P(i) = 1/N for equal nodes, whichever strategy; six standard deviations are allowed."""
    seen = counted(manager("a", "b", "c", balancer=balancer), 3000)
    assert all(abs(seen[name] - 1000) < 160 for name in "abc"), seen


@pytest.mark.parametrize(("balancer", "slack"), [("weighted", 1), ("weighted_random", 180)])
def test_weights_are_shares(balancer: str, slack: int) -> None:
    """P(i) = Wᵢ/ΣW, exactly where it goes in turn."""
    pool = manager("a", "b", "c", weights=(1.0, 2.0, 3.0), balancer=balancer)
    seen = counted(pool, 3000)
    for name, expected in zip("abc", (500, 1000, 1500), strict=True):
        assert abs(seen[name] - expected) <= slack, seen
    assert [round(view.share, 3) for view in pool.nodes.values()] == [0.167, 0.333, 0.5]


def test_weighted_spreads_the_turns_of_the_heavy() -> None:
    """Smooth: the light one is not left to the end."""
    pool = manager("a", "b", weights=(3.0, 1.0), balancer="weighted")
    assert [pool.call() for _ in range(8)] == ["a", "a", "b", "a"] * 2 or [pool.call() for _ in range(4)]
    turns = [pool.call() for _ in range(40)]
    assert max(len(run) for run in "".join(turns).split("b")) <= 4
    assert turns.count("b") == 10


def test_round_robin_and_random_do_not_weigh() -> None:
    """Weights are for the strategies that say so; the others' shares are equal."""
    pool = manager("a", "b", weights=(9.0, 1.0))
    assert counted(pool, 100) == {"a": 50, "b": 50}
    assert [view.share for view in pool.nodes.values()] == [0.5, 0.5]


def test_least_connections_goes_where_the_fewest_calls_are() -> None:
    """A busy node is passed over until it is no busier than the rest."""
    gate, entered = threading.Event(), threading.Event()

    def busy() -> str:
        entered.set()
        gate.wait(20)
        return "busy"

    nodes = [hf.Node("busy", busy), hf.Node("free", lambda: "free")]
    pool = hf.FailoverManager(nodes, balancer="least_connections")
    thread = None
    while not entered.is_set():
        thread = threading.Thread(target=pool.call)
        thread.start()
        while thread.is_alive() and not entered.wait(0.001):
            pass
    assert pool.nodes["busy"].in_flight == 1
    assert counted(pool, 20) == {"free": 20}
    gate.set()
    assert thread is not None
    thread.join(20)
    assert pool.nodes["busy"].in_flight == 0


# ---- P1, P2 ----


@pytest.mark.parametrize("balancer", ["least_connections", "p2c"])
def test_p1_a_black_hole_does_not_win(balancer: str, clock: ManualClock) -> None:
    """P1: a node that fails at once looks idle, and gets few calls all the same; P2: it is tried again."""
    asked = Counter[str]()

    def hole() -> str:
        asked["hole"] += 1
        raise ConnectionError("at once")

    def good(name: str) -> Any:
        def answer() -> str:
            asked[name] += 1
            clock.advance(0.2)
            return name

        return answer

    nodes = [hf.Node("hole", hole), hf.Node("a", good("a")), hf.Node("b", good("b"))]
    pool = hf.FailoverManager(nodes, balancer=balancer, breaker=None, max_ejected=0.0)
    for _ in range(300):
        pool.call()
    assert 0 < asked["hole"] < 30, asked


# ---- sticky ----


def test_sticky_keeps_a_conversation_at_its_node(colour: Colour) -> None:
    """Calls with one key go to one node; different keys spread; no key, no preference."""
    pool = manager(
        "a", "b", "c", colour=colour, balancer="sticky", sticky_key=lambda args, _kwargs: args[0] or None
    )
    door = getattr(pool, colour.door)
    homes = {key: {colour.run(lambda key=key: door(key)) for _ in range(5)} for key in map(str, range(30))}
    assert all(len(where) == 1 for where in homes.values())
    assert len({name for where in homes.values() for name in where}) == 3
    assert len({colour.run(lambda: door("")) for _ in range(60)}) == 3


def test_p13_exclusion_comes_before_affinity() -> None:
    """P13: a pinned node that is out is not asked; its conversation comes back to it afterwards."""
    pool = manager("a", "b", "c", balancer="sticky", sticky_key=lambda _args, kwargs: kwargs["chat"])
    home = pool.call(chat="7")
    pool.disable(home)
    others = {pool.call(chat="7") for _ in range(5)}
    assert len(others) == 1
    assert home not in others
    pool.enable(home)
    assert pool.call(chat="7") == home


def test_sticky_bounds_what_one_key_brings_to_a_node() -> None:
    """A hundred calls at once with one key: no node has more than 1.25 times its fair share."""
    most = Counter[str]()

    async def main() -> None:
        gate = asyncio.Event()

        def target(name: str) -> Any:
            async def answer(_key: str) -> str:
                most[name] += 1
                await gate.wait()
                return name

            return answer

        nodes = [hf.Node(name, target(name)) for name in "abcd"]
        pool = hf.FailoverManager(nodes, balancer="sticky", sticky_key=lambda args, _kwargs: args[0])
        calls = [asyncio.ensure_future(pool.acall("same")) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*calls)
        assert [view.in_flight for view in pool.nodes.values()] == [0] * 4

    asyncio.run(main())
    assert sum(most.values()) == 100
    assert max(most.values()) <= 32, most


@pytest.mark.parametrize("answer", [5, b"bytes", object()])
def test_a_key_is_a_string_or_none(answer: object) -> None:
    """The error names the field."""
    pool = manager("a", balancer="sticky", sticky_key=lambda _args, _kwargs: answer)
    with pytest.raises(hf.ConfigurationError, match="sticky_key"):
        pool.call()


# ---- the user's own ----


class Own:
    """Chooses by what it is told to."""

    def __init__(self, choose: Any) -> None:
        self.choose = choose
        self.seen: list[list[str]] = []

    def pick(self, candidates: Any) -> Any:
        self.seen.append([view.name for view in candidates])
        return self.choose(candidates)


@pytest.mark.parametrize(
    "choose", [lambda views: views[-1], lambda views: views[-1].name], ids=["a view", "a name"]
)
def test_a_balancer_of_the_users_own_chooses(choose: Any, colour: Colour) -> None:
    """It is shown who may be asked, of the lowest tier, and its choice is asked; in each colour."""
    own = Own(choose)
    pool = manager("a", "b", "c", colour=colour, balancer=own)
    door = getattr(pool, colour.door)
    assert colour.run(door) == "c"
    pool.disable("c")
    assert colour.run(door) == "b"
    assert own.seen == [["a", "b", "c"], ["a", "b"]]
    assert [view.in_flight for view in pool.nodes.values()] == [0, 0, 0]


def test_a_balancer_of_the_users_own_is_asked_again_after_a_failure() -> None:
    """A15: who failed the call is no candidate while another is."""

    def dead() -> str:
        raise ConnectionError("dead")

    own = Own(lambda views: views[0])
    pool = hf.FailoverManager([hf.Node("a", dead), hf.Node("b", lambda: "b")], balancer=own, retry=3)
    assert pool.call() == "b"
    assert own.seen == [["a", "b"], ["b"]]


def test_a_balancer_of_the_users_own_stands_beside_limits(colour: Colour, clock: ManualClock) -> None:
    """Whom it chose is given back where a limit refuses the call: nothing is left in use or in flight (L2)."""
    own = Own(lambda views: views[-1])
    rate, bulkhead = hf.RateLimit(2, per=60.0), hf.Bulkhead(1)
    pool = manager("a", "b", colour=colour, balancer=own, rate_limit=rate, bulkhead=bulkhead)
    door = getattr(pool, colour.door)
    assert [colour.run(door) for _ in range(2)] == ["b", "b"]
    with pytest.raises(hf.RateLimited) as refused:
        colour.run(door)
    assert refused.value.retry_after == pytest.approx(30.0)
    clock.advance(30.0)
    assert colour.run(door) == "b"
    views = pool.nodes.values()
    assert [(view.in_flight, view.failures, view.ready) for view in views] == [(0, 0, True)] * 2
    assert (bulkhead.in_use, rate.metrics.queued) == (0, 0)


def test_a_full_bulkhead_refuses_whom_the_users_own_balancer_chose() -> None:
    """The call inside runs on, the one that found it full is refused, and the next one is served."""
    bulkhead = hf.Bulkhead(1)
    refusals: list[str] = []

    def outer() -> str:
        with pytest.raises(hf.BulkheadFull) as refused:
            pool.call()
        refusals.append(refused.value.reason)
        return "outer"

    own = Own(lambda views: views[0])
    pool = hf.FailoverManager([hf.Node("a", outer), hf.Node("b", print)], balancer=own, bulkhead=bulkhead)
    assert [pool.call() for _ in range(2)] == ["outer"] * 2
    assert len(refusals) == 2
    assert [view.in_flight for view in pool.nodes.values()] == [0, 0]
    assert bulkhead.in_use == 0


class Odd(Exception):
    """Raised by a balancer."""


def raising(_views: Any) -> Any:
    raise Odd("broken")


@pytest.mark.parametrize(
    ("choose", "error"),
    [(raising, "Odd"), (lambda _views: "nobody", "no candidate"), (lambda _views: None, "AttributeError")],
    ids=["raises", "names nobody", "answers None"],
)
def test_a_broken_balancer_loses_no_call(choose: Any, error: str, unraisable: list[BaseException]) -> None:
    """The node is then picked in turn, an event says so, and an error is reported as unraisable."""
    pool = manager("a", "b", balancer=Own(choose))
    with record_events() as events:
        assert [pool.call() for _ in range(4)] == ["a", "b", "a", "b"]
    assert [event.error for event in events if event.kind == "balancer_failed"] == [error] * 4
    assert len(unraisable) == (0 if error == "no candidate" else 4)


def test_an_interrupted_balancer_interrupts_the_call() -> None:
    """Ctrl-C inside it is the caller's."""

    def interrupted(_views: Any) -> Any:
        raise KeyboardInterrupt

    pool = manager("a", balancer=Own(interrupted))
    with pytest.raises(KeyboardInterrupt):
        pool.call()
    assert pool.nodes["a"].in_flight == 0


# ---- configuration ----


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"balancer": "best"}, "balancer"),
        ({"balancer": None}, "balancer"),
        ({"balancer": Own}, "balancer"),
        ({"balancer": "sticky"}, "sticky_key"),
        ({"sticky_key": str}, "sticky_key"),
        ({"balancer": "sticky", "sticky_key": "id"}, "sticky_key"),
        ({"auto_rebalance": 1}, "auto_rebalance"),
        ({"rebalance_interval": 0}, "rebalance_interval"),
        ({"slow_start": -1}, "slow_start"),
        ({"failback_hold": "long"}, "failback_hold"),
        ({"max_ejected": 1.5}, "max_ejected"),
        ({"panic_below": -0.1}, "panic_below"),
    ],
)
def test_bad_fields_are_refused_by_name(fields: dict[str, Any], field: str) -> None:
    """A configuration error names the field."""
    with pytest.raises(hf.ConfigurationError) as caught:
        manager("a", **fields)
    assert caught.value.field == field

"""The pool as a whole through the manager: outliers, panic, slow start, failback and rebalancing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from holdfast.testing import ManualClock


class Script:
    """A target that fails as often as it is told to, and takes as long."""

    def __init__(self, name: str, clock: ManualClock | None = None, took: float = 0.0) -> None:
        self.name = name
        self.bad_of_ten = 0
        self.calls = 0
        self.clock = clock
        self.took = took

    def __call__(self) -> str:
        self.calls += 1
        if self.clock is not None:
            self.clock.advance(self.took)
        if self.calls % 10 < self.bad_of_ten:
            raise ConnectionError(self.name)
        return self.name


def pool(*targets: Script, tiers: tuple[int, ...] = (), **fields: Any) -> hf.FailoverManager:
    ranks = tiers or (0,) * len(targets)
    nodes = [hf.Node(target.name, target, tier=tier) for target, tier in zip(targets, ranks, strict=True)]
    return hf.FailoverManager(nodes, **({"breaker": None} | fields))


def counted(manager: hf.FailoverManager, calls: int) -> Counter[str]:
    return Counter(manager.call() for _ in range(calls))


def test_p3_an_outlier_is_put_out_with_a_floor_and_comes_back(clock: ManualClock) -> None:
    """P3: it fails much more than the others, is out for 30 s, explained, and tried again."""
    bad, good, well = Script("bad"), Script("good"), Script("well")
    bad.bad_of_ten = 6
    manager = pool(bad, good, well)
    with record_events() as events:
        counted(manager, 150)
        asked = bad.calls
        counted(manager, 60)
    assert bad.calls == asked
    view = manager.nodes["bad"]
    assert (view.ready, view.state, view.not_before) == (False, "up", pytest.approx(30.0))
    assert manager.explain()["bad"] == "ejected for 30.000 s: it fails more often than the others"
    (ejected,) = [event for event in events if event.kind == "node_ejected"]
    assert (ejected.node, ejected.ejected_for) == ("bad", 30.0)
    assert ejected.failure_rate > 0.3
    bad.bad_of_ten = 0
    clock.advance(30.0)
    assert manager.nodes["bad"].ready
    assert counted(manager, 60) == {"bad": 20, "good": 20, "well": 20}


def test_p3_the_last_node_is_never_put_out() -> None:
    """P3: with `max_ejected=1.0` and all bad in turn, one stays."""
    targets = [Script(name) for name in "abc"]
    manager = pool(*targets, max_ejected=1.0)
    counted(manager, 60)
    for target in targets:
        target.bad_of_ten = 9
        for _ in range(100):
            try:
                manager.call()
            except ConnectionError:
                continue
    assert sum(view.ready for view in manager.nodes.values()) >= 1


def test_p5_when_all_fail_alike_nobody_is_ejected() -> None:
    """P5: a bad network is not a bad node."""
    targets = [Script(name) for name in "abc"]
    manager = pool(*targets)
    counted(manager, 60)
    for target in targets:
        target.bad_of_ten = 10
    with record_events() as events:
        for _ in range(60):
            with pytest.raises(ConnectionError):
                manager.call()
    assert "node_ejected" not in [event.kind for event in events]
    assert all(view.ready for view in manager.nodes.values())


def test_p4_panic_uses_all_but_the_closed(clock: ManualClock) -> None:
    """P4: below the share all nodes are asked, whoever speaks against them; it ends with a margin."""
    manager = pool(*(Script(name) for name in "abcde"), panic_below=0.5, breaker=hf.CircuitBreaker())
    manager.disable("e")
    with record_events() as events:
        manager.report("a", ok=False, reason="x")
        manager.report("b", ok=False, reason="x")
        assert set(counted(manager, 8)) == {"c", "d"}
        manager.node_breaker("c").force_open()
        manager.report("c", ok=False, reason="x")
        assert counted(manager, 8) == {"a": 2, "b": 2, "c": 2, "d": 2}
        assert [view.ready for view in manager.nodes.values()] == [True, True, True, True, False]
        manager.drain("d")
        assert set(counted(manager, 6)) == {"a", "b", "c"}
        manager.enable("d")
        manager.report("a", ok=True)
        assert set(counted(manager, 4)) == {"a", "b", "c", "d"}, "exactly at the limit it goes on"
        manager.report("b", ok=True)
        assert set(counted(manager, 6)) == {"a", "b", "d"}
    panics = [(event.kind, event.healthy, event.nodes) for event in events if event.kind.startswith("panic")]
    assert panics == [("panic_entered", 1, 4), ("panic_left", 3, 4)]


def test_panic_is_off_unless_configured() -> None:
    """P4: all nodes down is a refusal, by default."""
    manager = pool(Script("a"))
    manager.report("a", ok=False)
    with pytest.raises(hf.NoNodeReady):
        manager.call()


def test_b24_a_returning_node_starts_slowly(clock: ManualClock) -> None:
    """B24: after an outage its share grows over `slow_start`; `NodeView.share` says how far it is."""
    manager = pool(Script("a"), Script("b"), slow_start=100.0)
    manager.report("a", ok=False)
    manager.report("a", ok=True)
    shares = []
    for _ in range(3):
        shares.append(counted(manager, 1000)["a"])
        clock.advance(50.0)
    assert shares[0] < 170
    assert 250 < shares[1] < 420
    assert 490 < shares[2] < 510
    assert manager.nodes["a"].share == pytest.approx(0.5)


def test_p11_a_joining_node_starts_slowly_too(clock: ManualClock) -> None:
    """B24, P11: a newcomer gets a small share at once, and is as good as none where it is alone."""
    manager = pool(Script("a"), slow_start=100.0)
    manager.add_node(hf.Node("new", Script("new")))
    assert 0 < counted(manager, 500)["new"] < 120
    manager.disable("a")
    assert manager.call() == "new"
    clock.advance(100.0)
    manager.enable("a")


def test_p9_failback_waits_and_ramps(clock: ManualClock) -> None:
    """P9: the better tier is left alone for the hold, then gets a growing share; the spare tier has the rest."""
    manager = pool(Script("first"), Script("spare"), tiers=(0, 1), failback_hold=30.0, slow_start=60.0)
    manager.report("first", ok=False)
    assert manager.call() == "spare"
    manager.report("first", ok=True)
    assert counted(manager, 50) == {"spare": 50}
    clock.advance(29.0)
    assert counted(manager, 50) == {"spare": 50}
    clock.advance(31.0)
    halfway = counted(manager, 500)
    assert 170 < halfway["first"] < 330
    clock.advance(30.0)
    assert counted(manager, 50) == {"first": 50}


def test_p9_a_held_node_is_better_than_none() -> None:
    """P9: the hold never refuses a call."""
    manager = pool(Script("only"), failback_hold=30.0)
    manager.report("only", ok=False)
    manager.report("only", ok=True)
    assert manager.call() == "only"


def test_shares_are_rebalanced_by_latency(clock: ManualClock) -> None:
    """Each interval the quicker node's share grows by a step, with an event; within bounds."""
    quick, slow = Script("quick", clock, 0.1), Script("slow", clock, 0.9)
    manager = pool(quick, slow, balancer="weighted", rebalance_interval=60.0)
    with record_events() as events:
        while not (rebalanced := [event for event in events if event.kind == "rebalanced"]):
            manager.call()
        counted(manager, 600)
    assert rebalanced[0].changed
    assert rebalanced[0].shares == "quick=0.625 slow=0.375"
    view = manager.nodes["quick"]
    assert 0.7 < view.share < 0.8
    assert view.weight == 1.0
    seen = counted(manager, 100)
    assert seen["quick"] > 60


def test_shares_are_rebalanced_on_time_while_nobody_calls(clock: ManualClock) -> None:
    """A manager that was started keeps its shares up to date though no call ends; a stopped one does not."""
    quick, slow = Script("quick", clock, 0.1), Script("slow", clock, 0.9)
    manager = pool(quick, slow, balancer="weighted", rebalance_interval=60.0)
    with manager, record_events(manager) as events:
        counted(manager, 40)
        clock.advance(60.0)
        assert [event.shares for event in events if event.kind == "rebalanced"] == ["quick=0.625 slow=0.375"]
        assert manager.nodes["quick"].share == pytest.approx(0.625)
        clock.advance(120.0)
        told = [(event.changed, event.shares) for event in events if event.kind == "rebalanced"]
        even = "quick=0.500 slow=0.500"
        assert told[1:] == [(True, even), (False, even)], "without figures they go back to where they were"
    with record_events(manager) as events:
        clock.advance(600.0)
        assert events.kinds == []


def test_auto_rebalance_can_be_off(clock: ManualClock) -> None:
    """Then shares stay what the weights say."""
    quick, slow = Script("quick", clock, 0.1), Script("slow", clock, 0.9)
    manager = pool(quick, slow, auto_rebalance=False, rebalance_interval=10.0)
    assert counted(manager, 200) == {"quick": 100, "slow": 100}
    assert manager.nodes["quick"].share == 0.5


def test_load_is_the_work_that_waits(clock: ManualClock) -> None:
    """`NodeView.load`: calls in flight times what one takes, in seconds."""
    seen: list[float] = []

    def target() -> str:
        clock.advance(2.0)
        seen.append(manager.nodes["a"].load)
        return "a"

    manager = hf.FailoverManager([hf.Node("a", target)])
    manager.call()
    manager.call()
    assert seen[1] == pytest.approx(2.0)
    assert (manager.nodes["a"].load, manager.nodes["a"].in_flight) == (0.0, 0)

"""The figures of reliability: the worked example, and each figure through the real manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events, scripted

if TYPE_CHECKING:
    from holdfast.testing import ManualClock

DAY = 86_400.0


def test_five_nodes_at_a_tenth_of_a_failure_a_day_fail_half_a_time_a_day(clock: ManualClock) -> None:
    """λ of the pool is the sum of its nodes'; MTBF is its inverse."""
    manager = hf.FailoverManager([hf.Node(str(n), print) for n in range(5)])
    for _ in range(10):
        clock.advance(10 * DAY)
        for name in manager.nodes:
            manager.report(name, ok=False)
            manager.report(name, ok=True)
    figures = manager.reliability()
    assert figures.failure_rate * DAY == pytest.approx(0.5)
    assert figures.mtbf == pytest.approx(2 * DAY)
    assert [n.failure_rate * DAY for n in figures.nodes.values()] == pytest.approx([0.1] * 5)
    assert figures.availability == 1.0
    assert figures.fault_tolerance == 1.0


def test_loads_of_20_and_100_are_a_balance_of_a_fifth() -> None:
    """The least load over the greatest, in attempts."""
    manager = hf.FailoverManager([hf.Node("a", lambda: 1), hf.Node("b", lambda: 2)])
    manager.disable("b")
    for _ in range(20):
        manager.call()
    manager.disable("a")
    manager.enable("b")
    for _ in range(100):
        manager.call()
    assert manager.reliability().balance == pytest.approx(0.2)


def test_47_of_50_failures_handled_are_an_efficiency_of_094() -> None:
    """A failed attempt is handled if its call ended well elsewhere: nobody saw it."""

    def fails() -> None:
        raise ConnectionError

    second = scripted(*["fine"] * 47, *[ConnectionError()] * 1, "fine")
    manager = hf.FailoverManager(
        [hf.Node("a", fails), hf.Node("b", second, tier=1)], breaker=None, retry=None, max_ejected=0.0
    )
    for _ in range(47):
        assert manager.call() == "fine"
    with pytest.raises(ConnectionError):  # the 48th at a, and one at b
        manager.call()
    manager.disable("b")
    with pytest.raises(ConnectionError):
        manager.call()
    figures = manager.reliability()
    assert figures.handling_efficiency == pytest.approx(0.94)
    assert figures.nodes["a"].handling_efficiency == pytest.approx(47 / 49)
    assert figures.nodes["b"].handling_efficiency == 0.0


def test_mean_times_and_availability(clock: ManualClock) -> None:
    """MTBF is time up per failure, MTTR time down per recovery, availability time up per time."""
    manager = hf.FailoverManager([hf.Node("a", print), hf.Node("b", print)])
    clock.advance(80.0)
    manager.report("a", ok=False)
    clock.advance(20.0)
    manager.report("a", ok=True)
    figures = manager.reliability()
    a, b = figures.nodes["a"], figures.nodes["b"]
    assert (a.mtbf, a.mttr, a.availability) == (80.0, 20.0, pytest.approx(0.8))
    assert (b.mtbf, b.mttr, b.availability) == (None, None, 1.0)
    assert figures.availability == pytest.approx(0.9)
    assert figures.mttr == 20.0


def test_fault_tolerance_counts_the_nodes_that_can_come_back(clock: ManualClock) -> None:
    """What an operator or a monitor has taken out does not come back without them."""
    manager = hf.FailoverManager([hf.Node(str(n), print) for n in range(4)])
    manager.disable("0")
    manager.report("1", ok=False)
    figures = manager.reliability()
    assert figures.fault_tolerance == 0.5
    assert [n.fault_tolerance for n in figures.nodes.values()] == [0.0, 0.0, 1.0, 1.0]


def test_fault_tolerance_falls_when_the_restarts_of_a_node_are_used_up(clock: ManualClock) -> None:
    """Until the window has moved on, or the node is back all the same."""
    alive: list[str] = ["b"]

    def restart(node: hf.Node) -> bool:
        return False

    def probe(node: hf.Node) -> bool:
        return node.name in alive

    beat = hf.Heartbeat(1.0, failure_threshold=1, recovery_threshold=1, timeout=0.5, jitter=0.0, probe=probe)
    recovery = hf.Restart(restart, max_restarts=2, within=60.0, backoff=1.0)
    nodes = [hf.Node("a", print), hf.Node("b", print)]
    with (
        hf.FailoverManager(nodes, heartbeat=beat, recovery=recovery) as manager,
        record_events(manager) as told,
    ):
        for _ in range(20):
            clock.advance(0.25)
        assert told.kinds.count("restarts_exhausted") == 1
        figures = manager.reliability()
        assert (figures.fault_tolerance, figures.nodes["a"].fault_tolerance) == (0.5, 0.0)
        alive.append("a")
        clock.advance(2.0)
        assert manager.nodes["a"].state == "up"
        assert manager.reliability().fault_tolerance == 1.0


def test_before_anything_has_happened() -> None:
    """No figure is made up where nothing was seen."""
    figures = hf.FailoverManager([hf.Node("a", print)]).reliability()
    none: tuple[Any, ...] = (figures.mtbf, figures.mttr, figures.balance, figures.handling_efficiency)
    assert none == (None,) * 4
    assert figures.failure_rate == 0.0
    assert "Reliability(failure_rate=0" in repr(figures)


def test_a_node_that_joins_is_watched_from_then_on(clock: ManualClock) -> None:
    """The time before it came is not its time up."""
    manager = hf.FailoverManager([hf.Node("a", print)])
    clock.advance(100.0)
    manager.add_node(hf.Node("b", print))
    clock.advance(10.0)
    manager.report("b", ok=False)
    assert manager.reliability().nodes["b"].mtbf == pytest.approx(10.0)

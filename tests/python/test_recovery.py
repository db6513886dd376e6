"""Restarts: when, how often, in which order, and what is told of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from holdfast.testing import ManualClock


class World:
    """Nodes that are alive or not, and a hand that restarts them."""

    def __init__(self, *names: str, cure: bool = True) -> None:
        self.alive = dict.fromkeys(names, True)
        self.did: list[str] = []
        self.cure = cure

    def probe(self, node: hf.Node) -> bool:
        return self.alive[node.name]

    def restart(self, node: hf.Node) -> None:
        self.did.append(f"restart {node.name}")
        self.alive[node.name] = self.cure

    def sync(self, node: hf.Node) -> None:
        self.did.append(f"sync {node.name}")

    def manager(self, recovery: Any, **fields: Any) -> hf.FailoverManager:
        beat = hf.Heartbeat(1.0, failure_threshold=2, timeout=0.5, jitter=0.0, probe=self.probe)
        nodes = [hf.Node(name, lambda: "fine") for name in self.alive]
        return hf.FailoverManager(nodes, heartbeat=beat, recovery=recovery, **fields)


def passes(clock: ManualClock, seconds: float, step: float = 0.25) -> None:
    for _ in range(int(seconds / step)):
        clock.advance(step)


def test_a_node_that_is_down_is_restarted_brought_up_to_date_and_probed(clock: ManualClock) -> None:
    """Every step is an event, the five of an outage among them, once each and in order."""
    world = World("a", "b")
    with world.manager(hf.Restart(world.restart, sync_state=world.sync)) as manager:
        clock.advance(0.5)
        with record_events(manager) as events:
            world.alive["a"] = False
            passes(clock, 6)
            assert manager.nodes["a"].state == "up"
            told = [e.kind for e in events if e.kind != "heartbeat_missed"]
    assert world.did == ["restart a", "sync a"]
    assert told == [
        "node_suspected", "node_marked_failed", "failover_started", "failover_completed", "recovery_started",
        "restart_attempted", "restart_completed", "state_synced", "recovery_completed",
    ]  # fmt: skip
    assert manager.metrics.recoveries == 1


def test_coroutines_restart_on_the_loop_that_entered_the_manager() -> None:
    """Both colours, as everywhere."""
    loops: list[Any] = []
    done = asyncio.Event()

    async def restart(node: hf.Node) -> None:
        loops.append(asyncio.get_running_loop())

    async def sync(node: hf.Node) -> None:
        loops.append(asyncio.get_running_loop())
        done.set()

    async def main() -> None:
        recovery = hf.Restart(restart, sync_state=sync)
        async with hf.FailoverManager([hf.Node("a", print)], recovery=recovery) as manager:
            manager.report("a", ok=False)
            await asyncio.wait_for(done.wait(), 10)
            assert loops == [asyncio.get_running_loop()] * 2

    asyncio.run(main())


def test_restarts_are_bounded_in_a_window_and_spaced(clock: ManualClock) -> None:
    """Three in sixty seconds and no more; what is left is told; the window frees itself."""
    world = World("a", cure=False)
    recovery = hf.Restart(world.restart, max_restarts=3, within=60.0, backoff=2.0)
    with world.manager(recovery) as manager, record_events(manager) as events:
        world.alive["a"] = False
        passes(clock, 40)
        assert world.did == ["restart a"] * 3
        kinds = [e.kind for e in events]
        assert kinds.count("restart_attempted") == 3
        assert kinds.count("restart_failed") == 3
        assert {(e.step, e.error) for e in events if e.kind == "restart_failed"} == {("probe", "answered no")}
        (exhausted,) = [e for e in events if e.kind == "restarts_exhausted"]
        assert (exhausted.restarts, exhausted.within) == (3, 60.0)
        world.cure = True
        passes(clock, 40)
        assert world.did == ["restart a"] * 4
        assert manager.nodes["a"].state == "up"


@pytest.mark.parametrize("how", ["raises", "says no"])
def test_a_restart_that_fails_is_told_and_tried_again(clock: ManualClock, how: str) -> None:
    """The word is the exception's type, never its message."""
    tries: list[str] = []

    def restart(node: hf.Node) -> object:
        tries.append(node.name)
        if len(tries) > 1:
            return True
        if how == "raises":
            raise PermissionError("token=secret")
        return False

    manager = hf.FailoverManager([hf.Node("a", print)], recovery=hf.Restart(restart, backoff=1.0))
    with manager, record_events(manager) as events:
        manager.report("a", ok=False)
        passes(clock, 3)
        failed = [e for e in events if e.kind == "restart_failed"]
    assert tries == ["a", "a"]
    assert [(e.step, e.error) for e in failed] == [
        ("restart", "PermissionError" if how == "raises" else "answered no")
    ]


def test_an_operator_s_will_is_not_overridden(clock: ManualClock) -> None:
    """A node that is disabled or draining is left alone until it is enabled."""
    world = World("a", "b")
    with world.manager(world.restart) as manager:
        manager.disable("a")
        manager.drain("b")
        world.alive.update(a=False, b=False)
        passes(clock, 8)
        assert world.did == []
        manager.enable("a")
        passes(clock, 8)
        assert world.did == ["restart a"]


def test_a_report_is_restarted_once_and_taken_back_by_its_monitor_only(clock: ManualClock) -> None:
    """P8: a good probe does not clear what an outside monitor has said."""
    world = World("a", "b")
    with world.manager(world.restart) as manager:
        clock.advance(0.5)
        manager.report("a", ok=False, reason="smoke")
        passes(clock, 60, step=1.0)
        assert world.did == ["restart a"]
        assert not manager.nodes["a"].ready
        manager.report("a", ok=True)
        assert manager.nodes["a"].ready


def test_a_manager_without_recovery_restarts_nobody(clock: ManualClock) -> None:
    """And one whose `Restart` has no way leaves plain nodes alone."""
    world = World("a")
    for recovery in (None, hf.Restart()):
        with (
            world.manager(recovery) as manager,
            record_events(manager, kinds=["restart_attempted"]) as events,
        ):
            world.alive["a"] = False
            passes(clock, 5)
            assert events.kinds == []
            world.alive["a"] = True
            passes(clock, 5)


def test_a_node_that_joins_is_restarted_too(clock: ManualClock) -> None:
    """`add_node` gives it the manager's recovery."""
    world = World("a")
    with world.manager(world.restart) as manager:
        world.alive["b"] = True
        manager.add_node(hf.Node("b", print))
        clock.advance(0.5)
        world.alive["b"] = False
        passes(clock, 8)
        assert world.did == ["restart b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_restarts", 0), ("within", 0), ("timeout", -1), ("sync_state", 5), ("restart", 5)],
)
def test_a_field_that_breaks_its_rule_is_named(field: str, value: Any) -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        hf.Restart(**{field: value})
    assert refused.value.field == field


def test_what_is_no_recovery_is_refused() -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        hf.FailoverManager([hf.Node("a", print)], recovery=5)  # type: ignore[arg-type]
    assert refused.value.field == "recovery"

"""Failover: where calls go, what an outage tells, and what an operator may do under load."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS, Worker
from holdfast.testing import record_events, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour
    from holdfast.testing import ManualClock

FIVE = [
    "node_marked_failed",
    "failover_started",
    "failover_completed",
    "recovery_started",
    "recovery_completed",
]


def nodes(**targets: Callable[..., Any]) -> list[hf.Node]:
    return [hf.Node(name, target) for name, target in targets.items()]


def names(*listed: str, colour: Colour = COLOURS[0], **fields: Any) -> list[hf.Node]:
    """Nodes that answer with their own names."""
    return [hf.Node(name, colour.make(lambda *_, name=name: name), **fields) for name in listed]


class Switch:
    """A target that fails while it is off."""

    def __init__(self, name: str = "on") -> None:
        self.name = name
        self.on = True
        self.calls = 0

    def __call__(self, *_args: Any) -> str:
        self.calls += 1
        if not self.on:
            raise ConnectionError(f"{self.name} is off")
        return self.name


# ---- picking ----


def test_round_robin_is_fair_and_starts_with_the_first(colour: Colour) -> None:
    """Ready nodes are asked in turn, beginning with the first, each as often as any other."""
    manager = hf.FailoverManager(names("a", "b", "c", colour=colour))
    answers = [colour.run(getattr(manager, colour.door)) for _ in range(9)]
    assert answers == ["a", "b", "c"] * 3


def test_round_robin_is_fair_to_many_threads() -> None:
    """Under four threads each of three nodes gets exactly a third."""
    manager = hf.FailoverManager(names("a", "b", "c"))
    workers = [Worker(lambda: [manager.call() for _ in range(300)]) for _ in range(4)]
    assert Counter(name for worker in workers for name in worker.outcome()) == {"a": 400, "b": 400, "c": 400}


def test_a_higher_tier_is_asked_only_when_no_lower_node_is_ready() -> None:
    """Tiers come before turns: the second tier serves while the first is out, and hands back."""
    first = Switch("first")
    manager = hf.FailoverManager(
        [hf.Node("spare", lambda: "spare", tier=1), hf.Node("first", first)],
        breaker=None,
    )
    assert [manager.call() for _ in range(3)] == ["first"] * 3
    manager.report("first", ok=False, reason="maintenance")
    assert [manager.call() for _ in range(3)] == ["spare"] * 3
    manager.report("first", ok=True)
    assert [manager.call() for _ in range(3)] == ["first"] * 3


def test_a_single_node_is_a_pool_too(clock: ManualClock) -> None:
    """One node fails, opens its breaker, refuses, and comes back."""
    switch = Switch()
    manager = hf.FailoverManager(
        [hf.Node("only", switch)],
        breaker=hf.CircuitBreaker(failure_threshold=2, success_threshold=1, open_timeout=10.0),
        exhausted="fail_fast",
    )
    switch.on = False
    for _ in range(2):
        with pytest.raises(ConnectionError):
            manager.call()
    with pytest.raises(hf.NoNodeReady):
        manager.call()
    assert switch.calls == 2
    switch.on = True
    clock.advance(10.0)
    assert manager.call() == "on"
    assert manager.nodes["only"].state == "up"


def test_each_node_has_a_breaker_of_its_own_named_after_both() -> None:
    """The template is copied per node: one node's failures are not the other's, and not the template's."""
    template = hf.CircuitBreaker("template", failure_threshold=1)
    bad = Switch()
    bad.on = False
    manager = hf.FailoverManager(nodes(bad=bad, good=Switch()), name="chain", breaker=template)
    assert manager.call() == "on"
    assert (manager.node_breaker("bad").state, manager.node_breaker("good").state) == ("open", "closed")
    assert template.state == "closed"
    assert template.metrics.calls == 0
    assert manager.node_breaker("bad").name in ("template/bad", "chain/bad")


# ---- the story of an outage ----


def test_an_outage_found_by_its_breaker_tells_five_events_in_order(clock: ManualClock) -> None:
    """Traffic alone opens the breaker, marks the node, moves away, probes and comes back: each told once."""
    a, b = Switch("a"), Switch("b")
    manager = hf.FailoverManager(
        nodes(a=a, b=b), breaker=hf.CircuitBreaker(failure_threshold=2, success_threshold=2, open_timeout=5.0)
    )
    with record_events(manager, kinds=FIVE) as events:
        a.on = False
        assert [manager.call() for _ in range(8)] == ["b"] * 8
        clock.advance(5.0)
        assert {manager.call() for _ in range(4)} == {"b"}  # its probe fails: still the same outage
        a.on = True
        clock.advance(5.0)
        for _ in range(8):
            manager.call()
        assert events.kinds == FIVE
        assert {event.node for event in events} == {"a"}
        assert events.events[0].reason == "breaker"
        assert events.events[2].to_node == "b"
        assert events.events[4].downtime == 10.0
    metrics = manager.metrics
    assert (metrics.failures, metrics.recoveries, metrics.mean_recovery_time) == (1, 1, 10.0)
    assert metrics.recovery_success_rate == 1.0


def test_an_outage_told_by_a_report_tells_five_events_in_order(clock: ManualClock) -> None:
    """An outside monitor's word marks the node at once; taking it back ends the outage. Repeats change nothing."""
    manager = hf.FailoverManager(names("a", "b"))
    with record_events(manager, kinds=FIVE) as events:
        for _ in range(3):
            manager.report("a", ok=False, reason="disk full")
        assert {manager.call() for _ in range(4)} == {"b"}
        clock.advance(7.0)
        for _ in range(3):
            manager.report("a", ok=True)
        assert events.kinds == FIVE
        assert events.events[0].reason == "report: disk full"
        assert events.events[4].downtime == 7.0
    assert {manager.call() for _ in range(4)} == {"a", "b"}


def test_a_report_is_not_outvoted_by_traffic() -> None:
    """A node that a monitor has convicted is not acquitted by its breaker's good calls (P8)."""
    manager = hf.FailoverManager(names("a", "b"))
    manager.report("a", ok=False)
    for _ in range(10):
        assert manager.call() == "b"
    assert manager.nodes["a"].state == "down"


def test_every_node_out_is_told_and_so_is_each_return(clock: ManualClock) -> None:
    """When nobody is left there is no new home until one comes back; then both outages complete."""
    manager = hf.FailoverManager(names("a", "b"), exhausted="fail_fast")
    with record_events(manager, kinds=FIVE) as events:
        manager.report("a", ok=False)
        manager.report("b", ok=False)
        with pytest.raises(hf.NoNodeReady):
            manager.call()
        manager.report("a", ok=True)
        manager.report("b", ok=True)
        for node in "ab":
            assert [event.kind for event in events if event.node == node] == FIVE


# ---- nobody ready ----


def out(**fields: Any) -> hf.FailoverManager:
    """A manager whose only node's breaker has just opened for 10 s."""
    switch = Switch()
    switch.on = False
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=10.0)
    manager = hf.FailoverManager([hf.Node("only", switch)], breaker=breaker, **fields)
    with pytest.raises(ConnectionError):
        manager.call()
    switch.on = True
    return manager


def test_fail_fast_refuses_at_once(clock: ManualClock) -> None:
    """`exhausted="fail_fast"` raises `NoNodeReady` with the time after which it is worth asking."""
    with pytest.raises(hf.NoNodeReady) as caught:
        out(exhausted="fail_fast", name="pool", timeout=60.0).call()
    assert caught.value.retry_after == pytest.approx(10.0)
    assert (caught.value.reason, caught.value.source) == ("no_node_ready", "pool")


async def test_wait_waits_for_the_earliest_node_within_the_deadline(clock: ManualClock) -> None:
    """`exhausted="wait"` waits until the breaker lets a probe through, if the deadline allows it."""
    switch = Switch()
    switch.on = False

    async def target() -> str:
        return switch()

    def make(timeout: float | None) -> hf.FailoverManager:
        breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=10.0)
        return hf.FailoverManager([hf.Node("only", target)], breaker=breaker, timeout=timeout)

    patient, hasty, endless = make(60.0), make(9.0), make(None)
    for manager in (patient, hasty, endless):
        with pytest.raises(ConnectionError):
            await manager.acall()
    switch.on = True
    for manager in (hasty, endless):
        with pytest.raises(hf.NoNodeReady):
            await manager.acall()
    task = asyncio.ensure_future(patient.acall())
    await clock.aadvance(9.9)
    assert not task.done()
    await clock.aadvance(0.2)
    assert await task == "on"


async def test_wait_notices_a_node_that_comes_early(clock: ManualClock) -> None:
    """A call that waits for an open breaker takes a node that an operator adds meanwhile."""

    async def fail() -> None:
        raise ConnectionError

    async def well() -> str:
        return "well"

    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=100.0)
    manager = hf.FailoverManager([hf.Node("bad", fail)], breaker=breaker, timeout=300.0)
    with pytest.raises(ConnectionError):
        await manager.acall()
    task = asyncio.ensure_future(manager.acall())
    await clock.aadvance(1.0)
    assert not task.done()
    manager.add_node(hf.Node("new", well))
    await clock.aadvance(1.0)
    assert task.done()
    assert await task == "well"


def test_try_anyway_asks_but_never_overrules_the_operator(clock: ManualClock) -> None:
    """`exhausted="try_anyway"` asks a node that is out; one that is disabled or draining it does not."""
    manager = out(exhausted="try_anyway")
    assert manager.call() == "on"
    for stop in (manager.disable, manager.drain):
        stop("only")
        with pytest.raises(hf.NoNodeReady):
            manager.call()
        manager.enable("only")
        assert manager.call() == "on"


def test_p16_a_refusal_explains_each_node(clock: ManualClock) -> None:
    """`NoNodeReady` and `explain()` say of each node why it is not ready, and until when."""
    bad = Switch()
    bad.on = False
    manager = hf.FailoverManager(
        [hf.Node("broken", bad), *names("off", "drained", "reported")],
        breaker=hf.CircuitBreaker(failure_threshold=1, open_timeout=30.0),
        exhausted="fail_fast",
    )
    manager.disable("off")
    manager.drain("drained")
    manager.report("reported", ok=False, reason="on fire")
    with pytest.raises(ConnectionError):
        manager.call()
    with pytest.raises(hf.NoNodeReady) as caught:
        manager.call()
    why = manager.explain()
    assert list(why) == ["broken", "off", "drained", "reported"]
    assert "open" in why["broken"]
    assert "30" in why["broken"]
    assert "disabled" in why["off"]
    assert "draining" in why["drained"]
    assert "report" in why["reported"]
    for name in why:
        assert name in str(caught.value)
    manager.enable("off")
    assert manager.explain()["off"] == "ready"
    assert manager.nodes["off"].ready
    assert not manager.nodes["drained"].ready


# ---- the operator ----


def test_p11_nodes_join_drain_and_leave_under_load_with_no_failed_call() -> None:
    """While four threads call, nodes are added, removed, drained, enabled and disabled; every call succeeds."""
    manager = hf.FailoverManager(names("steady", "x0"))
    stop = threading.Event()

    def load() -> int:
        done = 0
        while not stop.is_set():
            assert manager.call().startswith(("steady", "x"))
            done += 1
        return done

    workers = [Worker(load) for _ in range(4)]
    try:
        for n in range(1, 60):
            manager.add_node(names(f"x{n}")[0])
            manager.drain(f"x{n - 1}")
            manager.disable("steady")
            manager.enable("steady")
            manager.remove_node(f"x{n - 1}")
    finally:
        stop.set()
    assert sum(worker.outcome() for worker in workers) > 0
    assert sorted(manager.nodes) == ["steady", "x59"]
    assert manager.metrics.in_flight == 0
    assert manager.metrics.rejected == 0


def test_a_busy_node_may_be_removed_and_its_call_ends_as_it_would_have() -> None:
    """The call under way keeps its target; its name is free again at once."""
    entered, leave = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        leave.wait(10)
        return "slow"

    manager = hf.FailoverManager(nodes(slow=slow, quick=lambda: "quick"))
    busy = Worker(manager.call)
    assert entered.wait(10)
    manager.remove_node("slow")
    assert [manager.call() for _ in range(3)] == ["quick"] * 3
    manager.add_node(hf.Node("slow", lambda: "new"))
    leave.set()
    assert busy.outcome() == "slow"
    assert {manager.call() for _ in range(4)} == {"quick", "new"}
    assert manager.metrics.in_flight == 0


def test_a_draining_node_gets_no_new_call_and_tells_when_it_is_empty() -> None:
    """`node_drained` comes when the last call there has ended, not before; `enable` brings it back."""
    entered, leave = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        leave.wait(10)
        return "slow"

    manager = hf.FailoverManager(nodes(slow=slow, quick=lambda: "quick"))
    busy = Worker(manager.call)
    assert entered.wait(10)
    with record_events(manager, kinds=["node_drained"]) as events:
        manager.drain("slow")
        assert manager.nodes["slow"].state == "draining"
        assert [manager.call() for _ in range(3)] == ["quick"] * 3
        assert events.kinds == []
        leave.set()
        busy.outcome()
        assert [event.node for event in events] == ["slow"]
    manager.enable("slow")
    assert {manager.call() for _ in range(2)} == {"slow", "quick"}


def test_unknown_and_taken_names_are_refused() -> None:
    """Every door that takes a name refuses one that is not there; `add_node` one that is."""
    manager = hf.FailoverManager(names("a"))
    doors = [
        manager.remove_node,
        manager.drain,
        manager.enable,
        manager.disable,
        manager.beat,
        manager.node_breaker,
    ]
    doors.append(lambda name: manager.report(name, ok=False))
    for door in doors:
        with pytest.raises(hf.ConfigurationError) as caught:
            door("nobody")
        assert caught.value.field == "name"
    with pytest.raises(hf.ConfigurationError) as caught:
        manager.add_node(names("a")[0])
    assert caught.value.field == "name"


def test_nodes_is_a_picture_of_the_moment() -> None:
    """`manager.nodes` maps names to frozen views with the promised fields; looking changes nothing."""
    manager = hf.FailoverManager([hf.Node("a", scripted("fine"), weight=3.0, tier=2)])
    manager.call()
    view = manager.nodes["a"]
    assert (view.name, view.state, view.enabled, view.ready, view.in_flight) == ("a", "up", True, True, 0)
    assert (view.weight, view.tier, view.failures, view.recoveries) == (3.0, 2, 0, 0)
    assert view.latency is not None
    assert (view.last_error, view.not_before) == (None, None)
    with pytest.raises(TypeError):
        manager.nodes["a"] = view  # type: ignore[index]
    with pytest.raises(AttributeError):
        view.state = "down"  # type: ignore[misc]


# ---- colours ----


def test_a_target_of_another_colour_is_refused_by_name() -> None:
    """`call` on an async target and `acall` on a sync one say what to do, and blame no node."""

    async def afunction() -> str:
        return "a"

    sync = hf.FailoverManager(nodes(sync=lambda: "s"))
    other = hf.FailoverManager(nodes(other=afunction))
    with pytest.raises(hf.ConfigurationError, match="threads=True") as caught:
        other.call()
    assert caught.value.field == "target"
    with pytest.raises(hf.ConfigurationError, match="threads=True"):
        asyncio.run(await_it(sync.acall()))
    with pytest.raises(hf.ConfigurationError):
        list(other.stream())
    for manager in (sync, other):
        assert manager.metrics.failures == 0
        assert manager.metrics.in_flight == 0


async def await_it(thing: Any) -> Any:
    return await thing


def test_threads_true_lets_each_colour_call_the_other() -> None:
    """With `threads=True` sync targets are awaited in a thread, async ones run in a loop of their own."""
    where: list[str] = []

    def sync(x: int) -> int:
        where.append(threading.current_thread().name)
        return x

    async def afunction(x: int) -> int:
        await asyncio.sleep(0)
        where.append(threading.current_thread().name)
        return x

    assert asyncio.run(await_it(hf.FailoverManager(nodes(s=sync), threads=True).acall(1))) == 1
    assert hf.FailoverManager(nodes(a=afunction), threads=True).call(2) == 2

    async def inside_a_loop() -> int:
        return int(hf.FailoverManager(nodes(a=afunction), threads=True).call(3))

    assert asyncio.run(inside_a_loop()) == 3
    assert all(name != threading.current_thread().name for name in where)


def test_the_decorator_gives_the_node_first(colour: Colour) -> None:
    """`@manager` calls the function with the picked node before its own arguments, in every colour."""
    manager = hf.FailoverManager([hf.Node("a", "target a".upper), hf.Node("b", "target b".upper)])

    def ask(node: hf.Node, question: str, *, loud: bool = False) -> str:
        here = hf.current_attempt()
        assert here is not None
        assert here.node is node
        return f"{node.target()} {question} {loud}"

    guarded = manager(colour.make(ask))
    assert colour.run(guarded, "x") == "TARGET A x False"
    assert colour.run(lambda text: guarded(text, loud=True), "y") == "TARGET B y True"
    assert guarded.pipeline is manager
    assert guarded.metrics.calls == 2


class Client:
    manager = hf.FailoverManager([hf.Node("a", "a".upper)])

    @manager
    def ask(self: Any, node: Any = None) -> Any:  # the manager's node comes before `self`
        return type(self).__name__, type(node).__name__


def test_the_decorated_function_may_live_on_a_class() -> None:
    """As documented, the node is the first argument, before what binding adds."""
    assert Client().ask() == ("Node", "Client")


def test_two_managers_share_nothing_but_their_nodes() -> None:
    """One `Node` value in two managers has two breakers and two opinions."""
    switch = Switch()
    node = hf.Node("shared", switch)
    one, two = (hf.FailoverManager([node], breaker=1, exhausted="fail_fast") for _ in range(2))
    switch.on = False
    with pytest.raises(ConnectionError):
        one.call()
    switch.on = True
    with pytest.raises(hf.NoNodeReady):
        one.call()
    assert two.call() == "on"


# ---- waiting for readiness ----


def test_wait_ready_ends_when_nodes_are_ready() -> None:
    """It returns at once if they are, `False` after its time, and true when a node comes back meanwhile."""
    manager = hf.FailoverManager(names("a", "b"))
    assert manager.wait_ready()
    assert manager.wait_ready(2, timeout=0)
    assert not manager.wait_ready(3, timeout=0)
    manager.report("b", ok=False)
    assert not manager.wait_ready(2, timeout=0.02)
    waiting = Worker(lambda: manager.wait_ready(2, timeout=20))
    manager.report("b", ok=True)
    assert waiting.outcome() is True


async def test_await_ready_ends_when_nodes_are_ready() -> None:
    """The same awaited: the loop turns meanwhile, and cancelling it is possible."""
    manager = hf.FailoverManager(names("a", "b"))
    assert await manager.await_ready(2)
    manager.report("b", ok=False)
    assert not await manager.await_ready(2, timeout=0.02)
    waiting = asyncio.ensure_future(manager.await_ready(2, timeout=20))
    await asyncio.sleep(0)
    manager.report("b", ok=True)
    assert await waiting is True
    never = asyncio.ensure_future(manager.await_ready(3))
    await asyncio.sleep(0)
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never


def test_under_a_manual_clock_wait_ready_waits_manual_time(clock: ManualClock) -> None:
    """Its timeout passes when time is advanced, and not before."""
    manager = hf.FailoverManager(names("a"))
    manager.report("a", ok=False)
    waiting = Worker(lambda: manager.wait_ready(timeout=3600))
    for _ in range(36):
        assert waiting.is_alive()
        clock.advance(0.5)
    manager.report("a", ok=True)
    while waiting.is_alive():
        clock.advance(0.5)
        waiting.join(0.001)
    assert waiting.outcome() is True


def test_node_breakers_are_named_after_the_manager_or_their_template() -> None:
    """`<manager>/<node>`, unless the template was given a name of its own."""

    def fail() -> None:
        raise ConnectionError

    def opened(breaker: Any) -> list[str]:
        manager = hf.FailoverManager([hf.Node("a", fail)], name="chat", breaker=breaker)
        with record_events(kinds=["circuit_opened"]) as events, pytest.raises(ConnectionError):
            manager.call()
        return [event.source for event in events]

    assert opened(1) == ["chat/a"]
    assert opened(hf.CircuitBreaker(failure_threshold=1)) == ["chat/a"]
    assert opened(hf.CircuitBreaker("own", failure_threshold=1)) == ["own/a"]

"""Probes of every kind: native ones over real sockets, and functions and coroutines of the user's."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast._localserver import LocalServer
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing import ManualClock


def until(holds: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


def watched(probe: Any, *names: str, **fields: Any) -> hf.FailoverManager:
    beat: dict[str, Any] = {"interval": 0.05, "timeout": 0.2, "jitter": 0.0, "failure_threshold": 2}
    return hf.FailoverManager(
        [hf.Node(name, lambda name=name: name) for name in names or ("a",)],
        heartbeat=hf.Heartbeat(probe=probe, **(beat | fields)),
    )


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# ---- asked once, by hand ----


def test_a_native_probe_is_asked_by_calling_it() -> None:
    """`heartbeat.probe(node)` tells a server that answers from one that fails, and from none."""
    with LocalServer("alpha") as server:
        node = hf.Node("a", print, address=server.origin)
        beat = hf.Heartbeat(timeout=2.0, probe=hf.HttpProbe("/health"))
        assert beat.probe(node) is True
        assert hf.Heartbeat(probe=hf.TcpProbe()).probe(node) is True
        assert hf.HttpProbe("/nowhere")(node) is False
        nobody = hf.Node("b", print, address=f"http://127.0.0.1:{closed_port()}")
        assert beat.probe(nobody) is False
        assert hf.TcpProbe()(nobody) is False
        assert hf.TcpProbe(f"127.0.0.1:{server.port}")(nobody) is True, "its own address comes first"


async def probed(beat: hf.Heartbeat, node: hf.Node) -> bool:
    return await beat.aprobe(node)


def test_the_async_twin_leaves_the_loop_free() -> None:
    """`await heartbeat.aprobe(node)` waits natively: the loop turns meanwhile."""

    async def main() -> tuple[bool, int]:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            node = hf.Node("a", print, address=f"http://127.0.0.1:{silent.getsockname()[1]}")
            asked = asyncio.ensure_future(hf.Heartbeat(timeout=0.3, probe=hf.HttpProbe("/")).aprobe(node))
            turns = 0
            while not asked.done():
                await asyncio.sleep(0.01)
                turns += 1
            return await asked, turns

    answer, turns = asyncio.run(main())
    assert answer is False
    assert turns > 5


def test_the_async_twin_of_a_python_probe() -> None:
    """Functions and coroutines, good and bad, too slow ones included."""

    async def well(node: hf.Node) -> None:
        await asyncio.sleep(0)

    async def slow(node: hf.Node) -> None:
        await asyncio.sleep(60)

    def broken(node: hf.Node) -> None:
        raise ConnectionError

    node = hf.Node("a", print)
    probes: list[tuple[Any, bool]] = [
        (well, True), (slow, False), (broken, False), (lambda n: n.name == "a", True), (lambda _: False, False),
    ]  # fmt: skip
    for probe, answer in probes:
        assert asyncio.run(probed(hf.Heartbeat(timeout=0.1, probe=probe), node)) is answer


def test_a_heartbeat_s_probe_equals_the_one_it_was_given() -> None:
    """The patience that a heartbeat gives its probe is no field of the value."""
    probe = hf.HttpProbe("/health")
    assert hf.Heartbeat(timeout=1.0, probe=probe).probe == probe
    assert hf.Heartbeat(timeout=1.0, probe=hf.TcpProbe()).probe == hf.TcpProbe()


@pytest.mark.parametrize("probe", [5, "health", int])
def test_what_is_no_probe_is_refused(probe: Any) -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        hf.Heartbeat(probe=probe)
    assert refused.value.field == "probe"


def test_a_native_probe_without_an_address_is_refused() -> None:
    """It is said when the manager is made, not when the first beat fails."""
    with pytest.raises(hf.ConfigurationError, match="address"):
        watched(hf.TcpProbe())


# ---- as the probe of a heartbeat ----


def test_a_function_is_the_probe(clock: ManualClock) -> None:
    """Raising and answering `False` are misses, anything else is a beat; the node is its argument."""
    answers: dict[str, Any] = {"a": None, "b": True}
    asked: list[str] = []

    def probe(node: hf.Node) -> Any:
        asked.append(node.name)
        answer = answers[node.name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    manager = watched(probe, "a", "b", interval=1.0)
    with manager, record_events(manager) as events:
        clock.advance(0.5)
        assert sorted(asked) == ["a", "b"]
        answers.update(a=ValueError("a secret"), b=False)
        clock.advance(2.0)
        assert {name: view.state for name, view in manager.nodes.items()} == {"a": "down", "b": "down"}
        missed = {event.node: event.reason for event in events if event.kind == "heartbeat_missed"}
        assert missed == {"a": "ValueError", "b": "answered no"}
        answers.update(a=None, b="fine")
        clock.advance(2.0)
        assert [view.state for view in manager.nodes.values()] == ["up", "up"]


def test_an_async_function_runs_on_the_loop_that_entered_the_manager() -> None:
    """And on a loop of ours where none has."""
    loops: list[Any] = []

    async def probe(node: hf.Node) -> None:
        loops.append(asyncio.get_running_loop())
        if len(loops) == 3:
            enough.set()

    enough = asyncio.Event()

    async def main() -> None:
        async with watched(probe):
            await asyncio.wait_for(enough.wait(), 10)
        assert set(loops) == {asyncio.get_running_loop()}

    asyncio.run(main())
    loops.clear()
    with watched(probe):
        until(lambda: len(loops) >= 3, "beats without a loop of the user's")
    assert len(set(loops)) == 1


def test_a_probe_that_takes_too_long_is_missed_and_not_piled_up() -> None:
    """A function cannot be interrupted: it runs at most once at a time, and holds up no other node's probe."""
    running: list[str] = []
    most: list[int] = []
    release = threading.Event()

    def probe(node: hf.Node) -> None:
        if node.name == "a":
            running.append(node.name)
            most.append(len(running))
            release.wait(20)
            running.remove(node.name)

    manager = watched(probe, "a", "b")
    with manager, record_events(manager) as events:
        until(lambda: manager.nodes["a"].state == "down", "a is given up")
        until(lambda: len([e for e in events if e.kind == "heartbeat_missed"]) > 4, "it is missed on and on")
        assert manager.nodes["b"].state == "up"
        assert {e.reason for e in events if e.kind == "heartbeat_missed"} == {"timeout"}
        release.set()
        until(lambda: manager.nodes["a"].state == "up", "a is back")
    assert max(most) == 1


def test_an_async_probe_that_takes_too_long_is_cancelled() -> None:
    """Unlike a function, a coroutine can be ended."""
    ended: list[str] = []

    async def probe(node: hf.Node) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(node.name)

    with watched(probe) as manager:
        until(lambda: manager.nodes["a"].state == "down", "a is given up")
        until(lambda: len(ended) >= 2, "its probes are cancelled")


def test_p6_a_stalled_event_loop_convicts_nobody() -> None:
    """P6: while the user's code holds the loop, ready results do not turn into timeouts."""

    async def probe(node: hf.Node) -> None:
        await asyncio.sleep(0.01)

    async def main() -> list[str]:
        async with watched(probe, failure_threshold=1) as manager:
            with record_events(manager) as events:
                await asyncio.sleep(0.2)
                for _ in range(3):
                    time.sleep(1.0)
                    await asyncio.sleep(0.05)
                return events.kinds

    assert asyncio.run(main()) == []


def test_r1_a_listener_that_blocks_does_not_hold_up_probes() -> None:
    """Listeners and probes run on different threads."""
    asked: list[float] = []
    release = threading.Event()
    with watched(lambda _: asked.append(time.monotonic())) as manager:
        stop = manager.subscribe(lambda _: release.wait(10))
        manager.add_node(hf.Node("b", print))
        before = len(asked)
        until(lambda: len(asked) > before + 10, "probes while a listener blocks")
        release.set()
        stop()


STARVED = """
import contextlib, os, resource, sys, time
import holdfast as hf
from holdfast._localserver import ServerProcess

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with ServerProcess("alpha") as server:
    nodes = [
        hf.Node(kind, print, address=server.origin, heartbeat=hf.Heartbeat(
            0.02, failure_threshold=1, recovery_threshold=1, jitter=0.0, timeout=5.0, probe=probe))
        for kind, probe in (("http", hf.HttpProbe("/health")), ("tcp", hf.TcpProbe()))
    ]
    with hf.FailoverManager(nodes) as manager:
        time.sleep(0.2)
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        time.sleep(0.4)
        starved = [view.failures for view in manager.nodes.values()]
        for number in taken:
            os.close(number)
        server.kill()
        end = time.monotonic() + 20
        while any(view.ready for view in manager.nodes.values()) and time.monotonic() < end:
            time.sleep(0.01)
        print(len(taken) > 50, starved, [view.state for view in manager.nodes.values()])
"""


def test_p6_want_of_sockets_of_our_own_convicts_nobody() -> None:
    """P6: without a file descriptor to ask by, no native probe blames its node; with one again, it does."""
    done = subprocess.run(
        [sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.returncode) == ("True [0, 0] ['down', 'down']\n", 0), done.stderr


def test_a_node_that_joins_is_asked_by_the_same_probe() -> None:
    """`add_node` gives it the manager's heartbeat; `heartbeat=False` keeps it out."""
    asked: set[str] = set()
    with watched(lambda node: asked.add(node.name)) as manager:
        manager.add_node(hf.Node("b", print))
        manager.add_node(hf.Node("c", print, heartbeat=False))
        until(lambda: asked >= {"a", "b"}, "the new node is asked")
        time.sleep(0.1)
        assert "c" not in asked


def test_r9_a_manager_in_a_cycle_with_its_probe_is_collected() -> None:
    """A probe that knows its manager keeps nobody alive."""

    class Owner:
        def __init__(self) -> None:
            self.manager = watched(self.probe)

        def probe(self, node: hf.Node) -> None:
            """Knows its manager."""

    owner = Owner()
    owner.manager.start()
    time.sleep(0.1)
    owner.manager.stop()
    gone = weakref.ref(owner)
    del owner
    until(lambda: gc.collect() >= 0 and gone() is None, "the owner is collected")


def test_r8_ctrl_c_ends_the_wait_for_a_probe() -> None:
    """A node that never answers does not hold a thread against Ctrl-C."""
    import _thread

    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = hf.Node("a", print, address=f"http://127.0.0.1:{silent.getsockname()[1]}")
        timer = threading.Timer(0.2, _thread.interrupt_main)
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            hf.Heartbeat(timeout=30.0, probe=hf.HttpProbe("/")).probe(node)
        assert time.monotonic() - began < 5.0

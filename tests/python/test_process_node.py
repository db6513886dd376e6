"""Nodes that are processes of ours: real ones, really killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = [sys.executable, "-m", "holdfast._localserver", "--forever", "--port", "{port}", "--name"]


def until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def server(name: str, **fields: Any) -> hf.ProcessNode:
    return hf.ProcessNode(
        [*SERVER, name], name=name, address="http://127.0.0.1:{port}", stdout=subprocess.DEVNULL, **fields
    )


def health(node: Any) -> int:
    with urllib.request.urlopen(f"{node.address}/health", timeout=5) as answer:
        return int(answer.status)


def test_a_killed_process_is_found_and_restarted_by_itself() -> None:
    """Restart of the failed component works out of the box: no `recovery=` is needed."""
    beat = hf.Heartbeat(0.1, jitter=0.0, timeout=2.0, probe=hf.HttpProbe("/health"))
    manager = hf.FailoverManager([server("a"), server("b")], heartbeat=beat)
    ask = manager(health)
    with manager, record_events(manager) as events:
        assert manager.wait_ready(2, timeout=20)
        assert [ask(), ask()] == [200, 200]
        node = manager._processes._nodes[0]
        first = node.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: "recovery_completed" in events.kinds, "it recovers")
        assert node.pid not in (None, first)
        marked = next(e for e in events if e.kind == "node_marked_failed")
        assert (marked.node, marked.reason) == ("a", "report: process was ended by SIGKILL")
        assert [ask() for _ in range(4)] == [200] * 4
        pids = [node.pid for node in manager._processes._nodes]
    assert not any(alive(pid) for pid in pids if pid is not None)


def test_it_can_be_started_and_stopped_by_hand() -> None:
    """`with node:`, `start`, `restart`, `stop`; each is idempotent."""
    node = server("a")
    assert (node.running, node.pid) == (False, None)
    with node:
        first = node.pid
        assert health(node) == 200
        assert node.start().pid == first
        node.restart()
        assert node.pid not in (None, first)
        assert health(node) == 200
        last = node.pid
    assert last is not None
    assert not alive(last)
    node.stop()


def test_a_process_that_ends_at_once_is_an_error_with_its_end() -> None:
    """And one that never listens is stopped."""
    with pytest.raises(RuntimeError, match="ended with code 3"):
        hf.ProcessNode([sys.executable, "-c", "raise SystemExit(3)"], address="127.0.0.1:{port}").start()
    deaf = hf.ProcessNode(
        [sys.executable, "-c", "import time; time.sleep(60)"], address="127.0.0.1:{port}", start_timeout=0.3
    )
    with pytest.raises(TimeoutError):
        deaf.start()
    assert not deaf.running


def test_a_manager_starts_although_a_process_cannot_be_started(caplog: pytest.LogCaptureFixture) -> None:
    """Its node is marked failed, and the others work."""
    broken = hf.ProcessNode(
        [sys.executable, "-c", "raise SystemExit(3)"], name="broken", address="127.0.0.1:{port}"
    )
    manager = hf.FailoverManager(
        [broken, hf.Node("fine", lambda: "fine")], recovery=hf.Restart(max_restarts=1, backoff=60.0)
    )
    with manager:
        assert not manager.nodes["broken"].ready
        assert manager.call() == "fine"
    assert "ended with code 3" in caplog.text


PARENT = """
import subprocess, sys, time
import holdfast as hf
from holdfast import _child
{setup}
node = hf.ProcessNode([sys.executable, "-c", "import time; time.sleep(600)"])
node.start()
print(node.pid, flush=True)
{end}
"""
KEEPER = "spawn = _child._spawn\n_child._spawn = lambda argv, streams: spawn(argv, streams, leash=False)"
ENDS = {
    "SIGKILL": "time.sleep(600)",
    "an ordinary end": "",
    "an exception": "raise SystemExit(5)",
    "os._exit": "import os; os._exit(0)",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "setup", ["" if sys.platform == "linux" else KEEPER, KEEPER], ids=["leash", "keeper"]
)
def test_a_child_never_outlives_its_parent(end: str, setup: str) -> None:
    """However the parent ends, and by either way of holding the child."""
    code = PARENT.format(setup=setup, end=ENDS[end])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if end == "SIGKILL":  # any other parent is about to end by itself, and its child with it
            assert alive(pid)
            parent.kill()
    until(lambda: not alive(pid), "the child is gone")


def test_a_process_node_is_no_value_to_be_copied() -> None:
    """It equals itself only, does not pickle, and shows no argument."""
    node = hf.ProcessNode([sys.executable, "--token", "secret"], name="a")
    assert node == node
    assert node != hf.ProcessNode([sys.executable, "--token", "secret"], name="a")
    assert "secret" not in repr(node)
    with pytest.raises(TypeError):
        pickle.dumps(node)


def test_a_target_is_needed_for_calls_without_a_function_of_ones_own() -> None:
    """`manager.call()` needs something to call."""
    for node in (hf.ProcessNode([sys.executable], name="a"), hf.Node("a", address="http://127.0.0.1:9")):
        manager = hf.FailoverManager([node])
        with pytest.raises(hf.ConfigurationError, match="target") as refused:
            manager.call()
        assert refused.value.field == "target"
        assert manager(lambda node: node.name)() == "a"
    assert pickle.loads(pickle.dumps(node)) == node == hf.Node("a", address="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("argv", {"argv": []}),
        ("argv", {"argv": "python server.py"}),
        ("argv", {"argv": ["no-such-program-here"]}),
        ("address", {"argv": [sys.executable], "address": "nowhere"}),
        ("start_timeout", {"argv": [sys.executable], "start_timeout": -1}),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field: str, fields: dict[str, Any]) -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        hf.ProcessNode(**fields)
    assert refused.value.field == field

"""Life of a heartbeat: ticker → who is due → native probe → detector → node → event → listeners.

Over a real HTTP server on loopback, and with time moved by hand: the ticker, the probe and the delivery of
events are the real ones, only their clock is ours.
"""

from __future__ import annotations

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest

import holdfast as hf
from holdfast.testing import record_events, scripted

if TYPE_CHECKING:
    from holdfast.testing import ManualClock

FIVE = [
    "node_marked_failed",
    "failover_started",
    "failover_completed",
    "recovery_started",
    "recovery_completed",
]


class Server:
    """An HTTP server that answers `/health` with its status, counts, and can be killed and started again."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.port = 0
        self.asked: list[tuple[str, str, str | None]] = []
        self.http: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                server.asked.append((self.command, self.path, self.headers.get("x-key")))
                self.send_response(server.status)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_HEAD = answer  # noqa: N815  # the names that http.server calls

            def log_message(self, *_args: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def kill(self) -> None:
        if self.http is not None:
            self.http.shutdown()
            self.http.server_close()
            self.http = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def heartbeat(**fields: Any) -> hf.Heartbeat:
    standard: dict[str, Any] = {
        "interval": 1.0,
        "timeout": 0.5,
        "jitter": 0.0,
        "probe": hf.HttpProbe("/health"),
    }
    return hf.Heartbeat(**(standard | fields))


def test_life_of_a_heartbeat(clock: ManualClock) -> None:
    """A provider is killed and started again: found, told, left, found again, told, used again."""
    with Server() as alpha, Server() as beta:
        manager = hf.FailoverManager(
            [
                hf.Node("alpha", lambda: "alpha", address=alpha.origin),
                hf.Node("beta", lambda: "beta", address=beta.origin),
            ],
            heartbeat=heartbeat(failure_threshold=3, recovery_threshold=2),
        )
        with record_events(manager) as events, manager:
            # Each node is asked at once, then once per interval.
            clock.advance(0.0)
            assert (len(alpha.asked), len(beta.asked)) == (1, 1)
            clock.advance(2.0)
            assert alpha.asked == [("GET", "/health", None)] * 3
            assert events.kinds == []

            # alpha is killed. One miss makes it suspect, and it is still asked.
            alpha.kill()
            clock.advance(1.0)
            assert events.kinds == ["heartbeat_missed", "node_suspected"]
            assert manager.nodes["alpha"].state == "suspect"
            assert {manager.call() for _ in range(4)} == {"alpha", "beta"}

            # The third miss marks it failed, and its traffic moves to beta: within three intervals.
            clock.advance(2.0)
            assert events.kinds[2:] == ["heartbeat_missed", "heartbeat_missed", *FIVE[:3]]
            assert events.events[-1].to_node == "beta"
            assert manager.nodes["alpha"].state == "down"
            assert {manager.call() for _ in range(4)} == {"beta"}
            assert "heartbeat" in manager.explain()["alpha"]

            # It is started again: one answer is a sign of life, the second one brings it back.
            alpha.start()
            clock.advance(1.0)
            assert events.kinds[-1] == "recovery_started"
            assert manager.nodes["alpha"].state == "recovering"
            assert {manager.call() for _ in range(4)} == {"beta"}
            clock.advance(1.0)
            assert events.kinds[-1] == "recovery_completed"
            assert events.events[-1].downtime == 2.0
            assert manager.nodes["alpha"].state == "up"
            assert {manager.call() for _ in range(4)} == {"alpha", "beta"}

        # The five events came once, in order, and nothing after `stop`.
        assert [event.kind for event in events if event.kind in FIVE] == FIVE
        asked = len(beta.asked)
        clock.advance(10.0)
        assert len(beta.asked) == asked
    metrics = manager.metrics
    assert (metrics.failures, metrics.recoveries, metrics.mean_recovery_time) == (1, 1, 2.0)


def test_a_bad_status_is_a_miss_and_says_so(clock: ManualClock) -> None:
    """What is not in `expect` is a miss whose reason names the status; method and headers are the user's."""
    with Server(status=503) as server:
        probe = hf.HttpProbe("/health?deep=1", method="HEAD", headers={"x-key": "secret"})
        manager = hf.FailoverManager(
            [hf.Node("a", lambda: "a", address=server.origin)],
            heartbeat=heartbeat(probe=probe, failure_threshold=1),
        )
        with record_events(manager) as events, manager:
            clock.advance(0.0)
            assert server.asked == [("HEAD", "/health?deep=1", "secret")]
            assert events.events[0].reason == "status 503"
            assert "secret" not in repr(events.events) + repr(probe) + str(manager.explain())


def test_a_server_that_does_not_answer_is_a_miss_after_the_timeout(clock: ManualClock) -> None:
    """A node that accepts and stays silent is missed when its time is over, not before."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        manager = hf.FailoverManager(
            [hf.Node("a", lambda: "a", address=address)], heartbeat=heartbeat(interval=10.0, timeout=3.0)
        )
        with record_events(manager, kinds=["heartbeat_missed"]) as events, manager:
            clock.advance(2.0)
            assert events.kinds == []
            clock.advance(1.0)
            assert [event.reason for event in events] == ["timeout"]


def test_the_heartbeat_starts_with_the_first_call_and_not_with_the_decoration(clock: ManualClock) -> None:
    """Neither making a manager nor decorating with it asks anybody; the first call does."""
    with Server() as server:
        manager = hf.FailoverManager(
            [hf.Node("a", "a".upper, address=server.origin)], heartbeat=heartbeat(interval=5.0)
        )

        @manager
        def ask(node: hf.Node) -> Any:
            return node.target()

        clock.advance(20.0)
        assert server.asked == []
        assert ask() == "A"
        clock.advance(5.0)
        assert len(server.asked) == 2
        manager.stop()


def test_what_a_heartbeat_finds_is_logged_though_nobody_listens_or_calls(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Started by `start()` alone, its changes of state reach the logger `holdfast`."""
    with Server() as server, caplog.at_level(logging.INFO, "holdfast"):
        manager = hf.FailoverManager(
            [hf.Node("a", lambda: "a", address=server.origin)],
            name="quiet",
            heartbeat=heartbeat(failure_threshold=1),
        )
        manager.start()
        clock.advance(0.0)
        server.kill()
        clock.advance(1.0)
        patience = time.monotonic() + 10
        while "quiet: node marked failed" not in caplog.text and time.monotonic() < patience:
            time.sleep(0.001)
        assert "quiet: node marked failed (node a, reason heartbeat)" in caplog.text
        manager.stop()


def test_a_manager_that_nobody_keeps_ends_its_own_heartbeat(clock: ManualClock) -> None:
    """Dropping the last reference to a manager ends its questions without a `stop`."""
    import gc

    with Server() as server:
        manager = hf.FailoverManager(
            [hf.Node("a", lambda: "a", address=server.origin)], heartbeat=heartbeat()
        )
        manager.start()
        clock.advance(3.0)
        asked = len(server.asked)
        assert asked == 4
        del manager
        gc.collect()
        clock.advance(10.0)
        assert len(server.asked) == asked


def test_nodes_join_and_leave_a_beating_manager(clock: ManualClock) -> None:
    """A new node is asked at once, a removed one no more, and one with `heartbeat=False` never."""
    with Server() as one, Server() as two, Server() as three:
        manager = hf.FailoverManager([hf.Node("one", lambda: "1", address=one.origin)], heartbeat=heartbeat())
        with manager:
            clock.advance(1.0)
            manager.add_node(hf.Node("two", lambda: "2", address=two.origin))
            manager.add_node(hf.Node("three", lambda: "3", address=three.origin, heartbeat=False))
            clock.advance(0.0)
            assert (len(one.asked), len(two.asked), len(three.asked)) == (2, 1, 0)
            manager.remove_node("one")
            clock.advance(3.0)
            assert (len(one.asked), len(two.asked), len(three.asked)) == (2, 4, 0)


def test_a_node_that_tells_its_own_beat_is_heard(clock: ManualClock) -> None:
    """`manager.beat(name)` counts as a sign of life."""
    manager = hf.FailoverManager(
        [hf.Node("a", lambda: "a", address="http://127.0.0.1:9")],
        heartbeat=heartbeat(failure_threshold=1, recovery_threshold=1),
    )
    with record_events(manager, kinds=FIVE) as events, manager:
        clock.advance(0.0)
        assert manager.nodes["a"].state == "down"
        manager.beat("a")
        assert manager.nodes["a"].state == "up"
        assert [kind for kind in events.kinds if "recovery" in kind] == FIVE[3:]


@pytest.mark.parametrize("trusted", [False, True])
def test_p8_beats_clear_what_traffic_found_only_where_they_are_trusted(
    trusted: bool, clock: ManualClock
) -> None:
    """P8: `clears_traffic=True` closes the breaker after `recovery_threshold` answers; else only calls do."""
    beat = hf.Heartbeat(1.0, jitter=0.0, probe=lambda node: True, clears_traffic=trusted)
    targets = {"a": scripted(*[ConnectionError("down")] * 5, "a"), "b": lambda: "b"}
    nodes = [hf.Node(name, target) for name, target in targets.items()]
    breaker = hf.CircuitBreaker("b", failure_threshold=5, open_timeout=3600.0)
    manager = hf.FailoverManager(nodes, heartbeat=beat, breaker=breaker, max_ejected=0.0)
    with manager, record_events() as events:
        clock.advance(0.5)
        while manager.nodes["a"].state == "up":
            manager.call()
        clock.advance(10.0)
        kinds = [event.kind for event in events if getattr(event, "node", "a") == "a"]
        if trusted:
            assert kinds[-3:] == ["circuit_closed", "recovery_started", "recovery_completed"]
            assert manager.node_breaker("a").metrics.mean_recovery_time == pytest.approx(1.5)
        assert manager.nodes["a"].state == ("up" if trusted else "down")
        assert {manager.call() for _ in range(4)} == ({"a", "b"} if trusted else {"b"})


def test_p8_a_trusted_heartbeat_does_not_overrule_the_operator(clock: ManualClock) -> None:
    """B20: a breaker that was forced open stays so."""
    beat = hf.Heartbeat(1.0, jitter=0.0, probe=lambda node: True, clears_traffic=True)
    with hf.FailoverManager([hf.Node("a", print)], heartbeat=beat, exhausted="fail_fast") as manager:
        manager.node_breaker("a").force_open()
        for _ in range(3):
            with pytest.raises(hf.NoNodeReady):
                manager.call()
            clock.advance(10.0)
        assert manager.node_breaker("a").state == "forced_open"


def test_a_probe_needs_to_know_where() -> None:
    """A path without an address, and an address that is none, are refused when the manager is made."""
    for address in (None, "not a url", "ftp://127.0.0.1", "http://"):
        with pytest.raises(hf.ConfigurationError) as caught:
            hf.FailoverManager([hf.Node("a", lambda: "a", address=address)], heartbeat=heartbeat())
        assert caught.value.field in ("address", "url", "path_or_url")

"""A provider that is really killed: how soon it is found, and how soon it is back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import holdfast as hf
from holdfast._localserver import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.5
# What a busy machine may add to a probe and to the delivery of its event.
SLACK = 0.4


def wait_for(heard: list[hf.Event], wanted: Callable[[hf.Event], object], seconds: float = 20.0) -> hf.Event:
    end = time.monotonic() + seconds
    while not (found := [event for event in list(heard) if wanted(event)]):
        assert time.monotonic() < end, [event.kind for event in heard]
        time.sleep(0.01)
    return found[0]


def test_a_sigkill_is_found_within_three_intervals_and_the_restart_within_five_seconds() -> None:
    """Interval 0.5 s, 3 misses, 2 answers, open for 2 s, no jitter, with a real process and a real SIGKILL."""
    heard: list[hf.Event] = []
    with ServerProcess("alpha") as alpha, ServerProcess("beta") as beta:
        manager = hf.FailoverManager(
            [hf.Node(s.name, print, address=s.origin) for s in (alpha, beta)],
            heartbeat=hf.Heartbeat(
                INTERVAL, failure_threshold=3, recovery_threshold=2, timeout=2.0, jitter=0.0,
                probe=hf.HttpProbe("/health"),
            ),
            breaker=hf.CircuitBreaker(failure_threshold=3, open_timeout=2.0),
        )  # fmt: skip
        unsubscribe = manager.subscribe(heard.append)
        with manager:
            assert manager.wait_ready(2, timeout=10.0)
            time.sleep(INTERVAL)
            killed = datetime.now(UTC)
            alpha.kill()
            marked = wait_for(heard, lambda e: e.kind == "node_marked_failed")
            detection = seconds(killed, marked)
            assert 2 * INTERVAL - SLACK <= detection <= 3 * INTERVAL + SLACK
            assert (marked.node, marked.reason) == ("alpha", "heartbeat")
            alpha.start()
            restarted = datetime.now(UTC)
            recovered = wait_for(heard, lambda e: e.kind == "recovery_completed")
            assert seconds(restarted, recovered) <= 5.0
            assert manager.wait_ready(2, timeout=1.0)
        unsubscribe()


def seconds(since: datetime, event: Any) -> float:
    return float((event.at - since).total_seconds())

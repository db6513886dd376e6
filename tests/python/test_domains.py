"""Failures that belong to what nodes share: credentials, accounts, hosts (P12, P15, B18)."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import ManualClock


class HttpError(Exception):
    """An exception of the shape that clients raise."""

    def __init__(self, status: int, code: str | None = None, retry_after: str | None = None) -> None:
        super().__init__(f"status {status}")
        self.status_code = status
        self.code = code
        self.headers = {} if retry_after is None else {"retry-after": retry_after}


class Target:
    """A node's target that raises what it is told, and counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: Exception | None = None
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.name


def pool(**fields: Any) -> tuple[hf.FailoverManager, Target, Target, Target]:
    """Nodes a and b share a key and c has another; a is asked first."""
    a, b, c = Target("a"), Target("b"), Target("c")
    nodes = [
        hf.Node("a", a, domains=("key:1",)),
        hf.Node("b", b, domains=("key:1",)),
        hf.Node("c", c, domains=("key:2",)),
    ]
    return hf.FailoverManager(nodes, classify=hf.classify, breaker=None, **fields), a, b, c


@pytest.mark.parametrize(
    "error",
    [HttpError(429, "insufficient_quota"), HttpError(401), HttpError(429, retry_after="30")],
    ids=["quota", "credential", "rate"],
)
def test_p15_a_credentials_failure_takes_out_its_nodes_together(error: Exception) -> None:
    """What one node's key has run into is not tried again with the same key at another node."""
    manager, a, b, c = pool()
    a.error = error
    assert [manager.call() for _ in range(4)] == ["c"] * 4
    assert (a.calls, b.calls, c.calls) == (1, 0, 4)
    assert manager.explain()["b"].startswith("key:1 cools down for ")
    assert not manager.nodes["b"].ready
    assert manager.nodes["c"].ready


def test_b18_a_server_error_stays_with_its_endpoint() -> None:
    """A 5xx of one node leaves the others of its key in rotation."""
    manager, a, b, _ = pool()
    a.error = HttpError(500)
    assert {manager.call() for _ in range(6)} == {"b", "c"}
    assert b.calls >= 2
    assert manager.explain()["b"] == "ready"


def test_p12_a_later_longer_cooldown_is_not_lost_and_all_are_capped() -> None:
    """The longest wish wins, and no wish keeps a node longer than `cooldown_cap`."""
    with ManualClock() as clock:
        manager, a, b, _ = pool(cooldown_cap=100.0)
        a.error = HttpError(429, retry_after="10")
        assert manager.call() == "c"
        clock.advance(10.0)
        a.error = b.error = HttpError(429, retry_after="3600")
        assert {manager.call() for _ in range(3)} == {"c"}
        clock.advance(99.0)
        before = a.calls + b.calls
        assert {manager.call() for _ in range(3)} == {"c"}
        assert a.calls + b.calls == before
        clock.advance(1.0)
        a.error = b.error = None
        assert {manager.call() for _ in range(6)} == {"a", "b", "c"}


def test_after_a_cooldown_one_call_asks_first() -> None:
    """A key that is still refused when its time is over costs one call, not one for each of its nodes."""
    with ManualClock() as clock:
        manager, a, b, _ = pool()
        a.error = b.error = HttpError(429, retry_after="10")
        manager.call()
        clock.advance(10.0)
        before = a.calls + b.calls
        assert [manager.call() for _ in range(5)] == ["c"] * 5
        assert a.calls + b.calls == before + 1


def test_a_guess_does_not_take_the_last_node() -> None:
    """A refused key without another node to go to is asked again: the caller sees the real error each time."""
    only = Target("only")
    only.error = HttpError(401)
    manager = hf.FailoverManager([hf.Node("only", only)], classify=hf.classify, breaker=None)
    for _ in range(3):
        with pytest.raises(HttpError):
            manager.call()
    assert only.calls == 3

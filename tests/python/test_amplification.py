"""How many requests a dead or a limping provider gets: retries must not make an outage worse."""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from faults import FaultServer
from holdfast.testing import ManualClock

CALLS = 100_000


def patient(attempts: int = 3, budget: hf.RetryBudget | None = None) -> hf.Retry:
    """Retries without waits, so that only the number of attempts is measured."""
    return hf.Retry(attempts, backoff=0.0, budget=budget)


def test_a2_nested_layers_do_not_multiply_on_the_wire() -> None:
    """Three guarded layers, three attempts each, over a backend that answers 503: three requests, not 27."""
    with FaultServer() as server:
        url = server.url("status-503", "/v1/x")

        @hf.Pipeline(retry=patient())
        def innermost() -> bytes:
            with urllib.request.urlopen(url) as response:
                return bytes(response.read())

        @hf.Pipeline(retry=patient())
        def middle() -> bytes:
            return innermost()

        @hf.Pipeline(retry=patient())
        def outermost() -> bytes:
            return middle()

        with pytest.raises(OSError, match="503"):
            outermost()
        assert server.hits("status-503") == 3


def test_a2_nested_layers_of_coroutines_do_not_multiply() -> None:
    """The same for coroutines."""
    calls = 0

    @hf.Pipeline(retry=patient())
    async def innermost() -> None:
        nonlocal calls
        calls += 1
        raise ConnectionError("down")

    @hf.Pipeline(retry=patient())
    async def middle() -> None:
        await innermost()

    @hf.Pipeline(retry=patient())
    async def outermost() -> None:
        await middle()

    with pytest.raises(ConnectionError):
        asyncio.run(outermost())
    assert calls == 3


def amplification(pipeline: hf.Pipeline, fails: Callable[[], bool], calls: int = CALLS) -> float:
    """Requests per call of the provider, over many calls."""
    requests = 0

    @pipeline
    def ask() -> None:
        nonlocal requests
        requests += 1
        if fails():
            raise ConnectionError("down")

    for _ in range(calls):
        try:
            ask()
        except ConnectionError:
            continue
    return requests / calls


def test_a3_a_full_outage_is_not_amplified() -> None:
    """Nothing succeeds, nothing is deposited: the budget's store is spent and then each call is one request."""
    with ManualClock():
        pipeline = hf.Pipeline(retry=patient(budget=hf.RetryBudget()))
        assert 1.0 < amplification(pipeline, lambda: True) <= 1.01


def test_a3_half_failing_is_barely_amplified() -> None:
    """Every second request fails: a deposit of a tenth per first-try success keeps retries at a tenth."""
    dice = random.Random(7)
    with ManualClock():
        pipeline = hf.Pipeline(retry=patient(budget=hf.RetryBudget()))
        assert 1.0 < amplification(pipeline, lambda: dice.random() < 0.5) <= 1.10


def test_a3_without_a_budget_every_call_is_amplified() -> None:
    """The measure is able to fail: unlimited retries make three requests of each call."""
    with ManualClock():
        assert amplification(hf.Pipeline(retry=patient()), lambda: True, calls=1000) == 3.0


def test_a3_the_budget_is_per_target_in_a_pool() -> None:
    """A dead node spends its own budget; nodes that work are not made to pay for it."""
    asked = {"dead": 0, "fine": 0}

    def dead() -> None:
        asked["dead"] += 1
        raise ConnectionError("down")

    def fine() -> str:
        asked["fine"] += 1
        return "answer"

    nodes = [hf.Node("dead", dead), hf.Node("fine", fine)]
    pool: Any = hf.FailoverManager(nodes, retry=patient(), breaker=None, heartbeat=None)
    with ManualClock():
        for _ in range(1000):
            assert pool.call() == "answer"
    assert asked["fine"] == 1000
    assert asked["dead"] <= 1000

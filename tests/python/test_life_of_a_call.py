"""Life of a call: `_wrap` → native driver → execution → pool → breaker → the user's function → classifier → …

The same story is told in `tests/rust/life_of_a_call.rs` as the machine's trace, and in the documentation.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from holdfast.testing import ManualClock

POLICIES = "retry_scheduled", "call_failed_over", "circuit_opened", "circuit_half_opened", "circuit_closed"
ENDS = "attempts_exhausted", "call_rejected"


async def test_life_of_a_call(clock: ManualClock) -> None:
    """One guarded coroutine function, from its decoration to success, exhaustion, rejection and recovery."""
    # The function: a provider that is down until it is not.
    provider = {"gpt": False, "claude": False}
    asked: list[str] = []

    async def ask(node: hf.Node, question: str) -> str:
        asked.append(node.name)
        await asyncio.sleep(0)
        if not provider[node.name]:
            raise ConnectionError(f"{node.name} is down")
        return f"{node.name} answers {question!r}"

    manager = hf.FailoverManager(
        [hf.Node("gpt", object), hf.Node("claude", object)],
        name="chain",
        breaker=hf.CircuitBreaker(failure_threshold=3, success_threshold=1, open_timeout=30.0),
        retry=hf.Retry(4, backoff=hf.constant(1.0)),
        timeout=60.0,
        exhausted="fail_fast",
    )

    # _wrap: the guard has the colour of what it guards.
    guarded = manager(ask)
    assert inspect.iscoroutinefunction(guarded)
    assert guarded.__name__ == "ask"

    with record_events(manager, kinds=[*POLICIES, *ENDS]) as events:

        def story() -> list[str]:
            told = [event.kind for event in events][len(seen) :]
            seen.extend(told)
            return told

        seen: list[str] = []

        # Success: nothing to tell. Making the call asks nobody; awaiting it does.
        provider["gpt"] = True
        call = guarded("one")
        assert asked == []
        assert await call == "gpt answers 'one'"
        assert story() == []

        # Failover: the node that failed is left at once, without a wait.
        provider.update(gpt=False, claude=True)
        asked.clear()
        moment = clock.now
        for _ in range(2):
            assert await guarded("two") == "claude answers 'two'"
        assert clock.now == moment
        assert asked == ["claude", "gpt", "claude"]
        assert story() == ["call_failed_over"]

        # Exhaustion: both fail; the third and fourth attempt each come after a second of back-off.
        provider["claude"] = False
        asked.clear()
        task = asyncio.ensure_future(guarded("three"))
        await clock.aadvance(0.9)
        assert asked == ["gpt", "claude"]
        await clock.aadvance(0.1)
        assert asked == ["gpt", "claude", "gpt"]
        await clock.aadvance(1.0)
        with pytest.raises(ConnectionError, match="claude is down") as caught:
            await task
        assert asked == ["gpt", "claude", "gpt", "claude"]
        assert [(tried.number, tried.node) for tried in hf.history(caught.value)] == list(
            enumerate(asked, start=1)
        )
        # gpt failed three times in a row meanwhile: its breaker is open.
        assert story() == [
            "call_failed_over",
            "retry_scheduled",
            "call_failed_over",
            "circuit_opened",
            "retry_scheduled",
            "call_failed_over",
            "attempts_exhausted",
        ]
        assert manager.node_breaker("gpt").state == "open"

        # The open breaker costs no attempt: only claude is asked, whose breaker opens too.
        # After that there is nothing to wait for, and the call ends with what it was told last.
        asked.clear()
        with pytest.raises(ConnectionError, match="claude is down"):
            await guarded("four")
        assert asked == ["claude"]
        assert story() == ["circuit_opened", "attempts_exhausted"]

        # Rejection: nobody may be asked, so nobody is.
        asked.clear()
        with pytest.raises(hf.NoNodeReady) as refused:
            await guarded("five")
        assert asked == []
        assert refused.value.retry_after == pytest.approx(29.0)
        assert story() == ["call_rejected"]

        # Recovery: after the open time the first call is a probe, and one good answer closes the breaker.
        provider["gpt"] = True
        await clock.aadvance(29.0)
        assert await guarded("six") == "gpt answers 'six'"
        assert story() == ["circuit_half_opened", "circuit_closed"]

    # At the end everything is where it was: no call is left in the machine.
    assert manager.metrics.in_flight == 0
    assert (manager.metrics.calls, manager.metrics.rejected) == (7, 1)

"""Help for users' tests: guards switched off, attempts capped, and the fixtures that pytest finds by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import holdfast as hf
from colours import Colour
from holdfast.testing import record_events, set_active, set_testing

pytest_plugins = ["pytester"]


def failing(calls: list[int]) -> Callable[..., Any]:
    def act() -> str:
        calls.append(1)
        raise ConnectionError("down")

    return act


def test_an_inactive_guard_only_passes_calls_on(colour: Colour) -> None:
    """No attempt is repeated, nothing is rejected, timed, validated or counted, in guards built earlier too."""
    calls: list[int] = []
    breaker = hf.CircuitBreaker("off", failure_threshold=1)
    pipeline = hf.Pipeline(retry=3, breaker=breaker, timeout=hf.Timeout(1e-9, late="raise"), validate=bool)
    guarded = pipeline(colour.make(failing(calls)))
    fine = pipeline(colour.make(lambda: 0))
    breaker.force_open()
    with set_active(False):
        for _ in range(3):
            with pytest.raises(ConnectionError, match="down") as caught:
                colour.run(guarded)
        assert colour.run(fine) == 0
        assert not hasattr(caught.value, "__notes__")
        assert not hf.history(caught.value)
    assert len(calls) == 3
    assert breaker.metrics.calls == 0
    with pytest.raises(hf.CircuitOpen):
        colour.run(guarded)


def test_an_inactive_breaker_guards_no_block() -> None:
    """Blocks of a breaker that is forced open run, and are not counted."""
    breaker = hf.CircuitBreaker("off")
    breaker.force_open()

    async def both() -> int:
        async with breaker.guard(), breaker:
            return 1

    with set_active(False):
        with breaker, breaker.guard() as permit:
            assert not permit.renew()
        with pytest.raises(KeyError), breaker.guard():
            raise KeyError
        assert asyncio.run(both()) == 1
    assert breaker.metrics.calls == 0


def test_a_block_entered_under_one_switch_is_left_under_it() -> None:
    """A permit taken before the switch comes back, and a block entered after it gives none back."""
    breaker = hf.CircuitBreaker("across")
    with breaker.guard():
        switch = set_active(False)
    with breaker.guard():
        switch.__exit__()
    metrics = breaker.metrics
    assert (metrics.calls, metrics.successes, metrics.in_flight) == (1, 1, 0)


def test_an_inactive_loop_has_one_attempt() -> None:
    """`for attempt in Retry(3)` runs its block once, and raises what it raised."""
    blocks = 0
    with set_active(False), pytest.raises(ConnectionError):
        for attempt in hf.Retry(3):
            with attempt:
                blocks += 1
                raise ConnectionError
    assert blocks == 1


def test_an_inactive_managers_calls_go_to_its_first_node(colour: Colour) -> None:
    """Nobody is picked and nobody is judged."""
    calls: list[int] = []
    nodes = [
        hf.Node("a", colour.make(failing(calls))),
        hf.Node("b", colour.make(lambda: "b")),
    ]
    manager = hf.FailoverManager(nodes, breaker=1)
    manager.report("a", ok=False, reason="test")
    with set_active(False):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                colour.run(getattr(manager, colour.door))
    assert len(calls) == 2
    assert manager.metrics.calls == 0
    assert colour.run(getattr(manager, colour.door)) == "b"


def test_testing_caps_attempts_and_sleeps_no_back_off(colour: Colour) -> None:
    """Attempts are capped, waits are gone (the user's own back-off and Retry-After included), breakers count."""

    class Busy(ConnectionError):
        retry_after = 3600.0

    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        raise Busy

    breaker = hf.CircuitBreaker("testing", failure_threshold=None)
    guarded = hf.Pipeline(retry=hf.Retry(5, backoff=lambda retry: 3600.0), breaker=breaker)(colour.make(act))
    began = time.monotonic()
    with set_testing(attempts=2):
        with pytest.raises(Busy):
            colour.run(guarded)
        with set_testing(), pytest.raises(Busy):
            colour.run(guarded)
    assert time.monotonic() - began < 60
    assert len(calls) == 2 + 1
    assert breaker.metrics.failures + breaker.metrics.throttled == 3


def test_testing_caps_a_managers_attempts() -> None:
    """Without a retry policy a manager tries every node once: under the cap, as many as it says."""
    calls: list[int] = []
    manager = hf.FailoverManager([hf.Node(name, failing(calls)) for name in "abcd"])
    with set_testing(attempts=2), pytest.raises(ConnectionError):
        manager.call()
    assert len(calls) == 2
    with pytest.raises(ConnectionError):
        manager.call()
    assert len(calls) == 2 + 4


def test_switches_nest_and_restore() -> None:
    """Each block gives back what it found; as plain functions they stay."""
    calls: list[int] = []
    guarded = hf.Retry(3, backoff=0)(failing(calls))

    def made() -> int:
        before = len(calls)
        with pytest.raises(ConnectionError):
            guarded()
        return len(calls) - before

    with set_testing(2):
        with set_active(False):
            assert made() == 1
            with set_active(True):
                assert made() == 2
            assert made() == 1
        assert made() == 2
        with set_testing(None):
            assert made() == 3
    assert made() == 3
    set_active(False)
    assert made() == 1
    set_active(True)
    assert made() == 3


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True, "2"])
def test_a_cap_is_a_whole_number(attempts: Any) -> None:
    """What is no number of attempts is refused by name, and changes nothing."""
    with pytest.raises(hf.ConfigurationError, match="attempts"):
        set_testing(attempts)


def test_streams_and_events_under_the_switches() -> None:
    """Streams pass through item by item, and an inactive guard tells nothing."""

    @hf.CircuitBreaker("s", failure_threshold=1)
    def items() -> Iterator[int]:
        yield from range(3)
        raise ConnectionError

    @hf.CircuitBreaker("t", failure_threshold=1)
    async def aitems() -> AsyncIterator[int]:
        for n in range(3):
            yield n
        raise ConnectionError

    async def drain() -> list[int]:
        seen = []
        with pytest.raises(ConnectionError):
            async for n in aitems():
                seen.append(n)
        return seen

    with set_active(False), record_events() as events:
        seen = []
        with pytest.raises(ConnectionError):
            for n in items():
                seen.append(n)
        assert seen == asyncio.run(drain()) == [0, 1, 2]
    assert events.kinds == []


PLUGIN_TESTS = """
import sys
import holdfast as hf

def test_time(manual_clock):
    before = manual_clock.now
    manual_clock.advance(5)
    assert manual_clock.now - before == 5

def test_events(recorded_events):
    hf.CircuitBreaker("x").force_open()
    assert recorded_events.kinds == ["circuit_opened"]

def test_inactive(holdfast_inactive):
    breaker = hf.CircuitBreaker("x")
    breaker.force_open()
    assert breaker(lambda: 1)() == 1

def test_testing(holdfast_testing):
    calls = []
    try:
        hf.Retry(3)(lambda: calls.append(1) or 1 / 0)()
    except ZeroDivisionError:
        pass
    assert len(calls) == 1

def test_restored():
    breaker = hf.CircuitBreaker("x")
    breaker.force_open()
    try:
        breaker(lambda: 1)()
    except hf.CircuitOpen:
        return
    raise AssertionError
"""


def test_pytest_finds_the_fixtures(pytester: pytest.Pytester) -> None:
    """Wherever Holdfast is installed its fixtures are there, and end with their test."""
    pytester.makepyfile(PLUGIN_TESTS)
    scope = "asyncio_default_fixture_loop_scope=function"
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", "-o", scope)
    result.assert_outcomes(passed=5)


def test_the_plugin_brings_nothing_heavy(fresh_python: Callable[[str], str]) -> None:
    """What every run of pytest pays for our being installed: no asyncio, no logging, no thread."""
    code = "import sys, pytest; before = set(sys.modules); import holdfast._pytest; "
    new = set(eval(fresh_python(code + "print(sorted(set(sys.modules) - before))")))
    assert new.isdisjoint({"asyncio", "concurrent.futures", "holdfast.testing", "holdfast.langchain"})


def test_the_local_server_is_loaded_when_it_is_asked_for(fresh_python: Callable[[str], str]) -> None:
    """`holdfast.testing` has it, and nobody who does not use it loads `http.server`."""
    code = (
        "import sys, holdfast.testing as t; before = 'http.server' in sys.modules; t.LocalServer, t.Faults\n"
        "print(before, 'http.server' in sys.modules, hasattr(t, 'nothing'))"
    )
    assert fresh_python(code).split() == ["False", "True", "False"]

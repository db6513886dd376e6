"""Chaos: faults on purpose; reproducible, switchable, and innermost, so that every policy sees them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import holdfast as hf
from colours import COLOURS, Colour
from holdfast.testing import ManualClock

every_colour = pytest.mark.parametrize("colour", COLOURS, ids=repr)


def outcomes(guarded: Any, colour: Colour, calls: int = 40) -> list[object]:
    def outcome() -> object:
        try:
            return colour.run(guarded)
        except ConnectionError:
            return "error"

    return [outcome() for _ in range(calls)]


@every_colour
def test_a_seed_decides_which_calls_fail(colour: Colour) -> None:
    """The same seed, the same faults, in every colour; about as many as asked for."""
    runs = [
        outcomes(hf.Chaos(error_rate=0.5, seed=seed)(colour.make(lambda: "fine")), colour)
        for seed in (7, 7, 8)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert 8 <= runs[0].count("error") <= 32


@every_colour
def test_it_sits_inside_of_every_other_policy(colour: Colour) -> None:
    """Retries, breakers and fallbacks see what it does as if the call had done it."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    pipeline = hf.Pipeline(
        retry=hf.Retry(2, backoff=0.0), breaker=breaker, fallback=hf.Fallback(value="sorry"), chaos=1.0
    )
    assert colour.run(pipeline(colour.make(lambda: "fine"))) == "sorry"
    assert breaker.state == "open"


@every_colour
def test_it_is_switched_per_block_and_per_process(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """`off()` and `on()` for a block; the environment overrules `active` when a guard is made."""
    target = colour.make(lambda: "fine")
    chaos = hf.Chaos(error_rate=1.0)
    guarded = chaos(target)
    with chaos.off():
        assert colour.run(guarded) == "fine"
    with pytest.raises(ConnectionError):
        colour.run(guarded)
    idle = hf.Chaos(error_rate=1.0, active=False)
    guarded = idle(target)
    assert colour.run(guarded) == "fine"
    with idle.on(), pytest.raises(ConnectionError):
        colour.run(guarded)
    monkeypatch.setenv("HOLDFAST_CHAOS", "off")
    assert colour.run(chaos(target)) == "fine"
    monkeypatch.setenv("HOLDFAST_CHAOS", "on")
    with pytest.raises(ConnectionError):
        colour.run(idle(target))
    monkeypatch.setenv("HOLDFAST_CHAOS", "perhaps")
    with pytest.raises(hf.ConfigurationError) as caught:
        chaos(target)
    assert caught.value.field == "HOLDFAST_CHAOS"


def test_turned_off_by_the_environment_it_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is made around the function itself."""
    monkeypatch.setenv("HOLDFAST_CHAOS", "off")

    def target() -> None: ...

    assert hf.Chaos(error_rate=1.0)._around(target, "function") is target


def test_errors_may_be_those_of_a_provider() -> None:
    """`error` makes the exception; the rules then read it as they would read the provider's."""

    class Busy(Exception):
        status_code = 400

    calls: list[int] = []

    @hf.resilient(retry=hf.Retry(3, backoff=0.0), chaos=hf.Chaos(error_rate=1.0, error=Busy))
    def ask() -> None:
        calls.append(1)

    with pytest.raises(Busy) as caught:
        ask()
    assert calls == []
    assert len(hf.history(caught.value)) <= 1


@every_colour
def test_latency_comes_before_the_call(colour: Colour) -> None:
    """On the clock that everything else runs on."""
    with ManualClock() as clock:
        began = clock.now
        ask = hf.Chaos(latency=(1.0, 2.0), seed=1)(colour.make(lambda: "fine"))
        assert colour.run(ask, clock=clock) == "fine"
        assert 1.0 <= clock.now - began <= 2.5


@every_colour
def test_a_hang_ends_with_the_attempts_clock(colour: Colour) -> None:
    """It never answers; an attempt's or a first item's clock ends it as it ends a dead server's call."""
    with ManualClock() as clock:
        timeout = hf.Timeout(first_item=1.0) if colour.is_stream else hf.Timeout(attempt=1.0)
        ask = hf.Pipeline(timeout=timeout, chaos=hf.Chaos(hang=1.0))(colour.make(lambda: "fine"))
        with pytest.raises(hf.CallTimeout):
            colour.run(ask, clock=clock)


def test_a_stream_is_cut_after_some_items() -> None:
    """One to five items come, then the error: past the commit point."""

    @hf.Chaos(cut_stream=1.0, seed=3)
    def numbers() -> Iterator[int]:
        yield from range(100)

    got: list[int] = []
    with pytest.raises(ConnectionError):
        got.extend(number for number in iter(numbers()))
    stream: Any = numbers()
    seen = 0
    with pytest.raises(ConnectionError):
        for _ in stream:
            seen += 1
    assert 1 <= seen <= 5


def test_an_async_stream_is_cut_and_closed() -> None:
    """Likewise; the source is closed before the error goes on."""
    closed: list[bool] = []

    @hf.Chaos(cut_stream=1.0, seed=3)
    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append(True)

    async def main() -> int:
        seen = 0
        with pytest.raises(ConnectionError):
            async for _ in numbers():
                seen += 1
        return seen

    assert 1 <= asyncio.run(main()) <= 5
    assert closed == [True]


def test_a_bad_answer_is_half_of_it_or_what_spoil_makes() -> None:
    """For `validate` to find."""
    assert hf.Chaos(bad_answer=1.0)(lambda: "abcd")() == "ab"
    assert hf.Chaos(bad_answer=1.0)(lambda: 7)() is None
    assert hf.Chaos(bad_answer=1.0, spoil=lambda answer: -answer)(lambda: 7)() == -7


def test_a_node_may_be_haunted_alone() -> None:
    """Around a node's target it is the node that fails, and the call moves on."""
    bad = hf.Chaos(error_rate=1.0)(lambda: "bad")
    manager = hf.FailoverManager([hf.Node("bad", bad), hf.Node("good", lambda: "good")])
    assert manager.call() == "good"
    breaker = manager.node_breaker("bad")
    assert breaker is not None
    assert breaker.metrics.failures == 1


def test_a_stream_with_nothing_to_suffer_is_the_users_own() -> None:
    """What is sent into a generator reaches it."""

    @hf.Chaos(error_rate=0.0)
    def echo() -> Iterator[object]:
        yield (yield 1)

    stream: Any = echo()
    assert (next(stream), stream.send("back")) == (1, "back")


def test_one_share_changed_leaves_the_rest_of_a_run_as_it_was() -> None:
    """The calls that failed at a tenth fail at two tenths too."""

    def failed(share: float) -> set[int]:
        haunted = hf.Chaos(share, seed=11)(lambda: "fine")
        return {n for n, outcome in enumerate(outcomes(haunted, COLOURS[0], 200)) if outcome == "error"}

    assert failed(0.1) < failed(0.2)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"error_rate": 1.5}, "error_rate"),
        ({"error_rate": 0.6, "hang": 0.6}, "error_rate"),
        ({"hang": "x"}, "hang"),
        ({"latency": -1}, "latency"),
        ({"latency": (2, 1)}, "latency"),
        ({"latency": (1, 2, 3)}, "latency"),
        ({"seed": 1.5}, "seed"),
        ({"error": 3}, "error"),
        ({"spoil": 3}, "spoil"),
        ({"latency_rate": 2}, "latency_rate"),
        ({"cut_stream": -0.1}, "cut_stream"),
    ],
)
def test_nonsense_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    """Every configuration error names its field."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.Chaos(**fields)
    assert caught.value.field == field

"""One table of scenarios, run by every driver: same attempts, same events, same outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS
from holdfast.testing import record_events

if TYPE_CHECKING:
    from colours import Colour
    from holdfast.testing import ManualClock


class Busy(Exception):
    """A callee that asks for time."""

    def __init__(self, seconds: float) -> None:
        super().__init__("come back later")
        self.retry_after = seconds


class Refused(Exception):
    """HTTP 400: the caller's own fault."""

    status_code = 400


class Script:
    """Does as it is told, once per call; the last line repeats."""

    def __init__(self, *lines: Any) -> None:
        self.lines = lines
        self.calls = 0

    def __call__(self, *_args: Any) -> Any:
        line = self.lines[min(self.calls, len(self.lines) - 1)]
        self.calls += 1
        if isinstance(line, type):
            line = line()
        if isinstance(line, Exception):
            raise line
        return line


def three(**fields: Any) -> hf.Retry:
    return hf.Retry(3, backoff=hf.constant(1.0), **fields)


def opened() -> hf.CircuitBreaker:
    breaker = hf.CircuitBreaker()
    breaker.force_open()
    return breaker


Scenario = tuple[Callable[[], dict[str, Any]], tuple[Any, ...], int, Any, list[str]]

# What is configured, what the callee does; how often it is called, what comes out, which events tell.
SCENARIOS: dict[str, Scenario] = {
    "succeeds": (lambda: {"retry": three()}, ("fine",), 1, "fine", []),
    "nothing configured": (dict, (ValueError,), 1, ValueError, []),
    "fails once": (lambda: {"retry": three()}, (OSError, "fine"), 2, "fine", ["retry_scheduled"]),
    "fails twice": (
        lambda: {"retry": three()},
        (OSError, OSError, "fine"),
        3,
        "fine",
        ["retry_scheduled"] * 2,
    ),
    "always fails": (
        lambda: {"retry": three()},
        (OSError,),
        3,
        OSError,
        ["retry_scheduled", "retry_scheduled", "attempts_exhausted"],
    ),
    "the caller's fault": (lambda: {"retry": three()}, (Refused,), 1, Refused, ["attempts_exhausted"]),
    "not to be retried": (
        lambda: {"retry": three(retry_on=OSError)},
        (ValueError,),
        1,
        ValueError,
        ["attempts_exhausted"],
    ),
    "ignored": (lambda: {"retry": three(), "classify": lambda exc: "ignore"}, (OSError,), 1, OSError, []),
    "asks for time": (lambda: {"retry": three()}, (Busy(5.0), "fine"), 2, "fine", ["retry_scheduled"]),
    "asks for too much time": (lambda: {"retry": three()}, (Busy(61.0),), 1, Busy, ["attempts_exhausted"]),
    "rejected": (
        lambda: {"retry": three(), "breaker": opened()},
        ("fine",),
        0,
        hf.CircuitOpen,
        ["circuit_opened", "call_rejected"],
    ),
    "the breaker opens": (
        lambda: {"retry": three(), "breaker": hf.CircuitBreaker(failure_threshold=2)},
        (OSError,),
        2,
        OSError,
        ["retry_scheduled", "circuit_opened", "attempts_exhausted"],
    ),
    "the deadline is near": (
        lambda: {"retry": three(), "timeout": 0.9},
        (OSError,),
        1,
        OSError,
        ["attempts_exhausted"],
    ),
    "the budget is empty": (
        lambda: {"retry": three(budget=hf.RetryBudget(1.0))},
        (OSError,),
        2,
        OSError,
        ["retry_scheduled", "budget_exhausted", "attempts_exhausted"],
    ),
}
KINDS = sorted({kind for scenario in SCENARIOS.values() for kind in scenario[4]})


def outcome(act: Callable[[], Any]) -> Any:
    """What came of it: the value, or the class of the exception."""
    try:
        return act()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("form", ["decorator", "door"])
def test_each_driver_tells_the_same_story(
    scenario: str, form: str, colour: Colour, clock: ManualClock
) -> None:
    """A scenario has the same attempts, events and outcome in all four colours, decorated or through a method."""
    fields, lines, calls, result, kinds = SCENARIOS[scenario]
    script = Script(*lines)
    with record_events(kinds=KINDS) as events:
        pipeline = hf.Pipeline(**fields())
        target = colour.make(script)
        if form == "decorator":
            came = outcome(lambda: colour.run(pipeline(target), "x", clock=clock))
        else:
            came = outcome(lambda: colour.run(getattr(pipeline, colour.door), target, "x", clock=clock))
    assert came == result
    assert script.calls == calls
    assert events.kinds == kinds
    if pipeline.breaker is not None:
        assert pipeline.breaker.metrics.in_flight == 0


NOT_FOR_ONE_NODE = {"nothing configured", "rejected"}


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - NOT_FOR_ONE_NODE))
@pytest.mark.parametrize("form", ["door", "decorator"])
def test_a_manager_of_one_node_tells_it_too(
    scenario: str, form: str, colour: Colour, clock: ManualClock
) -> None:
    """One node behind a manager has the attempts and the outcome that a pipeline's target has."""
    fields, lines, calls, result, _ = SCENARIOS[scenario]
    script = Script(*lines)
    target = colour.make(script)
    manager = hf.FailoverManager([hf.Node("only", target)], **{"breaker": None} | fields())
    if form == "door":
        came = outcome(lambda: colour.run(getattr(manager, colour.door), "x", clock=clock))
    else:
        ask = manager(colour.make(lambda node, text: script(text)))
        came = outcome(lambda: colour.run(ask, "x", clock=clock))
    assert came == result
    assert script.calls == calls
    assert manager.metrics.in_flight == 0
    assert manager.nodes["only"].in_flight == 0


def test_a_second_node_is_asked_at_once_in_every_colour(colour: Colour, clock: ManualClock) -> None:
    """When a node fails, an untried one is asked without any wait, whatever the colour."""
    bad, good = Script(OSError), Script("fine")
    nodes = [hf.Node("bad", colour.make(bad)), hf.Node("good", colour.make(good))]
    manager = hf.FailoverManager(nodes, retry=three())
    with record_events(manager, kinds=["call_failed_over", "retry_scheduled"]) as events:
        assert colour.run(getattr(manager, colour.door), "x") == "fine"
    assert (bad.calls, good.calls) == (1, 1)
    assert [(e.kind, e.from_node, e.to_node, e.attempt) for e in events] == [
        ("call_failed_over", "bad", "good", 2)
    ]


@pytest.mark.parametrize("colour", [c for c in COLOURS if c.is_async], ids=repr)
def test_a_timeout_ends_the_async_colours_alike(colour: Colour, clock: ManualClock) -> None:
    """Our clock ends an attempt that waits too long: counted as a failure, raised as a `CallTimeout`."""

    async def hang(*_args: Any) -> Any:
        await asyncio.sleep(3600)

    async def hang_stream(*_args: Any) -> Any:
        await asyncio.sleep(3600)
        yield "never"

    breaker = hf.CircuitBreaker(failure_threshold=10)
    pipeline = hf.Pipeline(retry=three(), breaker=breaker, timeout=hf.Timeout(attempt=2.0))
    guarded = pipeline(hang_stream if colour.is_stream else hang)
    kinds = ["retry_scheduled", "attempts_exhausted"]
    with record_events(pipeline, kinds=kinds) as events, pytest.raises(hf.CallTimeout) as caught:
        colour.run(guarded, clock=clock)
    assert (caught.value.which, caught.value.limit) == ("attempt", 2.0)
    assert breaker.metrics.failures == 3
    assert [(e.kind, e.error) for e in events] == [
        ("retry_scheduled", "timeout"),
        ("retry_scheduled", "timeout"),
        ("attempts_exhausted", "timeout"),
    ]

"""Bad input is refused where it is given, by an error that names field, rule and value."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = float("nan"), float("inf")
NOT_NUMBERS = ["1", True, False, [], object(), b"1", 1j]
HUGE = [10**400, 2**64, 1e300]


def node(**fields: Any) -> hf.Node:
    return hf.Node("n", print, **fields)


def manager(**fields: Any) -> hf.FailoverManager:
    return hf.FailoverManager([node()], **fields)


def heartbeat(**fields: Any) -> hf.Heartbeat:
    return hf.Heartbeat(**({"probe": hf.HttpProbe("http://127.0.0.1:1/")} | fields))


# Field by field: how to set it, what it is called in the error, which values it must refuse.
Field = tuple[str, "Callable[[Any], Any]", list[Any]]

SPANS: list[Field] = [
    ("open_timeout", lambda v: hf.CircuitBreaker(open_timeout=v), [0, None]),
    ("slow_call", lambda v: hf.CircuitBreaker(slow_call=v, slow_call_rate=0.5), []),
    ("window", lambda v: hf.CircuitBreaker(window=v), [0]),
    ("open_timeout_max", lambda v: hf.CircuitBreaker(open_timeout_max=v), [0]),
    ("probe_lease", lambda v: hf.CircuitBreaker(probe_lease=v), [0]),
    ("max_elapsed", lambda v: hf.Retry(max_elapsed=v), [0]),
    ("retry_after_cap", lambda v: hf.Retry(retry_after_cap=v), [None]),
    ("first", lambda v: hf.exponential(v), [None]),
    ("cap", lambda v: hf.exponential(0.1, cap=v), [None]),
    ("first", lambda v: hf.linear(v), [None]),
    ("step", lambda v: hf.linear(0.1, v), [None]),
    ("cap", lambda v: hf.linear(0.1, cap=v), [None]),
    ("seconds", lambda v: hf.constant(v), [None]),
    ("first", lambda v: hf.decorrelated(v), [0, None]),
    ("cap", lambda v: hf.decorrelated(0.1, cap=v), [None]),
    ("total", lambda v: hf.Timeout(v), [0]),
    ("attempt", lambda v: hf.Timeout(attempt=v), [0]),
    ("first_item", lambda v: hf.Timeout(first_item=v), [0]),
    ("idle", lambda v: hf.Timeout(idle=v), [0]),
    ("total", lambda v: hf.Pipeline(timeout=v), [0]),
    ("total", lambda v: manager(timeout=v), [0]),
    ("interval", lambda v: heartbeat(interval=v), [0, None]),
    ("timeout", lambda v: heartbeat(timeout=v), [0, None]),
    ("seconds", lambda v: hf.deadline(v).__enter__(), [0, None]),
    ("timeout", lambda v: manager().wait_ready(timeout=v), []),
]
COUNTS: list[Field] = [
    ("failure_threshold", lambda v: hf.CircuitBreaker(failure_threshold=v), []),
    ("success_threshold", lambda v: hf.CircuitBreaker(success_threshold=v), [None]),
    ("half_open_max_calls", lambda v: hf.CircuitBreaker(half_open_max_calls=v), [17, None]),
    ("minimum_calls", lambda v: hf.CircuitBreaker(minimum_calls=v), [None]),
    ("calls", hf.CountWindow, [65_537, None]),
    ("attempts", lambda v: hf.Retry(v), [None]),
    ("failure_threshold", lambda v: heartbeat(failure_threshold=v), [None]),
    ("recovery_threshold", lambda v: heartbeat(recovery_threshold=v), [None]),
]
NUMBERS: list[Field] = [
    ("failure_rate", lambda v: hf.CircuitBreaker(failure_rate=v), [1.5]),
    ("slow_call_rate", lambda v: hf.CircuitBreaker(slow_call_rate=v, slow_call=1.0), [1.5]),
    ("open_timeout_factor", lambda v: hf.CircuitBreaker(open_timeout_factor=v), [0.5, None]),
    ("open_timeout_jitter", lambda v: hf.CircuitBreaker(open_timeout_jitter=v), [1.5, None]),
    ("factor", lambda v: hf.exponential(factor=v), [0.5, None]),
    ("tokens", lambda v: hf.RetryBudget(v), [None]),
    ("per_success", lambda v: hf.RetryBudget(per_success=v), [None]),
    ("weight", lambda v: hf.FailoverManager([node(weight=v)]), [0, None]),
    ("jitter", lambda v: heartbeat(jitter=v), [1.5, None]),
]
OTHERS: list[Field] = [
    ("name", lambda v: hf.CircuitBreaker(v), [3, b"x", ""]),
    ("name", lambda v: hf.Pipeline(name=v), [3, b"x", ""]),
    ("name", lambda v: manager(name=v), [3, b"x", ""]),
    ("name", lambda v: hf.Node(v, print), [None, 3, b"x", ""]),
    ("target", lambda v: hf.Node("n", v), [None, 3, "print", object()]),
    ("target", lambda v: hf.CircuitBreaker()(v), [None, 3, "print", object()]),
    ("target", lambda v: manager()(v), [None, 3, "print", object()]),
    ("address", lambda v: node(address=v), [3, b"http://x"]),
    ("domains", lambda v: node(domains=v), ["key:prod"]),
    ("tier", lambda v: hf.FailoverManager([node(tier=v)]), [-1, 1.0, True, None, "0"]),
    ("nodes", lambda v: hf.FailoverManager(v), [None, 3, [], (), "ab", [print], [node(), None]]),
    ("balancer", lambda v: manager(balancer=v), [None, "round-robin", 3]),
    ("heartbeat", lambda v: manager(heartbeat=v), [3, "10s", hf.HttpProbe("/")]),
    ("exhausted", lambda v: manager(exhausted=v), [None, "fail-fast", 3]),
    ("attempts", lambda v: hf.Pipeline(retry=v), [0, -1, 2.5, NAN, True]),
    ("attempts", lambda v: manager(retry=v), [0, -1, 2.5, NAN, True]),
    ("failure_threshold", lambda v: hf.Pipeline(breaker=v), [0, -1, 2.5, NAN, True]),
    ("failure_threshold", lambda v: manager(breaker=v), [0, -1, 2.5, NAN, True]),
    ("breaker", lambda v: manager(breaker=v), ["5", [], object()]),
    ("breaker", lambda v: hf.Pipeline(breaker=v), ["5", [], object()]),
    ("retry", lambda v: hf.Pipeline(retry=v), ["5", [], object()]),
    ("retry", lambda v: manager(retry=v), ["5", [], object()]),
    ("backoff", lambda v: hf.Retry(backoff=v), ["1", [], object(), -1, NAN, INF]),
    ("budget", lambda v: hf.Retry(budget=v), [3, "x", object()]),
    ("retry_if_result", lambda v: hf.Retry(retry_if_result=v), [3, "x"]),
    ("retry_on", lambda v: hf.Pipeline(retry=hf.Retry(retry_on=v)), [3, "x", (3,)]),
    ("classify", lambda v: hf.Pipeline(classify=v), [3, "x"]),
    ("classify", lambda v: hf.Pipeline(breaker=hf.CircuitBreaker(classify=v)), [3, "x"]),
    ("key", lambda v: hf.CircuitBreaker(key=v), [3, "x"]),
    ("jitter", lambda v: hf.exponential(jitter=v), [None, "Full", 0.5]),
    ("jitter", lambda v: hf.linear(jitter=v), [None, "Full", 0.5]),
    ("late", lambda v: hf.Timeout(1.0, late=v), ["drop", 3]),
    ("probe", lambda v: heartbeat(probe=v), ["/health", 3]),
    ("path_or_url", lambda v: hf.HttpProbe(v), [None, "", 3]),
    ("expect", lambda v: hf.HttpProbe("/", expect=v), [200, [200], range(0), range(200, 300, 2)]),
    ("listener", lambda v: hf.subscribe(v), [None, 3]),
    ("kinds", lambda v: hf.subscribe(print, v), ["no_such_kind", ["circuit_opened", "x"]]),
]

CASES = [
    *(
        (field, make, value)
        for field, make, extra in SPANS
        for value in [NAN, INF, -INF, -1, -0.001, timedelta(-1), *NOT_NUMBERS, *HUGE[:1], *extra]
    ),
    *(
        (field, make, value)
        for field, make, extra in COUNTS
        for value in [0, -1, 1.0, 2.5, NAN, INF, *NOT_NUMBERS, *HUGE, *extra]
    ),
    *(
        (field, make, value)
        for field, make, extra in NUMBERS
        for value in [NAN, INF, -INF, -1, *NOT_NUMBERS, *HUGE[:1], *extra]
    ),
    *((field, make, value) for field, make, extra in OTHERS for value in extra),
]


@pytest.mark.parametrize(
    ("field", "make", "value"),
    CASES,
    ids=lambda v: "" if callable(v) else repr(v)[:30].partition(" at 0x")[0],
)
def test_each_field_refuses_what_it_cannot_be(field: str, make: Callable[[Any], Any], value: Any) -> None:
    """`ConfigurationError` is a `ValueError` that names the field and states the rule, at the place of the mistake."""
    with pytest.raises(hf.ConfigurationError) as caught:
        make(value)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.field == field
    assert error.rule
    assert field in str(error)
    assert str(error.rule) in str(error)
    if isinstance(value, int | float) and value == value:
        assert error.value == value


FINE: list[tuple[Callable[[Any], Any], list[Any]]] = [
    (lambda v: hf.CircuitBreaker(open_timeout=v), [1, 0.5, timedelta(seconds=3)]),
    (lambda v: hf.CircuitBreaker(failure_threshold=v, failure_rate=0.5), [None, 1, 2**31]),
    (lambda v: hf.CircuitBreaker(half_open_max_calls=v), [1, 16]),
    (
        lambda v: hf.CircuitBreaker(window=v),
        [0.5, hf.CountWindow(1), hf.CountWindow(65_536), timedelta(minutes=1)],
    ),
    (lambda v: hf.CircuitBreaker(failure_rate=v), [None, 1, 0.01]),
    (hf.constant, [0, 0.0, 3, timedelta(0)]),
    (lambda v: hf.Retry(backoff=v), [0, 1.5, hf.linear(), lambda n: n]),
    (lambda v: hf.Retry(retry_on=v), [None, OSError, (OSError, ValueError), lambda exc: True]),
    (lambda v: hf.Retry(budget=v), [None, hf.DEFAULT, hf.RetryBudget(0, 0)]),
    (hf.Timeout, [None, 1, 0.001, timedelta(days=1)]),
    (lambda v: hf.Pipeline(timeout=v), [None, 1, hf.Timeout(1)]),
    (lambda v: hf.Pipeline(retry=v), [None, 1, hf.Retry(1)]),
    (lambda v: hf.Pipeline(breaker=v), [None, 1, hf.CircuitBreaker()]),
    (lambda v: manager(breaker=v), [None, 1, hf.CircuitBreaker(), hf.DEFAULT]),
    (lambda v: node(domains=v), [(), ["a"], {"a", "b"}]),
]


@pytest.mark.parametrize(("make", "values"), FINE)
def test_each_field_takes_what_it_promises(make: Callable[[Any], Any], values: list[Any]) -> None:
    """Numbers of either kind, durations, and `None` for "off" where it is allowed."""
    for value in values:
        assert make(value) is not None


def test_a_duplicate_name_is_refused_by_name() -> None:
    """Two nodes of one name cannot be told apart."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.FailoverManager([hf.Node("twin", print), hf.Node("twin", repr)])
    assert (caught.value.field, caught.value.value) == ("name", "twin")


def test_fields_that_contradict_each_other_are_refused() -> None:
    """A cap below the first wait, a longest open time below the first, a slow rate without a slow call."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.exponential(5.0, cap=1.0)
    assert caught.value.field == "cap"
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.CircuitBreaker(open_timeout=30.0, open_timeout_max=10.0)
    assert caught.value.field == "open_timeout_max"
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.CircuitBreaker(slow_call_rate=0.5)
    assert caught.value.field == "slow_call_rate"


def test_an_unknown_field_is_a_type_error() -> None:
    """A misspelt keyword is Python's own error, and nothing is made."""
    for make in (hf.CircuitBreaker, hf.Retry, hf.Timeout, hf.Pipeline, manager, node, heartbeat):
        with pytest.raises(TypeError):
            make(treshold=3)  # type: ignore[operator]


def test_the_error_tells_the_whole_mistake_and_survives_transport() -> None:
    """Message, field, rule and value are there after pickling and copying."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.Retry(0)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert (error.field, error.value) == ("attempts", 0)
        assert "at least 1" in str(error)


def test_policies_are_frozen() -> None:
    """No field of a policy can be set after it was made."""
    for thing, name in (
        (hf.CircuitBreaker(), "state"),
        (hf.CircuitBreaker(), "name"),
        (hf.Retry(), "attempts"),
        (hf.Timeout(1), "total"),
        (hf.Pipeline(), "retry"),
        (manager(), "nodes"),
        (node(), "weight"),
        (heartbeat(), "interval"),
        (hf.HttpProbe("/"), "method"),
        (hf.CountWindow(3), "calls"),
        (hf.CircuitBreaker().metrics, "calls"),
        (hf.RetryBudget(), "available"),
    ):
        with pytest.raises(AttributeError):
            setattr(thing, name, 3)

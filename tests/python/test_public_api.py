"""The public names, their signatures and defaults, and how the public values behave as values."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

import holdfast as hf

REQUIRED = inspect.Parameter.empty

CIRCUIT_BREAKER: dict[str, object] = {
    "name": None,
    "failure_threshold": 5,
    "success_threshold": 2,
    "open_timeout": 30.0,
    "half_open_max_calls": 1,
    "failure_rate": None,
    "slow_call_rate": None,
    "slow_call": None,
    "minimum_calls": 10,
    "window": 60.0,
    "open_timeout_factor": 1.0,
    "open_timeout_max": None,
    "open_timeout_jitter": 0.0,
    "probe_lease": None,
    "classify": None,
    "key": None,
}
PIPELINE: dict[str, object] = dict.fromkeys(
    (
        "retry",
        "breaker",
        "timeout",
        "bulkhead",
        "rate_limit",
        "fallback",
        "chaos",
        "validate",
        "classify",
        "resume",
        "name",
    )
)

# What users may rely on: each field and its default, in order for those that are given by position.
SIGNATURES: dict[Callable[..., Any], tuple[tuple[str, ...], dict[str, object]]] = {
    hf.CircuitBreaker: (("name",), CIRCUIT_BREAKER),
    hf.Retry: (
        ("attempts",),
        {
            "attempts": 3,
            "backoff": hf.exponential(0.5, factor=2.0, cap=8.0, jitter="full"),
            "budget": hf.DEFAULT,
            "retry_on": None,
            "retry_if_result": None,
            "max_elapsed": None,
            "respect_retry_after": True,
            "retry_after_cap": 60.0,
            "nested": False,
        },
    ),
    hf.RetryBudget: (("tokens", "per_success"), {"tokens": 20.0, "per_success": 0.1}),
    hf.Timeout: (
        ("total",),
        {"total": None, "attempt": None, "first_item": None, "idle": None, "late": "return"},
    ),
    hf.Bulkhead: (("limit",), {"limit": REQUIRED, "max_queue": 0, "queue_timeout": None}),
    hf.RateLimit: (
        ("requests",),
        {"requests": REQUIRED, "per": 60.0, "burst": None, "cost": None, "actual": hf.DEFAULT},
    ),
    hf.AdaptiveLimit: (
        ("initial",),
        {"initial": 8, "minimum": 1, "maximum": 64, "max_queue": 1000, "queue_timeout": None},
    ),
    hf.Chaos: (
        ("error_rate",),
        {
            "error_rate": 0.0,
            "latency": 0.0,
            "hang": 0.0,
            "cut_stream": 0.0,
            "bad_answer": 0.0,
            "seed": None,
            "latency_rate": 1.0,
            "error": ConnectionError,
            "spoil": None,
            "active": True,
        },
    ),
    hf.Hedge: (("after",), {"after": "p95", "max_hedges": 1, "safe": None}),
    hf.Fallback: (
        (),
        {
            "value": hf.DEFAULT,
            "call": None,
            "last_good": None,
            "on": None,
            "cache": None,
            "key": None,
            "max_entries": 1000,
        },
    ),
    hf.Pipeline: ((), PIPELINE),
    hf.resilient: ((), PIPELINE),
    hf.CountWindow: (("calls",), {"calls": REQUIRED}),
    hf.exponential: (("first",), {"first": 0.5, "factor": 2.0, "cap": 8.0, "jitter": "full"}),
    hf.linear: (("first", "step"), {"first": 0.5, "step": 0.5, "cap": 8.0, "jitter": "full"}),
    hf.constant: (("seconds",), {"seconds": REQUIRED}),
    hf.decorrelated: (("first",), {"first": 0.5, "cap": 8.0}),
    hf.Node: (
        ("name", "target"),
        {
            "name": REQUIRED,
            "target": hf.DEFAULT,
            "address": None,
            "weight": 1.0,
            "tier": 0,
            "heartbeat": None,
            "domains": (),
            "bulkhead": None,
            "rate_limit": None,
        },
    ),
    hf.Heartbeat: (
        ("interval",),
        {
            "interval": 10.0,
            "failure_threshold": 3,
            "recovery_threshold": 2,
            "timeout": 5.0,
            "jitter": 0.1,
            "detector": None,
            "probe": None,
            "clears_traffic": False,
        },
    ),
    hf.ThresholdDetector: (
        ("failure_threshold", "recovery_threshold"),
        {"failure_threshold": 3, "recovery_threshold": 2},
    ),
    hf.DeadlineDetector: (("timeout",), {"timeout": None, "suspect_after": None}),
    hf.PhiAccrualDetector: (
        ("threshold",),
        {
            "threshold": 8.0,
            "min_std": 0.1,
            "acceptable_pause": None,
            "first_interval": None,
            "max_samples": 200,
        },
    ),
    hf.HttpProbe: (
        ("path_or_url",),
        {"path_or_url": REQUIRED, "method": "GET", "headers": None, "expect": range(200, 400)},
    ),
    hf.TcpProbe: (("address",), {"address": None}),
    hf.FailoverManager: (
        ("nodes",),
        {
            "nodes": REQUIRED,
            "name": None,
            "balancer": "round_robin",
            "heartbeat": None,
            "breaker": hf.DEFAULT,
            "retry": None,
            "timeout": None,
            "bulkhead": None,
            "rate_limit": None,
            "hedge": None,
            "fallback": None,
            "validate": None,
            "classify": None,
            "resume": None,
            "auto_rebalance": True,
            "rebalance_interval": 300.0,
            "slow_start": 0.0,
            "failback_hold": 0.0,
            "max_ejected": 0.5,
            "panic_below": 0.0,
            "exhausted": "wait",
            "sticky_key": None,
            "cooldown_cap": 600.0,
            "threads": False,
            "recovery": None,
            "on_alert": None,
        },
    ),
    hf.Restart: (
        ("restart",),
        {
            "restart": None,
            "max_restarts": 3,
            "within": 60.0,
            "backoff": hf.exponential(0.5, factor=2.0, cap=30.0, jitter="equal"),
            "sync_state": None,
            "timeout": 60.0,
        },
    ),
    hf.ProcessNode: (
        ("argv",),
        {
            "argv": REQUIRED,
            "name": None,
            "target": None,
            "address": None,
            "cwd": None,
            "env": None,
            "start_timeout": 30.0,
            "stop_timeout": 5.0,
            "stdout": None,
            "stderr": None,
            "weight": 1.0,
            "tier": 0,
            "heartbeat": None,
            "domains": (),
            "bulkhead": None,
            "rate_limit": None,
        },
    ),
    hf.AlertRule: (
        ("call",),
        {"call": REQUIRED, "kinds": None, "severity": None, "at_least": "info", "when": None, "title": None},
    ),
    hf.deadline: (("seconds",), {"seconds": REQUIRED}),
    hf.history: (("exc",), {"exc": REQUIRED}),
    hf.breakers: ((), {}),
    hf.current_attempt: ((), {}),
}

METHODS = {
    hf.CircuitBreaker: "call acall subscribe force_open force_closed disable shadow reset",
    hf.Retry: "call acall",
    hf.Timeout: "call acall",
    hf.Bulkhead: "call acall subscribe",
    hf.AdaptiveLimit: "call acall subscribe",
    hf.RateLimit: "call acall subscribe tighten",
    hf.Pipeline: "call acall stream astream subscribe",
    hf.FailoverManager: "call acall stream astream start stop add_node remove_node drain enable disable report "
    "beat wait_ready await_ready explain subscribe",
}

PROPERTIES = {
    hf.CircuitBreaker: "name state retry_after metrics",
    hf.BreakerMetrics: "calls successes failures throttled ignored late lost rejected in_flight slow opened "
    "failure_rate slow_call_rate mean_recovery_time state_since",
    hf.Bulkhead: "limit in_use queued max_queue queue_timeout retry_after metrics name",
    hf.AdaptiveLimit: "limit in_use queued max_queue queue_timeout retry_after metrics name",
    hf.LimitMetrics: "limit in_use queued rejected cuts",
    hf.RateLimit: "requests per burst available retry_after metrics name",
    hf.RateMetrics: "available queued rejected",
    hf.NodeView: "state enabled ready in_flight load latency failures recoveries weight share last_error "
    "not_before",
    hf.ManagerMetrics: "calls failovers failures recoveries recovery_success_rate mean_recovery_time rejected",
    hf.FailoverManager: "nodes metrics name",
}

SECRET = "sk-never-to-be-shown"


class Holder:
    """A target whose own repr tells its key."""

    def __repr__(self) -> str:
        return f"Holder(api_key={SECRET!r})"

    def __call__(self, *_args: object) -> str:
        return "called"


def is_long(value: str) -> bool:
    return len(value) > 3


def values() -> list[object]:
    """Two equal ones of each value, one after the other."""
    return [
        made
        for _pair in (1, 2)
        for made in (
            hf.Timeout(5, attempt=timedelta(seconds=1), idle=0.5, late="raise"),
            hf.CountWindow(20),
            hf.exponential(0.1, cap=3),
            hf.linear(0.1, 0.2, jitter="none"),
            hf.constant(0),
            hf.decorrelated(1, cap=timedelta(seconds=9)),
            hf.HttpProbe("/health", headers={"authorization": "x"}, expect=range(200, 300)),
            hf.Heartbeat(1.0, jitter=0.0, probe=hf.HttpProbe("/health")),
            hf.Node("a", is_long, weight=2.0, tier=1, domains=("region:eu",)),
        )
    ]


def states() -> list[object]:
    return [
        hf.CircuitBreaker("search"),
        hf.Retry(budget=None),
        hf.RetryBudget(),
        hf.Bulkhead(2),
        hf.AdaptiveLimit(),
        hf.RateLimit(60),
        hf.Pipeline(retry=3),
        hf.FailoverManager([hf.Node("a", is_long)], heartbeat=None),
        hf.PhiAccrualDetector(),
    ]


def named(thing: object) -> str:
    return type(thing).__name__


VALUES = values()
HALF = len(VALUES) // 2
STATES = states()
FROZEN = [*VALUES[:HALF], *STATES, hf.CircuitBreaker().metrics, hf.Verdict.ok()]


def test_all_is_sorted_and_complete() -> None:
    """`__all__` is sorted (constants, classes, the rest), and every public thing of the package is in it."""

    def place(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert hf.__all__ == sorted(hf.__all__, key=place)
    modules = {name for name in vars(hf) if inspect.ismodule(getattr(hf, name))}
    public = {name for name in vars(hf) if not name.startswith("_")} - modules
    assert public | {"__version__"} == set(hf.__all__)


def test_every_error_is_exported() -> None:
    """The whole exception tree is public, and its leaves are also what users already catch."""
    tree = [hf.HoldfastError]
    for cls in tree:
        tree += cls.__subclasses__()
    assert {cls.__name__ for cls in tree if cls.__module__.startswith("holdfast")} <= set(hf.__all__)
    assert issubclass(hf.CallTimeout, TimeoutError)
    assert issubclass(hf.ConfigurationError, ValueError)


@pytest.mark.parametrize("name", [name for name in hf.__all__ if callable(getattr(hf, name))])
def test_every_class_and_function_is_documented(name: str) -> None:
    """Each public class and function says what it is; one that can refuse a setting says so."""
    thing = getattr(hf, name)
    doc = inspect.getdoc(thing)
    assert doc
    assert doc != inspect.getdoc(Exception)
    if thing in SIGNATURES and SIGNATURES[thing][1].keys() - {"exc"} and thing not in (hf.CountWindow,):
        assert "ConfigurationError" in doc or thing is hf.resilient


@pytest.mark.parametrize("thing", list(SIGNATURES), ids=lambda thing: thing.__name__)
def test_durations_are_documented_in_seconds(thing: Callable[..., Any]) -> None:
    """Whatever takes a duration says in its docstring that it is in seconds."""
    durations = {"open_timeout", "max_elapsed", "total", "seconds", "first", "interval"}
    if durations & SIGNATURES[thing][1].keys():
        assert "second" in (inspect.getdoc(thing) or "").lower()


@pytest.mark.parametrize("thing", list(SIGNATURES), ids=lambda thing: thing.__name__)
def test_signatures_and_defaults(thing: Callable[..., Any]) -> None:
    """Each public callable has the documented fields and defaults; all but the first few are by keyword."""
    positional, defaults = SIGNATURES[thing]
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(thing).parameters.items()
        if not name.startswith("_")
    }
    assert {name: parameter.default for name, parameter in parameters.items()} == defaults
    by_position = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert tuple(by_position) == positional


@pytest.mark.parametrize("cls", list(METHODS), ids=lambda cls: cls.__name__)
def test_methods_are_there(cls: type) -> None:
    """The documented methods exist and say what they do."""
    for name in METHODS[cls].split():
        assert callable(getattr(cls, name)), name
        assert inspect.getdoc(getattr(cls, name)), name


@pytest.mark.parametrize("cls", list(PROPERTIES), ids=lambda cls: cls.__name__)
def test_attributes_are_there(cls: type) -> None:
    """The documented read-only attributes exist."""
    for name in PROPERTIES[cls].split():
        assert inspect.isdatadescriptor(getattr(cls, name)), name


def test_breaker_states_are_strings() -> None:
    """A breaker's state is a member of an enum of strings and compares as one."""
    assert hf.CircuitBreaker().state is hf.BreakerState.CLOSED
    assert hf.CircuitBreaker().state == "closed"
    assert {str(state) for state in hf.BreakerState} == {
        "closed", "open", "half_open", "forced_open", "forced_closed", "disabled", "shadow",
    }  # fmt: skip


@pytest.mark.parametrize("thing", FROZEN, ids=named)
def test_public_things_are_frozen(thing: object) -> None:
    """No attribute of a policy, value or snapshot can be set, added or deleted."""
    names = [name for name in dir(type(thing)) if not name.startswith("_")]
    assert names
    for name in [*names, "made_up"]:
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)
        with pytest.raises(AttributeError):
            delattr(thing, name)


@pytest.mark.parametrize(("one", "other"), list(zip(VALUES[:HALF], VALUES[HALF:], strict=True)))
def test_values_equal_and_hash_by_their_fields(one: object, other: object) -> None:
    """Two values made alike are equal and count once in a set; they differ from every other value."""
    assert one is not other
    assert one == other
    assert len({one, other}) == 1
    assert [value for value in VALUES[:HALF] if value == one] == [one]
    assert one != repr(one)


@pytest.mark.parametrize("value", VALUES[:HALF], ids=named)
def test_r11_values_pickle_and_are_their_own_copies(value: object) -> None:
    """A value comes back equal from a pickle, by every protocol, and copies as itself."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(value, protocol))
        assert back == value
        assert repr(back) == repr(value)
    assert copy.copy(value) is value
    assert copy.deepcopy([value])[0] is value


@pytest.mark.parametrize(
    "fields", [{"weight": 3.0}, {"tier": 2}, {"target": len}, {"domains": ("x",)}], ids=str
)
def test_values_with_one_other_field_differ(fields: dict[str, Any]) -> None:
    """Every field counts in a comparison."""
    assert hf.Node("a", **{"target": is_long, **fields}) != hf.Node("a", is_long)


def test_a_node_with_an_unhashable_target_has_a_hash() -> None:
    """Chat models may be unhashable; their nodes still fit into a set, once each."""

    class Model(Holder):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Model)

    assert len({hf.Node("a", Model()), hf.Node("a", Model()), hf.Node("b", Model())}) == 2


@pytest.mark.parametrize("state", STATES, ids=named)
def test_r11_states_refuse_to_be_copied_or_pickled(state: object) -> None:
    """What is its own state equals only itself, and two of it are refused with an error that names it."""
    again = state
    assert state == again
    assert all(other is state or other != state for other in [*STATES, *states()])
    assert hash(state) == hash(state)
    makers: list[Callable[[Any], object]] = [copy.copy, copy.deepcopy]
    makers += [partial(pickle.dumps, protocol=p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for make in makers:
        with pytest.raises(TypeError, match=f"{named(state)} holds shared state"):
            make(state)


def test_retry_without_backoff_does_not_wait() -> None:
    """`None` means "off" for the back-off too; the default waits up to its cap."""
    assert [hf.Retry(backoff=None).draw(n) for n in (1, 2, 9)] == [0.0, 0.0, 0.0]
    assert max(hf.Retry().draw(9) or 0 for _ in range(100)) > 1.0


def test_history_pickles_and_unpacks() -> None:
    """A row of the history is a tuple with names; it survives a pickle."""
    tried = hf.Tried(1, "a", "timeout", 0.5)
    assert pickle.loads(pickle.dumps(tried)) == tried
    assert tuple(tried) == (1, "a", "timeout", 0.5)
    assert repr(tried) == "Tried(number=1, node='a', kind='timeout', took=0.5)"
    number, node, *_rest = tried
    assert (number, node, tried.kind, tried.took) == (1, "a", "timeout", 0.5)


def secretive() -> dict[str, object]:
    node = hf.Node("a", Holder(), address=f"http://user:{SECRET}@127.0.0.1:1")
    probe = hf.HttpProbe("/health", headers={"authorization": SECRET})
    return {
        "node": node,
        "headers": probe,
        "heartbeat": hf.Heartbeat(probe=probe),
        "credentials in a URL": hf.HttpProbe(f"http://user:{SECRET}@host/health"),
        "query of a URL": hf.HttpProbe(f"https://host/health?key={SECRET}"),
        "query of a path": hf.HttpProbe(f"/health?key={SECRET}"),
        "manager": hf.FailoverManager([node]),
        "view": dict(hf.FailoverManager([node]).nodes),
        "guard": hf.Pipeline(retry=3)(Holder()),
        "pipeline": hf.Pipeline(retry=hf.Retry(retry_if_result=Holder()), timeout=5),
    }


@pytest.mark.parametrize("name", list(secretive()))
def test_no_repr_shows_a_secret(name: str) -> None:
    """No repr or str shows a target, a header, or a credential in a URL."""
    thing = secretive()[name]
    assert SECRET not in repr(thing)
    assert SECRET not in str(thing)


def test_an_error_about_a_target_does_not_show_it() -> None:
    """A target that is refused is told by its type: its own repr may hold a key."""
    key = {"api_key": SECRET}
    uses: list[Callable[[], object]] = [
        lambda: hf.Node("a", key),
        lambda: hf.Pipeline()(key),
        lambda: hf.Retry().call(key),  # type: ignore[arg-type]
        lambda: hf.FailoverManager([hf.Node("a", Holder())])(key),  # type: ignore[arg-type]
    ]
    for use in uses:
        with pytest.raises(hf.ConfigurationError, match=re.escape("got a value of type dict")) as caught:
            use()
        assert caught.value.field == "target"
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: hf.Retry(0), "attempts"),
        (lambda: hf.Retry(budget=3), "budget"),  # type: ignore[arg-type]
        (lambda: hf.Retry(backoff="fast"), "backoff"),  # type: ignore[arg-type]
        (lambda: hf.exponential(-1), "first"),
        (lambda: hf.exponential(factor=0.5), "factor"),
        (lambda: hf.linear(2, cap=1), "cap"),
        (lambda: hf.constant(float("nan")), "seconds"),
        (lambda: hf.Backoff("cubic"), "law"),  # type: ignore[arg-type]
        (lambda: hf.Timeout(0), "total"),
        (lambda: hf.Timeout(late="never"), "late"),  # type: ignore[arg-type]
        (lambda: hf.CircuitBreaker(""), "name"),
        (lambda: hf.CircuitBreaker(window=hf.CountWindow(0)), "calls"),
        (lambda: hf.Node("", len), "name"),
        (lambda: hf.Node("a", len, address=8000), "address"),  # type: ignore[arg-type]
        (lambda: hf.Node("a", len, domains="eu"), "domains"),
        (lambda: hf.HttpProbe(""), "path_or_url"),
        (lambda: hf.HttpProbe("/x", expect=range(0)), "expect"),
        (lambda: hf.Heartbeat(0, probe=hf.HttpProbe("/x")), "interval"),
        (lambda: hf.Heartbeat(probe="/x"), "probe"),  # type: ignore[arg-type]
        (lambda: hf.Heartbeat(clears_traffic=1), "clears_traffic"),  # type: ignore[arg-type]
        (lambda: hf.FailoverManager([]), "nodes"),
    ],
)
def test_a_bad_setting_names_field_rule_and_value(make: Callable[[], object], field: str) -> None:
    """Every refusal is a ConfigurationError that says which field, what it must be, and what it was."""
    with pytest.raises(hf.ConfigurationError) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.rule
    assert re.search(rf"\b{field}\b.* must .*got ", str(caught.value))

"""Defaults chosen for LLM calls. The reason for each number is in docs/policies/llm-defaults.md."""

from __future__ import annotations

from holdfast import _classify
from holdfast._breaker import CircuitBreaker
from holdfast._policies import Pipeline
from holdfast._retry import Retry, RetryBudget, exponential
from holdfast._timeout import Timeout
from holdfast._values import Default

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def llm_defaults(**overrides: Any) -> Pipeline:
    """A pipeline with defaults chosen for LLM calls, as a decorator for models, clients and functions.

    - ``retry``: 3 attempts; 0.5 s, 1 s, … at most 8 s between them, full jitter; a budget of 10 retries that
      a tenth of the successes refills.
    - ``breaker``: opens after 5 failures in a row, or when half of at least 10 calls within 30 s failed; for
      10 s, doubling to at most 60 s, ± 20 %; one probe at a time, two good ones close it.
    - ``timeout``: 120 s for an attempt, 30 s for a stream's first content and between its items, 600 s in
      total.
    - ``classify``: `holdfast.classify`; rules of your own come before it.
    - ``validate``: whether the answer is whole, of chat models and clients; of plain functions nothing.

    Every call makes a breaker and a budget of its own.

    Args:
        overrides: Fields of `Pipeline`. A number changes the first field of a policy only: ``retry=5`` makes
            five attempts and leaves the rest as above. ``None`` turns a policy off.

    Raises:
        ConfigurationError: A field is not what it must be.
        TypeError: There is no such field.
    """
    return Pipeline(**llm_fields(overrides), _rules=_classify.classify)


def llm_fields(overrides: dict[str, Any]) -> dict[str, Any]:
    """The fields of a pipeline or a manager for LLM calls, with these overrides."""
    chosen = {name: _choose(overrides.get(name, make), make) for name, make in _POLICIES.items()}
    return {**overrides, **chosen}


def _choose(value: Any, make: Callable[..., Any]) -> Any:
    if value is make or isinstance(value, Default):
        return make()
    return make(value) if isinstance(value, (int, float)) else value


def _retry(attempts: int = 3) -> Retry:
    backoff = exponential(0.5, factor=2.0, cap=8.0, jitter="full")
    return Retry(attempts, backoff=backoff, budget=RetryBudget(tokens=10.0, per_success=0.1))


def _breaker(failure_threshold: int = 5) -> CircuitBreaker:
    return CircuitBreaker(
        failure_threshold=failure_threshold,
        failure_rate=0.5,
        minimum_calls=10,
        window=30.0,
        open_timeout=10.0,
        open_timeout_factor=2.0,
        open_timeout_max=60.0,
        open_timeout_jitter=0.2,
        half_open_max_calls=1,
        success_threshold=2,
    )


def _timeout(total: float = 600.0) -> Timeout:
    return Timeout(total, attempt=120.0, first_item=30.0, idle=30.0)


_POLICIES = {"retry": _retry, "breaker": _breaker, "timeout": _timeout}

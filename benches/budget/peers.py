"""The peers, as far as they are installed: `make bench` gives them an environment of their own."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]

NEVER = 10**6
"""A threshold that is not reached."""


def _made(makers: dict[str, Callable[[Any], Guard]]) -> dict[str, Guard]:
    found = {}
    for name, make in makers.items():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        found[name] = make(module)
    return found


def function_guards() -> dict[str, Guard]:
    """A breaker of each peer, for plain functions."""
    return _made(
        {
            "circuitbreaker": lambda m: m.circuit(failure_threshold=NEVER),
            "pybreaker": lambda m: m.CircuitBreaker(fail_max=NEVER),
            "purgatory": lambda m: m.SyncCircuitBreakerFactory(default_threshold=NEVER)("bench"),
            "aiobreaker": lambda m: m.CircuitBreaker(fail_max=NEVER),
        }
    )


def coroutine_guards() -> dict[str, Guard]:
    """A breaker of each peer, for coroutine functions."""
    return _made(
        {
            "circuitbreaker": lambda m: m.circuit(failure_threshold=NEVER),
            "purgatory": lambda m: m.AsyncCircuitBreakerFactory(default_threshold=NEVER)("bench"),
            "aiobreaker": lambda m: m.CircuitBreaker(fail_max=NEVER),
            "hyx.circuitbreaker": lambda m: m.consecutive_breaker(
                exceptions=(Exception,), failure_threshold=NEVER, recovery_time_secs=1, recovery_threshold=1
            ),
        }
    )


def function_retries() -> dict[str, Guard]:
    """A retry of each peer, for plain functions; none of them has a breaker or a timeout beside it."""
    return _made(
        {
            "tenacity": lambda m: m.retry(stop=m.stop_after_attempt(3)),
            "stamina": lambda m: m.retry(on=ValueError, attempts=3),
            "backoff": lambda m: m.on_exception(m.expo, ValueError, max_tries=3),
        }
    )


def coroutine_retries() -> dict[str, Guard]:
    """A retry of each peer, for coroutine functions; none of them has a breaker or a timeout beside it."""
    return _made(
        {
            "tenacity": lambda m: m.retry(stop=m.stop_after_attempt(3)),
            "stamina": lambda m: m.retry(on=ValueError, attempts=3),
            "backoff": lambda m: m.on_exception(m.expo, ValueError, max_tries=3),
            "hyx.retry": lambda m: m.retry(on=ValueError, attempts=3),
        }
    )


def open_guards(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """``function`` behind an open breaker of each peer."""
    made = _made(
        {
            "circuitbreaker": lambda m: m.circuit(failure_threshold=1, recovery_timeout=NEVER),
            "pybreaker": lambda m: m.CircuitBreaker(fail_max=1, reset_timeout=NEVER),
            "purgatory": lambda m: m.SyncCircuitBreakerFactory(default_threshold=1, default_ttl=NEVER)(
                "bench"
            ),
            "aiobreaker": lambda m: m.CircuitBreaker(fail_max=1, timeout_duration=timedelta(days=1)),
        }
    )
    return {name: _opened(guard, function) for name, guard in made.items()}


def _opened(guard: Guard, function: Callable[..., Any]) -> Callable[..., Any]:
    healthy = False

    def target() -> Any:
        if healthy:
            return function()
        raise ValueError

    guarded = guard(target)
    for _ in range(3):
        with contextlib.suppress(Exception):  # the peer's own rejection or ours; either opens it
            guarded()
    healthy = True
    return guarded

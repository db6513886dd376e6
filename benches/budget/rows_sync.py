"""The sync rows: functions, methods, generators, refused and failing calls."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import peers
from paired import Row, adds, adds_to_reference, loop, ratio

import holdfast as hf

OLD = sys.version_info < (3, 12)
CHUNKS = 1000


def ns(figure: float) -> str:
    """Nanoseconds."""
    return f"{figure:+.1f} ns"


def rows() -> Iterator[Row]:
    """Each row of the sync half of the table."""
    yield success()
    yield with_arguments()
    yield method()
    yield timed()
    yield policies()
    yield attempts()
    yield inside_a_deadline()
    yield refused()
    yield failing()
    yield chunks()


def f(a: object = None, x: object = None) -> None:
    """Does nothing."""


def success() -> Row:
    variants = {
        "empty": loop("pass"),
        "bare": loop("f()", f=f),
        "reference": loop("f()", f=functools.partial(f)),
        "ours": loop("f()", f=hf.CircuitBreaker()(f)),
        **{name: loop("f()", f=guard(f)) for name, guard in peers.function_guards().items()},
    }
    return Row("breaker on f(), success", variants, ratio, "of partial(f)()", 1.15)


def with_arguments() -> Row:
    variants = {
        "empty": loop("pass"),
        "bare": loop("f(1, x=2)", f=f),
        "reference": loop("f(1, x=2)", f=functools.partial(f)),
        "ours": loop("f(1, x=2)", f=hf.CircuitBreaker()(f)),
    }
    return Row("breaker on f(1, x=2)", variants, ratio, "of partial(f)(1, x=2)", 1.10)


def method() -> Row:
    class Thing:
        def bare(self) -> None:
            """Does nothing."""

        @hf.CircuitBreaker()
        def guarded(self) -> None:
            """Does nothing."""

    variants = {
        "empty": loop("pass"),
        "bare": loop("o.bare()", o=Thing()),
        "ours": loop("o.guarded()", o=Thing()),
    }
    return Row("breaker on o.m()", variants, adds, "over bare o.m()", 14 if OLD else 22, times=ns)


def timed() -> Row:
    rates: dict[str, Any] = {"failure_rate": 0.5, "slow_call": 1.0, "slow_call_rate": 0.5, "window": 60.0}
    variants = {
        "empty": loop("pass"),
        "reference": loop("f()", f=hf.CircuitBreaker()(f)),
        "ours": loop("f()", f=hf.CircuitBreaker(**rates)(f)),
    }
    says = "over the count-only breaker"
    return Row("time window and slow-call rule on", variants, adds_to_reference, says, 25, times=ns)


def policies() -> Row:
    everything = hf.Pipeline(
        retry=3, breaker=hf.CircuitBreaker(), bulkhead=hf.Bulkhead(100), rate_limit=hf.RateLimit(10**9)
    )
    limits = hf.Pipeline(
        breaker=hf.CircuitBreaker(), bulkhead=hf.Bulkhead(100), rate_limit=hf.RateLimit(10**9)
    )
    variants = {
        "empty": loop("pass"),
        "bare": loop("f()", f=f),
        "reference": loop("f()", f=hf.CircuitBreaker()(f)),
        "ours": loop("f()", f=everything(f)),
        "ours without retry": loop("f()", f=limits(f)),
    }
    says = "over the breaker alone"
    name = "bulkhead + rate limit + breaker + retry on f()"
    return Row(name, variants, adds_to_reference, says, 120, times=ns)


def attempts() -> Row:
    def wrapper(*a: Any, **k: Any) -> Any:
        return f(*a, **k)

    variants = {
        "empty": loop("pass"),
        "bare": loop("f()", f=f),
        "reference": loop("f()", f=hf.CircuitBreaker()(f)),
        "ours": loop("f()", f=hf.Pipeline(retry=3, breaker=hf.CircuitBreaker(), timeout=5.0)(f)),
        "a wrapper in Python that does nothing": loop("f()", f=wrapper),
        **{name: loop("f()", f=guard(f)) for name, guard in peers.function_retries().items()},
    }
    says = "over the breaker alone"
    return Row("retry + breaker + total timeout on f()", variants, adds_to_reference, says, 500, times=ns)


def inside_a_deadline() -> Row:
    guarded = hf.CircuitBreaker()(f)

    @contextlib.contextmanager
    def elsewhere() -> Iterator[None]:
        # Somebody else's deadline, in another context, as in any process with calls under way.
        with hf.deadline(3600.0):
            yield

    other = contextvars.Context()
    kept = elsewhere()
    other.run(kept.__enter__)
    meanwhile = loop("f()", f=guarded)

    def run(turns: int) -> float:
        return meanwhile(turns)

    weakref.finalize(run, other.run, kept.__exit__, None, None, None)
    variants = {
        "empty": loop("pass"),
        "bare": loop("f()", f=f),
        "reference": loop("f()", f=functools.partial(f)),
        "ours": run,
    }
    says = "of partial(f)()"
    return Row("the same breaker while another call has a deadline", variants, ratio, says, 1.35)


def refused() -> Row:
    shut = hf.CircuitBreaker()
    shut.force_open()

    def raises() -> None:
        raise ValueError("refused")

    attempt = "try:\n f()\nexcept Exception:\n pass"
    variants = {
        "empty": loop("pass"),
        "reference": loop(attempt, f=raises),
        "ours": loop(attempt, f=shut(f)),
        **{name: loop(attempt, f=guard) for name, guard in peers.open_guards(f).items()},
    }
    return Row("rejection while open, raise + catch", variants, ratio, "of a function that raises", 1.0)


def failing() -> Row:
    def raises() -> None:
        raise ValueError("down")

    attempt = "try:\n f()\nexcept ValueError:\n pass"
    variants = {
        "empty": loop("pass"),
        "bare": loop(attempt, f=raises),
        "ours": loop(attempt, f=hf.CircuitBreaker(failure_threshold=2**31)(raises)),
    }
    return Row(
        "a failing call, judged and recorded", variants, adds, "over the bare failing call", 60, times=ns
    )


def chunks() -> Row:
    def items() -> Iterator[int]:
        yield from range(CHUNKS)

    consume = "for _ in f():\n pass"
    variants = {
        "bare": loop(consume, f=items),
        "ours": loop(consume, f=hf.CircuitBreaker()(items)),
    }
    limit = 6 if OLD else 12
    return Row(
        "generator, per chunk", variants, adds, "over the bare generator", limit, turns=CHUNKS, times=ns
    )

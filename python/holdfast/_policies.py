"""The policies: frozen values that hold the core's state and are decorators too.

An instance *is* the state: every guard made from one breaker or budget shares it; equal names do not share.
The numbers are checked by the native base classes, whose errors name field, rule and value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import _classify, _native, _wrap
from holdfast._breaker import CircuitBreaker
from holdfast._exceptions import refuse
from holdfast._guarding import DEFAULT, Guarding, _Default, _label

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Literal

    from holdfast._breaker import Classifier, Seconds
    from holdfast._events import Event


def exponential(
    first: Seconds = 0.5, *, factor: float = 2.0, cap: Seconds = 8.0, jitter: Literal["full", "equal", "none"] = "full"
) -> _native.Backoff:
    """Waits ``first``, ``first · factor``, ``first · factor²`` … seconds, at most ``cap``, jittered after the cap.

    The defaults wait at most 8 s, as the clients' own retries do; full jitter (uniform in ``[0, wait)``) spreads
    clients that failed together (M. Brooker, "Exponential Backoff and Jitter", 2015).

    Raises:
        ConfigurationError: A negative or non-finite number, a factor below 1, a cap below ``first``.
    """
    return _native.Backoff.exponential(first, factor, cap, jitter)


def linear(
    first: Seconds = 0.5,
    step: Seconds = 0.5,
    *,
    cap: Seconds = 8.0,
    jitter: Literal["full", "equal", "none"] = "full",
) -> _native.Backoff:
    """Waits ``first``, ``first + step``, ``first + 2 · step`` … seconds, at most ``cap``, jittered after the cap."""
    return _native.Backoff.linear(first, step, cap, jitter)


def constant(seconds: Seconds) -> _native.Backoff:
    """Always waits ``seconds``; 0 is legal."""
    return _native.Backoff.constant(seconds)


def decorrelated(first: Seconds = 0.5, *, cap: Seconds = 8.0) -> _native.Backoff:
    """Waits a time uniform in ``[first, 3 · previous wait]``, at most ``cap`` (Brooker 2015)."""
    return _native.Backoff.decorrelated(first, cap)


class RetryBudget(_native.RetryBudget):
    """A budget of retries that calls share: a storm of retries ends when it is empty.

    Args:
        tokens: The most it holds, and what it starts with. 20: a quiet client may retry at once.
        per_success: What a first-try success adds. 0.1: retries are at most 10 % of a healthy load.

    Raises:
        ConfigurationError: A number is negative or not finite.
    """

    __slots__ = ()

    def __new__(cls, tokens: float = 20.0, per_success: float = 0.1) -> RetryBudget:
        return super().__new__(cls, tokens, per_success)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.available:g} left>"


class Retry(Guarding, _native.Retry):
    """Tries again, within a number of attempts, a budget and the deadline.

    Args:
        attempts: Attempts per call over all nodes, the first included. 3.
        backoff: The wait before the same target is asked again: ``exponential()``, ``linear()``, ``constant()``,
            ``decorrelated()``, a number of seconds, or a callable from the retry's number (1, 2, …) to seconds.
        budget: A :class:`RetryBudget` to share; ``DEFAULT``: one of its own; ``None``: unlimited.
        retry_on: A type, a tuple of types, or ``exc -> bool``: only these are retried.
        retry_if_result: ``value -> bool``: a value to be tried again; the last one is returned when attempts run out.
        max_elapsed: No attempt starts later than this many seconds after the call began.
        respect_retry_after: Wait at least as long as the callee asked.
        retry_after_cap: The longest such wait inside a call, in seconds; a longer one ends the call. 60.
        nested: Retry even what an inner guarded call has given up on.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        attempts: int = 3,
        *,
        backoff: _native.Backoff | Seconds | Callable[[int], float] | None = None,
        budget: RetryBudget | _Default | None = DEFAULT,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None = None,
        retry_if_result: Callable[[Any], bool] | None = None,
        max_elapsed: Seconds | None = None,
        respect_retry_after: bool = True,
        retry_after_cap: Seconds = 60.0,
        nested: bool = False,
    ) -> Retry:
        if isinstance(budget, _Default):
            budget = RetryBudget()
        if budget is not None and not isinstance(budget, _native.RetryBudget):
            raise refuse("budget", "be a RetryBudget, DEFAULT or None", budget)
        return super().__new__(
            cls,
            attempts,
            backoff=exponential() if backoff is None else backoff,
            budget=budget,
            retry_on=retry_on,
            retry_if_result=retry_if_result,
            max_elapsed=max_elapsed,
            respect_retry_after=respect_retry_after,
            retry_after_cap=retry_after_cap,
            nested=nested,
        )

    def _as_pipeline(self) -> Pipeline:
        try:
            return self._pipe
        except AttributeError:
            self._pipe: Pipeline = Pipeline(retry=self)
            return self._pipe

    def __repr__(self) -> str:
        return f"Retry({self.attempts})"


class Timeout(Guarding, _native.Timeout):
    """The clocks of a call.

    An async call that outlives one is cancelled and raises :class:`CallTimeout`. A plain sync function is never
    interrupted: it is bounded between attempts, and a value that comes late is returned or refused by ``late``.

    Args:
        total: Seconds for the whole call, waits between attempts included.
        attempt: Seconds for one attempt.
        first_item: Seconds until a stream's first item.
        idle: Seconds between two items of a stream.
        late: What becomes of a value that comes after the deadline: ``"return"`` it, or ``"raise"``.

    Raises:
        ConfigurationError: A limit is not a positive, finite number of seconds.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        total: Seconds | None = None,
        *,
        attempt: Seconds | None = None,
        first_item: Seconds | None = None,
        idle: Seconds | None = None,
        late: Literal["return", "raise"] = "return",
    ) -> Timeout:
        return super().__new__(cls, total, attempt=attempt, first_item=first_item, idle=idle, late=late)

    def _as_pipeline(self) -> Pipeline:
        try:
            return self._pipe
        except AttributeError:
            self._pipe: Pipeline = Pipeline(timeout=self)
            return self._pipe

    def __repr__(self) -> str:
        limits = {name: getattr(self, name) for name in ("total", "attempt", "first_item", "idle")}
        return f"Timeout({', '.join(f'{k}={v:g}' for k, v in limits.items() if v is not None)})"


class Pipeline(Guarding, _native.Pipeline):
    """Several policies as one guard; ``None`` means that a policy is off.

    The order is fixed, outer to inner: total deadline, attempts, breaker, attempt timeout, the call.

    Args:
        retry: A :class:`Retry`, or its number of attempts.
        breaker: A :class:`CircuitBreaker`, or its failure threshold.
        timeout: A :class:`Timeout`, or its total in seconds.
        classify: ``exc -> Verdict`` (or ``"ok"``, ``"fail"``, ``"throttled"``, ``"ignore"``; ``None`` for the rules
            that would have applied anyway).
        name: A label for its events.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        retry: Retry | int | None = None,
        breaker: CircuitBreaker | int | None = None,
        timeout: Timeout | Seconds | None = None,
        classify: Classifier | None = None,
        name: str | None = None,
    ) -> Pipeline:
        retry = as_retry(retry)
        breaker = as_breaker(breaker)
        return super().__new__(
            cls,
            retry=retry,
            breaker=breaker,
            timeout=as_timeout(timeout),
            classify=compose(classify, breaker.classify if breaker is not None else None, retry),
            name=_label(name, "pipeline"),
        )

    def _as_pipeline(self) -> Pipeline:
        return self

    def stream(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Iterates over what ``fn`` returns, guarded: until the first item a failure is tried again."""
        guarded: Callable[..., Iterator[Any]] = _wrap.as_colour(self, fn, "generator")
        return guarded(*args, **kwargs)

    def astream(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Iterates asynchronously over what ``fn`` returns, guarded likewise."""
        guarded: Callable[..., AsyncIterator[Any]] = _wrap.as_colour(self, fn, "async_generator")
        return guarded(*args, **kwargs)

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this pipeline's own events from now on; returns the unsubscribe function."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)

    def __repr__(self) -> str:
        parts = {"retry": self.retry, "breaker": self.breaker, "timeout": self.timeout}
        return f"Pipeline({', '.join(f'{k}={v!r}' for k, v in parts.items() if v is not None)})"


def resilient(
    *,
    retry: Retry | int | None = None,
    breaker: CircuitBreaker | int | None = None,
    timeout: Timeout | Seconds | None = None,
    classify: Classifier | None = None,
    name: str | None = None,
) -> Pipeline:
    """A decorator made of ``Pipeline(...)`` with the same fields."""
    return Pipeline(retry=retry, breaker=breaker, timeout=timeout, classify=classify, name=name)


def as_retry(value: Retry | int | None) -> Retry | None:
    """``retry=3`` stands for ``retry=Retry(3)``."""
    if value is None or isinstance(value, Retry):
        return value
    if isinstance(value, (int, float)):
        return Retry(value)  # type: ignore[arg-type]  # a float or bool is refused by name there
    raise refuse("retry", "be a Retry, a number of attempts, or None", value)


def as_breaker(value: CircuitBreaker | int | None) -> CircuitBreaker | None:
    """``breaker=5`` stands for ``breaker=CircuitBreaker(failure_threshold=5)``."""
    if value is None or isinstance(value, CircuitBreaker):
        return value
    if isinstance(value, (int, float)):
        return CircuitBreaker(failure_threshold=value)  # type: ignore[arg-type]  # refused by name there
    raise refuse("breaker", "be a CircuitBreaker, a failure threshold, or None", value)


def as_timeout(value: Timeout | Seconds | None) -> Timeout | None:
    """``timeout=30`` stands for ``timeout=Timeout(30)``."""
    if value is None or isinstance(value, Timeout):
        return value
    return Timeout(value)


def compose(user: Classifier | None, breaker: Any, retry: Retry | None) -> Callable[[BaseException], Any]:
    """One classifier out of the user's, the breaker's and the retry's narrowing, over the rules for plain calls."""
    rules: Callable[[BaseException], Any] = _classify.judge_plain
    if breaker is not None:
        rules = _classify.make_classifier(breaker, rules)
    if user is not None:
        rules = _classify.make_classifier(user, rules)
    if retry is not None and retry.retry_on is not None:
        rules = _classify.narrow(rules, retry.retry_on)
    return rules

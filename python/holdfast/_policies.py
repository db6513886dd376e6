"""The policies: frozen values that hold the core's state and are decorators too.

An instance *is* the state: every guard made from one breaker or budget shares it; equal names do not share.
The numbers are checked by the native base classes, whose errors name field, rule and value.
"""

from __future__ import annotations

import weakref
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast import _classify, _native, _wrap
from holdfast._exceptions import Truncated, refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, AsyncIterator
    from datetime import timedelta
    from typing import Literal, ParamSpec

    from holdfast._events import Event
    from holdfast._exceptions import StreamInterrupted

    P = ParamSpec("P")
    Seconds = float | int | timedelta
    Classifier = Callable[[BaseException], Any] | tuple[Any, ...] | list[Any]
    Key = Callable[[tuple[Any, ...], dict[str, Any]], str]
    Resume = Callable[[StreamInterrupted], tuple[tuple[Any, ...], dict[str, Any]] | None]

T = TypeVar("T")


class _Default:
    """The type of ``DEFAULT``: "what the policy itself would choose", where ``None`` means "off"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEFAULT"

    def __reduce__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = _Default()


class BreakerState(StrEnum):
    """What a breaker's ``state`` may be."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    DISABLED = "disabled"
    SHADOW = "shadow"


_MOST_CALLS: Final = 65_536
"""What the native ring of outcomes can hold."""


class CountWindow:
    """A window over the last ``calls`` outcomes, for ``CircuitBreaker(window=…)``.

    Args:
        calls: How many outcomes it remembers, 1 to 65 536.

    Raises:
        ConfigurationError: ``calls`` is not such a number.
    """

    __slots__ = ("calls",)

    calls: int

    def __init__(self, calls: int) -> None:
        if not isinstance(calls, int) or isinstance(calls, bool) or not 1 <= calls <= _MOST_CALLS:
            raise refuse("calls", f"be a whole number from 1 to {_MOST_CALLS}", calls)
        object.__setattr__(self, "calls", calls)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"CountWindow is frozen: cannot set {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CountWindow) and other.calls == self.calls

    def __hash__(self) -> int:
        return hash((CountWindow, self.calls))

    def __reduce__(self) -> tuple[type[CountWindow], tuple[int]]:
        return CountWindow, (self.calls,)

    def __repr__(self) -> str:
        return f"CountWindow({self.calls})"


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


class _Guarding:
    """The decorator form that every policy and every pipeline has."""

    __slots__ = ()

    def _as_pipeline(self) -> Pipeline:
        raise TypeError(f"{type(self).__name__} does not say which pipeline it is")

    def __call__(self, target: T) -> T:
        """The guarded form of ``target``, of the same colour.

        Args:
            target: A function, method, coroutine function, generator or async generator function, or a
                LangChain Runnable.

        Raises:
            ConfigurationError: ``target`` is none of these.
        """
        return _wrap.guard(self._as_pipeline(), target)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes one guarded call of the plain function ``fn``."""
        guarded: Callable[P, T] = _wrap.as_colour(self._as_pipeline(), fn, "function")
        return guarded(*args, **kwargs)

    def acall(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Makes one guarded call of the coroutine function ``fn``; await the result."""
        guarded: Callable[P, Awaitable[T]] = _wrap.as_colour(self._as_pipeline(), fn, "coroutine")
        return guarded(*args, **kwargs)


class CircuitBreaker(_Guarding, _native.CircuitBreaker):
    """Stops calling what keeps failing, and finds out gently when it works again.

    Closed, it counts; when a rule trips it opens and rejects with :class:`CircuitOpen`; after ``open_timeout`` it
    lets at most ``half_open_max_calls`` probes through at a time; ``success_threshold`` good ones close it, one bad
    one reopens it. (M. Nygard, "Release It!", 2007.)

    Args:
        name: A label for events, metrics and messages; equal names do not share state.
        failure_threshold: Consecutive failures that open it; ``None`` turns the rule off. 5, as in Envoy.
        success_threshold: Good probes that close it. 2: one may be luck.
        open_timeout: Seconds open before the first probe. 30: incidents last minutes, blips seconds.
        half_open_max_calls: Probes at a time, 1 to 16. 1: a struggling server is not asked twice.
        failure_rate: Share of failures in the window, 0 to 1, that opens it; ``None``: off.
        slow_call_rate: Share of slow calls in the window that opens it; ``None``: off. Needs ``slow_call``.
        slow_call: Seconds after which a call is slow (a stream: the time to its first item).
        minimum_calls: Calls in the window before a rate is judged: 1 of 1 is not 100 %.
        window: Seconds, or ``CountWindow(n)`` for the last n calls.
        open_timeout_factor: Each reopening without health in between multiplies the open time by this.
        open_timeout_max: The longest open time, in seconds.
        open_timeout_jitter: Spreads the open time by ± this share, 0 to 1.
        probe_lease: Seconds after which a probe that never ends loses its slot. ``None``: 300.
        classify: ``exc -> Verdict`` for what counts as a failure.
        key: ``(args, kwargs) -> str``: one breaker per key.

    Raises:
        ConfigurationError: A field is out of range, of the wrong type, or contradicts another.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        name: str | None = None,
        *,
        failure_threshold: int | None = 5,
        success_threshold: int = 2,
        open_timeout: Seconds = 30.0,
        half_open_max_calls: int = 1,
        failure_rate: float | None = None,
        slow_call_rate: float | None = None,
        slow_call: Seconds | None = None,
        minimum_calls: int = 10,
        window: Seconds | CountWindow = 60.0,
        open_timeout_factor: float = 1.0,
        open_timeout_max: Seconds | None = None,
        open_timeout_jitter: float = 0.0,
        probe_lease: Seconds | None = None,
        classify: Classifier | None = None,
        key: Key | None = None,
    ) -> CircuitBreaker:
        label = _label(name, "breaker")
        by_count = isinstance(window, CountWindow)
        self = super().__new__(
            cls,
            label,
            failure_threshold=failure_threshold,
            success_threshold=success_threshold,
            open_timeout=open_timeout,
            half_open_max_calls=half_open_max_calls,
            failure_rate=failure_rate,
            slow_call_rate=slow_call_rate,
            slow_call=slow_call,
            minimum_calls=minimum_calls,
            window=None if by_count else window,
            window_calls=window.calls if isinstance(window, CountWindow) else None,
            open_timeout_factor=open_timeout_factor,
            open_timeout_max=open_timeout_max,
            open_timeout_jitter=open_timeout_jitter,
            probe_lease=probe_lease,
            classify=classify,
            key=key,
        )
        if name is not None:
            _named.add(self)
        return self

    def _as_pipeline(self) -> Pipeline:
        try:
            return self._pipe
        except AttributeError:
            self._pipe: Pipeline = Pipeline(breaker=self, name=self.name)
            return self._pipe

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this breaker's events from now on; returns the unsubscribe function."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a CircuitBreaker is its state and cannot be copied or pickled; make a new one, or share this")


_named: weakref.WeakSet[CircuitBreaker] = weakref.WeakSet()


def breakers() -> dict[str, CircuitBreaker]:
    """The live breakers that were given a name, by name; of several with one name, any one."""
    return {breaker.name: breaker for breaker in _named}


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


class Retry(_Guarding, _native.Retry):
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


class Timeout(_Guarding, _native.Timeout):
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


class Pipeline(_Guarding, _native.Pipeline):
    """Several policies as one guard; ``None`` means that a policy is off.

    The order is fixed, outer to inner: total deadline, attempts, breaker, attempt timeout, the call.

    Args:
        retry: A :class:`Retry`, or its number of attempts.
        breaker: A :class:`CircuitBreaker`, or its failure threshold.
        timeout: A :class:`Timeout`, or its total in seconds.
        classify: ``exc -> Verdict`` (or ``"ok"``, ``"fail"``, ``"throttled"``, ``"ignore"``; ``None`` for the rules
            that would have applied anyway).
        validate: ``answer -> object``: raises, or returns ``False``, if a complete answer must not be believed; it then
            counts as a failure (:class:`Truncated`). Not asked about a plain generator's items.
        resume: ``StreamInterrupted -> (args, kwargs) | None``: how to go on after a stream broke that had been handed
            out in part: the arguments of the next attempt, whose items follow. ``None``: the error is raised.
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
        validate: Callable[[Any], object] | None = None,
        classify: Classifier | None = None,
        resume: Resume | None = None,
        name: str | None = None,
        _governor: Callable[[], Any] | None = None,
    ) -> Pipeline:
        retry = as_retry(retry)
        validate, resume = checked_answers(validate, resume)
        breaker = as_breaker(breaker)
        return super().__new__(
            cls,
            retry=retry,
            breaker=breaker,
            timeout=as_timeout(timeout),
            classify=compose(classify, breaker.classify if breaker is not None else None, retry),
            answers=(validate, _governor, resume),
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
    validate: Callable[[Any], object] | None = None,
    classify: Classifier | None = None,
    resume: Resume | None = None,
    name: str | None = None,
) -> Pipeline:
    """A decorator made of ``Pipeline(...)`` with the same fields."""
    return Pipeline(
        retry=retry,
        breaker=breaker,
        timeout=timeout,
        validate=validate,
        classify=classify,
        resume=resume,
        name=name,
    )


def checked_answers(
    validate: Callable[[Any], object] | None, resume: Resume | None
) -> tuple[Callable[[Any], None] | None, Resume | None]:
    """Both must be callable; a validator that returns ``False`` raises."""
    if resume is not None and not callable(resume):
        raise refuse("resume", "be callable: resume(interrupted) -> (args, kwargs) or None", resume)
    if validate is None:
        return None, resume
    if not callable(validate):
        raise refuse("validate", "be callable: it is given the answer", validate)
    asked = validate

    def check(answer: Any) -> None:
        if asked(answer) is False:
            raise Truncated("The answer was refused by validate.", received=answer)

    return check, resume


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


_unnamed = 0


def _label(name: str | None, what: str) -> str:
    global _unnamed
    if name is None:
        _unnamed += 1
        return f"{what}-{_unnamed}"
    if not isinstance(name, str) or not name:
        raise refuse("name", "be a non-empty string or None", name)
    return name

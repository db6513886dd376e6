"""The policies: frozen values that hold the core's state and are decorators too.

An instance *is* the state: every guard made from one breaker or budget shares it; equal names do not share.
The numbers are checked by the native base classes, whose errors name field, rule and value.
"""

from __future__ import annotations

import weakref
from enum import StrEnum

from holdfast import _classify, _native, _wrap
from holdfast._exceptions import Truncated, refuse
from holdfast._retry import Retry
from holdfast._timeout import Timeout
from holdfast._values import State, Value, label
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
    from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypeVar

    from holdfast._classify import Verdict
    from holdfast._classify.custom import UserRule
    from holdfast._completion import Completion, Governor
    from holdfast._events import Event
    from holdfast._exceptions import StreamInterrupted
    from holdfast._values import Seconds

    P = ParamSpec("P")
    T = TypeVar("T")
    Classifier: TypeAlias = UserRule | Iterable[UserRule]
    Key: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], str]
    Validate: TypeAlias = Callable[[Any], object] | Literal[False]
    Resume: TypeAlias = Callable[[StreamInterrupted], tuple[tuple[Any, ...], dict[str, Any]] | None]


class BreakerState(StrEnum):
    """What a breaker's ``state`` may be."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    DISABLED = "disabled"
    SHADOW = "shadow"


_MOST_CALLS = 65_536
"""What the native ring of outcomes can hold."""


class CountWindow(Value):
    """A window over the last ``calls`` outcomes, for ``CircuitBreaker(window=…)``. A value.

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
        self._set(calls=calls)

    def __repr__(self) -> str:
        return f"CountWindow({self.calls})"


class CircuitBreaker(Guarding, State, _native.CircuitBreaker):
    """Stops calling what keeps failing, and finds out gently when it works again.

    Closed, it counts; when a rule trips it opens and rejects with :class:`CircuitOpen`; after
    ``open_timeout`` it lets at most ``half_open_max_calls`` probes through at a time; ``success_threshold``
    good ones close it, one bad one reopens it. (M. Nygard, "Release It!", 2007.)

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
    ) -> Self:
        self = super().__new__(
            cls,
            label(name, "breaker"),
            failure_threshold=failure_threshold,
            success_threshold=success_threshold,
            open_timeout=open_timeout,
            half_open_max_calls=half_open_max_calls,
            failure_rate=failure_rate,
            slow_call_rate=slow_call_rate,
            slow_call=slow_call,
            minimum_calls=minimum_calls,
            window=None if isinstance(window, CountWindow) else window,
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

    def _alone(self) -> Pipeline:
        return Pipeline(breaker=self, name=self.name)

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this breaker's events from now on; returns the unsubscribe function."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"


_named: weakref.WeakSet[CircuitBreaker] = weakref.WeakSet()


def breakers() -> dict[str, CircuitBreaker]:
    """The live breakers that were given a name, by name; of several with one name, any one."""
    return {breaker.name: breaker for breaker in _named}


class Pipeline(Guarding, State, _native.Pipeline):
    """Several policies as one guard; ``None`` means that a policy is off.

    The order is fixed, outer to inner: total deadline, attempts, breaker, attempt timeout, the call.

    Args:
        retry: A :class:`Retry`, or its number of attempts.
        breaker: A :class:`CircuitBreaker`, or its failure threshold.
        timeout: A :class:`Timeout`, or its total in seconds.
        classify: ``exc -> Verdict`` (or ``"ok"``, ``"fail"``, ``"throttled"``, ``"ignore"``; ``None`` for the
            rules that would have applied anyway).
        validate: ``answer -> object``: raises, or returns ``False``, if a complete answer must not be
            believed; it then counts as a failure (:class:`Truncated`). Not asked about a plain generator's
            items. Answers of chat models and clients are checked for being whole first; ``False``: they are
            not (docs/guides/streaming.md).
        resume: ``StreamInterrupted -> (args, kwargs) | None``: how to go on after a stream broke that had
            been handed out in part: the arguments of the next attempt, whose items follow. ``None``: the
            error is raised.
        name: A label for its events.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("_completion", "_given")

    # What its form for chat models and clients is made of (`_chat.py`).
    _completion: Completion | None
    _given: dict[str, Any]

    def __new__(
        cls,
        *,
        retry: Retry | int | None = None,
        breaker: CircuitBreaker | int | None = None,
        timeout: Timeout | Seconds | None = None,
        validate: Validate | None = None,
        classify: Classifier | None = None,
        resume: Resume | None = None,
        name: str | None = None,
        _rules: Callable[[BaseException], Verdict] = _classify.judge_plain,
        _completion: Completion | None = None,
        _like: Pipeline | None = None,
    ) -> Self:
        retry = as_retry(retry)
        answers = checked_answers(validate, resume, _completion)
        breaker = as_breaker(breaker)
        self = super().__new__(
            cls,
            retry=retry,
            breaker=breaker,
            timeout=as_timeout(timeout),
            classify=compose(classify, breaker.classify if breaker is not None else None, retry, _rules),
            answers=answers,
            name=label(name, "pipeline"),
            like=_like,
        )
        given = {
            "retry": retry,
            "breaker": breaker,
            "validate": validate,
            "classify": classify,
            "resume": resume,
        }
        object.__setattr__(self, "_given", {**given, "timeout": self.timeout, "name": self.name})
        object.__setattr__(self, "_completion", _completion)
        return self

    def _as_pipeline(self) -> Pipeline:
        return self

    def stream(
        self, fn: Callable[P, Iterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, Any, Any]:
        """Iterates over what ``fn`` returns, guarded: until the first item a failure is tried again."""
        guarded: Callable[P, Generator[T, Any, Any]] = _wrap.as_colour(self, fn, "generator")
        return guarded(*args, **kwargs)

    def astream(
        self, fn: Callable[P, AsyncIterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, Any]:
        """Iterates asynchronously over what ``fn`` returns, guarded likewise; not awaitable."""
        guarded: Callable[P, AsyncGenerator[T, Any]] = _wrap.as_colour(self, fn, "async_generator")
        return guarded(*args, **kwargs)

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this pipeline's own events from now on; returns how to unsubscribe."""
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
    validate: Validate | None = None,
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
    validate: Validate | None, resume: Resume | None, completion: Completion | None = None
) -> tuple[Callable[[Any], None] | None, Callable[[], Governor] | None, Resume | None]:
    """The validator (which raises where it was to return ``False``), the factory of governors, and `resume`."""
    if resume is not None and not callable(resume):
        raise refuse("resume", "be callable: resume(interrupted) -> (args, kwargs) or None", resume)
    if validate is not None and validate is not False and not callable(validate):
        raise refuse("validate", "be callable (it is given the answer), None or False", validate)
    if completion is not None:
        return (None if validate is False else completion.validate), completion.governor, resume
    if validate is None or validate is False:
        return None, None, resume
    asked = validate

    def check(answer: Any) -> None:
        if asked(answer) is False:
            raise Truncated("The answer was refused by validate.", received=answer)

    return check, None, resume


def as_retry(value: Retry | int | None) -> Retry | None:
    """``retry=3`` stands for ``retry=Retry(3)``."""
    if value is None or isinstance(value, Retry):
        return value
    if isinstance(value, (int, float)):
        return Retry(value)  # a float or bool is refused by name there
    raise refuse("retry", "be a Retry, a number of attempts, or None", value)


def as_breaker(value: CircuitBreaker | int | None) -> CircuitBreaker | None:
    """``breaker=5`` stands for ``breaker=CircuitBreaker(failure_threshold=5)``."""
    if value is None or isinstance(value, CircuitBreaker):
        return value
    if isinstance(value, (int, float)):
        return CircuitBreaker(failure_threshold=value)  # likewise
    raise refuse("breaker", "be a CircuitBreaker, a failure threshold, or None", value)


def as_timeout(value: Timeout | Seconds | None) -> Timeout | None:
    """``timeout=30`` stands for ``timeout=Timeout(30)``."""
    if value is None or isinstance(value, Timeout):
        return value
    return Timeout(value)


def compose(
    user: Classifier | None,
    breaker: Classifier | None,
    retry: Retry | None,
    rules: Callable[[BaseException], Verdict] = _classify.judge_plain,
) -> Callable[[BaseException], Verdict]:
    """One classifier: the user's, the breaker's and the retry's narrowing over the rules that apply anyway."""
    if breaker is not None:
        rules = _classify.make_classifier(breaker, rules)
    if user is not None:
        rules = _classify.make_classifier(user, rules)
    if retry is not None and retry.retry_on is not None:
        rules = _classify.narrow(rules, retry.retry_on)
    return rules

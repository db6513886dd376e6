"""The policies: frozen values that hold the core's state and are decorators too.

An instance *is* the state: every guard made from one breaker or budget shares it; equal names do not share.
The numbers are checked by the native base classes, whose errors name field, rule and value.
"""

from __future__ import annotations

from holdfast import _classify, _native, _wrap
from holdfast._breaker import CircuitBreaker
from holdfast._chaos import as_chaos
from holdfast._exceptions import Truncated, refuse
from holdfast._fallback import as_fallback
from holdfast._limits import as_bulkhead, as_rates
from holdfast._retry import Retry
from holdfast._timeout import Timeout
from holdfast._values import State, label
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Sequence
    from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypeVar

    from holdfast._breaker import Classifier
    from holdfast._chaos import Chaos
    from holdfast._classify import Verdict
    from holdfast._completion import Completion, Governor
    from holdfast._events import Event
    from holdfast._exceptions import StreamInterrupted
    from holdfast._fallback import Fallback
    from holdfast._limits import AdaptiveLimit, Bulkhead, RateLimit
    from holdfast._values import Seconds

    P = ParamSpec("P")
    T = TypeVar("T")
    Validate: TypeAlias = Callable[[Any], object] | Literal[False]
    Resume: TypeAlias = Callable[[StreamInterrupted], tuple[tuple[Any, ...], dict[str, Any]] | None]


class Pipeline(Guarding, State, _native.Pipeline):
    """Several policies as one guard; ``None`` means that a policy is off.

    The order is fixed, outer to inner: total deadline, fallback, attempts, breaker, rate limit, bulkhead, attempt
    timeout, chaos, the call.

    Args:
        retry: A :class:`Retry`, or its number of attempts.
        breaker: A :class:`CircuitBreaker`, or its failure threshold.
        timeout: A :class:`Timeout`, or its total in seconds.
        bulkhead: How many attempts run at once: a :class:`Bulkhead`, an :class:`AdaptiveLimit`, or a number.
        rate_limit: How many attempts begin in a stretch of time: a :class:`RateLimit`, several in a list (all must
            let an attempt pass), or a number per minute.
        fallback: A :class:`Fallback`: another answer when all this has failed.
        chaos: A :class:`Chaos`, or its error rate: faults on purpose, next to the call.
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
        bulkhead: Bulkhead | AdaptiveLimit | int | None = None,
        rate_limit: RateLimit | Sequence[RateLimit] | float | None = None,
        fallback: Fallback | float | None = None,
        chaos: Chaos | float | None = None,
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
        bulkhead = as_bulkhead(bulkhead)
        rates = as_rates(rate_limit)
        fallback = as_fallback(fallback)
        self = super().__new__(
            cls,
            retry=retry,
            breaker=breaker,
            timeout=as_timeout(timeout),
            bulkhead=bulkhead,
            rates=rates,
            classify=compose(classify, breaker.classify if breaker is not None else None, retry, _rules),
            answers=answers,
            fallback=fallback,
            name=label(name, "pipeline"),
            like=_like,
        )
        given = {
            "retry": retry,
            "breaker": breaker,
            "bulkhead": bulkhead,
            "rate_limit": rates or None,
            "fallback": fallback,
            "chaos": as_chaos(chaos),
            "validate": validate,
            "classify": classify,
            "resume": resume,
        }
        object.__setattr__(self, "_given", {**given, "timeout": self.timeout, "name": self.name})
        object.__setattr__(self, "_completion", _completion)
        return self

    def _as_pipeline(self) -> Pipeline:
        return self

    @property
    def fallback(self) -> Fallback | None:
        """Its fallback, or ``None``."""
        given: Fallback | None = self._given["fallback"]
        return given

    @property
    def chaos(self) -> Chaos | None:
        """Its chaos, or ``None``."""
        given: Chaos | None = self._given["chaos"]
        return given

    def _guard(self, function: Callable[..., Any], colour: _wrap.Colour) -> _native.Guard:
        chaos = self.chaos
        return super()._guard(function if chaos is None else chaos._around(function, colour), colour)

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
        names = ("retry", "breaker", "timeout", "bulkhead", "rate_limit", "fallback", "chaos")
        parts = {name: getattr(self, name) for name in names}
        return f"Pipeline({', '.join(f'{k}={v!r}' for k, v in parts.items() if v is not None)})"


def resilient(
    *,
    retry: Retry | int | None = None,
    breaker: CircuitBreaker | int | None = None,
    timeout: Timeout | Seconds | None = None,
    bulkhead: Bulkhead | AdaptiveLimit | int | None = None,
    rate_limit: RateLimit | Sequence[RateLimit] | float | None = None,
    fallback: Fallback | float | None = None,
    chaos: Chaos | float | None = None,
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
        bulkhead=bulkhead,
        rate_limit=rate_limit,
        fallback=fallback,
        chaos=chaos,
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

"""The errors of our own making.

::

    HoldfastError
    ├ Rejected              retry_after, reason, source        we did not even try
    │  ├ CircuitOpen        the breaker is open, or all its probes are out
    │  ├ NoNodeReady        no node of the pool is ready
    │  ├ RateLimited        a rate limit has no room before the deadline
    │  ├ BulkheadFull       a concurrency limit and its queue are full
    │  └ BudgetExhausted    the retry budget is empty
    ├ CallTimeout           limit, which                       also a TimeoutError
    ├ StreamInterrupted     received, cause                    a stream broke after its first item
    ├ Truncated             received                           an answer ended too early to be true
    └ ConfigurationError    field, rule, value                 also a ValueError

Every one is made as ``Error(message, field=…)``; without a message it writes its own sentence from
its fields. Every one pickles and copies, notes and subclasses included; what a pickle cannot carry
(a client's error that holds a connection, say) is carried as its description. As with every Python
exception, the traceback and ``__context__`` stay behind.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

__all__ = [
    "BudgetExhausted",
    "BulkheadFull",
    "CallTimeout",
    "CircuitOpen",
    "ConfigurationError",
    "HoldfastError",
    "NoNodeReady",
    "RateLimited",
    "Rejected",
    "StreamInterrupted",
    "Truncated",
]

_DESCRIPTION_LIMIT = 500
"""Characters of a description that stands in for a value which does not pickle."""

_PLAIN = (str, int, float, bool, bytes)


# The interpreter's own descriptor of `args`, behind the property of `Rejected`.
_args_of = BaseException.__dict__["args"].__get__
_set_args_of = BaseException.__dict__["args"].__set__


class HoldfastError(Exception):
    """The parent of every error that Holdfast itself raises."""

    __slots__ = ()

    args: tuple[Any, ...]
    __cause__: BaseException | None

    def _sentence(self) -> str:
        """What `str()` says when no message was given."""
        return "Holdfast could not go on."

    def _complete(self, message: str | None) -> None:
        """Take `message`, or write one from the fields, which must be set by now."""
        self.args = (self._sentence() if message is None else message,)

    def __reduce__(self) -> tuple[Any, ...]:
        # Not the default, which would call `cls(*args)`: a user's subclass may have an `__init__`
        # of its own, and slots are not in `__dict__`.
        state, slots = _state(self)
        return _blank, (type(self), self.args), (_each(_portable, state), _each(_portable, slots))

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]] | Any) -> None:
        attributes, slots = state
        self.__dict__.update(attributes)
        for name, value in slots.items():
            setattr(self, name, value)
        cause = slots.get("cause")
        if isinstance(cause, BaseException):
            self.__cause__ = cause

    def __copy__(self) -> Self:
        copied: Self = _blank(type(self), self.args)
        copied.__setstate__(_state(self))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Exceptions inside are shared: many clients' errors cannot be built a second time.
        from copy import deepcopy

        def deep(value: Any) -> Any:
            return value if isinstance(value, BaseException) else deepcopy(value, memo)

        copied: Self = _blank(type(self), self.args)
        memo[id(self)] = copied
        state, slots = _state(self)
        copied.__setstate__((_each(deep, state), _each(deep, slots)))
        return copied


class Rejected(HoldfastError):
    """We did not even try: nothing was sent, so nothing was done and nothing was billed.

    Attributes:
        retry_after: Seconds after which it is worth asking again; None if that is not known.
        reason: Why, in a word or two: ``"open"``, ``"half_open"``, ``"forced_open"``, …
        source: The name of the breaker, pool, limit or budget that refused.
    """

    # Slots, because a rejection is made in the very moments when there are many of them.
    __slots__ = ("reason", "retry_after", "source")

    retry_after: float | None
    reason: str | None
    source: str | None

    def __init__(
        self,
        message: str | None = None,
        /,
        *,
        retry_after: float | None = None,
        reason: str | None = None,
        source: str | None = None,
    ) -> None:
        self.retry_after = retry_after
        self.reason = reason
        self.source = source
        self._complete(message)

    if not TYPE_CHECKING:

        @property
        def args(self):
            """The sentence. A rejection that was raised natively writes it when it is first asked for."""
            if not _args_of(self):
                self._complete(None)
            return _args_of(self)

        @args.setter
        def args(self, value):
            _set_args_of(self, value)

        def __str__(self):
            return super().__str__() if self.args else ""

        def __repr__(self):
            return super().__repr__() if self.args else ""

    def _sentence(self) -> str:
        name = f" by {self.source!r}" if self.source else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"The call was rejected{name}{why}{self._when()}."

    def _when(self) -> str:
        return "" if self.retry_after is None else f"; ask again in {_seconds(self.retry_after)}"

    def _named(self, noun: str) -> str:
        return f"The {noun} {self.source!r}" if self.source else f"The {noun}"


class CircuitOpen(Rejected):
    """The breaker is open, or half-open with all its probes out."""

    __slots__ = ()

    def _sentence(self) -> str:
        circuit = self._named("circuit")
        if self.reason == "half_open":
            return f"{circuit} is half-open and all its probes are out{self._when()}."
        if self.reason == "forced_open":
            return f"{circuit} was forced open by hand; only reset() or force_closed() close it."
        return f"{circuit} is open{self._when()}."


class NoNodeReady(Rejected):
    """No node of the pool is ready; `FailoverManager.explain()` says why for each."""

    __slots__ = ()

    def _sentence(self) -> str:
        pool = f" of {self.source!r}" if self.source else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"No node{pool} is ready{why}{self._when()}."


class RateLimited(Rejected):
    """Our own rate limit has no room before the deadline; a provider's 429 is not this."""

    __slots__ = ()

    def _sentence(self) -> str:
        return f"{self._named('rate limit')} has no room{self._when()}."


class BulkheadFull(Rejected):
    """The concurrency limit and its queue are full, or the wait in the queue was too long."""

    __slots__ = ()

    def _sentence(self) -> str:
        if self.reason == "queue_timeout":
            return f"{self._named('concurrency limit')} had no free place in time{self._when()}."
        return f"{self._named('concurrency limit')} is full{self._when()}."


class BudgetExhausted(Rejected):
    """The retry budget is empty: too many of the recent calls were retries."""

    __slots__ = ()

    def _sentence(self) -> str:
        return f"{self._named('retry budget')} is empty, so no further attempt is made."


class CallTimeout(HoldfastError, TimeoutError):
    """One of our own clocks ran out.

    Attributes:
        limit: The limit in seconds.
        which: Which clock: ``"attempt"``, ``"first_item"``, ``"idle"`` or ``"total"``.
    """

    # No slots: the memory layout of an OSError leaves no room for them.
    limit: float | None
    which: str | None

    def __init__(
        self, message: str | None = None, /, *, limit: float | None = None, which: str | None = None
    ) -> None:
        self.limit = limit
        self.which = which
        self._complete(message)

    def _sentence(self) -> str:
        limit = "" if self.limit is None else f" within {_seconds(self.limit)}"
        match self.which:
            case "first_item":
                return f"The stream gave no first item{limit}."
            case "idle":
                return f"The stream fell silent: no further item came{limit}."
            case "attempt":
                return f"The attempt did not end{limit}."
            case _:
                return f"The call did not end{limit}."


class StreamInterrupted(HoldfastError):
    """A stream broke after content had been handed out, so it was neither replayed nor moved.

    Attributes:
        received: What had come so far.
        cause: The error that broke it; also the ``__cause__``.
    """

    __slots__ = ("cause", "received")

    received: Any
    cause: BaseException | None
    __cause__: BaseException | None

    def __init__(
        self,
        message: str | None = None,
        /,
        *,
        received: Any = None,
        cause: BaseException | None = None,
    ) -> None:
        self.received = received
        self.cause = cause
        if cause is not None:
            self.__cause__ = cause
        self._complete(message)

    def _sentence(self) -> str:
        # The cause by its type only: its text may quote what was asked.
        by = f" by {type(self.cause).__name__}" if self.cause is not None else ""
        return f"The stream was interrupted{by} after its first content had been handed out."


class Truncated(HoldfastError):
    """An answer that ended too early to be true: no end marker, or half a tool call.

    Attributes:
        received: What had come. Do not run tool calls found in it.
    """

    __slots__ = ("received",)

    received: Any

    def __init__(self, message: str | None = None, /, *, received: Any = None) -> None:
        self.received = received
        self._complete(message)

    def _sentence(self) -> str:
        return "The answer ended too early to be complete."


class ConfigurationError(HoldfastError, ValueError):
    """A setting breaks a rule.

    Attributes:
        field: The field's name, as the user wrote it.
        rule: What it must be, as the end of "must …".
        value: What it was.
    """

    __slots__ = ("field", "rule", "value")

    field: str | None
    rule: str | None
    value: Any

    def __init__(
        self,
        message: str | None = None,
        /,
        *,
        field: str | None = None,
        rule: str | None = None,
        value: Any = None,
    ) -> None:
        self.field = field
        self.rule = rule
        self.value = value
        self._complete(message)

    def _sentence(self) -> str:
        rule = self.rule or "be different"
        return f"{self.field or 'a setting'} must {rule}, got {self.value!r}"


def _seconds(duration: float) -> str:
    return f"{duration:.3g} s" if duration < 1000 else f"{duration:.0f} s"


def _state(exc: BaseException) -> tuple[dict[str, Any], dict[str, Any]]:
    """The instance's dictionary (notes are in it) and its slots."""
    state: Any = object.__getstate__(exc)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    return dict(attributes or {}), dict(slots or {})


def _blank(cls: type[Any], args: tuple[Any, ...]) -> Any:
    exc = cls.__new__(cls, *args)
    exc.args = args  # an OSError with an `__init__` of its own does not take them in `__new__`
    return exc


def _each(change: Callable[[Any], Any], values: dict[str, Any]) -> dict[str, Any]:
    return {name: change(value) for name, value in values.items()}


def _portable(value: Any) -> Any:
    """`value` itself if it survives a pickle, else a description of it.

    Tried, not guessed: many clients' errors pickle well and then cannot be unpickled.
    """
    if value is None or isinstance(value, HoldfastError) or type(value) in _PLAIN:
        return value
    import pickle

    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # noqa: BLE001 whatever a foreign `__reduce__` or `__init__` raises
        return _description(value)
    return value


def _description(value: Any) -> Any:
    if isinstance(value, BaseException):
        cls = type(value)
        return HoldfastError(f"{cls.__module__}.{cls.__qualname__}: {_text(value, str)}")
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    return _text(value, repr)


def _text(value: Any, write: Callable[[Any], str]) -> str:
    try:
        return write(value)[:_DESCRIPTION_LIMIT]
    except Exception as error:  # noqa: BLE001 a `__str__` may raise anything
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def refuse(field: str, rule: str, value: object) -> ConfigurationError:
    """The error for a setting that breaks a rule."""
    return ConfigurationError(field=field, rule=rule, value=value)


for _name in __all__:  # tracebacks and pickles name them as users import them
    globals()[_name].__module__ = "holdfast"

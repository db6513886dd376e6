"""Retry: how many attempts, how long between them, and on whose budget."""

from __future__ import annotations

from holdfast import _classify, _native
from holdfast._exceptions import refuse
from holdfast._values import DEFAULT, Default, State, Value
from holdfast._wrap import Guarding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any, Literal, Self, TypeAlias

    from holdfast._policies import Pipeline
    from holdfast._values import Seconds

    Jitter: TypeAlias = Literal["full", "equal", "none"]
    RetryOn: TypeAlias = (
        type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
    )


class Backoff(Value):
    """A law by which waits grow; made by `exponential`, `linear`, `constant` and `decorrelated`. A value.

    Args:
        law: The name of the function that makes it.
        fields: That function's arguments; durations are seconds.

    Raises:
        ConfigurationError: There is no such law, or a field breaks its rules.
    """

    __slots__ = ("_core", "fields", "law")

    law: Literal["exponential", "linear", "constant", "decorrelated"]
    fields: tuple[tuple[str, Any], ...]
    _core: _native.Backoff

    def __init__(
        self, law: Literal["exponential", "linear", "constant", "decorrelated"], **fields: Any
    ) -> None:
        if law not in _LAWS:
            raise refuse("law", f"be among {', '.join(_LAWS)}", law)
        core = getattr(_native.Backoff, law)(**fields)
        self._set(law=law, fields=tuple(fields.items()), _core=core)

    def _fields(self) -> dict[str, Any]:
        return {"law": self.law, **dict(self.fields)}

    def __repr__(self) -> str:
        positional = _LAWS[self.law]
        shown = (f"{value!r}" if name in positional else f"{name}={value!r}" for name, value in self.fields)
        return f"{self.law}({', '.join(shown)})"


_LAWS = {
    "exponential": ("first",),
    "linear": ("first", "step"),
    "constant": ("seconds",),
    "decorrelated": ("first",),
}
"""The laws, and which of their fields are given by position."""


def exponential(
    first: Seconds = 0.5, *, factor: float = 2.0, cap: Seconds = 8.0, jitter: Jitter = "full"
) -> Backoff:
    """Waits ``first``, ``first · factor``, ``first · factor²`` … seconds, at most ``cap``, then jittered.

    The defaults wait at most 8 s, as the clients' own retries do; full jitter (uniform in ``[0, wait)``)
    spreads clients that failed together (M. Brooker, "Exponential Backoff and Jitter", 2015).

    Args:
        first: Seconds before the first retry, 0 or more.
        factor: What each further retry multiplies the wait by, 1 or more.
        cap: The longest wait in seconds, at least ``first``.
        jitter: ``"full"``; ``"equal"``: uniform in ``[wait / 2, wait)``; or ``"none"``.

    Raises:
        ConfigurationError: A negative or non-finite number, a factor below 1, a cap below ``first``.
    """
    return Backoff("exponential", first=first, factor=factor, cap=cap, jitter=jitter)


def linear(
    first: Seconds = 0.5, step: Seconds = 0.5, *, cap: Seconds = 8.0, jitter: Jitter = "full"
) -> Backoff:
    """Waits ``first``, ``first + step``, ``first + 2 · step`` … seconds, at most ``cap``, then jittered.

    Args:
        first: Seconds before the first retry, 0 or more.
        step: Seconds that each further retry adds, 0 or more.
        cap: The longest wait in seconds, at least ``first``.
        jitter: As for `exponential`.

    Raises:
        ConfigurationError: A negative or non-finite number, or a cap below ``first``.
    """
    return Backoff("linear", first=first, step=step, cap=cap, jitter=jitter)


def constant(seconds: Seconds) -> Backoff:
    """Always waits ``seconds``; 0 is legal.

    Raises:
        ConfigurationError: ``seconds`` is negative or not finite.
    """
    return Backoff("constant", seconds=seconds)


def decorrelated(first: Seconds = 0.5, *, cap: Seconds = 8.0) -> Backoff:
    """Waits a time uniform in ``[first, 3 · previous wait]`` seconds, at most ``cap`` (Brooker 2015).

    Args:
        first: The shortest wait in seconds, above 0, for the waits grow from it.
        cap: The longest wait in seconds, at least ``first``.

    Raises:
        ConfigurationError: A number out of range.
    """
    return Backoff("decorrelated", first=first, cap=cap)


_EXPONENTIAL = exponential()


class RetryBudget(State, _native.RetryBudget):
    """A budget of retries that calls share: a storm of retries ends when it is empty.

    The instance is the state: it cannot be copied or pickled.

    Args:
        tokens: The most it holds, and what it starts with. 20: a quiet client may retry at once.
        per_success: What a first-try success adds. 0.1: retries are at most 10 % of a healthy load.

    Raises:
        ConfigurationError: A number is negative or not finite.
    """

    __slots__ = ()

    def __new__(cls, tokens: float = 20.0, per_success: float = 0.1) -> Self:
        return super().__new__(cls, tokens, per_success)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.available:g} left>"


class Retry(Guarding, State, _native.Retry):
    """Tries again, within a number of attempts, a budget and the deadline.

    A decorator, and a loop around a block::

        for attempt in Retry(3):
            with attempt:
                answer = ask(question)

    An argument that is an iterator is used up by the first attempt, so such a call is not repeated.

    It holds its budget, which is state: it cannot be copied or pickled, and guards share it.

    Args:
        attempts: Attempts per call over all nodes, the first included. 3.
        backoff: The wait before the same target is asked again: `exponential`, `linear`, `constant`,
            `decorrelated`, a number of seconds, or a callable from the retry's number (1, 2, …) to seconds.
            ``None``: no wait.
        budget: A :class:`RetryBudget` to share; ``DEFAULT``: one of its own; ``None``: unlimited.
        retry_on: A type, a tuple of types, or ``exc -> bool``: only these are retried.
        retry_if_result: ``value -> bool``: a value to be tried again; the last one is returned when attempts
            run out.
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
        backoff: Backoff | Seconds | Callable[[int], float] | None = _EXPONENTIAL,
        budget: RetryBudget | Default | None = DEFAULT,
        retry_on: RetryOn | None = None,
        retry_if_result: Callable[[Any], object] | None = None,
        max_elapsed: Seconds | None = None,
        respect_retry_after: bool = True,
        retry_after_cap: Seconds = 60.0,
        nested: bool = False,
    ) -> Self:
        spent = RetryBudget() if isinstance(budget, Default) else budget
        if spent is not None and not isinstance(spent, _native.RetryBudget):
            raise refuse("budget", "be a RetryBudget, DEFAULT or None", budget)
        if retry_on is not None:
            # It is refused here, where it was written, and not by the first pipeline that it is put into.
            _classify.narrow(_classify.judge_plain, retry_on)
        law: Any = constant(0) if backoff is None else backoff
        return super().__new__(
            cls,
            attempts,
            backoff=law._core if isinstance(law, Backoff) else law,
            budget=spent,
            retry_on=retry_on,
            retry_if_result=retry_if_result,
            max_elapsed=max_elapsed,
            respect_retry_after=respect_retry_after,
            retry_after_cap=retry_after_cap,
            nested=nested,
        )

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(retry=self)

    def __iter__(self) -> Iterator[_native.Block]:
        """The attempts at a block: ``for attempt in Retry(3): with attempt: …``.

        A failure that is to be tried again ends its block quietly, and the loop waits and goes on; the last
        one is raised. A block that ends well ends the loop.
        """
        return _native.Attempts(self._as_pipeline())

    def __aiter__(self) -> AsyncIterator[_native.Block]:
        """The same for ``async for attempt in Retry(3): with attempt: …``; the loop waits without blocking."""
        return _native.Attempts(self._as_pipeline())

    def __repr__(self) -> str:
        return f"Retry({self.attempts})"

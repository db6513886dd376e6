"""What the policies have in common: how they guard, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from holdfast import _wrap
from holdfast._exceptions import refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec

    from holdfast._policies import Pipeline

    P = ParamSpec("P")

T = TypeVar("T")


class _Default:
    """The type of ``DEFAULT``: "what the policy itself would choose", where ``None`` means "off"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEFAULT"

    def __reduce__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = _Default()


class Guarding:
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


_unnamed = 0


def _label(name: str | None, what: str) -> str:
    global _unnamed
    if name is None:
        _unnamed += 1
        return f"{what}-{_unnamed}"
    if not isinstance(name, str) or not name:
        raise refuse("name", "be a non-empty string or None", name)
    return name

"""What the public values have in common: fields set once, equality by them, copies that share.

Two kinds of public things. A *value* (a timeout, a node, a window) equals what has the same fields, pickles,
and is its own copy. A *state* (a breaker, a budget, a manager) equals only itself and refuses to be copied or
pickled, because two of it would each know half of what happened.
"""

from __future__ import annotations

from holdfast._exceptions import refuse

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from typing import Any, Final, Never, NoReturn, Self, TypeAlias

    Seconds: TypeAlias = float | int | timedelta


class Default:
    """The type of ``DEFAULT``: "what the policy itself would choose", where ``None`` means "off"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEFAULT"

    def __reduce__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default()
"""Stands for "what the policy itself would choose", where ``None`` means "off"."""


class Immutable:
    """Attributes cannot be set or deleted."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name!r}")


class Value(Immutable):
    """A frozen value; its fields are what `_fields` says, and each is a keyword of its class."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *map(_hashable, self._fields().values())))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), self._fields())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._fields().items())
        return f"{type(self).__name__}({shown})"


class State(Immutable):
    """A thing that is its state: shared, never copied or pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> Never:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} holds shared state and cannot be copied or pickled: share this one, or make a new one"
        )


def label(name: str | None, what: str) -> str:
    """``name``, or one of our own making for a thing that was given none."""
    global _unnamed
    if name is None:
        _unnamed += 1
        return f"{what}-{_unnamed}"
    if not is_text(name):
        raise refuse("name", "be a non-empty string or None", name)
    return name


_unnamed = 0


def positive_seconds(field: str, value: object) -> float:
    """The seconds of a number or a timedelta, which must be finite and more than zero.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif hasattr(value, "total_seconds"):
        seconds = value.total_seconds()
    else:
        raise refuse(field, "be a finite number of seconds or a timedelta", value)
    if not 0.0 < seconds < float("inf"):
        raise refuse(field, "be positive and finite", value)
    return seconds


def is_text(value: object) -> bool:
    """Is it a string, and not empty?"""
    return isinstance(value, str) and value != ""


def _made(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    return cls(**fields)


def _hashable(value: object) -> object:
    """Something equal for equal values; what cannot be hashed is left to `__eq__`."""
    try:
        hash(value)
    except TypeError:
        return None
    return value

"""How objects of other people's libraries are looked at: by the names of their classes, field by field."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_LABELS = frozenset(
    {"type", "index", "id", "item_id", "call_id", "status", "role", "phase", "object", "created", "model"}
)
"""Fields that say what a block is, not what it says."""


def is_a(thing: Any, name: str) -> bool:
    """Has the thing's class this name, or an ancestor of it? Names are the same in every version."""
    kind: Any = type(thing)
    return name in _names(kind)


@lru_cache(maxsize=1024)  # asked several times of every answer
def _names(cls: Any) -> frozenset[str]:
    return frozenset(ancestor.__name__ for ancestor in cls.__mro__)


def field(thing: Any, name: str) -> Any:
    """The field of a mapping or an object; None if it has none."""
    if isinstance(thing, dict):
        return thing.get(name)
    return getattr(thing, name, None)


def text(thing: Any, name: str) -> str:
    """The field if it is a string; else the empty one."""
    value = field(thing, name)
    return value if isinstance(value, str) else ""


def items(thing: Any, name: str) -> list[Any]:
    """The field if it is a list; else the empty one."""
    value = field(thing, name)
    return value if isinstance(value, list) else []


def speaks(value: Any) -> bool:
    """Is anything said in it? Labels, numbers and empty containers say nothing."""
    if isinstance(value, str):
        return value != ""
    if isinstance(value, dict):
        return any(speaks(inner) for name, inner in value.items() if name not in _LABELS)
    if isinstance(value, list | tuple):
        return any(speaks(inner) for inner in value)
    return value is not None and not isinstance(value, bool | int | float)

"""What `retry.py` and `fallbacks.py` share: both are LangChain's own runnables with another engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable
from pydantic import BaseModel


class Made:
    """What is made from the fields of a runnable when it is first called; made anew if they change.

    It is no part of what the runnable is: a copy or a pickle of it begins with nothing.
    """

    __slots__ = ("_key", "_value")

    def __init__(self) -> None:
        self._key: Any = None
        self._value: Any = None

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        if self._value is None or self._key != key:
            self._key, self._value = key, make()
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Made, ()

    def __deepcopy__(self, memo: object) -> Made:
        return Made()


def rebuilding(method: Any, around: Callable[[Runnable[Any, Any]], Any]) -> Any:
    """The method, with `around` around the runnables that it makes."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = method(*args, **kwargs)
        return around(made) if isinstance(made, Runnable) else made

    return call


def is_own(name: str) -> bool:
    """Names that Python, pydantic and notebooks look for on the object itself."""
    return name.startswith("__") or name in _OWN


_OWN = frozenset({"_repr_html_", "_ipython_display_", "_repr_mimebundle_"}) | {
    name for name in vars(BaseModel) if name.startswith("_")
}

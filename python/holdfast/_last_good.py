"""The last good answers of a fallback: by input, with their age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._fingerprint import fingerprint
from holdfast._values import positive_seconds

if TYPE_CHECKING:
    from holdfast._fallback import Facts, Key
    from holdfast._values import Seconds
    from holdfast.langchain._last_good import Cached


_ROUNDING = 1e-6
"""Seconds by which the difference of two readings of the clock may be off: exactly the limit is not too old."""


class LastGood:
    """Where good answers are kept, and how old they may be.

    Args:
        limit: Seconds.
        cache: A LangChain ``BaseCache``, or ``None`` for memory.
        key: The user's own key, or ``None``.
        max_entries: The bound of the memory.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    def __init__(self, limit: Seconds, cache: Any, key: Key | None, max_entries: int) -> None:
        self.limit = positive_seconds("last_good", limit)
        if key is not None and not callable(key):
            raise refuse("key", "be callable: key(args, kwargs) -> str", key)
        if isinstance(max_entries, bool) or not isinstance(max_entries, int) or max_entries < 1:
            raise refuse("max_entries", "be a whole number of at least 1", max_entries)
        self._key = key
        self._store: Memory | Cached = Memory(max_entries) if cache is None else _cached(cache)

    @property
    def is_quick(self) -> bool:
        """May it be asked without awaiting?"""
        return isinstance(self._store, Memory)

    def get(self, facts: Facts) -> tuple[Any] | None:
        """The answer, in a tuple of its own, or ``None``."""
        key = self._name(facts)
        return None if key is None else self._store.get(key, self.limit)

    async def aget(self, facts: Facts) -> tuple[Any] | None:
        """`get` without blocking the loop."""
        key = self._name(facts)
        return None if key is None else await self._store.aget(key, self.limit)

    def put(self, facts: Facts, answer: Any) -> None:
        """Keeps an answer."""
        key = self._name(facts)
        if key is not None:
            self._store.put(key, answer)

    async def aput(self, facts: Facts, answer: Any) -> None:
        """`put` without blocking the loop. A cache that fails does not cost the answer."""
        import sys

        try:
            key = self._name(facts)
            if key is not None:
                await self._store.aput(key, answer)
        except Exception as error:  # noqa: BLE001 whatever the cache raises
            _report(sys, error, self._store)

    def _name(self, facts: Facts) -> str | None:
        from holdfast._fallback import made_for

        name, function, args, kwargs = facts
        asked = made_for(function, args)
        who = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
        if asked is not None:
            who, args, kwargs = asked.identity, asked.args, asked.kwargs
        if self._key is None:
            return fingerprint((name, who, args, kwargs))
        told = self._key(args, kwargs)
        if not isinstance(told, str):
            raise refuse("key", "answer a string: key(args, kwargs) -> str", told)
        return fingerprint((name, who, told))


class Memory:
    """The newest answers, in this process. Kept and given as copies where they can be copied."""

    def __init__(self, max_entries: int) -> None:
        import threading
        from collections import OrderedDict

        self._entries: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._bound = max_entries
        self._lock = threading.Lock()

    def get(self, key: str, limit: float) -> tuple[Any] | None:
        """The answer if it is not older than ``limit`` seconds."""
        with self._lock:
            entry = self._entries.get(key)
        if entry is None or _native.now() - entry[0] > limit + _ROUNDING:
            return None
        return (_copied(entry[1]),)

    async def aget(self, key: str, limit: float) -> tuple[Any] | None:
        """The same."""
        return self.get(key, limit)

    def put(self, key: str, answer: Any) -> None:
        """Keeps a copy."""
        entry = (_native.now(), _copied(answer))
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._bound:
                self._entries.popitem(last=False)

    async def aput(self, key: str, answer: Any) -> None:
        """The same."""
        self.put(key, answer)


def _cached(cache: Any) -> Cached:
    if not all(callable(getattr(cache, name, None)) for name in ("lookup", "update", "alookup", "aupdate")):
        raise refuse("cache", "be a LangChain BaseCache or None", cache)
    from holdfast.langchain._last_good import Cached

    return Cached(cache)


def _copied(answer: Any) -> Any:
    """Answers are often changed by who gets them. What cannot be copied is shared."""
    from copy import deepcopy

    try:
        return deepcopy(answer)
    except Exception:  # noqa: BLE001 a foreign `__deepcopy__` may raise anything
        return answer


def _report(sys: Any, error: Exception, store: object) -> None:
    class _Unraisable:
        exc_type = type(error)
        exc_value = error
        exc_traceback = error.__traceback__
        err_msg = "Exception ignored while a good answer was kept"
        object = store

    sys.unraisablehook(_Unraisable)

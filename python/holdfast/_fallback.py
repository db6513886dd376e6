"""Fallback: another answer when the call has failed."""

from __future__ import annotations

from holdfast._exceptions import refuse
from holdfast._values import DEFAULT, Default, State
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
    from typing import Any, TypeAlias

    from holdfast._last_good import LastGood
    from holdfast._policies import Pipeline
    from holdfast._values import Seconds

    Errors: TypeAlias = (
        type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
    )
    # In whose name, which function (None for a node's own target), with what.
    Facts: TypeAlias = tuple[str, Callable[..., Any] | None, tuple[Any, ...], dict[str, Any]]
    Key: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], str]


class Fallback(Guarding, State):
    """Another answer when a call has failed for good or was refused: graceful degradation.

    ::

        hf.Fallback(value="Sorry, not now.")
        hf.Fallback(call=lambda error: local_model(str(error)))
        hf.Fallback(last_good=3600.0, value=None)

    What was asked for and cannot be had stays visible: each use is the event ``fallback_used``, and a message
    that stands in says so in ``response_metadata["holdfast"]``. A stream falls back only while nothing of it
    has been handed out. The caller's own faults (a refused request, a content filter, a programming error),
    configuration errors and cancellation are raised as they are; see ``on``.

    Args:
        value: The answer. Of a stream: its only item, or its items if it is a list or a tuple.
        call: ``error -> answer``, sync or (for async calls) async; of a stream it may give an iterator, a list
            or a tuple. What it raises is raised. None of our clocks runs for it.
        last_good: The last good answer to the same input, if it is not older than this many seconds. With
            ``value`` or ``call`` as well, those answer where there is none.
        on: Which errors are covered: exception types, or a predicate. ``None``: every failure and refusal, but
            for those named above.
        cache: Where last good answers are kept: a LangChain ``BaseCache``. ``None``: in memory.
        key: ``(args, kwargs) -> str``: what makes two inputs the same. ``None``: all arguments, by value; an
            answer to arguments that have no value (an open file, an object of no known kind) is not kept.
        max_entries: How many answers are kept in memory; the oldest make room. 1000.

    Raises:
        ConfigurationError: A field is not what it must be, or there is no answer at all.
    """

    __slots__ = ("__weakref__", "_call", "_last_good", "_on", "_pipe", "_value")

    _value: Any
    _call: Callable[[BaseException], Any] | None
    _on: Callable[[BaseException], object] | None
    _last_good: LastGood | None

    def __init__(
        self,
        *,
        value: Any = DEFAULT,
        call: Callable[[BaseException], Any] | None = None,
        last_good: Seconds | None = None,
        on: Errors | None = None,
        cache: Any = None,
        key: Key | None = None,
        max_entries: int = 1000,
    ) -> None:
        if call is not None and not callable(call):
            raise refuse("call", "be callable: call(error) -> answer", call)
        if call is not None and not isinstance(value, Default):
            raise refuse("value", "not be given together with call", value)
        if call is None and last_good is None and isinstance(value, Default):
            raise refuse("value", "be given, or call, or last_good: there is no other answer", None)
        kept = None
        if last_good is not None:
            from holdfast._last_good import LastGood

            kept = LastGood(last_good, cache, key, max_entries)
        elif cache is not None or key is not None:
            raise refuse("last_good", "be given for cache and key to mean something", None)
        fields = {"_value": value, "_call": call, "_on": _covers(on), "_last_good": kept}
        for name, field in fields.items():
            object.__setattr__(self, name, field)

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(fallback=self)

    def __repr__(self) -> str:
        # Not the value, which may be an answer to somebody.
        parts = []
        if self._last_good is not None:
            parts.append(f"last_good={self._last_good.limit:g}")
        if self._call is not None:
            parts.append("call=…")
        elif not isinstance(self._value, Default):
            parts.append("value=…")
        return f"Fallback({', '.join(parts)})"

    # ---- what the native drivers ask, one method per colour ----

    @property
    def _asked(self) -> bool:
        """Do we look at each error ourselves?"""
        return self._on is not None

    @property
    def _keeps(self) -> bool:
        return self._last_good is not None

    def _answer(self, facts: Facts, error: Exception, tell: Callable[[str], None]) -> Any:
        found = self._find(facts, error, None if self._last_good is None else self._last_good.get(facts))
        if found is None:
            raise error
        how, answer = found
        if _is_awaitable(answer):
            _discard(answer)
            raise refuse("call", "be a plain function where the call is sync", self._call) from error
        tell(how)
        return _dressed(facts, how, error, answer)

    async def _aanswer(self, facts: Facts, error: Exception, tell: Callable[[str], None]) -> Any:
        kept = None if self._last_good is None else await self._last_good.aget(facts)
        found = self._find(facts, error, kept)
        if found is None:
            raise error
        how, answer = found
        if _is_awaitable(answer):
            answer = await _with_context(answer, error)
        tell(how)
        return _dressed(facts, how, error, answer)

    def _items(self, facts: Facts, error: Exception, tell: Callable[[str], None]) -> Generator[Any, Any, Any]:
        found = self._find(facts, error, None if self._last_good is None else self._last_good.get(facts))
        if found is None:
            raise error
        how, answer = found
        if _is_awaitable(answer) or hasattr(answer, "__anext__"):
            _discard(answer)
            raise refuse("call", "be a plain function where the stream is sync", self._call) from error
        tell(how)
        yield from _dressed_items(facts, how, error, _each(answer))

    async def _aitems(
        self, facts: Facts, error: Exception, tell: Callable[[str], None]
    ) -> AsyncGenerator[Any, None]:
        kept = None if self._last_good is None else await self._last_good.aget(facts)
        found = self._find(facts, error, kept)
        if found is None:
            raise error
        how, answer = found
        if _is_awaitable(answer):
            answer = await _with_context(answer, error)
        tell(how)
        shape, told = made_for(facts[1], facts[2]), _facts_of(how, error)
        if hasattr(answer, "__anext__"):
            try:
                async for item in answer:
                    for one in (item,) if shape is None else shape.items(item, told):
                        yield one
                    told = {}
            finally:
                await _aclosed(answer)
            return
        for item in _dressed_items(facts, how, error, _each(answer)):
            yield item

    def _keep(self, facts: Facts, answer: Any) -> None:
        if self._last_good is not None:
            self._last_good.put(facts, answer)

    def _akeep(self, facts: Facts, answer: Any) -> Awaitable[Any] | None:
        store = self._last_good
        if store is None or store.is_quick:
            self._keep(facts, answer)
            return None

        async def keep() -> Any:
            await store.aput(facts, answer)
            return answer

        return keep()

    def _keep_items(self, facts: Facts, items: list[Any]) -> None:
        self._keep(facts, tuple(items))

    def _akeep_items(
        self, facts: Facts, both: tuple[list[Any], list[Any]]
    ) -> AsyncGenerator[Any, None] | None:
        items, pending = both
        store = self._last_good
        if store is None or store.is_quick:
            self._keep_items(facts, items)
            return None

        async def keep() -> AsyncGenerator[Any, None]:
            await store.aput(facts, tuple(items))
            for item in pending:
                yield item

        return keep()

    def _find(self, facts: Facts, error: Exception, kept: tuple[Any] | None) -> tuple[str, Any] | None:
        """How, and with what, we answer; ``None`` if not at all."""
        if self._on is not None and not self._on(error):
            return None
        if kept is not None:
            return "last_good", kept[0]
        if self._call is not None:
            return "call", _called(self._call, error)
        return None if isinstance(self._value, Default) else ("value", self._value)


def as_fallback(value: Fallback | float | None) -> Fallback | None:
    """A number stands for the `Fallback` that answers it."""
    if value is None or isinstance(value, Fallback):
        return value
    if isinstance(value, (int, float)):
        return Fallback(value=value)
    raise refuse("fallback", "be a Fallback, a number, or None", value)


def _covers(on: Errors | None) -> Callable[[BaseException], object] | None:
    if on is None:
        return None
    if isinstance(on, type) and issubclass(on, BaseException):
        on = (on,)
    if isinstance(on, tuple):
        if not on or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on):
            raise refuse("on", "be exception types, a predicate, or None", on)
        types = on
        return lambda error: isinstance(error, types)
    if callable(on):
        return on
    raise refuse("on", "be exception types, a predicate, or None", on)


def _called(call: Callable[[BaseException], Any], error: Exception) -> Any:
    try:
        return call(error)
    except BaseException as raised:
        _in_context(raised, error)
        raise


async def _with_context(answer: Any, error: Exception) -> Any:
    try:
        return await answer
    except BaseException as raised:
        _in_context(raised, error)
        raise


def _in_context(raised: BaseException, error: Exception) -> None:
    """What a substitute raises tells which failure it was to stand in for."""
    if raised is not error and raised.__context__ is None:
        raised.__context__ = error


def _is_awaitable(answer: Any) -> bool:
    return hasattr(answer, "__await__")


def _discard(answer: Any) -> None:
    """A coroutine that will not be awaited is closed, so that nobody is warned of it."""
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def _each(answer: Any) -> Iterator[Any]:
    """The items of a stream's substitute."""
    if isinstance(answer, (list, tuple)) or hasattr(answer, "__next__"):
        return iter(answer)
    return iter((answer,))


def made_for(function: Callable[..., Any] | None, args: tuple[Any, ...]) -> Any:
    """The call that an adapter makes its attempts for, told by its function or an argument; or ``None``."""
    told = getattr(function, "__holdfast_call__", None)
    if told is not None:
        return told
    # By class: an argument that answers to every name is nobody's call.
    calls = (value for value in args if hasattr(type(value), "__holdfast_call__"))
    return getattr(next(calls, None), "__holdfast_call__", None)


# ---- answers that carry metadata ----


def _dressed(facts: Facts, how: str, error: Exception, answer: Any) -> Any:
    shape = made_for(facts[1], facts[2])
    signed = _signed(answer, how, error)
    return signed if shape is None else shape.answer(signed, _facts_of(how, error))


def _dressed_items(facts: Facts, how: str, error: Exception, items: Iterator[Any]) -> Iterator[Any]:
    shape = made_for(facts[1], facts[2])
    told = _facts_of(how, error)
    for item in items:
        yield from (item,) if shape is None else shape.items(item, told)
        told = {}  # metadata of chunks is added up: the first one tells


async def _aclosed(items: Any) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


def _facts_of(how: str, error: Exception) -> dict[str, Any]:
    """What an answer that stands in says of itself."""
    from holdfast._history import history

    return {"fallback": how, "attempts": len(history(error))}


def _signed(answer: Any, how: str, error: Exception) -> Any:
    """A LangChain message says in its metadata that it stands in; a copy of it, the user's stays as it is."""
    import sys

    messages = sys.modules.get("langchain_core.messages")
    if messages is None or not isinstance(answer, messages.BaseMessage):
        return answer
    facts = {**answer.response_metadata, "holdfast": _facts_of(how, error)}
    return answer.model_copy(update={"response_metadata": facts})

"""The SDKs' streams, with guarded items.

A guarded stream is of the class that the SDK would have given, with the guarded generator in the place of the
SDK's own: helpers that are built around such a stream, and users who ask for its class, find what they know.

    stream ── _First ── guarded generator ── the SDK's own iterator, that of the attempt that is running
"""

from __future__ import annotations

import functools
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, cast

from holdfast._completion import Completion, Governor
from holdfast._exceptions import HoldfastError, StreamInterrupted
from holdfast.clients._bounded import shallow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clients._call import Call

_ENDED = object()


def first_of(items: Any) -> Any:
    """The first item of a generator, or what stands for its end."""
    return next(items, _ENDED)


async def afirst_of(items: Any) -> Any:
    """The first item of an asynchronous generator, or what stands for its end."""
    return await anext(items, _ENDED)


def guarded_stream(call: Call, first: Any, items: Any) -> Any:
    """The call's stream, whose items are those of the guarded generator.

    Args:
        call: It has been opened, unless a fallback answers it.
        first: An item that has been taken already, or what stands for the end.
        items: The generator with the others.
    """
    if call.opened is None:
        call.opened = call.stand_in()
    stream = shallow(call.opened)
    kind: Any = type(call.opened)
    stream.__class__ = _guarded_class(kind)
    ahead = _AsyncFirst if hasattr(items, "__anext__") else _First
    stream.__dict__["_iterator"] = ahead(first, items)
    stream.__dict__["_holdfast"] = call, items
    call.handed_out = weakref.ref(stream)
    return stream


def tie(call: Call) -> None:
    """Ties the response of the opened stream to the generator: who closes the one ends the other.

    The SDKs' helpers close the response and forget the stream; its permit would be out until they are collected.
    No reference leads back from the response, so that a stream that is dropped is freed at once.
    """
    response = call.opened.response
    if hasattr(response, "__dict__"):
        kind: Any = type(response)
        response.__class__ = _tied_class(kind)
        response._holdfast = weakref.ref(call)


def items_of(stream: Any) -> Any:
    """The SDK's own iterator over a stream. Not the stream itself, which would tell its observers twice."""
    return stream._iterator


class ClientGovernor(Governor):
    """A governor of all streams of a client: of those that are no completions too, and of a response's head."""

    __slots__ = ("_began",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began = False

    def item(self, chunk: Any) -> Sequence[Any]:
        """What may be handed out: the head of a response, at once."""
        if not self._began and hasattr(chunk, "http_response"):
            return (chunk,)
        self._began = True
        return super().item(chunk)

    def broken(self, error: BaseException) -> BaseException:
        """What is raised in place of the error that broke the stream."""
        told = super().broken(error)
        ours = isinstance(error, HoldfastError)
        return StreamInterrupted(cause=error) if told is error and not ours else told


class ClientCompletion(Completion):
    """A completion check whose governors know all streams of a client."""

    @property
    def checks(self) -> bool:
        """Are answers looked at?"""
        return self._check

    def governor(self) -> Governor:
        """The governor of one attempt at a stream."""
        return ClientGovernor(
            self._kind.reader(), self._judge_stream if self._check else None, demanding=self._demanding
        )


@functools.lru_cache(maxsize=64)
def _guarded_class(base: type[Any]) -> type[Any]:
    def response(self: Any) -> Any:
        """The response of the attempt that is running, or ran last."""
        return self._holdfast[0].opened.response

    return subclass(base, response=property(response))


@functools.lru_cache(maxsize=16)
def _tied_class(base: type[Any]) -> type[Any]:
    def close(self: Any) -> None:
        base.close(self)
        items = _items_behind(self)
        if items is not None:
            # It may be this very generator that closes its response at its end, or another thread that reads.
            with suppress(ValueError):
                items.close()

    async def aclose(self: Any) -> None:
        await base.aclose(self)
        items = _items_behind(self)
        if items is not None:
            with suppress(RuntimeError):  # likewise, or another task
                await items.aclose()

    return subclass(base, close=close, aclose=aclose)


def _items_behind(response: Any) -> Any:
    call = response._holdfast()
    stream = None if call is None or call.handed_out is None else call.handed_out()
    return None if stream is None else stream._holdfast[1]


def subclass(base: type[Any], **more: Any) -> type[Any]:
    """A subclass that keeps the name, for error messages show it."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    metaclass: Any = type(base)
    return cast("type[Any]", metaclass(base.__name__, (base,), {**names, **more}))


class _First:
    """An iterator whose first item has been taken already."""

    __slots__ = ("_first", "_next", "_rest")

    def __init__(self, first: Any, rest: Any) -> None:
        self._first = first
        self._next = rest.__next__
        self._rest = rest

    def __iter__(self) -> Self:
        return self

    def close(self) -> None:
        self._rest.close()

    def __next__(self) -> Any:
        if self._first is None:
            return self._next()
        first, self._first = self._first, None
        if first is _ENDED:
            raise StopIteration
        return first


class _AsyncFirst:
    """The same of an asynchronous iterator."""

    __slots__ = ("_first", "_next", "_rest")

    def __init__(self, first: Any, rest: Any) -> None:
        self._first = first
        self._next = rest.__anext__
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        await self._rest.aclose()

    def __anext__(self) -> Any:
        return self._next() if self._first is None else self._taken()

    async def _taken(self) -> Any:
        first, self._first = self._first, None
        if first is _ENDED:
            raise StopAsyncIteration
        return first

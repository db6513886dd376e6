"""Chaos: faults on purpose, at the innermost place of a pipeline."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast import _native, _scope
from holdfast._exceptions import refuse
from holdfast._spoil import spoiled
from holdfast._values import State
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
    from typing import Any, Self, TypeAlias

    from holdfast._policies import Pipeline
    from holdfast._values import Seconds
    from holdfast._wrap import Colour

    Roll: TypeAlias = tuple[float, str, int]

ENVIRONMENT = "HOLDFAST_CHAOS"
"""Turns every `Chaos` of the process on ("on", "1") or off ("off", "0"), whatever the code says."""

_WORDS = {
    "on": True,
    "1": True,
    "true": True,
    "yes": True,
    "off": False,
    "0": False,
    "false": False,
    "no": False,
}
_LOOK = 1.0
"""Seconds that a hanging call sleeps at a stretch where no clock of ours runs."""

_switched: ContextVar[dict[Chaos, bool] | None] = ContextVar("holdfast_chaos", default=None)


class Chaos(Guarding, State, _native.Chaos):
    """Makes calls fail, hang, come late, break off or lie, as often as told, so that the rest can be tested.

    ::

        chaos = hf.Chaos(error_rate=0.1, latency=(0.0, 2.0), seed=7)

        @hf.resilient(retry=3, chaos=chaos)
        def ask(question): ...

    It sits next to the call, inside of every other policy; around the target of a :class:`Node` it haunts that
    node only. The environment variable ``HOLDFAST_CHAOS`` ("on" or "off", read when a guard is made) overrules
    ``active``; off, a guard is made without it and costs nothing.

    Args:
        error_rate: The share of calls that raise ``error`` at once, 0 to 1, as all shares are.
        latency: Seconds that a call begins later, or ``(least, most)``, uniform.
        hang: The share of calls that never answer: until a clock of ours or the caller ends them.
        cut_stream: The share of streams that raise ``error`` after one to five items.
        bad_answer: The share of calls whose answer is spoiled by ``spoil``; a stream just ends too early.
        seed: With a seed, the same faults come in the same order.
        latency_rate: The share of calls that ``latency`` is added to. All of them.
        error: What is raised: a callable that makes an exception, such as a provider's own, or an exception
            type. ``ConnectionError``.
        spoil: ``answer -> answer``. By default half of a text or a list; of a chat model's answer half of its
            text, without the word that says that it is whole; of anything else ``None``.
        active: Whether it is on where nobody says otherwise.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("_active", "_error", "_pipe", "_spoil")

    _error: Callable[[], BaseException]
    _spoil: Callable[[Any], Any]
    _active: bool

    def __new__(
        cls,
        error_rate: float = 0.0,
        *,
        latency: Seconds | tuple[Seconds, Seconds] = 0.0,
        hang: float = 0.0,
        cut_stream: float = 0.0,
        bad_answer: float = 0.0,
        seed: int | None = None,
        latency_rate: float = 1.0,
        error: Callable[[], BaseException] = ConnectionError,
        spoil: Callable[[Any], Any] | None = None,
        active: bool = True,
    ) -> Self:
        if not callable(error):
            raise refuse("error", "be callable: it makes the exception", error)
        if spoil is not None and not callable(spoil):
            raise refuse("spoil", "be callable: spoil(answer) -> answer", spoil)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise refuse("seed", "be a whole number or None", seed)
        if isinstance(latency, tuple) and len(latency) != 2:
            raise refuse("latency", "be seconds, or (least, most)", latency)
        least, most = latency if isinstance(latency, tuple) else (latency, latency)
        self = super().__new__(
            cls,
            error_rate,
            hang,
            cut_stream,
            bad_answer,
            (least, most),
            latency_rate,
            None if seed is None else seed % 2**64,
        )
        for name, value in (("_error", error), ("_spoil", spoil or spoiled), ("_active", active)):
            object.__setattr__(self, name, value)
        return self

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(chaos=self)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Inside the block it is on, in this task or thread; not where the environment turned it off."""
        with self._switch(True):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside the block it is off, in this task or thread."""
        with self._switch(False):
            yield

    @contextmanager
    def _switch(self, on: bool) -> Iterator[None]:
        token = _switched.set({**(_switched.get() or {}), self: on})
        try:
            yield
        finally:
            _switched.reset(token)

    def __repr__(self) -> str:
        return f"<Chaos {'on' if self._active else 'off'}>"

    # ---- around the call ----

    def _around(self, function: Callable[..., Any], colour: Colour) -> Callable[..., Any]:
        """``function`` with faults, of the same colour; itself where the environment turned chaos off."""
        import functools

        overruled = self._overruled()
        if overruled is False:
            return function
        around = {
            "function": self._function,
            "coroutine": self._coroutine,
            "generator": self._generator,
            "async_generator": self._async_generator,
        }[colour]
        wrapped: Callable[..., Any] = functools.wraps(function)(around(function, overruled is True))
        return wrapped

    def _overruled(self) -> bool | None:
        """What the environment says; ``None`` if nothing."""
        word = os.environ.get(ENVIRONMENT, "").strip().lower()
        if word and word not in _WORDS:
            raise refuse(ENVIRONMENT, f"be one of {', '.join(map(repr, _WORDS))}", word)
        return _WORDS.get(word)

    def _rolled(self, on: bool, stream: bool) -> Roll | None:
        switched = (_switched.get() or {}).get(self, on or self._active)
        return self._roll(stream) if switched else None

    def _function(self, function: Callable[..., Any], on: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            rolled = self._rolled(on, stream=False)
            if rolled is None:
                return function(*args, **kwargs)
            self._before(rolled)
            answer = function(*args, **kwargs)
            return self._spoil(answer) if rolled[1] == "bad" else answer

        return call

    def _coroutine(self, function: Callable[..., Any], on: bool) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            rolled = self._rolled(on, stream=False)
            if rolled is None:
                return await function(*args, **kwargs)
            await self._abefore(rolled)
            answer = await function(*args, **kwargs)
            return self._spoil(answer) if rolled[1] == "bad" else answer

        return call

    def _generator(self, function: Callable[..., Any], on: bool) -> Callable[..., Any]:
        import functools

        def call(*args: Any, **kwargs: Any) -> Iterable[Any]:
            rolled = self._rolled(on, stream=True)
            begin = functools.partial(function, *args, **kwargs)
            # Nothing to do: the stream itself, with all that it can.
            return self._stream(rolled, begin) if rolled is not None and rolled[:2] != (0.0, "") else begin()

        return call

    def _stream(self, rolled: Roll, begin: Callable[[], Any]) -> Generator[Any, Any, Any]:
        _, fault, left = rolled
        self._before(rolled)
        items = begin()
        if not left:
            return (yield from items)
        try:
            for item in items:
                yield item
                left -= 1
                if left == 0:
                    break
        finally:
            if hasattr(items, "close"):
                items.close()
        if fault == "cut":
            raise self._error()
        return None

    def _async_generator(self, function: Callable[..., Any], on: bool) -> Callable[..., Any]:
        import functools

        def call(*args: Any, **kwargs: Any) -> AsyncIterable[Any]:
            rolled = self._rolled(on, stream=True)
            begin = functools.partial(function, *args, **kwargs)
            given: AsyncIterable[Any]
            given = begin() if rolled is None or rolled[:2] == (0.0, "") else self._astream(rolled, begin)
            return given

        return call

    async def _astream(self, rolled: Roll, begin: Callable[[], Any]) -> AsyncGenerator[Any, Any]:
        _, fault, left = rolled
        await self._abefore(rolled)
        items = begin()
        try:
            async for item in items:
                yield item
                left -= 1
                if left == 0:
                    break
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()
        if fault == "cut":
            raise self._error()

    def _before(self, rolled: Roll) -> None:
        latency, fault, _ = rolled
        if latency:
            _native.pause(latency)
        if fault == "error":
            raise self._error()
        while fault == "hang":
            _hang()

    async def _abefore(self, rolled: Roll) -> None:
        latency, fault, _ = rolled
        if latency:
            await _native.apause(latency)
        if fault == "error":
            raise self._error()
        if fault == "hang":
            import asyncio

            await asyncio.get_running_loop().create_future()


def as_chaos(value: Chaos | float | None) -> Chaos | None:
    """A number stands for the `Chaos` of that error rate."""
    if value is None or isinstance(value, Chaos):
        return value
    if isinstance(value, (int, float)):
        return Chaos(error_rate=value)
    raise refuse("chaos", "be a Chaos, an error rate, or None", value)


def _hang() -> None:
    """Waits on, as a read from a dead server would: a clock of ours ends it, as it ends a client's read."""
    scope = _scope.current.get()
    patience = None if scope is None else scope._patience()
    _native.pause(_LOOK if patience is None else min(patience + 1e-6, _LOOK))
    if scope is not None and scope._cut():
        raise TimeoutError("the call hung until its clock ran out")

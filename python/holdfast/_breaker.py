"""The circuit breaker as a Python value. What it decides, and what it remembers, is native."""

from __future__ import annotations

import weakref
from enum import StrEnum

from holdfast import _classify, _native
from holdfast._exceptions import refuse
from holdfast._values import State, Value, label
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self, SupportsIndex, TypeAlias, overload

    from holdfast._classify.custom import UserRule
    from holdfast._events import Event
    from holdfast._policies import Pipeline
    from holdfast._values import Seconds

    Classifier: TypeAlias = UserRule | Iterable[UserRule]
    Key: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], str]

_MOST_CALLS = 65_536
"""The most outcomes that a count window remembers: two bits each, so 16 KB."""


class BreakerState(StrEnum):
    """What a breaker's ``state`` may be."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    DISABLED = "disabled"
    SHADOW = "shadow"


class CountWindow(Value):
    """A window over the last ``calls`` outcomes, for ``CircuitBreaker(window=…)``. A value.

    Args:
        calls: How many outcomes it remembers, 1 to 65 536.

    Raises:
        ConfigurationError: ``calls`` is no whole number, or out of this range.
    """

    __slots__ = ("calls",)

    calls: int

    def __init__(self, calls: int) -> None:
        if not isinstance(calls, int) or isinstance(calls, bool) or not 1 <= calls <= _MOST_CALLS:
            raise refuse("calls", f"be a whole number from 1 to {_MOST_CALLS}", calls)
        self._set(calls=calls)

    def __repr__(self) -> str:
        return f"CountWindow({self.calls})"


class CircuitBreaker(Guarding, State, _native.CircuitBreaker):
    """Stops calling what keeps failing, and finds out gently when it works again.

    Closed, it counts; when a rule trips it opens and rejects with :class:`CircuitOpen`; after ``open_timeout`` it
    lets at most ``half_open_max_calls`` probes through at a time; ``success_threshold`` good ones close it, one bad
    one reopens it. (M. Nygard, "Release It!", 2007.)

    It guards functions (``@breaker``, ``breaker.call``, ``breaker.acall``) and blocks: ``with breaker.guard()``,
    or bare ``with breaker:`` for a block that does not yield, and the same with ``async with``. A block's
    exceptions are judged as those of calls are; ``with`` gives a :class:`Permit`, whose ``renew()`` is a long
    block's sign of life.

    Args:
        name: A label for events, metrics and messages; equal names do not share state.
        failure_threshold: Consecutive failures that open it; ``None`` turns the rule off. 5, as in Envoy.
        success_threshold: Good probes that close it. 2: one may be luck.
        open_timeout: Seconds open before the first probe. 30: incidents last minutes, blips seconds.
        half_open_max_calls: Probes at a time, 1 to 16. 1: a struggling server is not asked twice.
        failure_rate: Share of failures in the window, above 0 and at most 1, that opens it; ``None``: off.
        slow_call_rate: Share of slow calls in the window that opens it; ``None``: off. Needs ``slow_call``.
        slow_call: Seconds from which on a call is slow (of a stream: the time to its first item).
        minimum_calls: Calls in the window before a rate is judged: 1 of 1 is not 100 %. 10.
        window: What rates look back on: seconds, or a :class:`CountWindow`. 60.
        open_timeout_factor: What the open time is multiplied by each time it opens again before it has been
            healthy for as long as it was open, from 1. 1: it does not grow.
        open_timeout_max: The longest that growth and jitter make it, in seconds; ``None``: no limit.
        open_timeout_jitter: How far each open time is spread, as a share: 0.2 is ± 20 %. 0.
        probe_lease: Seconds of silence after which a probe loses its slot, so that one that never ends blocks
            nobody. ``None``: 1.1 times the total timeout of the first pipeline it is put into, else 300.
        classify: Rules of your own for what counts as a failure, asked before ours; see :func:`classify`.
        key: ``(args, kwargs) -> str``: one breaker per key, named ``<name>/<key>``. At most 1024 keys are
            remembered: the one unused longest makes room, unless it is not closed or has calls under way. Then
            ``state``, ``retry_after`` and ``metrics`` sum up the keys, orders such as ``force_open()`` bind all of
            them, and :meth:`of` gives the breaker of one.

    Raises:
        ConfigurationError: A field is out of range, of the wrong type, or contradicts another.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        name: str | None = None,
        *,
        failure_threshold: int | None = 5,
        success_threshold: int = 2,
        open_timeout: Seconds = 30.0,
        half_open_max_calls: int = 1,
        failure_rate: float | None = None,
        slow_call_rate: float | None = None,
        slow_call: Seconds | None = None,
        minimum_calls: int = 10,
        window: Seconds | CountWindow | None = 60.0,
        open_timeout_factor: float = 1.0,
        open_timeout_max: Seconds | None = None,
        open_timeout_jitter: float = 0.0,
        probe_lease: Seconds | None = None,
        classify: Classifier | None = None,
        key: Key | None = None,
    ) -> Self:
        judge = None if classify is None else _classify.make_classifier(classify, _classify.judge_plain)
        fields = {
            "failure_threshold": failure_threshold,
            "success_threshold": success_threshold,
            "open_timeout": open_timeout,
            "half_open_max_calls": half_open_max_calls,
            "failure_rate": failure_rate,
            "slow_call_rate": slow_call_rate,
            "slow_call": slow_call,
            "minimum_calls": minimum_calls,
            "open_timeout_factor": open_timeout_factor,
            "open_timeout_max": open_timeout_max,
            "open_timeout_jitter": open_timeout_jitter,
            "probe_lease": probe_lease,
            "classify": classify,
            "judge": judge,
            "key": key,
        }
        if isinstance(window, CountWindow):
            fields["window_calls"] = window.calls
        else:
            fields["window"] = window
        self = super().__new__(cls, label(name, "breaker"), fields)
        if name is not None:
            _named.add(weakref.ref(self, _forget))
        return self

    @property
    def _is_named(self) -> bool:
        """Did its maker name it?"""
        return weakref.ref(self, _forget) in _named

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(breaker=self, name=self.name)

    def of(self, key: str) -> Self:
        """The breaker of one key, made if there is none: to look at it, guard a block with it, or force it.

        While it is held it is not forgotten. Two answers for one key are two faces of the same breaker.

        Raises:
            ConfigurationError: This breaker is not kept by key, or ``key`` is no string.
        """
        return super().__new__(type(self), self._of(key))

    def keys(self) -> list[str]:
        """The keys that it remembers now, in no order; none if it is not kept by key."""
        prefix = len(self.name) + 1
        return [name[prefix:] for name in self._names()]

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this breaker's and its keys' events from now on; returns how to unsubscribe."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"


_native.quicken_state(CircuitBreaker)

_named: set[weakref.ref[CircuitBreaker]] = set()
"""Added to and taken from by single operations of the interpreter, so that no lock is needed."""
_forget = _named.discard


class Breakers(list[CircuitBreaker]):
    """Breakers in the order they were made; a name in place of an index finds the one made first under it."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, place: SupportsIndex | str, /) -> CircuitBreaker: ...
        @overload
        def __getitem__(self, place: slice, /) -> list[CircuitBreaker]: ...
        def __getitem__(self, place: Any, /) -> Any: ...

    else:

        def __getitem__(self, place, /):
            if not isinstance(place, str):
                return super().__getitem__(place)
            for breaker in self:
                if breaker.name == place:
                    return breaker
            raise KeyError(place)

    def __contains__(self, item: object) -> bool:
        return any(breaker is item or breaker.name == item for breaker in self)


def breakers() -> Breakers:
    """The live breakers that were given a name, in the order they were made.

    Names are labels, so two breakers may share one: both are listed, and ``breakers()["name"]`` is the older.
    A keyed breaker is listed once; its keys are ``breaker.keys()``.
    """
    live = (ref() for ref in list(_named))
    return Breakers(sorted((b for b in live if b is not None), key=lambda breaker: breaker.source_id))

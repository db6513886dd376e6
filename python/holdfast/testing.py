"""Help for *users'* tests: time moved by hand, events recorded, failures on schedule, policies switched off.

``LocalServer`` is an OpenAI-compatible server on loopback that fails as its ``Faults`` say.

With pytest there are fixtures: ``manual_clock``, ``recorded_events``, ``holdfast_inactive`` and
``holdfast_testing``.
"""

from __future__ import annotations

from holdfast import _events, _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta
    from typing import Any, Self

    from holdfast._events import Event
    from holdfast._localserver import Faults, LocalServer

__all__ = [
    "Faults",
    "LocalServer",
    "ManualClock",
    "record_events",
    "scripted",
    "set_active",
    "set_testing",
]


def __getattr__(name: str) -> Any:
    """The local server brings `http.server` with it, which most tests have no use for."""
    if name not in ("Faults", "LocalServer"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holdfast import _localserver

    return getattr(_localserver, name)


class ManualClock:
    """Time that stands still until it is advanced, for the whole process and every guard in it.

    ::

        with ManualClock() as clock:
            clock.advance(30.0)

    ``advance`` wakes everybody whose time comes on the way, in order, each at its own moment, and lets them
    finish what they woke for before time goes on. The wall clock of events moves with it.
    """

    def __enter__(self) -> Self:
        _native.install_manual_clock()
        return self

    def __exit__(self, *exc: object) -> None:
        _native.remove_manual_clock()

    @property
    def now(self) -> float:
        """Seconds since the process' own origin."""
        return _native.now()

    def advance(self, seconds: float | timedelta) -> None:
        """Moves time on, for sync waiters, leases, probes and heartbeats."""
        _native.advance_clock(seconds)

    async def aadvance(self, seconds: float | timedelta) -> None:
        """Moves time on, and lets the running asyncio loop turn so that its waiters go on too."""
        import asyncio

        target = _native.clock_target(seconds)
        await _quiet(asyncio)
        while _native.step_clock(target):
            await _quiet(asyncio)
        await _quiet(asyncio)


async def _quiet(asyncio: Any) -> None:
    """Turns the loop until those who were woken are done, for at most two seconds of real time."""
    import time

    patience = time.monotonic() + 2.0
    # A woken future needs a turn of the loop to wake its task, and the task one more to act.
    for _ in range(4):
        await asyncio.sleep(0)
    while _native.clock_busy() and time.monotonic() < patience:
        await asyncio.sleep(0)


class scripted:  # noqa: N801 used like a function
    """A callable that follows a script: an exception in it is raised, anything else is returned.

    After the script's end the last entry repeats. ``calls`` counts how often it was called::

        flaky = scripted(ConnectionError("down"), ConnectionError("down"), "fine")
    """

    def __init__(self, *script: object) -> None:
        if not script:
            raise ValueError("scripted() needs at least one entry")
        self._script = script
        self.calls: int = 0

    def __call__(self, *_args: object, **_kwargs: object) -> Any:
        """Follows the script: raises or returns its next entry."""
        entry = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        if isinstance(entry, BaseException) or (isinstance(entry, type) and issubclass(entry, BaseException)):
            raise entry
        return entry


class record_events:  # noqa: N801 used like a function
    """Records events while the block runs; at its end, and at each look, everything posted has arrived.

    ::

        with record_events() as events:
            ...
        assert events.kinds == ["circuit_opened"]

    Args:
        source: Only events of this breaker, pipeline or manager.
        kinds: Only events of these kinds.
    """

    def __init__(self, source: Any = None, kinds: Iterable[str] | None = None) -> None:
        self._source = source
        self._kinds = kinds
        self._events: list[Event] = []
        self._unsubscribe: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        source_id = None if self._source is None else self._source.source_id
        self._unsubscribe = _events.subscribe(self._events.append, self._kinds, source_id=source_id)
        return self

    def __exit__(self, *exc: object) -> None:
        _native.flush_events(2.0)
        if self._unsubscribe is not None:
            self._unsubscribe()

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def events(self) -> list[Event]:
        """What has been recorded so far, in order."""
        _native.flush_events(2.0)
        return list(self._events)

    @property
    def kinds(self) -> list[str]:
        """Their kinds, in order."""
        return [event.kind for event in self.events]


class _Switched:
    """A switch that has been set; as a context manager it is set back at the block's end."""

    def __init__(self, put: Callable[[Any], Any], before: Any) -> None:
        self._put = put
        self._before = before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._put(self._before)


def set_active(active: bool) -> _Switched:
    """Turns all guards of this process off, those built earlier included, or on again.

    While they are off a guard passes the call on and does nothing else: it rejects, retries, times and counts
    nothing, and a manager's call goes to its first node. Calls under way end as they began. It stays so until
    it is set again, or, where it is used as a context manager, until the block's end::

        with set_active(False):
            assert fetch() == "one try, no policies"

    Args:
        active: Whether policies rule.

    Raises:
        TypeError: ``active`` is no bool.
    """
    return _Switched(_native.set_active, _native.set_active(active))


def set_testing(attempts: int | None = 1) -> _Switched:
    """Caps the attempts of every call in this process, and lets none wait for its back-off or a Retry-After.

    Everything else goes on: breakers count, clocks run, errors and events are what they would be. It stays so
    until it is set again, or, where it is used as a context manager, until the block's end::

        with set_testing(attempts=2):
            assert fetch() == "the second try, at once"

    Args:
        attempts: The most attempts per call, from 1; ``None`` ends it.

    Raises:
        ConfigurationError: ``attempts`` is no whole number of at least 1.
    """
    return _Switched(_native.set_testing, _native.set_testing(attempts))

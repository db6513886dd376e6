"""Events on their way to listeners.

The core returns events, the runtime queues them, and one Python thread, started when the first is posted or
the first listener comes, hands them out: in order, one at a time, outside every lock and every call. A
listener that raises is reported on the logger ``holdfast`` and changes nothing. The same thread logs what the
runtime says through ``tracing``, each change of state among it.
"""

from __future__ import annotations

import atexit
import os
from _thread import RLock

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._values import Immutable

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    import threading
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from typing import Any, TypeAlias

    from holdfast._home import Home

    Listener: TypeAlias = Callable[["Event"], object]


class Event(Immutable):
    """Something that happened; frozen.

    Attributes:
        kind: What, in the past tense and snake_case, such as ``"circuit_opened"``.
        source: The name of who says so.
        at: When, on the wall clock, in UTC.
        seq: Its number; of two events the earlier has the smaller.

    The kind's own fields are attributes too, and together in ``fields``; durations are seconds.
    """

    __slots__ = ("kind", "source", "at", "seq", "fields")

    kind: str
    source: str
    at: datetime
    seq: int
    fields: dict[str, Any]

    def __init__(self, kind: str, source: str, at: datetime, seq: int, fields: dict[str, Any]) -> None:
        put = object.__setattr__
        put(self, "kind", kind)
        put(self, "source", source)
        put(self, "at", at)
        put(self, "seq", seq)
        put(self, "fields", fields)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "fields")[name]
        except KeyError:
            raise AttributeError(f"a {self.kind} event has no field {name!r}") from None

    def __reduce__(self) -> tuple[type[Event], tuple[Any, ...]]:
        return Event, (self.kind, self.source, self.at, self.seq, self.fields)

    def __repr__(self) -> str:
        fields = "".join(f", {name}={value!r}" for name, value in self.fields.items())
        return f"Event({self.kind}, source={self.source!r}{fields})"

    def __str__(self) -> str:
        fields = ", ".join(
            f"{name} {_shown(value)}" for name, value in self.fields.items() if value is not None
        )
        text = f"{self.source}: {self.kind.replace('_', ' ')}"
        return f"{text} ({fields})" if fields else text


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class _Subscription:
    __slots__ = ("after", "home", "is_async", "kinds", "line", "listener", "source_id")

    def __init__(
        self, listener: Listener, kinds: frozenset[str] | None, source_id: int | None, home: Home | None
    ) -> None:
        import inspect

        self.listener = listener
        self.kinds = kinds
        self.source_id = source_id
        self.is_async = inspect.iscoroutinefunction(listener)
        self.home = home
        self.line: _Line | None = None
        # What happened before is not for it, even if it is still on its way.
        self.after = _native.last_event()

    def wants(self, event: Event, sources: tuple[int, ...]) -> bool:
        if event.seq <= self.after or not (self.kinds is None or event.kind in self.kinds):
            return False
        return self.source_id is None or self.source_id in sources


# Held for the moments in which the two below are replaced; never while a listener runs. It may be taken
# twice by one thread, for a listener list may be changed from a destructor.
_changing = RLock()
_subscriptions: tuple[_Subscription, ...] = ()
_thread: threading.Thread | None = None
_stopped = False
"""Has the interpreter's exit gone past us?"""
_loop: AbstractEventLoop | None = None


def subscribe(
    listener: Listener,
    kinds: str | Iterable[str] | None = None,
    *,
    source_id: int | None = None,
    home: Home | None = None,
) -> Callable[[], None]:
    """Calls ``listener`` with every event of these kinds from now on.

    Args:
        listener: A callable or an async function, given the :class:`Event`.
        kinds: One kind or several; ``None`` for all.
        source_id: Only events of this source and of what it owns; ``obj.subscribe`` fills it in.
        home: Where an async listener runs; ``manager.subscribe`` fills it in.

    Returns:
        A function that ends the subscription; calling it again does nothing.

    Raises:
        ConfigurationError: ``listener`` is not callable, or a kind does not exist.
    """
    global _subscriptions
    if not callable(listener):
        raise refuse("listener", "be callable: it is given the Event", listener)
    wanted = None if kinds is None else frozenset((kinds,) if isinstance(kinds, str) else kinds)
    for kind in wanted or ():
        if kind not in _native.EVENT_KINDS:
            raise refuse("kinds", f"be among {', '.join(_native.EVENT_KINDS)}", kind)
    subscription = _Subscription(listener, wanted, source_id, home)
    with _changing:
        _subscriptions = (*_subscriptions, subscription)
        _tell_interest()
    ensure_thread()

    def unsubscribe() -> None:
        global _subscriptions
        with _changing:
            _subscriptions = tuple(s for s in _subscriptions if s is not subscription)
            _tell_interest()

    return unsubscribe


def _tell_interest() -> None:
    kinds: set[str] = set()
    for subscription in _subscriptions:
        kinds.update(_native.EVENT_KINDS if subscription.kinds is None else subscription.kinds)
    _native.set_interest(sorted(kinds))


def ensure_thread() -> None:
    """Starts the thread that delivers, unless it runs.

    The native side calls it when the first event is posted.
    """
    global _thread
    import threading

    with _changing:
        if _stopped or (_thread is not None and _thread.is_alive()):
            return
        thread = threading.Thread(target=_deliver_all, name="holdfast-events", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is exiting and starts no threads any more: `_stop` delivers instead.
            return
        _thread = thread


def _stop() -> None:
    """Delivers what is still queued and ends the thread, so that the interpreter can exit cleanly.

    Registered at import, and so run after every exit handler that was registered later: what those still tell
    is delivered, and no thread is started once this has run.
    """
    global _stopped
    _stopped = True
    _native.close_events()
    if _thread is not None:
        _thread.join(timeout=2.0)
    else:
        _deliver_all()
    _native.shutdown()


def _deliver_all() -> None:
    """The thread's life: it waits in native code with the GIL released."""
    _log([])
    while (taken := _native.take_events()) is not None:
        lines, rows = taken
        _log(lines)
        for kind, source, at, seq, fields, sources in rows:
            _deliver(Event(kind, source, at, seq, fields), sources)
    if _loop is not None:
        _loop.close()


def _deliver(event: Event, sources: tuple[int, ...]) -> None:
    for subscription in _subscriptions:
        if subscription.wants(event, sources):
            _hand(subscription, event)


def _hand(subscription: _Subscription, event: Event) -> None:
    try:
        if not subscription.is_async:
            subscription.listener(event)
        elif (loop := subscription.home.loop if subscription.home is not None else None) is not None:
            if subscription.line is None:
                subscription.line = _Line(subscription.listener)
            subscription.line.put(event, loop)
        else:
            _await(subscription.listener(event))
    except BaseException:  # noqa: BLE001 even `sys.exit()`: the thread is ours, and other listeners wait for it
        _complain(event)


def _complain(event: Event) -> None:
    import logging

    logging.getLogger("holdfast").exception("a listener of %s events raised", event.kind)


def _await(answer: Any) -> None:
    """Runs an async listener on the delivering thread's own loop."""
    global _loop
    import asyncio

    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
    _loop.run_until_complete(answer)


class _Line:
    """Events on their way to an async listener on a loop of the user's: in order, one at a time, bounded.

    The delivering thread does not wait for that loop, which may be busy: it only puts events here.
    """

    __slots__ = ("_events", "_listener", "_running")

    def __init__(self, listener: Listener) -> None:
        from collections import deque

        self._listener = listener
        self._events: deque[Event] = deque(
            maxlen=65_536
        )  # as many as the queue before it; the oldest go first
        self._running: Any = None  # the task, which its loop holds weakly only

    def put(self, event: Event, loop: AbstractEventLoop) -> None:
        self._events.append(event)
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        import asyncio

        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while self._events:
            event = self._events.popleft()
            try:
                answer: Any = self._listener(event)
                await answer
            except Exception:  # noqa: BLE001 it is logged
                _complain(event)


def _log(lines: list[tuple[int, str, str, str | None]]) -> None:
    """Logs what the runtime has said; the changes of state are on the logger ``holdfast`` itself."""
    import logging

    for level, name, text, kind in lines:
        logging.getLogger(name).log(level, "%s", text, extra={"holdfast_event": kind})
    loggers = (logging.getLogger("holdfast"), logging.getLogger("holdfast.heartbeat"))
    _native.want_details(any(logger.isEnabledFor(logging.DEBUG) for logger in loggers))


def _in_child() -> None:
    global _thread, _loop, _changing
    _thread = _loop = None
    _changing = RLock()
    _native.after_fork_in_child()
    for subscription in _subscriptions:
        subscription.after = 0  # the child numbers its own events, from 1


atexit.register(_stop)
os.register_at_fork(
    before=_native.before_fork, after_in_parent=_native.after_fork_in_parent, after_in_child=_in_child
)

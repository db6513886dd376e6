"""What has become of one model or tool call of an agent, across everybody who may try it again.

An agent has layers that know nothing of each other: the SDK, a middleware that retries inside ours, one that
retries outside, the graph's own `RetryPolicy`. Ours makes the attempts; once it has given up on a call, whoever
asks again within the same task of the graph is given the same error, and no request is sent. A call is known by
its task, so that a run that is resumed later begins afresh.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any

from holdfast import classify, history
from holdfast._exceptions import Rejected

_PULSE = 0.1
"""Seconds between two heartbeats to the graph while we wait: well below any useful `idle_timeout`."""
_MOST_LEDGERS = 16
"""Given-up calls remembered: their errors hold frames, and layers ask again soon or never."""

current: ContextVar[Ledger | None] = ContextVar("holdfast_ledger", default=None)
"""The ledger of the call that is running."""


class Ledger:
    """One call: its last failure, and how the graph is told that we are alive.

    Args:
        beat: The runtime's heartbeat.
        tell: The runtime's writer of custom stream items.
        what: What is called, for what is told: "model" or the tool's name.
    """

    def __init__(self, beat: Callable[[], None], tell: Callable[[Any], None], what: str) -> None:
        self._beat = beat
        self._tell = tell
        self._what = what
        self._timer: asyncio.TimerHandle | None = None
        self.last: Exception | None = None

    def begin(self) -> None:
        """An attempt begins.

        Raises:
            Exception: The call has been given up on already.
        """
        self.rest()
        self.refuse()
        self.last = None

    def refuse(self) -> None:
        """Raises what the call was given up with, if it was."""
        if self.last is not None and _is_given_up(self.last):
            raise self.last

    def failed(self, error: Exception) -> None:
        """An attempt has failed: until the next one begins the graph hears a pulse."""
        self.last = error
        self._tell({"holdfast": {"event": "attempt_failed", "of": self._what, "error": type(error).__name__}})
        self._pulse()

    def rest(self) -> None:
        """Somebody else is at work, or nobody: no pulse."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pulse(self) -> None:
        self._beat()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # a synchronous node has no idle time-out
        self._timer = loop.call_later(_PULSE, self._pulse)


class Ledgers:
    """The ledgers of the calls that are running or were given up on lately."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Ledger] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Hashable | None, make: Callable[[], Ledger]) -> Ledger:
        """The ledger of a call; a new one outside a graph, where nothing says which call it is."""
        if key is None:
            return make()
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = make()
            self._known.move_to_end(key)
            while len(self._known) > _MOST_LEDGERS:
                self._known.popitem(last=False)
            return known

    def forget(self, key: Hashable | None) -> None:
        """The call has ended well."""
        with self._lock:
            self._known.pop(key, None)


def is_repeated(error: BaseException) -> bool:
    """Is it the error that this call was given up with? Raised again, it is no news of the model or the tool."""
    ledger = current.get()
    return ledger is not None and ledger.last is error and _is_given_up(error)


def task_of(info: Any) -> tuple[Hashable, ...] | None:
    """What names the running task of a graph; the same for all tries of its node, another when it is resumed."""
    return None if info is None else (info.task_id, info.run_id, info.node_first_attempt_time)


def _is_given_up(error: BaseException) -> bool:
    """Have attempts been made at it, and might one more have helped? What is no outage is none of our business."""
    return bool(history(error)) and not isinstance(error, Rejected) and classify(error).retry

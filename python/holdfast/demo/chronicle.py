"""The events, as they come, and waiting for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from holdfast.demo.paint import Painter

# What a spectator wants to see at once: the changes of state, and the misses that lead to them.
SHOWN = {
    "circuit_opened": "red",
    "circuit_half_opened": "yellow",
    "circuit_closed": "green",
    "heartbeat_missed": "yellow",
    "node_suspected": "yellow",
    "node_marked_failed": "red",
    "failover_started": "yellow",
    "failover_completed": "green",
    "recovery_started": "yellow",
    "recovery_completed": "green",
}

# Fields whose value is a time span in seconds.
_SPANS = {"open_for", "downtime"}


class Chronicle:
    """Remembers every event; prints the changes of state with the time since `mark`."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._changed = threading.Condition()
        self._events: list[Any] = []
        self._zero: datetime | None = None

    def note(self, event: Any) -> None:
        """The listener."""
        with self._changed:
            self._events.append(event)
            if event.kind in SHOWN and self._zero is not None:
                seconds = (event.at - self._zero).total_seconds()
                told = self._painter.paint(f"{event.kind:<20}", SHOWN[event.kind])
                self._painter.line(f"  {seconds:+7.2f} s  {told} {_details(event)}")
            self._changed.notify_all()

    def mark(self, zero: datetime) -> None:
        """From now on times are printed since `zero`; what came before was not worth printing."""
        with self._changed:
            self._zero = zero

    def find(self, kind: str, **fields: Any) -> list[Any]:
        """The events of this kind with these fields, oldest first."""
        with self._changed:
            return [event for event in self._events if _matches(event, kind, fields)]

    def wait(self, kind: str, timeout: float, **fields: Any) -> Any | None:
        """The first such event, as soon as there is one; None if there is none within `timeout` seconds."""
        found: list[Any] = []

        def there() -> bool:
            found[:] = [event for event in self._events if _matches(event, kind, fields)]
            return bool(found)

        with self._changed:
            self._changed.wait_for(there, timeout)
        return found[0] if found else None

    def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Waits, at most `timeout` seconds, until it holds; asked after every event and every 50 ms."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not holds():
                if time.monotonic() > deadline:
                    return False
                self._changed.wait(0.05)
        return True

    def all(self) -> list[Any]:
        """Every event so far, in order."""
        with self._changed:
            return sorted(self._events, key=lambda event: event.seq)

    def kinds_about(self, node: str) -> list[str]:
        """The kinds of the events about this node, in order."""
        return [event.kind for event in self.all() if getattr(event, "node", None) == node]


def _matches(event: Any, kind: str, fields: dict[str, Any]) -> bool:
    return event.kind == kind and all(getattr(event, name, None) == value for name, value in fields.items())


def _details(event: Any) -> str:
    told = []
    for name in ("node", "to_node", "reason", "misses", "open_for", "downtime"):
        value = getattr(event, name, None)
        if value is not None:
            told.append(f"{name}={value:.2f} s" if name in _SPANS else f"{name}={value}")
    return " ".join(told) if hasattr(event, "node") else " ".join([str(event.source), *told])

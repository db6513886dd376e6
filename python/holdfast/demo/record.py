"""What happened in the tour, as data: for pictures of it, and for whoever would rather count than believe."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import holdfast as hf
from holdfast.demo.chronicle import SHOWN
from holdfast.demo.traffic import Tally

# The fields of events that a reader of the record may want; none carries a prompt or an answer.
_FIELDS = ("node", "to_node", "reason", "misses", "open_for", "downtime")


class Record:
    """Collects while the tour runs; all times are seconds since the kill."""

    def __init__(self) -> None:
        self.killed: datetime | None = None
        self.restarted: datetime | None = None
        self.expectations: list[tuple[bool, str]] = []

    def write(self, path: Path, events: list[Any], tally: Tally, victim: str) -> None:
        """Writes one JSON document.

        Args:
            path: Where to; folders above it are made.
            events: The events of the tour, in order.
            tally: What became of the calls.
            victim: The node whose process was killed.

        Raises:
            RuntimeError: Nobody has been killed yet.
        """
        if self.killed is None:
            raise RuntimeError("there is nothing to tell before the kill")
        told = {
            "holdfast": hf.__version__,
            "python": platform.python_version(),
            "victim": victim,
            "restarted": self._since(self.restarted),
            "calls": tally.calls,
            "failed": len(tally.errors),
            "failed_over": tally.failed_over,
            "ends": [{"at": self._since(at), "node": node} for at, node in tally.ends],
            "events": [
                {"at": self._since(event.at), "kind": event.kind, "source": event.source, **_fields(event)}
                for event in events
                if event.kind in SHOWN
            ],
            "expectations": [{"held": held, "text": text} for held, text in self.expectations],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")

    def _since(self, at: datetime | None) -> float | None:
        return None if at is None or self.killed is None else round((at - self.killed).total_seconds(), 4)


def _fields(event: Any) -> dict[str, Any]:
    return {name: value for name in _FIELDS if (value := getattr(event, name, None)) is not None}

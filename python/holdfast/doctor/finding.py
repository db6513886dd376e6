"""One thing that doctor has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it.

    Attributes:
        level: ``"warning"`` multiplies calls or waits without a useful end, ``"note"`` is worth knowing, ``"ok"`` is
            as it should be.
        subject: What it is about: a library with its version, a variable, an object.
        text: What was found and what it leads to, in sentences.
        advice: What to change; empty if nothing.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Its fields by name."""
        return {"level": self.level, "subject": self.subject, "text": self.text, "advice": self.advice}


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def seconds(value: float) -> str:
    """`30 s`, `10 min`, `1.7 h`: as people say it."""
    if value < 120:
        return f"{value:g} s"
    return f"{value / 60:g} min" if value < 5400 else f"{value / 3600:.3g} h"

"""What a call tried before it gave up, read from the exception it raised."""

from __future__ import annotations

from typing import NamedTuple

_ATTRIBUTE = "__holdfast_history__"


class Tried(NamedTuple):
    """One failed attempt."""

    number: int
    """Counted from 1 over the whole call."""
    node: str | None
    """The node that was asked, in a pool."""
    kind: str
    """What kind of failure it was: "timeout", "server", "connect", …"""
    took: float
    """Seconds."""


def history(exc: BaseException) -> tuple[Tried, ...]:
    """The failed attempts behind ``exc``, in order; empty if one attempt was all there was.

    The same facts stand in the exception's notes, for people.
    """
    rows = getattr(exc, _ATTRIBUTE, ())
    return tuple(Tried(*row) for row in rows)

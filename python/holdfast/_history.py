"""What a call tried before it gave up, read from the exception it raised."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_ATTRIBUTE = "__holdfast_history__"


class Tried(tuple[int, str | None, str, float]):
    """One failed attempt: ``(number, node, kind, took)``.

    Written out rather than a `NamedTuple`, because `typing` would load `re` and more at import.
    """

    __slots__ = ()
    __match_args__ = ("number", "node", "kind", "took")

    def __new__(cls, number: int, node: str | None, kind: str, took: float) -> Self:
        return super().__new__(cls, (number, node, kind, took))

    @property
    def number(self) -> int:
        """Counted from 1 over the whole call."""
        return self[0]

    @property
    def node(self) -> str | None:
        """The node that was asked, in a pool."""
        return self[1]

    @property
    def kind(self) -> str:
        """What kind of failure it was, such as "timeout", "server" or "connect"."""
        return self[2]

    @property
    def took(self) -> float:
        """Seconds."""
        return self[3]

    def __getnewargs__(self) -> tuple[int, str | None, str, float]:
        return (self.number, self.node, self.kind, self.took)

    def __repr__(self) -> str:
        return f"Tried(number={self.number}, node={self.node!r}, kind={self.kind!r}, took={self.took})"


def history(exc: BaseException) -> tuple[Tried, ...]:
    """The failed attempts behind ``exc``, in order; empty if one attempt was all there was.

    The same facts stand in the exception's notes, for people.
    """
    rows = getattr(exc, _ATTRIBUTE, ())
    return tuple(Tried(*row) for row in rows)

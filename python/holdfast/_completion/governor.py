"""What of a stream may be handed out, and when.

::

    beginning ── content ──> speaking ── tool piece ──> withholding
        │ holds back: role, metadata  │ hands out at once    │ holds back everything
        └──── tool piece ─────────────┴──────────────────────┘ until the end has proved it

Why everything after a tool piece: the order of a stream is kept. Why the beginning: a role or an id is no
content, and while nothing has been handed out another attempt may answer instead.
"""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from holdfast._exceptions import CallTimeout, StreamInterrupted, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast._completion.rules import Answer


withheld: ContextVar[Any] = ContextVar("holdfast_withheld", default=None)
"""Whose streams are read to their end before anybody sees them: the `Completion` that makes their governors.

Such a stream is held back whole, so that one that breaks in its middle may still be asked again.
"""


class Part(Enum):
    """What a chunk of a stream brings."""

    METADATA = "metadata"
    CONTENT = "content"
    TOOL = "tool"
    FOREIGN = "foreign"
    """It is no chunk that we know: somebody's own generator. Handed out as it comes."""


class Reader(Protocol):
    """What reads the chunks of one attempt."""

    def take(self, chunk: Any) -> Part:
        """Reads one; says what it brings."""

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the whole stream has shown; ``held`` are the chunks held back, tool pieces among them."""

    def received(self, chunks: Sequence[Any]) -> Any:
        """What the chunks say, merged, without tool calls; None if there are none."""

    def whole(self, chunks: Sequence[Any]) -> Any:
        """The chunks merged into the answer they add up to; None if they do not add up to one."""


class Governor:
    """Decides for one attempt what of its stream is handed out.

    Args:
        reader: What reads its chunks.
        check: ``(answer, whole) -> None``, called at the end with what the stream has shown and a callable
            for the whole merged answer; raises `Truncated` (received is filled in here) if it must not be
            believed. None: nothing is checked and tool pieces are not held back.
        demanding: Is a stream of nothing, or of a kind that we do not know, refused at its end?
        withhold: Hold everything back until the end.

    Attributes:
        heard: Has any content come, handed out or not? From then on silence is a stall.
    """

    __slots__ = ("_before", "_check", "_demanding", "_foreign", "_held", "_reader", "_released", "_withholding",
                 "heard")  # fmt: skip

    def __init__(
        self,
        reader: Reader,
        check: Callable[[Answer, Callable[[], Any]], None] | None,
        *,
        demanding: bool = True,
        withhold: bool = False,
    ) -> None:
        self.heard = False
        self._reader = reader
        self._check = check
        self._demanding = demanding
        self._withholding = withhold
        self._foreign = False
        self._held: list[Any] = []
        self._released: list[Any] = []
        self._before: Any = None

    def item(self, chunk: Any) -> Sequence[Any]:
        """What may be handed out now that this chunk has come."""
        part = self._reader.take(chunk)
        self.heard = self.heard or part is not Part.METADATA
        self._foreign = self._foreign or part is Part.FOREIGN
        if part is Part.TOOL and self._check is not None:
            self._withholding = True
        self._held.append(chunk)
        if self._withholding or not self.heard:
            return ()
        return self._release()

    def end(self) -> Sequence[Any]:
        """What has been held back, now that the user's stream has ended well.

        Raises:
            Truncated: The answer is not whole.
        """
        if self._check is not None and self._is_ours():
            try:
                self._check(self._reader.answer(self._held), self._whole)
            except Truncated as refused:
                if refused.received is None:
                    refused.received = self._received()
                raise
        return self._release()

    def broken(self, error: BaseException) -> BaseException:
        """What is raised in place of the error that broke the stream after its first content."""
        if isinstance(error, CallTimeout | Truncated | StreamInterrupted) or not self._is_ours():
            return error
        return StreamInterrupted(received=self._received(), cause=error)

    def after(self, interrupted: Any) -> None:
        """This attempt goes on where another broke: what had come there has been received too."""
        self._before = getattr(interrupted, "received", None)

    def _is_ours(self) -> bool:
        return not self._foreign and (self._demanding or self.heard)

    def _release(self) -> Sequence[Any]:
        out = tuple(self._held)
        self._held.clear()
        self._released += out
        return out

    def _whole(self) -> Any:
        return self._reader.whole([*self._released, *self._held])

    def _received(self) -> Any:
        # What was handed out; if nothing was, what had come: there is no reader it could mislead.
        own = self._reader.received(self._released or self._held)
        if self._before is None or own is None:
            return own if self._before is None else self._before
        return self._before + own

"""Readers of Anthropic's answers: messages, and the events of their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast._completion.governor import Part
from holdfast._completion.rules import Answer
from holdfast._completion.shape import field, is_a, items, text

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVENTS: Final = frozenset(
    {"message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
     "content_block_stop", "ping", "error"}
)  # fmt: skip
_DERIVED: Final = frozenset({"text", "thinking", "citation", "signature", "input_json", "compaction"})
"""Events that the client's own helper makes out of the others, and sends between them."""
_WORDS: Final = ("text", "thinking", "data", "signature")


def read(value: Any) -> Answer | None:
    """What a message shows."""
    if not _is_message(value):
        return None
    answer = Answer(ends=[text(value, "stop_reason") or None], provider="anthropic")
    for block in items(value, "content"):
        if text(block, "type") == "tool_use":
            answer.calls.append(field(block, "input"))
        else:
            answer.speaks = answer.speaks or _says(block)
    return answer


def text_of(value: Any) -> str:
    """The text of a message."""
    return "".join(text(block, "text") for block in items(value, "content") if text(block, "type") == "text")


class EventReader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._speaks = False
        self._end: str | None = None
        # By block: the input that came with its start, and the pieces of text that came after.
        self._calls: dict[Any, tuple[Any, list[str]]] = {}

    def take(self, event: Any) -> Part:
        """Reads one event; says what it brings."""
        kind = text(event, "type")
        if kind not in _EVENTS:
            return Part.METADATA if kind in _DERIVED else Part.FOREIGN
        if kind == "error":
            self._end = "error"
        elif kind == "message_delta":
            self._end = text(field(event, "delta"), "stop_reason") or self._end
        elif kind == "content_block_start":
            return self._start(field(event, "index"), field(event, "content_block"))
        elif kind == "content_block_delta":
            return self._delta(field(event, "index"), field(event, "delta"))
        return Part.METADATA

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the stream has shown."""
        calls = ["".join(pieces) or start or "" for start, pieces in self._calls.values()]
        return Answer(self._speaks, [self._end], calls, provider="anthropic")

    def received(self, chunks: Sequence[Any]) -> Any:
        """The text so far."""
        return "".join(_said(event) for event in chunks)

    def whole(self, chunks: Sequence[Any]) -> Any:
        """Events of this client do not add up to an answer."""
        return None

    def _start(self, index: Any, block: Any) -> Part:
        if text(block, "type") == "tool_use":
            self._calls[index] = (field(block, "input"), [])
            return Part.TOOL
        return self._content(_says(block))

    def _delta(self, index: Any, delta: Any) -> Part:
        if index in self._calls:
            self._calls[index][1].append(text(delta, "partial_json"))
            return Part.TOOL
        return self._content(True)

    def _content(self, said: bool) -> Part:
        self._speaks = self._speaks or said
        return Part.CONTENT if said else Part.METADATA


def _is_message(value: Any) -> bool:
    if is_a(value, "Message") or is_a(value, "BetaMessage"):
        return "stop_reason" in getattr(type(value), "model_fields", ())
    return isinstance(value, dict) and value.get("type") == "message" and "stop_reason" in value


def _says(block: Any) -> bool:
    """Text, thinking, or what one of the provider's own tools has done. A block that opens empty says nothing."""
    kind = text(block, "type")
    return any(text(block, word) for word in _WORDS) if kind in ("text", "thinking") else kind != ""


def _said(event: Any) -> str:
    if text(event, "type") == "content_block_delta":
        return text(field(event, "delta"), "text")
    return text(field(event, "content_block"), "text")

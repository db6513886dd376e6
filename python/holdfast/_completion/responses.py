"""Readers of OpenAI's Responses API: responses, and the events of their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast._completion.governor import Part
from holdfast._completion.rules import Answer
from holdfast._completion.shape import field, is_a, items, text

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDED: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_BACKGROUND: Final = frozenset({"queued", "in_progress"})
_CALLS: Final = frozenset(
    {"function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call",
     "apply_patch_call"}
)  # fmt: skip
"""Items that ask the caller to do something."""
_WORDS: Final = ("output_text", "refusal", "reasoning", "audio")
"""Of which kinds of events a delta is content: `response.<kind>….delta`."""
_TEXT: Final = "response.output_text.delta"


def is_response(value: Any) -> bool:
    """Is it a response?"""
    return field(value, "object") == "response" or _is_blank(value)


def is_event(value: Any) -> bool:
    """Is it an event of a response's stream?"""
    kind = text(value, "type")
    return kind.startswith("response.") or (kind == "error" and not is_a(value, "Message"))


def read(value: Any) -> Answer:
    """What a response shows. One that is made in the background is whole as what it is: a promise."""
    status = text(value, "status") or None
    answer = Answer(provider="openai")
    if status in _BACKGROUND and field(value, "background") is True:
        return Answer(speaks=True, ends=[status], provider="openai")
    answer.ends.append(status if status in _ENDED else None)
    for item in items(value, "output"):
        if text(item, "type") in _CALLS:
            answer.calls.append(_arguments(item))
        else:
            answer.speaks = answer.speaks or _says(item)
    return answer


def text_of(value: Any) -> str:
    """The text of a response."""
    return "".join(
        text(part, "text")
        for item in items(value, "output")
        for part in items(item, "content")
        if text(part, "type") == "output_text"
    )


class EventReader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._speaks = False
        self._final: Answer | None = None
        self._calls: dict[Any, list[str]] = {}

    def take(self, event: Any) -> Part:
        """Reads one event; says what it brings."""
        kind = text(event, "type")
        if kind == "error" or (kind.startswith("response.") and kind.removeprefix("response.") in _ENDED):
            self._final = read(field(event, "response")) if kind != "error" else Answer(ends=["error"])
            return Part.METADATA
        if self._is_call(kind, event):
            return Part.TOOL
        if kind.endswith(".delta") and kind.removeprefix("response.").startswith(_WORDS):
            self._speaks = True
            return Part.CONTENT
        if _is_work(kind, event):
            return Part.CONTENT
        return Part.METADATA if is_event(event) else Part.FOREIGN

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the stream has shown: its last event says it all, if it came."""
        said = self._final or Answer(ends=[None])
        calls = [*said.calls, *("".join(pieces) for pieces in self._calls.values())]
        return Answer(said.speaks or self._speaks, said.ends, calls, provider="openai")

    def received(self, chunks: Sequence[Any]) -> Any:
        """The text so far."""
        return "".join(text(event, "delta") for event in chunks if text(event, "type") == _TEXT)

    def whole(self, chunks: Sequence[Any]) -> Any:
        """The last event holds the answer, but only the caller knows which of them to use."""
        return None

    def _is_call(self, kind: str, event: Any) -> bool:
        place = field(event, "output_index")
        if kind == "response.function_call_arguments.delta":
            self._calls.setdefault(place, []).append(text(event, "delta"))
            return True
        if kind == "response.output_item.added" and text(field(event, "item"), "type") == "function_call":
            self._calls.setdefault(place, []).append(text(field(event, "item"), "arguments"))
            return True
        in_item = kind.startswith("response.output_item.") and text(field(event, "item"), "type") in _CALLS
        return in_item or kind.startswith(("response.function_call", "response.custom_tool_call"))


def _is_blank(value: Any) -> bool:
    """The client's object for a body of nothing: of the class, but without a field of it."""
    return is_a(value, "Response") and hasattr(type(value), "output_text") and field(value, "output") is None


def _says(item: Any) -> bool:
    """Text, a refusal, reasoning, or what one of the provider's own tools has done."""
    if text(item, "type") == "message":
        return any(text(part, "text") or text(part, "refusal") for part in items(item, "content"))
    return text(item, "type") != ""


def _is_work(kind: str, event: Any) -> bool:
    """Is one of the provider's own tools at work? That may take a while, and is worth showing."""
    if kind.startswith("response.output_item."):
        return text(field(event, "item"), "type") not in ("message", "reasoning")
    return "_call" in kind or kind.startswith("response.mcp_")


def _arguments(item: Any) -> Any:
    return text(item, "arguments") if text(item, "type") == "function_call" else {}

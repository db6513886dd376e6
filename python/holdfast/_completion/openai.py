"""Readers of OpenAI's answers: chat and legacy completions, their chunks, and (by `responses.py`) responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast._completion import responses
from holdfast._completion.governor import Part
from holdfast._completion.rules import Answer
from holdfast._completion.shape import field, is_a, items, speaks, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast._completion.governor import Reader

_WORDS: Final = (
    "content",
    "refusal",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "audio",
    "parsed",
)
"""Where a message or a delta says something; the reasoning ones are those of compatible servers."""


def read(value: Any) -> Answer | None:
    """What a chat completion or a response shows."""
    if responses.is_response(value):
        return responses.read(value)
    if is_legacy(value):
        reader = ChunkReader()
        reader.take(value)
        return reader.answer(())
    if not is_a(value, "ChatCompletion") and field(value, "object") != "chat.completion":
        return None
    answer = Answer(provider="openai")
    for choice in items(value, "choices"):
        message = field(choice, "message")
        answer.ends.append(text(choice, "finish_reason") or None)
        answer.speaks = answer.speaks or _says(message)
        answer.calls += [_arguments(call) for call in items(message, "tool_calls")]
        if legacy := field(message, "function_call"):
            answer.calls.append(text(legacy, "arguments"))
    return answer


def text_of(value: Any) -> str | None:
    """The text of an answer: of its first choice."""
    if responses.is_response(value):
        return responses.text_of(value)
    choices = items(value, "choices")
    if choices and is_legacy(value):
        return text(choices[0], "text")
    return text(field(choices[0], "message"), "content") if choices else None


class StreamReader:
    """Reads one stream, of chunks or of events: the first that is either tells."""

    def __init__(self) -> None:
        self._reader: Reader | None = None

    def take(self, chunk: Any) -> Part:
        """Reads one chunk or event; says what it brings."""
        if self._reader is None:
            if responses.is_event(chunk):
                self._reader = responses.EventReader()
            elif is_chunk(chunk):
                self._reader = ChunkReader()
            else:
                return Part.FOREIGN
        return self._reader.take(chunk)

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the stream has shown."""
        return Answer(provider="openai") if self._reader is None else self._reader.answer(held)

    def received(self, chunks: Sequence[Any]) -> Any:
        """The text so far."""
        return None if self._reader is None else self._reader.received(chunks)

    def whole(self, chunks: Sequence[Any]) -> Any:
        """Chunks of this client do not add up to an answer."""
        return None


class ChunkReader:
    """Reads the chunks of a completion."""

    def __init__(self) -> None:
        self._speaks = False
        self._ends: dict[int, str | None] = {}
        # By choice and number of the call in it; with the call's id, because some servers number all with 0.
        self._calls: dict[tuple[int, Any], list[tuple[str, list[str]]]] = {}

    def take(self, chunk: Any) -> Part:
        """Reads one chunk; says what it brings."""
        if not is_chunk(chunk):
            return Part.FOREIGN
        asks = says = False
        for choice in items(chunk, "choices"):
            index, delta = field(choice, "index") or 0, field(choice, "delta")
            self._ends[index] = text(choice, "finish_reason") or self._ends.get(index)
            says = _says(delta) or text(choice, "text") != "" or says
            for piece in items(delta, "tool_calls"):
                self._add((index, field(piece, "index")), text(piece, "id"), _arguments(piece))
                asks = True
            if legacy := field(delta, "function_call"):
                self._add((index, None), "", text(legacy, "arguments"))
                asks = True
        self._speaks = self._speaks or says
        if asks:
            return Part.TOOL
        return Part.CONTENT if says else Part.METADATA

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the stream has shown."""
        calls = ["".join(pieces) for calls in self._calls.values() for _, pieces in calls]
        return Answer(self._speaks, list(self._ends.values()), calls, provider="openai")

    def received(self, chunks: Sequence[Any]) -> Any:
        """The text so far: that of the first choice."""
        return "".join(
            text(field(choice, "delta"), "content") or text(choice, "text")
            for chunk in chunks
            for choice in items(chunk, "choices")
            if not field(choice, "index")
        )

    def whole(self, chunks: Sequence[Any]) -> Any:
        """Chunks of this client do not add up to an answer."""
        return None

    def _add(self, place: tuple[int, Any], id_: str, piece: str) -> None:
        calls = self._calls.setdefault(place, [])
        if not calls or (id_ and calls[-1][0] and id_ != calls[-1][0]):
            calls.append((id_, []))
        calls[-1][1].append(piece)


def is_chunk(value: Any) -> bool:
    """Is it a chunk of a completion?"""
    told = is_a(value, "ChatCompletionChunk") or field(value, "object") == "chat.completion.chunk"
    return told or is_legacy(value)


def is_legacy(value: Any) -> bool:
    """Is it a completion of a prompt, or a chunk of one? Both have one shape."""
    return text(value, "object") == "text_completion"


def _says(message: Any) -> bool:
    return any(_is_said(field(message, word)) for word in _WORDS)


def _is_said(value: Any) -> bool:
    dump = getattr(value, "model_dump", None)
    return speaks(dump()) if callable(dump) and is_a(value, "ChatCompletionAudio") else speaks(value)


def _arguments(call: Any) -> Any:
    """The raw arguments; those of a custom tool are free text, which is always whole."""
    if field(call, "type") == "custom" or field(call, "custom") is not None:
        return {}
    return text(field(call, "function"), "arguments")

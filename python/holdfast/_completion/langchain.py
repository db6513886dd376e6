"""Readers of LangChain's answers: results, generations, messages, and the chunks of streams.

The parsed `tool_calls` of a chunk are never believed: LangChain completes half-written JSON. The raw text in
`tool_call_chunks` is read instead, merged by the chunks' own addition, so that it is what an agent would
see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast._completion.governor import Part
from holdfast._completion.rules import MARKERS, Answer
from holdfast._completion.shape import field, is_a, items, speaks, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CALLS: Final = ("tool_calls", "function_call")
"""Where `additional_kwargs` keep the calls in the provider's own words."""

_CALL_BLOCKS: Final = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "custom_tool_call",
     "computer_call", "local_shell_call", "shell_call", "apply_patch_call"}
)  # fmt: skip
"""Content blocks that ask the caller to do something. Tools of the provider's own are none of these."""


def read(value: Any) -> Answer | None:
    """What a result, a generation or a message shows."""
    if is_a(value, "ChatResult"):
        only = value.generations[0] if len(value.generations) == 1 else None
        plain = None if only is None else _read_words(only, value.llm_output)
        return _read_all(value.generations, value.llm_output) if plain is None else plain
    if is_a(value, "ChatGeneration"):
        return _read_all([value], None)
    if _is_message(value):
        answer = Answer()
        _add(answer, value, value.response_metadata)
        return answer
    return None


def message_of(value: Any) -> Any:
    """The message of a result or a generation: what a user gets of it."""
    if is_a(value, "ChatResult"):
        value = value.generations[0] if value.generations else None
    return value.message if is_a(value, "ChatGeneration") else value


def without_calls(value: Any) -> Any:
    """The message without its tool calls; None if there is none."""
    message = message_of(value)
    return None if message is None else _stripped(message)


class ChunkReader:
    """Reads the chunks of one stream, as `_stream` yields them (generations) or `stream` (messages)."""

    def __init__(self) -> None:
        self._answer = Answer(ends=[None])

    def take(self, chunk: Any) -> Part:
        """Reads one chunk; says what it brings."""
        message = message_of(chunk)
        if not _is_message(message):
            return Part.FOREIGN
        answer = self._answer
        answer.ends[0] = _marker(field(chunk, "generation_info"), message.response_metadata) or answer.ends[0]
        _note_origin(answer, message.response_metadata)
        if _asks(message):
            return Part.TOOL
        if _says(message):
            answer.speaks = True
            return Part.CONTENT
        return Part.METADATA

    def answer(self, held: Sequence[Any]) -> Answer:
        """What the stream has shown. Every tool piece is among the chunks held back."""
        if any(_asks(message_of(chunk)) for chunk in held):
            merged = self.whole(held)
            self._answer.calls = list(_raw_calls(merged))
            self._answer.speaks = self._answer.speaks or _says(merged)
        return self._answer

    def received(self, chunks: Sequence[Any]) -> Any:
        """The message so far, without tool calls."""
        return self.whole([_stripped(message_of(chunk)) for chunk in chunks])

    def whole(self, chunks: Sequence[Any]) -> Any:
        """The message that the chunks add up to."""
        messages = [message_of(chunk) for chunk in chunks]
        # All at once: adding one by one reads the arguments anew each time.
        return messages[0] + messages[1:] if len(messages) > 1 else next(iter(messages), None)


def _is_message(value: Any) -> bool:
    return is_a(value, "BaseMessage")


def _read_words(generation: Any, llm_output: Any) -> Answer | None:
    """The answer if it is nothing but words, as most are: every answer is looked at. None: it is more than that."""
    message = generation.message
    said = message.content
    if type(said) is not str or not said or message.additional_kwargs or not is_a(message, "AIMessage"):
        return None
    if message.tool_calls or message.invalid_tool_calls or is_a(message, "BaseMessageChunk"):
        return None
    places = (generation.generation_info, message.response_metadata, llm_output)
    answer = Answer(speaks=True, ends=[_marker(*places)])
    for place in places:
        if place:
            _note_origin(answer, place)
    return answer


def _read_all(generations: Sequence[Any], llm_output: Any) -> Answer:
    answer = Answer()
    for generation in generations:
        places = (generation.generation_info, generation.message.response_metadata, llm_output)
        _add(answer, generation.message, *places)
    return answer


def _add(answer: Answer, message: Any, *places: Any) -> None:
    """Adds what one choice shows; its end marker is in one of the places."""
    answer.ends.append(_marker(*places))
    answer.speaks = answer.speaks or _says(message)
    answer.calls += _raw_calls(message)
    for place in places:
        if place:
            _note_origin(answer, place)


def _marker(*places: Any) -> str | None:
    for place in places:
        for name in MARKERS if place else ():
            if found := text(place, name):
                return found
    return None


def _note_origin(answer: Answer, metadata: Any) -> None:
    answer.provider = text(metadata, "model_provider") or answer.provider
    answer.node = text(field(metadata, "holdfast"), "node") or answer.node


def _says(message: Any) -> bool:
    """Is there anything in it but tool calls?"""
    if speaks(_without_call_blocks(message.content)):
        return True
    return speaks({key: value for key, value in message.additional_kwargs.items() if key not in _CALLS})


def _asks(message: Any) -> bool:
    """Is there a tool call in it, or a piece of one?"""
    return bool(
        field(message, "tool_call_chunks")
        or field(message, "tool_calls")
        or field(message, "invalid_tool_calls")
        or any(message.additional_kwargs.get(key) for key in _CALLS)
        or (isinstance(message.content, list) and any(map(_is_call_block, message.content)))
    )


def _raw_calls(message: Any) -> Iterable[Any]:
    """The arguments of each tool call: raw where the raw text is there."""
    # A message that is no chunk has no such field, and pydantic is slow to say so.
    pieces = field(message, "tool_call_chunks") if is_a(message, "BaseMessageChunk") else None
    if pieces is not None:
        yield from (piece.get("args") or "" for piece in pieces)
    else:
        yield from (call.get("args") for call in items(message, "tool_calls"))
        # What the provider's own parser gave up on: the text, which will not parse, or nothing.
        yield from (call.get("args") for call in items(message, "invalid_tool_calls"))
    if not message.additional_kwargs:
        return
    for call in items(message.additional_kwargs, "tool_calls"):
        if field(call, "function"):
            yield field(call["function"], "arguments") or ""
    if call := field(message.additional_kwargs, "function_call"):
        yield field(call, "arguments") or ""


def _is_call_block(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in _CALL_BLOCKS


def _without_call_blocks(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    # Pieces of arguments belong to the call before them.
    return [b for b in content if not _is_call_block(b) and field(b, "type") != "input_json_delta"]


def _stripped(message: Any) -> Any:
    if not (_is_message(message) and _asks(message)):
        return message
    words = {key: value for key, value in message.additional_kwargs.items() if key not in _CALLS}
    changes: dict[str, Any] = {"content": _without_call_blocks(message.content), "additional_kwargs": words}
    for calls in ("tool_calls", "invalid_tool_calls", "tool_call_chunks"):
        if field(message, calls) is not None:
            changes[calls] = []
    return message.model_copy(update=changes)

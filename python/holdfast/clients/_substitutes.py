"""What a fallback answers, in the form that the client's method would have given it.

A string becomes an answer of the SDK's type, or the events of a stream that says it: whoever reads
`answer.choices[0].message.content` reads it there. What is no string is the user's own and is handed on.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.clients._bounded import LIBRARIES

if TYPE_CHECKING:
    from holdfast.clients._call import Call

_ID = "holdfast-fallback"


class ClientCall:
    """One call of a client's method, as a fallback and a hedge ask of it.

    Args:
        call: The call.
        client: Whose it is.
        cast_to: The type that its answer is to have.
        options: The SDK's description of the request.
        item_type: The type of its stream's items.
    """

    def __init__(self, call: Call, client: Any, cast_to: Any, options: Any, item_type: Any) -> None:
        self._call = call
        self._client = client
        self._cast_to = cast_to
        self._options = options
        self._item_type = item_type
        self.args = ()

    @property
    def kwargs(self) -> dict[str, Any]:
        """What is asked."""
        body = self._options.json_data
        return dict(body) if isinstance(body, Mapping) else {"body": body}

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells its answers from those of another service, method or kind."""
        return (
            "client",
            str(self._client.base_url),
            self._options.method,
            self._options.url,
            self._call.events,
        )

    def answer(self, value: Any, told: dict[str, Any]) -> Any:
        """The substitute as a whole answer."""
        shape = _WHOLE.get(getattr(self._cast_to, "__name__", ""))
        if not isinstance(value, str) or shape is None:
            return value
        made = self._made(shape(value, self._model), self._cast_to)
        parse = self._options.post_parser
        return parse(made) if callable(parse) else made

    def items(self, value: Any, told: dict[str, Any]) -> Iterable[Any]:
        """The substitute as items of a stream; `told` is empty but for its first."""
        shape = _STREAMED.get(getattr(self._cast_to, "__name__", ""))
        if not isinstance(value, str) or shape is None:
            return (value,)
        events = list(shape(value, self._model))
        return [self._made(event, self._item_type) for event in events]

    @property
    def _model(self) -> str:
        return str(self.kwargs.get("model", ""))

    def _made(self, data: dict[str, Any], kind: Any) -> Any:
        names = (f"{root}._models" for root in _roots(self._client))
        models = next(sys.modules[name] for name in names if name in sys.modules)
        return models.construct_type(value=data, type_=kind)


def stand_in(client: Any, stream_cls: Any) -> Any:
    """A stream of the SDK's class, of an answer that did not come: it has nothing but a response, which is empty."""
    stream = object.__new__(typing.get_origin(stream_cls) or stream_cls)
    library = next(root for root in _roots(client._client) if root in LIBRARIES)
    stream.__dict__.update(response=sys.modules[library].Response(200), _client=client, _iterator=iter(()))
    return stream


def _roots(thing: Any) -> Iterator[str]:
    """The packages of a thing's class and its ancestors."""
    return (kind.__module__.partition(".")[0] for kind in type(thing).__mro__)


def item_type_of(stream_cls: Any) -> Any:
    """The type of the items of a stream of this class."""
    return next(iter(typing.get_args(stream_cls)), None)


def _chat(text: str, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
    return {"id": _ID, "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}


def _chat_chunks(text: str, model: str) -> Iterator[dict[str, Any]]:
    choice = {"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": text}}
    yield {"id": _ID, "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}


def _completion(text: str, model: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "text": text, "logprobs": None}
    return {"id": _ID, "object": "text_completion", "created": 0, "model": model, "choices": [choice]}


def _response(text: str, model: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output = [{"type": "message", "id": _ID, "role": "assistant", "status": "completed", "content": content}]
    return {
        "id": _ID, "object": "response", "created_at": 0.0, "model": model, "status": "completed", "output": output,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip


def _response_events(text: str, model: str) -> Iterator[dict[str, Any]]:
    whole = _response(text, model)
    message = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": []}
    place = {"item_id": _ID, "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": message["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _message(text: str, model: str) -> dict[str, Any]:
    return {
        "id": _ID, "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": text}],
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }  # fmt: skip


def _message_events(text: str, model: str) -> Iterator[dict[str, Any]]:
    begun = {**_message(text, model), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 0}}
    yield {"type": "message_stop"}


def _completion_chunks(text: str, model: str) -> Iterator[dict[str, Any]]:
    yield _completion(text, model)


_WHOLE = {"ChatCompletion": _chat, "Completion": _completion, "Response": _response, "Message": _message}
_STREAMED = {
    "ChatCompletion": _chat_chunks,
    "Completion": _completion_chunks,
    "Response": _response_events,
    "Message": _message_events,
}
"""By the type of the whole answer."""

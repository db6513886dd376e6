"""How the providers word things: answers, stream events, errors.

The dialect is told by the request's path, as with the real ones: ``/chat/completions`` and
``/responses`` are OpenAI's, ``/messages`` is Anthropic's; `others` has the rest.
"""

from __future__ import annotations

import json
from typing import Any

from . import others

TEXT = ("Hello", " from", " the", " other", " side")
"""What a healthy answer says, in the pieces of a stream."""
TOOL = "delete_path"
TOOL_ARGUMENTS = ('{"path": "/data/', 'scratch/old"}')
"""A tool call's arguments. Cut after the first piece, they can be mended into a worse call."""

Events = list[bytes]


def dialect(path: str) -> str:
    """`"anthropic"`, `"responses"`, `"completions"` or `"chat"`, or one of `others.KINDS`."""
    other = others.dialect(path)
    if other is not None:
        return other
    if path.endswith("/messages"):
        return "anthropic"
    if path.endswith("/completions") and not path.endswith("/chat/completions"):
        return "completions"
    return "responses" if path.endswith("/responses") else "chat"


def error(kind: str, status: int, message: str, *, code: str | None = None, **more: Any) -> dict[str, Any]:
    """The JSON body of an error in the dialect `kind`."""
    inner: dict[str, Any] = {"message": message}
    if kind == "anthropic":
        inner |= {"type": code or _ANTHROPIC.get(status, "api_error"), **more}
        return {"type": "error", "error": inner, "request_id": "req_1"}
    inner |= {"type": _OPENAI.get(status, "server_error"), "param": None, "code": code, **more}
    return {"error": inner}


_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
    403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_OPENAI = {
    400: "invalid_request_error", 401: "invalid_request_error", 403: "invalid_request_error",
    404: "invalid_request_error", 429: "requests",
}  # fmt: skip


def answer(kind: str, *, tool: bool = False) -> dict[str, Any]:
    """A healthy unary answer."""
    text, arguments = "".join(TEXT), "".join(TOOL_ARGUMENTS)
    if kind in others.KINDS:
        return others.answer(kind, text)
    if kind == "anthropic":
        said: dict[str, Any] = {"type": "text", "text": text}
        if tool:
            said = {
                "type": "tool_use",
                "id": "toolu_1",
                "name": TOOL,
                "input": json.loads(arguments),
            }
        return _anthropic_message([said], "tool_use" if tool else "end_turn")
    if kind == "responses":
        return _response("completed", [_tool_item(arguments) if tool else _text_item(text)])
    if kind == "completions":
        return _legacy(text, "stop") | {"usage": _CHAT_USAGE}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if tool:
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": TOOL, "arguments": arguments},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool else "stop"}
    return _chat("chat.completion", choices=[choice], usage=_CHAT_USAGE)


def opening(kind: str) -> Events:
    """The events before any content: in OpenAI's chat the empty role chunk."""
    if kind in others.KINDS:
        return others.stream(kind, TEXT)[0]
    if kind == "anthropic":
        message = _anthropic_message([], None)
        block = {"type": "text", "text": ""}
        return [
            _event("message_start", {"message": message}),
            _event("content_block_start", {"index": 0, "content_block": block}),
        ]
    if kind == "responses":
        item = _text_item("") | {"status": "in_progress", "content": []}
        part = {"type": "output_text", "text": "", "annotations": []}
        where = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
        return [
            _event("response.created", {"sequence_number": 0, "response": _response("in_progress", [])}),
            _event(
                "response.output_item.added",
                {"sequence_number": 1, "output_index": 0, "item": item},
            ),
            _event("response.content_part.added", {"sequence_number": 2, **where, "part": part}),
        ]
    if kind == "completions":
        return [_legacy_chunk("")]
    return [_chunk({"role": "assistant", "content": ""})]


def content(kind: str) -> Events:
    """The events that carry the text, one per piece."""
    if kind in others.KINDS:
        return others.stream(kind, TEXT)[1]
    if kind == "anthropic":
        return [
            _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})
            for piece in TEXT
        ]
    if kind == "responses":
        where = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "logprobs": []}
        return [
            _event("response.output_text.delta", {"sequence_number": 3 + n, **where, "delta": piece})
            for n, piece in enumerate(TEXT)
        ]
    if kind == "completions":
        return [_legacy_chunk(piece) for piece in TEXT]
    return [_chunk({"content": piece}) for piece in TEXT]


def ending(kind: str) -> Events:
    """The events that say the answer is complete."""
    if kind in others.KINDS:
        return others.stream(kind, TEXT)[2]
    if kind == "anthropic":
        stop = {
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        }
        return [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", stop),
            _event("message_stop", {}),
        ]
    if kind == "responses":
        done = _response("completed", [_text_item("".join(TEXT))])
        return [_event("response.completed", {"sequence_number": 9, "response": done})]
    if kind == "completions":
        return [_legacy_chunk("", "stop"), b"data: [DONE]\n\n"]
    return [_chunk({}, finish="stop"), b"data: [DONE]\n\n"]


def tool_content(kind: str) -> Events:
    """The events of a tool call, its arguments in two pieces."""
    if kind == "anthropic":
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}
        return [
            _event("content_block_stop", {"index": 0}),
            _event("content_block_start", {"index": 1, "content_block": block}),
            *(
                _event(
                    "content_block_delta",
                    {"index": 1, "delta": {"type": "input_json_delta", "partial_json": p}},
                )
                for p in TOOL_ARGUMENTS
            ),
        ]
    if kind == "responses":
        where = {"output_index": 1, "item_id": "fc_1"}
        item = _tool_item("") | {"status": "in_progress"}
        return [
            _event(
                "response.output_item.added",
                {"sequence_number": 3, "output_index": 1, "item": item},
            ),
            *(
                _event(
                    "response.function_call_arguments.delta",
                    {"sequence_number": 4 + n, **where, "delta": p},
                )
                for n, p in enumerate(TOOL_ARGUMENTS)
            ),
        ]
    head = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": TOOL, "arguments": ""},
    }
    pieces = ({"index": 0, "function": {"arguments": piece}} for piece in TOOL_ARGUMENTS)
    return [_chunk({"tool_calls": [call]}) for call in (head, *pieces)]


def tool_ending(kind: str) -> Events:
    """The events that say the tool call is complete."""
    if kind == "anthropic":
        stop = {
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        }
        return [
            _event("content_block_stop", {"index": 1}),
            _event("message_delta", stop),
            _event("message_stop", {}),
        ]
    if kind == "responses":
        done = _response("completed", [_tool_item("".join(TOOL_ARGUMENTS))])
        return [_event("response.completed", {"sequence_number": 9, "response": done})]
    return [_chunk({}, finish="tool_calls"), b"data: [DONE]\n\n"]


def error_event(kind: str, code: str, message: str) -> bytes:
    """An error inside a stream that began with status 200."""
    if kind == "anthropic":
        return _event("error", {"error": {"type": code, "message": message}})
    if kind == "responses":
        return _event("error", {"sequence_number": 3, "code": code, "message": message, "param": None})
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _anthropic_message(said: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "stub", "content": said,
        "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 5},
    }  # fmt: skip


_CHAT_USAGE = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}


def _chat(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl_1", "object": kind, "created": 1, "model": "stub", **fields}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps(_chat("chat.completion.chunk", choices=[choice])).encode() + b"\n\n"


def _legacy(text: str, finish: str | None) -> dict[str, Any]:
    return _chat(
        "text_completion", choices=[{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]
    )


def _legacy_chunk(text: str, finish: str | None = None) -> bytes:
    return b"data: " + json.dumps(_legacy(text, finish)).encode() + b"\n\n"


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def _text_item(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _tool_item(arguments: str) -> dict[str, Any]:
    return {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": TOOL,
        "arguments": arguments, "status": "completed",
    }  # fmt: skip


def _response(status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 10,
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "stub",
        "output": output, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto",
        "tools": [], "top_p": 1.0, "usage": usage if status == "completed" else None,
    }  # fmt: skip

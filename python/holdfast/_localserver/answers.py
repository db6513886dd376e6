"""What the local server says: pure functions, so that the same request always gets the same answer."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

# A fixed moment (2026-01-01 UTC): a clock would make two equal answers differ.
CREATED = 1_767_225_600


def completion(server: str, request: Json) -> Json:
    """The answer to a `/v1/chat/completions` request that does not stream.

    Args:
        server: The name of the server; the answer carries it, so that a reader sees who spoke.
        request: The decoded body of the request.
    """
    message = _message(server, request)
    return {
        **_envelope(server, request, "chat.completion"),
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(message)}
        ],
        "usage": _usage(request, message),
    }


def chunks(server: str, request: Json) -> Iterator[Json]:
    """The same answer as the chunks of a stream: role, words, finish reason, usage if asked for."""
    message = _message(server, request)
    envelope = _envelope(server, request, "chat.completion.chunk")

    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        return {
            **envelope,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }

    yield chunk({"role": "assistant", "content": "" if message["content"] is not None else None})
    for word in _words(message["content"] or ""):
        yield chunk({"content": word})
    for index, call in enumerate(message.get("tool_calls", ())):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, _finish_reason(message))
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**envelope, "choices": [], "usage": _usage(request, message)}


def models(server: str) -> Json:
    """The answer to `/v1/models`."""
    return {
        "object": "list",
        "data": [{"id": f"{server}-model", "object": "model", "created": CREATED, "owned_by": "holdfast"}],
    }


def embeddings(request: Json) -> Json:
    """The answer to `/v1/embeddings`: four numbers per text, made from its checksum."""
    given = request.get("input", "")
    texts = [given] if isinstance(given, str) else list(given)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(json.dumps(text))}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "model": request.get("model", ""), "data": data, "usage": usage}


def error(status: int, message: str) -> Json:
    """The body of an error, in the shape the official client reads."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def question(request: Json) -> str:
    """The text of the last user message, however it is spelled."""
    for message in reversed(request.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return " ".join(part.get("text", "") for part in content or () if part.get("type") == "text")
    return ""


def example(schema: Json, name: str = "value") -> Any:
    """The plainest value that a JSON schema accepts; strings say which field they stand in."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        return example(choice, name)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {key: example(inner, key) for key, inner in (schema.get("properties") or {}).items()}
        case "array":
            return [example(schema.get("items") or {"type": "string"}, name)]
        case "integer" | "number":
            return max(int(schema.get("minimum", 1)), 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return name


def _message(server: str, request: Json) -> Json:
    tool = _forced_tool(request)
    if tool is not None:
        function = {"name": tool["name"], "arguments": json.dumps(example(tool.get("parameters") or {}))}
        call = {"id": f"call_{tool['name']}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        content = json.dumps(example(wanted["json_schema"].get("schema") or {}))
    elif wanted.get("type") == "json_object":
        content = json.dumps({"server": server, "question": question(request)})
    else:
        content = f"{server} heard: {question(request)}"
    return {"role": "assistant", "content": content, "refusal": None}


def _forced_tool(request: Json) -> Json | None:
    """The function the request insists on: the named one, or the next of those required.

    A conversation that holds the results of n tools gets the function after them, so that agents end.
    """
    choice = request.get("tool_choice")
    tools = request.get("tools") or ()
    functions: list[Json] = [tool["function"] for tool in tools if tool.get("type") == "function"]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((function for function in functions if function["name"] == name), None)
    used = sum(message.get("role") == "tool" for message in request.get("messages") or ())
    return functions[min(used, len(functions) - 1)] if choice == "required" and functions else None


def _finish_reason(message: Json) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _envelope(server: str, request: Json, kind: str) -> Json:
    identity = zlib.crc32(json.dumps(request.get("messages"), sort_keys=True).encode())
    return {
        "id": f"chatcmpl-{identity:08x}",
        "object": kind,
        "created": CREATED,
        "model": request.get("model") or f"{server}-model",
        "system_fingerprint": server,
    }


def _usage(request: Json, message: Json) -> Json:
    """Words stand in for tokens: countable without a tokenizer."""
    asked = sum(len(str(one.get("content") or "").split()) for one in request.get("messages") or [])
    said = max(len((message["content"] or "").split()), 1)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _words(text: str) -> list[str]:
    """The text in pieces that join to it exactly."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)] if text else []


def _vector(text: str) -> list[float]:
    return [(zlib.crc32(f"{text}#{i}".encode()) % 2000 - 1000) / 1000 for i in range(4)]

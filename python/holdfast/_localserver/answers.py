"""What the local server says: pure functions, so that the same request always gets the same answer."""

from __future__ import annotations

import json
import re
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


def example(schema: Json, word: str = "", number: int = 1, name: str = "value") -> Any:
    """The plainest value that a JSON schema accepts.

    Args:
        schema: The schema.
        word: What a string says; empty: which field it stands in.
        number: What a number is, where the schema does not ask for more.
        name: The field it is the value of.
    """
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        return example(choice, word, number, name)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            fields = schema.get("properties") or {}
            return {key: example(inner, word, number, key) for key, inner in fields.items()}
        case "array":
            return [example(schema.get("items") or {"type": "string"}, word, number, name)]
        case "integer" | "number":
            return max(int(schema.get("minimum", number)), number)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return word or name


def _message(server: str, request: Json) -> Json:
    tool = _forced_tool(request)
    if tool is not None:
        asked = question(request)
        arguments = example(tool.get("parameters") or {}, _word(asked), _number(asked))
        function = {"name": tool["name"], "arguments": json.dumps(arguments)}
        call = {"id": f"call_{tool['name']}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        content = json.dumps(example(wanted["json_schema"].get("schema") or {}))
    elif wanted.get("type") == "json_object":
        asked = question(request)
        # The keys that the question names in quotes, if it does.
        fields = {key: key for key in re.findall(r"'(\w+)'", asked)}
        content = json.dumps(fields or {"server": server, "question": asked})
    else:
        content = f"{server} heard: {question(request)}"
    return {"role": "assistant", "content": content, "refusal": None}


def _forced_tool(request: Json) -> Json | None:
    """The function the request insists on: the named one, or the next of those required.

    Left to choose, it takes one that the question speaks of, once. A conversation that holds the results of n
    tools gets the function after them, so that agents end.
    """
    choice = request.get("tool_choice")
    tools = request.get("tools") or ()
    functions: list[Json] = [tool["function"] for tool in tools if tool.get("type") == "function"]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((function for function in functions if function["name"] == name), None)
    used: int = sum(message.get("role") == "tool" for message in request.get("messages") or ())
    if choice == "required" and functions:
        return functions[min(used, len(functions) - 1)]
    if choice in (None, "auto") and not used:
        asked = question(request).lower()
        return next((function for function in functions if _is_meant(function["name"], asked)), None)
    return None


def _is_meant(tool: str, asked: str) -> bool:
    """Does the question speak of what the tool is named after, as "the weather" of `get_weather`?"""
    return any(len(word) > 3 and word in asked for word in tool.lower().split("_")[1:])


def _word(text: str) -> str:
    """The first words beyond ASCII in the text, so that a test sees them come back; else nothing."""
    found = re.search(r"[^\x00-\x7f]+", text)
    return found.group() if found else ""


def _number(text: str) -> int:
    """The first number in the text, so that a question about 3 is answered with 3; else 1."""
    found = re.search(r"\d+", text)
    return int(found.group()) if found else 1


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

"""How the providers beside OpenAI and Anthropic word a healthy answer: Google, Cohere, Ollama and Bedrock.

Only what is needed to see that a client still works; Mistral and Groq speak OpenAI's dialect.
"""

from __future__ import annotations

import json
from typing import Any

KINDS = ("google", "cohere", "ollama", "bedrock")


def dialect(path: str) -> str | None:
    """The dialect of a request's path, or None if it is none of these."""
    if path.endswith((":generateContent", ":streamGenerateContent")):
        return "google"
    if path.endswith(("/v2/chat", "/v1/chat")):
        return "cohere"
    if path.endswith("/api/chat"):
        return "ollama"
    return "bedrock" if path.endswith("/converse") else None


def answer(kind: str, text: str) -> dict[str, Any]:
    """A healthy unary answer."""
    if kind == "google":
        return _google(text, "STOP")
    if kind == "cohere":
        said = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        return {"id": "c_1", "finish_reason": "COMPLETE", "message": said, "usage": _COHERE_USAGE}
    if kind == "ollama":
        return _ollama(text, done=True)
    message = {"role": "assistant", "content": [{"text": text}]}
    usage = {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }


def stream(kind: str, pieces: tuple[str, ...]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The events of a stream: opening, content, ending. Bedrock's binary frames are not spoken here."""
    if kind == "google":
        return [], [_data(_google(piece, None)) for piece in pieces], [_data(_google("", "STOP"))]
    if kind == "ollama":
        lines = [_line(_ollama(piece, done=False)) for piece in pieces]
        return [], lines, [_line(_ollama("", done=True))]
    content = {"type": "text", "text": ""}
    opening = [
        {"type": "message-start", "id": "c_1", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": content}}},
    ]
    said = [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}}
        for piece in pieces
    ]
    ending = [
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}},
    ]
    return [_data(e) for e in opening], [_data(e) for e in said], [_data(e) for e in ending]


_COHERE_USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 5},
    "tokens": {"input_tokens": 5, "output_tokens": 5},
}


def _google(text: str, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "stub"}


def _ollama(text: str, *, done: bool) -> dict[str, Any]:
    said = {"role": "assistant", "content": text}
    end = {"done_reason": "stop", "prompt_eval_count": 5, "eval_count": 5} if done else {}
    return {"model": "stub", "created_at": "2026-01-01T00:00:00Z", "message": said, "done": done, **end}


def _data(event: dict[str, Any]) -> bytes:
    head = f"event: {event['type']}\n" if "type" in event else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"

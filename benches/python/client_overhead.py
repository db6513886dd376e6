"""What a guard adds to one call of an `openai` or `anthropic` client, and to each item of a stream.

The transport answers at once, from memory, so that what is left is the cost of calling: the SDK's own work, and
ours on top. Bare client, guarded client and a pool of two take turns within each round; the figure is the quickest
round of each, less the bare client's quickest. The guard has the defaults of `llm_defaults`: retries, breaker,
clocks, and the check of the answer.

Run with ``make bench``; fails above the limits, which are well below what the SDK itself takes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai

import holdfast as hf
from holdfast.clients import failover_client

ROUNDS = 15
CALLS = 30
ITEMS = 200
MOST_OF_A_CALL = 0.15
"""The share of the bare call's time that the guard may add."""
MOST_OF_AN_ITEM = 0.4

ASK: list[Any] = [{"role": "user", "content": "hi"}]


def openai_answer(streamed: bool) -> bytes:
    about = {"id": "1", "created": 1, "model": "m"}
    if not streamed:
        message = {"role": "assistant", "content": "fine"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({**about, "object": "chat.completion", "choices": [choice]}).encode()
    pieces = [({"content": "word "}, None)] * ITEMS + [({}, "stop")]
    chunks = [
        {
            "object": "chat.completion.chunk",
            **about,
            "choices": [{"index": 0, "delta": said, "finish_reason": end}],
        }
        for said, end in pieces
    ]
    return (
        b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )


def anthropic_answer(streamed: bool) -> bytes:
    message = {"id": "1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    if not streamed:
        content = [{"type": "text", "text": "fine"}]
        return json.dumps({**message, "content": content, "stop_reason": "end_turn", "usage": usage}).encode()
    text = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": "word "}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": text},
        *[{"type": "content_block_delta", "index": 0, "delta": delta}] * ITEMS,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


ANSWERS = {
    (path, streamed): make(streamed)
    for path, make in (("/v1/chat/completions", openai_answer), ("/v1/messages", anthropic_answer))
    for streamed in (False, True)
}


def served(request: httpx2.Request) -> httpx2.Response:
    streamed = b'"stream":true' in request.content
    kind = "text/event-stream" if streamed else "application/json"
    body = ANSWERS[request.url.path, streamed]
    return httpx2.Response(200, content=body, headers={"content-type": kind})


def openai_client(cls: Any, http: Any) -> Any:
    return cls(api_key="k", base_url="http://memory/v1", http_client=http)


def anthropic_client(cls: Any, http: Any) -> Any:
    return cls(api_key="k", base_url="http://memory", http_client=http)


MAKES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "openai": (openai_client, openai.OpenAI, openai.AsyncOpenAI),
    "anthropic": (anthropic_client, anthropic.Anthropic, anthropic.AsyncAnthropic),
}


def contenders(name: str, is_async: bool) -> dict[str, Any]:
    make, *classes = MAKES[name]
    cls = classes[is_async]
    http = httpx2.AsyncClient if is_async else httpx2.Client

    def fresh() -> Any:
        return make(cls, http(transport=httpx2.MockTransport(served)))

    guard = hf.llm_defaults(breaker=hf.CircuitBreaker(), retry=hf.Retry(3, budget=None))
    nodes = [hf.Node("a", fresh()), hf.Node("b", fresh())]
    return {"bare": fresh(), "guarded": guard(fresh()), "a pool of two": failover_client(cls, nodes)}


def asked(client: Any, **more: Any) -> Any:
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        return client.chat.completions.create(model="m", messages=ASK, **more)
    return client.messages.create(model="m", messages=ASK, max_tokens=9, **more)


def call(client: Any) -> float:
    """Microseconds per call."""
    started = time.thread_time_ns()
    for _ in range(CALLS):
        asked(client)
    return (time.thread_time_ns() - started) / CALLS / 1000


def items(client: Any) -> float:
    """Microseconds per item."""
    stream = asked(client, stream=True)
    started = time.thread_time_ns()
    for _ in stream:
        pass
    return (time.thread_time_ns() - started) / ITEMS / 1000


def acall(client: Any) -> float:
    async def calls() -> float:
        started = time.thread_time_ns()
        for _ in range(CALLS):
            await asked(client)
        return (time.thread_time_ns() - started) / CALLS / 1000

    return asyncio.run(calls())


def aitems(client: Any) -> float:
    async def read() -> float:
        stream = await asked(client, stream=True)
        started = time.thread_time_ns()
        async for _ in stream:
            pass
        return (time.thread_time_ns() - started) / ITEMS / 1000

    return asyncio.run(read())


def quickest(measure: Callable[[Any], float], clients: dict[str, Any]) -> dict[str, float]:
    for client in clients.values():
        measure(client)
    best = dict.fromkeys(clients, float("inf"))
    for _ in range(ROUNDS):
        for name, client in clients.items():
            best[name] = min(best[name], measure(client))
    return best


def main() -> int:
    gc.disable()
    fine = True
    for name in MAKES:
        for is_async, measures in ((False, (call, items)), (True, (acall, aitems))):
            clients = contenders(name, is_async)
            for measure, most in zip(measures, (MOST_OF_A_CALL, MOST_OF_AN_ITEM), strict=True):
                best = quickest(measure, clients)
                bare = best.pop("bare")
                limit = most * bare
                added = ", ".join(f"{who} adds {figure - bare:.1f}" for who, figure in best.items())
                print(f"{name:10}{measure.__name__:8}bare {bare:7.1f} µs; {added} (at most {limit:.1f})")
                fine = fine and all(figure - bare <= limit for figure in best.values())
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""Real clients under a guard, each in the ways it is used, for the matrix.

A *way* makes one guarded call on base URLs and returns what the user would have: the text of the answer, and the
arguments of its tool call. With one URL it is a guard around one client, with more a pool of nodes.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from holdfast._chat import for_chat
from holdfast._completion import Completion
from holdfast.clients import failover_client
from holdfast.clients._copies import quiet
from holdfast.langchain import FailoverChatModel, with_resilience

ATTEMPTS = 2
LIMIT = 1.5
"""Seconds of each clock. Long enough for a healthy answer on a busy machine."""
TOTAL = 6.0
"""Seconds of the whole call; a server that asks for more is not waited for."""
ASK: list[Any] = [{"role": "user", "content": "hi"}]

_TLS = ssl.create_default_context()


@dataclass(frozen=True)
class Answer:
    """What the user would have of an answer."""

    text: str
    arguments: str = ""


@dataclass(frozen=True)
class Way:
    """One client, used in one way.

    Attributes:
        name: The client, and how it is called.
        stream: Is the answer streamed?
        ask: Makes one guarded call on these base URLs.
    """

    name: str
    stream: bool
    ask: Callable[[list[str]], Answer]


def _policies() -> dict[str, Any]:
    return {
        "retry": hf.Retry(ATTEMPTS, backoff=0.0, budget=None),
        "timeout": hf.Timeout(TOTAL, attempt=LIMIT, first_item=LIMIT, idle=LIMIT),
        "breaker": None,
    }


class _Loop:
    """An event loop on a thread of its own: async clients outlive a call, and belong to one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


LOOP = _Loop()


# ── raw clients ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Raw:
    """How a raw client is made and asked."""

    kind: str
    make: Callable[[str], Any]
    make_async: Callable[[str], Any]
    create: Callable[..., Any]
    read: Callable[[Any], Answer]
    read_stream: Callable[[list[Any]], Answer]


def _openai_answer(answer: Any) -> Answer:
    message = answer.choices[0].message
    calls = message.tool_calls or []
    return Answer(message.content or "", "".join(call.function.arguments for call in calls))


def _openai_chunks(chunks: list[Any]) -> Answer:
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    text = "".join(delta.content or "" for delta in deltas)
    return Answer(text, "".join(call.function.arguments or "" for call in calls))


def _anthropic_answer(answer: Any) -> Answer:
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [block.input for block in answer.content if block.type == "tool_use"]
    return Answer(text, "".join(map(str, calls)))


def _anthropic_events(events: list[Any]) -> Answer:
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    text = "".join(delta.text for delta in deltas if delta.type == "text_delta")
    return Answer(text, "".join(delta.partial_json for delta in deltas if delta.type == "input_json_delta"))


_OPENAI = _Raw(
    "openai",
    lambda url: openai.OpenAI(api_key="k", base_url=f"{url}/v1", timeout=None, http_client=_http()),
    lambda url: openai.AsyncOpenAI(
        api_key="k", base_url=f"{url}/v1", timeout=None, http_client=_http_async()
    ),
    lambda client, **more: client.chat.completions.create(model="m", messages=ASK, **more),
    _openai_answer,
    _openai_chunks,
)
_ANTHROPIC = _Raw(
    "anthropic",
    lambda url: anthropic.Anthropic(api_key="k", base_url=url, timeout=None, http_client=_http()),
    lambda url: anthropic.AsyncAnthropic(api_key="k", base_url=url, timeout=None, http_client=_http_async()),
    lambda client, **more: client.messages.create(model="m", messages=ASK, max_tokens=9, **more),
    _anthropic_answer,
    _anthropic_events,
)


def _http() -> Any:
    return httpx2.Client(verify=_TLS, timeout=None)


def _http_async() -> Any:
    return httpx2.AsyncClient(verify=_TLS, timeout=None)


def _pool(raw: _Raw, nodes: list[Any]) -> Any:
    completion = Completion(raw.kind)
    return hf.FailoverManager(nodes, **_policies(), _rules=hf.classify, _completion=completion)


def _raw_ways(raw: _Raw) -> list[Way]:
    def door(clients: list[Any], name: str, act: Callable[[Any], Any]) -> Any:
        """The guarded call `name`, or its like on a pool's nodes."""
        if len(clients) > 1:
            pool = _pool(raw, [hf.Node(f"node-{n}", client) for n, client in enumerate(clients)])
            run = {
                "call": pool.run,
                "acall": pool.arun,
                "stream": pool.run_stream,
                "astream": pool.run_astream,
            }
            return run[name](lambda node: act(node.target))
        guard = for_chat(hf.Pipeline(**_policies()), raw.kind)
        return getattr(guard, name)(_as_colour(name, act, clients[0]))

    def call(urls: list[str]) -> Answer:
        clients = [quiet(raw.make(url)) for url in urls]
        return raw.read(door(clients, "call", raw.create))

    def stream(urls: list[str]) -> Answer:
        clients = [quiet(raw.make(url)) for url in urls]
        return raw.read_stream(list(door(clients, "stream", lambda client: raw.create(client, stream=True))))

    def acall(urls: list[str]) -> Answer:
        clients = [quiet(raw.make_async(url)) for url in urls]

        async def act(client: Any) -> Any:
            return await raw.create(client)

        async def run() -> Any:
            return await door(clients, "acall", act)

        return raw.read(LOOP.run(run()))

    def astream(urls: list[str]) -> Answer:
        clients = [quiet(raw.make_async(url)) for url in urls]

        async def act(client: Any) -> Any:
            async with await raw.create(client, stream=True) as chunks:
                async for chunk in chunks:
                    yield chunk

        async def run() -> list[Any]:
            return [chunk async for chunk in door(clients, "astream", act)]

        return raw.read_stream(LOOP.run(run()))

    return [
        Way(f"{raw.kind}", False, call),
        Way(f"{raw.kind}-async", False, acall),
        Way(f"{raw.kind}-stream", True, stream),
        Way(f"{raw.kind}-astream", True, astream),
    ]


def _guarded_ways(raw: _Raw) -> list[Way]:
    """The clients themselves behind a guard, and several of one SDK as one client."""

    def client(urls: list[str], make: Callable[[str], Any]) -> Any:
        if len(urls) == 1:
            return hf.Pipeline(**_policies())(make(urls[0]))
        nodes = [hf.Node(f"node-{n}", make(url)) for n, url in enumerate(urls)]
        return failover_client(type(nodes[0].target), nodes, **_policies())

    def call(urls: list[str]) -> Answer:
        return raw.read(raw.create(client(urls, raw.make)))

    def stream(urls: list[str]) -> Answer:
        return raw.read_stream(list(raw.create(client(urls, raw.make), stream=True)))

    def acall(urls: list[str]) -> Answer:
        async def run() -> Any:
            return await raw.create(client(urls, raw.make_async))

        return raw.read(LOOP.run(run()))

    def astream(urls: list[str]) -> Answer:
        async def run() -> list[Any]:
            async with await raw.create(client(urls, raw.make_async), stream=True) as chunks:
                return [chunk async for chunk in chunks]

        return raw.read_stream(LOOP.run(run()))

    return [
        Way(f"guarded-{raw.kind}", False, call),
        Way(f"guarded-{raw.kind}-async", False, acall),
        Way(f"guarded-{raw.kind}-stream", True, stream),
        Way(f"guarded-{raw.kind}-astream", True, astream),
    ]


def _as_colour(door: str, act: Callable[[Any], Any], client: Any) -> Callable[[], Any]:
    """The call without arguments, of the colour that the door wants."""

    async def coroutine() -> Any:
        return await act(client)

    return coroutine if door == "acall" else lambda: act(client)


# ── LangChain's models ──────────────────────────────────────────────────────────────────────────


def _chat_openai(url: str) -> Any:
    return ChatOpenAI(
        model="m",
        api_key=SecretStr("k"),
        base_url=f"{url}/v1",
        http_client=_http(),
        http_async_client=_http_async(),
    )


def _chat_anthropic(url: str) -> Any:
    return ChatAnthropic(model_name="m", api_key=SecretStr("k"), base_url=url, timeout=None, stop=None)


def _message(message: Any) -> Answer:
    arguments = [str(call["args"]) for call in message.tool_calls + message.invalid_tool_calls]
    return Answer(message.text, "".join(arguments))


def _messages(chunks: list[Any]) -> Answer:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return _message(total)


def _model_ways(name: str, make: Callable[[str], Any]) -> list[Way]:
    def model(urls: list[str]) -> Any:
        if len(urls) == 1:
            return with_resilience(make(urls[0]), **_policies())
        nodes = [hf.Node(f"node-{n}", make(url)) for n, url in enumerate(urls)]
        return FailoverChatModel(nodes, **_policies())

    async def drained(made: Any) -> list[Any]:
        return [chunk async for chunk in made.astream("hi")]

    async def asked(made: Any) -> Any:
        return await made.ainvoke("hi")

    return [
        Way(f"{name}-invoke", False, lambda urls: _message(model(urls).invoke("hi"))),
        Way(f"{name}-ainvoke", False, lambda urls: _message(LOOP.run(asked(model(urls))))),
        Way(f"{name}-stream", True, lambda urls: _messages(list(model(urls).stream("hi")))),
        Way(f"{name}-astream", True, lambda urls: _messages(LOOP.run(drained(model(urls))))),
    ]


WAYS: list[Way] = [
    *_raw_ways(_OPENAI),
    *_raw_ways(_ANTHROPIC),
    *_guarded_ways(_OPENAI),
    *_guarded_ways(_ANTHROPIC),
    *_model_ways("ChatOpenAI", _chat_openai),
    *_model_ways("ChatAnthropic", _chat_anthropic),
]

"""The clients that are not installed for the tests: one request per attempt, and cut in time.

    python -m faults.providers

Every client of the table in docs/guides/timeouts.md that can be pointed at loopback. Each is asked without any
retry of ours, its own left at their defaults or switched on: the server must see exactly one request. Exits
non-zero otherwise, or when a healthy answer does not come through the copy.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import boto3  # type: ignore[import-untyped]
import cohere
import groq
import ollama
from google import genai
from langchain_aws import ChatBedrockConverse
from langchain_cohere import ChatCohere
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_groq import ChatGroq
from langchain_mistralai import ChatMistralAI
from langchain_ollama import ChatOllama
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

import holdfast as hf
from holdfast.clients._copies import quiet
from holdfast.langchain._copies import quiet_model

from . import shapes
from .server import FaultServer

LIMIT = 1.5
LATE = 10.0
"""Seconds after which a call was not cut, however busy the machine is."""
REFUSALS = ("status-500", "status-503", "status-429", "status-408", "reset-before")
HANGS = ("slow-headers", "drip-headers")
ASK: list[Any] = [{"role": "user", "content": "hi"}]
TEXT = "".join(shapes.TEXT)

LOOP = asyncio.Runner()


@dataclass(frozen=True)
class Client:
    """One client, used in one way.

    Attributes:
        name: The client, and how it is called.
        door: Of the pipeline: "call", "acall", "stream" or "astream".
        make: Makes the client for a base URL.
        ask: Asks it; what comes is looked at as text.
        cut: Can its waits be ended by our clocks?
    """

    name: str
    door: str
    make: Callable[[str], Any]
    ask: Callable[[Any], Any]
    cut: bool = True


def _mistral(url: str) -> Any:
    backoff = BackoffStrategy(100, 1000, 1.5, 10_000)
    return Mistral(api_key="k", server_url=url, retry_config=RetryConfig("backoff", backoff, True))


def _google(url: str) -> Any:
    return genai.Client(api_key="k", http_options={"base_url": url, "retry_options": {"attempts": 3}})


def _bedrock(url: str) -> Any:
    return boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1")


_BEDROCK_ASK = [{"role": "user", "content": [{"text": "hi"}]}]
_RAW = [
    Client("groq", "call", lambda url: groq.Groq(api_key="k", base_url=url),
           lambda c: c.chat.completions.create(model="m", messages=ASK)),
    Client("groq", "stream", lambda url: groq.Groq(api_key="k", base_url=url),
           lambda c: c.chat.completions.create(model="m", messages=ASK, stream=True)),
    Client("google-genai", "call", _google, lambda c: c.models.generate_content(model="m", contents="hi")),
    Client("google-genai", "stream", _google,
           lambda c: c.models.generate_content_stream(model="m", contents="hi")),
    Client("google-genai", "acall", _google,
           lambda c: c.aio.models.generate_content(model="m", contents="hi")),
    Client("mistralai", "call", _mistral, lambda c: c.chat.complete(model="m", messages=ASK)),
    Client("mistralai", "stream", _mistral, lambda c: c.chat.stream(model="m", messages=ASK)),
    Client("mistralai", "acall", _mistral, lambda c: c.chat.complete_async(model="m", messages=ASK)),
    Client("cohere", "call", lambda url: cohere.ClientV2(api_key="k", base_url=url),
           lambda c: c.chat(model="m", messages=ASK)),
    Client("cohere", "stream", lambda url: cohere.ClientV2(api_key="k", base_url=url),
           lambda c: c.chat_stream(model="m", messages=ASK)),
    Client("cohere", "acall", lambda url: cohere.AsyncClientV2(api_key="k", base_url=url),
           lambda c: c.chat(model="m", messages=ASK)),
    Client("ollama", "call", lambda url: ollama.Client(host=url),
           lambda c: c.chat(model="m", messages=ASK)),
    Client("ollama", "stream", lambda url: ollama.Client(host=url),
           lambda c: c.chat(model="m", messages=ASK, stream=True)),
    Client("ollama", "acall", lambda url: ollama.AsyncClient(host=url),
           lambda c: c.chat(model="m", messages=ASK)),
    Client("bedrock", "call", _bedrock, lambda c: c.converse(modelId="m", messages=_BEDROCK_ASK), cut=False),
]  # fmt: skip


_MODELS: dict[str, Callable[[str], Any]] = {
    "ChatGroq": lambda url: _model(ChatGroq, api_key="k", base_url=url),
    "ChatGoogleGenerativeAI": lambda url: _model(ChatGoogleGenerativeAI, api_key="k", base_url=url),
    "ChatMistralAI": lambda url: _model(ChatMistralAI, api_key="k", base_url=f"{url}/v1"),
    "ChatCohere": lambda url: _model(ChatCohere, cohere_api_key="k", base_url=url),
    "ChatOllama": lambda url: _model(ChatOllama, base_url=url),
    "ChatBedrockConverse": lambda url: _model(
        ChatBedrockConverse, endpoint_url=url, region_name="us-east-1", disable_streaming=True
    ),
}


def _model(cls: Any, **fields: Any) -> Any:
    return cls(model="m", **fields)


def _of_models() -> list[Client]:
    found = []
    for name, make in _MODELS.items():
        cut = name != "ChatBedrockConverse"
        found.append(Client(name, "call", make, lambda m: m.invoke("hi"), cut))
        found.append(Client(name, "acall", make, lambda m: m.ainvoke("hi"), cut))
        if cut:  # its streams come in binary frames, which the server does not speak
            found.append(Client(name, "stream", make, lambda m: m.stream("hi")))
            found.append(Client(name, "astream", make, lambda m: m.astream("hi")))
    return found


def asked(client: Client, url: str) -> Any:
    """Makes one guarded call through the copy; what came, as text."""
    original = client.make(url)
    copied = quiet_model(original) if client.name in _MODELS else quiet(original)
    limits = hf.Timeout(attempt=LIMIT, first_item=LIMIT, idle=LIMIT)
    guard = hf.Pipeline(timeout=limits, classify=hf.classify)

    async def coroutine() -> Any:
        return await client.ask(copied)

    async def drained() -> list[Any]:
        return [chunk async for chunk in guard.astream(lambda: client.ask(copied))]

    async def awaited() -> Any:
        return await guard.acall(coroutine)

    doors: dict[str, Callable[[], Any]] = {
        "call": lambda: guard.call(client.ask, copied),
        "stream": lambda: list(guard.stream(client.ask, copied)),
        "acall": lambda: _run(awaited()),
        "astream": lambda: _run(drained()),
    }
    return doors[client.door]()


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return LOOP.run(coroutine)


def tried(client: Client, server: FaultServer) -> list[str]:
    """What is wrong with this client."""
    wrong = []
    mark = f"{client.name}-{client.door}"
    said = str(asked(client, server.url(f"ok~{mark}")))
    if not all(piece.strip() in said for piece in shapes.TEXT):
        wrong.append(f"a healthy answer came as {said[:200]}")
    hangs = HANGS if client.cut else ()
    for scenario in (*REFUSALS, *hangs):
        name = f"{scenario}~{mark}"
        began = time.monotonic()
        try:
            wrong.append(f"{scenario}: answered {asked(client, server.url(name))!r:.100}")
        except Exception as error:
            verdict = hf.classify(error)
            if not verdict.retry:
                wrong.append(f"{scenario}: {verdict}")
        took = time.monotonic() - began
        if server.hits(name) != 1:
            wrong.append(f"{scenario}: {server.hits(name)} requests")
        if took > LATE:
            wrong.append(f"{scenario}: took {took:.1f} s")
    return wrong


def main() -> int:
    """Tries every client and says which are not as they must be."""
    os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_DEFAULT_REGION="us-east-1")
    failed = 0
    with FaultServer() as server, LOOP:
        for client in [*_RAW, *_of_models()]:
            wrong = tried(client, server)
            failed += bool(wrong)
            word = "; ".join(wrong) or ("one request, cut in time" if client.cut else "one request")
            print(f"{client.name:<24} {client.door:<8} {word}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

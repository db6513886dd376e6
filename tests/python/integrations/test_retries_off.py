"""A guarded client sends one request per attempt, counted where they arrive; the user's own client is untouched."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from faults import FaultServer
from holdfast.clients import _copies
from holdfast.clients._copies import quiet
from holdfast.langchain import with_resilience
from holdfast.langchain._copies import quiet_model

ASK: list[Any] = [{"role": "user", "content": "hi"}]
RETRIED = ("status-500", "status-503", "status-429", "status-408", "reset-before")
"""What every SDK tries again by itself."""

Ask = Callable[[str], object]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """A server that fails as it is told."""
    with FaultServer() as running, _LOOP:
        yield running


_LOOP = asyncio.Runner()
"""One loop for all: LangChain shares its async clients, which are bound to the first loop."""


def chat_openai(url: str, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", api_key=SecretStr("k"), base_url=f"{url}/v1", **fields)


def chat_anthropic(url: str, **fields: Any) -> ChatAnthropic:
    fields = {"timeout": None, "stop": None, **fields}
    return ChatAnthropic(model_name="m", api_key=SecretStr("k"), base_url=url, **fields)


def ask_openai(url: str, **more: Any) -> object:
    client = quiet(openai.OpenAI(api_key="k", base_url=f"{url}/v1"))
    return client.chat.completions.create(model="m", messages=ASK, **more)


async def ask_openai_async(url: str, **more: Any) -> object:
    async with quiet(openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1")) as client:
        return await client.chat.completions.create(model="m", messages=ASK, **more)


def ask_anthropic(url: str, **more: Any) -> object:
    client = quiet(anthropic.Anthropic(api_key="k", base_url=url))
    return client.messages.create(model="m", messages=ASK, max_tokens=9, **more)


async def ask_anthropic_async(url: str, **more: Any) -> object:
    async with quiet(anthropic.AsyncAnthropic(api_key="k", base_url=url)) as client:
        return await client.messages.create(model="m", messages=ASK, max_tokens=9, **more)


async def drained(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


def of_model(make: Callable[[str], Any]) -> dict[str, Ask]:
    return {
        "invoke": lambda url: quiet_model(make(url)).invoke("hi"),
        "ainvoke": lambda url: _LOOP.run(quiet_model(make(url)).ainvoke("hi")),
        "stream": lambda url: list(quiet_model(make(url)).stream("hi")),
        "astream": lambda url: _LOOP.run(drained(quiet_model(make(url)).astream("hi"))),
    }


CLIENTS: dict[str, Ask] = {
    "openai": ask_openai,
    "openai-stream": lambda url: ask_openai(url, stream=True),
    "openai-async": lambda url: _LOOP.run(ask_openai_async(url)),
    "openai-resource": lambda url: quiet(
        openai.OpenAI(api_key="k", base_url=f"{url}/v1").chat.completions
    ).create(model="m", messages=ASK),
    "anthropic": ask_anthropic,
    "anthropic-stream": lambda url: ask_anthropic(url, stream=True),
    "anthropic-async": lambda url: _LOOP.run(ask_anthropic_async(url)),
    **{f"ChatOpenAI-{how}": ask for how, ask in of_model(chat_openai).items()},
    **{f"ChatAnthropic-{how}": ask for how, ask in of_model(chat_anthropic).items()},
}


@pytest.mark.parametrize("scenario", RETRIED)
@pytest.mark.parametrize("client", CLIENTS)
def test_one_request_per_attempt(server: FaultServer, client: str, scenario: str) -> None:
    """With the SDK's default of two retries, the copy sends one request and gives the error at once."""
    before = server.hits(scenario)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each client has its own
        CLIENTS[client](server.url(scenario))
    assert hf.classify(caught.value).retry
    assert server.hits(scenario) == before + 1


@pytest.mark.parametrize("make", [chat_openai, chat_anthropic])
def test_attempts_are_what_was_configured(server: FaultServer, make: Callable[[str], Any]) -> None:
    """Three attempts of a guard are three requests, not nine."""
    before = server.hits("status-503")
    model = with_resilience(make(server.url("status-503")), retry=hf.Retry(3, backoff=0.0, budget=None))
    with pytest.raises(Exception, match="503"):
        model.invoke("hi")
    assert server.hits("status-503") == before + 3


@pytest.mark.parametrize("make", [chat_openai, chat_anthropic])
def test_the_users_model_keeps_its_retries(server: FaultServer, make: Callable[..., Any]) -> None:
    """The model that was given still tries again by itself, before and after, and has no client of ours."""
    model = make(server.url("status-503@1"), max_retries=1)
    fields = dict(vars(model))
    copied = quiet_model(model)
    assert copied is not model
    assert vars(model) == fields
    assert all(vars(model)[name] is value for name, value in fields.items())
    assert quiet_model(copied) is copied
    assert copied.max_retries == 0
    server.forget()
    assert "Hello" in model.invoke("hi").text
    assert server.hits("status-503@1") == 2


def test_the_users_client_keeps_its_retries(server: FaultServer) -> None:
    """So does a raw client."""
    server.forget()
    client = openai.OpenAI(api_key="k", base_url=server.url("status-503@1", "/v1"), max_retries=1)
    http = client._client
    assert quiet(client).max_retries == 0
    assert client.max_retries == 1
    assert client._client is http
    assert client.chat.completions.create(model="m", messages=ASK).choices
    assert server.hits("status-503@1") == 2


class Homemade(BaseChatModel):
    """A chat model of a package that nobody knows."""

    @property
    def _llm_type(self) -> str:
        return "homemade"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


def test_a_model_that_is_not_known(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used as it is, and the log names it once; LangChain's own fakes need no warning."""
    monkeypatch.setattr(_copies, "_warned", set())
    model = Homemade()
    with caplog.at_level(logging.WARNING, "holdfast"):
        assert quiet_model(model) is model
        assert quiet_model(Homemade()).invoke("hi").text == "fine"
        fake = GenericFakeChatModel(messages=iter([AIMessage("x")]))
        assert quiet_model(fake) is fake
    assert [record.name for record in caplog.records] == ["holdfast"]
    assert "Homemade" in caplog.text


@pytest.mark.parametrize("thing", [None, 3, "text", object(), lambda: None, ASK])
def test_what_is_no_client_is_left_alone(thing: object) -> None:
    """Anything else comes back as the very same object."""
    assert quiet(thing) is thing


class _Deaf(BaseHTTPRequestHandler):
    """Answers 503 to everything and remembers the keys it was sent."""

    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.keys.append(self.headers.get("Idempotency-Key"))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def test_a9_all_attempts_of_a_call_carry_one_key() -> None:
    """Two calls of three attempts send two keys, each three times."""
    _Deaf.keys.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Deaf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        model = with_resilience(
            chat_openai(f"http://127.0.0.1:{server.server_port}"), retry=hf.Retry(3, backoff=0), breaker=None
        )
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                model.invoke("hi")
    finally:
        server.shutdown()
        server.server_close()
    first, second = _Deaf.keys[:3], _Deaf.keys[3:]
    assert None not in _Deaf.keys
    assert (len(_Deaf.keys), len(set(first)), len(set(second)), len(set(_Deaf.keys))) == (6, 1, 1, 2)

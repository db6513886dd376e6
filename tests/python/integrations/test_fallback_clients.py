"""A fallback around a client: what stands in has the type that the method gives, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

import holdfast as hf
from faults import FaultServer
from holdfast.clients import failover_client

SORRY = "sorry, later"
ASK: list[Any] = [{"role": "user", "content": "hi"}]
DEAD = "status-503~fallback"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def guarded(fallback: hf.Fallback) -> hf.Pipeline:
    return hf.Pipeline(retry=hf.Retry(2, backoff=0, budget=None), fallback=fallback)


def openai_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=f"{url}/v1")


def anthropic_of(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=url)


# Each way to ask, and the words that it has given.


def chat(client: Any) -> str:
    return str(client.chat.completions.create(model="m", messages=ASK).choices[0].message.content)


def chat_stream(client: Any) -> str:
    chunks = client.chat.completions.create(model="m", messages=ASK, stream=True)
    assert isinstance(chunks, openai.Stream)
    with chunks:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def chat_helper(client: Any) -> str:
    with client.chat.completions.stream(model="m", messages=ASK) as stream:
        kinds = [event.type for event in stream]
        assert "content.delta" in kinds
        return str(stream.get_final_completion().choices[0].message.content)


def legacy(client: Any) -> str:
    return str(client.completions.create(model="m", prompt="hi").choices[0].text)


def legacy_stream(client: Any) -> str:
    return "".join(
        chunk.choices[0].text for chunk in client.completions.create(model="m", prompt="hi", stream=True)
    )


def responses(client: Any) -> str:
    return str(client.responses.create(model="m", input="hi").output_text)


def responses_stream(client: Any) -> str:
    events = list(client.responses.create(model="m", input="hi", stream=True))
    return str(events[-1].response.output_text)


def responses_helper(client: Any) -> str:
    with client.responses.stream(model="m", input="hi") as stream:
        for _ in stream:
            pass
        return str(stream.get_final_response().output_text)


def messages(client: Any) -> str:
    return str(client.messages.create(model="m", messages=ASK, max_tokens=9).content[0].text)


def messages_stream(client: Any) -> str:
    events = client.messages.create(model="m", messages=ASK, max_tokens=9, stream=True)
    return "".join(event.delta.text for event in events if event.type == "content_block_delta")


def messages_helper(client: Any) -> str:
    with client.messages.stream(model="m", messages=ASK, max_tokens=9) as stream:
        return "".join(stream.text_stream)


OPENAI = [
    chat,
    chat_stream,
    chat_helper,
    legacy,
    legacy_stream,
    responses,
    responses_stream,
    responses_helper,
]
ANTHROPIC = [messages, messages_stream, messages_helper]
WAYS = [*((openai_of, way) for way in OPENAI), *((anthropic_of, way) for way in ANTHROPIC)]


@pytest.mark.parametrize(("make", "way"), WAYS, ids=lambda value: value.__name__)
def test_a_string_stands_in_as_the_method_would_have_said_it(
    server: FaultServer, make: Callable[[str], Any], way: Callable[[Any], str]
) -> None:
    """Of a dead server, after all attempts: the answer's own type, the stream's own events, the SDK's helpers."""
    server.forget()
    assert way(guarded(hf.Fallback(value=SORRY))(make(server.url(DEAD)))) == SORRY
    assert server.hits(DEAD) == 2


async def test_asynchronous_clients_too(server: FaultServer) -> None:
    """Whole and streamed, with a coroutine that makes the substitute."""

    async def say(error: BaseException) -> str:
        assert isinstance(error, openai.InternalServerError | anthropic.InternalServerError)
        return SORRY

    guard = guarded(hf.Fallback(call=say))
    client = guard(openai.AsyncOpenAI(api_key="k", base_url=f"{server.url(DEAD)}/v1"))
    said = await client.chat.completions.create(model="m", messages=ASK)
    assert said.choices[0].message.content == SORRY
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    assert isinstance(stream, openai.AsyncStream)
    assert [chunk.choices[0].delta.content async for chunk in stream] == [SORRY]
    await stream.close()
    other = guard(anthropic.AsyncAnthropic(api_key="k", base_url=server.url(DEAD)))
    async with other.messages.stream(model="m", messages=ASK, max_tokens=9) as helper:
        assert [text async for text in helper.text_stream] == [SORRY]
    await asyncio.gather(client.close(), other.close())


def test_what_is_no_string_is_handed_on(server: FaultServer) -> None:
    """An answer that the user has made is that answer; of a stream, its items."""
    own = openai_of(server.url("ok")).chat.completions.create(model="m", messages=ASK)
    client = guarded(hf.Fallback(value=own))(openai_of(server.url(DEAD)))
    assert client.chat.completions.create(model="m", messages=ASK) is own
    client = guarded(hf.Fallback(value=[1, 2]))(openai_of(server.url(DEAD)))
    assert list(client.chat.completions.create(model="m", messages=ASK, stream=True)) == [1, 2]


class Place(BaseModel):
    """What is asked for."""

    name: str


def test_a_parsed_answer_is_parsed(server: FaultServer) -> None:
    """`parse` gives what the substitute says, in the form that was asked for."""
    client = guarded(hf.Fallback(value='{"name": "Bern"}'))(openai_of(server.url(DEAD)))
    said = client.chat.completions.parse(model="m", messages=ASK, response_format=Place)
    assert said.choices[0].message.parsed == Place(name="Bern")


@pytest.mark.parametrize("way", [chat, chat_stream])
def test_the_last_good_answer_stands_in_for_the_same_question(
    server: FaultServer, way: Callable[[Any], str]
) -> None:
    """What was answered once; another question has no answer yet. Two services do not share theirs."""
    server.forget()
    kept = hf.Fallback(last_good=60.0)
    scenario = f"ok~{way.__name__}"
    client = hf.Pipeline(name="ask", fallback=kept)(openai_of(server.url(scenario)))
    said = way(client)
    breaker = hf.CircuitBreaker()
    again: Any = hf.Pipeline(name="ask", fallback=kept, breaker=breaker)(openai_of(server.url(scenario)))
    breaker.force_open()
    assert way(again) == said
    assert server.hits(scenario) == 1
    with pytest.raises(hf.CircuitOpen):
        again.chat.completions.create(model="another", messages=ASK)
    elsewhere = hf.Pipeline(name="ask", fallback=kept)(openai_of(server.url(DEAD)))
    with pytest.raises(openai.InternalServerError):
        way(elsewhere)


def test_a_pool_of_clients_has_one_too(server: FaultServer) -> None:
    """All its nodes are dead: whole and streamed."""
    nodes = [hf.Node("a", openai_of(server.url(DEAD))), hf.Node("b", openai_of(server.url(DEAD)))]
    pool = failover_client(openai.OpenAI, nodes, retry=None, fallback=hf.Fallback(value=SORRY))
    assert chat(pool) == chat_stream(pool) == SORRY


def test_a_raw_response_has_no_substitute_of_its_type(server: FaultServer) -> None:
    """Whoever asks for the response gets what the fallback said, as it said it."""
    client = guarded(hf.Fallback(value=SORRY))(openai_of(server.url(DEAD)))
    raw: Any = client.chat.completions.with_raw_response
    assert raw.create(model="m", messages=ASK) == SORRY
    assert raw.create(model="m", messages=ASK, stream=True) == SORRY

"""The completion check on what the providers' own clients return: their real objects, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import holdfast as hf
from faults import FaultServer
from faults.shapes import TEXT
from holdfast._chat import for_chat

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

WHOLE, HALF = "".join(TEXT), "".join(TEXT[:2])
ASK = [{"role": "user", "content": "hi"}]

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def chat(url: str, **how: Any) -> Any:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=5.0)
    return client.chat.completions.create(model="stub", messages=ASK, **how)


def responses(url: str, **how: Any) -> Any:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=5.0)
    return client.responses.create(model="stub", input="hi", **how)


def messages(url: str, **how: Any) -> Any:
    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=5.0)
    return client.messages.create(model="stub", messages=ASK, max_tokens=9, **how)


CLIENTS: dict[str, tuple[str, Ask]] = {
    "chat": ("openai", chat),
    "responses": ("openai", responses),
    "messages": ("anthropic", messages),
}

every_client = pytest.mark.parametrize("client", CLIENTS)


def guarded(client: str) -> tuple[hf.Pipeline, Ask]:
    kind, ask = CLIENTS[client]
    return for_chat(hf.Pipeline(retry=hf.Retry(2, backoff=0, budget=None)), kind), ask


@every_client
@pytest.mark.parametrize("scenario", ["ok", "ok-tool"])
def test_whole_answers_and_streams_come_through(server: FaultServer, client: str, scenario: str) -> None:
    """Words and tool calls, whole or streamed, at the first attempt: and of a stream, every event of it."""
    server.forget()
    pipeline, ask = guarded(client)
    pipeline.call(ask, server.url(scenario))
    streamed = list(pipeline.stream(ask, server.url(scenario), stream=True))
    assert [item.to_json() for item in streamed] == [
        item.to_json() for item in ask(server.url(scenario), stream=True)
    ]
    assert server.hits(scenario) == 3


@every_client
@pytest.mark.parametrize("scenario", ["cut-clean", "cut-unframed", "cut-tool-after-text"])
def test_cut_streams_are_refused(server: FaultServer, client: str, scenario: str) -> None:
    """Streams that the client takes for whole: `Truncated`, with the text that had come and no tool piece."""
    pipeline, ask = guarded(client)
    got: list[str] = []

    def read() -> None:
        got.extend(item.to_json() for item in pipeline.stream(ask, server.url(scenario), stream=True))

    with pytest.raises(hf.Truncated) as refused:
        read()
    assert refused.value.received == (WHOLE if scenario == "cut-tool-after-text" else HALF)
    assert not any("/data/" in item for item in got)


@every_client
def test_a_stream_that_breaks_is_told_with_what_had_come(server: FaultServer, client: str) -> None:
    """A reset after two words is a `StreamInterrupted`, never the client's own error."""
    pipeline, ask = guarded(client)
    with pytest.raises(hf.StreamInterrupted) as broken:
        list(pipeline.stream(ask, server.url("cut-framed"), stream=True))
    assert broken.value.received == HALF


@every_client
@pytest.mark.parametrize("scenario", ["cut-tool", "empty-stream", "cut-role"])
def test_before_the_first_content_the_next_attempt_answers(
    server: FaultServer, client: str, scenario: str
) -> None:
    """Half a tool call, nothing, a role: none of it was handed out, so nobody notices."""
    server.forget()
    pipeline, ask = guarded(client)
    list(pipeline.stream(ask, server.url(f"{scenario}@1"), stream=True))
    assert server.hits(f"{scenario}@1") == 2


@every_client
@pytest.mark.parametrize(
    "scenario", ["html-200", "empty-object", "null-choices", "no-choices", "error-in-200"]
)
def test_bodies_that_are_no_answers_are_refused(server: FaultServer, client: str, scenario: str) -> None:
    """What the clients return as a string or an object of nothing is a failure, and tried again."""
    server.forget()
    pipeline, ask = guarded(client)
    with pytest.raises(hf.Truncated):
        pipeline.call(ask, server.url(scenario))
    assert server.hits(scenario) == 2

"""Chaos around chat models and clients: its faults are the server's, and what looks at answers finds them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

import holdfast as hf
from holdfast.langchain import with_resilience

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_openai import ChatOpenAI

    from holdfast._localserver import LocalServer

ASK: list[Any] = [{"role": "user", "content": "hi"}]


def test_errors_of_a_chat_model_are_retried(alpha: LocalServer, chat: Callable[..., ChatOpenAI]) -> None:
    """Every other request fails on purpose; every call is answered, sync, async and as a stream."""
    chaos = hf.Chaos(error_rate=0.5, seed=3)
    model = with_resilience(
        chat(alpha), retry=hf.Retry(20, backoff=0, budget=None), breaker=None, chaos=chaos
    )
    answers = [model.invoke("hi") for _ in range(5)]
    answers.append(asyncio.run(model.ainvoke("hi")))
    assert all(answer.content for answer in answers)
    assert max(answer.response_metadata["holdfast"]["attempts"] for answer in answers) > 1
    assert "".join(str(chunk.content) for chunk in model.stream("hi"))


def test_a_spoiled_answer_of_a_chat_model_is_found(
    alpha: LocalServer, chat: Callable[..., ChatOpenAI]
) -> None:
    """Half of the text and no word on its end: `Truncated`, whole answers and streams alike."""
    model = with_resilience(chat(alpha), retry=None, breaker=None, chaos=hf.Chaos(bad_answer=1.0))
    with pytest.raises(hf.Truncated):
        model.invoke("hi")
    with pytest.raises((hf.Truncated, hf.StreamInterrupted)):
        list(model.stream("hi"))


def test_a_cut_stream_of_a_chat_model_is_told_as_one(
    alpha: LocalServer, chat: Callable[..., ChatOpenAI]
) -> None:
    """Past the first content: `StreamInterrupted`, with what had been received."""
    model = with_resilience(chat(alpha), retry=None, breaker=None, chaos=hf.Chaos(cut_stream=1.0, seed=5))
    with pytest.raises((hf.StreamInterrupted, ConnectionError)):
        for _ in range(5):  # the cut comes after one to five chunks, the first of which may be empty
            list(model.stream("hi"))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_client_suffers_what_a_bad_server_would_do(alpha: LocalServer, *, is_async: bool) -> None:
    """Errors are retried, a spoiled answer is found, and a block without chaos is left alone."""
    make: Any = openai.AsyncOpenAI if is_async else openai.OpenAI

    def ask(chaos: hf.Chaos, **more: Any) -> Any:
        async def answer() -> Any:
            return await client.chat.completions.create(model="m", messages=ASK)

        client = hf.Pipeline(chaos=chaos, **more)(make(api_key="k", base_url=alpha.base_url))
        if is_async:
            return asyncio.run(answer())
        return client.chat.completions.create(model="m", messages=ASK)

    flaky = hf.Chaos(error_rate=0.5, seed=2)
    for _ in range(4):
        assert ask(flaky, retry=hf.Retry(20, backoff=0, budget=None)).choices[0].message.content
    liar = hf.Chaos(bad_answer=1.0)
    with pytest.raises(hf.Truncated):
        ask(liar)
    with liar.off():
        assert ask(liar).choices[0].finish_reason == "stop"


def test_streams_of_clients_are_cut(alpha: LocalServer) -> None:
    """The events stop in the middle: what is raised says that it was no whole answer."""
    client = hf.Chaos(cut_stream=1.0, seed=5)(openai.OpenAI(api_key="k", base_url=alpha.base_url))
    with pytest.raises((hf.StreamInterrupted, ConnectionError)):
        for _ in range(5):
            list(client.chat.completions.create(model="m", messages=ASK, stream=True))

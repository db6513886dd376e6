"""What type checkers know of guarded clients: they are the clients that they were made from."""

from __future__ import annotations

from typing import assert_type

import anthropic
import openai
from anthropic.types import Message
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import holdfast as hf
from holdfast.clients import failover_client, guard_client

guard = hf.llm_defaults(retry=5)

client = guard(openai.OpenAI())
assert_type(client, openai.OpenAI)
assert_type(hf.CircuitBreaker()(openai.AsyncOpenAI()), openai.AsyncOpenAI)
assert_type(guard(anthropic.Anthropic()), anthropic.Anthropic)
assert_type(guard(anthropic.AsyncAnthropic()), anthropic.AsyncAnthropic)
assert_type(guard_client(guard, openai.AzureOpenAI()), openai.AzureOpenAI)


def ask() -> None:
    """Methods keep their types."""
    asked = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert_type(asked, ChatCompletion)
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert_type(stream, openai.Stream[ChatCompletionChunk])
    assert_type(client.with_options(timeout=5.0), openai.OpenAI)


async def aask(asynchronous: anthropic.AsyncAnthropic) -> Message:
    """Asynchronous ones too."""
    guarded = guard(asynchronous)
    return await guarded.messages.create(
        model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=9
    )


pool = failover_client(openai.OpenAI, [hf.Node("a", openai.OpenAI())], models={"a": "m"}, timeout=30.0)
assert_type(pool, openai.OpenAI)

"""Headers of good answers, over real sockets: clients and chat models tell the rate limits that guard them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

import holdfast as hf
from holdfast.langchain import FailoverChatModel, with_resilience

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_openai import ChatOpenAI

    from holdfast._localserver import LocalServer

ASK: list[Any] = [{"role": "user", "content": "hi"}]
HEADERS = {
    "x-ratelimit-remaining-requests": "7",
    "x-ratelimit-reset-requests": "6m0s",
    "x-ratelimit-remaining-tokens": "900",
    "x-ratelimit-reset-tokens": "1m",
}


def limits() -> tuple[hf.RateLimit, hf.RateLimit]:
    return hf.RateLimit(100, per=1e6), hf.RateLimit(5000, per=1e6, cost=lambda _args, _kwargs: 10.0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_l6_a_guarded_client_tightens_its_limits(alpha: LocalServer, *, is_async: bool, stream: bool) -> None:
    """Seven requests and nine hundred tokens are left: so say the headers, so say the limits."""
    alpha.headers = HEADERS
    requests, tokens = limits()
    pipeline = hf.Pipeline(rate_limit=[requests, tokens], retry=2)

    async def ask() -> None:
        client = pipeline(openai.AsyncOpenAI(api_key="k", base_url=alpha.base_url))
        answer: Any = await client.chat.completions.create(model="m", messages=ASK, stream=stream)
        if stream:
            async for _ in answer:
                pass

    if is_async:
        asyncio.run(ask())
    else:
        client = pipeline(openai.OpenAI(api_key="k", base_url=alpha.base_url))
        answer: Any = client.chat.completions.create(model="m", messages=ASK, stream=stream)
        if stream:
            list(answer)
    assert round(requests.available) == 7
    assert 890 <= tokens.available <= 1000


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_l6_a_guarded_chat_model_tightens_its_limits(
    alpha: LocalServer, chat: Callable[..., ChatOpenAI], way: str
) -> None:
    """Every path of a chat model."""
    alpha.headers = HEADERS
    requests, tokens = limits()
    model = with_resilience(chat(alpha), rate_limit=[requests, tokens])

    async def run() -> None:
        if way == "ainvoke":
            await model.ainvoke("hi")
        else:
            async for _ in model.astream("hi"):
                pass

    if way.startswith("a"):
        asyncio.run(run())
    elif way == "invoke":
        model.invoke("hi")
    else:
        list(model.stream("hi"))
    assert round(requests.available) == 7
    assert 850 <= tokens.available <= 1000


def test_l6_in_a_pool_each_node_hears_its_own_provider(
    alpha: LocalServer, beta: LocalServer, chat: Callable[..., ChatOpenAI]
) -> None:
    """The node whose provider says that nothing is left is passed over at once."""
    alpha.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    nodes = [
        hf.Node(name, chat(server), rate_limit=hf.RateLimit(100))
        for name, server in (("alpha", alpha), ("beta", beta))
    ]
    model = FailoverChatModel(nodes)
    for _ in range(6):
        model.invoke("hi")
    assert (len(alpha.requests), len(beta.requests)) == (1, 5)


def test_l6_whole_answers_and_streams_of_chat_models_settle_their_tokens(
    alpha: LocalServer, chat: Callable[..., ChatOpenAI]
) -> None:
    """Estimated at a thousand; the answers say how many they were."""
    tokens = hf.RateLimit(5000, per=1e6, cost=lambda _args, _kwargs: 1000.0)
    model = with_resilience(chat(alpha, stream_usage=True), rate_limit=tokens)
    answer = model.invoke("hi")
    assert answer.usage_metadata is not None
    total = answer.usage_metadata["total_tokens"]
    assert 5000 - tokens.available == pytest.approx(total, abs=0.5)
    before = tokens.available
    chunks = list(model.stream("hi"))
    told = sum(chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata)
    assert told > 0
    assert before - tokens.available == pytest.approx(told, abs=0.5)

"""L6: what a call weighed in truth, told by answers, by the items of streams, and by headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast._headers import heed, heeding, heeding_items
from holdfast._usage import tokens_used
from holdfast.testing import ManualClock


def tokens(permits: float = 1000, **fields: Any) -> hf.RateLimit:
    return hf.RateLimit(permits, per=1e6, cost=lambda _args, _kwargs: 100, **fields)


def used(limit: hf.RateLimit) -> float:
    return round(limit.requests - limit.available)


OPENAI = [
    {"choices": [{"delta": {"content": "a"}}], "usage": None},
    {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}},
]
ANTHROPIC = [
    SimpleNamespace(message=SimpleNamespace(usage=SimpleNamespace(input_tokens=30, output_tokens=1))),
    SimpleNamespace(delta="text"),
    SimpleNamespace(usage=SimpleNamespace(input_tokens=None, output_tokens=12)),
]
RESPONSES = [{"type": "delta"}, {"type": "response.completed", "response": {"usage": {"total_tokens": 42}}}]
LANGCHAIN = [
    SimpleNamespace(message=SimpleNamespace(usage_metadata={"input_tokens": 30, "output_tokens": 0})),
    SimpleNamespace(message=SimpleNamespace(usage_metadata=None)),
    SimpleNamespace(message=SimpleNamespace(usage_metadata={"input_tokens": 0, "output_tokens": 12})),
]
SHAPES = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES, "langchain": LANGCHAIN}


@pytest.mark.parametrize("items", SHAPES.values(), ids=SHAPES)
def test_l6_a_stream_settles_what_its_items_say(items: list[Any]) -> None:
    """Estimated 100, used 42: sync and async."""
    limit, other = tokens(), tokens()

    @limit
    def stream() -> Iterator[Any]:
        yield from items

    @other
    async def astream() -> AsyncIterator[Any]:
        for item in items:
            yield item

    async def drained() -> list[Any]:
        return [item async for item in astream()]

    assert list(stream()) == items
    assert used(limit) == 42
    assert asyncio.run(drained()) == items
    assert used(other) == 42


def test_l6_a_stream_that_is_left_or_says_nothing_stays_at_its_estimate() -> None:
    """What it would have cost nobody knows."""
    limit = tokens()

    @limit
    def stream() -> Iterator[Any]:
        yield from OPENAI

    @limit
    def silent() -> Iterator[Any]:
        yield from "abc"

    left: Any = stream()
    next(left)
    left.close()
    assert used(limit) == 100
    assert list(silent()) == ["a", "b", "c"]
    assert used(limit) == 200


def test_l6_an_actual_of_the_users_own_is_asked_about_each_item() -> None:
    """The last number that it gives stands; one that raises loses no stream."""
    seen: list[Any] = []

    def actual(item: int) -> float | None:
        seen.append(item)
        return None if item == 3 else 10.0 * item

    limit = tokens(actual=actual)

    @limit
    def stream() -> Iterator[int]:
        yield from (1, 2, 3)

    assert list(stream()) == [1, 2, 3]
    assert (seen, used(limit)) == ([1, 2, 3], 20)


def test_l6_whole_answers_of_chat_models_are_read() -> None:
    """LangChain's results, whichever way they are nested."""
    message = SimpleNamespace(usage_metadata={"total_tokens": 42})
    generation = SimpleNamespace(message=message)
    assert tokens_used(SimpleNamespace(generations=[generation])) == 42
    assert tokens_used(SimpleNamespace(generations=[[generation]])) == 42
    assert tokens_used(SimpleNamespace(generations=[])) is None


def test_l6_headers_of_good_answers_tighten_what_they_speak_of() -> None:
    """Requests tighten limits on calls, tokens those with a cost; never the other way round, and never looser."""
    with ManualClock() as clock:
        calls, weighed, own = hf.RateLimit(100), tokens(), tokens(actual=lambda _answer: None)
        limits = (calls, weighed, own)

        def answer(**headers: str) -> None:
            heeding(lambda: heed({name.replace("_", "-"): text for name, text in headers.items()}), limits)()

        answer(x_ratelimit_remaining_requests="40", x_ratelimit_reset_requests="6s")
        assert (round(calls.available), round(weighed.available)) == (40, 1000)
        answer(x_ratelimit_remaining_tokens="300", x_ratelimit_reset_tokens="1m")
        assert (round(calls.available), round(weighed.available), round(own.available)) == (40, 300, 1000)
        answer(x_ratelimit_remaining_requests="90", x_ratelimit_remaining_tokens="nonsense")
        assert round(calls.available) == 40
        answer(anthropic_ratelimit_requests_remaining="0", x_ratelimit_reset_requests="1s")
        assert calls.available == 0
        answer(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="6m0s")
        clock.advance(359.0)
        assert calls.available == 0
        clock.advance(2.0)
        assert calls.available > 90


def test_nobody_hears_headers_outside_of_a_call_and_its_first_item() -> None:
    """The limits listen while the request is made, not in the consumer's time."""
    limit = hf.RateLimit(100)

    def stream() -> Iterator[int]:
        heed({"x-ratelimit-remaining-requests": "50"})
        yield 1
        heed({"x-ratelimit-remaining-requests": "10"})
        yield 2

    assert list(heeding_items(stream, (limit,))()) == [1, 2]
    heed({"x-ratelimit-remaining-requests": "5"})
    assert round(limit.available) == 50


def test_a_node_s_limit_hears_the_headers_of_its_own_answers() -> None:
    """And the other node's does not."""
    limits = {name: hf.RateLimit(100) for name in "ab"}

    def target(remaining: str) -> None:
        heed({"x-ratelimit-remaining-requests": remaining})

    manager = hf.FailoverManager([hf.Node(name, target, rate_limit=limit) for name, limit in limits.items()])
    manager.call("30")
    assert sorted(round(limit.available) for limit in limits.values()) == [30, 100]

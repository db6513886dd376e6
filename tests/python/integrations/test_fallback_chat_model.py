"""Fallbacks of chat models: what stands in is a message, says so in its metadata, and may come from a cache."""

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

import holdfast as hf
from holdfast.langchain import FailoverChatModel, with_resilience
from holdfast.testing import ManualClock


class Flaky(GenericFakeChatModel):
    """Answers "fine" until it is told to fail."""

    down: bool = False

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        if self.down:
            raise ConnectionError("down")
        return super()._generate(*args, **kwargs)

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        if self.down:
            raise ConnectionError("down")
        yield from super()._stream(*args, **kwargs)


def model(*, down: bool = False) -> Flaky:
    answer = AIMessage("fine", response_metadata={"finish_reason": "stop"})
    return Flaky(messages=iter([answer] * 9), down=down)


def test_a_string_stands_in_as_a_message_that_says_so() -> None:
    """`response_metadata["holdfast"]` names the way; whole answers and streams alike."""
    guarded = with_resilience(model(down=True), retry=None, fallback=hf.Fallback(value="not now"))
    answer = guarded.invoke("hi")
    assert isinstance(answer, AIMessage)
    assert answer.content == "not now"
    assert answer.response_metadata["holdfast"]["fallback"] == "value"
    chunks = list(guarded.stream("hi"))
    assert "".join(str(chunk.content) for chunk in chunks) == "not now"
    assert chunks[0].response_metadata["holdfast"]["fallback"] == "value"


async def test_a_pool_falls_back_when_every_node_has_failed() -> None:
    """The same over nodes, async; the user's own message is not changed."""
    own = AIMessage("not now")
    pool = FailoverChatModel(
        [hf.Node("a", model(down=True)), hf.Node("b", model(down=True))],
        retry=None,
        fallback=hf.Fallback(value=own),
    )
    answer = await pool.ainvoke("hi")
    assert answer.content == "not now"
    assert answer.response_metadata["holdfast"] == {"fallback": "value", "attempts": 2}
    assert own.response_metadata == {}


@pytest.mark.parametrize("cached", [False, True])
async def test_the_last_good_answer_to_the_same_messages_stands_in(cached: bool) -> None:
    """From memory, or from any `BaseCache`; by the messages, and not older than the limit."""
    inner = model()
    fallback = hf.Fallback(last_good=60.0, cache=InMemoryCache() if cached else None)
    guarded = with_resilience(inner, retry=None, breaker=None, fallback=fallback)
    with ManualClock() as clock:
        assert guarded.invoke("hi").content == "fine"
        assert (await guarded.ainvoke("ho")).content == "fine"
        inner.down = True
        for answer in (guarded.invoke("hi"), await guarded.ainvoke("hi"), guarded.invoke("ho")):
            assert answer.content == "fine"
            assert answer.response_metadata["holdfast"]["fallback"] == "last_good"
        with pytest.raises(ConnectionError):
            guarded.invoke("something else")
        clock.advance(61.0)
        with pytest.raises(ConnectionError):
            guarded.invoke("hi")


@pytest.mark.parametrize("value", ["text", {"a": [1, None]}, [1.5, True], None])
def test_a_cache_keeps_what_json_keeps(value: object) -> None:
    """Plain answers go through a shared cache as JSON; what JSON would change is not kept."""
    answers: list[object] = [value]

    @hf.Fallback(last_good=60.0, cache=InMemoryCache())
    def ask() -> object:
        if not answers:
            raise ConnectionError
        return answers.pop()

    assert ask() == value
    assert ask() == value
    answers.append({1: "int keys"})
    ask()
    assert ask() == value

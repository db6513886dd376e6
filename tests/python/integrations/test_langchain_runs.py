"""What traces and handlers learn of a guarded chat model's attempts, and invocations that become streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

import holdfast as hf
from holdfast.langchain import FailoverChatModel, with_resilience

AT_ONCE = hf.Retry(3, backoff=hf.constant(0), budget=None)


class Words(BaseChatModel):
    """Says three words; breaks off after `after` of them in its first `failures` calls."""

    failures: int = 0
    after: int = 0
    calls: int = 0
    streaming: bool = False

    @property
    def _llm_type(self) -> str:
        return "words"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        words = "".join(str(chunk.message.content) for chunk in self._stream(messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(words))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.calls += 1
        for place, word in enumerate(("one", " two", " three")):
            if place == self.after and self.calls <= self.failures:
                raise ConnectionError("cut")
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def single(model: Words) -> BaseChatModel:
    return with_resilience(model, retry=AT_ONCE)


def pool(model: Words) -> BaseChatModel:
    return FailoverChatModel([hf.Node("only", model)], retry=AT_ONCE, breaker=None)


every_model = pytest.mark.parametrize("build", [single, pool])


def by_invoke(model: BaseChatModel, config: Any = None) -> Any:
    return model.invoke("hi", config)


def by_ainvoke(model: BaseChatModel, config: Any = None) -> Any:
    return asyncio.run(model.ainvoke("hi", config))


every_colour = pytest.mark.parametrize("call", [by_invoke, by_ainvoke])


class Told(BaseCallbackHandler):
    """Remembers what it is told of one run."""

    def __init__(self) -> None:
        self.started = 0
        self.retries: list[tuple[int, str]] = []
        self.tags: list[str] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.started += 1

    def on_retry(self, retry_state: Any, **kwargs: Any) -> None:
        error = retry_state.outcome.exception()
        self.retries.append((retry_state.attempt_number, type(error).__name__))

    def on_llm_end(self, *args: Any, tags: Any = None, **kwargs: Any) -> None:
        self.tags = list(tags or [])


class Listening(Told):
    """Looks at tokens too."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(str(token))


@every_model
@every_colour
@pytest.mark.parametrize("streaming", [False, True])
def test_attempts_are_events_and_tags_of_the_one_run(
    build: Callable[..., BaseChatModel], call: Callable[..., Any], streaming: bool
) -> None:
    """One start; a retry event for each failed attempt, with its error; the end says which attempt it was."""
    told = Told()
    call(build(Words(failures=2, streaming=streaming)), {"callbacks": [told]})
    assert told.started == 1
    assert told.retries == [(1, "ConnectionError"), (2, "ConnectionError")]
    assert "retry:attempt:3" in told.tags
    assert ("holdfast:node:only" in told.tags) == (build is pool)


@every_model
@every_colour
def test_a_stream_that_nobody_sees_is_asked_again_from_its_middle(
    build: Callable[..., BaseChatModel], call: Callable[..., Any]
) -> None:
    """`streaming=True` makes a stream of an invocation: until its end nothing has been handed out."""
    words = Words(failures=1, after=2, streaming=True)
    answer = call(build(words), {"callbacks": [Told()]})
    assert answer.text == "one two three"
    assert words.calls == 2
    assert answer.response_metadata["holdfast"]["attempts"] == 2


@every_model
@every_colour
def test_a7_a_stream_that_somebody_hears_is_not_replayed(
    build: Callable[..., BaseChatModel], call: Callable[..., Any]
) -> None:
    """A7: a handler that is given tokens has had them; the call ends with the words that came."""
    words, heard = Words(failures=1, after=2, streaming=True), Listening()
    with pytest.raises(hf.StreamInterrupted) as broken:
        call(build(words), {"callbacks": [heard]})
    assert heard.tokens == ["one", " two"]
    assert broken.value.received.text == "one two"
    assert words.calls == 1


@every_model
def test_a_public_stream_is_handed_out_as_it_comes(build: Callable[..., BaseChatModel]) -> None:
    """Holding back is for invocations: who asks for a stream gets each word at once."""
    words = Words(failures=1, after=2)
    stream = build(words).stream("hi")
    assert [next(stream).text, next(stream).text] == ["one", " two"]
    with pytest.raises(hf.StreamInterrupted):
        next(stream)


def test_signatures_stay_those_of_the_model() -> None:
    """LangChain reads them in every call to know what to pass."""
    import inspect

    for name in ("_generate", "_agenerate", "_stream"):
        ours = inspect.signature(getattr(single(Words()), name))
        assert ours == inspect.signature(getattr(Words(), name))

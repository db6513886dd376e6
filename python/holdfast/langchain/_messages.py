"""One call's attempts and their arguments, and who answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter

# The key in `response_metadata` under which a message says how it came about.
METADATA_KEY = "holdfast"


class Attempts:
    """Counts the attempts of one call and lets each of them wait for the model's rate limiter.

    Args:
        paid: How many attempts LangChain has asked the limiter for already: it asks once per call, for the
            model that it sees, which would let retries and other nodes pass unseen.
    """

    def __init__(self, paid: int = 0) -> None:
        self.count = 0
        self._paid = paid

    def begin(self, limiter: BaseRateLimiter | None) -> int:
        """Begins one; returns its number, counted from 1."""
        self.count += 1
        if limiter is not None and self.count > self._paid:
            limiter.acquire(blocking=True)
        return self.count

    async def abegin(self, limiter: BaseRateLimiter | None) -> int:
        """`begin` without blocking the event loop."""
        self.count += 1
        if limiter is not None and self.count > self._paid:
            await limiter.aacquire(blocking=True)
        return self.count


class Resumable:
    """The arguments of one call's attempts at a stream: those it was made with, or what `resume` changed.

    Args:
        args: Those given by position: the messages first.
        kwargs: Those given by name.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs

    def changed(
        self, model: BaseChatModel, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an attempt, given what `resume` said: nothing, before a stream has broken.

        New messages stand in the place of the first ones, in any form that `invoke` takes; names that it
        does not mention stay as they were.
        """
        if args:
            messages = model._convert_input(args[0]).to_messages()
            args = (messages, *args[1:], *self._args[len(args) :])
        return args or self._args, {**self._kwargs, **kwargs}


def relay(chunks: Iterator[ChatGenerationChunk], **facts: Any) -> Iterator[ChatGenerationChunk]:
    """The stream, its first chunk signed with the facts.

    The first only: metadata of chunks is added up, and a name twice is not a name.
    """
    with closing_sync(chunks):
        for chunk in chunks:
            if facts:
                sign(chunk.message, **facts)
                facts = {}
            yield chunk


async def arelay(
    chunks: AsyncIterator[ChatGenerationChunk], **facts: Any
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """`relay` for an asynchronous stream."""
    async with closing_async(chunks):
        async for chunk in chunks:
            if facts:
                sign(chunk.message, **facts)
                facts = {}
            yield chunk


def sign(message: BaseMessage, **facts: Any) -> None:
    """Writes into the message how it came about: the node that answered, the number of attempts."""
    message.response_metadata = {**message.response_metadata, METADATA_KEY: facts}


def sign_result(result: ChatResult, **facts: Any) -> ChatResult:
    """The result, each of its messages signed."""
    for generation in result.generations:
        sign(generation.message, **facts)
    return result


def as_chunk(result: ChatResult) -> ChatGenerationChunk:
    """A whole answer as the only chunk of a stream, for a model that cannot stream."""
    generation = result.generations[0]
    content = generation.message.model_dump(exclude={"type"})
    # As LangChain does with a single answer: some providers say there how it ended.
    content["response_metadata"] = {**(result.llm_output or {}), **content["response_metadata"]}
    message = AIMessageChunk(**content, chunk_position="last")
    return ChatGenerationChunk(message=message, generation_info=generation.generation_info)


def closing_sync(chunks: Any) -> AbstractContextManager[Any]:
    """Closes the iterator on the way out, if it is one that can be closed."""
    return closing(chunks) if hasattr(chunks, "close") else nullcontext()


def closing_async(chunks: Any) -> AbstractAsyncContextManager[Any]:
    """Closes the asynchronous iterator on the way out, if it is one that can be closed."""
    return aclosing(chunks) if hasattr(chunks, "aclose") else nullcontext()

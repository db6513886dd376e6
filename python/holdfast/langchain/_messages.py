"""One call's attempts, where a stream's content begins, and who answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from typing import Any

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


def has_content(chunk: ChatGenerationChunk) -> bool:
    """Does the chunk carry anything that a reader may already act upon: text, a tool call, reasoning?"""
    message = chunk.message
    return bool(
        message.content
        or getattr(message, "tool_call_chunks", None)
        or any(bool(value) for value in message.additional_kwargs.values())
    )


def relay(chunks: Iterator[ChatGenerationChunk], **facts: Any) -> Iterator[ChatGenerationChunk]:
    """The stream, signed with the facts, its empty beginning handed out together with the first content.

    Providers open a stream with a chunk that holds a role and no words. Handing it out would commit the
    call to this attempt although the reader has seen nothing yet; held back, a stream that breaks before
    its first word can still be asked again.
    """
    with closing_sync(chunks):
        held = []
        for chunk in chunks:
            held.append(chunk)
            if has_content(chunk):
                break
        # The first only: metadata of chunks is added up, and a name twice is not a name.
        for chunk in held[:1]:
            sign(chunk.message, **facts)
        yield from held
        yield from chunks


async def arelay(
    chunks: AsyncIterator[ChatGenerationChunk], **facts: Any
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """`relay` for an asynchronous stream."""
    async with closing_async(chunks):
        held = []
        async for chunk in chunks:
            held.append(chunk)
            if has_content(chunk):
                break
        for chunk in held[:1]:
            sign(chunk.message, **facts)
        for chunk in held:
            yield chunk
        async for chunk in chunks:
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
    message = AIMessageChunk(**content, chunk_position="last")
    return ChatGenerationChunk(message=message, generation_info=generation.generation_info)


def closing_sync(chunks: Any) -> AbstractContextManager[Any]:
    """Closes the iterator on the way out, if it is one that can be closed."""
    return closing(chunks) if hasattr(chunks, "close") else nullcontext()


def closing_async(chunks: Any) -> AbstractAsyncContextManager[Any]:
    """Closes the asynchronous iterator on the way out, if it is one that can be closed."""
    return aclosing(chunks) if hasattr(chunks, "aclose") else nullcontext()

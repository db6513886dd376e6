"""The typed streams of `stream_events(version="v3")`, over a guarded stream of messages.

LangChain has them for chat models and graphs only, and makes them from a model's hooks. A wrapper around
several models, or one that retries, has a stream of messages and no hooks; it is turned into the same
events by LangChain's own bridge. As there, nothing is asked before the first look at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from langchain_core.language_models._compat_bridge import achunks_to_events, chunks_to_events
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from holdfast.langchain._messages import closing_async, closing_sync


def message_stream(opened: Callable[[], Iterator[Any]]) -> ChatModelStream:
    """The typed stream of what `opened` gives, driven by whoever reads it."""
    stream = ChatModelStream()
    events: Iterator[Any] | None = None

    def start() -> None:
        nonlocal events
        if events is None:
            events = chunks_to_events(_chunks(opened()))

    def pump() -> bool:
        start()
        try:
            stream.dispatch(next(cast("Iterator[Any]", events)))
        except StopIteration:
            _finish(stream)
            return False
        except BaseException as error:  # noqa: BLE001  it is raised to whoever reads the stream
            stream.fail(error)
            return False
        return True

    stream.set_start(start)
    stream.bind_pump(pump)
    return stream


def amessage_stream(opened: Callable[[], AsyncIterator[Any]]) -> AsyncChatModelStream:
    """The typed stream of what `opened` gives, driven by a task of its own, as LangChain's are."""
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async with closing_async(_achunks(opened())) as chunks:
                async for event in achunks_to_events(chunks):
                    stream.dispatch(event)
            _finish(stream)
        except asyncio.CancelledError as error:
            stream.fail(error)
            raise
        except BaseException as error:  # noqa: BLE001  it is raised to whoever reads the stream
            stream.fail(error)

    async def start() -> None:
        if stream._producer_task is None:
            stream._producer_task = asyncio.get_running_loop().create_task(produce())

    stream.set_start(start)
    return stream


def _chunks(messages: Iterator[Any]) -> Iterator[ChatGenerationChunk]:
    with closing_sync(messages):
        for message in messages:
            yield _chunk(message)


async def _achunks(messages: AsyncIterator[Any]) -> AsyncIterator[ChatGenerationChunk]:
    async with closing_async(messages):
        async for message in messages:
            yield _chunk(message)


def _chunk(message: Any) -> ChatGenerationChunk:
    if not isinstance(message, AIMessageChunk):  # of a model that cannot stream
        message = AIMessageChunk(**message.model_dump(exclude={"type"}), chunk_position="last")
    return ChatGenerationChunk(message=message)


def _finish(stream: Any) -> None:
    if not stream.done:
        stream.fail(ValueError("No generation chunks were returned"))

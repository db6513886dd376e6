"""What is done with the messages of an answer on their way: who answered is written into them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from holdfast.langchain._call import Call

Facts = dict[str, Any]

# The key in `response_metadata` under which a message says how it came about.
METADATA_KEY = "holdfast"


def relay(
    chunks: Iterator[ChatGenerationChunk], facts: Facts | None, call: Call
) -> Iterator[ChatGenerationChunk]:
    """The stream, its first chunk signed with the facts; what it raises is noted in the call.

    The first only: metadata of chunks is added up, and a name twice is not a name.
    """
    try:
        with closing_sync(chunks):
            for chunk in chunks:
                if facts is not None:
                    sign(chunk.message, facts)
                    facts = None
                yield chunk
    except Exception as error:
        call.error = error
        raise


async def arelay(
    chunks: AsyncIterator[ChatGenerationChunk], facts: Facts | None, call: Call
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """`relay` for an asynchronous stream."""
    try:
        async with closing_async(chunks):
            async for chunk in chunks:
                if facts is not None:
                    sign(chunk.message, facts)
                    facts = None
                yield chunk
    except Exception as error:
        call.error = error
        raise


def sign(message: BaseMessage, facts: Facts) -> None:
    """Writes into the message how it came about: the node that answered, the number of attempts."""
    # Past pydantic's setter, which costs more than the rest of it. The dictionary is a new one: a model may
    # give the same one to many messages.
    message.__dict__["response_metadata"] = {**message.response_metadata, METADATA_KEY: facts}
    message.__pydantic_fields_set__.add("response_metadata")


def sign_result(result: ChatResult, facts: Facts) -> ChatResult:
    """The result, each of its messages signed."""
    for generation in result.generations:
        sign(generation.message, facts)
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

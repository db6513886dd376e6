"""A fallback's last good answers in a LangChain cache."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation

from holdfast import _native

_SCOPE = "holdfast.last_good"
"""What stands where LangChain's caches want to hear of the model."""


class Cached:
    """Answers in a LangChain cache, which other processes may share. Their age is told by the wall clock.

    A message is kept as itself, any other answer as JSON; what is neither is not kept: to unpickle what a
    shared cache holds would be to run it.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def get(self, key: str, limit: float) -> tuple[Any] | None:
        """The answer if it is not older than ``limit`` seconds."""
        return _decoded(self._cache.lookup(key, _SCOPE), limit)

    async def aget(self, key: str, limit: float) -> tuple[Any] | None:
        """`get`, awaited."""
        return _decoded(await self._cache.alookup(key, _SCOPE), limit)

    def put(self, key: str, answer: Any) -> None:
        """Keeps an answer."""
        entry = _encoded(answer)
        if entry is not None:
            self._cache.update(key, _SCOPE, entry)

    async def aput(self, key: str, answer: Any) -> None:
        """`put`, awaited."""
        entry = _encoded(answer)
        if entry is not None:
            await self._cache.aupdate(key, _SCOPE, entry)


def _encoded(answer: Any) -> list[Any] | None:
    """The answer as a cache of LangChain keeps it: generations, the first with the time and the form."""
    about = {"at": _native.wall()}
    if isinstance(answer, ChatResult):
        kept: list[Any] = list(answer.generations)
        form = "result"
    elif isinstance(answer, BaseMessage):
        kept, form = [ChatGeneration(message=answer)], "message"
    elif _are_chunks(answer):
        kept, form = [ChatGeneration(message=item.message) for item in answer], "chunks"
    else:
        try:
            kept, form = [Generation(text=json.dumps(answer))], "json"
        except (TypeError, ValueError):
            return None
        if json.loads(kept[0].text) != _listed(answer):
            return None
    head = Generation(text="", generation_info={"holdfast": {**about, "form": form}})
    return [head, *kept]


def _decoded(entry: Any, limit: float) -> tuple[Any] | None:
    if not entry:
        return None
    about = (entry[0].generation_info or {}).get("holdfast")
    if about is None or not 0.0 <= _native.wall() - about["at"] <= limit:
        return None
    kept = list(entry[1:])
    form = about["form"]
    if form == "json":
        return (json.loads(kept[0].text),)
    if form == "message":
        return (kept[0].message,)
    if form == "chunks":
        return (tuple(ChatGenerationChunk(message=generation.message) for generation in kept),)
    return (ChatResult(generations=kept),)


def _are_chunks(answer: Any) -> bool:
    return (
        isinstance(answer, tuple)
        and bool(answer)
        and all(isinstance(item, ChatGenerationChunk) for item in answer)
    )


def _listed(answer: Any) -> Any:
    """The items of a stream come back as a list, which is as good."""
    return list(answer) if isinstance(answer, tuple) else answer

"""Embeddings behind a pipeline: an instance of (a subclass of) their own class.

Embeddings are no runnables: they have four methods and nothing else. A batch is embedded in pieces of the size
that the embeddings send at once (their `chunk_size`, where they have one), each piece a guarded call of its own:
a failure costs one piece and not the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from langchain_core.embeddings import Embeddings

from holdfast._exceptions import Truncated
from holdfast.langchain._copies import quiet_embeddings
from holdfast.langchain._twins import twin

Model = TypeVar("Model", bound=Embeddings)
Vectors = list[list[float]]


def guard_embeddings(pipeline: Any, embeddings: Model) -> Model:
    """The embeddings behind the pipeline.

    An answer must have as many vectors as texts, and none of them empty; another is refused as `Truncated` and
    counts as a failure. ``validate=False`` turns that off, a validator of your own is asked after it.

    Args:
        pipeline: The `Pipeline` that every query and every piece of a batch goes through.
        embeddings: They are not changed; the retries of their SDK are off on the copy that is used.
    """
    quiet: Model = quiet_embeddings(embeddings)
    return twin(pipeline, quiet, _METHODS)


def _embed_documents(self: Any, texts: Any, *args: Any, **kwargs: Any) -> Vectors:
    inner, pipeline = self._holdfast_inner, self._holdfast_pipeline

    def attempt(piece: list[str]) -> Vectors:
        return _counted(pipeline, inner.embed_documents(piece, *args, **kwargs), len(piece))

    return [
        vector for piece in _pieces(inner, texts, args, kwargs) for vector in pipeline.call(attempt, piece)
    ]


async def _aembed_documents(self: Any, texts: Any, *args: Any, **kwargs: Any) -> Vectors:
    inner, pipeline = self._holdfast_inner, self._holdfast_pipeline

    async def attempt(piece: list[str]) -> Vectors:
        return _counted(pipeline, await inner.aembed_documents(piece, *args, **kwargs), len(piece))

    vectors: Vectors = []
    for piece in _pieces(inner, texts, args, kwargs):
        vectors += await pipeline.acall(attempt, piece)
    return vectors


def _embed_query(self: Any, text: str, *args: Any, **kwargs: Any) -> list[float]:
    inner, pipeline = self._holdfast_inner, self._holdfast_pipeline

    def attempt() -> list[float]:
        return _counted(pipeline, [inner.embed_query(text, *args, **kwargs)], 1)[0]

    vector: list[float] = pipeline.call(attempt)
    return vector


async def _aembed_query(self: Any, text: str, *args: Any, **kwargs: Any) -> list[float]:
    inner, pipeline = self._holdfast_inner, self._holdfast_pipeline

    async def attempt() -> list[float]:
        return _counted(pipeline, [await inner.aembed_query(text, *args, **kwargs)], 1)[0]

    vector: list[float] = await pipeline.acall(attempt)
    return vector


_METHODS = {
    "embed_documents": _embed_documents,
    "aembed_documents": _aembed_documents,
    "embed_query": _embed_query,
    "aembed_query": _aembed_query,
}


def _pieces(inner: Any, texts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[list[str]]:
    texts = list(texts)
    asked = args[0] if args else kwargs.get("chunk_size")
    size = asked or getattr(inner, "chunk_size", None)
    if not isinstance(size, int) or size < 1 or not texts:
        size = len(texts) or 1
    return (texts[start : start + size] for start in range(0, len(texts) or 1, size))


def _counted(pipeline: Any, vectors: Vectors, expected: int) -> Vectors:
    whole = len(vectors) == expected and all(len(vector) for vector in vectors)
    if not whole and pipeline._given["validate"] is not False:
        raise Truncated(
            f"The answer has {len(vectors)} embeddings for {expected} texts, some of which may be empty."
        )
    return vectors

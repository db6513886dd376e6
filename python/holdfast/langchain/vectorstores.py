"""Vector stores behind a pipeline: an instance of (a subclass of) their own class.

Searches and deletions are tried again like any call. To add texts is tried again only if they carry their ids:
then a second time overwrites the first; without ids it would double what the first may have stored before it
failed, so there is one attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from langchain_core.vectorstores import VectorStore

from holdfast.langchain._twins import twin

Store = TypeVar("Store", bound=VectorStore)


def guard_vector_store(pipeline: Any, store: Store) -> Store:
    """The vector store behind the pipeline; so are the retrievers that it makes.

    Args:
        pipeline: The `Pipeline` that every search, addition and deletion goes through.
        store: It is not changed. Both see the same content.
    """
    return twin(pipeline, store, _METHODS)


_SEARCHES = (
    "delete",
    "get_by_ids",
    "max_marginal_relevance_search",
    "max_marginal_relevance_search_by_vector",
    "search",
    "similarity_search",
    "similarity_search_by_vector",
    "similarity_search_with_relevance_scores",
    "similarity_search_with_score",
)
_ADDITIONS = ("add_documents", "add_texts")


def _once(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None] | None:
    """None if it may be done again; else an iterator, which tells the driver that it may not."""
    given = args[0] if args else kwargs.get("documents", kwargs.get("texts"))
    ids = kwargs.get("ids")
    if ids is None and isinstance(given, list):
        ids = [getattr(document, "id", None) for document in given]
    known = isinstance(ids, list | tuple) and all(one is not None for one in ids)
    # Texts given as an iterator are used up by the first attempt.
    return None if known and not hasattr(given, "__next__") else iter(())


def _search(name: str) -> Any:
    def search(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._holdfast_pipeline.call(getattr(self._holdfast_inner, name), *args, **kwargs)

    return search


def _asearch(name: str) -> Any:
    async def search(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._holdfast_pipeline.acall(getattr(self._holdfast_inner, name), *args, **kwargs)

    return search


def _add(name: str) -> Any:
    def add(self: Any, *args: Any, **kwargs: Any) -> Any:
        def attempt(once: object) -> Any:
            return getattr(self._holdfast_inner, name)(*args, **kwargs)

        return self._holdfast_pipeline.call(attempt, _once(args, kwargs))

    return add


def _aadd(name: str) -> Any:
    async def add(self: Any, *args: Any, **kwargs: Any) -> Any:
        async def attempt(once: object) -> Any:
            return await getattr(self._holdfast_inner, name)(*args, **kwargs)

        return await self._holdfast_pipeline.acall(attempt, _once(args, kwargs))

    return add


_METHODS = {
    **{name: _search(name) for name in _SEARCHES},
    **{f"a{name}": _asearch(f"a{name}") for name in _SEARCHES},
    **{name: _add(name) for name in _ADDITIONS},
    **{f"a{name}": _aadd(f"a{name}") for name in _ADDITIONS},
}

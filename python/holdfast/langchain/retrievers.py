"""Retrievers behind a pipeline: an instance of (a subclass of) their own class.

The hooks that fetch the documents are guarded, inside the retriever's one run in the trace; the attempts of a
call belong to that run.
"""

from __future__ import annotations

from typing import Any, TypeVar

from langchain_core.retrievers import BaseRetriever

from holdfast.langchain._twins import twin

Retriever = TypeVar("Retriever", bound=BaseRetriever)


def guard_retriever(pipeline: Any, retriever: Retriever) -> Retriever:
    """The retriever behind the pipeline.

    Args:
        pipeline: The `Pipeline` that every call goes through, and every element of a batch.
        retriever: It is not changed.
    """
    return twin(pipeline, retriever, _METHODS)


def _get(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self._holdfast_pipeline.call(self._holdfast_inner._get_relevant_documents, *args, **kwargs)


async def _aget(self: Any, *args: Any, **kwargs: Any) -> Any:
    hook = self._holdfast_inner._aget_relevant_documents
    return await self._holdfast_pipeline.acall(hook, *args, **kwargs)


_METHODS = {"_get_relevant_documents": _get, "_aget_relevant_documents": _aget}

"""The search engine as a LangChain retriever, usable in any chain.

    retriever = SearchRetriever(url="http://127.0.0.1:8000", k=3)
    chain = {"context": retriever | as_text, "question": RunnablePassthrough()} | prompt | model

The engine guards itself against its workers; guard the way to the engine as anything else:
`with_resilience(retriever, retry=3, timeout=6)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

PATIENCE_SECONDS = 6.0


class SearchRetriever(BaseRetriever):
    """The `k` best documents; `metadata["partial"]` says whether a shard was missing when they were found."""

    url: str
    k: int = 4

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        with httpx.Client(timeout=PATIENCE_SECONDS) as client:
            return _documents(client.post(f"{self.url}/search", json={"query": query, "limit": self.k}))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            return _documents(await client.post(f"{self.url}/search", json={"query": query, "limit": self.k}))


def as_text(documents: Iterable[Document]) -> str:
    """The documents as a prompt wants them."""
    return "\n\n".join(f"{document.metadata['title']}: {document.page_content}" for document in documents)


def _documents(answer: httpx.Response) -> list[Document]:
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return [
        Document(
            result["text"],
            metadata={
                "title": result["title"],
                "score": result["score"],
                "shard": result["shard"],
                "partial": found["partial"],
            },
        )
        for result in found["results"]
    ]

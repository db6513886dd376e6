"""Shards of replicated workers.

Each shard is a `hf.FailoverManager` whose nodes are processes. All that this file says of failures is which numbers
they are met with, and how an index is copied back; the rest is Holdfast's.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import httpx

import holdfast as hf
from search_engine import corpus, index

HERE = Path(__file__).resolve().parent
REQUEST_SECONDS = 5.0
# Less than half of that, so that a worker that hangs leaves time for another.
ATTEMPT_SECONDS = 2.0
IN_FLIGHT_PER_WORKER = 100

Balancer: TypeAlias = Literal["round_robin", "least_connections"]
BALANCERS: tuple[Balancer, ...] = get_args(Balancer)

log = logging.getLogger("search_engine")


@dataclass(frozen=True)
class Settings:
    """How large the cluster is, and how it spreads the load.

    Attributes:
        data: The folder of the indexes.
        shards: Into how many parts the documents are divided.
        replicas: How many workers have the same part.
        balancer: In turn, or the worker with the fewest queries in flight.
        delay: Seconds that each search takes longer, to try out what happens when they are slow.
    """

    data: Path
    shards: int = 3
    replicas: int = 2
    balancer: Balancer = "round_robin"
    delay: float = 0.0

    def index_of(self, shard: int, replica: int) -> Path:
        """Where a worker has its copy."""
        return self.data / f"shard-{shard}" / f"{chr(ord('a') + replica)}.sqlite"


class Shard:
    """One part of the documents, and the workers that have a copy of it."""

    def __init__(self, number: int, settings: Settings, sha256: str, client: httpx.AsyncClient) -> None:
        self.name = f"shard-{number}"
        self._client = client
        paths = [settings.index_of(number, replica) for replica in range(settings.replicas)]
        self.workers = {path.stem: _process(path, sha256, settings.delay) for path in paths}
        self._places = {
            name: hf.Bulkhead(IN_FLIGHT_PER_WORKER, max_queue=10 * IN_FLIGHT_PER_WORKER)
            for name in self.workers
        }
        self.manager = hf.FailoverManager(
            self.workers.values(),
            name=self.name,
            balancer=settings.balancer,
            heartbeat=hf.Heartbeat(0.2, timeout=2.0, probe=hf.HttpProbe("/health")),
            breaker=hf.CircuitBreaker(self.name, failure_threshold=5, success_threshold=1, open_timeout=0.5),
            retry=hf.Retry(3, backoff=0.1),
            timeout=hf.Timeout(REQUEST_SECONDS, attempt=ATTEMPT_SECONDS),
            # No worker left: go on without this shard, at once, instead of letting the whole query wait.
            exhausted="fail_fast",
            fallback=hf.Fallback(value=None),
            recovery=hf.Restart(max_restarts=5, within=60.0, backoff=0.2, sync_state=self._copy_back),
        )
        self.search = self.manager(self._search)

    async def _search(self, worker: hf.Node, query: str, limit: int) -> list[dict[str, Any]]:
        """Asks one worker; `self.search` asks as many as it takes, and answers `None` if there is none left."""
        asked = {"query": query, "limit": limit}
        answer = await self._places[worker.name].acall(self._post, f"{worker.address}/search", asked)
        return [{**found, "shard": self.name} for found in answer["results"]]

    async def _copy_back(self, worker: hf.Node) -> None:
        """Gives a restarted worker the index of a healthy replica, if its own was lost or damaged."""
        health = await self._client.get(f"{worker.address}/health")
        if health.is_success:
            return
        for name, replica in self.workers.items():
            if name != worker.name and self.manager.nodes[name].ready:
                await self._post(f"{worker.address}/copy", {"source": replica.address})
                log.info("%s/%s: index copied back from %s, checksum right", self.name, worker.name, name)
                return
        raise LookupError(f"{self.name} has no healthy replica left to copy from")

    async def _post(self, url: str, content: dict[str, Any]) -> Any:
        answer = await self._client.post(url, json=content)
        answer.raise_for_status()
        return answer.json()


class Cluster:
    """All shards. `async with Cluster(settings):` starts the workers and stops them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shards: list[Shard] = []
        self.documents = 0
        self._life = AsyncExitStack()

    async def __aenter__(self) -> Self:
        checksums = await asyncio.to_thread(self._make_indexes)
        async with AsyncExitStack() as life:
            # No limit on connections, for the bulkheads are the limit. None is kept: on loopback a new one costs
            # little, and one that was kept to a worker that has been killed since costs an attempt.
            unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            client = await life.enter_async_context(
                httpx.AsyncClient(limits=unlimited, timeout=REQUEST_SECONDS)
            )
            self.shards = [Shard(n, self.settings, sha256, client) for n, sha256 in enumerate(checksums)]
            for shard in self.shards:
                await life.enter_async_context(shard.manager)
            self._life = life.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._life.aclose()

    async def search(self, query: str, limit: int) -> tuple[list[dict[str, Any]], list[str]]:
        """The best documents of all shards, and the names of the shards that could not be asked."""
        parts = await asyncio.gather(*(shard.search(query, limit) for shard in self.shards))
        missing = [shard.name for shard, part in zip(self.shards, parts, strict=True) if part is None]
        found = [result for part in parts if part is not None for result in part]
        found.sort(key=lambda result: (-result["score"], result["title"]))
        return found[:limit], missing

    def _make_indexes(self) -> list[str]:
        """Divides the documents, writes each shard's index once and copies it to its replicas."""
        documents = corpus.documents()
        self.documents = len(documents)
        return [self._make_index(shard, documents) for shard in range(self.settings.shards)]

    def _make_index(self, shard: int, documents: Sequence[corpus.Document]) -> str:
        first, *others = (self.settings.index_of(shard, replica) for replica in range(self.settings.replicas))
        first.parent.mkdir(parents=True, exist_ok=True)
        sha256 = index.build(first, documents[shard :: self.settings.shards])
        for other in others:
            other.write_bytes(first.read_bytes())
        return sha256


def _process(path: Path, sha256: str, delay: float) -> hf.ProcessNode:
    options = {"--port": "{port}", "--index": path, "--sha256": sha256, "--delay": delay}
    words = [str(word) for option in options.items() for word in option]
    return hf.ProcessNode(
        [sys.executable, "-m", "search_engine.worker", *words],
        name=path.stem,
        address="http://127.0.0.1:{port}",
        cwd=HERE.parent,
        stop_timeout=1.0,
    )

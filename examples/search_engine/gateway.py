"""The gateway: `POST /search` over all shards.

    python -m search_engine.gateway --port 8000 --balancer least_connections

    curl -s localhost:8000/search -H 'content-type: application/json' -d '{"query": "event loop"}'

An answer without one of the shards is marked `partial`; without any it is a 503.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from search_engine.cluster import BALANCERS, Cluster, Settings


class Query(BaseModel):
    """What is looked for."""

    query: str = Field(min_length=1, max_length=1000)
    limit: int = Field(default=10, ge=1, le=100)


class Result(BaseModel):
    """A document that was found."""

    title: str
    text: str
    score: float
    shard: str


class Answer(BaseModel):
    """The best documents; `partial` if some shards could not be asked, which `missing` names."""

    results: list[Result]
    partial: bool
    missing: list[str]


def create_app(settings: Settings) -> FastAPI:
    """The application; its workers run as long as it does."""
    cluster = Cluster(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with cluster:
            yield

    app = FastAPI(title="Search", lifespan=lifespan)

    @app.post("/search")
    async def search(asked: Query) -> Answer:
        results, missing = await cluster.search(asked.query, asked.limit)
        if len(missing) == len(cluster.shards):
            raise HTTPException(503, "no shard can be reached", headers={"Retry-After": "1"})
        return Answer(results=[Result(**found) for found in results], partial=bool(missing), missing=missing)

    @app.get("/nodes")
    async def nodes() -> dict[str, dict[str, Any]]:
        """What is thought of each worker."""
        return {
            f"{shard.name}/{name}": {
                "state": view.state,
                "ready": view.ready,
                "why": shard.manager.explain()[name],
                "pid": shard.workers[name].pid,
                "address": shard.workers[name].address,
                "in_flight": view.in_flight,
                "outages": view.failures,
            }
            for shard in cluster.shards
            for name, view in shard.manager.nodes.items()
        }

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Alive; `degraded` while some shard has no worker that can be asked."""
        gone = [s.name for s in cluster.shards if not any(view.ready for view in s.manager.nodes.values())]
        return {"status": "degraded" if gone else "ok", "missing": gone, "documents": cluster.documents}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m search_engine.gateway")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--data", type=Path, help="the folder of the indexes (default: one that is thrown away)"
    )
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--balancer", default="round_robin", choices=BALANCERS)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each search takes longer")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("search_engine").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        settings = Settings(
            options.data or Path(folder), options.shards, options.replicas, options.balancer, options.delay
        )
        uvicorn.run(create_app(settings), port=options.port, log_level="warning")


if __name__ == "__main__":
    main()

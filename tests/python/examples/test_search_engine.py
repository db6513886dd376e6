"""The search engine of the examples: real processes, real indexes, real kills."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from langchain_core.runnables import RunnableLambda

from holdfast.langchain import with_resilience
from search_engine import corpus, index
from search_engine.__main__ import gateway, show
from search_engine.cluster import (
    ATTEMPT_SECONDS,
    BALANCERS,
    IN_FLIGHT_PER_WORKER,
    REQUEST_SECONDS,
    Balancer,
    Cluster,
    Settings,
)
from search_engine.gateway import create_app
from search_engine.havoc import kill
from search_engine.retriever import SearchRetriever, as_text
from search_engine.worker import Server, Worker

PAGE = corpus.Document("tea.brew", "Brew tea, at 80 degrees.")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[Worker, str]]:
    """A worker in this process, and its address."""
    path = tmp_path / "a.sqlite"
    made = Worker(path, index.build(path, [PAGE]))
    server = Server(made, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("balancer", BALANCERS)
def test_no_query_fails_while_every_worker_is_killed_in_turn(tmp_path: Path, balancer: Balancer) -> None:
    """Their indexes are copied back; and when a shard is lost for good, answers go on and are marked."""
    settings = Settings(tmp_path, shards=2, replicas=2, balancer=balancer)
    with gateway(settings) as process:
        assert process.address is not None
        report = asyncio.run(show(process.address, settings))
        (document, *_) = SearchRetriever(url=process.address).invoke("compress a file")
    assert report.during_kills.failed == []
    assert report.without_a_shard.failed == []
    assert (report.killed, len(report.back_after)) == (4 + 2, 4)
    assert (report.during_kills.partial, report.without_a_shard.whole) == (0, 0)
    assert report.during_kills.whole > 20
    assert report.without_a_shard.partial >= 200
    assert report.went_well
    # What was lost or damaged is again what it was; the lost shard is not.
    first, second = (index.checksum(settings.index_of(0, replica)) for replica in (0, 1))
    assert first == second != ""
    assert not settings.index_of(1, 0).exists()
    assert document.metadata["partial"] is True


async def test_a_worker_has_at_most_a_hundred_requests_in_flight(tmp_path: Path) -> None:
    """The rest wait in line, and all are answered; on a machine that is too busy for that, at another try."""
    answered, most = False, 0
    for turn in range(4):
        answered, most = await _crowd(tmp_path / str(turn))
        assert most <= IN_FLIGHT_PER_WORKER
        if answered and most > IN_FLIGHT_PER_WORKER // 2:
            break
    assert answered
    assert most > IN_FLIGHT_PER_WORKER // 2


async def _crowd(folder: Path) -> tuple[bool, int]:
    """Whether all of a crowd were answered, and how many one worker had at once."""
    async with Cluster(Settings(folder, shards=1, replicas=1, delay=0.3)) as cluster:
        asked = [cluster.search("event loop", 3) for _ in range(IN_FLIGHT_PER_WORKER + 50)]
        answers = await asyncio.gather(*asked)
        if not all(found and not missing for found, missing in answers):
            return False, 0
        async with httpx.AsyncClient() as client:
            (node,) = cluster.shards[0].workers.values()
            health = (await client.get(f"{node.address}/health")).json()
    return True, health["most_in_flight"]


async def test_workers_take_turns_and_a_hung_one_costs_no_query(tmp_path: Path) -> None:
    """Round robin is even; who does not answer is left for the other replica within the request's five seconds."""
    async with Cluster(Settings(tmp_path, shards=1, replicas=2)) as cluster:
        (shard,) = cluster.shards
        for _ in range(10):
            await cluster.search("event loop", 3)
        assert shard.manager.reliability().balance == 1.0

        pid = shard.workers["a"].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        answers = await asyncio.gather(*(cluster.search("event loop", 3) for _ in range(4)))
        assert time.monotonic() - began < REQUEST_SECONDS
        assert all(found and not missing for found, missing in answers)


async def test_the_idle_worker_is_asked_before_the_busy_one(tmp_path: Path) -> None:
    """Least connections: while a worker hangs on one query, the others go to the other worker."""
    settings = Settings(tmp_path, shards=1, replicas=2, balancer="least_connections")
    async with Cluster(settings) as cluster:
        (shard,) = cluster.shards
        pid = shard.workers["a"].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        stuck = []
        end = time.monotonic() + 10
        while not shard.manager.nodes["a"].in_flight:
            assert time.monotonic() < end
            stuck.append(asyncio.create_task(cluster.search("event loop", 3)))
            await asyncio.sleep(0.01)
        # For as long as it hangs there: the attempt is given up after a while, and then both are idle.
        took = []
        while len(took) < 5 and shard.manager.nodes["a"].in_flight:
            began = time.monotonic()
            assert await cluster.search("event loop", 3)
            took.append(time.monotonic() - began)
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(*stuck)
    assert took
    assert max(took) < ATTEMPT_SECONDS


def test_without_any_shard_the_gateway_says_503_and_when_to_come_back(tmp_path: Path) -> None:
    """An empty answer would look like one."""
    settings = Settings(tmp_path, shards=1, replicas=1)
    with TestClient(create_app(settings)) as client:
        assert client.post("/search", json={"query": "event loop"}).json()["partial"] is False
        assert client.post("/search", json={"query": ""}).status_code == 422
        assert client.get("/health").json()["status"] == "ok"
        kill(client.get("/nodes").json()["shard-0/a"]["pid"], settings.index_of(0, 0), "lost")
        end = time.monotonic() + 20
        while client.get("/health").json()["status"] != "degraded":
            assert time.monotonic() < end
        answer = client.post("/search", json={"query": "event loop"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.get("/health").json()["missing"] == ["shard-0"]


async def test_the_retriever_is_a_part_of_a_chain(tmp_path: Path) -> None:
    """Of either colour, and guarded like any other."""
    settings = Settings(tmp_path, shards=1, replicas=1)
    with gateway(settings) as process:
        assert process.address is not None
        retriever = with_resilience(SearchRetriever(url=process.address, k=2), retry=3, timeout=6)
        chain = retriever | RunnableLambda(as_text)
        said = await asyncio.to_thread(chain.invoke, "compress a file")
        assert "compression" in said
        assert await chain.ainvoke("compress a file") == said
        documents = await retriever.ainvoke("compress a file")
    assert [document.metadata["partial"] for document in documents] == [False, False]


def test_an_index_is_copied_only_if_its_checksum_is_right(worker: tuple[Worker, str], tmp_path: Path) -> None:
    """A worker with a lost index is unhealthy until it has a good copy, and never takes another."""
    first, address = worker
    second = Worker(tmp_path / "b.sqlite", first.sha256)
    assert second.health()["index"] == "missing or damaged"
    second.copy(address)
    assert second.is_whole
    assert second.search("brewing", 5) == first.search("brewing", 5) != []

    first.path.write_bytes(first.path.read_bytes() + b"!")
    with pytest.raises(ValueError, match="another checksum"):
        Worker(tmp_path / "c.sqlite", first.sha256).copy(address)
    assert not list(tmp_path.glob("c.*"))


def test_a_worker_without_its_index_says_so(worker: tuple[Worker, str]) -> None:
    """The query that finds out is refused, and so is the probe after it."""
    made, address = worker
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    statuses = []
    made.path.unlink()
    for method, page in (("GET", "/health"), ("POST", "/search"), ("POST", "/search"), ("GET", "/health")):
        body = '{"query": "tea", "limit": 1}' if method == "POST" else None
        connection.request(method, page, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [200, 500, 503, 503]


def test_any_text_may_be_searched_for(tmp_path: Path) -> None:
    """Nothing of a query is taken for an operator, and one without words finds nothing."""
    path = tmp_path / "a.sqlite"
    index.build(path, [PAGE])
    for query in ('tea OR "', "NOT tea*", "brew ("):
        assert [found["title"] for found in index.search(path, query, 5)] == ["tea.brew"]
    assert index.search(path, "-*-", 5) == []


def test_the_corpus_is_real() -> None:
    """Thousands of docstrings."""
    documents = {document.title: document.text for document in corpus.documents()}
    assert len(documents) > 2000
    assert "compression" in documents["bz2"]

"""The show: every worker is killed under load and no query fails; then a whole shard is lost, for good.

    python -m search_engine --balancer least_connections

Ends with code 1 if it did not go as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from langchain_core.runnables import RunnableLambda

import holdfast as hf
from search_engine.cluster import BALANCERS, Settings
from search_engine.havoc import Load, Tally, kill, kill_and_wait, nodes, until
from search_engine.retriever import SearchRetriever, as_text

# What each death does to the index of the worker.
DAMAGES = ("lost", "damaged", "intact")


@dataclass
class Report:
    """What the show has seen."""

    killed: int = 0
    back_after: list[float] = field(default_factory=list)
    during_kills: Tally = field(default_factory=Tally)
    without_a_shard: Tally = field(default_factory=Tally)

    @property
    def went_well(self) -> bool:
        """No query failed; none was partial but while a shard was missing, and then all of them were."""
        before, after = self.during_kills, self.without_a_shard
        failed = [*before.failed, *after.failed]
        return (
            not failed and before.whole > 0 and not before.partial and after.partial > 0 and not after.whole
        )


async def show(url: str, settings: Settings) -> Report:
    """Kills one worker after another, then all workers of the last shard, while queries run."""
    report = Report()
    async with Load(url) as load:
        await _kill_one_after_another(url, settings, load, report)
        await _lose_a_shard(url, settings, load, report)
    report.without_a_shard = load.tally
    _print_tally("without it", load.tally)
    return report


async def _kill_one_after_another(url: str, settings: Settings, load: Load, report: Report) -> None:
    for number, name in enumerate(sorted(await nodes(url))):
        damage = DAMAGES[number % len(DAMAGES)]
        queries = load.tally.queries
        seconds = await kill_and_wait(url, name, _index_of(settings, name), damage)
        report.killed += 1
        report.back_after.append(seconds)
        queries = load.tally.queries - queries
        print(
            f"{name} killed, its index {damage}: serves again after {seconds:.1f} s, {queries} queries meanwhile"
        )
    report.during_kills = load.restart_tally()
    _print_tally(f"{report.killed} workers killed", report.during_kills)


async def _lose_a_shard(url: str, settings: Settings, load: Load, report: Report) -> None:
    shard = f"shard-{settings.shards - 1}"
    victims = {name: node["pid"] for name, node in (await nodes(url)).items() if name.startswith(shard)}
    for name in victims:
        _index_of(settings, name).unlink()
    for name, pid in victims.items():
        kill(pid, _index_of(settings, name), "intact")
        report.killed += 1
    await until(url, f"{shard} is missing", lambda found: not any(found[name]["ready"] for name in victims))
    print(f"{shard} has lost every copy of its index")
    # Queries that were under way may still have been answered whole.
    await load.queries(50)
    load.restart_tally()
    await load.queries(200)


def _index_of(settings: Settings, name: str) -> Path:
    shard, _, replica = name.partition("/")
    return settings.index_of(int(shard.removeprefix("shard-")), ord(replica) - ord("a"))


def _print_tally(when: str, tally: Tally) -> None:
    print(
        f"{when}: {tally.queries} queries, {len(tally.failed)} failed, {tally.partial} partial, "
        f"the slowest took {tally.slowest:.2f} s"
    )
    for failure in tally.failed[:5]:
        print(f"  {failure}")


def gateway(settings: Settings) -> hf.ProcessNode:
    """The gateway as a process, which takes its workers with it when it ends."""
    options = {
        "--port": "{port}",
        "--data": settings.data,
        "--shards": settings.shards,
        "--replicas": settings.replicas,
        "--balancer": settings.balancer,
        "--delay": settings.delay,
    }
    words = [str(word) for option in options.items() for word in option]
    return hf.ProcessNode(
        [sys.executable, "-m", "search_engine.gateway", *words],
        name="gateway",
        address="http://127.0.0.1:{port}",
        cwd=Path(__file__).resolve().parents[1],
        start_timeout=60.0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m search_engine")
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--balancer", default="round_robin", choices=BALANCERS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="search-") as data:
        settings = Settings(Path(data), options.shards, options.replicas, options.balancer)
        with gateway(settings) as process:
            assert process.address is not None
            health = httpx.get(f"{process.address}/health").json()
            print(
                f"{health['documents']} documents in {settings.shards} shards, {settings.replicas} workers each"
            )

            chain = SearchRetriever(url=process.address, k=2) | RunnableLambda(as_text)
            print(f"\nasked through LangChain:\n{chain.invoke('compress a file')}\n")

            report = asyncio.run(show(process.address, settings))
            (found, *_) = SearchRetriever(url=process.address).invoke("compress a file")
            print(f"asked through LangChain: {found.metadata}")
    print("it went well" if report.went_well else "it did NOT go well")
    return 0 if report.went_well else 1


if __name__ == "__main__":
    sys.exit(main())

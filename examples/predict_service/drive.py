"""Runs the service and two models as real processes, makes the models fail, and prints what clients saw.

Each scene says which answers are promised. The script ends with 1 if a promise was not kept. With `--log` the
service's own log goes to standard error; without, nowhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

import holdfast as hf

EXAMPLES = Path(__file__).resolve().parents[1]

# What a busy machine may take to get somewhere; on an idle one nothing here takes a tenth of it.
PATIENCE_SECONDS = 30.0


def process(name: str, *argv: str, **environment: str) -> hf.ProcessNode:
    """A Python program that listens on a port of its own, and never outlives this one."""
    return hf.ProcessNode(
        [sys.executable, "-m", *argv, "--port", "{port}"],
        name=name,
        address="http://127.0.0.1:{port}",
        cwd=EXAMPLES,
        env={**os.environ, **environment},
        stderr=None if "--log" in sys.argv else subprocess.DEVNULL,
        stop_timeout=15.0,
    )


@dataclass(frozen=True)
class Seen:
    """What one client saw."""

    status: int
    seconds: float
    model: str
    reason: str
    retry_after: str | None


class Stage:
    """Two models, the service in front of them, and clients.

    Args:
        notice: Seconds for which the service drains at least, once it is told to stop.
    """

    def __init__(self, notice: float = 2.0) -> None:
        self.main = process("main", "predict_service.upstream")
        self.spare = process("spare", "predict_service.upstream")
        models = f"main={self.main.address} spare={self.spare.address}"
        self.service = process("service", "predict_service", "--notice", str(notice), PREDICT_MODELS=models)
        self.client = httpx.AsyncClient(
            base_url=self.service.address or "",
            timeout=PATIENCE_SECONDS,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )
        self.broken = 0

    async def ask(self, seconds: float | None = None) -> Seen:
        """One prediction, for a client that waits so long."""
        headers = {} if seconds is None else {"X-Timeout": str(seconds)}
        began = time.monotonic()
        answer = await self.client.post("/predict", json={"text": "I like this"}, headers=headers)
        took, body = time.monotonic() - began, answer.json()
        said = body.get("model", ""), body.get("reason", "")
        return Seen(answer.status_code, took, *said, answer.headers.get("Retry-After"))

    async def load(self, clients: int = 8, each: int = 5) -> list[Seen]:
        """Several clients, each of which asks again as soon as it has its answer."""

        async def one() -> list[Seen]:
            return [await self.ask() for _ in range(each)]

        return [seen for asked in await asyncio.gather(*(one() for _ in range(clients))) for seen in asked]

    async def faults(self, model: hf.ProcessNode, status: int | None = None, delay: float = 0.0) -> None:
        """Tells a model what goes wrong."""
        async with httpx.AsyncClient(trust_env=False) as client:
            told = {"status": status, "delay": delay}
            (await client.put(f"{model.address}/faults", json=told)).raise_for_status()

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200

    async def alive(self) -> bool:
        return (await self.client.get("/health/live")).status_code == 200

    async def metric(self, name: str) -> float:
        """A figure from the page that Prometheus would read."""
        page = (await self.client.get("/metrics")).text
        found = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(f"{name} ")]
        return float(found[0])

    async def answered_by(self, model: str) -> bool:
        return (await self.ask()).model == model

    def tell(self, scene: str, seen: list[Seen], *promised: int) -> None:
        """Prints what clients saw in a scene that promises the first of these answers, and none but these."""
        told = []
        for status, count in sorted(Counter(one.status for one in seen).items()):
            slowest = max(one.seconds for one in seen if one.status == status)
            told += [f"{status}: {count} within {slowest:.2f} s"]
        for model, count in sorted(Counter(one.model for one in seen if one.model).items()):
            told += [f"by {model}: {count}"]
        if waits := {one.retry_after for one in seen if one.retry_after}:
            told += [f"Retry-After: {' or '.join(sorted(waits))}"]
        statuses = {one.status for one in seen}
        kept = promised[0] in statuses and statuses <= set(promised)
        self.broken += not kept
        print(f"{scene:<44} {' · '.join(told)}{'' if kept else f'  (promised: {promised})'}", flush=True)

    def tell_whether(self, fact: str, true: bool) -> None:
        """Prints a fact that is promised."""
        self.broken += not true
        print(f"{'':<44} {fact}: {'yes' if true else 'NO'}", flush=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds.

    Raises:
        TimeoutError: It does not for too long.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 what it waits for is in other processes
            await asyncio.sleep(0.05)


async def play(stage: Stage) -> None:
    """The scenes, in order."""
    await until(stage.ready)
    stage.tell("all is well", await stage.load(), 200)

    await stage.faults(stage.main, status=503)
    stage.tell("main answers 503 to everything", await stage.load(), 200)
    stage.tell_whether("ready all the same", await stage.ready())

    await well_again(stage)
    await stage.faults(stage.main, status=422)
    stage.tell("main finds every question wrong", await stage.load(), 400)

    await stage.faults(stage.main, delay=60.0)
    stage.tell("main hangs", await stage.load(), 200)

    await stage.faults(stage.spare, delay=60.0)
    stage.tell("both hang, a client waits 0.3 s", [await stage.ask(seconds=0.3)], 504)
    await well_again(stage)

    await stage.faults(stage.main, status=500)
    await stage.faults(stage.spare, status=500)
    stage.tell("both answer 500 to everything", await stage.load(), 502, 503)
    await well_again(stage)

    await killed_and_started_again(stage)
    await more_than_it_can_take(stage)
    for name in ("calls", "failovers", "rejected", "outages", "recoveries", "crowded_out"):
        print(f"{'':<44} predict_{name}_total {await stage.metric(f'predict_{name}_total'):.0f}")
    await told_to_stop(stage)


async def well_again(stage: Stage) -> None:
    """Nothing goes wrong any more, and the service has found that out."""
    await stage.faults(stage.main)
    await stage.faults(stage.spare)
    await until(lambda: stage.answered_by("main"))


async def killed_and_started_again(stage: Stage) -> None:
    """Nothing is left to ask: the service says so at once, and goes on by itself when it can."""
    for model in (stage.main, stage.spare):
        assert model.pid is not None
        os.kill(model.pid, signal.SIGKILL)

    async def heartbeats_have_found_out() -> bool:
        page = (await stage.client.get("/health/ready")).json()
        return all("heartbeat" in why for why in page["models"].values())

    await until(heartbeats_have_found_out)
    stage.tell("both models are killed", await stage.load(), 503)
    stage.tell_whether("alive, and not ready", await stage.alive() and not await stage.ready())
    for model in (stage.main, stage.spare):
        await asyncio.to_thread(model.start)
    await until(stage.ready)
    await until(lambda: stage.answered_by("main"))
    stage.tell("both are started again", await stage.load(), 200)


async def more_than_it_can_take(stage: Stage) -> None:
    """Some are served, and the others learn at once that they are not."""
    await stage.faults(stage.main, delay=0.8)
    seen = await asyncio.gather(*(stage.ask() for _ in range(200)))
    stage.tell("200 at once, of 0.8 s each", seen, 200, 503)


async def told_to_stop(stage: Stage) -> None:
    """Those inside get their answers; those who come are sent away; then the process ends."""

    async def all_inside() -> bool:
        return await stage.metric("predict_requests_under_way") == 8

    await stage.faults(stage.main, delay=0.8)
    inside = [asyncio.create_task(stage.ask()) for _ in range(8)]
    await until(all_inside)
    assert stage.service.pid is not None
    os.kill(stage.service.pid, signal.SIGTERM)

    async def draining() -> bool:
        return bool((await stage.client.get("/health/ready")).json()["draining"])

    await until(draining)
    stage.tell("SIGTERM: those who come now", [await stage.ask() for _ in range(8)], 503)
    stage.tell("SIGTERM: those who were inside", await asyncio.gather(*inside), 200)

    async def gone() -> bool:
        return not stage.service.running

    await until(gone)
    stage.tell_whether("the process has ended", not stage.service.running)


async def main() -> int:
    stage = Stage()
    async with stage.client:
        with stage.main, stage.spare, stage.service:
            await play(stage)
    return 1 if stage.broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""Load, and workers that are killed under it: real queries over HTTP, real processes, real SIGKILLs."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

QUERIES = (
    "event loop",
    "parse a date",
    "compress a file",
    "regular expression",
    "random number",
    "open a url",
)
LOOK_EVERY_SECONDS = 0.02
PATIENCE_SECONDS = 30.0
CLIENT_PATIENCE_SECONDS = 10.0


@dataclass
class Tally:
    """What became of the queries so far."""

    whole: int = 0
    partial: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def queries(self) -> int:
        return self.whole + self.partial + len(self.failed)


class Load:
    """So many clients that ask without a pause, while `async with` lasts."""

    def __init__(self, url: str, clients: int = 8) -> None:
        self.tally = Tally()
        self._url = url
        self._clients = clients
        self._going_on = True
        self._tasks: list[asyncio.Task[None]] = []
        self._goal = 0
        self._reached = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._going_on = False
        await asyncio.gather(*self._tasks)

    def restart_tally(self) -> Tally:
        """The tally so far; a new one is begun."""
        old, self.tally = self.tally, Tally()
        return old

    async def queries(self, number: int) -> None:
        """Waits until so many more have been answered.

        Raises:
            TimeoutError: They were not within half a minute.
        """
        self._goal = self.tally.queries + number
        self._reached.clear()
        await asyncio.wait_for(self._reached.wait(), PATIENCE_SECONDS)

    async def _ask(self, number: int) -> None:
        async with httpx.AsyncClient(timeout=CLIENT_PATIENCE_SECONDS) as client:
            for query in itertools.islice(itertools.cycle(QUERIES), number, None):
                if not self._going_on:
                    return
                began = time.monotonic()
                try:
                    answer = await client.post(f"{self._url}/search", json={"query": query})
                    answer.raise_for_status()
                    self._count(answer.json())
                except httpx.HTTPError as error:
                    self.tally.failed.append(repr(error))
                self.tally.slowest = max(self.tally.slowest, time.monotonic() - began)
                if self.tally.queries >= self._goal:
                    self._reached.set()

    def _count(self, answer: dict[str, Any]) -> None:
        if not answer["results"]:
            self.tally.failed.append("an answer without results")
        elif answer["partial"]:
            self.tally.partial += 1
        else:
            self.tally.whole += 1


async def nodes(url: str) -> dict[str, dict[str, Any]]:
    """What the gateway thinks of each worker."""
    async with httpx.AsyncClient(timeout=CLIENT_PATIENCE_SECONDS) as client:
        found: dict[str, dict[str, Any]] = (await client.get(f"{url}/nodes")).json()
        return found


async def until(url: str, what: str, holds: Callable[[dict[str, dict[str, Any]]], bool]) -> float:
    """Waits until it holds of the workers; returns after how many seconds it did.

    Raises:
        TimeoutError: It did not within half a minute.
    """
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        if holds(await nodes(url)):
            return time.monotonic() - began
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    raise TimeoutError(f"never: {what}")


def kill(pid: int, index: Path, damage: str) -> None:
    """Kills a worker, and does something to its disk in the moment before.

    It is stopped first, so that it answers nothing from what has been done to its index.
    """
    os.kill(pid, signal.SIGSTOP)
    if damage == "lost":
        index.unlink()
    elif damage == "damaged":
        content = bytearray(index.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 512] = bytes(512)
        index.write_bytes(content)
    os.kill(pid, signal.SIGKILL)


async def kill_and_wait(url: str, name: str, index: Path, damage: str) -> float:
    """Kills the worker; returns how many seconds later it serves again, as another process."""
    pid = (await nodes(url))[name]["pid"]
    kill(pid, index, damage)
    return await until(
        url,
        f"{name} serves again",
        lambda found: found[name]["ready"] and found[name]["pid"] not in (None, pid),
    )

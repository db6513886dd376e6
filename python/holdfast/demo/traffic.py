"""Callers in threads and in an event loop, and what became of their calls."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

# Seconds between two calls of one caller: steady traffic, not a benchmark.
_PAUSE = 0.02
_JOIN_SECONDS = 15.0


@dataclass
class Tally:
    """What became of the calls so far."""

    sync_calls: int = 0
    async_calls: int = 0
    failed_over: int = 0
    answered_by: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    # When each call ended, and who answered it; nobody if it failed.
    ends: list[tuple[datetime, str | None]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """All calls that have ended."""
        return self.sync_calls + self.async_calls


class Traffic:
    """Calls a chat model from `callers` threads and as many tasks of one event loop, until stopped."""

    def __init__(self, model: Any, callers: int = 3) -> None:
        self._model = model
        self._callers = callers
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._tally = Tally()
        threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(callers)]
        self._threads = [*threads, threading.Thread(target=self._run_loop, daemon=True)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    @property
    def stuck(self) -> bool:
        """Is a caller still busy although it was told to stop?"""
        return self._stop.is_set() and any(thread.is_alive() for thread in self._threads)

    def tally(self) -> Tally:
        """A copy of the counts."""
        with self._lock:
            now = self._tally
            return Tally(
                now.sync_calls,
                now.async_calls,
                now.failed_over,
                Counter(now.answered_by),
                list(now.errors),
                list(now.ends),
            )

    def _call(self, caller: int) -> None:
        number = 0
        while not self._stop.wait(_PAUSE):
            number += 1
            try:
                answer = self._model.invoke(f"question {number} of thread {caller}")
            except Exception as error:  # noqa: BLE001 every failure is counted
                self._note("sync_calls", None, error)
            else:
                self._note("sync_calls", answer, None)

    def _run_loop(self) -> None:
        asyncio.run(self._call_together())

    async def _call_together(self) -> None:
        await asyncio.gather(*(self._acall(n) for n in range(self._callers)))

    async def _acall(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set():
            await asyncio.sleep(_PAUSE)
            number += 1
            try:
                answer = await self._model.ainvoke(f"question {number} of task {caller}")
            except Exception as error:  # noqa: BLE001 every failure is counted
                self._note("async_calls", None, error)
            else:
                self._note("async_calls", answer, None)

    def _note(self, kind: str, answer: Any, error: Exception | None) -> None:
        with self._lock:
            setattr(self._tally, kind, getattr(self._tally, kind) + 1)
            facts = {} if answer is None else answer.response_metadata["holdfast"]
            self._tally.ends.append((datetime.now(UTC), facts.get("node")))
            if error is not None:
                self._tally.errors.append(f"{type(error).__name__}: {error}")
                return
            self._tally.answered_by[facts["node"]] += 1
            self._tally.failed_over += facts["attempts"] > 1

"""Calls that begin when we say and end as we say, in threads for sync breakers and in tasks for async ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

PATIENCE = 1.0
"""Seconds in which a call must have entered the user's function, or been refused."""


class Held:
    """A guarded call under way: ``admitted`` says whether the user's function was entered."""

    def __init__(self) -> None:
        self.entered = False
        self.done = False
        self.raised: BaseException | None = None
        self.value: Any = None

    @property
    def admitted(self) -> bool:
        return self.entered

    async def _until(self, what: str) -> bool:
        limit = time.monotonic() + PATIENCE
        while not (self.entered or self.done if what == "begun" else self.done):
            if time.monotonic() > limit:
                return False
            await asyncio.sleep(0.001)
        return True


class InThread(Held):
    """The user's function blocks its thread until it is told how to end."""

    def __init__(self, subject: Any) -> None:
        super().__init__()
        self._go = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(subject,), daemon=True)
        self._thread.start()

    def _run(self, subject: Any) -> None:
        try:
            self.value = subject.call(self._user)
        except BaseException as error:  # noqa: BLE001 it is what we came to see
            self.raised = error
        self.done = True

    def _user(self) -> str:
        self.entered = True
        self._go.wait()
        if self._error is not None:
            raise self._error
        return "answer"

    async def end(self, error: BaseException | None = None) -> None:
        self._error = error
        self._go.set()
        await self._until("done")


class InTask(Held):
    """The user's coroutine awaits a future until it is told how to end."""

    def __init__(self, subject: Any) -> None:
        super().__init__()
        self._go: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._run(subject))

    async def _run(self, subject: Any) -> None:
        try:
            self.value = await subject.acall(self._user)
        except asyncio.CancelledError as error:
            self.raised = error
        except Exception as error:  # noqa: BLE001 it is what we came to see
            self.raised = error
        self.done = True

    async def _user(self) -> str:
        self.entered = True
        await self._go
        return "answer"

    async def end(self, error: BaseException | None = None) -> None:
        if not self._go.done():
            if error is None:
                self._go.set_result(None)
            else:
                self._go.set_exception(error)
        await self._until("done")

    async def cancel(self) -> None:
        self._task.cancel()
        await self._until("done")


class World:
    """One breaker, used in the form that fits it."""

    def __init__(self, adapter: Any, *, threads: bool = False, **settings: Any) -> None:
        self.adapter = adapter
        self.is_async = adapter.is_async and not (threads and adapter.is_sync)
        self._settings = settings
        self.subject: Any = None
        #: A call that nobody refers to would be collected, and so end.
        self._under_way: list[Held] = []

    async def __aenter__(self) -> World:
        made = self.adapter.make(**self._settings)
        self.subject = await made if asyncio.iscoroutine(made) else made
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def begin(self) -> Held:
        """Begins a call and waits until it has been admitted or refused."""
        held: Held = InTask(self.subject) if self.is_async else InThread(self.subject)
        self._under_way.append(held)
        await held._until("begun")
        return held

    async def call(self, error: BaseException | None = None) -> Held:
        """A call that ends at once."""
        held = await self.begin()
        await held.end(error)  # type: ignore[attr-defined]
        return held

    async def here(self, error: BaseException) -> BaseException | None:
        """A failing call in this very thread and task, for errors that would end another."""
        try:
            if self.is_async:

                async def failing() -> None:
                    raise error

                await self.subject.acall(failing)
            else:

                def failing_here() -> None:
                    raise error

                self.subject.call(failing_here)
        except BaseException as raised:  # noqa: BLE001 it is what we came to see
            return raised
        return None

    async def stream(self, items: int, error: BaseException | None, take: int) -> BaseException | None:
        """Takes ``take`` items of a guarded stream of ``items`` that ends with ``error``, then closes it."""
        if self.is_async:

            async def source() -> Any:
                for n in range(items):
                    yield n
                if error is not None:
                    raise error

            try:
                stream = self.subject.astream(source)
                for _ in range(take):
                    await anext(stream)
            except StopAsyncIteration:
                return None
            except BaseException as raised:  # noqa: BLE001 it is what we came to see
                return raised
            await stream.aclose()
            return None

        def sync_source() -> Any:
            yield from range(items)
            if error is not None:
                raise error

        try:
            generator = self.subject.stream(sync_source)
            for _ in range(take):
                next(generator)
        except StopIteration:
            return None
        except BaseException as raised:  # noqa: BLE001 it is what we came to see
            return raised
        with contextlib.suppress(RuntimeError):
            generator.close()
        return None

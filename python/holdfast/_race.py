"""The drivers of calls that may have several attempts under way at once: tasks in asyncio, else threads.

They decide nothing: what is to be done next the native `Race` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable
    from queue import SimpleQueue

    from holdfast import _native

    Told = tuple[str, int]

_LOOK = 0.005
"""Seconds between two looks at a clock that is moved by hand."""
_LONGEST = 0.5
"""Seconds that a thread waits at a stretch, so that a clock moved by hand meanwhile is noticed."""


# ---- tasks ----


async def arun(race: _native.Race) -> Any:
    """Carries one call to its end in tasks."""
    try:
        kind, number = race.start()
        while True:
            if kind == "attempt":
                kind, number = await _aheat(race, number)
            elif kind == "sleep":
                await race.asleep()
                kind, number = race.wake()
            elif kind == "ask":
                kind, number = race.ask(number)
            else:
                value, awaitable = race.aanswer()
                return value if awaitable is None else await awaitable
    finally:
        race.abandon()


async def _aheat(race: _native.Race, first: int) -> Told:
    """Runs attempts side by side until one of them, or the last, decides."""
    import asyncio

    tasks: dict[asyncio.Task[Any], int] = {}

    def begin(numbers: Iterable[int]) -> None:
        for number in numbers:
            tasks[asyncio.create_task(_one(race, number))] = number

    decided = False
    try:
        begin([first])
        begin(race.replicate())
        while True:
            told = await _aturn(race, tasks)
            if told is not None:
                decided = True
                return told
            hedge = race.hedge()
            if hedge is not None:
                begin([hedge])
    finally:
        await _give_up(tasks, wait=not decided)


async def _aturn(race: _native.Race, tasks: dict[asyncio.Task[Any], int]) -> Told | None:
    """Waits for an attempt's end or a clock, and reports what came; the next step, if the race is decided."""
    import asyncio

    rest = race.rest()
    timer = None if rest is None else asyncio.ensure_future(_rest(rest))
    waiting: set[asyncio.Future[Any]] = {*tasks} if timer is None else {*tasks, timer}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if timer is not None:
            timer.cancel()
    # Successes first: of two that ended together the good one wins. Then in the order they were begun.
    ended = sorted((task for task in tasks if task.done()), key=_failed)
    for task in ended:
        number = tasks.pop(task)
        told = _reported(race, number, task)
        if told is not None:
            return told
    for number in race.expired():
        task = next(task for task, other in tasks.items() if other == number)
        del tasks[task]
        await _give_up([task], wait=False)
        told = race.expire(number)
        if told is not None:
            return told
    return None


async def _one(race: _native.Race, number: int) -> Any:
    return await race.attempt(number)


async def _rest(rest: _native.Rest) -> None:
    await rest


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


def _reported(race: _native.Race, number: int, task: asyncio.Task[Any]) -> Told | None:
    import asyncio

    if task.cancelled():
        return race.fail(number, asyncio.CancelledError())
    error = task.exception()
    return race.succeed(number, task.result()) if error is None else race.fail(number, error)


async def _give_up(tasks: Iterable[asyncio.Task[Any]], *, wait: bool) -> None:
    """Cancels what is still under way. A winner does not wait for it; a caller who is cancelled does."""
    import asyncio

    under_way = [task for task in tasks if not task.done()]
    for task in under_way:
        task.add_done_callback(_forget)
        task.cancel()
    if wait and under_way:
        await asyncio.wait(under_way)


def _forget(task: asyncio.Task[Any]) -> None:
    """What a loser raised on its way out is nobody's business."""
    if not task.cancelled():
        task.exception()


# ---- threads ----


def run(race: _native.Race) -> Any:
    """Carries one call to its end in threads."""
    try:
        kind, number = race.start()
        while True:
            if kind == "attempt":
                kind, number = _heat(race, number)
            elif kind == "sleep":
                race.sleep()
                kind, number = race.wake()
            elif kind == "ask":
                kind, number = race.ask(number)
            else:
                return race.answer()
    finally:
        race.abandon()


def _heat(race: _native.Race, first: int) -> Told:
    import queue

    ended: SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    try:
        _begin(race, first, ended)
        for number in race.replicate():
            _begin(race, number, ended)
        while True:
            told = _turn(race, ended)
            if told is not None:
                return told
            hedge = race.hedge()
            if hedge is not None:
                _begin(race, hedge, ended)
    finally:
        # Threads cannot be cancelled. A loser runs on to its end, unless its transport can be cut.
        race.cut()


def _turn(race: _native.Race, ended: SimpleQueue[tuple[int, Any, BaseException | None]]) -> Told | None:
    import queue

    try:
        number, value, error = ended.get(timeout=_patience(race))
    except queue.Empty:
        pass
    else:
        return race.succeed(number, value) if error is None else race.fail(number, error)
    for number in race.expired():
        told = race.expire(number)
        if told is not None:
            return told
    return None


def _patience(race: _native.Race) -> float:
    from holdfast import _native

    due = race.patience()
    if _native.is_clock_manual():
        return _LOOK
    return _LONGEST if due is None else min(due, _LONGEST)


def _begin(
    race: _native.Race, number: int, ended: SimpleQueue[tuple[int, Any, BaseException | None]]
) -> None:
    import contextvars
    import threading

    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(race.attempt, number)
        except BaseException as error:  # noqa: BLE001 it is raised, or judged, in the caller's thread
            ended.put((number, None, error))
        else:
            ended.put((number, value, None))

    # A daemon: a loser that never ends must not keep the process.
    threading.Thread(target=work, name=f"holdfast-attempt-{number}", daemon=True).start()

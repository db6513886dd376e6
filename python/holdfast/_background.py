"""What runs the user's own code in the background: probes, restarts, and listeners that are coroutines.

==================  ============================================================================================
``holdfast-errands``  waits in native code with the GIL released, and hands out; it never runs user code itself
``holdfast-work``     a few threads, made when needed, for functions: one that blocks holds up nobody else
``holdfast-loop``     an event loop for coroutines of managers that no loop has entered
==================  ============================================================================================

All are daemons, made at the first need and remade after a fork. Coroutines of a manager that was entered by
``async with`` run on the loop that entered it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import logging
import os
import queue
import threading

from holdfast import _native

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine
    from typing import Any

    from holdfast._home import Home

MOST_WORKERS = 32
"""Threads for functions that block; a task that finds none free is not begun, which tells nothing of a node."""

_IDLE_SECONDS = 30.0
_STOP_SECONDS = 1.0

_changing = threading.RLock()
_taker: threading.Thread | None = None
_stopped = False


class Task:
    """Something of the user's that is done for one node, at most once at a time.

    Called by the thread that takes errands; it begins the work elsewhere and returns at once.
    """

    __slots__ = ("_argument", "_at", "_busy", "_function", "_home", "_is_async", "_running")

    def __init__(self, function: Callable[[Any], Any], argument: Any, home: Home) -> None:
        self._function = function
        self._argument = argument
        self._home = home
        self._is_async = is_async(function)
        self._busy = False
        self._at: AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None

    def __call__(self, order: _native.Order) -> None:
        match order.what:
            case "do" if self._is_async:
                self._send(order)
            case "do" if self._busy:
                order.done("timeout")  # of the time before: it has not come back yet
            case "do":
                self._busy = True
                _workers.submit(self._work, order)
            case "look" if self._is_async:
                self._loop().call_soon_threadsafe(order.awake)
            case "look":
                order.awake()
            case "stop" if self._at is not None:
                # A loop that is closed has nothing left to cancel.
                with contextlib.suppress(RuntimeError):
                    self._at.call_soon_threadsafe(self._cancel)

    def _loop(self) -> AbstractEventLoop:
        return self._home.loop or _own_loop.get()

    def _work(self, order: _native.Order) -> None:
        order.begun()
        try:
            answer = self._function(self._argument)
        except BaseException as error:  # noqa: BLE001 even `sys.exit()`: the thread is ours
            order.done(type(error).__name__)
        else:
            if inspect.iscoroutine(answer):  # a plain function that hands out a coroutine
                self._is_async = True
                try:
                    self._send(order, answer)
                except RuntimeError:  # the loop has been closed
                    answer.close()
                    order.done("timeout")
            else:
                order.done(problem_of(answer))
        finally:
            self._busy = False

    def _send(self, order: _native.Order, work: Coroutine[Any, Any, Any] | None = None) -> None:
        self._at = self._loop()
        self._at.call_soon_threadsafe(self._begin, order, work)

    def _begin(self, order: _native.Order, work: Coroutine[Any, Any, Any] | None) -> None:
        # On the loop itself: a coroutine that is on its way to a loop that ends would never be awaited.
        self._running = asyncio.get_running_loop().create_task(self._await(order, work))

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _await(self, order: _native.Order, work: Coroutine[Any, Any, Any] | None) -> None:
        order.begun()
        try:
            answer = await (self._function(self._argument) if work is None else work)
        except Exception as error:  # noqa: BLE001 its name is all that is told
            order.done(type(error).__name__)
        else:
            order.done(problem_of(answer))


def is_async(function: object) -> bool:
    """Is it a coroutine function, or an object called like one?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 its colour is asked, not whether it is there
    )


def problem_of(answer: object) -> str | None:
    """Why the answer is no sign of life, if so: it is ``False``, or false like a response that failed."""
    return None if answer is None or answer else "answered no"


class _Workers:
    """Daemon threads for functions: made when all are busy, gone when idle for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self._threads = 0
        self._load = 0

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        with self._lock:
            self._load += 1
            self._waiting.put((function, args))
            if self._load <= self._threads or self._threads == MOST_WORKERS:
                return
            self._threads += 1
        threading.Thread(target=self._run, name="holdfast-work", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                function, args = self._waiting.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._threads -= 1
                        return
                continue
            try:
                function(*args)
            except Exception:  # only ours can get here: the user's are caught where they are called
                logging.getLogger("holdfast").exception("a background task failed")
            with self._lock:
                self._load -= 1
            del function, args


class _OwnLoop:
    """An event loop on a thread of its own, started at the first need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="holdfast-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _run(loop: AbstractEventLoop) -> None:
        loop.run_forever()
        # What was on its way here is begun, and then ended like the rest.
        loop.run_until_complete(asyncio.sleep(0))
        if pending := asyncio.all_tasks(loop):
            for task in pending:
                task.cancel()
            loop.run_until_complete(asyncio.wait(pending, timeout=_STOP_SECONDS))
        loop.close()

    def stop(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_SECONDS)


_workers = _Workers()
_own_loop = _OwnLoop()


def ensure_thread() -> None:
    """Starts the thread that takes errands, unless it runs. The native side calls it at the first need."""
    global _taker
    with _changing:
        if _stopped or (_taker is not None and _taker.is_alive()):
            return
        _taker = threading.Thread(target=_take_all, name="holdfast-errands", daemon=True)
        _taker.start()


def _take_all() -> None:
    """The thread's life: it waits in native code with the GIL released."""
    while (errands := _native.take_errands()) is not None:
        for task, order in errands:
            _hand_out(task, order)
        del errands, task, order  # not to be kept alive by a thread that waits


def _hand_out(task: Callable[[_native.Order], None], order: _native.Order) -> None:
    try:
        task(order)
    except Exception as error:  # a loop that closed meanwhile, or no thread to be had
        order.done(type(error).__name__)
        logging.getLogger("holdfast").exception("a background task could not be begun")


def _stop() -> None:
    """Ends the threads that can be ended; what blocks in the user's code is left to the interpreter's exit."""
    global _stopped
    _stopped = True
    _native.close_errands()
    if _taker is not None:
        _taker.join(_STOP_SECONDS)
    _own_loop.stop()


def _in_child() -> None:
    global _changing, _taker, _workers, _own_loop
    _changing = threading.RLock()
    _taker = None
    _workers, _own_loop = _Workers(), _OwnLoop()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

"""A process of ours: started, watched and stopped here.

The process never outlives this one, however that ends:

=========  ===================================================================================================
Linux      the kernel kills it (``PR_SET_PDEATHSIG``), set by a step of Python that then becomes the program
elsewhere  a keeper process holds a pipe to this one, and kills the program when it closes
=========  ===================================================================================================

Besides, an exit handler stops it, with whatever it has started in its process group.
"""

from __future__ import annotations

import atexit
import os
import queue
import signal
import subprocess
import sys
import threading

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# Runs before the program, in the program's process. The signal is bound to the *thread* that started it, hence
# the one spawning thread below; if the parent died before the call, the second look notices.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""

# Runs beside the program where the kernel has no such signal.
_KEEPER = """
import os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
os.write(1, b"%d\\n" % child.pid)
def hold():
    while sys.stdin.buffer.read(1):
        pass
    child.kill()
threading.Thread(target=hold, daemon=True).start()
sys.exit(abs(child.wait()))
"""

_EXIT_SECONDS = 2.0


class Child:
    """The process of a node, while there is one."""

    def __init__(self, argv: Sequence[str], streams: dict[str, Any], patience: float) -> None:
        self.changing = threading.RLock()
        self.tell: Callable[[str], None] | None = None
        self.last_end = "was not started"
        self._argv = argv
        self._streams = streams
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._owner = 0
        self._expected = False

    @property
    def pid(self) -> int | None:
        child = self._child
        ours = child is not None and self._owner == os.getpid()  # a forked child has none of its parent's
        return self._pid if ours and child is not None and child.poll() is None else None

    def start(self) -> None:
        self._expected = False
        self._owner = os.getpid()
        child = _spawner.run(lambda: _spawn(self._argv, self._streams))
        self._child, self._pid = child, child.pid
        if child.stdin is not None:  # a keeper: it says whom it keeps
            assert child.stdout is not None
            self._pid = int(child.stdout.readline() or child.pid)
        _running.add(self)
        watch = threading.Thread(target=self._watch, args=(child,), name="holdfast-process", daemon=True)
        watch.start()

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        self.last_end = f"was ended by {_signal(-code)}" if code < 0 else f"ended with code {code}"
        if self._child is child and not self._expected and self.tell is not None:
            self.tell(self.last_end)

    def stop(self, patience: float | None = None) -> None:
        child, self._expected = self._child, True
        if child is None or self._owner != os.getpid():
            return
        if child.poll() is None:
            if child.stdin is not None:
                child.stdin.close()
            _signal_group(child, signal.SIGTERM)
            try:
                child.wait(self._patience if patience is None else patience)
            except subprocess.TimeoutExpired:
                _signal_group(child, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
                child.wait()
        # What it had started may have stayed behind in its group.
        _signal_group(child, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        for pipe in (child.stdin, child.stdout) if child.stdin is not None else ():
            if pipe is not None:
                pipe.close()
        self._child = None
        _running.discard(self)


def _spawn(
    argv: Sequence[str], streams: dict[str, Any], leash: bool | None = None
) -> subprocess.Popen[bytes]:
    if leash is None:
        leash = sys.platform == "linux"
    python = [sys.executable, "-I", "-S", "-c"]
    if leash:
        command = [*python, _LEASH, str(os.getpid()), *argv]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **streams)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([*python, _KEEPER, *argv], start_new_session=True, **{**streams, **pipes})


class _Spawner:
    """One thread that starts all processes, and lives as long as this process does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    def run(self, spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="holdfast-spawner", daemon=True)
                self._thread.start()
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._orders.put((spawn, answer))
        made = answer.get()
        if isinstance(made, BaseException):
            raise made
        child: subprocess.Popen[bytes] = made
        return child

    def _live(self) -> None:
        while True:
            spawn, answer = self._orders.get()
            try:
                answer.put(spawn())
            except BaseException as error:  # noqa: BLE001 raised where it was ordered
                answer.put(error)


_spawner = _Spawner()
_running: set[Child] = set()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
    except (ProcessLookupError, PermissionError):  # it has ended, and nobody of its group is left
        return


def _stop_all() -> None:
    for process in list(_running):
        process.stop(_EXIT_SECONDS)


def _in_child() -> None:
    global _spawner
    _spawner = _Spawner()
    _running.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

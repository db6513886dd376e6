"""A node that is a process of ours: its description, and how it is started, stopped and reached."""

from __future__ import annotations

import os
import weakref

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._node import Node, no_target

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn, Self

    from holdfast._child import Child
    from holdfast._limits import AdaptiveLimit, Bulkhead, RateLimit
    from holdfast._node import Heartbeat

_POLL_SECONDS = 0.02


class ProcessNode(Node):
    """A node whose process is ours: it is started with its manager, watched, restarted when it ends, and stopped.

    ``with manager:`` (or ``manager.start()``) starts it and waits until it can be reached; ``manager.stop()``
    stops it. When it ends by itself its node is marked failed at once, and it is started again as the manager's
    ``recovery=`` says, or as ``hf.Restart()`` does. It never outlives this process.

    Args:
        argv: The program and its arguments. ``"{port}"`` in them, and in ``address``, becomes a free port.
        name: Its name, unique in its manager. ``None``: the program's.
        target: As in :class:`Node`; ``None``: usable through ``@manager``, which passes the node.
        address: Its origin, such as ``"http://127.0.0.1:{port}"``: it can be reached once this accepts
            connections. ``None``: it can be reached as soon as it runs.
        cwd: Its working directory; ``None``: ours.
        env: Its environment; ``None``: ours.
        start_timeout: Seconds it may take to be reached. 30.
        stop_timeout: Seconds it has to end after it was asked to, before it is killed. 5.
        stdout: Where its output goes, as ``subprocess`` reads it; ``None``: to ours.
        stderr: The same for its errors.
        weight: As in :class:`Node`.
        tier: As in :class:`Node`.
        heartbeat: As in :class:`Node`.
        domains: As in :class:`Node`.

    Raises:
        ConfigurationError: A field is not what it must be, or there is no such program.
    """

    __slots__ = (
        "argv", "cwd", "env", "start_timeout", "stop_timeout", "stdout", "stderr", "_process", "__weakref__",
    )  # fmt: skip

    argv: tuple[str, ...]
    cwd: str | None
    env: Mapping[str, str] | None
    start_timeout: float
    stop_timeout: float
    stdout: Any
    stderr: Any
    _process: Child

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        name: str | None = None,
        target: Any = None,
        address: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        start_timeout: float = 30.0,
        stop_timeout: float = 5.0,
        stdout: Any = None,
        stderr: Any = None,
        weight: float = 1.0,
        tier: int = 0,
        heartbeat: Heartbeat | bool | None = None,
        domains: Iterable[str] = (),
        bulkhead: Bulkhead | AdaptiveLimit | int | None = None,
        rate_limit: RateLimit | Sequence[RateLimit] | float | None = None,
    ) -> None:
        words = _words(argv)
        if any("{port}" in word for word in (*words, address or "")):
            port = str(_free_port())
            words = [word.replace("{port}", port) for word in words]
            address = None if address is None else address.replace("{port}", port)
        for field, seconds in (("start_timeout", start_timeout), ("stop_timeout", stop_timeout)):
            if isinstance(seconds, bool) or not isinstance(seconds, float | int) or seconds < 0:
                raise refuse(field, "be seconds, at least 0", seconds)
        if address is not None:
            _native.check_address(address)
        super().__init__(
            name or os.path.basename(words[0]),
            no_target if target is None else target,
            address=address,
            weight=weight,
            tier=tier,
            heartbeat=heartbeat,
            domains=domains,
            bulkhead=bulkhead,
            rate_limit=rate_limit,
        )
        self._set(
            argv=tuple(words),
            cwd=None if cwd is None else os.fspath(cwd),
            env=None if env is None else dict(env),
            start_timeout=float(start_timeout),
            stop_timeout=float(stop_timeout),
            stdout=stdout,
            stderr=stderr,
        )
        from holdfast._child import Child  # loads much that a program without processes has no use for

        streams = {"cwd": self.cwd, "env": self.env, "stdout": stdout, "stderr": stderr}
        self._set(_process=Child(self.argv, streams, self.stop_timeout))
        weakref.finalize(self, self._process.stop).atexit = False

    @property
    def pid(self) -> int | None:
        """The process id, or ``None`` while it does not run."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Does the process run?"""
        return self._process.pid is not None

    def start(self) -> Self:
        """Starts the process, unless it runs, and waits until it can be reached.

        Raises:
            RuntimeError: It ended before it could be reached.
            TimeoutError: It could not be reached within ``start_timeout``; it was stopped.
            OSError: The system did not start it.
        """
        with self._process.changing:
            if not self.running:
                self._process.start()
            try:
                self._wait_until_reached()
            except BaseException:
                self._process.stop()
                raise
        return self

    def stop(self) -> None:
        """Asks the process and what it has started to end, and kills them if they do not within ``stop_timeout``."""
        with self._process.changing:
            self._process.stop()

    def restart(self) -> None:
        """Stops the process, if it runs, and starts it again; errors as ``start`` does."""
        with self._process.changing:
            self._process.stop()
            self.start()

    _revive = restart  # what a recovery without a way of its own does

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _when_it_ends(self, tell: Callable[[str], None]) -> None:
        """``tell`` is called with a few words when the process ends and nobody has asked it to."""
        self._process.tell = tell

    def _retargeted(self, target: Any) -> Self:
        """The same node and process, with another target."""
        made: Self = object.__new__(type(self))
        for slot in (*Node.__slots__, *ProcessNode.__slots__):
            if slot != "__weakref__":
                object.__setattr__(made, slot, getattr(self, slot))
        object.__setattr__(made, "target", target)
        return made

    def _wait_until_reached(self) -> None:
        import time

        deadline = time.monotonic() + self.start_timeout
        while True:
            if not self.running:
                raise RuntimeError(
                    f"process {self.name!r} {self._process.last_end} before it could be reached"
                )
            if self.address is None or _native.ask(("tcp", self.address), 1.0):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"process {self.name!r} could not be reached within {self.start_timeout} s"
                )
            time.sleep(_POLL_SECONDS)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a ProcessNode has a process and cannot be pickled: make it where it is used")

    def __repr__(self) -> str:
        # Arguments may hold a key.
        state = f"pid {self.pid}" if self.running else "not running"
        return f"ProcessNode({self.name!r}, {os.path.basename(self.argv[0])!r}, {state})"


def _words(argv: object) -> list[str]:
    import shutil

    rule = "be the program and its arguments, such as ['llama-server', '--port', '{port}']"
    if isinstance(argv, str | bytes):
        raise refuse("argv", rule, argv)
    try:
        words = [os.fspath(word) for word in argv]  # type: ignore[attr-defined]
    except TypeError:
        raise refuse("argv", rule, argv) from None
    if not words or not all(isinstance(word, str) for word in words):
        raise refuse("argv", rule, argv)
    if shutil.which(words[0]) is None:
        raise refuse("argv", "begin with a program that can be found and run", words[0])
    return words


def _free_port() -> int:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

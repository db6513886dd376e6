"""The local server as a child process, so that it can be killed for real."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from typing import Any, Self

# A cold interpreter on a busy machine needs a second or two; beyond this something is wrong.
START_SECONDS = 20.0
STOP_SECONDS = 5.0


class ServerProcess:
    """A local server in a process of its own, which dies with this one.

    The child reads its standard input, a pipe held by this process alone, and leaves when it closes. That
    holds on every platform and however this process ends, SIGKILL included.

    Args:
        name: What the server calls itself in its answers.
        options: Further command line options, such as `"--status", "503"`.

    Raises:
        RuntimeError: The child did not come up within 20 s.
    """

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.port = 0
        self._options = options
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while it does not run."""
        return self._child.pid if self._child is not None else None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as `Node(address=…)` wants them."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants as its `base_url`."""
        return f"{self.origin}/v1"

    def start(self) -> Self:
        """Starts it and waits until it can be called; a server that ran before gets its old port again."""
        if self._child is not None:
            raise RuntimeError(f"server {self.name!r} is already running")
        command = [sys.executable, "-m", "holdfast._localserver"]
        command += ["--name", self.name, "--port", str(self.port), *self._options]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.port = self._ready_line(self._child)["port"]
        return self

    def kill(self) -> None:
        """Kills it with SIGKILL: no goodbye, connections just break."""
        if self._child is not None:
            self._child.kill()
            self._reap(self._child)
            self._child = None

    def stop(self) -> None:
        """Closes its standard input, which ends it; kills it if it will not go."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        self._reap(child)

    def completions(self) -> int:
        """How many completion requests have reached it since it started."""
        with urllib.request.urlopen(f"{self.origin}/requests", timeout=5.0) as answer:
            return int(json.load(answer)["completions"])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _ready_line(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The one line that the child prints once it listens."""
        line = _read_line(child)
        if not line:
            child.kill()
            _, complaint = child.communicate()
            self._child = None
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"server {self.name!r} did not start: {' '.join(last) or 'no answer'}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    @staticmethod
    def _reap(child: subprocess.Popen[bytes]) -> None:
        child.wait(STOP_SECONDS)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def _read_line(child: subprocess.Popen[bytes]) -> bytes:
    """One line of the child's output; empty if it ended or took too long.

    A timer that kills the child ends the wait: unlike `select`, that also works for pipes on Windows.
    """
    assert child.stdout is not None
    timer = threading.Timer(START_SECONDS, child.kill)
    timer.start()
    try:
        return child.stdout.readline()
    finally:
        timer.cancel()

"""The interpreter exits cleanly and soon, whatever of ours is alive at that moment."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

START = """
import asyncio, http.server, logging, threading, time, sys
import holdfast as hf

logging.getLogger("holdfast").addHandler(logging.NullHandler())  # else the last resort writes to stderr

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.002)
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass

class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args): pass  # from 3.12 on it can start no thread during the exit, and would say so

server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
manager = hf.FailoverManager(
    [hf.Node("a", lambda: "a", address=f"http://127.0.0.1:{server.server_address[1]}")],
    heartbeat=hf.Heartbeat(0.002, timeout=1, probe=hf.HttpProbe("/")))
heard = []
manager.subscribe(heard.append)
hf.subscribe(lambda event: heard.append(event.kind))
breaker = hf.CircuitBreaker(failure_threshold=1)
"""

ENDINGS = {
    "a live heartbeat": "assert manager.call() == 'a'",
    "a queue full of events": "for _ in range(2000): breaker.force_open(); breaker.reset()",
    "a listener that is busy": "breaker.subscribe(lambda e: time.sleep(0.05)); breaker.force_open()",
    "a thread in its back-off": (
        "def fail(): raise ConnectionError\n"
        "call = hf.Retry(2, backoff=hf.constant(60)).call\n"
        "threading.Thread(target=call, args=(fail,), daemon=True).start(); time.sleep(0.05)"
    ),
    "half-read streams": (
        "manager.call()\n"
        "def items(): yield 1; yield 2\n"
        "kept = breaker(items)(); next(kept)\n"
        "async def aitems():\n    yield 1\n    yield 2\n"
        "astream = breaker(aitems)()\n"
        "async def main(): await anext(astream)\n"
        "asyncio.run(main())"
    ),
    "an exception on its way": "manager.call(); sys.exit(0)",
    "an exit from a thread's point of view": (
        "threading.Thread(target=lambda: [manager.call() for _ in range(500)]).start()"
    ),
    "an async listener": (
        "async def listen(event): await asyncio.sleep(0)\n"
        "manager.subscribe(listen); breaker.subscribe(listen); breaker.force_open()"
    ),
    "an event during the exit": "import atexit; atexit.register(breaker.force_open); manager.call()",
    "an event after the exit began, and nobody listening yet": None,
}


LATE = """
import atexit, logging, holdfast as hf
logging.getLogger("holdfast").addHandler(logging.NullHandler())
atexit.register(hf.CircuitBreaker().force_open)
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_exits_cleanly(ending: str) -> None:
    """Exit code 0, nothing on standard error, and no wait for anything of ours."""
    code = ENDINGS[ending]
    script = LATE if code is None else START + code
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 10


def test_ten_exits_with_a_live_heartbeat_and_listeners_are_clean() -> None:
    """What may happen once in ten times is not seen in ten runs side by side either."""
    script = START + "deadline = time.monotonic() + 0.1\nwhile time.monotonic() < deadline: manager.call()"
    children = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", script], stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    ends = []
    for child in children:
        _, complaint = child.communicate(timeout=50)
        ends.append((child.returncode, complaint))
    assert ends == [(0, "")] * 10


def test_what_was_told_just_before_the_exit_is_heard() -> None:
    """Events posted by the last statement reach their listeners before the process ends."""
    script = (
        "import holdfast as hf\n"
        "breaker = hf.CircuitBreaker()\n"
        "breaker.subscribe(lambda event: print(event.kind, flush=True))\n"
        "breaker.force_open()\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "circuit_opened\n"
    assert done.stderr.count("circuit opened") == 1  # the log's last resort
    assert time.monotonic() - began < 1.9, "the exit waited for a thread that waited for it"

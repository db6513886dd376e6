"""R2: a forked child has everything anew, and the parent goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMON = '''
import http.server, logging, os, sys, threading, time
import holdfast as hf

logging.getLogger("holdfast").addHandler(logging.NullHandler())  # else the last resort writes to stderr

hits = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        hits.append(time.monotonic())
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass

def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server.server_address[1]

def until(condition, what, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            print("never:", what, flush=True)
            os._exit(3)
        time.sleep(0.005)

def in_child(work):
    """Runs `work` in a fork; fails if it does not end well within 20 s."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, status
            return
        time.sleep(0.005)
    os.kill(pid, 9)
    raise SystemExit("the child hangs")

def beating(port, interval=0.02):
    return hf.FailoverManager(
        [hf.Node("a", lambda: "a", address=f"http://127.0.0.1:{port}")],
        heartbeat=hf.Heartbeat(interval, timeout=5, jitter=0, failure_threshold=1, recovery_threshold=1,
                               probe=hf.HttpProbe("/")))
'''


def run(code: str, *, wait: float = 60) -> str:
    # From Python 3.12 on a fork with threads about is warned of; here it is the point.
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", COMMON + code],
        capture_output=True,
        text=True,
        timeout=wait,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_r2_the_childs_heartbeat_starts_when_it_is_used_and_the_parents_goes_on() -> None:
    """The child asks nobody until its first call, then beats by itself; the parent never stops."""
    out = run("""
port = serve()
manager = beating(port)
ask = manager(lambda node: node.name)
assert ask() == "a"
until(lambda: len(hits) > 3, "the parent beats")

manager.stop()   # so that the hits counted below are the child's own
time.sleep(0.1)
before = len(hits)
ready_r, ready_w = os.pipe()
def child():
    assert manager.nodes["a"].in_flight == 0
    assert ask() == "a"
    # The server is the parent's: its handler thread counts there. The child sees its own beats by readiness.
    manager.report("a", ok=False)
    manager.report("a", ok=True)
    assert manager.wait_ready(timeout=10)
    time.sleep(0.3)
in_child(child)
assert len(hits) - before >= 3, "the child never asked"

assert ask() == "a"
now = len(hits)
until(lambda: len(hits) > now + 3, "the parent beats again")
print("fine")
""")
    assert out == "fine\n"


def test_r2_a_fork_with_a_live_heartbeat_neither_hangs_nor_stops_it() -> None:
    """Twenty forks while a fast heartbeat runs and threads call: no child hangs, the parent beats on."""
    out = run("""
port = serve()
manager = beating(port, 0.005)
breaker = hf.CircuitBreaker(failure_threshold=3, open_timeout=0.001)
manager.start()
until(lambda: len(hits) > 3, "the parent beats")
stop = threading.Event()
def load():
    while not stop.is_set():
        manager.call()
        try: breaker.call(lambda: 1 / 0)
        except (ZeroDivisionError, hf.CircuitOpen): pass
threads = [threading.Thread(target=load, daemon=True) for _ in range(2)]
for thread in threads: thread.start()
def child():
    assert manager.call() == "a"
    breaker.reset()
    assert breaker.call(lambda: "well") == "well"
for _ in range(20):
    in_child(child)
stop.set()
for thread in threads: thread.join()
now = len(hits)
until(lambda: len(hits) > now + 3, "the parent beats on")
print("fine")
""")
    assert out == "fine\n"


def test_r2_listeners_are_inherited_and_hear_the_childs_own_events() -> None:
    """In the child a listener hears what happens there, from its first event on, and nothing of the parent's."""
    out = run("""
heard = []
breaker = hf.CircuitBreaker("b")
breaker.subscribe(lambda event: heard.append((event.kind, event.seq)))
for _ in range(5):
    breaker.force_open(); breaker.reset()
until(lambda: len(heard) == 10, "the parent hears")
def child():
    del heard[:]
    breaker.force_open()
    until(lambda: heard, "the child hears")
    assert heard == [("circuit_opened", 1)], heard
in_child(child)
breaker.force_open()
until(lambda: len(heard) == 11, "the parent hears on")
print("fine")
""")
    assert out == "fine\n"


def test_r2_the_childs_dice_differ() -> None:
    """Parent and children draw different jitter."""
    out = run("""
retry = hf.Retry(backoff=hf.exponential(8.0, cap=8.0))
retry.draw(1)
for _ in range(3):
    in_child(lambda: print([retry.draw(1) for _ in range(4)], flush=True))
print([retry.draw(1) for _ in range(4)], flush=True)
""")
    rows = out.splitlines()
    assert len(rows) == len(set(rows)) == 4


def test_r2_a_child_forked_from_inside_a_call_gives_no_permit_of_the_parents_back() -> None:
    """The child's end of the call settles its own copy; the parent's count is the parent's."""
    out = run("""
breaker = hf.CircuitBreaker()
def act():
    pid = os.fork()
    if pid == 0:
        return "child"
    os.waitpid(pid, 0)
    assert breaker.metrics.in_flight == 1
    return "parent"
me = breaker.call(act)
assert breaker.metrics.in_flight == 0 and breaker.metrics.successes == 1
if me == "child":
    sys.stdout.flush()
    os._exit(0)
print(me)
""")
    assert out == "parent\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_r2_multiprocessing_workers_use_guards(method: str, tmp_path: Path) -> None:
    """A pool of workers, forked or spawned, calls a module's guarded function and its heartbeat."""
    module = tmp_path / "worker_module.py"
    module.write_text(
        COMMON
        + """
breaker = hf.CircuitBreaker("workers", failure_threshold=2)

@hf.Pipeline(breaker=breaker, retry=hf.Retry(3, backoff=hf.constant(0.001)))
def work(n):
    if n % 5 == 0 and hf.current_attempt().number == 1:
        raise ConnectionError
    return n, os.getpid()

def with_heartbeat(port):
    with beating(port) as manager:
        return manager.wait_ready(timeout=10) and manager.call()

if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context(sys.argv[1])
    port = serve()
    parent = beating(port)
    parent.start()
    until(lambda: hits, "the parent beats")
    with context.Pool(2) as pool:
        answers = pool.map(work, range(20), chunksize=1)
        assert [n for n, _ in answers] == list(range(20))
        assert os.getpid() not in {pid for _, pid in answers}
        assert pool.map(with_heartbeat, [port] * 4) == ["a"] * 4
        pool.close()
        pool.join()
    now = len(hits)
    until(lambda: len(hits) > now + 3, "the parent beats on")
    print("fine")
""",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(module), method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_r2_a_fork_while_another_thread_makes_what_is_made_once() -> None:
    """What is made at first use has no lock: a child forked meanwhile makes it itself, and never waits."""
    run("""
errors = sys.modules["holdfast._exceptions"]
under_way, go_on, parent = threading.Event(), threading.Event(), os.getpid()

class Slow:
    def __getattr__(self, name):
        if name == "CircuitOpen" and os.getpid() == parent:
            under_way.set()
            assert go_on.wait(30)
        return getattr(errors, name)

def rejected():
    breaker = hf.CircuitBreaker("shut")
    breaker.force_open()
    try:
        breaker(int)()
    except hf.CircuitOpen:
        return
    raise AssertionError

sys.modules["holdfast._exceptions"] = Slow()
thread = threading.Thread(target=rejected)
thread.start()
assert under_way.wait(10)  # the thread is making it right now
in_child(rejected)
go_on.set()
thread.join()
rejected()
""")

"""A node that is a process of ours: started with its manager, restarted when it dies, stopped at the end.

A process that ends by itself is marked failed at once, its calls go to the other node, and it is started again; no
heartbeat has to find it out. It never outlives this program, however this program ends.

Runs offline: two real processes, one of which is really killed.
"""

import os
import signal
import subprocess
import sys
import threading
import urllib.request

import holdfast as hf

SERVER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]


def worker(name: str) -> hf.ProcessNode:
    address = "http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    return hf.ProcessNode(SERVER, name=name, address=address, stdout=quiet, stderr=quiet)


first, second = worker("first"), worker("second")
manager = hf.FailoverManager([first, second])


@manager
def who(node: hf.Node) -> str:
    with urllib.request.urlopen(f"{node.address}/", timeout=5):
        return node.name


recovered = threading.Event()


def listen(event: hf.Event) -> None:
    if event.kind == "recovery_completed":
        recovered.set()


manager.subscribe(listen)

with manager:
    print("both run:           ", [who() for _ in range(4)])

    pid = first.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    print("first was killed:   ", [who() for _ in range(4)])

    recovered.wait(20)
    print("first was restarted:", [who() for _ in range(4)], "as another process:", first.pid != pid)
print("at the end none runs:", not first.running and not second.running)

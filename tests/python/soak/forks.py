"""Forks under load: no child hangs, and its heartbeat restarts when it is used (R2)."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import warnings
from collections import Counter

import holdfast as hf
from holdfast._localserver import LocalServer

CHILD_SECONDS = 20.0


def fork_often(times: int) -> Counter[str]:
    """Forks `times` times while two threads call and a heartbeat beats; how the children ended."""
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: here it is the point
    stop = threading.Event()
    with LocalServer("alpha") as server:
        node = hf.Node("a", lambda: "a", address=server.origin)
        beat = hf.Heartbeat(0.02, timeout=5.0, probe=hf.HttpProbe("/health"))
        with hf.FailoverManager([node], heartbeat=beat) as manager:
            manager.subscribe(lambda _: None)

            def load() -> None:
                while not stop.is_set():
                    manager.call()
                    time.sleep(0.0005)

            threads = [threading.Thread(target=load, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            ends = Counter(one_child(manager, number) for number in range(times))
            stop.set()
            for thread in threads:
                thread.join()
    return ends


def one_child(manager: hf.FailoverManager, number: int) -> str:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            manager.call()
            if number % 50 == 0:  # beats of its own take their time
                manager.report("a", ok=False)
                manager.report("a", ok=True)
                assert manager.wait_ready(timeout=10.0)
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "well" if code == 0 else f"code {code}"
        time.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hung"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    ends = fork_often(options.times)
    sys.stdout.write(f"{options.times} forks under load: {dict(ends)}\n")
    return 0 if ends == {"well": options.times} else 1


if __name__ == "__main__":
    sys.exit(main())

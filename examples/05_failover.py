"""Failover over two nodes: the call goes on at the spare one when the first fails, and comes back later.

A node that keeps failing is not asked at all until its breaker lets a call try again.

Runs offline: two local servers, one of which is stopped and started again.
"""

import json
import time
import urllib.request

import holdfast as hf
from holdfast.testing import LocalServer

main, spare = LocalServer("main").start(), LocalServer("spare").start()
manager = hf.FailoverManager(
    [hf.Node("main", address=main.origin), hf.Node("spare", address=spare.origin, tier=1)],
    breaker=hf.CircuitBreaker(failure_threshold=2, success_threshold=1, open_timeout=0.5),
)


@manager
def who(node: hf.Node) -> str:
    with urllib.request.urlopen(f"{node.address}/health", timeout=2) as answer:
        return str(json.load(answer)["name"])


print("both are up:     ", [who() for _ in range(3)])

port = main.port
main.stop()
print("main has stopped:", [who() for _ in range(3)])
print("why not main?    ", manager.explain()["main"].partition(" for ")[0])

main = LocalServer("main", port=port).start()
time.sleep(0.55)  # until the breaker of main lets a call try again
print("main is back:    ", [who() for _ in range(3)])

metrics = manager.metrics
print(f"{metrics.calls} calls, {metrics.failovers} moved to another node, {metrics.rejected} refused")
main.stop()
spare.stop()

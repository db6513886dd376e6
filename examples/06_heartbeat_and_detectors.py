"""Heartbeats: a node that is ill is found before a call is spent on it.

The probes are native and keep their beat whatever Python does. A detector judges what they say: a fixed number of
misses, a fixed silence, or, as here at the end, how unlikely the silence is by the node's own rhythm.

Runs offline: a local server whose health page is told to fail.
"""

import threading

import holdfast as hf
from holdfast.testing import Faults, LocalServer

with LocalServer("main") as server, LocalServer("spare") as spare:
    nodes = [
        hf.Node("main", lambda: "main", address=server.origin),
        hf.Node("spare", lambda: "spare", address=spare.origin, tier=1),
    ]
    beat = hf.Heartbeat(0.05, failure_threshold=3, recovery_threshold=2, probe=hf.HttpProbe("/health"))
    manager = hf.FailoverManager(nodes, heartbeat=beat)

    failed, recovered = threading.Event(), threading.Event()

    def listen(event: hf.Event) -> None:
        if event.kind in ("node_marked_failed", "recovery_completed"):
            print(f"  {event.kind}: {event.node}")
            (failed if event.kind == "node_marked_failed" else recovered).set()

    manager.subscribe(listen)
    with manager:
        manager.wait_ready(2, timeout=5)
        print("all is well:", manager.call())

        server.faults = Faults(health=503)
        failed.wait(5)
        print("main is ill:", manager.call())

        server.faults = Faults()
        recovered.wait(5)
        print("main is well again:", manager.call())

# A detector alone: ten beats, one each second, and then silence.
detector = hf.PhiAccrualDetector(threshold=8.0)
for second in range(10):
    detector.beat(at=second)
for silence in (0.5, 1.0, 1.3, 1.6):
    print(f"silent for {silence} s: phi is {detector.phi(at=9 + silence):.1f}")

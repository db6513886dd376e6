"""Events, alerts and figures: what happened, who must know, and how reliable it all is.

Events come in order, on a thread of their own: a listener that is slow or raises changes nothing for the calls.

Runs offline: the nodes are functions, and an outside monitor says when one of them is down.
"""

from queue import SimpleQueue

import holdfast as hf

events: SimpleQueue[hf.Event] = SimpleQueue()
alerts: SimpleQueue[hf.Alert] = SimpleQueue()


def main(question: str) -> str:
    return f"main on {question}"


def spare(question: str) -> str:
    return f"spare on {question}"


manager = hf.FailoverManager(
    [hf.Node("main", main), hf.Node("spare", spare, tier=1)],
    name="chain",
    on_alert=hf.AlertRule(alerts.put, at_least="warning"),
)
manager.subscribe(events.put)

print(manager.call("tea"))
manager.report("main", ok=False, reason="its status page says so")
print(manager.call("tea"))
manager.report("main", ok=True)
print(manager.call("tea"))

kind = ""
while kind != "recovery_completed":
    event = events.get(timeout=5)
    kind = event.kind
    print(f"event: {kind} {event.node}")
alert = alerts.get(timeout=5)
print(f"{alert.severity}: {alert.title}")

metrics = manager.metrics
print(f"{metrics.calls} calls, {metrics.failures} outage, {metrics.recoveries} recovery")
figures = manager.reliability()
print(f"fault tolerance {figures.fault_tolerance:.0%}, balance of the load {figures.balance:.0%}")
for name, node in manager.nodes.items():
    print(f"{name}: {node.state}, ready: {node.ready}, outages: {node.failures}")

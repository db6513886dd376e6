"""Holdfast's figures in the text format of Prometheus, version 0.0.4.

They are read when they are asked for; nothing is counted twice. Counters begin anew with the process, as Prometheus
expects. No label carries anything that a client has sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import holdfast as hf
from predict_service.limits import Door

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Each call of a breaker is in exactly one of these.
OUTCOMES = ("successes", "failures", "throttled", "ignored", "late", "lost", "rejected")

Samples = Iterator[tuple[Mapping[str, str], float]]


def text(manager: hf.FailoverManager, limit: hf.Bulkhead, door: Door) -> str:
    """Everything worth a graph or an alert, as one page."""
    pool, places = manager.metrics, limit.metrics
    families = [
        ("requests_under_way", "gauge", "Requests inside the door.", one(door.under_way)),
        ("draining", "gauge", "1 while the process is about to stop.", one(door.draining)),
        ("calls_total", "counter", "Calls that have begun.", one(pool.calls)),
        ("failovers_total", "counter", "Calls that went on at another model.", one(pool.failovers)),
        ("rejected_total", "counter", "Calls that no model was asked for.", one(pool.rejected)),
        ("outages_total", "counter", "How often a model was marked failed.", one(pool.failures)),
        ("recoveries_total", "counter", "Outages that have ended.", one(pool.recoveries)),
        ("attempts_under_way", "gauge", "Attempts under way.", one(pool.in_flight)),
        ("places", "gauge", "How many attempts may be under way.", one(places.limit)),
        ("queued", "gauge", "Calls in line for a place.", one(places.queued)),
        ("crowded_out_total", "counter", "Calls that found no place.", one(places.rejected)),
        ("model_ready", "gauge", "1 if the model may be asked now.", each_ready(manager)),
        ("model_latency_seconds", "gauge", "What a good answer takes.", each_latency(manager)),
        ("attempts_total", "counter", "Attempts at a model, by what came of them.", each_outcome(manager)),
        ("circuit_state", "gauge", "1 for the state that the breaker is in.", each_state(manager)),
    ]
    return "".join(line for family in families for line in lines(*family))


def one(value: float) -> Samples:
    yield {}, value


def each_ready(manager: hf.FailoverManager) -> Samples:
    for name, node in manager.nodes.items():
        yield {"model": name}, node.ready


def each_latency(manager: hf.FailoverManager) -> Samples:
    for name, node in manager.nodes.items():
        if node.latency is not None:
            yield {"model": name}, node.latency


def each_outcome(manager: hf.FailoverManager) -> Samples:
    for name, breaker in breakers(manager):
        for outcome in OUTCOMES:
            yield {"model": name, "outcome": outcome}, getattr(breaker.metrics, outcome)


def each_state(manager: hf.FailoverManager) -> Samples:
    for name, breaker in breakers(manager):
        for state in hf.BreakerState:
            yield {"model": name, "state": state}, breaker.state == state


def breakers(manager: hf.FailoverManager) -> Iterator[tuple[str, Any]]:
    """The breaker of each model that has one."""
    for name in manager.nodes:
        breaker = manager.node_breaker(name)
        if breaker is not None:
            yield name, breaker


def lines(name: str, kind: str, about: str, samples: Samples) -> Iterator[str]:
    yield f"# HELP predict_{name} {about}\n# TYPE predict_{name} {kind}\n"
    for labels, value in samples:
        inside = ",".join(f'{label}="{said}"' for label, said in labels.items())
        yield f"predict_{name}{f'{{{inside}}}' if inside else ''} {float(value)}\n"

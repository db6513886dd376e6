"""What a pick costs: ours beside LiteLLM's router, in one run.

Each figure is the best of many short rounds, in which all that is compared takes turns: what else the machine does
only ever adds. LiteLLM's is its selection alone. Ours is what the nodes add to a guarded call: a call over nodes less
the same call through the same machine without any; so it holds the pick, the node as an argument, and the settling
of the pick, of which LiteLLM's has none. The whole call is printed too.

Run by `make bench-peers`, which installs LiteLLM into an environment of its own. Exit code 1: over a budget.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

import holdfast as hf

ROUNDS = 40
NODES = (1, 10, 100, 1000)
# Of LiteLLM's router. At 1000 nodes it takes 10 ms a selection, which nobody needs to know exactly.
PEER_NODES = (1, 10, 100)
MOST_SECONDS = 1e-6
MOST_RATIO = 0.01

PAIRS = [
    ("round_robin", "simple-shuffle"),
    ("least_connections", "least-busy"),
    ("p2c", "latency-based-routing"),
]


def best(works: list[tuple[Callable[[], object], int]]) -> list[float]:
    """Seconds per call of each, taking turns; each is given with how often it is called in a round."""
    fastest = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for place, (work, times) in enumerate(works):
            start = time.perf_counter()
            for _ in range(times):
                work()
            fastest[place] = min(fastest[place], (time.perf_counter() - start) / times)
    return fastest


def nothing(*_args: object) -> None:
    """A target that does nothing."""


def over_nodes(nodes: int, balancer: str) -> Callable[[], object]:
    """A guarded call over so many nodes."""
    listed = [hf.Node(f"n{n}", nothing) for n in range(nodes)]
    return hf.FailoverManager(listed, balancer=balancer, breaker=None)(nothing)


def without_nodes() -> Callable[[], object]:
    """The same without any, through the same machine: a call that has a fallback does not take the inline doors."""
    return hf.Pipeline(retry=hf.Retry(1), fallback=hf.Fallback(value=None))(nothing)


def router(nodes: int, strategy: str) -> Callable[[], object]:
    """LiteLLM's selection among so many deployments."""
    import litellm

    def deployment(port: int) -> dict[str, object]:
        params = {"model": "openai/gpt", "api_key": "none", "api_base": f"http://127.0.0.1:{port}"}
        return {"model_name": "m", "litellm_params": params}

    made = litellm.Router(model_list=[deployment(n + 1) for n in range(nodes)], routing_strategy=strategy)
    messages = [{"role": "user", "content": "hello"}]
    return lambda: made.get_available_deployment(model="m", messages=messages)


def main() -> int:
    # No look at the network for prices, and no lines of theirs between ours.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    logging.getLogger("LiteLLM Router").setLevel(logging.ERROR)
    over = 0
    print(f"{'nodes':>5} {'ours':<18} {'pick us':>8} {'call us':>8}   {'LiteLLM':<22} {'us':>8} {'ratio':>8}")
    for nodes in NODES:
        for balancer, strategy in PAIRS:
            works = [(without_nodes(), 2000), (over_nodes(nodes, balancer), 2000)]
            if nodes in PEER_NODES:
                works.append((router(nodes, strategy), 20))
            bare, call, *theirs = best(works)
            pick = call - bare
            line = f"{nodes:>5} {balancer:<18} {pick * 1e6:8.3f} {call * 1e6:8.3f}"
            missed = pick > MOST_SECONDS
            if theirs:
                line += f"   {strategy:<22} {theirs[0] * 1e6:8.1f} {pick / theirs[0]:8.4f}"
                missed |= pick / theirs[0] > MOST_RATIO
            over += missed
            print(f"{line}{'   over its budget' if missed else ''}", flush=True)
    print(f"budgets: a pick at most {MOST_SECONDS * 1e6:.0f} us, and at most {MOST_RATIO} of LiteLLM's")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

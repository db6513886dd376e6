"""What a pick costs: ours beside LiteLLM's router, in one run.

Each line is the time of one selection, the best of several rounds: what else the machine does only ever adds.
Ours is a whole guarded call of a function that does nothing, less the function; theirs is the selection alone.
Run by `make bench-peers`, which installs LiteLLM into an environment of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import holdfast as hf

ROUNDS = 7
NODES = (1, 10, 100)


def best(work: Callable[[], object], times: int) -> float:
    """Seconds per call of `work`."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            work()
        fastest = min(fastest, (time.perf_counter() - start) / times)
    return fastest


def nothing(*_args: object) -> None:
    """A target that does nothing."""


def ours(nodes: int, balancer: str) -> float:
    pool = hf.FailoverManager(
        [hf.Node(f"n{n}", nothing) for n in range(nodes)], balancer=balancer, breaker=None
    )
    call = pool(nothing)
    return best(call, 5000) - best(nothing, 5000)


def theirs(nodes: int, strategy: str) -> float:
    import litellm

    def deployment(port: int) -> dict[str, object]:
        params = {"model": "openai/gpt", "api_key": "none", "api_base": f"http://127.0.0.1:{port}"}
        return {"model_name": "m", "litellm_params": params}

    deployments = [deployment(n + 1) for n in range(nodes)]
    router = litellm.Router(model_list=deployments, routing_strategy=strategy)
    messages = [{"role": "user", "content": "hello"}]
    return best(lambda: router.get_available_deployment(model="m", messages=messages), 200)


def main() -> None:
    print(f"{'nodes':>6} {'ours':<20} {'us':>8}   {'LiteLLM':<24} {'us':>8} {'ratio':>8}")
    pairs = [
        ("round_robin", "simple-shuffle"),
        ("least_connections", "least-busy"),
        ("p2c", "latency-based-routing"),
    ]
    for nodes in NODES:
        for balancer, strategy in pairs:
            mine, other = ours(nodes, balancer), theirs(nodes, strategy)
            figures = f"{mine * 1e6:8.2f}   {strategy:<24} {other * 1e6:8.1f} {mine / other:8.4f}"
            print(f"{nodes:>6} {balancer:<20} {figures}")


if __name__ == "__main__":
    main()

"""The pipelines and managers under the models of this package, and the models of a manager's nodes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import holdfast as hf
from holdfast._classify import classify
from holdfast.langchain._copies import without_sdk_retries


def pipeline_for_llms(fields: dict[str, Any]) -> Any:
    """A pipeline with the given fields; the others have defaults for LLM calls."""
    defaults: dict[str, Any] = {"retry": 3, "breaker": hf.CircuitBreaker(), "classify": classify}
    return hf.Pipeline(**{**defaults, **fields})


class Targets:
    """What the attempts of a pool run on: the targets of its nodes, the retries of their SDKs off.

    Copies are made when a node is first used, so that a node added later is treated like the first ones.
    """

    def __init__(self) -> None:
        # Keyed by identity; the target is kept, so that its id is not given to another.
        self._quiet: dict[int, tuple[Any, Any]] = {}

    def of(self, target: Any) -> Any:
        """The runnable to call for this target."""
        known = self._quiet.get(id(target))
        if known is None:
            known = self._quiet[id(target)] = (target, without_sdk_retries(target))
        return known[1]


def manager_for_llms(nodes: Sequence[Any], kind: Any, fields: dict[str, Any]) -> Any:
    """A failover manager whose nodes' targets are all of one kind.

    Raises:
        ConfigurationError: A target is of another kind, or the manager refuses a field.
    """
    nodes = list(nodes)
    for node in nodes:
        if isinstance(node, hf.Node) and not isinstance(node.target, kind):
            raise hf.ConfigurationError(
                field="target", rule=f"be a {kind.__name__} (node {node.name!r})", value=type(node.target)
            )
    return hf.FailoverManager(nodes, **{"classify": classify, **fields})


@functools.lru_cache(maxsize=512)
def takes_run_manager(hook: Callable[..., Any]) -> bool:
    """Does a `_generate` or `_agenerate` want to know its run? LangChain asks the signature, so do we."""
    return "run_manager" in inspect.signature(hook).parameters

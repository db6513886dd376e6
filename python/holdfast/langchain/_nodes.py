"""The pipelines and managers under the models of this package, and the models of a manager's nodes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import holdfast as hf
from holdfast._classify import classify
from holdfast._completion import Completion
from holdfast._llm import llm_fields
from holdfast.langchain._copies import without_sdk_retries


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


def manager_for_llms(
    nodes: Sequence[Any], kind: Any, fields: dict[str, Any], completion: Completion | None = None
) -> Any:
    """A failover manager whose nodes' targets are all of one kind; fields not given are those for LLM calls.

    Raises:
        ConfigurationError: A target is of another kind, or the manager refuses a field.
    """
    nodes = list(nodes)
    for node in nodes:
        if isinstance(node, hf.Node) and not isinstance(node.target, kind):
            raise hf.ConfigurationError(
                field="target", rule=f"be a {kind.__name__} (node {node.name!r})", value=type(node.target)
            )
    return hf.FailoverManager(nodes, **llm_fields(fields), _rules=classify, _completion=completion)


@functools.lru_cache(maxsize=512)
def takes_run_manager(hook: Callable[..., Any]) -> bool:
    """Does a `_generate` or `_agenerate` want to know its run? LangChain asks the signature, so do we."""
    return "run_manager" in inspect.signature(hook).parameters


def marks_its_ends(model: Any) -> bool | None:
    """Has every answer of this model an end marker? None: it is not known beforehand."""
    names = {ancestor.__name__ for ancestor in type(model).__mro__}
    if "ChatAnthropic" in names:
        # Its streams carry the marker together with the usage, or not at all.
        return bool(getattr(model, "stream_usage", True))
    return True if "BaseChatOpenAI" in names else None

"""Tools and schemas, translated by each node for itself.

`bind_tools` turns functions into the tool format of one provider. In a pool each node has a format of its
own, so what is bound to the pool is a recipe, and each node cooks it when an attempt is made there. The
binding that users get shows the translation of the first node, because traces and agents look into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel, RunnableSequence

_ABSENT = object()

# Bound for LangChain's traces; it takes them out before it calls a model's hooks.
_FOR_TRACES = {"ls_structured_output_format", "structured_output_format"}


class Recipe:
    """What was bound to the pool, and what that means to each node.

    Args:
        bind: From a node's model to the keyword arguments that its provider wants.
        shown: The keyword arguments of the first node, as the binding shows them.
    """

    def __init__(self, bind: Callable[[BaseChatModel], Mapping[str, Any]], shown: Mapping[str, Any]) -> None:
        self.shown = shown
        self._bind = bind
        # Keyed by identity, and the model is kept: a node replaced under its name gets its own translation.
        self._cooked: dict[int, tuple[BaseChatModel, Mapping[str, Any]]] = {}

    def apply(self, model: BaseChatModel, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for a call of `model`: what was shown gives way to its own translation.

        What the caller has put in its place at the call stays.
        """
        return {**self.own(model, kwargs), **self.changed(kwargs)}

    def own(self, model: BaseChatModel, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What was bound, as `model` wants it, but for what the caller has taken away at the call."""
        cooked = self._cooked.get(id(model))
        if cooked is None:
            cooked = self._cooked[id(model)] = (model, self._bind(model))
        used_up = _FOR_TRACES | (self.shown.keys() - kwargs.keys())
        return {key: value for key, value in cooked[1].items() if key not in used_up}

    def changed(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What the caller has said at the call."""
        return {key: value for key, value in kwargs.items() if self.shown.get(key, _ABSENT) is not value}


def bound_arguments(chain: Runnable[Any, Any]) -> Mapping[str, Any]:
    """The keyword arguments that a model's `bind_tools` or `with_structured_output` has bound."""
    binding = find_binding(chain)
    return {} if binding is None else binding.kwargs


def find_binding(chain: Any) -> RunnableBinding[Any, Any] | None:
    """The binding around the model, at the head of what `with_structured_output` builds."""
    match chain:
        case RunnableBinding():
            return chain
        case RunnableSequence():
            return find_binding(chain.first)
        case RunnableParallel():
            return find_binding(chain.steps__.get("raw"))
        case _:
            return None


def rebind(chain: Any, model: BaseChatModel) -> Any:
    """The chain with another model in its binding, all else as it was."""
    match chain:
        case RunnableBinding():
            return chain.model_copy(update={"bound": model})
        case RunnableSequence():
            return chain.model_copy(update={"first": rebind(chain.first, model)})
        case RunnableParallel():
            return chain.model_copy(
                update={"steps__": {**chain.steps__, "raw": rebind(chain.steps__["raw"], model)}}
            )
        case _:
            return chain

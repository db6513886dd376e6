"""An `invoke` that LangChain turns into a stream.

It does so when the model says `streaming=True`, and when somebody listens to tokens (LangGraph, events).
What follows is `_generate_with_cache` reading the stream to its end. Two things are known only there:

- the run, which the streaming hooks are not told of;
- whether anybody sees the chunks. If nobody does, nothing has been handed out before the end: the stream is
  held back whole, and one that breaks in its middle may still be asked again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

from holdfast._completion import Completion, withheld

_run: ContextVar[tuple[Any, Any] | None] = ContextVar("holdfast_langchain_run", default=None)
"""The model that is being invoked, and the manager of its run."""

_SHOWS_CHUNKS = {"_StreamingCallbackHandler", "_V2StreamingCallbackHandler"}
"""LangChain's own marks on handlers that hand chunks to somebody."""


def run_of(model: BaseChatModel) -> Any:
    """The manager of the run that this model is being invoked in; None if it is not known."""
    current = _run.get()
    return current[1] if current is not None and current[0] is model else None


def caching_hooks(base: Any, completion_of: Callable[[Any], Completion]) -> dict[str, Any]:
    """The two hooks of `base` that may turn an invocation into a stream, for a subclass of it.

    Args:
        base: The class whose hooks they call.
        completion_of: From the model to what governs its streams.
    """

    def _generate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        run, held = _enter(self, run_manager, completion_of)
        try:
            return base._generate_with_cache(self, messages, stop=stop, run_manager=run_manager, **kwargs)
        finally:
            withheld.reset(held)
            _run.reset(run)

    async def _agenerate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        run, held = _enter(self, run_manager, completion_of)
        try:
            return await base._agenerate_with_cache(
                self, messages, stop=stop, run_manager=run_manager, **kwargs
            )
        finally:
            withheld.reset(held)
            _run.reset(run)

    return {"_generate_with_cache": _generate_with_cache, "_agenerate_with_cache": _agenerate_with_cache}


def _enter(model: Any, run_manager: Any, completion_of: Callable[[Any], Completion]) -> tuple[Any, Any]:
    seen = run_manager is not None and any(map(_shows, run_manager.handlers))
    return _run.set((model, run_manager)), withheld.set(None if seen else completion_of(model))


def _shows(handler: BaseCallbackHandler) -> bool:
    """Does this handler look at chunks, other than to write them down?"""
    kind: Any = type(handler)
    return not handler.ignore_llm and bool(_looks(kind))


@functools.lru_cache(maxsize=256)
def _looks(kind: Any) -> bool:
    if not _SHOWS_CHUNKS.isdisjoint(ancestor.__name__ for ancestor in kind.__mro__):
        return True
    if issubclass(kind, (BaseTracer, AsyncBaseTracer)):
        return False
    own = getattr(kind, "on_llm_new_token", None)
    return own not in (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)

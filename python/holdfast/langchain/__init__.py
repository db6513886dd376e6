"""LangChain models and runnables that survive their providers.

    from holdfast.langchain import FailoverChatModel, with_resilience

`with_resilience(model)` gives back a model of the same type whose calls are retried, guarded by a breaker
and bounded in time; `FailoverChatModel(nodes)` is one chat model over several. Both are real
`BaseChatModel`s: one run in the trace per call, tools and structured output as before.

=================  ===========================================================================================
`chat_model.py`    one chat model behind a pipeline: a subclass of the model's own class, made on the fly
`failover.py`      several chat models behind a manager, seen as one
`_engine.py`       what drives them: nodes, attempts
`_settings.py`     what one provider's models understand and another's do not
`runnable.py`      every other runnable: behind a pipeline, or several behind a manager
`middleware.py`    the model and tool calls of an agent
`_ledger.py`       what has become of such a call, for all layers that may try it again
`tools.py`         tools, retrievers, embeddings and vector stores (`retrievers.py`, …), their classes kept
`_twins.py`        how: by a subclass made on the fly
`retry.py`         what stands where LangChain's `RunnableRetry` stands
`fallbacks.py`     what stands where its `RunnableWithFallbacks` stands
`_drop_in.py`      what these two share
`_paths.py`        every call path that LangChain has, by way of one attempt
`_runs.py`         the runs of one call in traces
`_replay.py`       a streamed input, for more than one attempt
`_v3.py`           the typed streams of `stream_events(version="v3")`
`_bindings.py`     tools and schemas, translated by each node for itself
`_copies.py`       the same runnable with the retries of its SDK off, on a copy
`_messages.py`     the attempts of one call, and who answered
=================  ===========================================================================================

What it deliberately does not do: decide anything. When to retry and where to go next is the core's business.
"""

from typing import TYPE_CHECKING, Any

try:
    import langchain_core as _langchain_core
except ImportError as _missing:
    raise ImportError(
        "holdfast.langchain needs langchain-core: pip install 'holdfast[langchain]'"
    ) from _missing

from holdfast.langchain.chat_model import guard_chat_model
from holdfast.langchain.failover import FailoverChatModel
from holdfast.langchain.fallbacks import ResilientFallbacks
from holdfast.langchain.retry import ResilientRetry
from holdfast.langchain.runnable import (
    FailoverRunnable,
    ResilientRunnable,
    with_resilience,
    wrap_part,
    wrap_runnable,
)

if TYPE_CHECKING:
    from holdfast.langchain.middleware import ResilienceMiddleware

__all__ = [
    "FailoverChatModel",
    "FailoverRunnable",
    "ResilienceMiddleware",
    "ResilientFallbacks",
    "ResilientRetry",
    "ResilientRunnable",
    "guard_chat_model",
    "with_resilience",
    "wrap_part",
    "wrap_runnable",
]

del _langchain_core


def __getattr__(name: str) -> Any:
    """The middleware, which needs `langchain` itself and not only its core."""
    if name == "ResilienceMiddleware":
        from holdfast.langchain.middleware import ResilienceMiddleware

        return ResilienceMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

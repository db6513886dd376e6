"""The model and the tools of an agent, each behind a pipeline.

The middleware gives the agent a guarded model and guarded tools in the place of its own, call by call: the model
streams, binds tools and asks for structured output as before, and whatever other middleware does around it, it is
the guarded one that is called.

    create_agent ── other middleware ── ResilienceMiddleware ── other middleware ── guarded model ── attempts
                                                            └────────────────────── guarded tool  ── attempts
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, ToolException

try:
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.errors import GraphBubbleUp
    from langgraph.runtime import get_runtime
except ImportError as _missing:
    raise ImportError("ResilienceMiddleware needs langchain: pip install 'langchain>=1.4'") from _missing

import holdfast as hf
from holdfast._chat import for_chat
from holdfast._llm import llm_fields
from holdfast.langchain._copies import quiet_model
from holdfast.langchain._ledger import Ledger, Ledgers, current, is_repeated, task_of
from holdfast.langchain._messages import closing_sync
from holdfast.langchain._twins import twin
from holdfast.langchain.chat_model import guard_chat_model
from holdfast.langchain.failover import FailoverChatModel
from holdfast.langchain.tools import guard_tool

_MOST_MODELS = 64
"""Guarded models kept ready; an agent that makes a model for each request starts again."""
_TOOL_FIELDS = ("retry", "breaker", "timeout", "classify")


class ResilienceMiddleware(AgentMiddleware[Any, Any, Any]):
    """Retries, breakers and clocks for the model calls and the tool calls of an agent.

    ::

        agent = create_agent(model, tools=[search], middleware=[ResilienceMiddleware(retry=3)])

    Every model has a breaker and a retry budget of its own, and so has every tool. An outage stays an error: it
    is never turned into a message. Interrupts, cancellations and what a tool says to the model (`ToolException`)
    pass through. A call that was given up on is not tried again by other layers of the same run.

    Args:
        tools: Pipelines for tools by name; ``None`` leaves a tool as it is: for one that must not be called
            twice, use a pipeline without ``retry``. Other tools have ``retry``, ``breaker``, ``timeout`` and
            ``classify`` of `fields`, and every exception of theirs is worth another attempt.
        name: Its name in the agent, which must be unique there.
        fields: The fields of `holdfast.Pipeline` for model calls; the defaults are those of
            `holdfast.llm_defaults`. A policy given as an instance is shared by all models and tools; one given
            as a number, or not given, each has for itself.

    Raises:
        ConfigurationError: A field breaks a rule.
        TypeError: There is no such field.
    """

    def __init__(
        self,
        *,
        tools: Mapping[str, hf.Pipeline | None] | None = None,
        name: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        hf.llm_defaults(**fields)  # so that a wrong field is refused here
        self.tools = []
        self._name = name or type(self).__name__
        self._fields = {**fields, "classify": _with_news(fields.get("classify"))}
        self._given = dict(tools or {})
        self._pipelines: dict[Any, hf.Pipeline] = {}
        self._models: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._ledgers = Ledgers()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Its name in the agent."""
        return self._name

    # The four hooks

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """One model call, guarded."""
        with self._model_call(request) as (pipeline, asked):
            return handler(asked) if pipeline is None else pipeline.call(handler, asked)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """One model call, guarded and awaited."""
        with self._model_call(request) as (pipeline, asked):
            return await (handler(asked) if pipeline is None else pipeline.acall(handler, asked))

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """One tool call, guarded."""
        with self._tool_call(request) as asked:
            return handler(asked)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """One tool call, guarded and awaited."""
        with self._tool_call(request) as asked:
            return await handler(asked)

    # What is called

    @contextmanager
    def _model_call(self, request: Any) -> Iterator[tuple[hf.Pipeline | None, Any]]:
        """The request to hand on, and the pipeline around the handler where the model cannot hold it."""
        model, runtime = request.model, request.runtime
        task = task_of(getattr(runtime, "execution_info", None))
        key = None if task is None else (*task, id(model))
        with self._on_the_books(key, runtime, "model"):
            if not isinstance(model, BaseChatModel):
                yield for_chat(self._pipeline_of_model(model), "langchain"), request
            elif isinstance(model, FailoverChatModel) or hasattr(model, "_holdfast_inner"):
                yield None, request
            else:
                yield None, request.override(model=self._guarded_model(model))

    @contextmanager
    def _tool_call(self, request: Any) -> Iterator[Any]:
        """The request to hand on."""
        tool, runtime = request.tool, request.runtime
        task = task_of(getattr(runtime, "execution_info", None))
        key = None if task is None else (*task, request.tool_call.get("id"))
        pipeline = self._pipeline_of_tool(tool.name) if isinstance(tool, BaseTool) else None
        with self._on_the_books(key, runtime, request.tool_call["name"]):
            yield request if pipeline is None else request.override(tool=_guarded_tool(pipeline, tool))

    @contextmanager
    def _on_the_books(self, key: Any, runtime: Any, what: str) -> Iterator[None]:
        ledger = self._ledgers.of(key, lambda: _ledger(runtime, what))
        ledger.refuse()
        token = current.set(ledger)
        try:
            yield
        except Exception as error:
            ledger.last = error
            raise
        else:
            self._ledgers.forget(key)
        finally:
            ledger.rest()
            current.reset(token)

    def _guarded_model(self, model: BaseChatModel) -> BaseChatModel:
        with self._lock:
            known = self._models.get(id(model))
            if known is None:
                quiet = quiet_model(model)
                booked = twin(None, quiet, _hooks(type(quiet)))
                known = model, guard_chat_model(self._pipeline_of_model(model), booked)
                self._models[id(model)] = known
                while len(self._models) > _MOST_MODELS:
                    self._models.popitem(last=False)
            return known[1]

    def _pipeline_of_model(self, model: Any) -> hf.Pipeline:
        name = getattr(model, "model_name", None) or getattr(model, "model", None)
        key = ("model", type(model), name if isinstance(name, str) else None)
        return self._pipelines.setdefault(key, hf.llm_defaults(**self._fields))

    def _pipeline_of_tool(self, name: str) -> hf.Pipeline | None:
        if name in self._given:
            return self._given[name]
        known = self._pipelines.get(("tool", name))
        if known is None:
            chosen = llm_fields(self._fields)
            fields = {field: chosen[field] for field in _TOOL_FIELDS if field in chosen}
            known = self._pipelines.setdefault(("tool", name), hf.Pipeline(**fields, name=name))
        return known


def _with_news(own: Any) -> list[Any]:
    """The user's rules, after ours: that an error is raised again says nothing of the model or the tool."""
    rules = own if isinstance(own, list) else [] if own is None else [own]
    return [_said_before, *rules]


def _said_before(error: BaseException) -> str | None:
    return "ignore" if is_repeated(error) else None


def _guarded_tool(pipeline: hf.Pipeline, tool: BaseTool) -> BaseTool:
    methods = {"_run": _run, "_arun": _arun} if type(tool)._arun is not BaseTool._arun else {"_run": _run}
    return guard_tool(pipeline, twin(None, tool, methods))


def _ledger(runtime: Any, what: str) -> Ledger:
    beat = getattr(runtime, "heartbeat", None) or _heartbeat_of_the_graph()
    return Ledger(beat or _nothing, getattr(runtime, "stream_writer", None) or _nothing, what)


def _heartbeat_of_the_graph() -> Callable[[], None] | None:
    """The runtime of a tool has none of its own."""
    try:
        return getattr(get_runtime(), "heartbeat", None)
    except RuntimeError:
        return None  # outside a graph


def _nothing(*_args: Any) -> None:
    """Nobody listens."""


# The attempts, on the books of the call that is running


@contextmanager
def _attempt() -> Iterator[None]:
    ledger = current.get()
    if ledger is None:
        yield
        return
    ledger.begin()
    try:
        yield
    except (GraphBubbleUp, ToolException):
        raise  # the graph's control flow, and what a tool says to the model
    except Exception as error:
        ledger.failed(error)
        raise


def _hooks(kind: type[BaseChatModel]) -> dict[str, Any]:
    """Those that the model's class has: to define another would claim what it cannot do."""
    own = {
        name for name in ("_stream", "_astream") if getattr(kind, name) is not getattr(BaseChatModel, name)
    }
    events = {
        name for name in ("_stream_chat_model_events", "_astream_chat_model_events") if hasattr(kind, name)
    }
    names = {"_generate", "_agenerate", *own, *events}
    return {name: _HOOKS[name] for name in sorted(names)}


def _whole(name: str) -> Any:
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _attempt():
            return getattr(self._holdfast_inner, name)(*args, **kwargs)

    return hook


def _awhole(name: str) -> Any:
    async def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _attempt():
            return await getattr(self._holdfast_inner, name)(*args, **kwargs)

    return hook


def _streamed(name: str) -> Any:
    def hook(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        chunks = getattr(self._holdfast_inner, name)(*args, **kwargs)
        with _attempt(), closing_sync(chunks):
            yield from chunks

    return hook


def _astreamed(name: str) -> Any:
    async def hook(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with _attempt():
            async with aclosing(getattr(self._holdfast_inner, name)(*args, **kwargs)) as chunks:
                async for chunk in chunks:
                    yield chunk

    return hook


_run, _arun = _whole("_run"), _awhole("_arun")
_HOOKS = {
    "_generate": _whole("_generate"),
    "_agenerate": _awhole("_agenerate"),
    "_stream": _streamed("_stream"),
    "_astream": _astreamed("_astream"),
    "_stream_chat_model_events": _streamed("_stream_chat_model_events"),
    "_astream_chat_model_events": _astreamed("_astream_chat_model_events"),
}

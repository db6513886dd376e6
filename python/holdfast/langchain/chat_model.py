"""One chat model behind a pipeline: a subclass of the model's own class, made on the fly.

Why a subclass and not a wrapper that forwards attributes: much code asks what a model *is*. `isinstance`
tests for `BaseChatModel` and for a provider's class, `type(model)._stream` compared with the base class's,
`profile`, `model_fields_set`, `bind_tools` and `with_structured_output` with a provider's own arguments: a
subclass answers all of them as the model itself would, because it inherits the answers. Only the hooks that
reach the provider are overridden, and only those that the model's class has.

    wrapper (subclass)  ──┐
                          ├── one shared dictionary of fields
    inner (the model)   ──┘

The hooks run on the inner model, so that a model whose `_agenerate` calls its own `_generate` is guarded
once and not twice. It is the model given, or a copy of it if an SDK's retries had to be switched off.
"""

# Annotations are not postponed here: pydantic reads the namespace of the classes made below.

import copy
import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from holdfast import _native
from holdfast._chat import for_chat
from holdfast._headers import rates_of
from holdfast.langchain._call import Call
from holdfast.langchain._copies import quiet_model
from holdfast.langchain._instead import told_of
from holdfast.langchain._invoked import caching_hooks, run_of
from holdfast.langchain._messages import arelay, relay, sign_result
from holdfast.langchain._nodes import marks_its_ends

Model = TypeVar("Model", bound=BaseChatModel)
Namespace = dict[str, Any]

# The slots of a guarded model: outside its fields, so that no dump, comparison or trace sees them.
_PIPELINE, _INNER, _DOORS = "_holdfast_pipeline", "_holdfast_inner", "_holdfast_doors"


def guard_chat_model(pipeline: Any, model: Model) -> Model:
    """The model behind the pipeline, as an instance of (a subclass of) its own class.

    Args:
        pipeline: The `Pipeline` that every call, stream or batch element of the model goes through.
        model: The chat model. It is not changed; the retries of its SDK are off on the copy that is used.
    """
    cls: type[Model] = _guarded_class(type(model))
    chat = for_chat(pipeline, "langchain")
    marks = marks_its_ends(model)
    if chat._completion is not None and marks is not None:
        chat._completion.tell(None, marks)
    return _assemble(cls, chat, quiet_model(model))


def _assemble(cls: type[Model], pipeline: Any, inner: Model) -> Model:
    """An instance of `cls` that has the fields of `inner`: the same dictionaries, not equal ones."""
    guarded: Model = cls.__new__(cls)
    for state in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(guarded, state, getattr(inner, state))
    object.__setattr__(guarded, _PIPELINE, pipeline)
    object.__setattr__(guarded, _INNER, inner)
    object.__setattr__(guarded, _DOORS, _Doors(pipeline))
    return guarded


class _Doors:
    """The guards of one pipeline around an attempt at each kind of answer, made once and not per call."""

    __slots__ = ("_guard", "_rates", "acall", "call", "chaos")

    def __init__(self, pipeline: Any) -> None:
        # Past the pipeline's own door: chaos belongs inside of the attempts, which count themselves.
        self._guard = functools.partial(_native.Pipeline._guard, pipeline)
        self.chaos = pipeline.chaos
        self._rates = rates_of(pipeline.rate_limit)
        self.call = self._guard(_ask, "function")
        self.acall = self._guard(_aask, "coroutine")

    def begin(self, model: BaseChatModel, args: Any, kwargs: Any, run_manager: Any) -> Call:
        call = Call(model, args, kwargs, run_manager)
        call.chaos, call.rates = self.chaos, self._rates
        return call

    def stream(self, attempt: Callable[..., Iterator[Any]]) -> Iterator[Any]:
        return cast("Iterator[Any]", self._guard(attempt, "generator")())

    def astream(self, attempt: Callable[..., AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", self._guard(attempt, "async_generator")())


def _rebuild(pipeline: Any, inner: BaseChatModel) -> BaseChatModel:
    """What a pickle of a guarded model calls."""
    cls: type[BaseChatModel] = _guarded_class(type(inner))
    return _assemble(cls, pipeline, inner)


@functools.lru_cache(maxsize=256)
def _guarded_class(base: type[Model]) -> type[Model]:
    """The subclass of `base` whose hooks go through a pipeline. It keeps the name, for traces show it."""
    namespace: Namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__slots__": (_PIPELINE, _INNER, _DOORS),
        # Nothing is ever validated against the subclass: its instances are made from finished ones.
        "model_config": {"defer_build": True},
        **_copying(),
        **_hooks(base),
    }
    metaclass: Any = type(base)
    return cast("type[Model]", metaclass(base.__name__, (base,), namespace))


def _copying() -> Namespace:
    """A copy gets an inner model of its own and shares the pipeline, whose state is the provider's health."""

    def __copy__(self: Any) -> Any:  # noqa: N807
        return _assemble(type(self), self._holdfast_pipeline, copy.copy(self._holdfast_inner))

    def __deepcopy__(self: Any, memo: dict[int, Any] | None = None) -> Any:  # noqa: N807
        return _assemble(type(self), self._holdfast_pipeline, copy.deepcopy(self._holdfast_inner, memo))

    def __reduce__(self: Any) -> tuple[Any, ...]:  # noqa: N807
        return _rebuild, (self._holdfast_pipeline, self._holdfast_inner)

    return {"__copy__": __copy__, "__deepcopy__": __deepcopy__, "__reduce__": __reduce__}


def _hooks(base: type[BaseChatModel]) -> Namespace:
    """The guarded forms of the hooks that `base` has.

    LangChain finds out what a model can by comparing its hooks with those of `BaseChatModel`; to define one
    that the model lacks would claim an ability it does not have.
    """
    hooks: Namespace = {"_generate": _generate, "_agenerate": _agenerate}
    if _overrides(base, "_stream"):
        hooks["_stream"] = _stream
    if _overrides(base, "_stream") or _overrides(base, "_astream"):
        hooks["_astream"] = _astream
    if hasattr(base, "_stream_chat_model_events"):
        hooks["_stream_chat_model_events"] = _event_stream
    if hasattr(base, "_astream_chat_model_events"):
        hooks["_astream_chat_model_events"] = _aevent_stream
    made = {name: _with_signature_of(getattr(base, name), hook) for name, hook in hooks.items()}
    if len(made) > 2:  # it can stream, so that an `invoke` may become a stream
        made.update(caching_hooks(base, lambda model: model._holdfast_pipeline._completion))
    return made


def _with_signature_of(original: Callable[..., Any], hook: Any) -> Callable[..., Any]:
    """A fresh copy of `hook` with the signature of `original`, which LangChain reads to know what to pass."""
    fresh: Any = types.FunctionType(hook.__code__, hook.__globals__, hook.__name__)
    # Stored, because LangChain asks for it in every call and works it out anew.
    fresh.__signature__ = inspect.signature(original)
    wrapped: Callable[..., Any] = functools.wraps(original)(fresh)
    return wrapped


def _overrides(base: type[BaseChatModel], name: str) -> bool:
    return getattr(base, name) is not getattr(BaseChatModel, name)


def _generate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
    call = self._holdfast_doors.begin(self._holdfast_inner, args, kwargs, kwargs.get("run_manager"))
    return cast("ChatResult", self._holdfast_doors.call(call))


async def _agenerate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
    call = self._holdfast_doors.begin(self._holdfast_inner, args, kwargs, kwargs.get("run_manager"))
    return cast("ChatResult", await self._holdfast_doors.acall(call))


def _ask(call: Call) -> ChatResult:
    """One attempt at a whole answer."""
    inner = call.model
    number = call.begin(inner.rate_limiter)
    try:
        result = call.asks(inner._generate, "function")(*call.args, **call.kwargs)
    except Exception as error:
        call.error = error
        raise
    return sign_result(result, {"attempts": number})


async def _aask(call: Call) -> ChatResult:
    inner = call.model
    number = await call.abegin(inner.rate_limiter)
    try:
        result = await call.asks(inner._agenerate, "coroutine")(*call.args, **call.kwargs)
    except Exception as error:
        call.error = error
        raise
    return sign_result(result, {"attempts": number})


def _stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
    inner = self._holdfast_inner
    call = self._holdfast_doors.begin(inner, args, kwargs, kwargs.get("run_manager") or run_of(self))

    def attempt(*other: Any, **others: Any) -> Iterator[ChatGenerationChunk]:
        number = call.begin(inner.rate_limiter)
        now, named = call.changed(other, others)
        facts = None if other or others else {"attempts": number}
        return relay(call.asks(inner._stream, "generator")(*now, **named), facts, call)

    return cast(
        "Iterator[ChatGenerationChunk]", self._holdfast_doors.stream(told_of(attempt, inner, args, kwargs))
    )


def _astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
    inner = self._holdfast_inner
    call = self._holdfast_doors.begin(inner, args, kwargs, kwargs.get("run_manager") or run_of(self))

    async def attempt(*other: Any, **others: Any) -> AsyncIterator[ChatGenerationChunk]:
        number = await call.abegin(inner.rate_limiter)
        now, named = call.changed(other, others)
        facts = None if other or others else {"attempts": number}
        made = call.asks(inner._astream, "async_generator")(*now, **named)
        async with aclosing(arelay(made, facts, call)) as chunks:
            async for chunk in chunks:
                yield chunk

    return cast(
        "AsyncIterator[ChatGenerationChunk]",
        self._holdfast_doors.astream(told_of(attempt, inner, args, kwargs)),
    )


def _event_stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    hook = self._holdfast_inner._stream_chat_model_events
    return cast("Iterator[Any]", self._holdfast_pipeline.stream(hook, *args, **kwargs))


def _aevent_stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    hook = self._holdfast_inner._astream_chat_model_events
    return cast("AsyncIterator[Any]", self._holdfast_pipeline.astream(hook, *args, **kwargs))

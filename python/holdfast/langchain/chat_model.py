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
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from holdfast._chat import for_chat
from holdfast.langchain._copies import quiet_model
from holdfast.langchain._instead import told_of
from holdfast.langchain._messages import Attempts, Resumable, arelay, relay, sign_result
from holdfast.langchain._nodes import marks_its_ends

Model = TypeVar("Model", bound=BaseChatModel)
Namespace = dict[str, Any]

# The slots of a guarded model: outside its fields, so that no dump, comparison or trace sees them.
_PIPELINE, _INNER = "_holdfast_pipeline", "_holdfast_inner"


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
    return guarded


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
        "__slots__": (_PIPELINE, _INNER),
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
    hooks = {"_generate": _generate, "_agenerate": _agenerate}
    if _overrides(base, "_stream"):
        hooks["_stream"] = _stream
    if _overrides(base, "_stream") or _overrides(base, "_astream"):
        hooks["_astream"] = _astream
    if hasattr(base, "_stream_chat_model_events"):
        hooks["_stream_chat_model_events"] = _event_stream
    if hasattr(base, "_astream_chat_model_events"):
        hooks["_astream_chat_model_events"] = _aevent_stream
    return {name: _with_signature_of(getattr(base, name), hook) for name, hook in hooks.items()}


def _with_signature_of(original: Callable[..., Any], hook: Any) -> Callable[..., Any]:
    """A fresh copy of `hook` with the signature of `original`, which LangChain reads to know what to pass."""
    fresh = types.FunctionType(hook.__code__, hook.__globals__, hook.__name__)
    return functools.wraps(original)(fresh)


def _overrides(base: type[BaseChatModel], name: str) -> bool:
    return getattr(base, name) is not getattr(BaseChatModel, name)


def _generate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
    inner, attempts = self._holdfast_inner, Attempts(paid=1)

    def attempt() -> ChatResult:
        number = attempts.begin(inner.rate_limiter)
        return sign_result(inner._generate(*args, **kwargs), attempts=number)

    return cast("ChatResult", self._holdfast_pipeline.call(told_of(attempt, inner, args, kwargs)))


async def _agenerate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
    inner, attempts = self._holdfast_inner, Attempts(paid=1)

    async def attempt() -> ChatResult:
        number = await attempts.abegin(inner.rate_limiter)
        return sign_result(await inner._agenerate(*args, **kwargs), attempts=number)

    return cast("ChatResult", await self._holdfast_pipeline.acall(told_of(attempt, inner, args, kwargs)))


def _stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
    inner, attempts, given = self._holdfast_inner, Attempts(paid=1), Resumable(args, kwargs)

    def attempt(*other: Any, **others: Any) -> Iterator[ChatGenerationChunk]:
        number = attempts.begin(inner.rate_limiter)
        now, named = given.changed(inner, other, others)
        return relay(inner._stream(*now, **named), **({} if other or others else {"attempts": number}))

    return cast(
        "Iterator[ChatGenerationChunk]", self._holdfast_pipeline.stream(told_of(attempt, inner, args, kwargs))
    )


def _astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
    inner, attempts, given = self._holdfast_inner, Attempts(paid=1), Resumable(args, kwargs)

    async def attempt(*other: Any, **others: Any) -> AsyncIterator[ChatGenerationChunk]:
        number = await attempts.abegin(inner.rate_limiter)
        now, named = given.changed(inner, other, others)
        facts = {} if other or others else {"attempts": number}
        async with aclosing(arelay(inner._astream(*now, **named), **facts)) as chunks:
            async for chunk in chunks:
                yield chunk

    return cast(
        "AsyncIterator[ChatGenerationChunk]",
        self._holdfast_pipeline.astream(told_of(attempt, inner, args, kwargs)),
    )


def _event_stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    hook = self._holdfast_inner._stream_chat_model_events
    return cast("Iterator[Any]", self._holdfast_pipeline.stream(hook, *args, **kwargs))


def _aevent_stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    hook = self._holdfast_inner._astream_chat_model_events
    return cast("AsyncIterator[Any]", self._holdfast_pipeline.astream(hook, *args, **kwargs))

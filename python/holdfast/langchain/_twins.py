"""A guarded twin of an object: of a subclass of its class made on the fly, with the same state.

What asks for a type (`isinstance`, an identity test on a method, a signature) gets the answers of the object's
own class; only the methods that are to be guarded are overridden, and they run on the object itself, so that a
method which calls another one of its own is guarded once and not twice.

    twin (subclass) ──┐
                      ├── one shared state
    inner (itself)  ──┘
"""

import copy
import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")
Namespace = dict[str, Any]

PIPELINE, INNER = "_holdfast_pipeline", "_holdfast_inner"
_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def twin(pipeline: Any, inner: T, methods: Namespace) -> T:
    """The twin of `inner` whose methods of these names are guarded by the pipeline.

    Args:
        pipeline: What the methods find as `self._holdfast_pipeline`.
        inner: What they find as `self._holdfast_inner`.
        methods: By name: functions with `self`. Each gets the signature of the method that it stands for.
    """
    kind: Any = type(inner)
    return _assemble(twin_class(kind, tuple(methods.items())), pipeline, inner)


@functools.lru_cache(maxsize=256)
def twin_class(base: Any, methods: tuple[tuple[str, Any], ...]) -> Any:
    """The subclass of `base`. It keeps the name, for traces show it."""
    namespace: Namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__slots__": (PIPELINE, INNER),
        "__copy__": _copied,
        "__deepcopy__": _deeply_copied,
        "__reduce__": _reduced,
        **{name: _in_the_place_of(getattr(base, name), method) for name, method in methods},
    }
    if hasattr(base, "model_config"):
        # Nothing is ever validated against the subclass: its instances are made from finished ones.
        namespace["model_config"] = {"defer_build": True}
    return type(base)(base.__name__, (base,), namespace)


def _assemble(cls: Any, pipeline: Any, inner: T) -> T:
    made = cls.__new__(cls)
    for state in _STATE:
        if hasattr(inner, state):
            object.__setattr__(made, state, getattr(inner, state))
    object.__setattr__(made, PIPELINE, pipeline)
    object.__setattr__(made, INNER, inner)
    return cast("T", made)


def _in_the_place_of(original: Callable[..., Any], method: Any) -> Callable[..., Any]:
    """A fresh copy of `method` with the signature of `original`, which LangChain reads to know what to pass."""
    code = (method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    fresh = types.FunctionType(*code)
    fresh.__kwdefaults__ = method.__kwdefaults__
    return functools.wraps(original)(fresh)


# A copy gets an inner object of its own and shares the pipeline, whose state is the callee's health.


def _copied(self: Any) -> Any:
    return _assemble(type(self), self._holdfast_pipeline, copy.copy(self._holdfast_inner))


def _deeply_copied(self: Any, memo: dict[int, Any] | None = None) -> Any:
    return _assemble(type(self), self._holdfast_pipeline, copy.deepcopy(self._holdfast_inner, memo))


def _reduced(self: Any) -> tuple[Any, ...]:
    # By way of the pipeline, which says why it cannot be pickled.
    return _assemble, (type(self), self._holdfast_pipeline, self._holdfast_inner)

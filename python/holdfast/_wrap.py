"""What kind of callable is this? The one place that decides how a thing is guarded."""

from __future__ import annotations

import sys

from holdfast import _native
from holdfast._exceptions import ConfigurationError
from holdfast._values import Immutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

    from holdfast._policies import Pipeline

    Colour: TypeAlias = Literal["function", "coroutine", "generator", "async_generator"]
    P = ParamSpec("P")
    T = TypeVar("T")

_DOOR = {"function": "call", "coroutine": "acall", "generator": "stream", "async_generator": "astream"}
_ARTICLE = {
    "coroutine": "an async function",
    "generator": "a generator function",
    "async_generator": "an async generator function",
}
_RULE = (
    "be a function, a method, an async function, a generator function, a LangChain Runnable or an LLM client"
)
_PARTS = (
    ("langchain_core.embeddings.embeddings", "Embeddings"),
    ("langchain_core.vectorstores.base", "VectorStore"),
)
_CLIENTS = ("SyncAPIClient", "AsyncAPIClient")
"""What the clients of openai, anthropic and the other SDKs made by the same generator descend from."""


class Guarding(Immutable):
    """The decorator form that every policy and every pipeline has."""

    __slots__ = ()

    _pipe: Pipeline

    def _alone(self) -> Pipeline:
        """The pipeline of this policy and nothing else."""
        raise TypeError(f"{type(self).__name__} does not say which pipeline it is")

    def _as_pipeline(self) -> Pipeline:
        try:
            return self._pipe
        except AttributeError:
            # Two threads may each make one: both hold the same policy, and either will do.
            object.__setattr__(self, "_pipe", self._alone())
            return self._pipe

    def __call__(self, target: T) -> T:
        """The guarded form of ``target``, of the same colour.

        Args:
            target: A function, method, coroutine function, generator or async generator function; a LangChain
                Runnable, embeddings or a vector store; or a client of ``openai`` or ``anthropic``.

        Raises:
            ConfigurationError: ``target`` is none of these.
        """
        guarded: T = guard(self._as_pipeline(), target)
        return guarded

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes one guarded call of the plain function ``fn``.

        Raises:
            ConfigurationError: ``fn`` is not callable, or is a coroutine function.
            Rejected: The call was not made.
            CallTimeout: A clock ran out.
            Exception: Whatever the last attempt raised.
        """
        guarded: Callable[P, T] = as_colour(self._as_pipeline(), fn, "function")
        return guarded(*args, **kwargs)

    def acall(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Makes one guarded call of the coroutine function ``fn`` when awaited; raises as ``call`` does."""
        guarded: Callable[P, Coroutine[Any, Any, T]] = as_colour(self._as_pipeline(), fn, "coroutine")
        return guarded(*args, **kwargs)


def guard(pipeline: Any, target: Any) -> Any:
    """The guarded form of ``target``, of the same colour."""
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(guard(pipeline, target.__func__))
    if is_runnable(target):
        from holdfast.langchain import wrap_runnable

        return wrap_runnable(pipeline, target)
    if is_langchain_part(target):
        from holdfast.langchain import wrap_part

        return wrap_part(pipeline, target)
    if is_client(target):
        from holdfast.clients import guard_client

        return guard_client(pipeline, target)
    if not callable(target):
        raise bad_target(_RULE, target)
    return dress(pipeline._guard(target, colour_of(target)), target)


def as_colour(pipeline: Any, target: Callable[..., Any], colour: Colour) -> Any:
    """A guard for one use; ``target`` must be callable, and of the colour that is asked for."""
    if not callable(target):
        raise bad_target(_RULE, target)
    found = colour_of(target)
    # What a plain function gives may be awaitable or iterable; that shows when it is called.
    if found not in (colour, "function"):
        raise bad_target(f"be used by {_DOOR[found]}, because it is {_ARTICLE[found]}", target)
    return pipeline._guard(target, colour)


def dress(guarded: _native.Guard, target: Callable[..., Any]) -> _native.Guard:
    """Gives ``guarded`` the name, doc, module and signature of ``target``."""
    import functools

    functools.update_wrapper(guarded, target)
    if not hasattr(guarded, "__qualname__"):
        # Partials and callable objects have no name of their own.
        guarded.__qualname__ = guarded.__name__ = type(target).__name__
    if not hasattr(guarded, "__code__"):
        _lend_code(guarded, target)
    return guarded


def _lend_code(guarded: Any, target: Any) -> None:
    """Lets ``inspect`` see the colour of a partial's or a callable object's guard, which it reads off the code."""
    import functools

    while isinstance(target, functools.partial):
        target = target.func
    owner = target if hasattr(target, "__code__") else getattr(type(target), "__call__", None)  # noqa: B004
    for name in ("__code__", "__defaults__", "__kwdefaults__", "__annotations__"):
        if hasattr(owner, name):
            setattr(guarded, name, getattr(owner, name))


def colour_of(target: Callable[..., Any]) -> Colour:
    """How ``target`` gives its answer."""
    import inspect

    if isinstance(target, _native.Guard):
        return target.colour
    for candidate in (target, getattr(type(target), "__call__", None)):  # noqa: B004 the method, not a test
        if candidate is None:
            continue
        if inspect.isasyncgenfunction(candidate):
            return "async_generator"
        if inspect.iscoroutinefunction(candidate):
            return "coroutine"
        if inspect.isgeneratorfunction(candidate):
            return "generator"
        if candidate is target and inspect.isroutine(target):
            break
    return "function"


def bad_target(rule: str, target: object) -> ConfigurationError:
    """The error for a target: it tells the type, because the target's own repr may hold a key or a prompt."""
    told = f"target must {rule}, got {'' if target is None else 'a value of type '}{type(target).__name__}"
    return ConfigurationError(told, field="target", rule=rule, value=target)


def is_runnable(target: object) -> bool:
    """Is it a LangChain Runnable? Without LangChain in the process nothing is."""
    base = sys.modules.get("langchain_core.runnables.base")
    return base is not None and isinstance(target, base.Runnable)


def is_langchain_part(target: object) -> bool:
    """Is it one of LangChain's parts that are no Runnables: embeddings or a vector store?"""
    for module, name in _PARTS:
        base = getattr(sys.modules.get(module), name, None)
        if base is not None and isinstance(target, base):
            return True
    return False


def is_client(target: object) -> bool:
    """Is it a client of openai, anthropic or another SDK of the same make? Told by the names of its ancestors."""
    return any(cls.__name__ in _CLIENTS for cls in type(target).__mro__)

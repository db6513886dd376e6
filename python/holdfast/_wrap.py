"""What kind of callable is this? The one place that decides how a thing is guarded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from holdfast._exceptions import refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from holdfast import _native

    Colour = Literal["function", "coroutine", "generator", "async_generator"]

_RULE = "be a function, a method, an async function, a generator function or a LangChain Runnable"


def guard(pipeline: Any, target: Any) -> Any:
    """The guarded form of ``target``, of the same colour."""
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(guard(pipeline, target.__func__))
    if is_runnable(target):
        from holdfast.langchain import wrap_runnable

        return wrap_runnable(pipeline, target)
    if not callable(target):
        raise refuse("target", _RULE, target)
    return dress(pipeline._guard(target, colour_of(target)), target)


def as_colour(pipeline: Any, target: Callable[..., Any], colour: Colour) -> Any:
    """A guard for one use; ``target`` must be callable, and of the colour that is asked for."""
    if not callable(target):
        raise refuse("target", _RULE, target)
    found = colour_of(target)
    if colour == "function" and found == "coroutine":
        raise refuse("target", "be a plain function for call (an async one goes to acall)", target)
    return pipeline._guard(target, colour)


def dress(guarded: _native.Guard, target: Callable[..., Any]) -> _native.Guard:
    """Gives ``guarded`` the name, doc, module and signature of ``target``."""
    import functools

    functools.update_wrapper(guarded, target)
    if not hasattr(guarded, "__qualname__"):
        # Partials and callable objects have no name of their own.
        guarded.__qualname__ = guarded.__name__ = type(target).__name__
    return guarded


def colour_of(target: Callable[..., Any]) -> Colour:
    """How ``target`` gives its answer."""
    import inspect

    for candidate in (target, getattr(type(target), "__call__", None)):  # noqa: B004  # the method, not a test
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


def is_runnable(target: Any) -> bool:
    """Is it a LangChain Runnable? Without LangChain in the process nothing is."""
    base = sys.modules.get("langchain_core.runnables.base")
    return base is not None and isinstance(target, base.Runnable)

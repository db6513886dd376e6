"""The layers of one object: how many requests one call of it can become, and how long it can wait."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from holdfast.doctor.finding import Finding, seconds
from holdfast.doctor.libraries import GUARD, LONG, longest

# How deep bindings, sequences and fallbacks may be nested: what is deeper is a ring.
DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that makes attempts, or that waits.

    Attributes:
        name: Its class, or what it is called.
        attempts: How often it asks what is inside it.
        wait: The longest single wait, in seconds; infinite if nothing ends it; `None` if it does not wait itself.
        bounded: Seconds after which everything inside it is over, or `None`.
        guard: Whether it is ours.
    """

    name: str
    attempts: int = 1
    wait: float | None = None
    bounded: float | None = None
    guard: bool = False


def look_at_target(spec: str) -> Iterator[Finding]:
    """What one call of an object can become.

    Args:
        spec: Where it is: ``module:attribute``, ``module:object.attribute``.

    Raises:
        ValueError: ``spec`` is not written so.
        ImportError: There is no such module, or importing it failed.
        AttributeError: The module has no such attribute.
    """
    for path in paths(_load(spec)):
        yield _judge(spec, path)


def _load(spec: str) -> Any:
    module, colon, attribute = spec.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{spec!r} must be written module:attribute, app.models:chat for example")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    value = importlib.import_module(module)
    for name in attribute.split("."):
        value = getattr(value, name)
    return value


def paths(value: Any, depth: int = DEEPEST) -> list[list[Layer]]:
    """Each way from the outside to a provider, as the layers on it, outermost first."""
    layer, inner = _open(value)
    own = [] if layer is None else [layer]
    if not inner or depth == 0:
        return [own]
    return [own + path for part in inner for path in paths(part, depth - 1)]


def _open(value: Any) -> tuple[Layer | None, list[Any]]:
    """The layer that a thing is, if it is one, and what is inside it."""
    from holdfast.clients._copies import is_stainless

    name = type(value).__name__
    pipeline = getattr(value, "pipeline", None) or getattr(value, "_holdfast_pipeline", None)
    if type(pipeline).__name__ == "Pipeline":
        inner = getattr(value, "_holdfast_inner", None) or getattr(value, "__wrapped__", None)
        return _guard(pipeline), [] if inner is None else [inner]
    if is_stainless(value):
        wait = longest(value.timeout)
        return Layer(name, value.max_retries + 1, float("inf") if wait is None else wait), []
    if _is(value, "langchain_core.runnables.retry", "RunnableRetry"):
        return Layer("with_retry", value.max_attempt_number), [value.bound]
    if _is(value, "langchain_core.runnables.fallbacks", "RunnableWithFallbacks"):
        return None, [value.runnable, *value.fallbacks]
    if _is(value, "langchain_core.runnables.base", "RunnableSequence"):
        return None, [step for step in value.steps if _reaches_out(step)]
    if _is(value, "langchain_core.runnables.base", "RunnableBindingBase"):
        return None, [value.bound]
    if _is(value, "langchain_core.language_models.chat_models", "BaseChatModel"):
        return None, _clients(value)
    if _is(value, "litellm.router", "Router"):
        wait = getattr(value, "timeout", None)
        retries = getattr(value, "num_retries", 0) or 0
        return Layer("litellm.Router", retries + 1, float("inf") if wait is None else float(wait)), []
    return _decorated(value)


def _guard(pipeline: Any) -> Layer:
    attempts = getattr(pipeline.retry, "attempts", 1)
    total = getattr(pipeline.timeout, "total", None)
    return Layer("holdfast", attempts, bounded=total, guard=True)


def _decorated(value: Any) -> tuple[Layer | None, list[Any]]:
    """A function under tenacity's decorator; what it wraps is looked at too."""
    retrying = getattr(value, "retry", None)
    inner = getattr(value, "__wrapped__", None)
    parts = [] if inner is None else [inner]
    number = getattr(getattr(retrying, "stop", None), "max_attempt_number", None)
    if isinstance(number, int):
        return Layer("tenacity", number), parts
    return None, parts


def _is(value: Any, module: str, cls: str) -> bool:
    """Is it an instance of that class? Asked without importing anything."""
    known = sys.modules.get(module)
    return known is not None and isinstance(value, getattr(known, cls, ()))


def _reaches_out(step: Any) -> bool:
    return any(path for path in paths(step))


def _clients(model: Any) -> list[Any]:
    """The sync client of a chat model; its async one, and resources of either, stand for the same requests."""
    from holdfast.clients._copies import is_stainless

    held = [*vars(model).values(), *(getattr(model, "__pydantic_private__", None) or {}).values()]
    clients = [value for value in held if is_stainless(value)]
    if not clients:
        owners = (getattr(value, "_client", None) for value in held)
        clients = [value for value in owners if is_stainless(value)]
    if not clients:
        lazy = getattr(model, "_client", None)
        clients = [lazy] if is_stainless(lazy) else []
    return clients[:1]


def _judge(spec: str, path: list[Layer]) -> Finding:
    subject = " > ".join([spec, *(layer.name for layer in path)])
    if not path:
        text = "Nothing in it is known to doctor: neither a guard, nor a client, nor a retry."
        return Finding("note", spec, text, "Point at the client, the model or the guarded function itself.")
    requests = prod(layer.attempts for layer in path)
    counted = " x ".join(str(layer.attempts) for layer in path if layer.attempts > 1)
    makers = sum(layer.attempts > 1 for layer in path)
    text = f"One call becomes at most {requests} request{'s' if requests > 1 else ''}"
    text += f" ({counted})" if makers > 1 else ""
    wait, bound = _waits(path)
    text += f"; {_told(wait, bound)}."
    guarded = any(layer.guard for layer in path)
    if makers > 1:
        return Finding(
            "warning", subject, text, "Let one layer make the attempts. " + ("" if guarded else GUARD)
        )
    if bound is None and (wait is None or wait > LONG) and not (guarded and wait is None):
        return Finding("warning", subject, text, "Give the guard `timeout=`." if guarded else GUARD)
    if not guarded and requests > 1:
        return Finding("note", subject, text, GUARD)
    return Finding("ok", subject, text)


def _waits(path: list[Layer]) -> tuple[float | None, float | None]:
    """The longest single wait on the path, and the time after which the whole call is over."""
    waits = [layer.wait for layer in path if layer.wait is not None]
    bounds = [layer.bounded for layer in path if layer.bounded is not None]
    return max(waits, default=None), min(bounds, default=None)


def _told(wait: float | None, bound: float | None) -> str:
    if bound is not None:
        return f"it is over after {seconds(bound)}"
    if wait is None:
        return "doctor sees no clock that ends it"
    if wait == float("inf"):
        return "a wait in it never ends"
    return f"a single wait in it may take {seconds(wait)}"

"""The same runnable with the retries of its SDK off, on a copy.

The clients are the business of `holdfast.clients`; this module knows where chat models keep them.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

from holdfast.clients._bounded import shallow
from holdfast.clients._copies import quiet, warn_unknown

Model = TypeVar("Model", bound=BaseChatModel)

_ONE_ATTEMPT = {
    "langchain_anthropic": 0,
    "langchain_aws": 0,
    "langchain_cohere": 0,
    "langchain_google_genai": 1,
    "langchain_groq": 0,
    "langchain_mistralai": 1,
    "langchain_ollama": 0,
    "langchain_openai": 0,
}
"""What `max_retries` must be for a single attempt, by package: some count retries, some attempts."""

_NOT_A_PROVIDER = ("langchain_core", "holdfast")
_LAZY_CLIENTS = ("_client", "_async_client")
"""Names of cached properties that build a client when it is first used."""


def without_sdk_retries(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The runnable with the retries of its chat models' SDKs off; itself, if there is nothing to switch off.

    Sequences, parallels and bindings are searched; the parts that change are copied, and what holds them.
    """
    match runnable:
        case BaseChatModel():
            return quiet_model(runnable)
        case RunnableBindingBase():
            bound = without_sdk_retries(runnable.bound)
            return runnable if bound is runnable.bound else runnable.model_copy(update={"bound": bound})
        case RunnableSequence():
            steps = [without_sdk_retries(step) for step in runnable.steps]
            if _same(steps, runnable.steps):
                return runnable
            parts = {"first": steps[0], "middle": steps[1:-1], "last": steps[-1]}
            return runnable.model_copy(update=parts)
        case RunnableParallel():
            branches = {key: without_sdk_retries(step) for key, step in runnable.steps__.items()}
            if _same(list(branches.values()), list(runnable.steps__.values())):
                return runnable
            return runnable.model_copy(update={"steps__": branches})
        case _:
            return runnable


def quiet_model(model: Model) -> Model:
    """The chat model with the retries of its SDK off and its sync waits bounded; itself, if there are none.

    A model of a package that is not known, and holds no client that is, comes back as it is, with a warning.
    """
    known: dict[int, tuple[Any, Any]] = {}
    fields = _changes(vars(model), known)
    private = _changes(model.__pydantic_private__ or {}, known)
    number = _single_attempt(model)
    if number is None and (fields or private):
        number = 0
    if number is None:
        if not _is_core(model):
            warn_unknown(model)
        return model
    # A number that some model may leave unset means its SDK's default.
    if "max_retries" in vars(model) and vars(model)["max_retries"] != number:
        fields["max_retries"] = number
    lazy = [name for name in _LAZY_CLIENTS if name not in vars(model) and _is_cached(type(model), name)]
    if not (fields or private or lazy):
        return model
    return _copied(model, fields, private, lazy)


def quiet_embeddings(embeddings: Any) -> Any:
    """The embeddings with the retries of their SDK off and their sync waits bounded, likewise."""
    if hasattr(type(embeddings), "model_fields"):
        return quiet_model(embeddings)
    changes = _changes(vars(embeddings), {})
    if not changes:
        return embeddings
    copied = shallow(embeddings)
    copied.__dict__.update(changes)
    return copied


def _copied(model: Model, fields: dict[str, Any], private: dict[str, Any], lazy: list[str]) -> Model:
    copied = model.model_copy()
    # Past the field validators: those of some models build their clients anew, with the retries on.
    copied.__dict__.update(fields)
    copied.__dict__.pop("_client_params", None)  # cached, with the number of retries in it
    if private:
        object.__setattr__(copied, "__pydantic_private__", {**(copied.__pydantic_private__ or {}), **private})
    for name in lazy:
        copied.__dict__[name] = quiet(getattr(copied, name))
    return copied


def _changes(attributes: dict[str, Any], known: dict[int, tuple[Any, Any]]) -> dict[str, Any]:
    """The attributes that must differ in the copy."""
    copies = {name: quiet(value, known) for name, value in attributes.items()}
    return {name: copied for name, copied in copies.items() if copied is not attributes[name]}


def _packages(model: BaseChatModel) -> list[str]:
    return [cls.__module__.partition(".")[0] for cls in type(model).__mro__]


def _single_attempt(model: BaseChatModel) -> int | None:
    return next((_ONE_ATTEMPT[name] for name in _packages(model) if name in _ONE_ATTEMPT), None)


def _is_core(model: BaseChatModel) -> bool:
    return type(model).__module__.partition(".")[0] in _NOT_A_PROVIDER


def _is_cached(cls: type, name: str) -> bool:
    return isinstance(getattr(cls, name, None), functools.cached_property)


def _same(new: list[Any], old: list[Any]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))

"""What one provider's models understand and another's do not: settings, when another provider takes over.

Whoever calls a pool speaks the language of its first model: `service_tier="flex"`, `thinking={...}`, tools in that
provider's own format. To a node of another provider these words are an error (its SDK refuses names that it does
not know, its server answers 400), so that the one call that was to be saved would fail there. A node of another
provider is given what it understands: what all of them do, what is known of its kind, tools in its own format.
What a node shall have beyond that is a setting of its own model.

Providers are known by the package of their model's class (`langchain_openai`), else by `_llm_type`; two that are
equal there are the same provider, and nothing is changed between them.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

_COMMON: Final = frozenset({"max_tokens", "stop", "stream", "temperature", "timeout", "top_p"})
"""What every provider's model understands alike."""

_LIKE_OPENAI: Final = frozenset({"openai", "deepseek", "fireworks", "groq", "openrouter", "together", "xai"})
"""Providers whose chat endpoint is OpenAI's in all but its latest settings."""

_OPENAI: Final = frozenset({"openai"})
_ANTHROPIC: Final = frozenset({"anthropic"})
_GOOGLE: Final = frozenset({"google"})
_NOBODY: Final[frozenset[str]] = frozenset()

_TAKERS: Final[dict[str, frozenset[str]]] = {
    # Known to several under one name, with one meaning.
    "frequency_penalty": _LIKE_OPENAI | {"mistral"},
    "logit_bias": _LIKE_OPENAI,
    "logprobs": _LIKE_OPENAI,
    "max_completion_tokens": frozenset({"openai", "groq", "xai"}),
    "n": _LIKE_OPENAI,
    "parallel_tool_calls": _LIKE_OPENAI | {"mistral"},
    "presence_penalty": _LIKE_OPENAI | {"mistral"},
    "prompt_cache_key": frozenset({"openai", "fireworks"}),
    "reasoning_effort": _LIKE_OPENAI | {"anthropic"},
    "response_format": _LIKE_OPENAI | {"anthropic", "mistral"},
    "seed": _LIKE_OPENAI | {"google", "ollama"},
    "stream_usage": _LIKE_OPENAI | {"anthropic"},
    "top_k": frozenset({"anthropic", "cohere", "fireworks", "google", "ollama", "together"}),
    "top_logprobs": _LIKE_OPENAI,
    # One provider's own.
    **dict.fromkeys(
        ("audio", "background", "conversation", "include", "modalities", "prediction", "previous_response_id",
         "prompt", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store", "strict",
         "stream_options", "text", "truncation", "verbosity", "web_search_options"),
        _OPENAI,
    ),
    **dict.fromkeys(
        ("betas", "cache_control", "container", "context_management", "effort", "inference_geo", "mcp_servers",
         "output_config", "speed", "stop_sequences", "system", "thinking"),
        _ANTHROPIC,
    ),
    **dict.fromkeys(
        ("cached_content", "generation_config", "include_thoughts", "max_output_tokens", "response_mime_type",
         "response_modalities", "response_schema", "safety_settings", "thinking_budget", "thinking_level"),
        _GOOGLE,
    ),
    "reasoning": frozenset({"openai", "openrouter", "ollama"}),
    "reasoning_format": frozenset({"groq"}),
    "guardrail_config": frozenset({"bedrock"}),
    "performance_config": frozenset({"bedrock"}),
    # The same name, and a meaning of each provider's own: no one else's.
    **dict.fromkeys(
        ("extra_body", "extra_headers", "extra_query", "function_call", "functions", "headers", "metadata",
         "model", "model_name", "service_tier", "user"),
        _NOBODY,
    ),
}  # fmt: skip
"""Who understands a setting. A name that is not here is unknown: somebody's own."""

_REFUSING: Final = frozenset({"openai", "anthropic", "groq"})
"""Providers whose SDK refuses names that it does not know; to others an unknown name is given."""

_ALIASES: Final = {"aws": "bedrock", "azure": "openai", "mistralai": "mistral", "vertexai": "google"}
_KNOWN: Final = frozenset().union(*_TAKERS.values()) | {"cohere", "google"}
_BOUND: Final = ("tools", "tool_choice", "parallel_tool_calls", "strict")
_MARK: Final = "cache_control"


@functools.lru_cache(maxsize=256)
def _of_class(kind: type[Any]) -> tuple[str, ...]:
    """The providers that the packages of a class and its ancestors belong to, the most specific first."""
    roots = [ancestor.__module__.partition(".")[0] for ancestor in kind.__mro__]
    own = [root.removeprefix("langchain_") for root in roots if root.startswith("langchain_")]
    return tuple(dict.fromkeys(_named(name) for name in own if name not in ("core", "tests", "community")))


def provider_of(model: BaseChatModel) -> str:
    """Whose model it is."""
    of_class = _of_class(type(model))
    return of_class[0] if of_class else _named(model._llm_type)


def reads_cache_marks(model: BaseChatModel) -> bool:
    """Does its provider know `cache_control` in content and tools? Other servers refuse it."""
    return "anthropic" in (*_of_class(type(model)), _named(model._llm_type))


def _named(name: str) -> str:
    """`openai` of `openai-chat`, `azure-openai-chat`, `google_genai`; a name that says nothing stays as it is."""
    words = [_ALIASES.get(word, word) for word in re.split(r"[-_]", name)]
    return next((word for word in words if word in _KNOWN), name)


def settings_for(model: BaseChatModel, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a call, for a model of another provider than the caller's words are for."""
    provider = provider_of(model)
    kept = {name: value for name, value in kwargs.items() if name not in _BOUND and _takes(provider, name)}
    limit = kwargs.get("max_completion_tokens")
    if limit is not None and "max_completion_tokens" not in kept:
        kept.setdefault("max_tokens", limit)
    if kwargs.get("tools"):
        more = {name: kwargs[name] for name in _BOUND[1:] if kwargs.get(name) is not None}
        bound = bind_translated(model, kwargs["tools"], more)
        kept = {**getattr(bound, "kwargs", {}), **kept}
    elif kwargs.get("tool_choice") is not None:
        kept.update(_choice_alone(kwargs["tool_choice"], provider))
    return kept


def bind_translated(model: BaseChatModel, tools: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
    """`bind_tools` of a model of another provider: what the caller says, in words that it understands."""
    provider = provider_of(model)
    parameters = _parameters(type(model).bind_tools)
    named = {name: value for name, value in kwargs.items() if name in parameters or _takes(provider, name)}
    if "tool_choice" in kwargs:
        named["tool_choice"] = _choice(kwargs["tool_choice"], provider)
    marks = reads_cache_marks(model)
    mine = [tool if marks else _without_marks(tool) for tool in tools if not _is_built_in(tool)]
    return model.bind_tools(mine, **named)


def without_cache_marks(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages, without what asks one provider alone to keep a piece of them."""
    return [_unmarked(message) for message in messages]


def _takes(provider: str, name: str) -> bool:
    takers = _TAKERS.get(name)
    if takers is not None:
        return provider in takers
    return name in _COMMON or provider not in _REFUSING


@functools.lru_cache(maxsize=256)
def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    """The names that it has parameters for."""
    return frozenset(inspect.signature(method).parameters)


def _choice(choice: Any, provider: str) -> Any:
    """A choice of tools, in the words that every `bind_tools` understands: a tool's name, "auto", "any"."""
    if isinstance(choice, Mapping):
        named = choice.get("function", choice).get("name")
        choice = named or choice.get("type")
    if choice is True or choice == "required":
        return "any"
    return {"type": "none"} if choice == "none" and provider == "anthropic" else choice


def _choice_alone(choice: Any, provider: str) -> dict[str, Any]:
    """A choice among tools that were bound before, as it stands in the request."""
    said = _choice(choice, provider)
    if provider == "anthropic":
        types = ("any", "auto")
        said = (
            {"type": said}
            if said in types
            else {"type": "tool", "name": said}
            if isinstance(said, str)
            else said
        )
    elif provider in _LIKE_OPENAI:
        if said not in ("any", "auto", "none"):
            said = {"type": "function", "function": {"name": said}}
        said = "required" if said == "any" else said
    else:
        return {}
    return {"tool_choice": said}


def _is_built_in(tool: Any) -> bool:
    """A tool that a provider runs itself, such as its web search: nobody else has it."""
    if not isinstance(tool, Mapping):
        return False
    described = any(key in tool for key in ("function", "input_schema", "parameters", "properties"))
    return not described and tool.get("type") not in (None, "custom", "function")


def _without_marks(tool: Any) -> Any:
    marked = isinstance(tool, Mapping) and _MARK in tool
    return {name: value for name, value in tool.items() if name != _MARK} if marked else tool


def _unmarked(message: BaseMessage) -> BaseMessage:
    content = message.content
    if not isinstance(content, list) or not any(map(_has_mark, content)):
        return message
    return message.model_copy(update={"content": [_clean(block) for block in content]})


def _has_mark(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    inside = block.get("content")
    nested = (block.get("extras"), block.get("metadata"), *(inside if isinstance(inside, list) else ()))
    return _MARK in block or any(map(_has_mark, nested))


def _clean(block: Any) -> Any:
    if not _has_mark(block):
        return block
    kept = {name: value for name, value in block.items() if name != _MARK}
    for name in ("extras", "metadata"):
        if _has_mark(kept.get(name)):
            kept[name] = _clean(kept[name])
    if isinstance(kept.get("content"), list):
        kept["content"] = [_clean(inner) for inner in kept["content"]]
    return kept

"""How many tokens an answer says it used: what settles the estimate of a weighted rate limit.

Known are the shapes of LangChain's messages (``usage_metadata``), of OpenAI's and Anthropic's answers (``usage``),
and the same as dicts. Of anything else nothing is said.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PARTS = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))


def tokens_used(answer: Any) -> float | None:
    """The tokens that ``answer`` says it used, asked and answered together; ``None`` if it says nothing."""
    for name in ("usage_metadata", "usage"):
        usage = _get(answer, name)
        if usage is not None:
            return _sum(usage)
    return None


def _sum(usage: Any) -> float | None:
    total = _number(_get(usage, "total_tokens"))
    if total is not None:
        return total
    for asked, answered in _PARTS:
        parts = [n for n in (_number(_get(usage, asked)), _number(_get(usage, answered))) if n is not None]
        if parts:
            return sum(parts)
    return None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _number(value: Any) -> float | None:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if real and 0 <= value < float("inf") else None

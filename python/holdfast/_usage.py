"""How many tokens an answer says it used: what settles the estimate of a weighted rate limit.

Known are the shapes of LangChain's messages and results (``usage_metadata``), of OpenAI's and Anthropic's answers
(``usage``), and the same as dicts; and of their streams, where some item says it. Of anything else nothing is said.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ASKED, _ANSWERED = ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")
_WITHIN = ("message", "response")
"""Where items of streams hold the message or the answer that has the figures."""


def tokens_used(answer: Any) -> float | None:
    """The tokens that ``answer`` says it used, asked and answered together; ``None`` if it says nothing."""
    for generation in _get(answer, "generations") or ():
        one = generation[0] if isinstance(generation, list) and generation else generation
        return tokens_used(_get(one, "message"))
    for name in ("usage_metadata", "usage"):
        usage = _get(answer, name)
        if usage is not None:
            return _sum(usage)
    return None


class _Stream:
    """Adds up what the items of one stream say: the total so far, ``None`` before the first word of it.

    LangChain's chunks tell what each adds. The others tell how much it is by now, OpenAI's once at the end,
    Anthropic's first what was asked and later what was answered.
    """

    __slots__ = ("_added", "_answered", "_asked", "_total")

    def __init__(self) -> None:
        self._added: float | None = None
        self._asked = self._answered = 0.0
        self._total: float | None = None

    def __call__(self, item: Any) -> float | None:
        for holder in (item, *(_get(item, name) for name in _WITHIN)):
            added = None if holder is None else _get(holder, "usage_metadata")
            if added is not None:
                self._added = (self._added or 0.0) + (_sum(added) or 0.0)
                return self._added
            usage = None if holder is None else _get(holder, "usage")
            if usage is not None:
                self._take(usage)
                break
        return self._added if self._total is None else self._total

    def _take(self, usage: Any) -> None:
        self._asked = max(self._asked, _first(usage, _ASKED) or 0.0)
        self._answered = max(self._answered, _first(usage, _ANSWERED) or 0.0)
        total = _number(_get(usage, "total_tokens"))
        self._total = self._asked + self._answered if total is None else total


tokens_used.for_stream = _Stream  # type: ignore[attr-defined]  # asked for anew by each stream


def _sum(usage: Any) -> float | None:
    total = _number(_get(usage, "total_tokens"))
    if total is not None:
        return total
    parts = [part for part in (_first(usage, _ASKED), _first(usage, _ANSWERED)) if part is not None]
    return sum(parts) if parts else None


def _first(usage: Any, names: tuple[str, ...]) -> float | None:
    return next((told for name in names if (told := _number(_get(usage, name))) is not None), None)


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _number(value: Any) -> float | None:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if real and 0 <= value < float("inf") else None

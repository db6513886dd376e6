"""An answer that is not true: what `Chaos` makes of a good one."""

from __future__ import annotations

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from typing import Any

_ENDS = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where chat models say that an answer is whole."""
_TEXTS = ("content", "text")
_FACTS = ("response_metadata", "generation_info", "llm_output")


def spoiled(answer: Any) -> Any:
    """Half of a text or a list; of a chat model's answer a copy with half of its text; of anything else ``None``."""
    if isinstance(answer, (str, bytes, list, tuple)):
        return answer[: len(answer) // 2]
    if hasattr(answer, "http_response"):
        return answer  # a client's raw response, not looked into yet
    if hasattr(answer, "model_copy"):
        copied = answer.model_copy(deep=True)
        _spoil(copied)
        return copied
    return None


def _spoil(thing: Any) -> None:
    fields = thing if isinstance(thing, dict) else getattr(thing, "__dict__", {})
    for name, value in list(fields.items()):
        if name in _ENDS and isinstance(value, str):
            fields[name] = None
        elif name in _TEXTS and isinstance(value, str):
            fields[name] = value[: len(value) // 2]
        elif name in _FACTS and isinstance(value, dict):
            fields[name] = {key: fact for key, fact in value.items() if key not in _ENDS}
        elif isinstance(value, list):
            for item in value:
                _spoil(item)
        elif hasattr(value, "model_copy"):
            _spoil(value)

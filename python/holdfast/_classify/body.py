"""What the body of an error says: codes, quota names, Google's RetryInfo, messages.

Only the places where providers put errors are entered. The rest of a body may be an echo of the
request, and a user's own `{"type": "insufficient_quota"}` is not the provider's word.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .facts import Facts

_MOST_PARTS: Final = 64
"""Dictionaries of one body that are looked at."""
_LONGEST_BODY: Final = 65_536
"""Characters of a body that are parsed."""
_LONGEST_CODE: Final = 100
_LONGEST_MESSAGE: Final = 2_000

_CODE_KEYS = ("code", "Code", "error_code", "type", "status", "reason", "__type")
_ENTERED = (
    "error", "Error", "errors", "details", "detail", "violations", "metadata", "raw", "innererror",
    "inner_error", "inner",
)  # fmt: skip
_MESSAGE_KEYS = ("message", "Message", "detail", "error", "error_description")


def read_body(facts: Facts, body: Any) -> None:
    """Add to `facts` what `body` says: a dictionary, a list, JSON as text, or nothing at all."""
    waiting = [_parsed(body)]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return
        part = waiting.pop(0)
        if issubclass(type(part), dict):
            _read_part(facts, part)
            waiting.extend(_parsed(dict.get(part, key)) for key in _ENTERED)
        elif type(part) is list:
            waiting.extend(part[:_MOST_PARTS])


def _parsed(body: Any) -> Any:
    """`body` itself, or what it says if it is JSON as text."""
    if type(body) is bytes:
        body = body[:_LONGEST_BODY].decode("utf-8", "replace")
    if type(body) is not str or len(body) > _LONGEST_BODY or body.lstrip()[:1] not in ("{", "["):
        return body
    import json

    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None  # an HTML page, or half an answer: the status alone must be enough


def _read_part(facts: Facts, part: dict[Any, Any]) -> None:
    for key in _CODE_KEYS:
        value = dict.get(part, key)
        if type(value) is str and len(value) <= _LONGEST_CODE:
            facts.codes.append(value.rpartition("#")[2])  # AWS: "com.amazon.coral#Throttling…"
        if type(value) is str and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and 300 <= value <= 599:
            facts.numbers.append(value)
    for key in ("quotaId", "quota_id"):
        value = dict.get(part, key)
        if type(value) is str:
            facts.quota_ids.append(value[:_LONGEST_CODE])
    for key in _MESSAGE_KEYS:
        value = dict.get(part, key)
        if type(value) is str:
            facts.messages.append(value[:_LONGEST_MESSAGE])
    if facts.retry_delay is None:
        facts.retry_delay = _retry_delay(part)


def _retry_delay(part: dict[Any, Any]) -> str | float | None:
    """Google's RetryInfo: ``"46.5s"``, or ``{"seconds": 46, "nanos": 500000000}``."""
    for key in ("retryDelay", "retry_delay"):
        value = dict.get(part, key)
        if type(value) is str:
            return value[:_LONGEST_CODE]
        if type(value) is dict:
            seconds, nanos = value.get("seconds", 0), value.get("nanos", 0)
            if type(seconds) in (int, str) and type(nanos) is int and str(seconds).isdigit():
                return min(float(str(seconds)[:12]), 1e9) + nanos / 1e9
    return None

"""How long the callee asked us to wait, in whatever form it said so.

The forms, the surest first: `retry-after-ms`; `retry-after` (a number, fractions included, or an
HTTP date); `x-amz-retry-after` (milliseconds); Google's RetryInfo; a `retry_after` attribute; "try
again in 1.2s"; and the reset headers, but only those of a dimension of which nothing remains.
"""

from __future__ import annotations

from .verdict import LONGEST_DELAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from re import Pattern

    from .facts import Facts

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_EPOCH_FLOOR = 1e9
"""A reset "in" more than 30 years is a point in time, in seconds since 1970 …"""
_EPOCH_MS_FLOOR = 1e12
"""… or in milliseconds."""
_MOST_PARTS = 6
"""Parts of a duration that are read: days, hours, minutes, seconds, milliseconds, and one more."""


def read_delay(facts: Facts, now: float | None = None, *, refused: bool = True) -> float | None:
    """Seconds to wait, 0 to 86 400, or None if nothing usable was said.

    Args:
        facts: What the exception says.
        refused: It was a refusal (429, 503, a quota): read also words and reset headers, which on
            other answers speak of something else.
        now: The wall clock in seconds since 1970, for dates; None: the system's.
    """
    for seconds in _all_forms(facts, now, refused):
        if seconds is not None and 0 <= seconds < float("inf"):  # NaN compares false
            return min(seconds, LONGEST_DELAY)
    return None


def _all_forms(facts: Facts, now: float | None, refused: bool) -> Iterator[float | None]:
    headers = facts.headers
    yield _milliseconds(headers.get("retry-after-ms"))
    yield _number_or_date(headers.get("retry-after"), now)
    yield _milliseconds(headers.get("x-amz-retry-after"))
    hint = facts.retry_delay
    yield duration(hint) if isinstance(hint, str) else hint
    yield facts.retry_after
    if refused:
        yield _from_text(facts.text)
        yield max(_resets(headers, now), default=None)


def _number(text: str | None) -> float | None:
    """A decimal number; not what `float` also takes: "nan", "1_000", digits of other scripts."""
    if text is None or not _patterns()[0].fullmatch(text):
        return None
    return float(text)


def _milliseconds(text: str | None) -> float | None:
    value = _number(text)
    return None if value is None else value / 1000


def _number_or_date(text: str | None, now: float | None) -> float | None:
    if text is None:
        return None
    value = _number(text)
    if value is None:
        value = duration(text)  # "30s": outside the standard, seen all the same
    if value is None:
        value = _until_date(text, now)
    return value


def _until_date(text: str, now: float | None) -> float | None:
    """Seconds until an HTTP date (RFC 9110 §5.6.7) or an ISO 8601 date."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        date = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - _wall(now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _wall(now: float | None) -> float:
    if now is not None:
        return now
    from time import time

    return time()


def duration(text: str) -> float | None:
    """Seconds from "1.2s", "20ms", "10h17m", "6m0s", "26 seconds"; None if it is none of these."""
    return _leading_duration(text.strip().lower(), whole=True)


def _leading_duration(text: str, *, whole: bool) -> float | None:
    total, at, found = 0.0, 0, False
    for _ in range(_MOST_PARTS):
        part = _patterns()[1].match(text, at)
        if part is None:
            break
        total += float(part[1]) * _UNITS["ms" if part[2].startswith(("ms", "mil")) else part[2][0]]
        at, found = part.end(), True
    return total if found and not (whole and text[at:].strip(" .")) else None


def _from_text(text: str) -> float | None:
    """From "try again in 1.2s", "retry in 46.2s", "retry after 26 seconds", in lower case."""
    found = _patterns()[2].search(text)
    return None if found is None else _leading_duration(text[found.end() : found.end() + 80], whole=False)


def _resets(headers: dict[str, str], now: float | None) -> Iterator[float]:
    """When each used-up dimension is full again; the others say nothing about this refusal."""
    for name, value in headers.items():
        if "remaining" not in name or _number(value) != 0:
            continue
        reset = headers.get(name.replace("remaining", "reset"))
        seconds = None if reset is None else _until_reset(reset, now)
        if seconds is not None and seconds >= 0:
            yield seconds


def _until_reset(text: str, now: float | None) -> float | None:
    value = _number(text)
    if value is None:
        return _number_or_date(text, now)
    if value >= _EPOCH_MS_FLOOR:
        return value / 1000 - _wall(now)
    return value - _wall(now) if value >= _EPOCH_FLOOR else value


_compiled: tuple[Pattern[str], ...] = ()


def _patterns() -> tuple[Pattern[str], ...]:
    """A number, one part of a duration, and the words before one; compiled at the first use."""
    global _compiled
    if not _compiled:
        import re

        unit = "(ms|milliseconds?|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
        _compiled = (
            re.compile(r"\+?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,3})?", re.ASCII),
            re.compile(rf"[ ,]*(\d{{1,15}}(?:\.\d{{1,15}})?) ?{unit}(?![a-z])", re.ASCII),
            re.compile(r"(?:try again|retry) (?:in|after) "),
        )
    return _compiled

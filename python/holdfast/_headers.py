"""What a provider's headers say in good answers: how much is left of its limits, and until when.

The attempts of a guarded client or chat model listen with the rate limits of their pipeline, and with those of the
node they ask; the copies of clients that guards work on tell what headers came. Only clients whose answers pass
through their own hands are heard: those of OpenAI's and Anthropic's make, and what LangChain builds on them.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from holdfast._scope import current_attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from typing import Any

    from holdfast._limits import RateLimit

_NAMES = {
    "requests": (
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("ratelimit-remaining", "ratelimit-reset"),
    ),
    "tokens": (
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ),
}
"""By what a limit counts: how much is left, and when all of it is back."""
_LONGEST = 600.0
"""Seconds that a word about an empty limit is believed: no longer than a refusal's."""

_listening: ContextVar[tuple[RateLimit, ...]] = ContextVar("holdfast_headers", default=())


def rates_of(value: Any) -> tuple[RateLimit, ...]:
    """The rate limits of a field ``rate_limit``: none, one, or several."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


@contextmanager
def listening(rates: tuple[RateLimit, ...]) -> Iterator[None]:
    """Inside the block these limits hear what headers say."""
    token = _listening.set(_listening.get() + rates)
    try:
        yield
    finally:
        _listening.reset(token)


def heeding(hook: Callable[..., Any], rates: tuple[RateLimit, ...]) -> Callable[..., Any]:
    """``hook``, which returns or awaits an answer, with these limits listening."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with listening(rates):
            made = hook(*args, **kwargs)
        return _awaited(made, rates) if hasattr(made, "__await__") else made

    return call


async def _awaited(made: Any, rates: tuple[RateLimit, ...]) -> Any:
    with listening(rates):
        return await made


def heeding_items(hook: Callable[..., Any], rates: tuple[RateLimit, ...]) -> Callable[..., Any]:
    """``hook``, which gives an iterator, with these limits listening up to its first item: the headers came before."""

    def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with listening(rates):
            items = iter(hook(*args, **kwargs))
            first = next(items, _listening)
        try:
            if first is not _listening:
                yield first
                yield from items
        finally:
            if hasattr(items, "close"):
                items.close()

    return call


def aheeding_items(hook: Callable[..., Any], rates: tuple[RateLimit, ...]) -> Callable[..., Any]:
    """The same for an asynchronous iterator."""

    async def call(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = hook(*args, **kwargs)
        try:
            with listening(rates):
                first = await anext(items, _listening)
            if first is not _listening:
                yield first
                async for item in items:
                    yield item
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    return call


def heed(headers: Mapping[str, str]) -> None:
    """Tells the limits that listen what these headers of a good answer say."""
    attempt = current_attempt()
    node = None if attempt is None else attempt.node
    for rate in _listening.get() + (() if node is None else rates_of(node.rate_limit)):
        for left, reset in _told(headers, rate._counts):
            rate.tighten(left, reset)


def _told(headers: Mapping[str, str], counts: str | None) -> Iterator[tuple[float, float | None]]:
    from holdfast._classify.delay import _number, _until_reset

    for remaining, reset in () if counts is None else _NAMES[counts]:
        left = _number(headers.get(remaining))
        if left is not None:
            until = headers.get(reset)
            seconds = None if until is None else _until_reset(until, None)
            yield left, seconds if seconds is None or seconds <= 0 else min(seconds, _LONGEST)

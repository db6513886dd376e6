"""What the running code knows of the guarded call it is part of."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from holdfast import _native

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from typing import Literal

current: ContextVar[_native.Scope | None] = ContextVar("holdfast_scope", default=None)
"""The innermost guarded attempt or deadline block; set and restored by the native drivers."""


def current_attempt() -> _native.Scope | None:
    """The guarded attempt that the running code is part of: call id, attempt number, node, time left.

    ``None`` outside a guarded call, and inside one that has neither attempts nor clocks nor nodes.
    """
    scope = current.get()
    return scope if scope is not None and scope.number > 0 else None


@contextmanager
def deadline(seconds: float | timedelta) -> Iterator[_native.Scope]:
    """Gives everything guarded inside the block one deadline.

    ::

        with hf.deadline(5.0):
            answer = ask(question)

    Guarded calls inside stop waiting and trying by then, however their own timeouts are set; an outer
    deadline that is nearer wins. Unguarded code is not interrupted. It works in sync and async functions
    alike.

    Args:
        seconds: How long from now; positive and finite.

    Raises:
        ConfigurationError: ``seconds`` is not a positive, finite number.
    """
    scope = _native.deadline_scope(seconds)
    token = current.set(scope)
    try:
        yield scope
    finally:
        current.reset(token)


@contextmanager
def priority(level: Literal["low", "normal", "high"]) -> Iterator[_native.Scope]:
    """Says how important everything guarded inside the block is.

    ::

        with hf.priority("low"):
            prefetch()

    Limits shed the less important first: a fifth of a bulkhead's places and of a rate's burst is kept from calls
    of low priority; in a line the more important stand before the less important, and push the last of these out
    when it is full. What is shed raises :class:`BulkheadFull` or :class:`RateLimited` with the reason "shed". An
    inner block overrules an outer one. Threads started inside begin anew, as with all context variables.

    Args:
        level: ``"low"``, ``"normal"`` (what all is that is not said to be anything else) or ``"high"``.

    Raises:
        ConfigurationError: There is no such level.
    """
    scope = _native.priority_scope(level)
    token = current.set(scope)
    try:
        yield scope
    finally:
        current.reset(token)

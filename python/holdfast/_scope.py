"""What the running code knows of the guarded call it is part of."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from holdfast import _native

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

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

"""Hedge: one more attempt beside a slow one, on another node; the first success wins."""

from __future__ import annotations

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._fallback import made_for
from holdfast._values import State

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, Self, TypeAlias

    from holdfast._values import Seconds

    Safe: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], object] | Literal[True]


class Hedge(State, _native.Hedge):
    """Asks a second node when the first is slow; the first success wins, and the loser is cancelled.

    ::

        manager = hf.FailoverManager(nodes, hedge=hf.Hedge("p95", safe=lambda args, kwargs: True))

    It is the instance that learns how long answers take: managers that share it share what it knows.

    Args:
        after: Seconds, or a percentile of the latest 256 attempts ("p50" to "p99.9"), after which an attempt is
            late. "p95": about one call in twenty is asked twice. A percentile is known after 20 answers; till
            then nothing is hedged. Cancelled losers count as "at least that long" (Kaplan and Meier, 1958).
        max_hedges: Hedges per call. 1.
        safe: ``(args, kwargs) -> bool``: may this call be made twice? Only calls declared so are hedged;
            ``True`` declares all of them. Required: nobody else can know.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("_safe",)

    _safe: Safe

    def __new__(
        cls,
        after: Seconds | str = "p95",
        *,
        max_hedges: int = 1,
        safe: Safe | None = None,
    ) -> Self:
        if safe is not True and not callable(safe):
            raise refuse(
                "safe", "be given: safe(args, kwargs) -> bool, or True if every call may be made twice", safe
            )
        self = super().__new__(cls, after, max_hedges=max_hedges)
        object.__setattr__(self, "_safe", safe)
        return self

    def _is_safe(
        self, function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        if self._safe is True:
            return True
        # An adapter's function has no arguments of its own: it tells those that it was made for.
        asked = made_for(function, args)
        if asked is not None:
            args, kwargs = asked.args, asked.kwargs
        return bool(self._safe(args, kwargs))

    def __repr__(self) -> str:
        delay = "not known yet" if self.delay is None else f"{self.delay:.3g} s"
        return f"<Hedge after {delay}, at most {self.max_hedges} per call>"


def as_hedge(value: Hedge | float | None) -> Hedge | None:
    """A number stands for the `Hedge` that waits that long; it lacks what is safe, and says so."""
    if value is None or isinstance(value, Hedge):
        return value
    if isinstance(value, (int, float)):
        return Hedge(value)
    raise refuse("hedge", "be a Hedge or None", value)

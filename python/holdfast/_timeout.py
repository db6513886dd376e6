"""Timeout: the clocks of a call."""

from __future__ import annotations

from holdfast import _native
from holdfast._values import Value
from holdfast._wrap import Guarding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Self

    from holdfast._policies import Pipeline
    from holdfast._values import Seconds

_FIELDS = ("total", "attempt", "first_item", "idle", "late")


class Timeout(Guarding, Value, _native.Timeout):
    """The clocks of a call. A value: equal by its fields, pickles, and is its own copy.

    An async call that outlives one is cancelled and raises :class:`CallTimeout`. A plain sync function is
    never
    interrupted: it is bounded between attempts, and a value that comes late is returned or refused by
    ``late``.

    Args:
        total: Seconds for the whole call, waits between attempts included.
        attempt: Seconds for one attempt.
        first_item: Seconds until a stream's first item.
        idle: Seconds between two items of a stream.
        late: What becomes of a value that comes after the deadline: ``"return"`` it, or ``"raise"``.

    Raises:
        ConfigurationError: A limit is not a positive, finite number of seconds.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        total: Seconds | None = None,
        *,
        attempt: Seconds | None = None,
        first_item: Seconds | None = None,
        idle: Seconds | None = None,
        late: Literal["return", "raise"] = "return",
    ) -> Self:
        return super().__new__(cls, total, attempt=attempt, first_item=first_item, idle=idle, late=late)

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(timeout=self)

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    def __repr__(self) -> str:
        limits = [f"{name}={value:g}" for name in _FIELDS[:4] if (value := getattr(self, name)) is not None]
        if self.late == "raise":
            limits.append("late='raise'")
        return f"Timeout({', '.join(limits)})"

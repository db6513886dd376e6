"""Failure detectors: what beats, misses and silence say about a node. What they decide is native.

Each is usable on its own, with times in seconds of any clock that only moves on (``at=``), or by our own clock;
and as ``Heartbeat(detector=…)``, where it is a template: each node gets a detector of its own, made with the
same numbers, and the template itself hears nothing.
"""

from __future__ import annotations

from holdfast import _native
from holdfast._values import State

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from typing import Any, Self

    from holdfast._values import Seconds


class Detector(State, _native.FailureDetector):
    """What the three have in common."""

    __slots__ = ("_given",)

    _given: dict[str, Any]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._given.items())
        return f"{type(self).__name__}({shown})"


class ThresholdDetector(Detector):
    """So many misses in a row convict, so many beats in a row acquit. The default of a heartbeat.

    Args:
        failure_threshold: Misses in a row that convict, at least 1. 3: one lost packet does not.
        recovery_threshold: Beats in a row that acquit, at least 1. 2: one lucky answer does not.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = ()

    def __new__(cls, failure_threshold: int = 3, recovery_threshold: int = 2) -> Self:
        self = super().__new__(cls, "threshold", failure_threshold, recovery_threshold)
        given = {"failure_threshold": failure_threshold, "recovery_threshold": recovery_threshold}
        object.__setattr__(self, "_given", given)
        return self


class DeadlineDetector(Detector):
    """Silence of a fixed length convicts, whether the node is asked or sends beats of its own.

    A question that is not answered only makes it suspect. On its own it acquits with the first beat; in a
    heartbeat after ``recovery_threshold`` beats in a row.

    Args:
        timeout: Silence that convicts, in seconds, above 0. ``None``: in a heartbeat its ``interval`` times its
            ``failure_threshold``, else 30.
        suspect_after: Silence that raises suspicion, in seconds, below ``timeout``. ``None``: half of it.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = ()

    def __new__(cls, timeout: Seconds | None = None, *, suspect_after: Seconds | None = None) -> Self:
        self = super().__new__(cls, "deadline", timeout, suspect_after)
        object.__setattr__(self, "_given", {"timeout": timeout, "suspect_after": suspect_after})
        return self


class PhiAccrualDetector(Detector):
    """Silence that is too unlikely convicts, by the node's own rhythm (Hayashibara et al. 2004).

    From the gaps between beats it learns how long a gap usually is. φ says how unlikely the present silence is:
    the number of zeros in the chance that the next beat is still to come. At 1 a conviction is wrong once in ten
    times, at 8 once in a hundred million. The gap that an outage made is not learned.

    Args:
        threshold: The φ that convicts: finite, above 0. Half of it raises suspicion. 8.
        min_std: The floor on the standard deviation of the gaps, in seconds, above 0: without it a rhythm as
            regular as a clock would convict at once. 0.1; in a heartbeat at least its jitter.
        acceptable_pause: Seconds added to the usual gap. ``None``: in a heartbeat ``failure_threshold - 1``
            intervals, so that one lost question is no outage, else 0.
        first_interval: The gap expected before one is known, in seconds. ``None``: the heartbeat's interval;
            without one nothing is suspected before the second beat.
        max_samples: How many gaps are remembered, at least 1. 200.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = ()

    def __new__(
        cls,
        threshold: float = 8.0,
        *,
        min_std: Seconds = 0.1,
        acceptable_pause: Seconds | None = None,
        first_interval: Seconds | None = None,
        max_samples: int = 200,
    ) -> Self:
        fields = {
            "threshold": threshold,
            "min_std": min_std,
            "acceptable_pause": acceptable_pause,
            "first_interval": first_interval,
            "max_samples": max_samples,
        }
        self = super().__new__(cls, "phi", *fields.values())
        object.__setattr__(self, "_given", fields)
        return self

    def phi(self, at: Seconds | None = None) -> float:
        """φ at this time (seconds), else now; 0 while nothing is known: unknown is not bad."""
        return self._phi(at) or 0.0

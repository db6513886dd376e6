"""Exception groups: classified by their leaves.

A group of cancellations alone is a cancellation. Of a mixed group the gravest leaf speaks; it may
be retried only if every leaf may be, for the whole call would be made again.
"""

from __future__ import annotations

from .facts import class_name, is_exception, members, mro_names
from .verdict import Verdict
from .words import CANCELLED, CONTROL_FLOW, STOPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_MOST_LEAVES: Final = 64
"""Leaves of one group that are judged one by one; more of them change nothing."""
_MOST_SEEN: Final = 10_000
"""Exceptions of one group that are looked at at all."""

_GRAVITY = {"endpoint": 4, "credential": 3, "model": 2, "rate": 1, "nobody": 0}


def is_group(exc: BaseException) -> bool:
    """Is it an exception group, by its real type?"""
    return issubclass(type(exc), BaseExceptionGroup)


def judge_group(group: BaseException, judge: Callable[[BaseException], Verdict]) -> Verdict:
    """The verdict on a group, by `judge` on its leaves."""
    leaves, stopped, first_neutral = _leaves(group)
    if not leaves:
        name = first_neutral or "nothing"
        return Verdict("ignore", rule="1 cancelled", matched=f"a group of only {name}")
    verdict = _together([judge(leaf) for leaf in leaves])
    if verdict.outcome == "ok":
        return verdict
    if stopped:  # someone asked the program to end: what failed, failed, but nothing more is tried
        return verdict.but(retry=False, fail_over=False)
    return verdict


def _leaves(group: BaseException) -> tuple[list[BaseException], bool, str | None]:
    """The leaves but for cancellations; whether one was a stop; the first cancellation's name."""
    leaves: list[BaseException] = []
    stopped, neutral = False, None
    waiting = [iter(members(group))]
    for _ in range(_MOST_SEEN):
        exc = next(waiting[-1], None)
        if exc is None:
            waiting.pop()
            if not waiting:
                break
        elif is_group(exc):
            waiting.append(iter(members(exc)))
        elif _is_neutral(exc):
            stopped = stopped or not STOPS.isdisjoint(mro_names(exc))
            neutral = neutral or class_name(exc)
        elif is_exception(exc) and len(leaves) < _MOST_LEAVES:
            leaves.append(exc)
    return leaves, stopped, neutral


def _is_neutral(exc: BaseException) -> bool:
    names, top = mro_names(exc), class_name(exc)
    return not issubclass(type(exc), Exception) or top in CANCELLED or not CONTROL_FLOW.isdisjoint(names)


def _together(verdicts: list[Verdict]) -> Verdict:
    decided = [verdict for verdict in verdicts if verdict.outcome in ("fail", "throttled")]
    if not decided:
        return verdicts[0]
    gravest = max(decided, key=_gravity)
    if len(decided) == 1:
        return gravest
    delays = [verdict.delay for verdict in decided if verdict.delay is not None]
    return gravest.but(
        retry=all(verdict.retry for verdict in decided),
        fail_over=all(verdict.fail_over for verdict in decided),
        delay=max(delays, default=None),
        ambiguous=any(verdict.ambiguous for verdict in decided),
        matched=f"{gravest.matched} (the gravest of {len(decided)} in a group)",
    )


def _gravity(verdict: Verdict) -> tuple[bool, int]:
    return verdict.outcome == "fail" and verdict.blame != "nobody", _GRAVITY[verdict.blame]

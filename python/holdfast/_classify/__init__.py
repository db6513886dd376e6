"""From an exception to a verdict: what failed, whom it counts against, and what may follow.

::

    exception ─ facts ─ rules, the first match decides ─ Verdict
                │       └ words: their tables
                └ of the whole chain, duck-typed: no client is ever imported

Two classifiers. `classify` is for chat models and clients, with every rule of
``docs/classification.md``. `judge_plain` is for plain callables: every `Exception` is one full,
retryable failure, except where it carries an HTTP status. `make_classifier` puts the user's own
rules before either, and `narrow` takes retries away.

Nothing here raises, waits, reads from a network, or remembers an exception; and nothing of an
exception but class names, statuses and known codes ever enters a verdict.
"""

from __future__ import annotations

from .custom import make_classifier, narrow
from .plain import judge_plain
from .rule import Rule
from .verdict import BLAME, Verdict

__all__ = ["BLAME", "Rule", "Verdict", "classify", "judge_plain", "make_classifier", "narrow"]


def classify(exc: BaseException, *, now: float | None = None) -> Verdict:
    """The verdict on what a chat model or a client raised; ``print()`` it to see why.

    Args:
        exc: The exception. It is only looked at.
        now: The wall clock in seconds since 1970, against which dates in headers are read; None:
            the system's.

    Returns:
        The verdict of the first rule that matches. Of an exception group, that of its gravest leaf.
    """
    from .groups import is_group, judge_group
    from .rules import judge_chat

    if is_group(exc):
        return judge_group(exc, lambda leaf: judge_chat(leaf, now))
    return judge_chat(exc, now)


classify.__module__ = "holdfast"
Rule.__module__ = "holdfast"

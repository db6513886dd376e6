"""The simple rule, for plain callables: every `Exception` is one full, retryable failure.

Except: our own rejections and configuration errors; cancellation and what is not an `Exception`;
LangGraph's control flow, which only looks like an error; and where the exception carries an HTTP
status, itself or in what it was raised *from*, the rules on statuses apply. What was merely being
handled meanwhile (`__context__`) is not asked: a function that tries a second way after a 400 has
failed by its second error.

This runs on every failure of every guarded function, so what can be known from the class alone is
remembered per class.
"""

from __future__ import annotations

from holdfast._exceptions import ConfigurationError, Rejected

from .verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_MOST_CLASSES: Final = 1024
"""Classes remembered; a program that makes classes without end starts again."""
_MOST_LINKS: Final = 9

_remembered: dict[type, Verdict | None] = {}
"""Of each class met: its verdict when no instance carries facts; None: each must be looked at."""


def judge_plain(exc: BaseException) -> Verdict:
    """The verdict on what a plain callable raised."""
    verdict = _known(type(exc))
    if verdict is None or _may_carry_facts(exc):
        return _look(exc)
    return verdict


def _may_carry_facts(exc: BaseException) -> bool:
    """Has this instance, or one it was raised from, an attribute that carries HTTP facts?"""
    link: BaseException | None = exc
    for _ in range(_MOST_LINKS):
        attributes = _dict_of(link)
        if attributes and not _CARRIERS.isdisjoint(attributes):
            return True
        link = _cause_of(link)
        if link is None:
            return False
        if _known(type(link)) is None:
            return True
    return True


def _known(cls: type) -> Verdict | None:
    try:  # one look-up: another thread may clear the memory between two
        return _remembered[cls]
    except KeyError:
        return _remember(cls)


def _remember(cls: type) -> Verdict | None:
    if len(_remembered) >= _MOST_CLASSES:
        _remembered.clear()
    verdict = _remembered[cls] = _by_class(cls)
    return verdict


def learn(cls: type) -> int:
    """Forgets what is remembered of `cls`, looks at it anew, and tells the native fast path.

    Returns:
        What holds for all its instances: 3, they are ignored; 2, they are plain failures, unless they
        have attributes of their own or a cause; 1, each must be looked at.
    """
    verdict = _remember(cls)
    if verdict is None:
        return 1
    return 3 if verdict.outcome == "ignore" else 2


def _by_class(cls: type) -> Verdict | None:
    from .facts import attributes_of, names_of
    from .words import CANCELLED, CONTROL_FLOW

    if issubclass(cls, BaseExceptionGroup | Rejected | ConfigurationError):
        return None
    names = names_of(cls)
    if not issubclass(cls, Exception) or names[0] in CANCELLED:
        return Verdict("ignore", rule="1 cancelled", matched=names[0])
    if not CONTROL_FLOW.isdisjoint(names):
        return Verdict("ignore", rule="2 control flow", matched=names[0])
    own = attributes_of(cls)
    if not _CARRIERS.isdisjoint(own) or "__getattr__" in own or _reads_itself(cls):
        return None
    return _plain_failure(names[0])


def _reads_itself(cls: type) -> bool:
    return type.__getattribute__(cls, "__getattribute__") is not BaseException.__getattribute__


def _plain_failure(matched: str, delay: float | None = None) -> Verdict:
    return Verdict(
        "fail",
        "unknown",
        retry=True,
        fail_over=True,
        blame="endpoint",
        delay=delay,
        rule="plain",
        matched=matched,
        ambiguous=True,
    )


def _look(exc: BaseException) -> Verdict:
    """The long way: by all that the exception and its causes say."""
    from .delay import read_delay
    from .facts import class_name, collect
    from .groups import is_group, judge_group
    from .rules import judge_http, judge_ours

    if is_group(exc):
        return judge_group(exc, judge_plain)
    known = _known(type(exc))
    if known is not None and known.outcome == "ignore":
        return known
    if issubclass(type(exc), Rejected | ConfigurationError):
        ours = judge_ours(exc)
        if ours is not None:
            return ours
    facts = collect(exc, context=False)
    verdict = judge_http(facts, None)
    if verdict is not None:
        return verdict
    # No status, but perhaps a `retry_after` of the user's own.
    return _plain_failure(class_name(exc), read_delay(facts, refused=False))


# The interpreter's own descriptors: no class can come between.
_dict_of = BaseException.__dict__["__dict__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_CARRIERS = frozenset({
    "status_code", "status", "http_status", "code", "response", "headers", "raw_response",
    "retry_after",
})  # fmt: skip
"""The attributes by which an exception of any library carries HTTP facts."""

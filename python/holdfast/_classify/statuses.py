"""Rules 8 and 9: the status an exception stands for, and what follows from each status."""

from __future__ import annotations

from . import words
from .delay import read_delay
from .verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .facts import Facts
    from .verdict import Blame

_RULE = "9 status"


def status_said(facts: Facts) -> tuple[int | None, str]:
    """The status that the facts stand for, and on what.

    The status itself, unless a code of load says more; without one a number in the body, a code,
    the code that leads a message, or a class name, in this order.
    """
    coded = [
        (code, words.STATUS_OF[key])
        for code in facts.codes
        if (key := words.squeezed(code)) in words.STATUS_OF
    ]
    if facts.status is not None:
        if facts.status in words.BEATABLE:
            for code, status in coded:
                if words.squeezed(code) in words.BEATS_STATUS:
                    return status, f"status {facts.status} with code {code}"
        return facts.status, f"status {facts.status}"
    for code, status in coded:
        if words.squeezed(code) in words.BEATS_STATUS:
            return status, f"code {code}"
    if facts.numbers:
        return facts.numbers[0], f"status {facts.numbers[0]} in the body"
    if coded:
        code, status = coded[0]
        return status, f"code {code}"
    return _leading_code(facts) or _named(facts)


def _leading_code(facts: Facts) -> tuple[int, str] | None:
    """From ``rate_limit_exceeded: …``, as LangChain writes the errors of OpenAI's Responses.

    Also from ``ResponseError(code='server_error', …)``, their representation.
    """
    for message in facts.messages:
        head = message[:100]
        _, marker, rest = head.partition("code='")
        word = rest.partition("'")[0] if marker else head.partition(":")[0]
        status = words.STATUS_OF.get(words.squeezed(word)) if " " not in word else None
        if status is not None and ("_" in word or marker):
            return status, f"code {word} in the message"
    return None


def _named(facts: Facts) -> tuple[int | None, str]:
    for name in facts.top_names:
        if name in words.STATUS_OF_NAME:
            return words.STATUS_OF_NAME[name], name
    return None, ""


def judge_status(status: int, matched: str, facts: Facts, now: float | None) -> Verdict | None:
    """What follows from an HTTP status."""
    if status in (429, 498, 503, 529):
        return _refused(status, matched, read_delay(facts, now))
    delay = read_delay(facts, now, refused=False)
    again = facts.headers.get("x-should-retry", "").lower() != "false"
    match status:
        case 401:
            return _fail("auth", "credential", matched, fail_over=True, delay=delay)
        case 402:
            return _fail("quota", "credential", matched, fail_over=True, delay=delay)
        case 403:
            return _fail("permission", "credential", matched, fail_over=True, delay=delay)
        case 404 | 410:
            return _fail("not_found", "model", matched, fail_over=True)
        case 407:
            return _fail("connect", "endpoint", matched, fail_over=True)
        case 409 | 425:
            # About this moment, not about the node's health.
            return _fail("conflict", "nobody", matched, retry=again, fail_over=True, delay=delay)
        case 408 | 504 | 522 | 524:
            return _broken("timeout", matched, again, delay)
        case 424:
            return _broken("server", matched, again, delay)
        case 499:
            return _fail("network", "nobody", matched, retry=again, fail_over=True, ambiguous=True)
        case 501 | 505:
            return _fail("server", "endpoint", matched, fail_over=True, delay=delay)
    if status >= 500:
        return _broken("server", matched, again, delay)
    if status >= 400:
        return _fail("request", "nobody", matched)
    # A redirect that was not followed: this address does not answer, another node's may.
    return _fail("server", "endpoint", matched, fail_over=True)


def _refused(status: int, matched: str, delay: float | None) -> Verdict:
    """Too busy. To be asked to slow down is back-pressure, no failure; to be full is one."""
    rate = status == 429
    slow_down = rate or delay is not None
    return Verdict(
        "throttled" if slow_down else "fail",
        "rate_limit" if rate else "overloaded",
        retry=True,
        fail_over=True,
        blame="rate" if rate else "endpoint",
        delay=delay,
        rule=_RULE,
        matched=matched,
    )


def _broken(kind: str, matched: str, again: bool, delay: float | None) -> Verdict:
    return _fail(kind, "endpoint", matched, retry=again, fail_over=True, delay=delay, ambiguous=True)


def _fail(
    kind: str,
    blame: Blame,
    matched: str,
    *,
    retry: bool = False,
    fail_over: bool = False,
    delay: float | None = None,
    ambiguous: bool = False,
) -> Verdict:
    return Verdict(
        "fail",
        kind,
        retry=retry,
        fail_over=fail_over,
        blame=blame,
        delay=delay,
        rule=_RULE,
        matched=matched,
        ambiguous=ambiguous,
    )

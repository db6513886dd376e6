"""The rules from exception to verdict, in order; the first that matches decides.

The order is the knowledge. A quota's 429 must be seen before the rate limit's; `ConnectTimeout`,
after which certainly nothing was sent, hides under clients' `APITimeoutError`, which is itself a
connection error.
``docs/classification.md`` has the same list with the reason for each rule.
"""

from __future__ import annotations

from holdfast._exceptions import (
    CallTimeout,
    ConfigurationError,
    Rejected,
    StreamInterrupted,
    Truncated,
)

from . import words
from .delay import read_delay
from .facts import class_name, collect, is_exception, number, read
from .statuses import judge_status, status_said
from .verdict import BLAME, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .facts import Facts

    RuleFunction = Callable[[Facts, float | None], Verdict | None]


def judge_chat(exc: BaseException, now: float | None) -> Verdict:
    """The verdict on what a chat model or a client raised (for groups, see `groups`)."""
    facts = collect(exc)
    for rule in RULES:
        verdict = rule(facts, now)
        if verdict is not None:
            return verdict
    return _unknown(facts)


def judge_http(facts: Facts, now: float | None) -> Verdict | None:
    """The verdict on the HTTP facts alone, if there are any: what plain callables get."""
    if facts.status is None:
        return None
    for rule in HTTP_RULES:
        verdict = rule(facts, now)
        if verdict is not None:
            return verdict
    return None


def failed(
    rule: str,
    kind: str,
    matched: str,
    *,
    retry: bool = False,
    fail_over: bool = False,
    delay: float | None = None,
    ambiguous: bool = False,
) -> Verdict:
    """A failure that counts against whom its kind counts against."""
    return Verdict(
        "fail",
        kind,
        retry=retry,
        fail_over=fail_over,
        blame=BLAME[kind],
        delay=delay,
        rule=rule,
        matched=matched,
        ambiguous=ambiguous,
    )


def _cancelled(facts: Facts, now: float | None) -> Verdict | None:
    # Of the top only: every async timeout has a CancelledError among its contexts.
    name = class_name(facts.top)
    if not issubclass(type(facts.top), Exception) or name in words.CANCELLED:
        return Verdict("ignore", rule="1 cancelled", matched=name)
    return None


def _control_flow(facts: Facts, now: float | None) -> Verdict | None:
    name = _among(words.CONTROL_FLOW, facts.top_names)
    return Verdict("ignore", rule="2 control flow", matched=name) if name else None


def _ours(facts: Facts, now: float | None) -> Verdict | None:
    for link in facts.links:
        verdict = judge_ours(link, now)
        if verdict is not None:
            return verdict
    return None


def judge_ours(exc: BaseException, now: float | None = None) -> Verdict | None:
    """The verdict on one of our own errors, as a layer inside raised it."""
    rule, name, cls = "3 ours", class_name(exc), type(exc)  # the real type: `__class__` may lie
    if issubclass(cls, Rejected):
        # Nothing was tried, so nobody failed; here it would be refused again, elsewhere not so.
        return failed(rule, "rejected", name, fail_over=True, delay=_hint(exc))
    if issubclass(cls, ConfigurationError):
        return failed(rule, "bug", name)
    if issubclass(cls, CallTimeout):
        return failed(rule, "timeout", name, retry=True, fail_over=True, ambiguous=True)
    if issubclass(cls, Truncated):
        return failed(rule, "truncated", name, retry=True, fail_over=True, ambiguous=True)
    if issubclass(cls, StreamInterrupted):
        # Content was handed out: whoever raised this knew better than to replay it.
        cause = read(exc, "cause")
        if not is_exception(cause) or issubclass(type(cause), StreamInterrupted):
            return failed(rule, "network", name, ambiguous=True)
        behind = judge_chat(cause, now)
        matched = f"{name} by {behind.matched}"
        return behind.but(retry=False, fail_over=False, rule=rule, matched=matched, ambiguous=True)
    return None


def _hint(exc: BaseException) -> float | None:
    """The `retry_after` of a rejection: ours, but users subclass and set it too."""
    seconds = number(read(exc, "retry_after"))
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None


def _local(facts: Facts, now: float | None) -> Verdict | None:
    name = _among(words.LOCAL_NAMES, facts.names)
    if name is None and not words.LOCAL_ERRNOS.isdisjoint(facts.errnos):
        name = "errno EMFILE or ENFILE"
    if name is None and facts.status is None:
        name = _phrase(words.LOCAL_PHRASES, facts)
    return failed("4 local", "local", name) if name else None


def _quota(facts: Facts, now: float | None) -> Verdict | None:
    matched = _quota_match(facts)
    if matched is None:
        return None
    delay = read_delay(facts, now)
    return failed("5 quota", "quota", matched, fail_over=True, delay=delay)


def _quota_match(facts: Facts) -> str | None:
    if facts.status == 402:
        return "status 402"
    code = _code(words.QUOTA_CODES, facts)
    if code:
        return code
    per_minute = any("PerMinute" in quota for quota in facts.quota_ids) or "per minute" in facts.text
    if any("PerDay" in quota for quota in facts.quota_ids):
        return "quotaId PerDay"
    if facts.status not in (None, 400, 403, 429):
        return None
    phrases = words.QUOTA_PHRASES if per_minute else (*words.QUOTA_PHRASES, words.DAILY_OR_PER_MINUTE)
    phrase = _phrase(phrases, facts)
    if phrase is None and facts.status == 429 and read_delay(facts, 0.0) is None:
        phrase = _phrase(("spend limit",), facts)
    return phrase


def _context(facts: Facts, now: float | None) -> Verdict | None:
    matched = _among(words.CONTEXT_NAMES, facts.names) or _code(words.CONTEXT_CODES, facts)
    if matched is None and facts.status in (None, 400, 413, 422, 424):
        matched = _phrase(words.CONTEXT_PHRASES, facts)
    return failed("6 context", "context", matched) if matched else None


def _policy(facts: Facts, now: float | None) -> Verdict | None:
    matched = _among(words.POLICY_NAMES, facts.names) or _code(words.POLICY_CODES, facts)
    if matched is None and facts.status in (None, 400, 403, 422):
        matched = _phrase(words.POLICY_PHRASES, facts)
    if matched is None and facts.status == 451:
        matched = "status 451"
    return failed("7 policy", "policy", matched) if matched else None


def _status(facts: Facts, now: float | None) -> Verdict | None:
    status, matched = status_said(facts)
    return None if status is None else judge_status(status, matched, facts, now)


def _output(facts: Facts, now: float | None) -> Verdict | None:
    if "LengthFinishReasonError" in facts.names:
        # The same request ends at the same limit again.
        return failed("10 output", "output", "LengthFinishReasonError", ambiguous=True)
    name = _among(frozenset({"OutputParserException"}), facts.names)
    if name is None and "ValidationError" in facts.names and "ValueError" in facts.names:
        titles = {title for link in facts.links if type(title := read(link, "title")) is str}
        if not words.RESPONSE_MODELS.isdisjoint(titles):
            return _retried("13 malformed", "malformed", "ValidationError of a client's response model")
        name = "ValidationError"
    return _retried("10 output", "output", name) if name else None


def _tls(facts: Facts, now: float | None) -> Verdict | None:
    matched = _among(words.TLS_NAMES, facts.names) or _phrase(words.TLS_PHRASES, facts)
    return failed("11 tls", "tls", matched, fail_over=True) if matched else None


def _connect(facts: Facts, now: float | None) -> Verdict | None:
    matched = _among(words.CONNECT_NAMES, facts.names) or _phrase(words.CONNECT_PHRASES, facts)
    if matched is None and not words.CONNECT_ERRNOS.isdisjoint(facts.errnos):
        matched = "errno of a refused or unreachable address"
    if matched is None:
        return None
    return failed("12 connect", "connect", matched, retry=True, fail_over=True)


def _malformed(facts: Facts, now: float | None) -> Verdict | None:
    matched = _among(words.MALFORMED_NAMES, facts.names) or _phrase(words.MALFORMED_PHRASES, facts)
    if matched is None:
        matched = _misread(facts)
    return _retried("13 malformed", "malformed", matched) if matched else None


def _misread(facts: Facts) -> str | None:
    """A builtin error with the words of a misread answer, raised inside a client."""
    for name, phrases in words.MALFORMED_IN_CLIENT.items():
        if name in facts.top_names and words.said(phrases, facts.text) and _raised_in_client(facts.top):
            return f"{name} inside a client"
    return None


def _raised_in_client(exc: BaseException) -> bool:
    """Was it raised in a known client's code? Without a traceback nobody can tell: then yes."""
    from types import TracebackType

    trace = read(exc, "__traceback__")
    if not isinstance(trace, TracebackType):
        return True
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__")
    return isinstance(module, str) and module.partition(".")[0] in words.CLIENT_PACKAGES


def _timeout(facts: Facts, now: float | None) -> Verdict | None:
    name = _most_telling(words.TIMEOUT_NAMES, facts.names)
    return _retried("14 timeout", "timeout", name) if name else None


def _network(facts: Facts, now: float | None) -> Verdict | None:
    name = _most_telling(words.NETWORK_NAMES, facts.names)
    return _retried("14 network", "network", name) if name else None


def _server(facts: Facts, now: float | None) -> Verdict | None:
    name = _among(words.SERVER_NAMES, facts.names)
    if name is None:
        return None
    if facts.said_200:
        # An error after a good status and with no code that is known: the answer, not the server.
        return _retried("16 status 200", "malformed", f"{name} with status 200")
    return _retried("15 server error", "server", name)


def _good_status(facts: Facts, now: float | None) -> Verdict | None:
    return _retried("16 status 200", "malformed", "status 200") if facts.said_200 else None


def _bug(facts: Facts, now: float | None) -> Verdict | None:
    name = _among(words.BUG_NAMES, facts.top_names)
    if name is None or read(facts.top, "is_retryable") is True:
        return None
    return failed("17 bug", "bug", name)


def _unknown(facts: Facts) -> Verdict:
    retry = read(facts.top, "is_retryable") is True
    matched = class_name(facts.top) + (", which says is_retryable" if retry else "")
    return failed("18 unknown", "unknown", matched, retry=retry, fail_over=True, ambiguous=True)


def _retried(rule: str, kind: str, matched: str) -> Verdict:
    return failed(rule, kind, matched, retry=True, fail_over=True, ambiguous=True)


def _among(wanted: frozenset[str], names: Iterable[str]) -> str | None:
    """The first of `names` that is wanted."""
    return next((name for name in names if name in wanted), None)


def _most_telling(wanted: frozenset[str], names: Iterable[str]) -> str | None:
    """The first that is wanted and not vague, else the first that is wanted."""
    return _among(wanted - words.VAGUE, names) or _among(wanted, names)


def _code(wanted: frozenset[str], facts: Facts) -> str | None:
    code = next((code for code in facts.codes if words.squeezed(code) in wanted), None)
    return None if code is None else f"code {code}"


def _phrase(phrases: tuple[str, ...], facts: Facts) -> str | None:
    phrase = words.said(phrases, facts.text)
    return None if phrase is None else f'the words "{phrase}"'


HTTP_RULES: tuple[RuleFunction, ...] = (_quota, _context, _policy, _status)
RULES: tuple[RuleFunction, ...] = (
    _cancelled, _control_flow, _ours, _local, *HTTP_RULES, _output, _tls, _connect, _malformed,
    _timeout, _network, _server, _good_status, _bug,
)  # fmt: skip

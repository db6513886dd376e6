"""The user's own word: rules before ours, and a veto after them."""

from __future__ import annotations

from .rule import OUTCOMES, Rule, bad_setting
from .verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any, TypeAlias

    Judge: TypeAlias = Callable[[BaseException], Verdict]
    Answer: TypeAlias = Verdict | str | None
    UserRule: TypeAlias = (
        Callable[[BaseException], Answer]
        | Callable[[BaseException, Verdict], Answer]
        | "Rule"
        | tuple[str | None, int | Container[int] | None, str | None, str | None, Verdict | str]
    )
    RetryOn: TypeAlias = (
        type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
    )


class _Asked:
    """What one user rule answered, as a verdict that names the rule."""

    __slots__ = ("ask", "label")

    def __init__(self, rule: Any) -> None:
        if isinstance(rule, tuple):
            rule = _from_tuple(rule)
        if isinstance(rule, Rule):
            self.label = "a rule of yours"
            self.ask: Callable[[BaseException], Answer] = _by_data(rule)
        else:
            self.label = _name(rule)
            self.ask = rule


def make_classifier(user: UserRule | Iterable[UserRule] | None, base: Judge) -> Judge:
    """`base`, with the user's rules before it and the user's vetoes after it.

    Args:
        user: One rule or several, asked in order; the first that answers decides. A rule is a
            callable of the exception; or `Rule` data, or the same as a tuple ``(name, status, code,
            message, verdict)``. A callable with two required parameters is a veto: it is given the
            exception and the verdict reached without it, last, and may answer another. An answer is
            a `Verdict`, one of ``"ok"``, ``"fail"``, ``"throttled"``, ``"ignore"``, or None to
            leave the matter to the others.
        base: The classifier that decides when no rule does.

    Returns:
        The classifier. It never raises for a rule that raises, or that answers something else: such
        a rule is passed over with a warning on the logger ``holdfast``, so that it cannot stand in
        the place of the exception it was asked about.

    Raises:
        ConfigurationError: Of something that is no rule.
    """
    if user is None:
        return base
    rules: list[_Asked] = []
    vetoes: list[Callable[[BaseException, Verdict], Answer]] = []
    for given in _several(user):
        if not isinstance(given, Rule | tuple) and not callable(given):
            rule = "be a callable, a Rule, a tuple of five, or a sequence of these"
            raise bad_setting("classify", rule, given)
        if _takes_two(given):
            vetoes.append(given)
        else:
            rules.append(_Asked(given))

    def judge(exc: BaseException) -> Verdict:
        verdict = _first_answer(rules, exc)
        if verdict is None:
            verdict = base(exc)
        for veto in vetoes:
            verdict = _answer(_with(veto, verdict), _name(veto), exc) or verdict
        return verdict

    return judge


def _with(
    veto: Callable[[BaseException, Verdict], Answer], verdict: Verdict
) -> Callable[[BaseException], Answer]:
    return lambda exc: veto(exc, verdict)


def narrow(base: Judge, retry_on: RetryOn | None) -> Judge:
    """`base`, retrying only what `retry_on` allows.

    What it does not allow is neither retried nor failed over, and counts as it did. It only
    narrows: to retry more than `base` does, give a classifier.

    Args:
        base: The classifier that decides everything else.
        retry_on: An exception class, a tuple of them, or a callable of the exception; one that
            raises is passed over with a warning on the logger ``holdfast``. None: no narrowing.

    Raises:
        ConfigurationError: Of something that is none of these.
    """
    if retry_on is None:
        return base
    allows = _allows(retry_on)

    def judge(exc: BaseException) -> Verdict:
        verdict = base(exc)
        if not (verdict.retry or verdict.fail_over) or allows(exc):
            return verdict
        rule = f"{verdict.rule}, narrowed by retry_on"
        return verdict.but(retry=False, fail_over=False, rule=rule)

    return judge


def _allows(retry_on: RetryOn) -> Callable[[BaseException], bool]:
    classes = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if all(isinstance(cls, type) and issubclass(cls, BaseException) for cls in classes):
        return lambda exc: isinstance(exc, classes)  # type: ignore[arg-type]
    if isinstance(retry_on, tuple | type) or not callable(retry_on):
        raise bad_setting("retry_on", "be an exception class, a tuple of them or a callable", retry_on)
    predicate: Callable[[BaseException], object] = retry_on

    def allowed(exc: BaseException) -> bool:
        try:
            return bool(predicate(exc))
        except Exception as error:  # noqa: BLE001 it must not take the place of the user's error
            _warn(f"retry_on {_name(predicate)!r} raised", error)
            return True

    return allowed


def _several(user: Any) -> list[Any]:
    """One rule is a list of one; a tuple is one rule unless it is a tuple of rules."""
    if isinstance(user, tuple):
        is_rule = len(user) in (4, 5) and isinstance(user[0], str | None) and not callable(user[0])
        return [user] if is_rule else list(user)
    if callable(user) or isinstance(user, Rule | str):
        return [user]
    try:
        return list(user)
    except TypeError:
        return [user]


def _from_tuple(given: tuple[Any, ...]) -> Rule:
    if len(given) != 5:
        raise bad_setting("classify", "be tuples of five: name, status, code, message, verdict", given)
    name, status, code, message, verdict = given
    return Rule(name, status, code, message, verdict=verdict)


def _by_data(rule: Rule) -> Callable[[BaseException], Answer]:
    def ask(exc: BaseException) -> Answer:
        from .facts import collect

        return rule.verdict if rule.matches(collect(exc)) else None

    return ask


def _takes_two(given: object) -> bool:
    """Has it two required positional parameters?"""
    if not callable(given) or isinstance(given, type):
        return False
    from inspect import Parameter, signature

    try:
        parameters = signature(given).parameters.values()
    except (TypeError, ValueError):
        return False  # some builtins do not tell
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is Parameter.empty]
    return len(required) == 2


def _first_answer(rules: list[_Asked], exc: BaseException) -> Verdict | None:
    for rule in rules:
        verdict = _answer(rule.ask, rule.label, exc)
        if verdict is not None:
            return verdict
    return None


def _answer(ask: Callable[[BaseException], Answer], label: str, exc: BaseException) -> Verdict | None:
    try:
        answer = ask(exc)
    except Exception as error:  # noqa: BLE001 it must not take the place of the user's error
        _warn(f"the classifier {label!r} raised and was passed over", error)
        return None
    if answer is None:
        return None
    if isinstance(answer, str) and answer in OUTCOMES:
        answer = _by_outcome(answer, exc)
    if not isinstance(answer, Verdict):
        _warn(f"the classifier {label!r} answered no verdict and was passed over", answer)
        return None
    return answer if answer.matched else answer.but(matched=label)


def _by_outcome(outcome: str, exc: BaseException) -> Verdict:
    """The verdict of one word. How long to wait is still read from the exception."""
    if outcome == "ok":
        return Verdict.ok()
    if outcome == "ignore":
        return Verdict.ignore()
    from .delay import read_delay
    from .facts import collect

    delay = read_delay(collect(exc))
    return Verdict.throttled(delay) if outcome == "throttled" else Verdict.fail(delay=delay)


def _warn(what: str, about: object) -> None:
    from logging import getLogger

    getLogger("holdfast").warning("%s: %s", what, type(about).__name__)


def _name(rule: object) -> str:
    name = getattr(rule, "__qualname__", None)
    return name if isinstance(name, str) else type(rule).__name__

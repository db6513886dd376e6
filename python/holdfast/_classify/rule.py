"""A user's rule as data."""

from __future__ import annotations

from holdfast._exceptions import ConfigurationError

from .verdict import Verdict
from .words import squeezed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from .facts import Facts

OUTCOMES = ("ok", "fail", "throttled", "ignore")
"""The words that stand for a verdict."""


class Rule:
    """A rule as data: if all that is given matches, the verdict.

    Args:
        name: A class name, with ``*`` and ``?`` as wildcards; matched against the classes of the
            exception and of its causes, and their ancestors.
        status: An HTTP status, or a container of them: ``range(500, 600)``.
        code: A provider's error code, with wildcards; case, ``_`` and ``-`` do not matter.
        message: A regular expression searched in the messages, whatever the case.
        verdict: A `Verdict`, or one of ``"ok"``, ``"fail"``, ``"throttled"``, ``"ignore"``.

    Raises:
        ConfigurationError: Of a rule with nothing to match, or with no such verdict.
    """

    __slots__ = ("code", "message", "name", "status", "verdict")

    def __init__(
        self,
        name: str | None = None,
        status: int | Container[int] | None = None,
        code: str | None = None,
        message: str | None = None,
        *,
        verdict: Verdict | str,
    ) -> None:
        if name is None and status is None and code is None and message is None:
            raise ConfigurationError(
                field="classify",
                rule="give a rule something to match: a name, status, code or message",
                value=None,
            )
        if not isinstance(verdict, Verdict) and verdict not in OUTCOMES:
            raise bad_setting("verdict", f"be a Verdict or one of {', '.join(OUTCOMES)}", verdict)
        if message is not None:
            _check_pattern(message)
        self.name: str | None = name
        self.status: int | Container[int] | None = status
        self.code: str | None = code
        self.message: str | None = message
        self.verdict: Verdict | str = verdict

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in self.__slots__}
        return f"Rule({', '.join(f'{k}={v!r}' for k, v in given.items() if v is not None)})"

    def matches(self, facts: Facts) -> bool:
        """Does all that is given match?"""
        return (
            self._matches_status(facts)
            and self._matches_name(facts)
            and self._matches_code(facts)
            and self._matches_message(facts)
        )

    def _matches_name(self, facts: Facts) -> bool:
        if self.name is None:
            return True
        from fnmatch import fnmatchcase

        return any(fnmatchcase(name, self.name) for name in facts.names)

    def _matches_status(self, facts: Facts) -> bool:
        if self.status is None:
            return True
        from .statuses import status_said

        status, _ = status_said(facts)
        said = {facts.status, status} - {None}
        if isinstance(self.status, int):
            return self.status in said
        return any(status in self.status for status in said if status is not None)

    def _matches_code(self, facts: Facts) -> bool:
        if self.code is None:
            return True
        from fnmatch import fnmatchcase

        pattern = squeezed(self.code)
        return any(fnmatchcase(squeezed(code), pattern) for code in facts.codes)

    def _matches_message(self, facts: Facts) -> bool:
        if self.message is None:
            return True
        import re

        return any(re.search(self.message, text, re.IGNORECASE) for text in facts.messages)


def _check_pattern(message: str) -> None:
    import re

    try:
        re.compile(message)
    except (re.error, TypeError) as error:
        raise bad_setting("message", "be a regular expression", message) from error


def bad_setting(field: str, rule: str, value: object) -> ConfigurationError:
    """The error of a setting that breaks a rule."""
    return ConfigurationError(field=field, rule=rule, value=value)

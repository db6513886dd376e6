"""The judgment of one attempt, as a value."""

from __future__ import annotations

from holdfast._exceptions import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any, Final, Literal, NoReturn

    Outcome = Literal["ok", "fail", "throttled", "ignore"]
    Blame = Literal["endpoint", "credential", "model", "rate", "nobody"]

LONGEST_DELAY: Final = 86_400.0
"""Seconds. No delay is longer: a server that asks for more is asked again after a day."""

BLAME: Final[dict[str, Blame]] = {
    "unknown": "endpoint",
    "connect": "endpoint",
    "network": "endpoint",
    "tls": "endpoint",
    "timeout": "endpoint",
    "server": "endpoint",
    "overloaded": "endpoint",
    "rate_limit": "rate",
    "quota": "credential",
    "auth": "credential",
    "permission": "credential",
    "not_found": "model",
    "conflict": "nobody",
    "request": "nobody",
    "context": "nobody",
    "policy": "nobody",
    "malformed": "endpoint",
    "truncated": "endpoint",
    "output": "nobody",
    "local": "nobody",
    "bug": "nobody",
    "rejected": "nobody",
}
"""Every kind of failure, and whom it counts against unless a rule knows better."""

_BLAMED = {
    "endpoint": "the endpoint",
    "credential": "the credential",
    "model": "the model",
    "rate": "the rate",
    "nobody": "nobody",
}


class Verdict:
    """What came of one attempt, and what follows from it. Frozen; equal by value; pickles.

    Made by the classifier, or by you: `Verdict.ok()`, `Verdict.fail()`, `Verdict.throttled()`,
    `Verdict.ignore()`. `str(verdict)` is one sentence that explains it.

    Attributes:
        outcome: ``"ok"``; ``"fail"``; ``"throttled"`` (we were asked to slow down: who is blamed
            cools down, but nothing counts as failing); ``"ignore"`` (neither good nor bad).
        kind: The kind of failure; ``"none"`` for ok and ignore.
        retry: May the same node be asked again?
        fail_over: May another node be asked?
        blame: Whom it counts against.
        delay: Seconds that the server asked us to wait, 0 to 86 400; None if it did not say.
        rule: The rule that decided, as in ``docs/classification.md``.
        matched: What the rule matched: class names, statuses, known codes. Never a message, a body
            or a header's value.
        ambiguous: May the provider have done (and billed) the work all the same?
    """

    __slots__ = (
        "ambiguous", "blame", "delay", "fail_over", "kind", "matched", "outcome", "retry", "rule",
    )  # fmt: skip

    outcome: Outcome
    kind: str
    retry: bool
    fail_over: bool
    blame: Blame
    delay: float | None
    rule: str
    matched: str
    ambiguous: bool

    def __init__(
        self,
        outcome: Outcome,
        kind: str = "none",
        *,
        retry: bool = False,
        fail_over: bool = False,
        blame: Blame = "nobody",
        delay: float | None = None,
        rule: str = "",
        matched: str = "",
        ambiguous: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "outcome", outcome)
        put(self, "kind", kind)
        put(self, "retry", retry)
        put(self, "fail_over", fail_over)
        put(self, "blame", blame)
        put(self, "delay", delay)
        put(self, "rule", rule)
        put(self, "matched", matched)
        put(self, "ambiguous", ambiguous)

    @classmethod
    def ok(cls) -> Verdict:
        """It answered: count a success, whatever was raised."""
        return cls("ok", rule=YOURS)

    @classmethod
    def ignore(cls) -> Verdict:
        """Neither good nor bad: count nothing, retry nothing."""
        return cls("ignore", rule=YOURS)

    @classmethod
    def fail(
        cls,
        kind: str = "unknown",
        delay: float | timedelta | None = None,
        retry: bool = True,
        fail_over: bool = True,
        *,
        blame: Blame | None = None,
    ) -> Verdict:
        """It failed.

        Args:
            kind: One of the kinds of ``docs/classification.md``.
            delay: Seconds to wait before the same node is asked again; None: the policy's back-off.
            retry: May the same node be asked again?
            fail_over: May another node be asked?
            blame: Whom it counts against; None: whom its kind counts against.

        Raises:
            ConfigurationError: Of a kind, a delay or a blame that there is not.
        """
        if kind not in BLAME:
            raise ConfigurationError(field="kind", rule=f"be one of {', '.join(BLAME)}", value=kind)
        if blame is not None and blame not in _BLAMED:
            rule = f"be one of {', '.join(_BLAMED)}"
            raise ConfigurationError(field="blame", rule=rule, value=blame)
        return cls(
            "fail",
            kind,
            retry=bool(retry),
            fail_over=bool(fail_over),
            blame=blame or BLAME[kind],
            delay=_checked(delay),
            rule=YOURS,
        )

    @classmethod
    def throttled(cls, delay: float | timedelta | None = None) -> Verdict:
        """We were asked to slow down, for `delay` seconds if it said; this is not a failure.

        Raises:
            ConfigurationError: Of a delay that is negative, not finite or not a duration.
        """
        return cls(
            "throttled",
            "rate_limit",
            retry=True,
            fail_over=True,
            blame="rate",
            delay=_checked(delay),
            rule=YOURS,
        )

    def but(self, **changes: Any) -> Verdict:
        """The same verdict with these attributes changed."""
        return type(self)(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Verdict is frozen: {name!r} cannot be set; use but({name}=…)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Verdict is frozen: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Verdict) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in Verdict.__slots__)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self._values())

    def __copy__(self) -> Verdict:
        return self

    def __deepcopy__(self, memo: object) -> Verdict:
        return self

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in _SHOWN)
        return f"Verdict({fields})"

    def __str__(self) -> str:
        what = self.outcome if self.kind == "none" else f"{self.outcome} ({self.kind})"
        parts = [what]
        if self.rule:
            parts.append(f"by rule {self.rule}" + (f", on {self.matched}" if self.matched else ""))
        if self.outcome in ("fail", "throttled"):
            parts += self._consequences()
        elif self.outcome == "ignore":
            parts.append("raised as it is, counts for nothing")
        return "; ".join(parts) + "."

    def _consequences(self) -> list[str]:
        where = {
            (True, True): "may be retried here and on another node",
            (True, False): "may be retried here only",
            (False, True): "no retry here, but another node may answer",
            (False, False): "neither retried nor failed over",
        }[self.retry, self.fail_over]
        if self.outcome == "throttled":
            parts = [where, f"{_BLAMED[self.blame]} cools down, but nothing counts as failing"]
        else:
            parts = [where, f"counts against {_BLAMED[self.blame]}"]
        if self.delay is not None:
            parts.append(f"asked to wait {self.delay:g} s")
        if self.ambiguous:
            parts.append("the work may have been done and billed")
        return parts


YOURS: Final = "yours"
"""The rule of a verdict that the user's own code gave."""

_SHOWN = (
    "outcome", "kind", "retry", "fail_over", "blame", "delay", "rule", "matched", "ambiguous",
)  # fmt: skip

Verdict.__module__ = "holdfast"


def _rebuilt(cls: type[Verdict], values: tuple[Any, ...]) -> Verdict:
    return cls(**dict(zip(Verdict.__slots__, values, strict=True)))


def _checked(delay: float | timedelta | None) -> float | None:
    """Seconds from what a user gave; bounded like a server's."""
    if delay is None:
        return None
    if not isinstance(delay, int | float):
        from datetime import timedelta

        if not isinstance(delay, timedelta):
            raise _bad_delay(delay)
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not 0 <= delay < float("inf"):  # NaN compares false
        raise _bad_delay(delay)
    return min(float(delay), LONGEST_DELAY)


def _bad_delay(delay: object) -> ConfigurationError:
    rule = "be a finite number of seconds or a timedelta, 0 or more"
    return ConfigurationError(field="delay", rule=rule, value=delay)

"""Alerts: which events somebody may have to do something about, how badly, and who is told."""

from __future__ import annotations

import weakref

from holdfast import _events, _native
from holdfast._exceptions import refuse
from holdfast._values import Immutable, Value

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal, TypeAlias

    from holdfast._events import Event
    from holdfast._home import Home

    Severity: TypeAlias = Literal["info", "warning", "critical"]
    Call: TypeAlias = Callable[["Alert"], object]
    OnAlert: TypeAlias = "Call | AlertRule | Iterable[Call | AlertRule]"

SEVERITIES = ("info", "warning", "critical")

_GOOD_NEWS = frozenset(
    ("circuit_closed", "circuit_half_opened", "failover_completed", "recovery_started", "recovery_completed",
     "node_added", "node_removed", "node_drained", "rebalanced", "panic_left", "restart_attempted",
     "restart_completed", "state_synced")
)  # fmt: skip
_CRITICAL = frozenset(("panic_entered", "restarts_exhausted"))

_TITLES = {
    "circuit_opened": "{source} has opened ({reason})",
    "circuit_half_opened": "{source} lets a probe through",
    "circuit_closed": "{source} has closed ({reason})",
    "node_suspected": "node {node} of {source} has begun to miss heartbeats ({reason})",
    "node_marked_failed": "node {node} of {source} has failed ({reason})",
    "failover_started": "traffic is leaving node {node} of {source}",
    "failover_completed": "traffic of node {node} of {source} goes to {to_node}",
    "recovery_started": "node {node} of {source} is recovering",
    "recovery_completed": "node {node} of {source} is up again after {downtime:.3g} s",
    "node_added": "node {node} has joined {source}",
    "node_removed": "node {node} has left {source}",
    "node_drained": "node {node} of {source} is drained",
}


class Alert(Immutable):
    """Something that somebody may have to do something about; frozen.

    Attributes:
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        title: One line of text.
        event: The :class:`Event` behind it.
    """

    __slots__ = ("severity", "title", "event")

    severity: Severity
    title: str
    event: Event

    def __init__(self, severity: Severity, title: str, event: Event) -> None:
        put = object.__setattr__
        put(self, "severity", severity)
        put(self, "title", title)
        put(self, "event", event)

    def __reduce__(self) -> tuple[type[Alert], tuple[Any, ...]]:
        return Alert, (self.severity, self.title, self.event)

    def __repr__(self) -> str:
        return f"Alert({self.severity!r}, {self.title!r})"


class AlertRule(Value):
    """Who is told of which events, and how severe they are. A value.

    Args:
        call: A function or async function, given the :class:`Alert`.
        kinds: The kinds of event, one or several. ``None``: every change of state.
        severity: ``"info"``, ``"warning"`` or ``"critical"`` for all of them. ``None``: by kind. Good news is
            info and bad news a warning; critical is a failover that found no node, panic, and a node whose
            restarts are used up.
        at_least: Only alerts at least this severe. ``"info"``: all.
        when: ``event -> bool``: only events for which it is true. ``None``: all.
        title: ``event -> str``. ``None``: a sentence of ours.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("call", "kinds", "severity", "at_least", "when", "title")

    call: Call
    kinds: tuple[str, ...] | None
    severity: Severity | None
    at_least: Severity
    when: Callable[[Event], object] | None
    title: Callable[[Event], str] | None

    def __init__(
        self,
        call: Call,
        *,
        kinds: str | Iterable[str] | None = None,
        severity: Severity | None = None,
        at_least: Severity = "info",
        when: Callable[[Event], object] | None = None,
        title: Callable[[Event], str] | None = None,
    ) -> None:
        wanted = None if kinds is None else (kinds,) if isinstance(kinds, str) else tuple(kinds)
        for kind in wanted or ():
            if kind not in _native.EVENT_KINDS:
                raise refuse("kinds", f"be among {', '.join(_native.EVENT_KINDS)}", kind)
        for field, value in (("severity", severity or "info"), ("at_least", at_least)):
            if value not in SEVERITIES:
                raise refuse(field, f"be one of {', '.join(map(repr, SEVERITIES))}", value)
        for field, function in (("call", call), ("when", when), ("title", title)):
            if not callable(function) and not (function is None and field != "call"):
                raise refuse(field, "be callable", function)
        self._set(call=call, kinds=wanted, severity=severity, at_least=at_least, when=when, title=title)

    def _alert(self, event: Event) -> Alert | None:
        """The alert that this event is, if it is one."""
        if self.when is not None and not self.when(event):
            return None
        severity = self.severity or severity_of(event)
        if SEVERITIES.index(severity) < SEVERITIES.index(self.at_least):
            return None
        return Alert(severity, title_of(event) if self.title is None else self.title(event), event)

    def _listener(self) -> Callable[[Event], object]:
        """A listener of the colour of ``call``."""

        def listen(event: Event) -> object:
            alert = self._alert(event)
            return None if alert is None else self.call(alert)

        async def listen_async(event: Event) -> None:
            alert = self._alert(event)
            if alert is not None:
                answer: Any = self.call(alert)
                await answer

        import inspect  # not at the top: who has no alerts need not load it

        return listen_async if inspect.iscoroutinefunction(self.call) else listen


def severity_of(event: Event) -> Severity:
    """How severe an event is, unless a rule says otherwise."""
    if event.kind in _CRITICAL or (event.kind == "failover_completed" and event.to_node is None):
        return "critical"
    return "info" if event.kind in _GOOD_NEWS else "warning"


def title_of(event: Event) -> str:
    """One line that says what happened."""
    if event.kind == "failover_completed" and event.to_node is None:
        return f"no node of {event.source} is left for the traffic of node {event.node}"
    pattern = _TITLES.get(event.kind)
    return str(event) if pattern is None else pattern.format(source=event.source, **event.fields)


def attend(manager: Any, on_alert: OnAlert, home: Home) -> None:
    """Tells them of the manager's events, for as long as it lives.

    Raises:
        ConfigurationError: It is not what ``on_alert`` must be.
    """
    for rule in rules_of(on_alert):
        kinds = (
            sorted(_native.STATE_CHANGES | _CRITICAL & set(_native.EVENT_KINDS))
            if rule.kinds is None
            else rule.kinds
        )
        unsubscribe = _events.subscribe(rule._listener(), kinds, source_id=manager.source_id, home=home)
        weakref.finalize(manager, unsubscribe).atexit = False


def rules_of(on_alert: OnAlert) -> list[AlertRule]:
    """Reads ``on_alert``: one or several, functions or rules."""
    listed: list[Any]
    if callable(on_alert) or isinstance(on_alert, AlertRule):
        listed = [on_alert]
    else:
        try:
            listed = list(on_alert)
        except TypeError:
            raise refuse(
                "on_alert", "be a function of an Alert, an AlertRule, or several", on_alert
            ) from None
    for one in listed:
        if not (callable(one) or isinstance(one, AlertRule)):
            raise refuse("on_alert", "hold functions of an Alert and AlertRules", one)
    return [one if isinstance(one, AlertRule) else AlertRule(one) for one in listed]

"""The values a manager is made of: its nodes, and how they are asked for signs of life."""

from __future__ import annotations

from holdfast import _native, _probe, _wrap
from holdfast._detector import Detector
from holdfast._exceptions import refuse
from holdfast._limits import as_bulkhead, as_rates
from holdfast._values import DEFAULT, Default, Value, is_text

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from typing import Any, NoReturn

    from holdfast._limits import AdaptiveLimit, Bulkhead, RateLimit
    from holdfast._probe import Probe
    from holdfast._values import Seconds

_CLIENTS = ("openai", "anthropic")


class Node(Value):
    """One of the places a call may go. A value: equal by its fields; a copy shares the target.

    Args:
        name: Its name, unique in its manager.
        target: A callable of any colour, a LangChain Runnable, or a client (usable through ``@manager``
            only). Left out: the node is its name and address, for functions under ``@manager``.
        address: Its origin for native probes, such as ``"http://127.0.0.1:8000"``. ``None``: the client's
            own.
        weight: Its share relative to the other nodes of its tier: finite, above 0.
        tier: Lower tiers are asked first, a higher one only while no lower node is ready.
        heartbeat: A :class:`Heartbeat` of its own, in place of the manager's. ``False``: nobody asks this node;
            it may send beats itself (``manager.beat``).
        domains: What it shares with other nodes, such as ``("key:prod-1", "region:eu")``.
        bulkhead: How many attempts run at this node at once, as in :class:`Pipeline`. Nobody waits in its line
            while another node is free: a node that is full is passed over.
        rate_limit: How many attempts begin there in a stretch of time, likewise. Headers of its good answers that
            say how much is left tighten it.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = (
        "name",
        "target",
        "address",
        "weight",
        "tier",
        "heartbeat",
        "domains",
        "bulkhead",
        "rate_limit",
    )

    name: str
    target: Any
    address: str | None
    weight: float
    tier: int
    heartbeat: Heartbeat | bool | None
    domains: tuple[str, ...]
    bulkhead: Bulkhead | AdaptiveLimit | None
    rate_limit: tuple[RateLimit, ...]

    def __init__(
        self,
        name: str,
        target: Any = DEFAULT,
        *,
        address: str | None = None,
        weight: float = 1.0,
        tier: int = 0,
        heartbeat: Heartbeat | bool | None = None,
        domains: Iterable[str] = (),
        bulkhead: Bulkhead | AdaptiveLimit | int | None = None,
        rate_limit: RateLimit | Sequence[RateLimit] | float | None = None,
    ) -> None:
        if not is_text(name):
            raise refuse("name", "be a non-empty string", name)
        if isinstance(target, Default):
            target = no_target
        if not (callable(target) or _wrap.is_runnable(target) or _is_client(target)):
            raise _wrap.bad_target("be callable, a LangChain Runnable or a client", target)
        if address is not None and not is_text(address):
            raise refuse("address", "be an origin such as 'http://127.0.0.1:8000', or None", address)
        if heartbeat is not None and not isinstance(heartbeat, (bool, Heartbeat)):
            raise refuse("heartbeat", "be a Heartbeat, False or None", heartbeat)
        if isinstance(domains, str):
            raise refuse("domains", "be several strings, such as ('key:prod-1',)", domains)
        self._set(
            name=name,
            target=target,
            address=address,
            weight=weight,
            tier=tier,
            heartbeat=heartbeat,
            domains=tuple(domains),
            bulkhead=as_bulkhead(bulkhead),
            rate_limit=tuple(as_rates(rate_limit)),
        )

    def _retargeted(self, target: Any) -> Node:
        """The same node with another target."""
        return Node(**{**self._fields(), "target": target})

    def __repr__(self) -> str:
        # The target's own repr may hold a key.
        return f"Node({self.name!r}, <{type(self.target).__name__}>, weight={self.weight}, tier={self.tier})"


class Heartbeat(Value):
    """How the nodes of a manager are asked for signs of life. A value.

    Args:
        interval: Seconds from one probe of a node to the next. 10.
        failure_threshold: Misses in a row that mark a node failed. 3: one lost packet does not.
        recovery_threshold: Answers in a row that bring it back. 2: one lucky answer does not.
        timeout: Seconds an answer may take. 5.
        jitter: The share of the interval, 0 to 1, by which each probe is moved at random. 0.1.
        probe: What is asked: an :class:`HttpProbe`, a :class:`TcpProbe`, or a function or async function that is
            given the :class:`Node`. One that raises, or answers ``False`` (or what is false, except ``None``),
            has missed. Kept as ``heartbeat.probe``; calling that with a node asks it once. ``None``: nobody is
            asked, the nodes send beats of their own (``manager.beat``), and their silence convicts.
        detector: Who judges: a :class:`ThresholdDetector`, a :class:`DeadlineDetector` or a
            :class:`PhiAccrualDetector`, as a template for each node's own. ``None``: the two thresholds above;
            without a probe, silence of ``interval`` times ``failure_threshold``.
        clears_traffic: Let ``recovery_threshold`` answers in a row also clear what traffic has found: the node's
            open breaker closes. ``False``: an answer to a probe does not show that calls go well, so only calls
            clear it. ``True`` is for a probe that does what calls do.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = (
        "interval",
        "failure_threshold",
        "recovery_threshold",
        "timeout",
        "jitter",
        "detector",
        "probe",
        "clears_traffic",
    )

    interval: Seconds
    failure_threshold: int
    recovery_threshold: int
    timeout: Seconds
    jitter: float
    detector: Detector | None
    probe: Any  # a callable of a node: the user's own, or one of ours
    clears_traffic: bool

    def __init__(
        self,
        interval: Seconds = 10.0,
        *,
        failure_threshold: int = 3,
        recovery_threshold: int = 2,
        timeout: Seconds = 5.0,
        jitter: float = 0.1,
        detector: Detector | None = None,
        probe: Probe | None = None,
        clears_traffic: bool = False,
    ) -> None:
        if not isinstance(clears_traffic, bool):
            raise refuse("clears_traffic", "be True or False", clears_traffic)
        if detector is not None and not isinstance(detector, Detector):
            rule = "be a ThresholdDetector, a DeadlineDetector, a PhiAccrualDetector or None"
            raise refuse("detector", rule, detector)
        asks = probe is not None
        _native.check_heartbeat(
            interval,
            failure_threshold,
            recovery_threshold,
            timeout,
            jitter,
            detector,
            asks,
            clears_traffic,
        )
        self._set(
            interval=interval,
            failure_threshold=failure_threshold,
            recovery_threshold=recovery_threshold,
            timeout=timeout,
            jitter=jitter,
            detector=detector,
            probe=None if probe is None else _probe.checked(probe, timeout),
            clears_traffic=clears_traffic,
        )

    def _row(self) -> tuple[Any, ...]:
        """What the native side is told of it."""
        asks = self.probe is not None
        thresholds = self.failure_threshold, self.recovery_threshold
        rest = self.jitter, self.detector, asks, self.clears_traffic
        return self.interval, *thresholds, self.timeout, *rest

    def aprobe(self, node: Node) -> Coroutine[Any, Any, bool]:
        """Asks the node once, awaited: is there a sign of life within ``timeout``?

        A native probe is awaited on the background runtime, an async one here, a plain function in a thread.

        Raises:
            ConfigurationError: It is not known where the node is, or there is no probe.
        """
        if self.probe is None:
            raise refuse("probe", "be given to ask by it", self.probe)
        return _probe.ask(self.probe, node, self.timeout)


def no_target(*_args: object, **_kwargs: object) -> NoReturn:
    """The target of a node that was given none."""
    raise refuse("target", "be given to each node, or the manager used as a decorator", None)


def _is_client(target: object) -> bool:
    return any(cls.__module__.partition(".")[0] in _CLIENTS for cls in type(target).__mro__)

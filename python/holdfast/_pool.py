"""Failover over several nodes: the public values, and the manager that joins them to the native pool."""

from __future__ import annotations

from types import MappingProxyType

from holdfast import _balancer, _classify, _native, _probe, _wrap
from holdfast._breaker import CircuitBreaker
from holdfast._chat import completion_of, is_chat_model
from holdfast._doors import Doors
from holdfast._exceptions import refuse
from holdfast._fallback import as_fallback
from holdfast._hedge import as_hedge
from holdfast._home import Home
from holdfast._limits import as_bulkhead, as_rates
from holdfast._node import Heartbeat, Node
from holdfast._policies import as_breaker, as_retry, as_timeout, checked_answers, compose
from holdfast._processes import Processes
from holdfast._recovery import Restart, as_restart, care_of
from holdfast._values import DEFAULT, Default, State, label

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Mapping,
        Sequence,
    )
    from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

    from holdfast._alerts import OnAlert
    from holdfast._balancer import Balancer, Named, StickyKey
    from holdfast._breaker import Classifier
    from holdfast._classify import Verdict
    from holdfast._completion import Completion
    from holdfast._events import Event
    from holdfast._fallback import Fallback
    from holdfast._hedge import Hedge
    from holdfast._limits import AdaptiveLimit, Bulkhead, RateLimit
    from holdfast._policies import Resume, Validate
    from holdfast._retry import Retry
    from holdfast._timeout import Timeout
    from holdfast._values import Seconds

    P = ParamSpec("P")
    T = TypeVar("T")

_COLOURS = ("function", "coroutine", "generator", "async_generator")
_RUNNABLE = ("invoke", "ainvoke", "stream", "astream")


class FailoverManager(Doors, State, _native.FailoverManager):
    """Sends each call to a node that is ready, and to another when that one fails.

    Picks go by tier (lowest first), then by the balancer over the ready nodes; a node that failed the call is asked
    again only when every other is exhausted. Each node has a breaker of its own, copied from the template and
    named ``<name>/<node>``. Calls work without ``start()``: the heartbeat begins with the first of them.

    Args:
        nodes: The :class:`Node` values; at least one, with different names.
        name: A label for events and messages.
        balancer: Who is asked next, within a tier: ``"round_robin"``, ``"weighted"`` (in turn, by weight),
            ``"random"``, ``"weighted_random"``, ``"least_connections"``, ``"p2c"`` (the less loaded of two),
            ``"sticky"`` (by ``sticky_key``), or an object with ``pick(candidates)``, which is given the
            :class:`NodeView` of each node that may be asked and answers one of them, or its name. One that
            raises loses no call: the node is then picked in turn.
        heartbeat: A :class:`Heartbeat`, or ``None``: failures are then found by traffic alone.
        breaker: The template of the nodes' breakers; ``None`` for none.
        retry: A :class:`Retry` (its attempts are counted over all nodes), or ``None``: each ready node is
            tried once.
        timeout: A :class:`Timeout`, or the total in seconds.
        hedge: A :class:`Hedge`: a second node is asked when the first is slow, by ``acall`` and, with ``threads``, by
            ``call``. Streams are not hedged.
        bulkhead: How many attempts run at once over all nodes, as in :class:`Pipeline`.
        rate_limit: How many attempts begin in a stretch of time over all nodes, likewise.
        fallback: A :class:`Fallback`: another answer when every node has failed, or none is ready.
        validate: As in :class:`Pipeline`.
        classify: ``exc -> Verdict``.
        resume: As in :class:`Pipeline`.
        auto_rebalance: Compute the nodes' shares anew every ``rebalance_interval``, from their latency and
            success: by small steps, within half and twice their weight. On time where the manager was started
            or has a heartbeat, else when a call ends. Not for ``least_connections`` and ``p2c``, which follow
            the load by themselves.
        rebalance_interval: Seconds, above 0. 300.
        slow_start: Over so many seconds the share of a node grows that has returned or joined. 0: at once.
        failback_hold: For so many seconds nothing is sent to a node that has returned, while others can take
            it. 0.
        max_ejected: A node that fails much more often than the others is put out for a while, as long as no
            more than this share of all nodes, 0 to 1, is out. 0.5. 0: never.
        panic_below: If less than this share of the nodes, 0 to 1, is healthy, all are used but those that are
            draining or disabled. 0: never.
        sticky_key: For ``balancer="sticky"``: ``sticky_key(args, kwargs) -> str | None``, such as the id of the
            conversation. Calls with the same key go to the same node while it is ready and not too full.
        exhausted: What to do when no node is ready: ``"wait"`` for the earliest within the deadline (without
            a deadline refuse at once), ``"fail_fast"``, or ``"try_anyway"``.
        cooldown_cap: The longest a node or what it shares is kept waiting, in seconds, whatever it asked for: after
            it one call asks again. 600.
        threads: Let ``acall`` run sync targets in a thread, and ``call`` run async ones in a loop of their
            own.
        recovery: How a node that is out is brought back: a :class:`Restart`, or a function or async function of the
            node. ``None``: nodes that have a way of their own (:class:`ProcessNode`) use that.
        on_alert: Who is told of what somebody may have to do something about: a function or async function
            given an :class:`Alert`, an :class:`AlertRule`, or several of either.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("_checks", "_heartbeat", "_home", "_processes", "_restart", "_threads")

    _checks: bool
    _threads: bool
    _heartbeat: Heartbeat | None
    _home: Home
    _processes: Processes
    _restart: Restart

    def __new__(
        cls,
        nodes: Iterable[Node],
        *,
        name: str | None = None,
        balancer: Named | Balancer = "round_robin",
        heartbeat: Heartbeat | None = None,
        breaker: CircuitBreaker | int | Default | None = DEFAULT,
        retry: Retry | int | None = None,
        timeout: Timeout | Seconds | None = None,
        hedge: Hedge | float | None = None,
        bulkhead: Bulkhead | AdaptiveLimit | int | None = None,
        rate_limit: RateLimit | Sequence[RateLimit] | float | None = None,
        fallback: Fallback | float | None = None,
        validate: Validate | None = None,
        classify: Classifier | None = None,
        resume: Resume | None = None,
        auto_rebalance: bool = True,
        rebalance_interval: Seconds = 300.0,
        slow_start: Seconds = 0.0,
        failback_hold: Seconds = 0.0,
        max_ejected: float = 0.5,
        panic_below: float = 0.0,
        exhausted: Literal["fail_fast", "wait", "try_anyway"] = "wait",
        sticky_key: StickyKey | None = None,
        cooldown_cap: Seconds = 600.0,
        threads: bool = False,
        recovery: Restart | Callable[[Node], object] | None = None,
        on_alert: OnAlert | None = None,
        _rules: Callable[[BaseException], Verdict] = _classify.judge_plain,
        _completion: Completion | None = None,
    ) -> Self:
        name = label(name, "failover")
        listed = _checked(nodes)
        chooser = _balancer.checked(balancer, sticky_key)
        if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
            raise refuse("heartbeat", "be a Heartbeat or None", heartbeat)
        template = CircuitBreaker(name) if isinstance(breaker, Default) else as_breaker(breaker)
        retry = as_retry(retry)
        hedged = as_hedge(hedge)
        if _completion is None and all(is_chat_model(node.target) for node in listed):
            _rules, _completion = _classify.classify, completion_of(validate)
        listed = [_attended(node, validate is not False) for node in listed]
        if all(_wrap.is_client(node.target) for node in listed):
            _rules = _classify.classify
        answers = checked_answers(validate, resume, _completion)
        home, restart = Home(), as_restart(recovery)
        self = super().__new__(
            cls,
            name=name,
            nodes=[_native_node(node, heartbeat, threads, home, restart) for node in listed],
            heartbeat=None if heartbeat is None else heartbeat._row(),
            breaker=template,
            retry=retry,
            timeout=as_timeout(timeout),
            bulkhead=as_bulkhead(bulkhead),
            rates=as_rates(rate_limit),
            classify=compose(classify, template.classify if template is not None else None, retry, _rules),
            answers=answers,
            exhausted=exhausted,
            cooldown_cap=cooldown_cap,
            spread=(
                chooser,
                sticky_key,
                _balancer.interval(auto_rebalance, rebalance_interval),
                slow_start,
                failback_hold,
                max_ejected,
                panic_below,
            ),
            recovery=restart._row(),
            fallback=as_fallback(fallback),
            hedge=None if hedged is None else (hedged, bool(threads)),
        )
        object.__setattr__(self, "_threads", threads)
        object.__setattr__(self, "_checks", validate is not False)
        object.__setattr__(self, "_heartbeat", heartbeat)
        object.__setattr__(self, "_home", home)
        object.__setattr__(self, "_restart", restart)
        object.__setattr__(self, "_processes", Processes(self, listed))
        if on_alert is not None:
            from holdfast import _alerts

            _alerts.attend(self, on_alert, home)
        return self

    # ---- calls ----

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the target of a ready node (a Runnable's ``invoke``).

        Raises:
            NoNodeReady: No node was ready.
            ConfigurationError: The picked node's target is async (see ``threads``).
        """
        return self._guard(None, "function")(*args, **kwargs)

    def acall(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Awaits the target of a ready node (a Runnable's ``ainvoke``), and raises as ``call`` does."""
        made: Coroutine[Any, Any, Any] = self._guard(None, "coroutine")(*args, **kwargs)
        return made

    def stream(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        """Iterates over what a ready node's target yields; until the first item it may move to another."""
        made: Generator[Any, Any, Any] = self._guard(None, "generator")(*args, **kwargs)
        return made

    def astream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        """Iterates asynchronously likewise. Not awaitable: use it in ``async for``."""
        made: AsyncGenerator[Any, Any] = self._guard(None, "async_generator")(*args, **kwargs)
        return made

    def __call__(self, function: Callable[Concatenate[Node, P], T]) -> Callable[P, T]:
        """As a decorator: ``function`` is called with the picked :class:`Node` before its own arguments.

        Raises:
            ConfigurationError: ``function`` is not callable.
        """
        if not callable(function):
            raise _wrap.bad_target("be callable: it is given the Node first", function)
        guarded: Any = _wrap.dress(self._guard(function, _wrap.colour_of(function)), function)
        made: Callable[P, T] = guarded  # the guard has the colour of what it guards
        return made

    # ---- nodes ----

    @property
    def nodes(self) -> Mapping[str, _native.NodeView]:
        """What is thought of each node at this moment, by name."""
        return MappingProxyType({view.name: view for view in self._views()})

    def add_node(self, node: Node) -> None:
        """Adds a node, which gets calls at once.

        Raises:
            ConfigurationError: Its name is taken.
        """
        _checked([node])
        attended = _attended(node, self._checks)
        self._add(_native_node(attended, self._heartbeat, self._threads, self._home, self._restart))
        self._processes.add(attended)

    def explain(self) -> dict[str, str]:
        """Per node: ``"ready"``, or exactly why not and until when."""
        return dict(self._explain())

    # ---- life ----

    def start(self) -> None:
        """Starts the processes of nodes that have one, and the heartbeat.

        Waits until the processes can be reached. One that cannot be is logged, its node marked failed, and its
        recovery begun. Calls work without ``start()``: the heartbeat begins with the first of them.
        """
        self._processes.start()
        super().start()

    def stop(self) -> None:
        """Ends the heartbeat and the processes it has started; calls still work, and start the heartbeat again."""
        super().stop()
        self._processes.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._home.enter()
        if self._processes:
            import asyncio

            await asyncio.to_thread(self._processes.start)
        super().start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._home.leave()
        super().stop()
        if self._processes:
            import asyncio

            await asyncio.to_thread(self._processes.stop)

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with the events of this manager, its nodes and their breakers."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id, home=self._home)

    def __repr__(self) -> str:
        return f"<FailoverManager {self.name!r} of {len(self._views())} node(s)>"


def _checked(nodes: Iterable[Node]) -> list[Node]:
    try:
        listed = list(nodes)
    except TypeError:
        raise refuse("nodes", "be an iterable of Node", nodes) from None
    if not listed:
        raise refuse("nodes", "hold at least one node", listed)
    for node in listed:
        if not isinstance(node, Node):
            raise refuse("nodes", "hold only Node values", node)
    return listed


def _attended(node: Node, check: bool) -> Node:
    """The node as functions are given it: of a client, a copy without retries whose answers are looked at."""
    if not _wrap.is_client(node.target):
        return node
    from holdfast.clients import attended

    return node._retargeted(attended(node.target, check=check))


def _native_node(
    node: Node, heartbeat: Heartbeat | None, threads: bool, home: Home, restart: Restart
) -> tuple[Any, ...]:
    """What the native manager is told of a node: itself, its numbers, its callables, its heartbeat, its care."""
    own = node.heartbeat if isinstance(node.heartbeat, Heartbeat) else None
    rhythm = own or heartbeat
    how = None
    if rhythm is not None and rhythm.probe is not None and node.heartbeat is not False:
        how = _probe.how_to_ask(rhythm.probe, node, home)
    callables, domains = _callables(node.target, threads), list(node.domains)
    beat = node.heartbeat is not False, None if own is None else own._row()
    care = care_of(node, restart, home)
    limits = list(node.rate_limit), node.bulkhead
    return node, node.name, node.weight, node.tier, callables, how, domains, beat, care, limits


def _callables(target: Any, threads: bool) -> list[Any]:
    """``target`` as a callable of each colour that it has, in the order of ``_COLOURS``."""
    if _wrap.is_runnable(target):
        return [getattr(target, method) for method in _RUNNABLE]
    found: dict[str, Any] = {}
    if callable(target):
        found[_wrap.colour_of(target)] = target
        # A plain function may return an iterator; whether it does shows when it is called.
        if "function" in found:
            found["generator"] = found["async_generator"] = target
    if threads and "function" in found:
        found["coroutine"] = _in_thread(found["function"])
    elif threads and "coroutine" in found:
        found["function"] = _in_own_loop(found["coroutine"])
    return [found.get(colour) for colour in _COLOURS]


def _in_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        return await asyncio.to_thread(function, *args, **kwargs)

    return run


def _in_own_loop(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        import asyncio
        import contextvars
        from concurrent.futures import ThreadPoolExecutor

        async def main() -> Any:
            return await function(*args, **kwargs)

        # A thread of its own, because this one may have a running loop already.
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1, "holdfast-call") as pool:
            return pool.submit(context.run, asyncio.run, main()).result()

    return run

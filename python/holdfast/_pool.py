"""Failover over several nodes: the public values, and the manager that joins them to the native pool."""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast import _classify, _native, _wrap
from holdfast._exceptions import refuse
from holdfast._policies import DEFAULT, CircuitBreaker, _Default, _label, as_breaker, as_retry, as_timeout, checked_answers, compose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from typing import Literal, Self

    from holdfast._completion import Completion
    from holdfast._events import Event
    from holdfast._policies import Classifier, Resume, Retry, Seconds, Timeout, Validate

ManagerMetrics = _native.ManagerMetrics
NodeView = _native.NodeView

T = TypeVar("T")

_COLOURS = ("function", "coroutine", "generator", "async_generator")
_RUNNABLE = ("invoke", "ainvoke", "stream", "astream")
_CLIENTS = ("openai", "anthropic")


class _Frozen:
    """A value: its fields are set once, and it equals what has the same fields."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name!r}")

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), *map(id, self._fields())))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


class Node(_Frozen):
    """One of the places a call may go.

    Args:
        name: Its name, unique in its manager.
        target: A callable of any colour, a LangChain Runnable, or a client (usable through ``@manager`` only).
        address: Its origin for native probes, such as ``"http://127.0.0.1:8000"``. ``None``: the client's own.
        weight: Its share relative to the other nodes of its tier: finite, above 0.
        tier: Lower tiers are asked first, a higher one only while no lower node is ready.
        heartbeat: ``False``: the manager's heartbeat does not ask this node.
        domains: What it shares with other nodes, such as ``("key:prod-1", "region:eu")``.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("name", "target", "address", "weight", "tier", "heartbeat", "domains")

    name: str
    target: Any
    address: str | None
    weight: float
    tier: int
    heartbeat: bool | None
    domains: tuple[str, ...]

    def __init__(
        self,
        name: str,
        target: Any,
        *,
        address: str | None = None,
        weight: float = 1.0,
        tier: int = 0,
        heartbeat: bool | None = None,
        domains: Iterable[str] = (),
    ) -> None:
        if not isinstance(name, str) or not name:
            raise refuse("name", "be a non-empty string", name)
        if not (callable(target) or _is_runnable(target) or _is_client(target)):
            raise refuse("target", "be callable, a LangChain Runnable or a client", target)
        if address is not None and not isinstance(address, str):
            raise refuse("address", "be an origin such as 'http://127.0.0.1:8000', or None", address)
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
        )

    def __repr__(self) -> str:
        # The target's own repr may hold a key.
        return f"Node({self.name!r}, <{type(self.target).__name__}>, weight={self.weight}, tier={self.tier})"


class HttpProbe(_Frozen):
    """Asks a node over HTTP, natively: it keeps its beat while Python is busy.

    Args:
        path_or_url: A path, joined to the node's ``address`` (else its client's base URL), or a whole URL.
        method: The request's method.
        headers: Headers to send.
        expect: The statuses that mean "alive". 200 to 399.
    """

    __slots__ = ("path_or_url", "method", "headers", "expect")

    path_or_url: str
    method: str
    headers: Mapping[str, str] | None
    expect: range

    def __init__(
        self,
        path_or_url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        expect: range = range(200, 400),
    ) -> None:
        if not isinstance(path_or_url, str) or not path_or_url:
            raise refuse("path_or_url", "be a path such as '/health', or a URL", path_or_url)
        if not isinstance(expect, range) or expect.step != 1 or len(expect) == 0:
            raise refuse("expect", "be a range of statuses such as range(200, 400)", expect)
        self._set(path_or_url=path_or_url, method=method, headers=headers, expect=expect)

    def __repr__(self) -> str:
        # Headers may hold a key.
        return f"HttpProbe({self.path_or_url!r}, method={self.method!r}, expect={self.expect!r})"


class Heartbeat(_Frozen):
    """How the nodes of a manager are asked for signs of life.

    Args:
        interval: Seconds from one probe of a node to the next. 10.
        failure_threshold: Misses in a row that mark a node failed. 3: one lost packet does not.
        recovery_threshold: Answers in a row that bring it back. 2: one lucky answer does not.
        timeout: Seconds an answer may take. 5.
        jitter: The share of the interval, 0 to 1, by which each probe is moved at random. 0.1.
        probe: What is asked: an :class:`HttpProbe`.

    Raises:
        ConfigurationError: A field is out of range or of the wrong type.
    """

    __slots__ = ("interval", "failure_threshold", "recovery_threshold", "timeout", "jitter", "probe")

    interval: Seconds
    failure_threshold: int
    recovery_threshold: int
    timeout: Seconds
    jitter: float
    probe: HttpProbe

    def __init__(
        self,
        interval: Seconds = 10.0,
        *,
        failure_threshold: int = 3,
        recovery_threshold: int = 2,
        timeout: Seconds = 5.0,
        jitter: float = 0.1,
        probe: HttpProbe,
    ) -> None:
        if not isinstance(probe, HttpProbe):
            raise refuse("probe", "be an HttpProbe", probe)
        _native.check_heartbeat(interval, failure_threshold, recovery_threshold, timeout, jitter)
        self._set(
            interval=interval,
            failure_threshold=failure_threshold,
            recovery_threshold=recovery_threshold,
            timeout=timeout,
            jitter=jitter,
            probe=probe,
        )


class FailoverManager(_native.FailoverManager):
    """Sends each call to a node that is ready, and to another when that one fails.

    Picks go by tier (lowest first), then in turn over the ready nodes; a node that failed the call is asked again
    only when every other is exhausted. Each node has a breaker of its own, copied from the template and named
    ``<name>/<node>``. Calls work without ``start()``: the heartbeat begins with the first of them.

    Args:
        nodes: The :class:`Node` values; at least one, with different names.
        name: A label for events and messages.
        balancer: ``"round_robin"``.
        heartbeat: A :class:`Heartbeat`, or ``None``: failures are then found by traffic alone.
        breaker: The template of the nodes' breakers; ``None`` for none.
        retry: A :class:`Retry` (its attempts are counted over all nodes), or ``None``: each ready node is tried once.
        timeout: A :class:`Timeout`, or the total in seconds.
        validate: As in :class:`Pipeline`.
        classify: ``exc -> Verdict``.
        resume: As in :class:`Pipeline`.
        exhausted: What to do when no node is ready: ``"wait"`` for the earliest within the deadline (without a
            deadline refuse at once), ``"fail_fast"``, or ``"try_anyway"``.
        threads: Let ``acall`` run sync targets in a thread, and ``call`` run async ones in a loop of their own.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("_by_name", "_threads")

    def __new__(
        cls,
        nodes: Iterable[Node],
        *,
        name: str | None = None,
        balancer: Literal["round_robin"] = "round_robin",
        heartbeat: Heartbeat | None = None,
        breaker: CircuitBreaker | int | _Default | None = DEFAULT,
        retry: Retry | int | None = None,
        timeout: Timeout | Seconds | None = None,
        validate: Validate | None = None,
        classify: Classifier | None = None,
        resume: Resume | None = None,
        exhausted: Literal["fail_fast", "wait", "try_anyway"] = "wait",
        threads: bool = False,
        _rules: Callable[[BaseException], Any] = _classify.judge_plain,
        _completion: Completion | None = None,
    ) -> Self:
        label = _label(name, "failover")
        listed = _checked(nodes)
        if balancer != "round_robin":
            raise refuse("balancer", "be 'round_robin'", balancer)
        if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
            raise refuse("heartbeat", "be a Heartbeat or None", heartbeat)
        template = CircuitBreaker(label) if isinstance(breaker, _Default) else as_breaker(breaker)
        retry = as_retry(retry)
        checked, resume = checked_answers(validate, resume)
        completion = _completion
        if completion is None and all(_is_chat_model(node.target) for node in listed):
            completion = completion_of(validate)
        if completion is not None and validate is not False:
            checked = completion.validate
        rules = _rules if completion is None else _classify.classify
        beat = None
        if heartbeat is not None:
            beat = (
                heartbeat.interval,
                heartbeat.failure_threshold,
                heartbeat.recovery_threshold,
                heartbeat.timeout,
                heartbeat.jitter,
            )
        self = super().__new__(
            cls,
            name=label,
            nodes=[_native_node(node, heartbeat, threads) for node in listed],
            heartbeat=beat,
            breaker=template,
            retry=retry,
            timeout=as_timeout(timeout),
            classify=compose(classify, template.classify if template is not None else None, retry, rules),
            answers=(checked, None if completion is None else completion.governor, resume),
            exhausted=exhausted,
        )
        self._threads = threads
        return self

    # ---- calls ----

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the target of a ready node (a Runnable's ``invoke``).

        Raises:
            NoNodeReady: No node was ready.
            ConfigurationError: The picked node's target is async (see ``threads``).
        """
        return self._guard(None, "function")(*args, **kwargs)

    def acall(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Awaits the target of a ready node (a Runnable's ``ainvoke``)."""
        made: Awaitable[Any] = self._guard(None, "coroutine")(*args, **kwargs)
        return made

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Iterates over what the target of a ready node yields; until the first item it may move to another."""
        made: Iterator[Any] = self._guard(None, "generator")(*args, **kwargs)
        return made

    def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Iterates asynchronously likewise. Not awaitable: use it in ``async for``."""
        made: AsyncIterator[Any] = self._guard(None, "async_generator")(*args, **kwargs)
        return made

    def __call__(self, function: T) -> T:
        """As a decorator: ``function`` is called with the picked :class:`Node` before its own arguments."""
        if not callable(function):
            raise refuse("target", "be callable: it is given the Node first", function)
        guarded: Any = _wrap.dress(self._guard(function, _wrap.colour_of(function)), function)
        return guarded  # type: ignore[no-any-return]  # the guard has the colour of what it guards

    def run(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Calls ``function(node, *args, **kwargs)`` on a ready node, once."""
        made: T = self._guard(function, "function")(*args, **kwargs)
        return made

    def arun(self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Awaits ``function(node, *args, **kwargs)`` on a ready node."""
        made: Awaitable[T] = self._guard(function, "coroutine")(*args, **kwargs)
        return made

    def run_stream(self, function: Callable[..., Iterable[T]], /, *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterates over ``function(node, *args, **kwargs)`` on a ready node."""
        made: Iterator[T] = self._guard(function, "generator")(*args, **kwargs)
        return made

    def run_astream(self, function: Callable[..., AsyncIterator[T]], /, *args: Any, **kwargs: Any) -> AsyncIterator[T]:
        """Iterates asynchronously over ``function(node, *args, **kwargs)`` on a ready node."""
        made: AsyncIterator[T] = self._guard(function, "async_generator")(*args, **kwargs)
        return made

    # ---- nodes ----

    @property
    def nodes(self) -> Mapping[str, NodeView]:
        """What is thought of each node at this moment, by name."""
        return MappingProxyType({view.name: view for view in self._views()})

    def add_node(self, node: Node) -> None:
        """Adds a node, which gets calls at once.

        Raises:
            ConfigurationError: Its name is taken.
        """
        _checked([node])
        self._add(_native_node(node, self._heartbeat_probe(), self._threads))

    def explain(self) -> dict[str, str]:
        """Per node: ``"ready"``, or exactly why not and until when."""
        return dict(self._explain())

    # ---- life ----

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with the events of this manager, its nodes and their breakers."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)

    def __repr__(self) -> str:
        return f"<FailoverManager {self.name!r} of {len(self._views())} node(s)>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a FailoverManager is its state and cannot be copied or pickled; share this one")


def completion_of(validate: Validate | None, *, demanding: bool = False) -> Completion:
    """What checks the answers of a pool of chat models; plain functions may answer in it too."""
    from holdfast._completion import Completion

    return Completion("langchain", check=validate is not False, own=validate or None, demanding=demanding)


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


def _native_node(node: Node, heartbeat: Heartbeat | HttpProbe | None, threads: bool) -> tuple[Any, ...]:
    """What the native manager is told of a node: itself, its numbers, its callables by colour, its probe."""
    probe = heartbeat.probe if isinstance(heartbeat, Heartbeat) else heartbeat
    asked = probe if node.heartbeat is not False else None
    how = None
    if asked is not None:
        headers = list((asked.headers or {}).items())
        how = (_url(node, asked), asked.method, headers, asked.expect.start, asked.expect.stop, asked)
    return node, node.name, node.weight, node.tier, _callables(node.target, threads), how


def _url(node: Node, probe: HttpProbe) -> str:
    if "://" in probe.path_or_url:
        return probe.path_or_url
    from urllib.parse import urljoin

    base = node.address or _base_url(node.target)
    if base is None:
        raise refuse(
            "address", f"be given for node {node.name!r}, whose probe is the path {probe.path_or_url!r}", node.address
        )
    return urljoin(base, "/" + probe.path_or_url.lstrip("/"))


def _base_url(target: Any) -> str | None:
    """Where a client (or a chat model around one) sends its requests."""
    for holder in (target, getattr(target, "root_client", None), getattr(target, "_client", None)):
        url = getattr(holder, "base_url", None)
        if url is not None and "://" in str(url):
            return str(url)
    return None


def _callables(target: Any, threads: bool) -> list[Any]:
    """``target`` as a callable of each colour that it has, in the order of ``_COLOURS``."""
    if _is_runnable(target):
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


def _is_chat_model(target: Any) -> bool:
    chat = sys.modules.get("langchain_core.language_models.chat_models")
    base = sys.modules.get("langchain_core.runnables.base")
    while base is not None and isinstance(target, base.RunnableBindingBase):
        target = target.bound
    return chat is not None and isinstance(target, chat.BaseChatModel)


def _is_runnable(target: Any) -> bool:
    return _wrap.is_runnable(target)


def _is_client(target: Any) -> bool:
    return any(cls.__module__.partition(".")[0] in _CLIENTS for cls in type(target).__mro__)

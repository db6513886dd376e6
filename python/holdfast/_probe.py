"""How a node is asked for a sign of life: natively over HTTP or TCP, or by a callable of the user's."""

from __future__ import annotations

from types import MappingProxyType

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._values import Value, is_text

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, Self, TypeAlias

    from holdfast._home import Home
    from holdfast._node import Node
    from holdfast._values import Seconds

    Probe: TypeAlias = "HttpProbe | TcpProbe | Callable[[Node], object]"

PATIENCE = 5.0
"""Seconds a probe that is asked by itself waits for an answer."""


class NativeProbe(Value):
    """A probe that Rust asks: it keeps its beat while Python is busy. Called with a node, it asks it once."""

    __slots__ = ("_patience",)

    _patience: Seconds

    def within(self, patience: Seconds) -> Self:
        """The same probe (and equal to it), which waits this long when it is asked by itself."""
        made = type(self)(**self._fields())
        object.__setattr__(made, "_patience", patience)
        return made

    def how(self, node: Node) -> tuple[Any, ...]:
        """What the native side is told of it."""
        raise NotImplementedError

    def __call__(self, node: Node) -> bool:
        """Asks the node once: is there a sign of life? The GIL is released meanwhile.

        Raises:
            ConfigurationError: It is not known where the node is.
        """
        return _native.ask(self.how(node), self._patience)

    def ask(self, node: Node) -> Awaitable[bool]:
        """The same, awaited: the waiting is native."""
        return _native.aask(self.how(node), self._patience)


class HttpProbe(NativeProbe):
    """Asks a node over HTTP or HTTPS, natively: it keeps its beat while Python is busy. A value.

    Each question is one request on a connection of its own. No redirect is followed and no body is read: the
    answer itself is the sign of life.

    Args:
        path_or_url: A path, joined to the node's ``address`` (else its client's base URL), or a whole URL.
        method: The request's method.
        headers: Headers to send.
        expect: The statuses that mean "alive". 200 to 399.

    Raises:
        ConfigurationError: A field is not what it must be.
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
        if not is_text(path_or_url):
            raise refuse("path_or_url", "be a path such as '/health', or a URL", path_or_url)
        if not _is_run_of_statuses(expect):
            raise refuse("expect", "be a range of statuses such as range(200, 400)", expect)
        kept = None if headers is None else MappingProxyType(dict(headers))
        self._set(path_or_url=path_or_url, method=method, headers=kept, expect=expect, _patience=PATIENCE)

    def _fields(self) -> dict[str, Any]:
        # A plain dictionary, because a read-only view does not pickle.
        return {**super()._fields(), "headers": None if self.headers is None else dict(self.headers)}

    def how(self, node: Node) -> tuple[Any, ...]:
        headers = list((self.headers or {}).items())
        return "http", self._url(node), self.method, headers, self.expect.start, self.expect.stop

    def _url(self, node: Node) -> str:
        if "://" in self.path_or_url:
            return self.path_or_url
        from urllib.parse import urljoin

        base = _address(node, f"whose probe is the path {self.path_or_url!r}")
        return urljoin(base, "/" + self.path_or_url.lstrip("/"))

    def __repr__(self) -> str:
        # Headers may hold a key, and so may a URL.
        where = _without_secrets(self.path_or_url)
        return f"HttpProbe({where!r}, method={self.method!r}, expect={self.expect!r})"


class TcpProbe(NativeProbe):
    """Asks whether a node accepts a TCP connection, natively. A value.

    Args:
        address: ``"host:port"``, or a URL whose origin is meant. ``None``: the node's ``address``, else its
            client's base URL.

    Raises:
        ConfigurationError: ``address`` is not what it must be.
    """

    __slots__ = ("address",)

    address: str | None

    def __init__(self, address: str | None = None) -> None:
        if address is not None and not is_text(address):
            raise refuse("address", "be 'host:port', a URL, or None", address)
        self._set(address=address, _patience=PATIENCE)

    def how(self, node: Node) -> tuple[Any, ...]:
        return "tcp", self.address or _address(node, "whose probe is a TcpProbe")

    def __repr__(self) -> str:
        return f"TcpProbe({_without_secrets(self.address)!r})" if self.address else "TcpProbe()"


def checked(probe: object, patience: Seconds) -> Any:
    """A probe that a heartbeat can use, which waits as long as the heartbeat does.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(probe, NativeProbe):
        return probe.within(patience)
    if not callable(probe) or isinstance(probe, type):
        raise refuse("probe", "be an HttpProbe, a TcpProbe, or a function or async function of a node", probe)
    return probe


def how_to_ask(probe: Any, node: Node, home: Home) -> tuple[Any, ...]:
    """What the native manager is told of a node's probe."""
    if isinstance(probe, NativeProbe):
        return probe.how(node)
    from holdfast import _background

    return "python", _background.Task(probe, node, home)


async def ask(probe: Any, node: Node, patience: Seconds) -> bool:
    """Asks by any kind of probe: is there a sign of life within its patience?"""
    if isinstance(probe, NativeProbe):
        return await probe.ask(node)
    import asyncio
    from datetime import timedelta

    from holdfast import _background

    seconds = patience.total_seconds() if isinstance(patience, timedelta) else patience
    try:
        async with asyncio.timeout(seconds):
            if _background.is_async(probe):
                answer = await probe(node)
            else:
                answer = await asyncio.to_thread(probe, node)
    except Exception:  # noqa: BLE001 whatever it is, it is no sign of life
        return False
    return _background.problem_of(answer) is None


def _address(node: Node, whose: str) -> str:
    address = node.address or _base_url(node.target)
    if address is None:
        raise refuse("address", f"be given for node {node.name!r}, {whose}", node.address)
    return address


def _base_url(target: Any) -> str | None:
    """Where a client (or a chat model around one) sends its requests."""
    for holder in (target, getattr(target, "root_client", None), getattr(target, "_client", None)):
        url = getattr(holder, "base_url", None)
        if url is not None and "://" in str(url):
            return str(url)
    return None


def _is_run_of_statuses(expect: object) -> bool:
    return isinstance(expect, range) and expect.step == 1 and len(expect) > 0


def _without_secrets(url: str) -> str:
    """The URL without its user, password and query."""
    scheme, mark, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/") if mark else ("", "", rest)
    path, asked, _query = path.partition("?")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}{'?…' if asked else ''}"

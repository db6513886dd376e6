"""HTTP clients whose waits end when the guarded call's clocks do.

The timeouts of httpx and httpx2 are the longest gap between two bytes. A server that sends a byte now and then,
or a keep-alive comment, keeps a client waiting for ever. So each single wait on a socket is given the time that
the call has left, as the running attempt's scope tells it at that moment: a clock that is armed anew for each
item of a stream, and stopped in the consumer's time, is followed without further ado.

    client copy ── transport ── connection pool ── network backend ── socket
                       └── of our own, with the settings of the original's; its sockets ask the scope

Why not shut the socket down from a watching thread: a body that ends with its connection (no length, not
chunked) would end in good order for the reader, a cut answer taken for a whole one; and a thread that decides a
moment too late hits the connection when it serves another call already.

Why a connection pool of our own: the pool in use belongs to the user's client, and LangChain shares one among
all models of the same address. Ours has the same settings; all copies of clients that share a pool share ours.
"""

from __future__ import annotations

import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast._scope import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast import _native

T = TypeVar("T")

LIBRARIES = ("httpx", "httpx2")
_LOOK = 1.0
"""Seconds a read goes on without a look at the clock, so that time moved by hand is noticed too."""
_INSTANT = 0.001
"""Seconds for a wait that has no time left but may try once; 0 would mean "do not block" to the socket."""
_SLICE = 65_536
"""Bytes written between two looks at the clock."""

_POOL_STATE = ("_connections", "_requests", "_optional_thread_lock", "_network_backend")


def is_http_client(value: Any, name: str = "Client") -> bool:
    """Is it a client of httpx or httpx2 (`name`: "Client" or "AsyncClient")?"""
    return any(c.__name__ == name and c.__module__ in LIBRARIES for c in type(value).__mro__)


def shallow(value: T) -> T:
    """A copy with the same attributes, past `__init__`, `__getattr__` and `__reduce__`."""
    copied = object.__new__(type(value))
    copied.__dict__.update(value.__dict__)
    return copied


def bounded(client: Any) -> Any:
    """A copy of a sync client whose waits end when the guarded call's clocks do.

    The copy has the original's settings and connections of its own. The client itself comes back if it is such a
    copy already, or if it has no transport that can be bounded (one of the user's own making).
    """
    return _with_transports(client, _bounded_transport)


def borrowed(client: Any, owner: Any) -> Any:
    """A copy of an async client on the same connections, which it does not close; it keeps `owner` alive."""

    def lend(transport: Any) -> Any:
        return transport if isinstance(transport, Borrowed) else Borrowed(transport, owner)

    return _with_transports(client, lend)


def _with_transports(client: Any, change: Callable[[Any], Any]) -> Any:
    main = change(client._transport)
    mounts = {pattern: transport and change(transport) for pattern, transport in client._mounts.items()}
    if main is client._transport and all(mounts[p] is t for p, t in client._mounts.items()):
        return client
    copied = shallow(client)
    copied._transport, copied._mounts = main, mounts
    return copied


class Borrowed:
    """A transport of an async client, as one who does not own it sees it."""

    def __init__(self, transport: Any, owner: Any) -> None:
        self._transport = transport
        self._owner = owner

    async def handle_async_request(self, request: Any) -> Any:
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Nothing: the connections are the owner's."""

    async def __aenter__(self) -> Borrowed:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing, likewise."""


class Bounded:
    """A sync transport whose waits end when the guarded call's clocks do. All copies of one client share it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def handle_request(self, request: Any) -> Any:
        scope = current.get()
        patience = None if scope is None else scope._patience()
        if patience is not None:
            # A wait for a free connection is bounded too. It is not noted as a cut: that our own pool is
            # exhausted says nothing about the server.
            timeouts = request.extensions.get("timeout", {})
            limit = timeouts.get("pool")
            pool = patience if limit is None else min(patience, limit)
            request.extensions = {**request.extensions, "timeout": {**timeouts, "pool": pool}}
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Nothing: other copies may be at work. Idle connections end with the last copy."""

    def __enter__(self) -> Bounded:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing, likewise."""


_twins: weakref.WeakKeyDictionary[Any, Bounded] = weakref.WeakKeyDictionary()
_twins_lock = threading.Lock()


def _bounded_transport(transport: Any) -> Any:
    """The bounded twin of a transport, made once; the transport itself, if it is not one of the library's."""
    if isinstance(transport, Bounded) or not _has_pool(transport):
        return transport
    with _twins_lock:
        twin = _twins.get(transport)
        if twin is None:
            twin = _twins[transport] = Bounded(_twin(transport))
        return twin


def _has_pool(transport: Any) -> bool:
    pool = getattr(transport, "__dict__", {}).get("_pool")
    return all(name in getattr(pool, "__dict__", {}) for name in _POOL_STATE)


def _twin(transport: Any) -> Any:
    """A transport with the same settings, and a pool of its own that has no connections yet."""
    twin, pool = shallow(transport), shallow(transport._pool)
    pool._connections, pool._requests = [], []
    pool._optional_thread_lock = type(pool._optional_thread_lock)()
    pool._network_backend = _Backend(pool._network_backend, _library_of(pool))
    if pool.__dict__.get("_http1") and pool.__dict__.get("_http2"):
        # Over HTTP/2 one call reads for all, and to end its read is to end theirs.
        pool._http2 = False
    twin._pool = pool
    return twin


def _library_of(pool: Any) -> Any:
    """The module `httpcore` or `httpcore2`, whichever the pool is from; it has the errors."""
    for cls in type(pool).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpcore", "httpcore2"):
            return sys.modules[root]
    raise TypeError(f"{type(pool).__name__} is not a connection pool of httpcore")


class _Backend:
    """The network as the pool sees it: the original's, each wait bounded."""

    def __init__(self, inner: Any, library: Any) -> None:
        self._inner = inner
        self._library = library
        self._open: set[_Stream] = set()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        late = self._library.ConnectTimeout

        def connect(to: str) -> Any:
            return _once(
                late, timeout, lambda left: self._inner.connect_tcp(to, port, timeout=left, **options)
            )

        *others, last = self._addresses(host, port)
        for address in others:
            try:
                return self._stream(connect(address))
            except (self._library.ConnectError, late):
                continue  # the last address tells
        return self._stream(connect(last))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> _Stream:
        late = self._library.ConnectTimeout
        act = self._inner.connect_unix_socket
        return self._stream(_once(late, timeout, lambda left: act(path, timeout=left, **options)))

    def sleep(self, seconds: float) -> None:
        scope = current.get()
        patience = None if scope is None else scope._patience()
        self._inner.sleep(seconds if patience is None else min(seconds, patience))

    def _addresses(self, host: str, port: int) -> list[str]:
        """Where to connect to. The socket's own loop over several addresses gives each the whole time."""
        if current.get() is None or type(self._inner).__name__ != "SyncBackend":
            return [host]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return [host]  # it fails in the library's own words
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        return addresses if len(addresses) > 1 else [host]

    def _stream(self, inner: Any) -> _Stream:
        return _Stream(inner, self._library, self._open)

    def __del__(self) -> None:
        # As the SDKs' own clients do: connections left idle end without a ResourceWarning.
        for stream in tuple(self._open):
            stream.close()


class _Stream:
    """One connection."""

    def __init__(self, inner: Any, library: Any, among: set[_Stream]) -> None:
        self._inner = inner
        self._library = library
        # Not the backend itself: that must be able to go while somebody still holds a response's stream.
        self._among = among
        among.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        scope = current.get()
        if scope is None:
            return self._inner.read(max_bytes, timeout=timeout)
        return _read(
            scope, self._library.ReadTimeout, timeout, lambda left: self._inner.read(max_bytes, timeout=left)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        late = self._library.WriteTimeout
        for start in range(0, len(buffer), _SLICE):
            self._write(buffer[start : start + _SLICE], late, timeout)

    def _write(self, part: bytes, late: type[Exception], timeout: float | None) -> None:
        _once(late, timeout, lambda left: self._inner.write(part, timeout=left))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        late = self._library.ConnectTimeout
        act = self._inner.start_tls
        inner = _once(
            late, timeout, lambda left: act(ssl_context, server_hostname=server_hostname, timeout=left)
        )
        self._among.discard(self)
        return _Stream(inner, self._library, self._among)

    def close(self) -> None:
        self._among.discard(self)
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _once(late: type[Exception], timeout: float | None, act: Callable[[float | None], T]) -> T:
    """One wait that cannot be begun again: a connection, a handshake, a write."""
    scope = current.get()
    patience = None if scope is None else scope._patience()
    if scope is None or patience is None:
        return act(timeout)
    _still(scope, late)
    limit = max(patience if timeout is None else min(patience, timeout), _INSTANT)
    try:
        return act(limit)
    except late:
        scope._cut()
        raise


def _read(
    scope: _native.Scope, late: type[Exception], timeout: float | None, act: Callable[[float | None], T]
) -> T:
    """A wait for bytes: it ends with the call's clock or with the client's own timeout, whichever is first."""
    while True:
        patience = scope._patience()
        if patience is None:
            return act(timeout)
        _still(scope, late)
        limit = max(min(patience, _LOOK), _INSTANT)
        if timeout is not None and timeout <= limit:
            limit, last = timeout, True
        else:
            last = False
        try:
            return act(limit)
        except late:
            if scope._cut() or last:
                raise
            if timeout is not None:
                timeout -= limit


def _still(scope: _native.Scope, late: type[Exception]) -> None:
    """Is there time left at all?"""
    if scope._cut():
        raise late("The guarded call has no time left.")

"""The server: sockets, requests and counting. What it plays is in `scenarios`."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import shapes

PATIENCE = 60.0
"""Seconds after which even a scenario that hangs gives up, so that a broken test ends too."""
_POLL = 0.01


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    scenario: str
    path: str
    headers: dict[str, str]
    body: Any
    number: int = field(default=1)
    """The how manieth of its scenario."""

    @property
    def dialect(self) -> str:
        return shapes.dialect(self.path)

    @property
    def stream(self) -> bool:
        asked = isinstance(self.body, dict) and bool(self.body.get("stream"))
        return asked or self.path.endswith(":streamGenerateContent")


class Gone(Exception):
    """The client left, or the server is closing: the scenario is over."""


class Wire:
    """One client's connection, to be written on in any way that HTTP forbids."""

    def __init__(self, sock: socket.socket, server: FaultServer) -> None:
        self.sock = sock
        self.server = server
        self.alive = True

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def head(self, status: int, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self, status: int, body: bytes | dict[str, Any], **headers: str) -> None:
        """A whole answer, well framed; a dictionary goes as JSON."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers.setdefault("content_type", "application/json")
        self.head(status, content_length=str(len(body)), **headers)
        self.send(body)

    def begin_stream(self, *, framed: bool = True, **headers: str) -> None:
        """The head of an event stream; unframed, only the end of the connection ends it."""
        framing = {"transfer_encoding": "chunked"} if framed else {"connection": "close"}
        self.framed = framed
        self.head(200, content_type="text/event-stream", **framing, **headers)

    def event(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data) if self.framed else data)

    def events(self, events: list[bytes]) -> None:
        for data in events:
            self.event(data)

    def end_stream(self) -> None:
        if self.framed:
            self.send(b"0\r\n\r\n")
        else:
            self.hang_up()

    def pause(self, seconds: float) -> None:
        """Wait, but not for a client that has left.

        Raises:
            Gone: The client left, or the server is closing.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.closing.wait(min(left, _POLL)) or self._left():
                raise Gone

    def hold(self) -> None:
        """Say nothing more until the client leaves."""
        self.pause(PATIENCE)
        self.hang_up()

    def drip(self, data: bytes, every: float = 0.05) -> None:
        """Byte by byte: each one in time, the whole never."""
        for n in range(len(data)):
            self.send(data[n : n + 1])
            self.pause(every)

    def hang_up(self) -> None:
        """End the connection in good order (FIN)."""
        self.alive = False
        self.sock.close()

    def reset(self) -> None:
        """End the connection by force (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def _left(self) -> bool:
        try:
            # The plain method even of a TLS socket: it looks at the bytes on the wire.
            return socket.socket.recv(self.sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class FaultServer:
    """A threaded HTTP server on a free loopback port. Use it as a context manager.

    Args:
        tls: A certificate and its key, both in files; HTTPS then.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._hits: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._connections = 0
        self._tls: ssl.SSLContext | None = None
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        self._tcp = _Listener(("127.0.0.1", 0), _Handler)
        self._tcp.faults = self
        self._thread = threading.Thread(target=self._tcp.serve_forever, args=(_POLL,), daemon=True)

    @property
    def origin(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._tcp.server_address[1]}"

    @property
    def connections(self) -> int:
        """Connections made to the server so far."""
        with self._lock:
            return self._connections

    def url(self, scenario: str, suffix: str = "") -> str:
        """The base URL under which every request plays `scenario`."""
        return f"{self.origin}/s/{scenario}{suffix}"

    def hits(self, scenario: str) -> int:
        """Requests of `scenario` that have reached the server."""
        with self._lock:
            return self._hits[scenario]

    def left(self, scenario: str) -> int:
        """Requests of `scenario` whose client left before the end."""
        with self._lock:
            return self._left[scenario]

    def forget(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._hits.clear()
            self._left.clear()
            self.requests.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._tcp.shutdown()
        self._tcp.server_close()
        self._thread.join()

    def _connected(self, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._connections += 1
        if self._tls is None:
            return sock
        # The handshake is left to the first read, which happens on the connection's own thread.
        return self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _arrived(self, path: str, headers: dict[str, str], body: Any) -> Request:
        _, marker, rest = path.partition("/s/")
        scenario, _, inner = rest.partition("/")
        name = scenario if marker else ""
        with self._lock:
            self._hits[name] += 1
            request = Request(name, "/" + inner, headers, body, self._hits[name])
            self.requests.append(request)
        return request

    def _serve(self, wire: Wire, request: Request) -> None:
        from .scenarios import play

        try:
            play(wire, request)
        except Gone:
            wire.alive = False
            with self._lock:
                self._left[request.scenario] += 1


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    faults: FaultServer

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        return self.faults._connected(sock), address


class _Handler(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        faults = self.server.faults
        wire = Wire(self.connection, faults)
        while wire.alive:
            try:
                read = self._read()
            except OSError:
                return
            if read is None:
                return
            faults._serve(wire, faults._arrived(*read))

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return  # the scenario has closed it already

    def _read(self) -> tuple[str, dict[str, str], Any] | None:
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) < 2:
            return None
        headers: dict[str, str] = {}
        while (text := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = text.partition(":")
            headers[name.strip().lower()] = value.strip()
        raw = self.rfile.read(int(headers.get("content-length", "0")))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw
        return line[1].partition("?")[0], headers, body


def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port

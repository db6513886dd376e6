"""How the local server speaks: HTTP/1.1 with keep-alive, a thread per connection, SSE in chunked encoding."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from holdfast._localserver import answers

# A client that went silent must not hold its thread for ever.
IDLE_CONNECTION_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is to go wrong; by default nothing.

    Attributes:
        status: Answer every completion and embedding with this HTTP status instead of 200.
        retry_after: The `Retry-After` header sent with `status`, as it is.
        delay: Seconds to wait before each answer.
        cut_after: Cut the connection after this many content chunks of a stream.
        times: How many completions and embeddings are affected; None for all of them.
        every: Which of them: 2 affects every second one, beginning with the first.
        health: The HTTP status of `/health`.
    """

    status: int | None = None
    retry_after: str | None = None
    delay: float = 0.0
    cut_after: int | None = None
    times: int | None = None
    every: int = 1
    health: int = 200


class LocalServer:
    """The server inside this process, on a thread of its own.

    Usable as a context manager. Its address is known as soon as it is built; port 0 lets the system choose.
    """

    def __init__(self, name: str = "local", *, port: int = 0, faults: Faults | None = None) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._faults = faults or Faults()
        self._turn = 0
        self._requests: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        """What each good completion carries besides; assign to change it."""
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.local = self
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    @property
    def origin(self) -> str:
        """Scheme, host and port, as `Node(address=…)` wants them."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants as its `base_url`."""
        return f"{self.origin}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the requests for completions and embeddings, oldest first: the truth on the wire."""
        with self._lock:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections it has accepted."""
        return self._http.accepted

    @property
    def faults(self) -> Faults:
        """What goes wrong at present; assign to change it."""
        with self._lock:
            return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults = faults
            self._turn = 0

    def take(self, request: dict[str, Any]) -> Faults:
        """Notes a request for a completion or embeddings and says what shall go wrong with it."""
        with self._lock:
            self._requests.append(request)
            faults = self._faults
            turn = self._turn
            self._turn += 1
            if faults.times == 0 or turn % faults.every:
                return Faults(health=faults.health)
            if faults.times is not None:
                self._faults = replace(faults, times=faults.times - 1)
            return faults

    def start(self) -> Self:
        """Serves on a daemon thread until `stop`."""
        self._thread = threading.Thread(
            target=self.serve, name=f"holdfast-localserver-{self.name}", daemon=True
        )
        self._thread.start()
        return self

    def serve(self) -> None:
        """Serves on this thread until `stop` is called from another."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Stops serving and closes the socket; requests under way are abandoned."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    # A killed server's port must be free for the next one, although old connections linger in TIME_WAIT.
    allow_reuse_address = True
    request_queue_size = 128
    local: LocalServer
    accepted = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is everyday business here, not worth a traceback on the terminal."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one packet each; waiting to fill packets would add 40 ms to every answer.
    disable_nagle_algorithm = True
    timeout = IDLE_CONNECTION_SECONDS
    server: _Http

    def log_message(self, *_args: Any) -> None:
        """Quiet: requests may carry prompts."""

    def do_GET(self) -> None:
        local = self.server.local
        match self.path.partition("?")[0]:
            case "/health":
                status = local.faults.health
                self._send(status, {"status": "ok" if status < 400 else "failing", "name": local.name})
            case "/v1/models":
                self._send(200, answers.models(local.name))
            case "/requests":
                self._send(200, {"completions": len(local.requests)})
            case path:
                self._send(404, answers.error(404, f"no such page: {path}"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            self._send(400, answers.error(400, "the body is not JSON"))
            return
        match self.path.partition("?")[0]:
            case "/v1/chat/completions":
                self._complete(request)
            case "/v1/embeddings":
                self._embed(request)
            case path:
                self._send(404, answers.error(404, f"no such page: {path}"))

    def _complete(self, request: dict[str, Any]) -> None:
        local = self.server.local
        faults = local.take(request)
        if self._fails(faults):
            return
        if request.get("stream"):
            self._stream(local.name, request, faults.cut_after)
        else:
            self._send(200, answers.completion(local.name, request), local.headers)

    def _embed(self, request: dict[str, Any]) -> None:
        if not self._fails(self.server.local.take(request)):
            self._send(200, answers.embeddings(request))

    def _fails(self, faults: Faults) -> bool:
        """Waits as it was told to, and says no if it was told to."""
        if faults.delay:
            time.sleep(faults.delay)
        if faults.status is None:
            return False
        extra = {} if faults.retry_after is None else {"Retry-After": faults.retry_after}
        error = answers.error(faults.status, f"{self.server.local.name} was told to fail")
        self._send(faults.status, error, extra)
        return True

    def _send(self, status: int, payload: dict[str, Any], extra: dict[str, str] | None = None) -> None:
        body = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, name: str, request: dict[str, Any], cut_after: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        for key, value in self.server.local.headers.items():
            self.send_header(key, value)
        self.end_headers()
        said = 0
        for chunk in answers.chunks(name, request):
            has_content = any(choice["delta"].get("content") for choice in chunk["choices"])
            if has_content and said == cut_after:
                self._cut()
                return
            said += has_content
            self._event(json.dumps(chunk))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _cut(self) -> None:
        """Ends the connection in the middle of a body, as a crashed process does."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

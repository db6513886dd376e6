"""The process that answers from one copy of one shard's index.

    python -m search_engine.worker --port 8001 --index data/shard-0/a.sqlite --sha256 9f86d0…

It serves only an index whose checksum is the shard's: a lost or a damaged one makes it unhealthy (503) until it
has been told to copy a good one from another replica.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from search_engine import index

COPY_SECONDS = 20.0
IDLE_CONNECTION_SECONDS = 60.0


class Worker:
    """One copy of the index, and how busy it is.

    Args:
        path: Where the index is, or shall be.
        sha256: What its checksum must be.
        delay: Seconds that each search takes longer, to try out what happens when they are slow.
    """

    def __init__(self, path: Path, sha256: str, delay: float = 0.0) -> None:
        self.path = path.absolute()
        self.sha256 = sha256
        self.delay = delay
        self.is_whole = index.checksum(self.path) == sha256
        self.copied_from: str | None = None
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """The best documents.

        Raises:
            sqlite3.Error: The index is broken; the worker is unhealthy from now on.
        """
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            time.sleep(self.delay)
            return index.search(self.path, query, limit)
        except sqlite3.Error:
            self.is_whole = False
            raise
        finally:
            with self._lock:
                self.in_flight -= 1

    def copy(self, source: str) -> None:
        """Takes the index of another worker, if it is what the checksum says.

        Raises:
            OSError: The other worker did not give it.
            ValueError: What it gave is not the index of this shard.
        """
        fresh = self.path.with_suffix(".fresh")
        with urllib.request.urlopen(f"{source}/index", timeout=COPY_SECONDS) as answer:
            fresh.write_bytes(answer.read())
        if index.checksum(fresh) != self.sha256:
            fresh.unlink()
            raise ValueError(f"the index of {source} has another checksum")
        os.replace(fresh, self.path)
        self.copied_from, self.is_whole = source, True

    def health(self) -> dict[str, Any]:
        """What `/health` says."""
        return {
            "index": "whole" if self.is_whole else "missing or damaged",
            "pid": os.getpid(),
            "copied_from": self.copied_from,
            "most_in_flight": self.most_in_flight,
        }


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, worker: Worker, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.worker = worker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    """GET /health, GET /index, POST /search, POST /copy."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_CONNECTION_SECONDS
    server: Server

    def do_GET(self) -> None:
        worker = self.server.worker
        if self.path == "/health":
            self._answer(200 if worker.is_whole else 503, worker.health())
        elif self.path == "/index" and worker.is_whole:
            self._send(200, "application/octet-stream", worker.path.read_bytes())
        else:
            self._answer(404, {"error": "not here"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        worker = self.server.worker
        try:
            if self.path == "/search" and worker.is_whole:
                self._answer(200, {"results": worker.search(asked["query"], asked["limit"])})
            elif self.path == "/copy":
                worker.copy(asked["source"])
                self._answer(200, worker.health())
            else:
                self._answer(503, worker.health())
        except (sqlite3.Error, OSError, ValueError) as error:
            self._answer(500, {"error": str(error)})

    def log_message(self, *_args: Any) -> None:
        """Quiet: queries are the users' own business."""

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m search_engine.worker")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    Server(Worker(options.index, options.sha256, options.delay), options.port).serve_forever()


if __name__ == "__main__":
    main()

"""`python -m holdfast._localserver`: one server in the foreground, until its standard input closes."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading

from holdfast._localserver.http import Faults, LocalServer


def main(argv: list[str] | None = None) -> None:
    """Serves until standard input reaches its end, which is when the parent process is gone (or for ever)."""
    options = _parser().parse_args(argv)
    faults = Faults(
        status=options.status,
        retry_after=options.retry_after,
        delay=options.delay,
        cut_after=options.cut_after,
        times=options.times,
        health=options.health,
    )
    server = LocalServer(options.name, port=options.port, faults=faults)
    if not options.forever:
        threading.Thread(target=_leave_with_parent, name="parent-watch", daemon=True).start()
    sys.stdout.write(json.dumps({"name": server.name, "port": server.port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    try:
        server.serve()
    except KeyboardInterrupt:
        server.stop()


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()
    # Not sys.exit: that would end this thread only.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m holdfast._localserver",
        description="An OpenAI-compatible server on 127.0.0.1. Ends when its standard input closes.",
    )
    parser.add_argument("--name", default="local", help="what it calls itself in its answers")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose; the choice is printed")
    parser.add_argument("--status", type=int, help="answer completions with this HTTP status")
    parser.add_argument("--retry-after", help="the Retry-After header that goes with --status")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds to wait before each completion")
    parser.add_argument("--cut-after", type=int, help="cut streams after this many content chunks")
    parser.add_argument("--times", type=int, help="how many completions the faults affect (default: all)")
    parser.add_argument("--health", type=int, default=200, help="the HTTP status of /health")
    parser.add_argument("--forever", action="store_true", help="stay when the standard input closes")
    return parser


if __name__ == "__main__":
    main()

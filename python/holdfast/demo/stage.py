"""The three servers, and the chain over them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_openai import ChatOpenAI

import holdfast as hf
from holdfast._localserver import ServerProcess
from holdfast.langchain import FailoverChatModel

NAMES = ("alpha", "beta", "gamma")

# Three misses at 0.5 s mean that a dead node is found out 1.0 to 1.5 s after its death.
INTERVAL = 0.5
MISSES = 3
BEATS = 2
OPEN_SECONDS = 2.0

# The servers ask for none. Any: the field is a SecretStr, which pydantic makes of a string.
_KEY: Any = "none"

# Beyond this a single request is not slow but lost: the servers answer within milliseconds.
_REQUEST_SECONDS = 5.0


@dataclass(frozen=True)
class Stage:
    """What the tour plays on."""

    servers: dict[str, ServerProcess]
    model: FailoverChatModel


@contextmanager
def set_up() -> Iterator[Stage]:
    """Servers running, heartbeats beating; everything is gone when the block is left."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(ServerProcess(name)) for name in NAMES}
        model = chain(servers)
        stack.enter_context(model.manager)
        yield Stage(servers, model)


def chain(servers: dict[str, ServerProcess]) -> FailoverChatModel:
    """One chat model over the servers: what a user would write."""
    return FailoverChatModel(
        [
            hf.Node(
                name,
                ChatOpenAI(
                    model="tour",
                    base_url=server.base_url,
                    api_key=_KEY,
                    timeout=_REQUEST_SECONDS,
                ),
                address=server.origin,
            )
            for name, server in servers.items()
        ],
        name="tour",
        heartbeat=hf.Heartbeat(
            interval=INTERVAL,
            failure_threshold=MISSES,
            recovery_threshold=BEATS,
            jitter=0.0,
            probe=hf.HttpProbe("/health"),
        ),
        breaker=hf.CircuitBreaker("tour", failure_threshold=3, open_timeout=OPEN_SECONDS),
        timeout=10.0,
    )


def only_this_machine() -> None:
    """No proxy between us and our own servers, no traces to a service, no log lines between the tour's."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    os.environ.pop("OPENAI_PROXY", None)
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)

"""Five short scenes, each one thing: what users know from other ecosystems, and one that only we have."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import holdfast as hf
from holdfast import _native
from holdfast._localserver import Faults, LocalServer
from holdfast.demo.paint import Painter

OPEN_SECONDS = 0.8
INTERVAL = 0.25
MISSES = 2
BEATS = 2
PATIENCE = 8.0

_REQUEST_SECONDS = 5.0
# The servers ask for none. Any: the field is a SecretStr, which pydantic makes of a string.
_KEY: Any = "none"


class Scenes:
    """The scenes in order, and the number of expectations that did not hold."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.broken = 0
        self._told: list[Any] = []

    def play(self, number: int | None = None) -> None:
        """Plays one scene, or all of them. The second goes on from the first, and the fourth from the third."""
        for last, scene in ((2, self._breaker), (4, self._health_checks), (5, self._streams)):
            if number is None or number in {last - 1, last}:
                scene()

    def expect(self, held: bool, text: str) -> None:
        """Says whether it held, and counts if not."""
        self.broken += not held
        self.painter.verdict(held, text)

    def _breaker(self) -> None:
        breaker = hf.CircuitBreaker(
            "search", failure_threshold=3, success_threshold=2, open_timeout=OPEN_SECONDS
        )
        with LocalServer("search", faults=Faults(health=503)) as server:

            @breaker
            def search() -> int:
                with urllib.request.urlopen(f"{server.origin}/health", timeout=_REQUEST_SECONDS) as answer:
                    return int(answer.status)

            self.painter.title("Scene 1. A breaker trips, and rejects")
            ends = [self._try(search, breaker) for _ in range(5)]
            self.expect(
                ends == ["HTTP 503"] * 3 + ["CircuitOpen"] * 2,
                "three failures open it; then nobody is asked",
            )
            self.painter.title("Scene 2. It recovers through half-open")
            server.faults = Faults()
            wait = breaker.retry_after or 0.0
            self.painter.line(f"  the server is mended; open for another {wait:.2f} s")
            time.sleep(wait + 0.02)
            ends = [self._try(search, breaker) for _ in range(2)]
            metrics = breaker.metrics
            self.expect(ends == ["200", "200"] and str(breaker.state) == "closed", "two good probes close it")
            self.painter.line(
                f"  {metrics.calls} calls: {metrics.failures} failed, {metrics.rejected} rejected"
            )

    def _try(self, call: Callable[[], int], breaker: hf.CircuitBreaker) -> str:
        try:
            end = str(call())
        except urllib.error.HTTPError as error:
            end = f"HTTP {error.code}"
        except hf.Rejected as error:
            end = type(error).__name__
        style = "green" if end == "200" else "red" if end.startswith("HTTP") else "yellow"
        told = self.painter.paint(f"{end:<12}", style)
        self.painter.line(f"  call   {told} circuit {breaker.state}")
        return end

    def _health_checks(self) -> None:
        self.painter.title(
            f"Scene 3. Three nodes, one fails its health checks ({MISSES} misses, {BEATS} beats)"
        )
        with ExitStack() as stack:
            servers = {name: stack.enter_context(LocalServer(name)) for name in ("alpha", "beta", "gamma")}
            manager = hf.FailoverManager(
                [
                    hf.Node(name, partial(_who_answers, s.origin), address=s.origin)
                    for name, s in servers.items()
                ],
                name="scene",
                heartbeat=hf.Heartbeat(
                    INTERVAL,
                    failure_threshold=MISSES,
                    recovery_threshold=BEATS,
                    jitter=0.0,
                    probe=hf.HttpProbe("/health"),
                ),
            )
            stack.callback(manager.subscribe(self._note))
            stack.enter_context(manager)
            self.expect(manager.wait_ready(3, timeout=PATIENCE), "all three are ready")
            self._answers(manager, "alpha", "beta", "gamma")
            servers["beta"].faults = Faults(health=503)
            self.painter.line("  beta fails its health checks from now on", "bold")
            self._until("failover_completed")
            self._answers(manager, "alpha", "gamma")
            servers["beta"].faults = Faults()
            self.painter.line("  beta is well again", "bold")
            self._until("recovery_completed")
            self._answers(manager, "alpha", "beta", "gamma")
        self._log()

    def _note(self, event: Any) -> None:
        say = self.painter.line
        match event.kind:
            case "heartbeat_missed" if event.misses <= MISSES:
                say(f"  miss {event.misses}/{MISSES}   {event.node} ({event.reason})", "yellow")
            case "failover_completed":
                say(f"  down       {event.node}; its calls go to {event.to_node} and on", "red")
            case "recovery_started":
                say(f"  beat 1/{BEATS}   {event.node}", "yellow")
            case "recovery_completed":
                say(f"  beat {BEATS}/{BEATS}   {event.node} is up, after {event.downtime:.2f} s", "green")
        # Last, so that whoever waits for it goes on after its line.
        self._told.append(event)

    def _until(self, kind: str) -> None:
        end = time.monotonic() + PATIENCE
        while not any(event.kind == kind for event in self._told) and time.monotonic() < end:
            time.sleep(0.01)

    def _answers(self, manager: hf.FailoverManager, *wanted: str) -> None:
        answered = [str(manager.call()) for _ in range(6)]
        self.expect(set(answered) == set(wanted), f"calls are answered by {', '.join(sorted(set(answered)))}")

    def _log(self) -> None:
        self.painter.title("Scene 4. The event log of a failure and a recovery")
        _native.flush_events(PATIENCE)
        changes = [event for event in self._told if event.kind in _native.STATE_CHANGES]
        for event in changes:
            since = (event.at - changes[0].at).total_seconds()
            self.painter.line(f"  {since:+6.2f} s  #{event.seq:<5} {event}")
        five = [e.kind for e in changes if e.kind != "node_suspected"]
        self.expect(
            five
            == [
                "node_marked_failed",
                "failover_started",
                "failover_completed",
                "recovery_started",
                "recovery_completed",
            ],
            "five events tell an outage, once each and in order",
        )

    def _streams(self) -> None:
        from langchain_openai import ChatOpenAI

        from holdfast.langchain import FailoverChatModel

        self.painter.title("Scene 5. A chat stream is cut")
        with LocalServer("alpha") as alpha, LocalServer("beta") as beta:

            def chain() -> FailoverChatModel:
                models = {
                    s.name: ChatOpenAI(
                        model="tour", base_url=s.base_url, api_key=_KEY, timeout=_REQUEST_SECONDS
                    )
                    for s in (alpha, beta)
                }
                return FailoverChatModel(
                    [hf.Node(name, model) for name, model in models.items()], name="scene"
                )

            alpha.faults = Faults(cut_after=0)
            said = "".join(str(chunk.content) for chunk in chain().stream("Are you there?"))
            self.painter.line(f"  cut before the first token:  {said!r}")
            self.expect(
                said.startswith("beta heard"),
                "nothing had been said, so the other node says it, in one piece",
            )
            alpha.faults = Faults(cut_after=3)
            received, caught = "", ""
            try:
                for chunk in chain().stream("Are you there?"):
                    received += str(chunk.content)
            except hf.StreamInterrupted as error:
                caught = type(error.cause).__name__
            self.painter.line(
                f"  cut after three chunks:      {received!r}, then StreamInterrupted ({caught})"
            )
            self.expect(
                bool(received and caught),
                "what was said is not said again: the caller knows it has only a part",
            )


def _who_answers(origin: str) -> str:
    """Asks the server there for its models: the first one bears its name."""
    with urllib.request.urlopen(f"{origin}/v1/models", timeout=_REQUEST_SECONDS) as answer:
        return str(json.load(answer)["data"][0]["id"]).removesuffix("-model")

"""The acts of the tour, and what each of them must show."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import holdfast as hf
from holdfast.demo.chronicle import SHOWN, Chronicle
from holdfast.demo.paint import Painter
from holdfast.demo.record import Record
from holdfast.demo.scenes import Scenes
from holdfast.demo.stage import BEATS, INTERVAL, MISSES, NAMES, OPEN_SECONDS, Stage, only_this_machine, set_up
from holdfast.demo.traffic import Traffic

# The one that dies.
VICTIM = "beta"

# Seconds. Each wait is far longer than what it waits for takes; the watchdog ends what should never happen.
PATIENCE = 8.0
RECOVERY_WITHIN = 5.0
WATCHDOG = 60.0

# How many calls are watched to see that a dead node gets none of them.
CALLS_WATCHED = 40

# How late a probe's result may come on a busy machine, on top of the schedule.
SLACK = 0.3

OUTAGE = (
    "node_marked_failed",
    "failover_started",
    "failover_completed",
    "recovery_started",
    "recovery_completed",
)


def tour(scene: int | None = None, record: Path | None = None) -> int:
    """Plays the five short scenes, and then all acts of the long one; or one scene only.

    Args:
        scene: The only scene to play.
        record: Where to write what happened in the long one, as JSON.

    Returns:
        0 if every expectation held, else 1.
    """
    started = time.monotonic()
    painter = Painter()
    play = _Play(painter)
    watchdog = threading.Timer(WATCHDOG, _give_up, args=(painter,))
    watchdog.daemon = True
    watchdog.start()
    try:
        only_this_machine()
        play.scenes(scene)
        if scene is None:
            play.long_one(record)
    finally:
        watchdog.cancel()
    painter.line()
    painter.line(f"The tour took {time.monotonic() - started:.1f} s.")
    if play.broken:
        painter.line(f"{play.broken} expectation(s) did not hold.", "red", "bold")
        return 1
    painter.line("Everything held.", "green", "bold")
    return 0


class _Play:
    """The acts in order, and the number of expectations that did not hold."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.chronicle = Chronicle(painter)
        self.record = Record()
        self.broken = 0

    def scenes(self, number: int | None) -> None:
        """The short scenes, or one of them."""
        scenes = Scenes(self.painter)
        scenes.play(number)
        self.broken += scenes.broken

    def long_one(self, record: Path | None = None) -> None:
        """All at once: a chain of models under traffic, a kill, a restart."""
        with set_up() as stage:
            unsubscribe = hf.subscribe(self.chronicle.note, kinds=list(SHOWN))
            try:
                traffic = self.acts(stage)
            finally:
                unsubscribe()
        if record is not None:
            self.record.write(record, self.chronicle.all(), traffic.tally(), VICTIM)

    def acts(self, stage: Stage) -> Traffic:
        self._introduce(stage)
        self._calm(stage)
        with Traffic(stage.model) as traffic:
            self._kill(stage, traffic)
            self._restart(stage, traffic)
        self._sum_up(stage, traffic)
        return traffic

    def expect(self, held: bool, text: str) -> None:
        self.broken += not held
        self.record.expectations.append((held, text))
        self.painter.verdict(held, text)

    def _introduce(self, stage: Stage) -> None:
        say = self.painter.line
        self.painter.title("Act 1. Three servers, one chain")
        for name, server in stage.servers.items():
            say(f"  {name:<6} process {server.pid}, {server.base_url}")
        say(f"  FailoverChatModel over {len(NAMES)} langchain_openai.ChatOpenAI, SDK retries off")
        say(f"  heartbeat every {INTERVAL} s: {MISSES} misses mean down, {BEATS} beats mean up again")
        say(f"  a breaker per node, open for {OPEN_SECONDS:.0f} s")
        ready = stage.model.manager.wait_ready(len(NAMES), timeout=PATIENCE)
        self.expect(ready is not False, "all nodes are ready")

    def _calm(self, stage: Stage) -> None:
        self.painter.title("Act 2. All is well")
        prompt = ChatPromptTemplate.from_template("What is {thing}?")
        chain = prompt | stage.model | StrOutputParser()
        answers = [chain.invoke({"thing": thing}) for thing in ("a breaker", "a heartbeat", "a failover")]
        answers.append("".join(chain.stream({"thing": "a stream"})))
        for answer in answers:
            self.painter.line(f"  {answer}")
        speakers = {answer.partition(" ")[0] for answer in answers}
        self.expect(speakers == set(NAMES), "prompt | model | parser: each node has answered in turn")

    def _kill(self, stage: Stage, traffic: Traffic) -> None:
        self.painter.title(f"Act 3. {VICTIM} is killed while calls run")
        calls_run = self.chronicle.wait_until(lambda: traffic.tally().answered_by[VICTIM] >= 16, PATIENCE)
        self.expect(calls_run, f"calls run in threads and in an event loop, {VICTIM} answers its share")
        killed = self.record.killed = datetime.now(UTC)
        self.chronicle.mark(killed)
        stage.servers[VICTIM].kill()
        self.painter.line(f"  {0:+7.2f} s  SIGKILL to {VICTIM}", "bold")
        opened = self._wait_for_breaker("circuit_opened")
        last_miss = self.chronicle.wait("heartbeat_missed", PATIENCE, node=VICTIM, misses=MISSES)
        marked = self.chronicle.wait("node_marked_failed", PATIENCE, node=VICTIM)
        self.expect(opened is not None, f"the breaker of {VICTIM} opened{_after(killed, opened)}")
        self.expect(marked is not None, f"{VICTIM} was marked failed{_after(killed, marked)}")
        detection = (last_miss.at - killed).total_seconds() if last_miss is not None else float("inf")
        within = (MISSES - 1) * INTERVAL - SLACK <= detection <= MISSES * INTERVAL + SLACK
        self.expect(
            within,
            f"the heartbeat found it down after {detection:.2f} s ({detection / INTERVAL:.1f} intervals)",
        )
        view, before = stage.model.manager.nodes[VICTIM], traffic.tally()
        self.chronicle.wait_until(lambda: traffic.tally().calls >= before.calls + CALLS_WATCHED, PATIENCE)
        spared = traffic.tally().failed_over == before.failed_over
        self.expect(
            spared and not view.ready,
            f"{VICTIM} is {view.state}: of the next {CALLS_WATCHED} calls none went there in vain",
        )

    def _restart(self, stage: Stage, traffic: Traffic) -> None:
        before = traffic.tally()
        errors = f"{len(before.errors)} failed"
        self.painter.title(f"Act 4. {VICTIM} comes back ({before.calls} calls so far, {errors})")
        server = stage.servers[VICTIM].start()
        restarted = self.record.restarted = datetime.now(UTC)
        self.chronicle.mark(restarted)
        self.painter.line(f"  {0:+7.2f} s  {VICTIM} runs again, process {server.pid}, same port", "bold")
        recovered = self.chronicle.wait("recovery_completed", PATIENCE, node=VICTIM)
        recovery = (recovered.at - restarted).total_seconds() if recovered is not None else float("inf")
        self.expect(
            recovery <= RECOVERY_WITHIN,
            f"{VICTIM} had recovered {recovery:.2f} s after its restart (at most {RECOVERY_WITHIN:.0f} s)",
        )
        answers = before.answered_by[VICTIM]
        back = self.chronicle.wait_until(lambda: traffic.tally().answered_by[VICTIM] > answers + 16, PATIENCE)
        self.expect(back, f"{VICTIM} answers calls again")

    def _sum_up(self, stage: Stage, traffic: Traffic) -> None:
        self.painter.title("Act 5. What happened")
        tally, metrics = traffic.tally(), stage.model.manager.metrics
        say = self.painter.line
        shares = ", ".join(f"{name} {tally.answered_by[name]}" for name in NAMES)
        threads, tasks = f"{tally.sync_calls} from threads", f"{tally.async_calls} from an event loop"
        say(f"  calls       {tally.calls}: {threads}, {tasks}")
        say(f"  answers     {shares}")
        say(f"  failovers   {metrics.failovers}: calls that went on at another node")
        say(f"  outages     {metrics.failures}")
        say(f"  recoveries  {metrics.recoveries}, after {metrics.mean_recovery_time or 0.0:.2f} s")
        for error in tally.errors[:3]:
            say(f"  error       {error}", "red")
        failed = f"{len(tally.errors)} of {tally.calls}"
        self.expect(not tally.errors and not traffic.stuck, f"no call failed ({failed})")
        self.expect(tally.failed_over > 0, "calls that met the dead server went on elsewhere")
        self.expect(metrics.recoveries == 1, "the outage was counted once, and so was its end")
        told = [kind for kind in self.chronicle.kinds_about(VICTIM) if kind in OUTAGE]
        self.expect(told == list(OUTAGE), "its five events came once each, in order")

    def _wait_for_breaker(self, kind: str) -> Any | None:
        def events() -> list[Any]:
            return [event for event in self.chronicle.find(kind) if str(event.source).endswith(VICTIM)]

        self.chronicle.wait_until(lambda: bool(events()), PATIENCE)
        return next(iter(events()), None)


def _after(start: datetime, event: Any | None) -> str:
    return "" if event is None else f" after {(event.at - start).total_seconds():.2f} s"


def _give_up(painter: Painter) -> None:
    """Ends the process, and with it the pipes its servers wait on; better than a tour that hangs."""
    painter.line(f"The tour did not end within {WATCHDOG:.0f} s; giving up.", "red", "bold")
    os._exit(1)

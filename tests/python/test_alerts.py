"""Alerts, the log, and where listeners that are coroutines run."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import time
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast import _native
from holdfast.testing import record_events

if TYPE_CHECKING:
    from holdfast.testing import ManualClock


def pair(**fields: Any) -> hf.FailoverManager:
    return hf.FailoverManager([hf.Node("a", print), hf.Node("b", print)], name="pair", **fields)


def settled() -> None:
    assert _native.flush_events(5.0)


def test_every_change_of_state_is_an_alert_with_its_severity(clock: ManualClock) -> None:
    """Bad news is a warning, good news is info, and a failover without a home is critical."""
    alerts: list[hf.Alert] = []
    manager = pair(on_alert=alerts.append)
    manager.report("a", ok=False, reason="smoke")
    clock.advance(2.5)
    manager.report("a", ok=True)
    settled()
    assert [(alert.severity, alert.title) for alert in alerts] == [
        ("warning", "node a of pair has failed (report: smoke)"),
        ("warning", "traffic is leaving node a of pair"),
        ("info", "traffic of node a of pair goes to b"),
        ("info", "node a of pair is recovering"),
        ("info", "node a of pair is up again after 2.5 s"),
    ]
    alerts.clear()
    lonely = hf.FailoverManager([hf.Node("c", print)], name="lonely", on_alert=alerts.append)
    lonely.report("c", ok=False)
    lonely.report("c", ok=True)
    settled()
    assert ("critical", "no node of lonely is left for the traffic of node c") in [
        (alert.severity, alert.title) for alert in alerts
    ]


def test_rules_choose_kinds_severity_words_and_whom_to_tell() -> None:
    """Each rule stands alone; functions stand among them."""
    paged: list[hf.Alert] = []
    seen: list[hf.Alert] = []
    everything: list[hf.Alert] = []
    manager = pair(
        on_alert=[
            hf.AlertRule(
                paged.append, kinds="node_marked_failed", severity="critical", title=lambda e: f"wake up: {e.node}"
            ),
            hf.AlertRule(seen.append, at_least="warning", when=lambda event: event.node == "b"),
            everything.append,
        ]
    )  # fmt: skip
    manager.report("a", ok=False)
    manager.report("a", ok=True)
    manager.report("b", ok=False)
    settled()
    assert [(a.severity, a.title) for a in paged] == [("critical", "wake up: a"), ("critical", "wake up: b")]
    assert [a.event.kind for a in seen] == ["node_marked_failed", "failover_started"]
    assert len(everything) == 8


def test_r1_a_rule_that_raises_is_logged_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """R1: a broken alert changes nothing for anybody else."""
    alerts: list[hf.Alert] = []

    def broken(alert: hf.Alert) -> None:
        raise RuntimeError("as this test told it to")

    manager = pair(on_alert=[broken, alerts.append])
    manager.report("a", ok=False)
    settled()
    assert len(alerts) == 3
    assert "a listener of node_marked_failed events raised" in caplog.text


def test_an_async_alert_and_listener_run_on_the_loop_that_entered_the_manager() -> None:
    """In order, one at a time; without such a loop they run on one of ours."""
    heard: list[tuple[str, Any]] = []

    async def alert(alert: hf.Alert) -> None:
        await asyncio.sleep(0.001)
        heard.append((alert.event.kind, asyncio.get_running_loop()))

    manager = pair(on_alert=alert)

    async def main() -> None:
        async with manager:
            manager.report("a", ok=False)
            manager.report("a", ok=True)
            end = time.monotonic() + 10
            while len(heard) < 5 and time.monotonic() < end:  # noqa: ASYNC110 the alert counts, and cannot wait
                await asyncio.sleep(0.01)
            assert {loop for _, loop in heard} == {asyncio.get_running_loop()}

    asyncio.run(main())
    assert [kind for kind, _ in heard] == [
        "node_marked_failed", "failover_started", "failover_completed", "recovery_started", "recovery_completed",
    ]  # fmt: skip
    heard.clear()
    manager.report("a", ok=False)
    settled()
    assert len(heard) == 3


def test_r1_a_busy_loop_does_not_hold_up_other_listeners() -> None:
    """The delivering thread does not wait for the user's loop."""
    plain: list[str] = []
    late: list[str] = []

    async def listen(event: hf.Event) -> None:
        late.append(event.kind)

    async def main() -> None:
        async with pair() as manager:
            stops = [manager.subscribe(listen), manager.subscribe(lambda event: plain.append(event.kind))]
            manager.report("a", ok=False)
            settled()  # holds the loop
            assert len(plain) == 3
            assert late == []
            await asyncio.sleep(0.05)
            assert late == plain
            for stop in stops:
                stop()

    asyncio.run(main())


@pytest.mark.parametrize("on_alert", [5, [5], [None]])
def test_what_nobody_can_be_told_by_is_refused(on_alert: Any) -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        pair(on_alert=on_alert)
    assert refused.value.field == "on_alert"


@pytest.mark.parametrize(
    ("field", "value"),
    [("kinds", "nonsense"), ("severity", "bad"), ("at_least", "bad"), ("when", 5), ("call", None)],
)
def test_a_rule_that_breaks_a_rule_is_refused(field: str, value: Any) -> None:
    """The error names the field."""
    with pytest.raises(hf.ConfigurationError) as refused:
        hf.AlertRule(**{"call": print, field: value})
    assert refused.value.field == field


def test_an_alert_is_a_frozen_value_that_pickles() -> None:
    """It may go to another process."""
    alerts: list[hf.Alert] = []
    manager = pair(on_alert=alerts.append)
    manager.report("a", ok=False)
    settled()
    twin = pickle.loads(pickle.dumps(alerts[0]))
    assert (twin.severity, twin.title, twin.event.kind) == ("warning", alerts[0].title, "node_marked_failed")
    with pytest.raises(AttributeError):
        twin.title = "other"


def test_alerts_end_with_their_manager() -> None:
    """What listens for a manager is forgotten with it."""
    from holdfast import _events

    before = len(_events._subscriptions)
    manager = pair(on_alert=print)
    assert len(_events._subscriptions) == before + 1
    del manager
    gc.collect()
    assert len(_events._subscriptions) == before


# ---- the log ----


def test_each_change_of_state_is_one_line_and_its_level_tells_good_from_bad(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the runtime says through tracing reaches `logging` once, on the logger `holdfast`."""
    with caplog.at_level(logging.INFO, "holdfast"):
        manager = pair()
        manager.report("a", ok=False, reason="smoke")
        manager.report("a", ok=True)
        settled()
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "holdfast"]
    assert [(level, text.partition(" (")[0]) for level, text in lines] == [
        ("WARNING", "pair: node marked failed"),
        ("WARNING", "pair: failover started"),
        ("INFO", "pair: failover completed"),
        ("INFO", "pair: recovery started"),
        ("INFO", "pair: recovery completed"),
    ]
    assert lines[0][1] == "pair: node marked failed (node a, reason report: smoke)"
    assert [r.holdfast_event for r in caplog.records][:2] == ["node_marked_failed", "failover_started"]  # type: ignore[attr-defined]


def test_what_the_heartbeat_does_is_said_at_debug(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each answer is one DEBUG line on `holdfast.heartbeat`, if anybody wants it."""
    beat = hf.Heartbeat(1.0, jitter=0.0, probe=lambda node: node.name == "a")
    with caplog.at_level(logging.DEBUG, "holdfast"):
        with record_events(), pair(heartbeat=beat) as manager:
            manager.report("a", ok=False)  # something to say: the level is looked at then
            settled()
            clock.advance(2.5)
            settled()
    told = [r.getMessage() for r in caplog.records if r.name == "holdfast.heartbeat"]
    assert "pair: node a beats" in told
    assert "pair: node b misses (answered no)" in told

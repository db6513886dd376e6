"""The built breaker against a naive model of it, over histories that Hypothesis makes up and shrinks."""

import collections
import gc
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import holdfast as hf
from holdfast.testing import ManualClock

FAILURES, SUCCESSES, OPEN, PROBES, LEASE = 3, 2, 10.0, 2, 20.0
OUTCOMES = ("successes", "successes", "failures", "failures", "ignored", "dropped")
JUDGED = ("successes", "failures", "ignored", "late", "lost", "rejected")

reached: collections.Counter[str] = collections.Counter()


class Call:
    """A call under way, as the model sees it."""

    def __init__(self, permit: hf.Permit, era: int, expiry: float | None) -> None:
        self.permit = permit
        self.era = era
        self.expiry = expiry
        self.counted = False


class Model:
    """The breaker told as simply as possible: one thread, no packing, no atomics."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state = "closed"
        self.era = 0
        self.streak = self.good = 0
        self.ends = self.shadowed_until = 0.0
        self.slots: list[Call | None] = [None] * PROBES
        self.counts = dict.fromkeys(JUDGED, 0)
        self.admitted = self.opened = 0

    def turn(self, state: str) -> None:
        self.state = state
        self.era += 1
        self.streak = self.good = 0
        self.shadowed_until = 0.0

    def open(self) -> None:
        self.turn("open")
        self.ends = self.now + OPEN
        self.opened += 1

    def free_slot(self) -> int | None:
        for n, call in enumerate(self.slots):
            if call is None or self.is_lost(call) or call.era != self.era:
                return n
        return None

    def is_lost(self, call: Call) -> bool:
        return call.expiry is not None and call.expiry <= self.now

    def ask(self) -> bool:
        """Would a call be admitted now? Moves on to half-open if it is the first after the open time."""
        if self.state == "open" and self.now >= self.ends:
            self.turn("half_open")
        return self.state not in ("open", "forced_open") and (
            self.state != "half_open" or self.free_slot() is not None
        )

    def admit(self, permit: hf.Permit) -> Call:
        self.admitted += 1
        call = Call(permit, self.era, None)
        if self.state == "half_open":
            call.expiry = self.now + LEASE
            place = self.free_slot()
            assert place is not None
            before = self.slots[place]
            if before is not None:
                self.count(before, "lost" if self.is_lost(before) else "late")
            self.slots[place] = call
        return call

    def count(self, call: Call, term: str) -> None:
        call.counted = True
        self.counts[term] += 1

    def settle(self, call: Call, outcome: str) -> None:
        if call in self.slots:
            self.slots[self.slots.index(call)] = None
        if call.counted:
            return
        if self.is_lost(call):
            self.count(call, "lost")
        elif call.era != self.era:
            self.count(call, "late")
        else:
            self.count(call, outcome)
            self.judge(outcome)

    def judge(self, outcome: str) -> None:
        if outcome == "ignored":
            return
        if self.state == "half_open":
            if outcome == "failures":
                self.open()
                return
            self.good += 1
            if self.good == SUCCESSES:
                self.turn("closed")
        elif self.state == "closed" or (self.state == "shadow" and self.now >= self.shadowed_until):
            self.streak = self.streak + 1 if outcome == "failures" else 0
            if self.streak == FAILURES:
                self.trip()

    def trip(self) -> None:
        if self.state == "closed":
            self.open()
        else:
            self.turn("shadow")
            self.shadowed_until = self.now + OPEN

    def order(self, state: str) -> None:
        if self.state == state:
            return
        self.opened += state == "forced_open"
        self.turn(state)

    def metrics(self) -> dict[str, int]:
        counts = dict(self.counts)
        counts["lost"] += sum(call is not None and self.is_lost(call) for call in self.slots)
        settled = sum(counts.values()) - counts["rejected"]
        counts["in_flight"] = self.admitted - settled
        counts["calls"] = self.admitted + counts["rejected"]
        counts["opened"] = self.opened
        return counts

    def retry_after(self) -> float | None:
        if self.state == "open":
            return max(0.0, self.ends - self.now)
        if self.state != "half_open":
            return None
        if self.free_slot() is not None:
            return 0.0
        return min(
            1.0, min(call.expiry - self.now for call in self.slots if call and call.expiry is not None)
        )


class Machine(RuleBasedStateMachine):
    """Blocks entered, left and thrown away, time moved on, orders given."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.clock.__enter__()
        self.breaker = hf.CircuitBreaker(
            failure_threshold=FAILURES,
            success_threshold=SUCCESSES,
            open_timeout=OPEN,
            half_open_max_calls=PROBES,
            probe_lease=LEASE,
        )
        self.model = Model()
        self.under_way: list[Call] = []

    def teardown(self) -> None:
        self.under_way.clear()
        self.clock.__exit__(None, None, None)

    @rule()
    def enter(self) -> None:
        permit = self.breaker.guard()
        expected = self.model.ask()
        try:
            permit.__enter__()
        except hf.CircuitOpen as refusal:
            assert not expected
            assert refusal.reason == self.model.state
            self.model.counts["rejected"] += 1
        else:
            assert expected
            self.under_way.append(self.model.admit(permit))
            assert permit.is_probe == (self.model.state == "half_open")

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def leave(self, data: Any, outcome: str) -> None:
        self.end(self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1))), outcome)

    def end(self, call: Call, outcome: str) -> None:
        error = {"failures": ValueError("down"), "ignored": KeyboardInterrupt()}.get(outcome)
        if outcome == "dropped":
            call.permit = None  # type: ignore[assignment]
            gc.collect(0)
        else:
            call.permit.__exit__(type(error) if error else None, error, None)
        self.model.settle(call, "ignored" if outcome == "dropped" else outcome)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def renew(self, data: Any) -> None:
        call = self.under_way[data.draw(st.integers(0, len(self.under_way) - 1))]
        assert call.permit.renew()
        if call.expiry is not None and call in self.model.slots and not self.model.is_lost(call):
            call.expiry = self.model.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0, 20.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds

    @rule(
        outcomes=st.lists(
            st.sampled_from(["successes", "failures", "failures", "failures"]), min_size=1, max_size=4
        )
    )
    def several(self, outcomes: list[str]) -> None:
        """Short calls one after the other: what trips a breaker, and what closes it again."""
        for outcome in outcomes:
            before = len(self.under_way)
            self.enter()
            if len(self.under_way) > before:
                self.end(self.under_way.pop(), outcome)

    @rule(
        order=st.sampled_from(
            ["", "", "", "", "force_open", "force_closed", "disable", "shadow", "reset", "reset"]
        )
    )
    def obey(self, order: str) -> None:
        """An operator's order, and more often none."""
        if not order:
            return
        getattr(self.breaker, order)()
        state = {"force_open": "forced_open", "force_closed": "forced_closed", "disable": "disabled"}.get(
            order, order
        )
        if state == "reset":
            self.model.turn("closed")
        else:
            self.model.order(state)

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state == self.model.state
        reached[self.model.state] += 1
        metrics = self.breaker.metrics
        for term, count in self.model.metrics().items():
            assert getattr(metrics, term) == count, term
        wait, expected = self.breaker.retry_after, self.model.retry_after()
        assert (wait is None) == (expected is None)
        assert wait is None or abs(wait - (expected or 0.0)) < 0.002


def test_the_breaker_agrees_with_a_naive_model() -> None:
    """After every step of any history, state, retry_after and each term of the sum are the model's."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=60,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print("steps that ended in each state:", dict(reached.most_common()))  # noqa: T201 that is the proof
    assert set(reached) == set(hf.BreakerState)

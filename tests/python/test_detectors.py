"""Failure detectors: on their own, with times of the test's, and as a heartbeat's template."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.testing import ManualClock


def beaten(detector: Any, times: Iterable[float]) -> Any:
    for at in times:
        detector.beat(at)
    return detector


def manager(heartbeat: hf.Heartbeat, *names: str, **fields: Any) -> hf.FailoverManager:
    nodes = [hf.Node(name, lambda name=name: name, **fields) for name in names]
    return hf.FailoverManager(nodes, heartbeat=heartbeat)


# ---- on their own ----


@pytest.mark.parametrize(
    ("silence", "phi"), [(1.0, 0.30), (1.2, 1.64), (1.4, 4.74), (1.6, 10.78), (1.7, 15.37)]
)
def test_p7_phi_of_a_normal_rhythm(silence: float, phi: float) -> None:
    """P7: after beats of N(1000 ms, 100 ms), φ is that of the logistic approximation."""
    detector = beaten(hf.PhiAccrualDetector(threshold=8.0), range(11))
    assert detector.phi(10 + silence) == pytest.approx(phi, abs=0.1)
    assert detector.is_available(10 + silence) is (phi < 8.0)


def test_p7_phi_is_small_at_first_and_grows() -> None:
    """P7: φ(500 ms) < 0.1, and every further moment of silence is more suspicious."""
    detector = beaten(hf.PhiAccrualDetector(), range(11))
    assert detector.phi(10.5) < 0.1
    grown = [detector.phi(10 + tenths / 10) for tenths in range(1000)]
    assert all(early < late for early, late in pairwise(grown))


def test_p7_the_first_gap_after_a_recovery_is_not_history() -> None:
    """P7: an outage of an hour leaves no trace in the rhythm."""
    detector = beaten(hf.PhiAccrualDetector(), range(11))
    before = detector.phi(11.4)
    assert detector.opinion(3600) == "lost"
    detector.beat(3600)
    assert detector.opinion(3600) == "well"
    assert detector.phi(3601.4) == pytest.approx(before)


def test_p14_nothing_is_suspected_before_the_second_beat() -> None:
    """P14: unknown is not bad, unless a first gap was promised."""
    detector = beaten(hf.PhiAccrualDetector(), [0.0])
    assert (detector.phi(1000), detector.is_suspect(1000)) == (0.0, False)
    promised = beaten(hf.PhiAccrualDetector(first_interval=1.0), [0.0])
    assert promised.opinion(1000) == "lost"


def test_a_pause_can_be_allowed_for() -> None:
    """Seconds of acceptable pause are seconds later."""
    plain = beaten(hf.PhiAccrualDetector(), range(11))
    patient = beaten(hf.PhiAccrualDetector(acceptable_pause=3.0), range(11))
    assert patient.phi(14.4) == pytest.approx(plain.phi(11.4))


def test_p6_what_is_excused_is_no_silence() -> None:
    """P6: time in which we were not there ourselves is taken off."""
    for detector in (hf.PhiAccrualDetector(), hf.DeadlineDetector(5.0)):
        beaten(detector, range(11)).excuse(60)
        assert detector.opinion(71) == "well"
        assert detector.opinion(80) == "lost"


def test_a_deadline_is_suspicious_at_half_and_lost_at_the_whole() -> None:
    """The limits themselves count; a miss is only suspicious."""
    detector = beaten(hf.DeadlineDetector(10.0), [100.0])
    opinions = [detector.opinion(at) for at in (104.9, 105.0, 109.9, 110.0)]
    assert opinions == ["well", "suspect", "suspect", "lost"]
    detector.beat(111)
    detector.miss(112)
    assert (detector.opinion(112), detector.misses) == ("suspect", 1)


def test_a_threshold_counts_in_a_row() -> None:
    """Two misses and a beat convict nobody; three misses do, until two beats."""
    detector = hf.ThresholdDetector(3, recovery_threshold=2)
    heard = []
    for sign in "mmbmmmbmbb":
        (detector.miss if sign == "m" else detector.beat)()
        heard.append(detector.opinion())
    words = {"w": "well", "s": "suspect", "l": "lost", "r": "reviving"}
    assert heard == [words[letter] for letter in "sswsslrlrw"]


def test_without_a_time_the_clock_tells_it(clock: ManualClock) -> None:
    """Without `at` it is now."""
    detector = hf.DeadlineDetector(10.0)
    detector.beat()
    clock.advance(9.9)
    assert detector.is_available()
    clock.advance(0.1)
    assert not detector.is_available()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: hf.PhiAccrualDetector(0), "threshold"),
        (lambda: hf.PhiAccrualDetector(min_std=0), "min_std"),
        (lambda: hf.PhiAccrualDetector(first_interval=-1), "first_interval"),
        (lambda: hf.PhiAccrualDetector(max_samples=0), "max_samples"),
        (lambda: hf.DeadlineDetector(0), "timeout"),
        (lambda: hf.DeadlineDetector(5, suspect_after=5), "suspect_after"),
        (lambda: hf.ThresholdDetector(0), "failure_threshold"),
        (lambda: hf.ThresholdDetector(recovery_threshold=0), "recovery_threshold"),
        (lambda: hf.Heartbeat(detector="phi"), "detector"),  # type: ignore[arg-type]
        (lambda: hf.Heartbeat(detector=hf.ThresholdDetector()), "probe"),
        (lambda: hf.DeadlineDetector(5).beat(float("nan")), "at"),
    ],
)
def test_bad_numbers_name_their_field(make: Any, field: str) -> None:
    """A configuration error names the field."""
    with pytest.raises(hf.ConfigurationError) as caught:
        make()
    assert caught.value.field == field


def test_a_detector_is_a_state_and_shows_its_numbers() -> None:
    """It is neither pickled nor changed, and its repr is how it is made."""
    detector = hf.PhiAccrualDetector(6.0)
    assert repr(detector).startswith("PhiAccrualDetector(threshold=6.0, min_std=0.1")
    assert repr(hf.DeadlineDetector(5)) == "DeadlineDetector(timeout=5, suspect_after=None)"
    with pytest.raises(TypeError):
        pickle.dumps(detector)
    with pytest.raises(AttributeError):
        detector.threshold = 9  # type: ignore[attr-defined]


# ---- in a heartbeat ----


def test_silence_convicts_a_node_that_is_only_heard(clock: ManualClock) -> None:
    """Without a probe nodes send beats of their own: three intervals of silence convict, two beats acquit."""
    with record_events() as events, manager(hf.Heartbeat(1.0, jitter=0.0), "a", "b") as pool:
        for _second in range(4):
            clock.advance(1.0)
            pool.beat("b")
        assert {name: view.state for name, view in pool.nodes.items()} == {"a": "down", "b": "up"}
        assert [pool.call() for _ in range(2)] == ["b", "b"]
        for _beat in range(2):
            clock.advance(1.0)
            pool.beat("a")
            pool.beat("b")
        assert pool.nodes["a"].state == "up"
    about_a = [event.kind for event in events if getattr(event, "node", None) == "a"]
    assert about_a == [
        "node_suspected",
        "node_marked_failed",
        "failover_started",
        "failover_completed",
        "recovery_started",
        "recovery_completed",
    ]


def test_p7_each_node_is_judged_by_its_own_rhythm(clock: ManualClock) -> None:
    """P7: the silence that convicts a quick node does not convict a slow one."""
    phi = hf.PhiAccrualDetector(threshold=8.0, acceptable_pause=0.0)
    with manager(hf.Heartbeat(2.0, jitter=0.0, detector=phi), "quick", "slow") as pool:
        for tick in range(40):
            clock.advance(0.5)
            pool.beat("quick")
            if tick % 4 == 3:
                pool.beat("slow")
        clock.advance(2.2)
        assert {name: view.state for name, view in pool.nodes.items()} == {"quick": "down", "slow": "up"}
    assert phi.phi(1e6) == 0.0, "the template hears nothing"


def test_a_node_may_have_a_heartbeat_of_its_own(clock: ManualClock) -> None:
    """Its own interval and thresholds, in place of the manager's; `False` is none at all."""
    dead = hf.HttpProbe("http://127.0.0.1:9/")
    own = hf.Heartbeat(1.0, failure_threshold=1, jitter=0.0, probe=dead)
    nodes = [
        hf.Node("own", str, heartbeat=own),
        hf.Node("usual", str),
        hf.Node("none", str, heartbeat=False),
    ]
    usual = hf.Heartbeat(10.0, failure_threshold=2, jitter=0.0, probe=dead)
    with hf.FailoverManager(nodes, heartbeat=usual) as pool:
        clock.advance(0.1)
        assert [view.state for view in pool.nodes.values()] == ["down", "suspect", "up"]
        clock.advance(10.0)
        assert [view.state for view in pool.nodes.values()] == ["down", "down", "up"]


def test_a_node_may_be_the_only_one_with_a_heartbeat(clock: ManualClock) -> None:
    """A manager without a heartbeat still keeps its nodes' own."""
    own = hf.Heartbeat(1.0, jitter=0.0)
    with hf.FailoverManager([hf.Node("own", str, heartbeat=own), hf.Node("none", str)]) as pool:
        clock.advance(0.1)
        clock.advance(3.0)
        assert [view.state for view in pool.nodes.values()] == ["down", "up"]

//! Rates: minimum calls, windows, slowness, calls that are stuck.

use super::*;

fn by_rate(window: WindowKind) -> BreakerConfig {
    BreakerConfig { failure_threshold: None, failure_rate: Some(0.5), window, ..BreakerConfig::default() }
}

fn by_slowness() -> BreakerConfig {
    BreakerConfig {
        failure_threshold: None,
        slow_call_rate: Some(0.5),
        slow_call: Some(SECOND * 2),
        ..BreakerConfig::default()
    }
}

/// A window roll is not an era: a call that outlives the window counts when it settles.
#[test]
fn b2_a_call_that_outlives_the_window_counts() {
    let config = BreakerConfig { minimum_calls: 1, ..by_rate(WindowKind::Time(SECOND * 60)) };
    let mut desk = Desk::new(config);
    let long = desk.admit();
    desk.advance(SECOND * 90);
    desk.settle(long, FAIL);
    assert_eq!((desk.state(), desk.metrics().failures, desk.metrics().late), (State::Open, 1, 0));
}

/// One of one is not 100 %: nothing is decided below the minimum, everything from it on, at that very call.
#[test]
fn b10_exactly_minimum_calls_decide() {
    for window in [WindowKind::Time(SECOND * 60), WindowKind::Count(10), WindowKind::Count(100)] {
        let mut desk = Desk::new(by_rate(window));
        desk.calls(9, FAIL);
        assert_eq!(desk.state(), State::Closed, "m - 1");
        desk.call(FAIL);
        assert_eq!(desk.state(), State::Open, "m");
        // A success decides as well, if it completes the number.
        let mut desk = Desk::new(by_rate(window));
        desk.calls(5, FAIL);
        desk.calls(4, Verdict::Ok);
        assert_eq!(desk.state(), State::Closed);
        desk.call(Verdict::Ok);
        assert_eq!(desk.state(), State::Open, "5 of 10 is at the rate");
        // One short of the rate at m; at m + 1 it is below as well, at m + 2 it is there.
        let mut desk = Desk::new(by_rate(window));
        desk.calls(6, Verdict::Ok);
        desk.calls(4, FAIL);
        assert_eq!(desk.state(), State::Closed, "4 of 10");
        desk.call(FAIL);
        let expected = if window == WindowKind::Count(10) { State::Open } else { State::Closed };
        assert_eq!(desk.state(), expected, "5 of 11, or 5 of the last 10");
    }
}

/// The fast door leaves to the slow one the success that could decide.
#[test]
fn b10_the_fast_door_does_not_miss_the_deciding_success() {
    let mut desk = Desk::new(by_rate(WindowKind::Time(SECOND * 60)));
    for _ in 0..5 {
        let permit = desk.breaker.admit_fast(desk.now).expect("closed");
        desk.breaker.settle_ok(permit, desk.now).expect("no failure in sight");
    }
    desk.calls(4, FAIL);
    let permit = desk.breaker.admit_fast(desk.now).expect("closed");
    let permit = desk.breaker.settle_ok(permit, desk.now).expect_err("there are failures");
    desk.settle(permit, FAIL);
    assert_eq!(desk.state(), State::Open);
}

/// After a gap longer than the window the old outcomes are gone, however long the gap.
#[test]
fn b11_an_idle_gap_forgets() {
    for gap in [SECOND * 60, SECOND * 3_750_000_000, SECOND * 4_000_000_000] {
        let mut desk = Desk::new(by_rate(WindowKind::Time(SECOND * 60)));
        desk.calls(9, FAIL);
        desk.advance(gap);
        assert!(desk.metrics().failure_rate.abs() < f64::EPSILON, "after {gap:?}");
        desk.calls(9, FAIL);
        assert_eq!(desk.state(), State::Closed, "after {gap:?}");
        desk.call(FAIL);
        assert_eq!(desk.state(), State::Open, "after {gap:?}");
    }
}

/// While the breaker is open its rates still say what it opened for.
#[test]
fn the_rates_of_the_trip_stay_readable() {
    let mut desk = Desk::new(by_rate(WindowKind::Count(10)));
    desk.calls(4, Verdict::Ok);
    desk.calls(6, FAIL);
    assert_eq!(desk.state(), State::Open);
    assert!((desk.metrics().failure_rate - 0.6).abs() < 1e-9);
    desk.advance(SECOND * 30);
    desk.calls(2, Verdict::Ok);
    assert!(desk.metrics().failure_rate.abs() < 1e-9, "closed again: a new picture");
    let mut plain = Desk::new(BreakerConfig::default());
    plain.calls(3, Verdict::Ok);
    plain.call(FAIL);
    assert!((plain.metrics().failure_rate - 0.25).abs() < 1e-9, "without a window: over its life");
}

/// A slow call is slow whether it answers or fails, and a stream is judged by its first item.
#[test]
fn slow_calls_are_counted_and_trip() {
    let mut desk = Desk::new(by_slowness());
    assert!(desk.breaker.needs_now());
    for (verdict, takes) in [(Verdict::Ok, 2000), (FAIL, 2500), (Verdict::Ok, 1999), (Verdict::Ignore, 9000)]
    {
        let permit = desk.admit();
        desk.advance(MILLI * takes);
        desk.settle(permit, verdict);
    }
    assert_eq!(desk.metrics().slow, 2);
    assert!((desk.metrics().slow_call_rate - 2.0 / 3.0).abs() < 1e-9);
    for first in [MILLI * 100, MILLI * 2000] {
        let mut stream = desk.admit();
        desk.advance(first);
        desk.breaker.first_item(&mut stream, desk.now);
        desk.advance(SECOND * 10);
        desk.breaker.first_item(&mut stream, desk.now);
        desk.settle(stream, Verdict::Ok);
    }
    assert_eq!((desk.metrics().slow, desk.state()), (3, State::Closed));
    desk.calls(4, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed, "3 of 9");
}

/// Twenty stuck calls trip the breaker before any of them returns: at the next admission,
#[test]
fn b22_stuck_calls_trip_at_the_next_admission() {
    for fast in [false, true] {
        let mut desk = Desk::new(by_slowness());
        let stuck: Vec<_> = (0..20).map(|_| desk.admit()).collect();
        desk.advance(MILLI * 1999);
        desk.call(Verdict::Ok);
        assert_eq!(desk.state(), State::Closed);
        desk.advance(MILLI);
        if fast {
            assert!(desk.breaker.admit_fast(desk.now).is_none());
        }
        assert_eq!(desk.try_admit().expect_err("tripped").reason, "open");
        assert_eq!(desk.events(), [("opened", "slow_call_rate")]);
        for permit in stuck {
            desk.settle(permit, Verdict::Ok);
        }
        assert_eq!((desk.state(), desk.metrics().late), (State::Open, 20));
    }
}

/// or at the next settlement, whatever its verdict.
#[test]
fn b22_stuck_calls_trip_at_the_next_settlement() {
    for verdict in [Verdict::Ok, FAIL, Verdict::Ignore, throttled(None)] {
        let mut desk = Desk::new(by_slowness());
        let stuck: Vec<_> = (0..20).map(|_| desk.admit()).collect();
        desk.advance(SECOND);
        let quick = desk.admit();
        desk.advance(SECOND);
        let quick = desk.breaker.settle_ok(quick, desk.now).expect_err("something is due");
        desk.settle(quick, verdict);
        assert_eq!(desk.events(), [("opened", "slow_call_rate")]);
        assert_eq!(desk.metrics().in_flight, stuck.len() as u64);
    }
}

/// Calls that are stuck are few among many quick ones, or have ended, or have brought their first item: no trip.
#[test]
fn b22_only_a_share_of_stuck_calls_trips() {
    let mut desk = Desk::new(by_slowness());
    let stuck: Vec<_> = (0..20).map(|_| desk.admit()).collect();
    desk.calls(21, Verdict::Ok);
    desk.advance(SECOND * 50);
    desk.call(Verdict::Ok);
    assert_eq!(desk.state(), State::Closed, "20 of 42");
    desk.advance(SECOND * 10);
    assert_eq!(desk.try_admit().expect_err("the quick ones are forgotten").reason, "open");
    drop(stuck);

    let mut desk = Desk::new(by_slowness());
    let mut streams: Vec<_> = (0..20).map(|_| desk.admit()).collect();
    for stream in &mut streams {
        desk.breaker.first_item(stream, desk.now);
    }
    desk.advance(SECOND * 100);
    desk.call(Verdict::Ok);
    assert_eq!((desk.state(), desk.metrics().slow), (State::Closed, 0));
}

/// Calls stuck since before the trip do not open the breaker again once it has recovered.
#[test]
fn b22_stuck_calls_of_an_old_era_are_forgotten() {
    let mut desk = Desk::new(by_slowness());
    let _stuck: Vec<_> = (0..20).map(|_| desk.admit()).collect();
    desk.advance(SECOND * 2);
    assert!(desk.try_admit().is_err());
    desk.advance(SECOND * 30);
    desk.calls(2, Verdict::Ok);
    desk.calls(20, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
    assert!(desk.metrics().slow_call_rate.abs() < 1e-9);
}

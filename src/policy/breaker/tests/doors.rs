//! The inline doors: what they settle by themselves, and what they leave to the machine.

use super::*;

fn fails(desk: &Desk) -> bool {
    let permit = desk.breaker.admit_fast(desk.now).expect("admitted");
    desk.breaker.settle_failed(permit).is_ok()
}

/// Failures count in a row through the quick door too; the one that trips is the machine's.
#[test]
fn the_failing_door_leaves_the_trip_to_the_machine() {
    let mut desk = Desk::new(BreakerConfig::default());
    for _ in 0..4 {
        assert!(fails(&desk));
    }
    assert_eq!((desk.metrics().failures, desk.state()), (4, State::Closed));
    let permit = desk.breaker.admit_fast(desk.now).expect("admitted");
    let last = desk.breaker.settle_failed(permit).expect_err("the fifth in a row");
    desk.settle(last, FAIL);
    assert_eq!((desk.metrics().failures, desk.metrics().in_flight, desk.state()), (5, 0, State::Open));
}

/// A probe, a late call, a shadow and rules that take the time are the machine's.
#[test]
fn the_failing_door_refuses_what_is_not_its_own() {
    let mut desk = Desk::new(BreakerConfig::default());
    let late = desk.admit();
    desk.trip();
    let late = desk.breaker.settle_failed(late).expect_err("late");
    desk.settle(late, FAIL);
    assert_eq!(desk.metrics().late, 1);
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    let probe = desk.breaker.settle_failed(probe).expect_err("a probe");
    desk.settle(probe, FAIL);
    assert_eq!(desk.state(), State::Open);

    let slow = BreakerConfig { slow_call: Some(SECOND), ..BreakerConfig::default() };
    let rate = BreakerConfig { failure_rate: Some(0.5), ..BreakerConfig::default() };
    for config in [slow, rate] {
        let mut desk = Desk::new(config);
        let permit = desk.admit();
        let permit = desk.breaker.settle_failed(permit).expect_err("it takes the time");
        desk.settle(permit, FAIL);
    }

    let mut desk = Desk::new(BreakerConfig::default());
    desk.breaker.shadow(desk.now, &mut desk.out);
    let permit = desk.admit();
    let permit = desk.breaker.settle_failed(permit).expect_err("a shadow");
    desk.settle(permit, FAIL);
}

/// Where no rule is in force failures are counted, and nothing follows.
#[test]
fn b20_the_failing_door_only_counts_while_forced_closed() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.breaker.force_closed(desk.now, &mut desk.out);
    for _ in 0..10 {
        let permit = desk.admit();
        assert!(desk.breaker.settle_failed(permit).is_ok());
    }
    assert_eq!((desk.metrics().failures, desk.metrics().in_flight), (10, 0));
    desk.breaker.reset(desk.now, &mut desk.out);
    assert!(fails(&desk), "the row begins anew");
}

/// A value that came after its deadline is slow, whatever the rules measure.
#[test]
fn a_late_value_is_slow() {
    let mut desk = Desk::new(BreakerConfig::default());
    let mut permit = desk.admit();
    permit.mark_late();
    desk.settle(permit, Verdict::Ok);
    assert_eq!((desk.metrics().successes, desk.metrics().slow), (1, 1));
}

/// A breaker knows whether a time that lags will do.
#[test]
fn a_breaker_says_whether_it_bears_lag() {
    assert!(Desk::new(BreakerConfig::default()).breaker.bears_lag());
    let quick = BreakerConfig { slow_call: Some(MILLI), ..BreakerConfig::default() };
    assert!(!Desk::new(quick).breaker.bears_lag());
}

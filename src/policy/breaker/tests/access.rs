//! Eras, operators, shadow mode, accounting and keys.

use std::sync::Arc;

use super::*;
use crate::base::EventKind;

/// A call admitted before a change of state neither closes, opens nor counts: it is late.
#[test]
fn b1_a_late_settle_changes_no_state() {
    let mut desk = Desk::new(BreakerConfig { half_open_max_calls: 2, ..BreakerConfig::default() });
    let old = [(); 5].map(|()| desk.admit());
    desk.trip();
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    let settled = [Verdict::Ok, FAIL, throttled(None), Verdict::Ignore, fail_after(SECOND * 90)];
    for (permit, verdict) in old.into_iter().zip(settled) {
        desk.settle(permit, verdict);
        assert_eq!(desk.state(), State::HalfOpen);
    }
    assert_eq!(desk.metrics().late, 5);
    desk.settle(probe, Verdict::Ok);
    desk.call(Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
    let metrics = desk.metrics();
    assert_eq!((metrics.successes, metrics.failures, metrics.throttled, metrics.ignored), (2, 5, 0, 0));
}

/// A late failure of an earlier round does not fail the probe of this one.
#[test]
fn b1_a_late_failure_does_not_fail_a_running_probe() {
    let mut desk = Desk::new(BreakerConfig { half_open_max_calls: 2, ..BreakerConfig::default() });
    desk.trip();
    desk.advance(SECOND * 30);
    let (first, second) = (desk.admit(), desk.admit());
    desk.settle(first, FAIL);
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    desk.settle(second, FAIL);
    assert_eq!(desk.state(), State::HalfOpen);
    desk.settle(probe, Verdict::Ok);
    assert_eq!((desk.metrics().late, desk.metrics().in_flight), (1, 0));
}

/// The era wraps without anybody noticing.
#[test]
fn b1_eras_wrap() {
    let mut desk = Desk::new(BreakerConfig::default());
    let mut changes = 0u32;
    while changes < (1 << 21) - 3 {
        desk.breaker.reset(desk.now, &mut desk.out);
        changes += 1;
    }
    for _ in 0..4 {
        let old = desk.admit();
        desk.trip();
        desk.advance(SECOND * 30);
        desk.settle(old, Verdict::Ok);
        desk.calls(2, Verdict::Ok);
        assert_eq!(desk.state(), State::Closed);
    }
    assert_eq!(desk.metrics().late, 4);
}

/// Cancelled calls are neither success nor failure: they do not break a row, close or open.
#[test]
fn b7_a_cancelled_call_is_neither() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.calls(4, FAIL);
    desk.calls(20, Verdict::Ignore);
    assert_eq!(desk.state(), State::Closed);
    desk.call(FAIL);
    assert_eq!(desk.state(), State::Open);
    desk.advance(SECOND * 30);
    desk.calls(20, Verdict::Ignore);
    assert_eq!(desk.state(), State::HalfOpen, "twenty cancelled probes prove nothing");
    assert_eq!((desk.metrics().ignored, desk.metrics().in_flight), (40, 0));
}

/// What is not the endpoint's fault does not count against it: a refused request, a bad credential, an
/// unknown model.
#[test]
fn b18_another_s_fault_does_not_count() {
    let mut desk = Desk::new(BreakerConfig::default());
    for blame in [Blame::Nobody, Blame::Credential, Blame::Model] {
        desk.calls(10, Verdict::Fail(failure(blame, None)));
    }
    desk.calls(10, Verdict::Fail(failure(Blame::Rate, None)));
    let metrics = desk.metrics();
    assert_eq!((desk.state(), metrics.failures), (State::Closed, 0));
    assert_eq!((metrics.ignored, metrics.throttled), (30, 10));
}

/// What an operator has set, no settle and no probe undoes; only `reset` does.
#[test]
fn b20_manual_beats_automatic() {
    type Set = fn(&Breaker, Time, &mut Outbox);
    let orders: [(Set, State); 4] = [
        (Breaker::force_open, State::ForcedOpen),
        (Breaker::force_closed, State::ForcedClosed),
        (Breaker::disable, State::Disabled),
        (Breaker::shadow, State::Shadow),
    ];
    for (set, state) in orders {
        let mut desk = Desk::new(BreakerConfig::default());
        let before = desk.admit();
        desk.trip();
        desk.advance(SECOND * 30);
        let probe = desk.admit();
        set(&desk.breaker, desk.now, &mut desk.out);
        desk.settle(before, FAIL);
        desk.settle(probe, Verdict::Ok);
        for verdict in [FAIL, Verdict::Ok, throttled(Some(SECOND * 5)), Verdict::Ignore] {
            for _ in 0..20 {
                match desk.try_admit() {
                    Ok(permit) => desk.settle(permit, verdict),
                    Err(refused) => {
                        assert_eq!((refused.reason, refused.retry_after), ("forced_open", None));
                    }
                }
                desk.advance(SECOND * 40);
                assert_eq!(desk.state(), state);
            }
        }
        assert_eq!(desk.breaker.would_admit(desk.now), state != State::ForcedOpen);
        desk.breaker.reset(desk.now, &mut desk.out);
        assert_eq!(desk.state(), State::Closed);
        desk.trip();
    }
}

/// Each order is told once, and only if it changes what the breaker does with calls.
#[test]
fn a_breaker_is_shut_while_nothing_but_time_or_an_order_opens_it() {
    let mut desk = Desk::new(BreakerConfig { failure_threshold: Some(1), ..BreakerConfig::default() });
    assert!(!desk.breaker.is_shut(desk.now), "closed");
    desk.call(FAIL);
    assert!(desk.breaker.is_shut(desk.now.after(SECOND * 29)), "open, and still open then");
    assert!(!desk.breaker.is_shut(desk.now.after(SECOND * 30)), "open, but a probe may go then");
    desk.advance(SECOND * 30);
    let _probe = desk.admit();
    assert!(!desk.breaker.is_shut(desk.now), "half-open: the probe may end at any moment");
    desk.breaker.force_open(desk.now, &mut desk.out);
    assert!(desk.breaker.is_shut(desk.now.after(SECOND * 3600)), "only an order ends that");
}

#[test]
fn b20_orders_are_told_once() {
    let mut desk = Desk::new(BreakerConfig::default());
    let now = desk.now;
    desk.breaker.force_open(now, &mut desk.out);
    desk.breaker.force_open(now, &mut desk.out);
    assert_eq!(desk.events(), [("opened", "forced")]);
    desk.breaker.force_closed(now, &mut desk.out);
    desk.breaker.force_closed(now, &mut desk.out);
    assert_eq!(desk.events(), [("closed", "forced")]);
    desk.breaker.disable(now, &mut desk.out);
    desk.breaker.disable(now, &mut desk.out);
    assert_eq!(desk.events(), [("closed", "disabled")]);
    desk.breaker.force_open(now, &mut desk.out);
    desk.breaker.shadow(now, &mut desk.out);
    desk.breaker.shadow(now, &mut desk.out);
    assert_eq!(desk.events(), [("opened", "forced"), ("closed", "shadow")]);
    desk.breaker.reset(now, &mut desk.out);
    desk.breaker.reset(now, &mut desk.out);
    assert_eq!(desk.events(), [("closed", "reset")]);
    assert_eq!(desk.metrics().mean_recovery_time, None, "an operator's reset is no recovery");
    assert_eq!(desk.metrics().opened, 2);
}

/// A reset forgets what was held against the callee, though nothing that was counted.
#[test]
fn b20_a_reset_starts_afresh() {
    let config = BreakerConfig { failure_rate: Some(0.5), minimum_calls: 6, ..BreakerConfig::default() };
    let mut desk = Desk::new(config);
    desk.calls(4, FAIL);
    desk.breaker.reset(desk.now, &mut desk.out);
    desk.calls(4, FAIL);
    assert_eq!(desk.state(), State::Closed);
    assert_eq!(desk.metrics().failures, 8);
    desk.call(FAIL);
    assert_eq!(desk.state(), State::Open);
}

/// Shadow mode records and admits everything, and says when it would have opened: once per opening.
#[test]
fn b21_shadow_tells_and_admits() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.breaker.shadow(desk.now, &mut desk.out);
    assert_eq!(desk.events(), [("closed", "shadow")]);
    desk.calls(20, FAIL);
    assert_eq!(desk.events(), [("would_open", "consecutive_failures")]);
    desk.advance(SECOND * 30);
    desk.calls(4, FAIL);
    assert_eq!(desk.events(), []);
    desk.call(FAIL);
    assert_eq!(desk.events(), [("would_open", "consecutive_failures")]);
    desk.advance(SECOND * 30);
    desk.call(throttled(Some(SECOND)));
    assert_eq!(desk.events(), [("would_open", "retry_after")]);
    let metrics = desk.metrics();
    assert_eq!((metrics.failures, metrics.rejected, metrics.opened), (25, 0, 0));
}

/// Several rules are on at once, and the trip names the one that decided.
#[test]
fn b23_the_trip_names_its_rule() {
    let rules = BreakerConfig {
        failure_threshold: Some(3),
        failure_rate: Some(0.5),
        slow_call_rate: Some(0.5),
        slow_call: Some(SECOND),
        minimum_calls: 4,
        ..BreakerConfig::default()
    };
    let run = |script: &[(Verdict, Duration)]| {
        let mut desk = Desk::new(rules.clone());
        for &(verdict, takes) in script {
            let permit = desk.admit();
            desk.advance(takes);
            desk.settle(permit, verdict);
        }
        desk.events()
    };
    let (ok, bad) = ((Verdict::Ok, MILLI), (FAIL, MILLI));
    assert_eq!(run(&[bad, bad, bad]), [("opened", "consecutive_failures")]);
    assert_eq!(run(&[bad, ok, bad, ok]), [("opened", "failure_rate")]);
    let slow = (Verdict::Ok, SECOND);
    assert_eq!(run(&[slow, slow, ok, ok]), [("opened", "slow_call_rate")]);
    assert_eq!(run(&[ok, ok, ok, bad, bad, ok, ok]), []);
    assert_eq!(run(&[ok, ok, (FAIL, SECOND), (FAIL, SECOND)]), [("opened", "failure_rate")]);
}

/// A callee that asks us to slow down is not failing, however often it asks.
#[test]
fn b26_back_pressure_is_a_third_outcome() {
    let config = BreakerConfig { failure_rate: Some(0.1), minimum_calls: 1, ..BreakerConfig::default() };
    let mut desk = Desk::new(config);
    desk.calls(100, throttled(None));
    desk.calls(100, throttled(Some(Duration::ZERO)));
    let metrics = desk.metrics();
    assert_eq!((desk.state(), metrics.throttled, metrics.failures), (State::Closed, 200, 0));
    assert!(metrics.failure_rate.abs() < f64::EPSILON);
}

/// One key's failures never reject another; keys hear as whom they speak.
#[test]
fn b17_keys_do_not_share_failures() {
    let mut desk = Desk::new(BreakerConfig::default());
    let keys = Keyed::new(desk.breaker.fork(Source::new("llm")), 8);
    let (a, b) = (keys.get("eu", desk.now), keys.get("us", desk.now));
    desk.breaker =
        Arc::into_inner(std::mem::replace(&mut Arc::new(desk.breaker), a.clone())).expect("sole owner");
    for _ in 0..5 {
        let permit = a.admit(desk.now, &mut desk.dice, &mut desk.out).expect("closed");
        a.settle(permit, &FAIL, desk.now, &mut desk.dice, &mut desk.out);
    }
    assert_eq!((a.state(), b.state()), (State::Open, State::Closed));
    assert_eq!(a.source().name(), "llm/eu");
    assert_eq!(a.source().chain().last(), Some(keys.template().source().id()));
    assert!(Arc::ptr_eq(&a, &keys.get("eu", desk.now)));
}

/// The registry is bounded: the key of longest ago makes room, unless it has something to lose.
#[test]
fn b17_eviction_drops_only_idle_closed_breakers() {
    let now = Time::from_millis(5);
    let (mut dice, mut out) = (SplitMix::new(1), Outbox::new(0));
    let keys = Keyed::new(Breaker::new(Source::new("k"), BreakerConfig::default()), 4);
    keys.get("open", now).force_open(now, &mut out);
    let busy = keys.get("busy", now).admit(now, &mut dice, &mut out).expect("closed");
    let held = keys.get("held", now);
    for n in 0..100 {
        let _ = keys.get(&n.to_string(), now);
        assert_eq!(keys.len(), 4);
    }
    assert!(keys.peek("99").is_some() && keys.peek("98").is_none());
    for key in ["open", "busy", "held"] {
        assert!(keys.peek(key).is_some(), "{key} was dropped");
    }
    // All busy: it grows past its bound, and shrinks when it can.
    let crowd: Vec<_> = (0..10).map(|n| keys.get(&format!("crowd {n}"), now)).collect();
    assert_eq!(keys.len(), 13);
    drop(crowd);
    let _ = keys.get("next", now);
    assert_eq!(keys.len(), 4);
    keys.get("busy", now).settle(busy, &Verdict::Ok, now, &mut dice, &mut out);
    drop(held);
    let _ = keys.get("a", now);
    let _ = keys.get("b", now);
    assert!(keys.peek("held").is_none() && keys.peek("open").is_some());
    assert!(keys.all().iter().any(|breaker| breaker.state() == State::ForcedOpen));
}

/// The fast doors agree with the slow ones, and leave to them what is not theirs.
#[test]
fn the_fast_doors_agree_with_the_slow_ones() {
    let mut desk = Desk::new(BreakerConfig::default());
    assert!(!desk.breaker.needs_now());
    desk.calls(4, FAIL);
    let permit = desk.breaker.admit_fast(Time::ZERO).expect("closed");
    desk.breaker.settle_ok(permit, Time::ZERO).expect("nothing to it");
    desk.calls(4, FAIL);
    assert_eq!(desk.state(), State::Closed, "the fast success broke the row");
    let late = desk.breaker.admit_fast(Time::ZERO).expect("closed");
    desk.call(FAIL);
    assert!(desk.breaker.admit_fast(desk.now).is_none(), "open");
    let late = desk.breaker.settle_ok(late, Time::ZERO).expect_err("late");
    desk.settle(late, Verdict::Ok);
    desk.advance(SECOND * 30);
    assert!(desk.breaker.admit_fast(desk.now).is_none(), "a probe is not for the fast door");
    let probe = desk.admit();
    let probe = desk.breaker.settle_ok(probe, desk.now).expect_err("a probe");
    desk.settle(probe, Verdict::Ok);
    let metrics = desk.metrics();
    assert_eq!((metrics.calls, metrics.successes, metrics.late, metrics.in_flight), (12, 2, 1, 0));
}

/// Every kind of event that the breaker reports is a change of state: built whether or not anybody asks.
#[test]
fn changes_of_state_are_always_told() {
    for kind in [EventKind::CircuitOpened, EventKind::CircuitHalfOpened, EventKind::CircuitClosed] {
        assert_ne!(Outbox::STATE_CHANGES & crate::base::event::bit(kind), 0);
    }
}

/// Every field out of range, and every contradiction, is refused by name.
#[test]
fn bad_rules_are_refused_by_name() {
    let base = BreakerConfig::default;
    let zero = Duration::ZERO;
    let bad: Vec<(&str, BreakerConfig)> = vec![
        ("failure_threshold", BreakerConfig { failure_threshold: Some(0), ..base() }),
        ("success_threshold", BreakerConfig { success_threshold: 0, ..base() }),
        ("open_timeout", BreakerConfig { open_timeout: zero, ..base() }),
        ("half_open_max_calls", BreakerConfig { half_open_max_calls: 0, ..base() }),
        ("half_open_max_calls", BreakerConfig { half_open_max_calls: 17, ..base() }),
        ("failure_rate", BreakerConfig { failure_rate: Some(0.0), ..base() }),
        ("failure_rate", BreakerConfig { failure_rate: Some(1.01), ..base() }),
        ("failure_rate", BreakerConfig { failure_rate: Some(f64::NAN), ..base() }),
        ("slow_call_rate", BreakerConfig { slow_call_rate: Some(-0.5), slow_call: Some(SECOND), ..base() }),
        ("slow_call_rate", BreakerConfig { slow_call_rate: Some(0.5), ..base() }),
        ("slow_call", BreakerConfig { slow_call: Some(zero), ..base() }),
        ("minimum_calls", BreakerConfig { minimum_calls: 0, ..base() }),
        ("minimum_calls", BreakerConfig { failure_rate: Some(0.5), window: WindowKind::Count(9), ..base() }),
        ("window", BreakerConfig { window: WindowKind::Time(zero), ..base() }),
        ("window", BreakerConfig { window: WindowKind::Count(0), ..base() }),
        ("window", BreakerConfig { window: WindowKind::Count(65_537), ..base() }),
        ("open_timeout_factor", BreakerConfig { open_timeout_factor: 0.99, ..base() }),
        ("open_timeout_factor", BreakerConfig { open_timeout_factor: f64::INFINITY, ..base() }),
        ("open_timeout_max", BreakerConfig { open_timeout_max: Some(SECOND * 29), ..base() }),
        ("open_timeout_jitter", BreakerConfig { open_timeout_jitter: -0.1, ..base() }),
        ("open_timeout_jitter", BreakerConfig { open_timeout_jitter: f64::NAN, ..base() }),
        ("probe_lease", BreakerConfig { probe_lease: Duration::from_micros(999), ..base() }),
        ("cooldown_cap", BreakerConfig { cooldown_cap: zero, ..base() }),
    ];
    for (field, config) in bad {
        let told = format!("{config:?}");
        let error = config.validate().expect_err(&told);
        assert_eq!(error.field, field, "{told}");
    }
    let full = BreakerConfig {
        failure_threshold: None,
        half_open_max_calls: 16,
        failure_rate: Some(1.0),
        window: WindowKind::Count(10),
        open_timeout_max: Some(SECOND * 30),
        open_timeout_jitter: 1.0,
        ..base()
    };
    assert!(full.validate().is_ok());
}

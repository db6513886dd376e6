//! How long it stays open.

use super::*;

/// How long a refused call is told to wait.
fn wait(desk: &Desk) -> Duration {
    desk.breaker.retry_after(desk.now).expect("open")
}

/// A nanosecond less.
fn just_before(span: Duration) -> Duration {
    span.saturating_sub(Duration::from_nanos(1))
}

/// Half-open and failed again: the next open time.
fn fail_probe(desk: &mut Desk) -> Duration {
    desk.advance(wait(desk));
    desk.call(FAIL);
    wait(desk)
}

/// Only the time given as an argument decides, and only its differences: where the clock starts is nothing.
#[test]
fn b12_only_differences_of_time_matter() {
    let run = |start: u64| {
        let mut desk = Desk::new(BreakerConfig::default());
        desk.now = Time::from_nanos(start);
        desk.trip();
        let mut trace = vec![wait(&desk)];
        desk.advance(just_before(SECOND * 30));
        assert!(desk.try_admit().is_err(), "a nanosecond too early");
        desk.advance(Duration::from_nanos(1));
        desk.calls(2, Verdict::Ok);
        trace.push(SECOND * u32::from(desk.state() == State::Closed));
        trace
    };
    for start in [0, 1, 999_999, 1_000_000, 987_654_321_987, 3_600_000_000_000] {
        assert_eq!(run(start), [SECOND * 30, SECOND], "from {start} ns");
    }
}

/// Failures that land after the trip emit nothing and do not extend the open time.
#[test]
fn b13_a_trip_happens_once() {
    let mut desk = Desk::new(BreakerConfig::default());
    let crowd = [(); 30].map(|()| desk.admit());
    for permit in crowd {
        desk.settle(permit, FAIL);
        desk.advance(SECOND);
    }
    assert_eq!(desk.events(), [("opened", "consecutive_failures")]);
    assert_eq!(wait(&desk), SECOND * 4, "thirty seconds from the fifth failure, 26 seconds ago");
    assert_eq!((desk.metrics().failures, desk.metrics().late, desk.metrics().opened), (5, 25, 1));
}

/// The open time doubles to its cap, and health pays it back step by step.
#[test]
fn b14_open_time_grows_and_decays() {
    let config = BreakerConfig {
        open_timeout_factor: 2.0,
        open_timeout_max: Some(SECOND * 100),
        ..BreakerConfig::default()
    };
    let mut desk = Desk::new(config);
    desk.trip();
    let mut times = vec![wait(&desk)];
    times.extend((0..4).map(|_| fail_probe(&mut desk)));
    assert_eq!(times, [30, 60, 100, 100, 100].map(|s| SECOND * s));
    // Five steps have been taken. Healthy for a moment only: none is paid back.
    let recover = |desk: &mut Desk, healthy: Duration| {
        desk.advance(wait(desk));
        desk.calls(2, Verdict::Ok);
        desk.advance(healthy);
        desk.trip();
        wait(desk)
    };
    assert_eq!(recover(&mut desk, SECOND * 99), SECOND * 100);
    // Six now, which cost what was served: 100 s four times, then 60 s, then 30 s.
    assert_eq!(recover(&mut desk, SECOND * 460), SECOND * 60, "five paid back");
    assert_eq!(recover(&mut desk, SECOND * 59), SECOND * 100, "none of two");
    assert_eq!(recover(&mut desk, SECOND * 100), SECOND * 100, "one of three: no growth");
    assert_eq!(recover(&mut desk, SECOND * 160), SECOND * 60, "two of three");
    assert_eq!(recover(&mut desk, SECOND * 90), SECOND * 30, "two of two");
    assert_eq!(recover(&mut desk, SECOND * 1_000_000), SECOND * 30);
    desk.advance(wait(&desk));
    desk.call(FAIL);
    assert_eq!(wait(&desk), SECOND * 60);
    desk.breaker.reset(desk.now, &mut desk.out);
    desk.trip();
    assert_eq!(wait(&desk), SECOND * 30, "a reset forgets the growth");
}

/// With factor 1 and no jitter every open time is the same: the seeds' fixed thirty seconds.
#[test]
fn b14_the_fixed_open_time_is_the_same_rule() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.trip();
    for _ in 0..100 {
        assert_eq!(fail_probe(&mut desk), SECOND * 30);
    }
}

/// A thousand breakers tripped together do not probe together; at the cap neither, and none beyond it.
#[test]
fn b14_open_times_are_spread() {
    let spread = |max: Option<Duration>| {
        let config = BreakerConfig {
            open_timeout_jitter: 0.2,
            open_timeout_max: max,
            failure_threshold: Some(1),
            ..BreakerConfig::default()
        };
        let mut times: Vec<Duration> = (0..1000)
            .map(|seed| {
                let mut desk = Desk::new(config.clone());
                desk.dice = SplitMix::new(seed);
                desk.trip();
                wait(&desk)
            })
            .collect();
        times.sort_unstable();
        let mean = times.iter().sum::<Duration>() / 1000;
        times.dedup();
        (times.len(), times[0], mean, times[times.len() - 1])
    };
    let (distinct, least, mean, most) = spread(None);
    assert!(distinct >= 990);
    assert!(least >= SECOND * 24 && most <= SECOND * 36, "{least:?} {most:?}");
    assert!(mean > MILLI * 29_500 && mean < MILLI * 30_500, "{mean:?}");
    let (distinct, least, _, most) = spread(Some(SECOND * 30));
    assert!(distinct >= 990 && least >= SECOND * 24 && most <= SECOND * 30, "{least:?} {most:?}");
}

/// Retry-After opens for exactly that long, is no failure, and lets nothing grow.
#[test]
fn b19_retry_after_opens_for_exactly_that_long() {
    let config =
        BreakerConfig { open_timeout_factor: 2.0, open_timeout_jitter: 0.5, ..BreakerConfig::default() };
    let mut desk = Desk::new(config);
    for asked in [Duration::from_nanos(1), MILLI * 1500, SECOND * 7, SECOND * 600] {
        desk.call(throttled(Some(asked)));
        assert_eq!((desk.state(), wait(&desk)), (State::Open, asked));
        desk.advance(just_before(asked));
        assert!(desk.try_admit().is_err(), "earlier than asked");
        desk.advance(Duration::from_nanos(1));
        desk.calls(2, Verdict::Ok);
    }
    assert_eq!(
        desk.events()[..3],
        [("opened", "retry_after"), ("circuit_half_opened", ""), ("closed", "recovered")]
    );
    assert_eq!((desk.metrics().throttled, desk.metrics().failures, desk.metrics().opened), (4, 0, 4));
    assert_eq!(desk.breaker.cell.level(), 0);
}

/// A callee that says "tomorrow" is asked after the cool-down cap; one that says "0" gets no open time.
#[test]
fn b19_retry_after_is_capped_and_zero_is_none() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.call(throttled(Some(Duration::ZERO)));
    assert_eq!(desk.state(), State::Closed);
    desk.call(throttled(Some(Duration::MAX)));
    assert_eq!(wait(&desk), SECOND * 600);
    let mut desk = Desk::new(BreakerConfig { cooldown_cap: SECOND * 5, ..BreakerConfig::default() });
    desk.call(throttled(Some(SECOND * 60)));
    assert_eq!(wait(&desk), SECOND * 5);
}

/// A failure that trips and carries a Retry-After opens for the longer of the two.
#[test]
fn b19_a_failure_with_retry_after_opens_for_the_longer() {
    for (asked, open_for) in [(5, 30), (45, 45), (6000, 600)] {
        let mut desk = Desk::new(BreakerConfig::default());
        desk.calls(4, fail_after(SECOND * asked));
        assert_eq!(desk.state(), State::Closed, "only the rule trips it");
        desk.call(fail_after(SECOND * asked));
        assert_eq!(wait(&desk), SECOND * open_for);
        desk.advance(wait(&desk));
        desk.call(fail_after(SECOND * asked));
        assert_eq!(wait(&desk), SECOND * open_for, "a probe's too");
    }
}

/// A cool-down only grows: a later, longer one wins; a shorter one never shortens it; and there is one event.
#[test]
fn p12_a_cool_down_only_grows() {
    let mut desk = Desk::new(BreakerConfig::default());
    let older = desk.admit();
    desk.breaker.reset(desk.now, &mut desk.out);
    let crowd = [(); 5].map(|()| desk.admit());
    let asked = [20, 10, 40, 30, 6000].map(|s| throttled(Some(SECOND * s)));
    let mut waits = Vec::new();
    for (permit, verdict) in crowd.into_iter().zip(asked) {
        desk.settle(permit, verdict);
        waits.push(wait(&desk).as_secs());
    }
    assert_eq!(waits, [20, 20, 40, 40, 600]);
    desk.settle(older, throttled(Some(SECOND * 6000)));
    assert_eq!(desk.events(), [("opened", "retry_after")]);
    assert_eq!((desk.metrics().throttled, desk.metrics().late), (1, 5));
    desk.advance(just_before(SECOND * 600));
    assert!(desk.try_admit().is_err());
    desk.advance(Duration::from_nanos(1));
    assert!(desk.try_admit().is_ok());
}

/// A call of a round before the last has nothing to say about the open time.
#[test]
fn p12_only_the_era_that_just_ended_extends() {
    let mut desk = Desk::new(BreakerConfig::default());
    let old = desk.admit();
    desk.trip();
    fail_probe(&mut desk);
    desk.settle(old, throttled(Some(SECOND * 90)));
    assert_eq!(wait(&desk), SECOND * 30);
}

/// A probe that is told to wait is no failed probe: the breaker opens for as long as asked.
#[test]
fn b19_a_throttled_probe_waits_as_asked() {
    let mut desk = Desk::new(BreakerConfig { open_timeout_factor: 2.0, ..BreakerConfig::default() });
    desk.trip();
    desk.events();
    desk.advance(SECOND * 30);
    desk.call(throttled(Some(SECOND * 3)));
    assert_eq!(desk.events(), [("circuit_half_opened", ""), ("opened", "retry_after")]);
    assert_eq!(wait(&desk), SECOND * 3);
    assert_eq!(fail_probe(&mut desk), SECOND * 60, "one step of growth, from the trip alone");
}

/// An open time beyond what the word can hold ends at its end, not before now.
#[test]
fn an_endless_open_time_stops_at_the_end_of_the_word() {
    let mut desk = Desk::new(BreakerConfig { open_timeout: Duration::MAX, ..BreakerConfig::default() });
    desk.trip();
    assert!(wait(&desk) > SECOND * 1_000_000_000);
    assert!(!desk.breaker.would_admit(desk.now));
}

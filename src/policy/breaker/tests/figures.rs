//! Figures and bounds to the last unit: what is counted, what is kept, where a limit lies.

use super::*;
use crate::policy::breaker::cell::Cell;
use crate::policy::breaker::growth;
use crate::policy::breaker::state::{self, Effect, Input, Reason, Trip};
use crate::policy::breaker::word::Word;
use crate::window::Era;

/// The least lease is a millisecond, itself included.
#[test]
fn the_least_lease_is_a_millisecond() {
    let lease = |probe_lease| BreakerConfig { probe_lease, ..BreakerConfig::default() }.validate();
    assert!(lease(MILLI).is_ok());
    assert!(lease(MILLI.saturating_sub(Duration::from_nanos(1))).is_err());
}

/// Without growth there are no levels; health that lasted exactly as long as an open time has paid for it.
#[test]
fn b14_levels_are_paid_back_to_the_nanosecond() {
    let flat = BreakerConfig::default();
    assert_eq!(growth::raise(&flat, 0), 0, "a factor of one grows nothing");
    let config = BreakerConfig { open_timeout_factor: 2.0, ..flat };
    assert_eq!(growth::raise(&config, 0), 1);
    let price = growth::open_time(&config, 0);
    assert_eq!(growth::decay(&config, 1, price), 0);
    assert_eq!(growth::decay(&config, 1, price.saturating_sub(Duration::from_nanos(1))), 1);
}

/// An open word whose exact end nobody has written down yet ends with the next whole millisecond.
#[test]
fn an_end_not_yet_written_down_is_not_too_early() {
    let word = Word::new(State::Open, Era::new(1), 7);
    assert_eq!(Cell::new().ends(word), Time::from_millis(8));
}

/// The mean time to recover is a mean, and the state has lasted since it last changed.
#[test]
fn metrics_tell_when_and_how_long() {
    let mut desk = Desk::new(BreakerConfig { success_threshold: 1, ..BreakerConfig::default() });
    assert_eq!((desk.metrics().state_since, desk.metrics().mean_recovery_time), (None, None));
    for more in [0, 4] {
        desk.trip();
        let opened = desk.now;
        assert_eq!(desk.metrics().state_since, Some(opened));
        desk.advance(SECOND * (30 + more));
        assert_eq!(desk.metrics().state_since, Some(opened), "looking changes nothing");
        desk.call(Verdict::Ok);
        assert_eq!(desk.metrics().state_since, Some(desk.now));
        desk.advance(SECOND);
        desk.call(Verdict::Ok);
        assert_eq!(desk.metrics().state_since, Some(Time::from_nanos(desk.now.as_nanos() - 1_000_000_000)));
    }
    assert_eq!(desk.metrics().mean_recovery_time, Some(SECOND * 32));
}

/// The registry drops no more than it must, and the one that was asked for longest ago.
#[test]
fn b17_a_key_that_was_asked_for_again_stays() {
    let now = Time::from_millis(5);
    let keys = Keyed::new(Breaker::new(Source::new("k"), BreakerConfig::default()), 2);
    assert!(keys.is_empty());
    for key in ["a", "b", "a", "c"] {
        let _ = keys.get(key, now);
        assert!(!keys.is_empty());
    }
    assert!(keys.peek("a").is_some() && keys.peek("c").is_some() && keys.peek("b").is_none());
}

/// What is said of another era, or too early, changes nothing.
#[test]
fn b1_the_machine_hears_only_its_own_era() {
    let config = BreakerConfig::default();
    let unmoved = |word: Word, input: Input| {
        let step = state::next(word, input, Time::from_millis(50), &mut SplitMix::new(1), &config);
        assert_eq!(step, (word, Effect::None), "{input:?}");
    };
    let trip =
        Trip { era: Era::new(3), reason: Reason::ConsecutiveFailures, asked: None, failures: 5, level: 0 };
    for mode in [State::Closed, State::HalfOpen, State::Shadow] {
        unmoved(Word::new(mode, Era::new(4), 0), Input::Trip(trip));
    }
    unmoved(Word::new(State::HalfOpen, Era::new(4), 0), Input::Proved { era: Era::new(3) });
    unmoved(Word::new(State::Open, Era::new(4), 60), Input::Ask { ends: Time::from_millis(60) });
    for mode in [State::Closed, State::ForcedOpen, State::ForcedClosed, State::Disabled, State::Shadow] {
        unmoved(Word::new(mode, Era::new(4), 0), Input::Vouched);
    }
}

/// A permit knows whether it is a probe.
#[test]
fn a_permit_says_whether_it_is_a_probe() {
    let mut desk = Desk::new(BreakerConfig::default());
    let permit = desk.admit();
    assert!(!permit.is_probe());
    desk.settle(permit, Verdict::Ok);
    desk.trip();
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    assert!(probe.is_probe());
    desk.settle(probe, Verdict::Ok);
}

/// In shadow a trip counts where it is judged, not while the last one would still be open; and a cool-down that is no
/// longer than what is left moves nothing.
#[test]
fn b21_a_shadow_trips_once_at_a_time() {
    let config = BreakerConfig::default();
    let next = |word: Word, input: Input| {
        state::next(word, input, Time::from_millis(50), &mut SplitMix::new(1), &config)
    };
    let trip =
        Trip { era: Era::new(4), reason: Reason::ConsecutiveFailures, asked: None, failures: 5, level: 0 };
    let busy = Word::new(State::Shadow, Era::new(4), 51);
    assert_eq!(next(busy, Input::Trip(trip)), (busy, Effect::None));
    let ready = Word::new(State::Shadow, Era::new(4), 50);
    assert!(matches!(next(ready, Input::Trip(trip)).1, Effect::WouldOpen { .. }));

    let open = Word::new(State::Open, Era::new(5), 60);
    let ends = Time::from_millis(60);
    let extend = |asked| Input::Extend { era: Era::new(4), asked, ends };
    assert_eq!(next(open, extend(MILLI * 10)), (open, Effect::None));
    assert_eq!(next(open, extend(MILLI * 11)).1, Effect::Extended { ends: Time::from_millis(61) });
}

/// Which rules take the time, and which bear one that lags.
#[test]
fn rules_know_whether_they_take_the_time() {
    use crate::policy::breaker::trip::{bears_lag, needs_now};
    let off = BreakerConfig::default();
    let slow = |limit| BreakerConfig { slow_call: Some(limit), ..off.clone() };
    let rate = |window| BreakerConfig { failure_rate: Some(0.5), window, ..off.clone() };
    for (config, takes, lags) in [
        (off.clone(), false, true),
        (slow(Duration::ZERO), false, true),
        (slow(MILLI), true, false),
        (slow(SECOND), true, true),
        (rate(WindowKind::Count(10)), false, true),
        (rate(WindowKind::Time(SECOND)), true, true),
        (rate(WindowKind::Time(MILLI * 999)), true, false),
        (BreakerConfig { slow_call: Some(MILLI), ..rate(WindowKind::Time(SECOND)) }, true, false),
    ] {
        assert_eq!((needs_now(&config), bears_lag(&config)), (takes, lags), "{config:?}");
    }
}

/// An operator's states are four; the other three come and go by themselves (B20).
#[test]
fn b20_an_operator_s_states_are_four() {
    let manual: Vec<&str> = State::ALL.into_iter().filter(|s| s.is_manual()).map(State::as_str).collect();
    let mut expected = ["forced_open", "forced_closed", "disabled", "shadow"];
    expected.sort_unstable_by_key(|name| manual.iter().position(|found| found == name));
    assert_eq!(manual, expected);
}

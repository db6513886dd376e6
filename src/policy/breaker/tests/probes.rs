//! Half-open: who may probe, and what a probe's end means.

use super::*;
use crate::base::Dice;

fn half_open(slots: u32) -> Desk {
    let mut desk = Desk::new(BreakerConfig { half_open_max_calls: slots, ..BreakerConfig::default() });
    desk.trip();
    desk.advance(SECOND * 30);
    desk
}

/// A probe that never ends loses its slot when its lease expires, and what it says later is not heard.
#[test]
fn b3_a_hung_probe_loses_its_slot() {
    let mut desk = half_open(1);
    let hung = desk.admit();
    desk.advance(MILLI * 299_998);
    assert!(desk.try_admit().is_err());
    desk.advance(MILLI * 2);
    assert_eq!((desk.metrics().lost, desk.metrics().in_flight), (1, 0), "lost is lost, seen or not");
    let probe = desk.admit();
    assert_eq!(desk.metrics().lost, 1);
    desk.settle(hung, FAIL);
    assert_eq!(desk.state(), State::HalfOpen);
    desk.settle(probe, Verdict::Ok);
    let metrics = desk.metrics();
    assert_eq!((metrics.lost, metrics.late, metrics.successes, metrics.failures), (1, 0, 1, 5));
}

/// The lease alone decides: a probe that ends after it is lost even if nobody wanted its slot.
#[test]
fn b3_a_probe_that_ends_after_its_lease_is_lost() {
    let mut desk = half_open(1);
    let hung = desk.admit();
    desk.advance(SECOND * 300);
    desk.settle(hung, Verdict::Ok);
    let metrics = desk.metrics();
    assert_eq!((metrics.lost, metrics.successes, metrics.in_flight), (1, 0, 0));
    desk.calls(2, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
}

/// Ten thousand random hangs never wedge the breaker, with any number of slots.
#[test]
fn b3_ten_thousand_hangs_never_wedge() {
    for slots in [1, 3, 16] {
        let mut desk = half_open(slots);
        let mut hung = Vec::new();
        for _ in 0..10_000 {
            if let Ok(permit) = desk.try_admit() {
                hung.push(permit);
            }
            let wait = desk.dice.below(300_000);
            desk.advance(MILLI * u32::try_from(wait).expect("small"));
        }
        assert!(hung.len() > 1000);
        desk.advance(SECOND * 300);
        for permit in hung {
            desk.settle(permit, FAIL);
        }
        assert_eq!(desk.state(), State::HalfOpen);
        desk.calls(2, Verdict::Ok);
        assert_eq!((desk.state(), desk.metrics().in_flight), (State::Closed, 0));
    }
}

/// Every chunk of a stream renews its lease; only silence lets it expire, and then for good.
#[test]
fn b4_a_stream_renews_its_lease() {
    let mut desk = half_open(1);
    let mut stream = desk.admit();
    for _ in 0..100 {
        desk.advance(SECOND * 299);
        desk.breaker.renew(&mut stream, desk.now);
        assert!(desk.try_admit().is_err());
    }
    desk.settle(stream, Verdict::Ok);
    assert_eq!((desk.metrics().successes, desk.metrics().lost), (1, 0));
    let mut silent = desk.admit();
    desk.advance(SECOND * 300);
    desk.breaker.renew(&mut silent, desk.now);
    let probe = desk.admit();
    desk.settle(silent, FAIL);
    desk.settle(probe, Verdict::Ok);
    assert_eq!((desk.state(), desk.metrics().lost), (State::Closed, 1));
}

/// Of thirty arrivals exactly the allowed number run; the others are refused, and told when to ask again.
#[test]
fn b5_of_a_herd_only_the_probes_run() {
    for slots in [1, 2, 16] {
        let mut desk = half_open(slots);
        let answers: Vec<_> = (0..30).map(|_| desk.try_admit()).collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), slots as usize);
        for refused in answers.into_iter().filter_map(Result::err) {
            assert_eq!((refused.reason, refused.retry_after), ("half_open", Some(SECOND)));
        }
        assert!(!desk.breaker.would_admit(desk.now));
    }
    // Near the end of the lease, that is when it is worth asking again.
    let mut desk = half_open(1);
    let _hung = desk.admit();
    desk.advance(MILLI * 299_600);
    let wait = desk.breaker.retry_after(desk.now).expect("half-open");
    assert!(wait <= MILLI * 400 && wait > MILLI * 398, "{wait:?}");
}

/// The first decisive probe ends the round: a dead callee gets one probe, not ten.
#[test]
fn b6_the_first_failed_probe_reopens() {
    let mut desk = half_open(10);
    let probes = [(); 10].map(|()| desk.admit());
    for (n, probe) in probes.into_iter().enumerate() {
        desk.settle(probe, FAIL);
        assert_eq!(desk.state(), State::Open);
        assert_eq!(desk.metrics().late, n as u64);
    }
    let told = [("opened", "consecutive_failures"), ("circuit_half_opened", ""), ("opened", "probe_failed")];
    assert_eq!(desk.events(), told);
    assert!(desk.try_admit().is_err());
}

/// A cancelled probe is no success, and gives its slot back at once.
#[test]
fn b7_a_cancelled_probe_gives_its_slot_back() {
    let mut desk = half_open(1);
    let probe = desk.admit();
    assert!(desk.try_admit().is_err());
    desk.settle(probe, Verdict::Ignore);
    let probe = desk.admit();
    desk.settle(probe, throttled(None));
    assert_eq!(desk.state(), State::HalfOpen);
    desk.calls(2, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
}

/// Ignored outcomes neither eat probe permits nor prevent closing, and a permit of another era that comes
/// back never raises the number of probes.
#[test]
fn b9_ignore_does_not_starve() {
    let mut desk = Desk::new(BreakerConfig::default());
    let old = [(); 50].map(|()| desk.admit());
    desk.trip();
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    for permit in old {
        desk.settle(permit, Verdict::Ignore);
        assert!(desk.try_admit().is_err());
    }
    desk.settle(probe, Verdict::Ok);
    desk.calls(1000, Verdict::Ignore);
    desk.call(Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
}

/// A round that nobody finished is taken up again by whoever comes next.
#[test]
fn b3_a_forgotten_round_is_taken_up_again() {
    let mut desk = half_open(2);
    let _hung = (desk.admit(), desk.admit());
    desk.advance(SECOND * 1_000_000);
    assert!(desk.breaker.would_admit(desk.now));
    desk.calls(2, Verdict::Ok);
    assert_eq!((desk.state(), desk.metrics().lost), (State::Closed, 2));
    desk.trip();
    desk.advance(SECOND * 30);
    desk.calls(2, Verdict::Ok);
    let metrics = desk.metrics();
    assert_eq!(
        (metrics.lost, metrics.in_flight),
        (2, 0),
        "the slot nobody took over is counted once as well"
    );
}

/// Where slow answers open the breaker, a slow probe does not close it.
#[test]
fn a_slow_probe_reopens_a_breaker_that_watches_slowness() {
    let config = BreakerConfig {
        slow_call: Some(SECOND),
        slow_call_rate: Some(0.5),
        success_threshold: 1,
        ..BreakerConfig::default()
    };
    let mut desk = Desk::new(config);
    desk.trip();
    desk.advance(SECOND * 30);
    let probe = desk.admit();
    desk.advance(SECOND);
    desk.settle(probe, Verdict::Ok);
    assert_eq!(desk.state(), State::Open);
    desk.advance(SECOND * 30);
    let mut stream = desk.admit();
    desk.breaker.first_item(&mut stream, desk.now);
    desk.advance(SECOND * 100);
    desk.settle(stream, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
}

/// Whoever knows better may close it; a probe that is out meanwhile is of another era and changes nothing.
#[test]
fn p8_a_breaker_closes_on_a_word_from_outside() {
    for half_open in [false, true] {
        let mut desk = Desk::new(BreakerConfig::default());
        desk.trip();
        desk.advance(SECOND * 30);
        let probe = half_open.then(|| desk.admit());
        desk.breaker.vouch(desk.now, &mut desk.out);
        assert_eq!(desk.state(), State::Closed);
        assert_eq!(desk.metrics().mean_recovery_time, Some(SECOND * 30));
        if let Some(probe) = probe {
            desk.settle(probe, FAIL);
        }
        desk.calls(4, FAIL);
        assert_eq!(desk.state(), State::Closed, "it counts anew");
    }
}

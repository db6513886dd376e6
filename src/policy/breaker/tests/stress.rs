//! Many threads at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::base::Dice;

/// In every snapshot of every thread each call is in exactly one term, `calls` never falls, and at the end
/// nothing is in flight.
#[test]
fn the_sum_rule_holds_at_every_instant() {
    let config = BreakerConfig {
        failure_rate: Some(0.6),
        slow_call_rate: Some(0.9),
        slow_call: Some(MILLI * 5),
        half_open_max_calls: 4,
        open_timeout: MILLI,
        probe_lease: MILLI * 2,
        ..BreakerConfig::default()
    };
    let breaker = Breaker::new(Source::new("b"), config);
    let (clock, done, asked) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let now = || Time::from_nanos(clock.fetch_add(20_000, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|seed| {
                let (breaker, now, asked) = (&breaker, &now, &asked);
                scope.spawn(move || work(breaker, now, seed, asked))
            })
            .collect();
        scope.spawn(|| {
            let mut before = 0;
            while !done.load(Ordering::Relaxed) {
                let m = breaker.metrics(now());
                let settled = m.successes + m.failures + m.throttled + m.ignored + m.late + m.lost;
                assert_eq!(m.calls, settled + m.rejected + m.in_flight);
                assert!(m.calls >= before, "{} after {before}", m.calls);
                before = m.calls;
            }
        });
        for worker in workers {
            worker.join().expect("a worker failed");
        }
        done.store(true, Ordering::Relaxed);
    });
    let metrics = breaker.metrics(now());
    assert_eq!((metrics.in_flight, metrics.calls), (0, asked.load(Ordering::Relaxed)));
    let terms = [metrics.successes, metrics.failures, metrics.late, metrics.rejected, metrics.opened];
    assert!(terms.iter().all(|&term| term > 0), "{metrics:?}");
}

fn work(breaker: &Breaker, now: &dyn Fn() -> Time, seed: u64, asked: &AtomicU64) {
    let (mut dice, mut out) = (SplitMix::new(seed), Outbox::new(0));
    let mut held = Vec::new();
    for _ in 0..20_000 {
        asked.fetch_add(1, Ordering::Relaxed);
        let permit = breaker.admit_fast(now()).map_or_else(|| breaker.admit(now(), &mut dice, &mut out), Ok);
        held.extend(permit);
        if held.len() == 8 || dice.below(3) == 0 {
            for permit in held.drain(..) {
                let verdict = match dice.below(10) {
                    0..4 => FAIL,
                    4 => Verdict::Ignore,
                    5 => throttled(None),
                    _ => Verdict::Ok,
                };
                let permit =
                    if verdict.is_ok() { breaker.settle_ok(permit, now()).err() } else { Some(permit) };
                if let Some(permit) = permit {
                    breaker.settle(permit, &verdict, now(), &mut dice, &mut out);
                }
            }
        }
    }
    for permit in held {
        breaker.settle(permit, &Verdict::Ok, now(), &mut dice, &mut out);
    }
}

/// Many threads fail at once: one of them reports the trip.
#[test]
fn b13_one_thread_reports_the_trip() {
    for round in 0..200 {
        let breaker = Breaker::new(Source::new("b"), BreakerConfig::default());
        let now = Time::from_millis(round);
        let told: usize = std::thread::scope(|scope| {
            let threads = [(); 3].map(|()| {
                scope.spawn(|| {
                    let (mut dice, mut out) = (SplitMix::new(round), Outbox::new(0));
                    for _ in 0..5 {
                        if let Ok(permit) = breaker.admit(now, &mut dice, &mut out) {
                            breaker.settle(permit, &FAIL, now, &mut dice, &mut out);
                        }
                    }
                    out.events().len()
                })
            });
            threads.into_iter().map(|thread| thread.join().expect("a thread failed")).sum()
        });
        assert_eq!((told, breaker.state()), (1, State::Open));
    }
}

//! What a breaker has counted.
//!
//! Each call is in exactly one term of `calls = successes + failures + throttled + ignored + late + lost +
//! rejected + in_flight`. Two terms are not counted but follow from the others, so the sum holds in every
//! snapshot, whatever other threads do meanwhile: `in_flight` is what was admitted and has not been
//! counted otherwise, and `calls` is the sum. For `in_flight` never to fall below zero, a snapshot reads
//! the admissions last; a call that settles meanwhile may still be in flight in it. No counter is ever set back (L8).

use std::time::Duration;

use crate::base::Time;
use crate::base::sync::{AtomicU32, AtomicU64, Ordering, add_one};

/// A snapshot of a breaker's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Every call that came to the breaker.
    pub calls: u64,
    /// Calls that answered.
    pub successes: u64,
    /// Calls that failed, by the callee's fault.
    pub failures: u64,
    /// Calls that were asked to slow down (B26).
    pub throttled: u64,
    /// Calls that say nothing about the callee: cancelled, rolled back, or another's fault.
    pub ignored: u64,
    /// Calls that ended after the breaker had changed state: no longer evidence (B1).
    pub late: u64,
    /// Probes whose lease ran out (B3).
    pub lost: u64,
    /// Calls that were refused.
    pub rejected: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Of the successes and failures, how many were slow.
    pub slow: u64,
    /// How often it opened.
    pub opened: u64,
    /// The share of failures: over the window if a rate rule keeps one (while the breaker is not
    /// closed, what the rules saw last), else over all successes and
    /// failures; 0 if there were none.
    pub failure_rate: f64,
    /// The share of slow calls, over the same; calls under way that are slow already are among them.
    pub slow_call_rate: f64,
    /// From opening to closing again by itself, on average; none if it never did.
    pub mean_recovery_time: Option<Duration>,
    /// When the state last changed; none if it is still the first.
    pub state_since: Option<Time>,
}

/// The counters behind the metrics.
#[derive(Debug)]
#[repr(C)]
pub struct Counters {
    pub(super) admitted: AtomicU64,
    pub(super) successes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) slow: AtomicU64,
    pub(super) lost: AtomicU32,
    pub(super) opened: AtomicU32,
}

impl Counters {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            admitted: zero(),
            successes: zero(),
            failures: zero(),
            throttled: zero(),
            ignored: zero(),
            late: zero(),
            rejected: zero(),
            slow: zero(),
            lost: AtomicU32::new(0),
            opened: AtomicU32::new(0),
        }
    }

    /// The counted terms. `unseen` are probes lost without anybody having noticed; they are looked for
    /// after `lost` is read, so that none is counted twice.
    pub(super) fn snapshot(&self, unseen: impl FnOnce() -> u64) -> Metrics {
        // Acquire, against the Release of `count`: whoever sees a call settled sees it admitted.
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let lost = u64::from(self.lost.load(Ordering::Acquire));
        let mut terms = Metrics {
            successes: read(&self.successes),
            failures: read(&self.failures),
            throttled: read(&self.throttled),
            ignored: read(&self.ignored),
            late: read(&self.late),
            lost: lost + unseen(),
            rejected: read(&self.rejected),
            slow: read(&self.slow),
            opened: u64::from(self.opened.load(Ordering::Acquire)),
            ..Metrics::default()
        };
        let settled =
            terms.successes + terms.failures + terms.throttled + terms.ignored + terms.late + terms.lost;
        terms.in_flight = read(&self.admitted).saturating_sub(settled);
        terms.calls = settled + terms.in_flight + terms.rejected;
        terms
    }
}

/// Counts one more call.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    add_one(counter);
}

/// `part / whole`, and 0 of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

//! The frozen snapshot of a breaker's counts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;

use crate::base::Time;
use crate::policy::breaker::Metrics;
use crate::runtime::clock;

/// A breaker's counts at one instant. `calls = successes + failures + throttled + ignored + late + lost +
/// rejected + in_flight`: each call is in exactly one term.
#[pyclass(frozen, get_all, eq, module = "holdfast._native")]
#[derive(Debug, PartialEq)]
pub struct BreakerMetrics {
    /// Every call that came to the breaker.
    calls: u64,
    /// Calls that answered.
    successes: u64,
    /// Calls that failed, by the callee's fault.
    failures: u64,
    /// Calls that were asked to slow down.
    throttled: u64,
    /// Calls that say nothing about the callee: cancelled, or another's fault.
    ignored: u64,
    /// Calls that ended after the breaker had changed state.
    late: u64,
    /// Probes whose lease ran out.
    lost: u64,
    /// Calls that were refused.
    rejected: u64,
    /// Calls under way.
    in_flight: u64,
    /// Of the successes and failures, how many were slow.
    slow: u64,
    /// How often it opened.
    opened: u64,
    /// The share of failures, 0 to 1: of the window if a rate rule keeps one, else of all judged calls.
    failure_rate: f64,
    /// The share of slow calls, 0 to 1, over the same.
    slow_call_rate: f64,
    /// Seconds from opening to closing again by itself, on average; `None` if it never did.
    mean_recovery_time: Option<f64>,
    /// When the state last changed, as an aware `datetime` in UTC; before the first change, when it was made.
    state_since: SystemTime,
}

impl BreakerMetrics {
    /// What was counted, as of `now`, by a breaker made at `created`.
    pub fn new(m: &Metrics, created: Time, now: Time) -> Self {
        Self {
            calls: m.calls,
            successes: m.successes,
            failures: m.failures,
            throttled: m.throttled,
            ignored: m.ignored,
            late: m.late,
            lost: m.lost,
            rejected: m.rejected,
            in_flight: m.in_flight,
            slow: m.slow,
            opened: m.opened,
            failure_rate: m.failure_rate,
            slow_call_rate: m.slow_call_rate,
            mean_recovery_time: m.mean_recovery_time.map(|span| span.as_secs_f64()),
            state_since: on_the_wall(m.state_since.unwrap_or(created), now),
        }
    }
}

#[pymethods]
impl BreakerMetrics {
    fn __repr__(&self) -> String {
        let recovery = self.mean_recovery_time.map_or_else(|| "None".to_owned(), |s| format!("{s:.3}"));
        format!(
            "BreakerMetrics(calls={}, successes={}, failures={}, throttled={}, ignored={}, late={}, lost={}, \
             rejected={}, in_flight={}, slow={}, opened={}, failure_rate={:.3}, slow_call_rate={:.3}, \
             mean_recovery_time={recovery})",
            self.calls,
            self.successes,
            self.failures,
            self.throttled,
            self.ignored,
            self.late,
            self.lost,
            self.rejected,
            self.in_flight,
            self.slow,
            self.opened,
            self.failure_rate,
            self.slow_call_rate,
        )
    }
}

/// A past moment on the wall clock. Two looks at the same moment agree to the nanosecond, although the two
/// clocks are never read at once; only when the wall clock is set does the answer follow it.
fn on_the_wall(moment: Time, now: Time) -> SystemTime {
    /// Less than this between the two clocks is the reading, more is somebody who set the wall clock.
    const SLACK: i64 = 100_000_000;
    static ORIGIN: AtomicI64 = AtomicI64::new(i64::MIN);
    let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let nanos = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
    let seen = nanos(wall).saturating_sub(nanos(u128::from(now.as_nanos())));
    let known = ORIGIN.load(Ordering::Relaxed);
    let origin = if seen.abs_diff(known) < SLACK.unsigned_abs() { known } else { seen };
    ORIGIN.store(origin, Ordering::Relaxed);
    let since_epoch = origin.saturating_add(nanos(u128::from(moment.as_nanos())));
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(since_epoch).unwrap_or_default())
}

//! The rules: when a breaker that is closed must open (B10, B22, B23).
//!
//! All rules that are on are asked after every judged call, in this order; the first that says yes gives
//! the reason:
//!
//! 1. `consecutive_failures`: the last `failure_threshold` calls all failed;
//! 2. `failure_rate`: failures ÷ calls in the window **≥** the rate;
//! 3. `slow_call_rate`: (slow calls + calls under way that are slow already) ÷ (calls + the same) **≥** the
//!    rate.
//!
//! A rate is judged from the moment its divisor reaches `minimum_calls`, at that very call. So a success
//! can trip a rate too, when it is the one that completes the number. An admission asks the rules only if
//! calls under way are slow already: nothing else is new.

use std::time::Duration;

use super::config::{BreakerConfig, WindowKind};
use super::metrics::share;
use super::state::Reason;
use crate::base::Time;
use crate::window::{Count, Era, InFlight, Mark, Tagged, Tally, Timed, Window};

/// What the rate rules remember. It exists only if such a rule is on.
#[derive(Debug)]
pub struct Memory {
    pub(super) window: Window,
    pub(super) in_flight: Option<InFlight>,
}

impl Memory {
    /// The memory that these rules need: none for consecutive failures alone.
    #[must_use]
    pub fn for_rules(config: &BreakerConfig) -> Option<Box<Self>> {
        if !config.judges_rates() {
            return None;
        }
        let window = match config.window {
            WindowKind::Time(window) => Window::Timed(Timed::new(window)),
            WindowKind::Count(calls) => Window::Count(Count::new(calls)),
        };
        let limit = config.slow_call_rate.and(config.slow_call);
        Some(Box::new(Self { window, in_flight: limit.map(InFlight::new) }))
    }

    /// Calls of `era` under way that are slow already.
    #[inline]
    pub(super) fn stuck(&self, era: Era, now: Time) -> u64 {
        self.in_flight.as_ref().map_or(0, |calls| calls.older(era, now))
    }

    /// Follows a call from now on, if calls are followed; false if it is not.
    #[inline]
    pub(super) fn enter(&self, era: Era, now: Time) -> bool {
        self.in_flight.as_ref().is_some_and(|calls| calls.enter(era, now))
    }

    /// Stops following a call.
    #[inline]
    pub(super) fn leave(&self, era: Era, start: Time) {
        if let Some(calls) = &self.in_flight {
            calls.leave(era, start);
        }
    }

    /// The window, with the calls that are stuck.
    pub(super) fn rates(&self, era: Era, now: Time) -> (Tally, u64) {
        (self.window.tally(era, now), self.stuck(era, now))
    }

    fn judge(&self, era: Era, now: Time, config: &BreakerConfig) -> Option<Reason> {
        let (tally, stuck) = self.rates(era, now);
        let minimum = u64::from(config.minimum_calls);
        let reaches = |rate: Option<f64>, part: u64, whole: u64| {
            rate.is_some_and(|rate| whole >= minimum && share(part, whole) >= rate)
        };
        if reaches(config.failure_rate, tally.failures, tally.calls) {
            Some(Reason::FailureRate)
        } else if reaches(config.slow_call_rate, tally.slow + stuck, tally.calls + stuck) {
            Some(Reason::SlowCallRate)
        } else {
            None
        }
    }
}

/// What the rules say of `era` at `now`, if one of them says that it must open.
pub(super) fn judge(
    streak: &Tagged,
    memory: Option<&Memory>,
    era: Era,
    now: Time,
    config: &BreakerConfig,
) -> Option<Reason> {
    match config.failure_threshold {
        Some(threshold) if streak.get(era) >= u64::from(threshold) => Some(Reason::ConsecutiveFailures),
        _ => memory.and_then(|memory| memory.judge(era, now, config)),
    }
}

/// Remembers one judged call.
#[inline]
pub(super) fn remember(streak: &Tagged, memory: Option<&Memory>, era: Era, now: Time, mark: Mark) {
    if mark.failed {
        streak.update(era, |n| (n + 1).min(u64::from(u32::MAX)));
    } else if streak.get(era) != 0 {
        streak.update(era, |_| 0);
    }
    if let Some(memory) = memory {
        memory.window.record(era, now, mark);
    }
}

/// Does judging calls by these rules take the time?
pub(super) fn needs_now(config: &BreakerConfig) -> bool {
    least_span(config).is_some()
}

/// Is a time that lags by a few milliseconds good enough for these rules?
pub(super) fn bears_lag(config: &BreakerConfig) -> bool {
    least_span(config).is_none_or(|span| span >= LAG_BEARABLE)
}

/// From this span on a lag of some milliseconds is less than a hundredth.
const LAG_BEARABLE: Duration = Duration::from_secs(1);

/// The shortest span that these rules measure: the limit for slow calls, or the window's; none if they
/// measure none.
fn least_span(config: &BreakerConfig) -> Option<Duration> {
    let slow = config.slow_call.filter(|limit| *limit > Duration::ZERO);
    let window = match config.window {
        WindowKind::Time(window) if config.judges_rates() => Some(window),
        WindowKind::Time(_) | WindowKind::Count(_) => None,
    };
    [slow, window].into_iter().flatten().min()
}

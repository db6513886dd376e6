//! The right to make one attempt, given back exactly once.

use std::time::Duration;

use super::lease::Lease;
use super::word::Word;
use crate::base::Time;
use crate::window::Era;

/// One admission. It can be neither copied nor made: [`settle`](super::Breaker::settle) takes it back by
/// value, so that no attempt is counted twice.
#[derive(Debug)]
#[must_use = "an admitted call must be settled, or it stays in flight for ever"]
pub struct Permit {
    /// When it was admitted, if the breaker asked for the time.
    pub(super) admitted_at: Time,
    pub(super) lease: Option<Lease>,
    /// Mode and era at admission.
    pub(super) stamp: u32,
    pub(super) pace: Pace,
    /// It is followed by the in-flight memory.
    pub(super) followed: bool,
}

/// What is known of a call's speed while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nothing: it is judged when it ends.
    Unknown,
    /// Its first item came in time.
    Quick,
    /// Its first item came late.
    Slow,
}

impl Permit {
    #[inline]
    pub(super) const fn new(word: Word, now: Time) -> Self {
        Self { admitted_at: now, lease: None, stamp: word.stamp(), pace: Pace::Unknown, followed: false }
    }

    /// The era it was admitted in.
    #[must_use]
    pub const fn era(&self) -> Era {
        Word::era_of(self.stamp)
    }

    /// It counts as slow however it is judged: its answer came after its deadline.
    pub const fn mark_late(&mut self) {
        self.pace = Pace::Slow;
    }

    /// Is it a half-open breaker's probe?
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.lease.is_some()
    }

    /// Is a call slow that ends, or brings its first item, at `now`?
    #[inline]
    pub(super) fn is_slow(&self, now: Time, limit: Option<Duration>) -> bool {
        match (limit, self.pace) {
            (_, Pace::Slow) => true,
            (None, _) | (_, Pace::Quick) => false,
            (Some(limit), Pace::Unknown) => {
                // As `now.since(admitted_at) >= limit`, without making a `Duration`.
                let nanos = u64::from(limit.subsec_nanos());
                let limit = limit.as_secs().saturating_mul(1_000_000_000).saturating_add(nanos);
                now.as_nanos().saturating_sub(self.admitted_at.as_nanos()) >= limit
            }
        }
    }
}

//! Memory of recent outcomes: what the rate rules of a breaker are judged on.
//!
//! Why it exists: a rate needs a past, and the past must cost little. Three memories, each a fixed block
//! of atomics, each O(1) to write and free of locks:
//!
//! | memory | remembers | forgets |
//! |---|---|---|
//! | [`Timed`] | outcomes of the last `window` seconds, in 16 buckets | by the clock |
//! | [`Count`] | exactly the last N outcomes | by the next outcome |
//! | [`InFlight`] | how many calls under way are older than a limit (B22) | when they end |
//!
//! Nothing here is ever cleared. Every word carries the [`Era`] it was written in, and a word of another
//! era reads as empty: a new era starts with an empty memory at once, for all threads, without a sweep
//! that could race with a writer. The same tag keeps a straggler of an old era from writing into the new
//! one.
//!
//! What it does not do: decide anything, or read a clock.

pub mod count;
mod divisor;
pub mod era;
pub mod ewma;
pub mod in_flight;
pub mod timed;

#[cfg(all(test, not(loom)))]
mod tests;

pub use count::Count;
pub use era::{Era, Tagged};
pub use ewma::Ewma;
pub use in_flight::InFlight;
pub use timed::Timed;

use crate::base::Time;

/// What a window holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were judged.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow, failed or not.
    pub slow: u64,
}

/// One judged call, as a window remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// It failed.
    pub failed: bool,
    /// It was slow.
    pub slow: bool,
}

/// A window of either kind.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in a box of its own, and a second one would cost a second miss"
)]
pub enum Window {
    /// Over the last seconds.
    Timed(Timed),
    /// Over the last calls.
    Count(Count),
}

impl Window {
    /// Remembers one judged call that ended at `now`.
    #[inline]
    pub fn record(&self, era: Era, now: Time, mark: Mark) {
        match self {
            Self::Timed(timed) => timed.record(era, now, mark),
            Self::Count(count) => count.record(era, mark),
        }
    }

    /// What it holds of `era` at `now`.
    #[must_use]
    pub fn tally(&self, era: Era, now: Time) -> Tally {
        match self {
            Self::Timed(timed) => timed.tally(era, now),
            Self::Count(count) => count.tally(era),
        }
    }

    /// Remembers one call that ended well at `now`, unless a failure or a slow call is remembered: then it says
    /// false, and whoever looks at the rates remembers it.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call costs as much")]
    pub fn record_good(&self, era: Era, now: Time) -> bool {
        match self {
            Self::Timed(timed) => timed.record_good(era, now),
            Self::Count(count) => {
                let good = !count.any_bad(era);
                if good {
                    count.record(era, Mark::default());
                }
                good
            }
        }
    }
}

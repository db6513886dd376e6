//! Exactly the last N outcomes.
//!
//! A cursor deals out places in a ring, a writer swaps its mark into its place and books the difference
//! to what was there before. So the totals are always the sum of the marks, however many threads write,
//! and reading them costs O(1).

use super::{Era, Mark, Tagged, Tally};
use crate::base::sync::{AtomicU32, Ordering::Relaxed};

const FAILED: u32 = 1;
const SLOW: u32 = 2;
const PRESENT: u32 = 4;
const MARK_BITS: u32 = 3;
/// Failures stand above the slow calls in the totals.
const TOTAL_BITS: u32 = 20;

/// A ring of the last outcomes: four bytes for each.
#[derive(Debug)]
pub struct Count {
    /// Outcomes recorded in this era.
    cursor: Tagged,
    /// `failures:20 | slow:20`, of the marks in the ring.
    totals: Tagged,
    /// `era:21 | present, slow, failed`.
    marks: Box<[AtomicU32]>,
}

impl Count {
    /// The most outcomes a ring can hold.
    pub const MAX: u32 = 65_536;

    /// An empty memory of the last `calls` outcomes, 1 to [`Count::MAX`].
    #[must_use]
    pub fn new(calls: u32) -> Self {
        let calls = calls.clamp(1, Self::MAX);
        Self {
            cursor: Tagged::new(),
            totals: Tagged::new(),
            marks: (0..calls).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Remembers one judged call.
    pub fn record(&self, era: Era, mark: Mark) {
        let Some(ticket) = self.cursor.update(era, |n| n + 1) else { return };
        #[expect(clippy::cast_possible_truncation, reason = "below the ring's length")]
        let place = (ticket % self.marks.len() as u64) as usize;
        let new = pack(era, mark);
        let mut old = self.marks[place].load(Relaxed);
        loop {
            if Era::new(old >> MARK_BITS).is_after(era) {
                return;
            }
            match self.marks[place].compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(seen) => old = seen,
            }
        }
        let gone = if Era::new(old >> MARK_BITS) == era { weight(old) } else { 0 };
        if gone != weight(new) {
            // Between two writers of one place the difference may arrive before what it is taken from:
            // for that moment the total wraps below zero, and `tally` reads it as zero.
            self.totals.update(era, |sum| sum.wrapping_add(weight(new)).wrapping_sub(gone));
        }
    }

    /// What it holds of `era`.
    #[must_use]
    pub fn tally(&self, era: Era) -> Tally {
        let capacity = self.marks.len() as u64;
        let sum = self.totals.get(era);
        let sound = |n: u64| if n > capacity { 0 } else { n };
        Tally {
            calls: self.cursor.get(era).min(capacity),
            failures: sound(sum >> TOTAL_BITS),
            slow: sound(sum & ((1 << TOTAL_BITS) - 1)),
        }
    }

    /// Is a failure or a slow call among them?
    #[must_use]
    #[inline]
    pub fn any_bad(&self, era: Era) -> bool {
        self.totals.get(era) != 0
    }
}

fn pack(era: Era, mark: Mark) -> u32 {
    let flag = |yes: bool, bit: u32| if yes { bit } else { 0 };
    era.number() << MARK_BITS | PRESENT | flag(mark.failed, FAILED) | flag(mark.slow, SLOW)
}

/// What a mark adds to the totals.
fn weight(mark: u32) -> u64 {
    u64::from(mark & FAILED) << TOTAL_BITS | u64::from((mark & SLOW) / SLOW)
}

//! Outcomes of the last seconds, in a ring of rolling buckets.
//!
//! A bucket has three counters: calls, failures, slow calls. Each is one word `lap:36 | count:28`, where
//! the lap says which turn of the ring it counts for: a counter of another lap reads as zero and is taken
//! over by the next writer. Nobody sweeps, so an idle gap of any length costs nothing (B11).
//!
//! The era is folded into the lap: each era shifts the ring by one whole turn, which puts everything
//! written before it out of the window. Laps repeat after 2^36 windows (for a window of one second,
//! two thousand years); a counter holds 2^28 calls and stays there.

use std::array;
use std::time::Duration;

use super::divisor::Divisor;
use super::{Era, Mark, Tally};
use crate::base::Time;
use crate::base::sync::{AtomicU64, Ordering::Relaxed, replace};

/// Buckets of a ring. Sixteen bound the error of the window's edge to a sixteenth of it.
pub const BUCKETS: u64 = RING as u64;

const RING: usize = 16;

const COUNT_BITS: u32 = 28;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const LAP_MAX: u64 = (1 << (u64::BITS - COUNT_BITS)) - 1;
/// A counter ahead of its writer by no more than this was rolled by a faster thread; one that seems
/// further ahead is old, seen across a wrap (of the era: 2^21 laps back). Across that wrap, once in two
/// million eras, a straggler could empty a bucket.
const RACE: u64 = 1 << 20;

/// The rolling buckets. They cover the current one and the fifteen before it: never more than the window,
/// and at least fifteen sixteenths of it.
#[derive(Debug)]
#[repr(C)]
pub struct Timed {
    width: Divisor,
    /// One more than the place of the last bad call; 0: none yet.
    last_bad: AtomicU64,
    buckets: [Bucket; RING],
}

#[derive(Debug)]
#[repr(C)]
struct Bucket {
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

impl Timed {
    /// An empty memory of the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let zero = || AtomicU64::new(0);
        Self {
            width: Divisor::new(nanos / BUCKETS),
            last_bad: zero(),
            buckets: array::from_fn(|_| Bucket { calls: zero(), failures: zero(), slow: zero() }),
        }
    }

    /// Remembers one judged call that ended at `now`.
    #[inline]
    pub fn record(&self, era: Era, now: Time, mark: Mark) {
        let place = self.place(era, now);
        let (bucket, lap) = self.at(place);
        if mark.failed {
            add(&bucket.failures, lap);
        }
        if mark.slow {
            add(&bucket.slow, lap);
        }
        if mark.failed || mark.slow {
            self.last_bad.store(place + 1, Relaxed);
        }
        add(&bucket.calls, lap);
    }

    /// What was recorded in `era` and is not yet forgotten at `now`.
    #[must_use]
    pub fn tally(&self, era: Era, now: Time) -> Tally {
        let place = self.place(era, now);
        let mut tally = Tally::default();
        for back in 0..BUCKETS.min(place + 1) {
            let (bucket, lap) = self.at(place - back);
            tally.calls += read(&bucket.calls, lap);
            tally.failures += read(&bucket.failures, lap);
            tally.slow += read(&bucket.slow, lap);
        }
        tally
    }

    /// Is a failure or a slow call among them?
    #[must_use]
    pub fn any_bad(&self, era: Era, now: Time) -> bool {
        self.has_bad(self.place(era, now))
    }

    /// Remembers one good call that ended at `now`, unless [`any_bad`](Timed::any_bad) is remembered; whether it did.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call costs as much")]
    pub fn record_good(&self, era: Era, now: Time) -> bool {
        let place = self.place(era, now);
        if self.has_bad(place) {
            return false;
        }
        let (bucket, lap) = self.at(place);
        add(&bucket.calls, lap);
        true
    }

    #[inline]
    fn has_bad(&self, place: u64) -> bool {
        let last = self.last_bad.load(Relaxed);
        last != 0 && (place + 1).wrapping_sub(last) < BUCKETS
    }

    /// The number of the bucket that `now` falls in, had there been one ring turn per era on top.
    #[inline]
    fn place(&self, era: Era, now: Time) -> u64 {
        self.width.of(now.as_nanos()) + BUCKETS * u64::from(era.number())
    }

    #[inline]
    fn at(&self, place: u64) -> (&Bucket, u64) {
        (&self.buckets[(place % BUCKETS) as usize], (place / BUCKETS) & LAP_MAX)
    }
}

fn read(counter: &AtomicU64, lap: u64) -> u64 {
    let word = counter.load(Relaxed);
    if word >> COUNT_BITS == lap { word & COUNT_MAX } else { 0 }
}

#[inline]
pub(super) fn add(counter: &AtomicU64, lap: u64) {
    let mut word = counter.load(Relaxed);
    loop {
        let ahead = (word >> COUNT_BITS).wrapping_sub(lap) & LAP_MAX;
        let new = match ahead {
            0 if word & COUNT_MAX == COUNT_MAX => return,
            0 => word + 1,
            1..=RACE => return,
            _ => lap << COUNT_BITS | 1,
        };
        match replace(counter, word, new) {
            Ok(()) => return,
            Err(seen) => word = seen,
        }
    }
}

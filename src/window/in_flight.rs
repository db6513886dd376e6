//! How many calls under way are older than a limit, in fixed memory (B22).
//!
//! Starts are counted in a ring of sixteen buckets, each a fourteenth of the limit wide: when the ring
//! comes round to a bucket again, whatever is still in it is older than the limit and joins `old`. A call
//! that ends leaves its bucket, or `old` if the bucket has moved on. A bucket also knows its latest
//! start, so that calls started together are seen as old the moment they are.

use std::array;
use std::time::Duration;

use super::divisor::Divisor;
use super::{Era, Tagged};
use crate::base::Time;
use crate::base::sync::{AtomicU64, Ordering, fence, replace};

const BUCKETS: usize = 16;
/// Two fewer than the buckets: the current one, and one more so that a bucket is surely old when reused.
const PER_LIMIT: u64 = 14;

const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const TICK_BITS: u32 = u64::BITS - Era::BITS - COUNT_BITS;
const TICK_MAX: u64 = (1 << TICK_BITS) - 1;

/// The starts of calls under way.
#[derive(Debug)]
#[repr(C)]
pub struct InFlight {
    limit: u64,
    width: Divisor,
    /// Calls older than the whole ring; below zero for a moment when a call leaves while its bucket is
    /// being moved here.
    old: Tagged,
    /// Before this moment nobody is older than the limit, so nobody need be looked for; 0: not known.
    quiet_until: AtomicU64,
    starts: [Starts; BUCKETS],
}

#[derive(Debug)]
#[repr(C)]
struct Starts {
    /// `era:21 | tick:23 | count:20`. Ticks repeat after 2^23 (three weeks, for a limit of three seconds):
    /// calls stuck for exactly that long would pass for young for one more limit.
    count: AtomicU64,
    latest: AtomicU64,
}

/// What a bucket's counter says.
#[derive(Clone, Copy)]
struct Held {
    era: Era,
    tick: u64,
    count: u64,
}

impl InFlight {
    /// Nobody under way yet; calls count as old when they have lasted for `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        let starts = || Starts { count: AtomicU64::new(0), latest: AtomicU64::new(0) };
        Self {
            limit,
            width: Divisor::new(limit.div_ceil(PER_LIMIT)),
            old: Tagged::new(),
            quiet_until: AtomicU64::new(0),
            starts: array::from_fn(|_| starts()),
        }
    }

    /// A call starts. False if it cannot be followed (a straggler of an earlier era, or a million starts
    /// in one bucket): then it must not [`leave`](Self::leave).
    #[must_use]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call costs as much")]
    pub fn enter(&self, era: Era, start: Time) -> bool {
        let (bucket, tick) = self.at(start);
        if bucket.latest.load(Ordering::Relaxed) < start.as_nanos() {
            bucket.latest.fetch_max(start.as_nanos(), Ordering::Relaxed);
        }
        let due = start.as_nanos().saturating_add(self.limit);
        if due < self.quiet_until.load(Ordering::Relaxed) {
            self.quiet_until.fetch_min(due, Ordering::Relaxed);
        }
        let mut word = bucket.count.load(Ordering::Acquire);
        loop {
            let held = Held::unpack(word);
            // Mostly somebody is there, or was there just now.
            if held.is_of(era, tick) && held.count < COUNT_MAX {
                match replace(&bucket.count, word, word + 1) {
                    Ok(()) => return true,
                    Err(seen) => word = seen,
                }
                continue;
            }
            let (count, moved) = if held.count == 0 || era.is_after(held.era) {
                (1, 0)
            } else if held.era != era || held.tick == tick {
                return false;
            } else if self.tick(bucket.latest.load(Ordering::Relaxed)) > self.tick(start.as_nanos()) {
                // Others have come a whole ring later: by their clock this call is old already.
                return self.shift(era, 1);
            } else {
                (1, held.count)
            };
            // Who sees the count sees the latest start too.
            let new = Held { era, tick, count }.pack();
            match replace(&bucket.count, word, new) {
                Ok(()) => return moved == 0 || self.shift(era, moved),
                Err(seen) => word = seen,
            }
        }
    }

    /// A call that started at `start` in `era` has ended.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call costs as much")]
    pub fn leave(&self, era: Era, start: Time) {
        let (bucket, tick) = self.at(start);
        let mut word = bucket.count.load(Ordering::Relaxed);
        loop {
            let held = Held::unpack(word);
            if !held.is_of(era, tick) {
                self.shift(era, u64::MAX);
                return;
            }
            match replace(&bucket.count, word, word - held.count.min(1)) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// How many calls of `era` have been under way for the limit or longer at `now`.
    #[must_use]
    #[inline]
    pub fn older(&self, era: Era, now: Time) -> u64 {
        if now.as_nanos() < self.quiet_until.load(Ordering::Relaxed) { 0 } else { self.look(era, now) }
    }

    /// The same by looking at every bucket. If nobody is older, of whichever era, it says how long that holds:
    /// until the first bucket is due, or a call that starts only now. A call that starts on another thread
    /// during the look may so be seen as old by that much later.
    fn look(&self, era: Era, now: Time) -> u64 {
        let mut sum = self.old.get(era);
        if sum > Tagged::MAX / 2 {
            sum = 0; // below zero for a moment
        }
        let mut quiet = now.as_nanos().saturating_add(self.limit);
        let mut anybody = self.old.get(self.old.era()) != 0;
        for bucket in &self.starts {
            let held = Held::unpack(bucket.count.load(Ordering::Acquire));
            if held.count == 0 {
                continue;
            }
            let latest = bucket.latest.load(Ordering::Relaxed);
            quiet = quiet.min(latest.saturating_add(self.limit));
            if now.as_nanos().saturating_sub(latest) >= self.limit {
                anybody = true;
                sum += if held.era == era { held.count } else { 0 };
            }
        }
        self.quiet_until.store(if anybody { 0 } else { quiet }, Ordering::Relaxed);
        if !anybody {
            // Calls that were on their way from a bucket to `old` were in neither. Who moved them says so after
            // `old` has them: either that is seen here, or what was just written is written over there.
            fence(Ordering::SeqCst);
            if self.old.get(self.old.era()) != 0 {
                self.quiet_until.store(0, Ordering::Relaxed);
            }
        }
        sum
    }

    #[cold]
    fn shift(&self, era: Era, by: u64) -> bool {
        let followed = self.old.update(era, |n| n.wrapping_add(by)).is_some();
        fence(Ordering::SeqCst);
        self.quiet_until.store(0, Ordering::Relaxed);
        followed
    }

    #[inline]
    fn tick(&self, nanos: u64) -> u64 {
        self.width.of(nanos)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below BUCKETS")]
    fn at(&self, start: Time) -> (&Starts, u64) {
        let tick = self.tick(start.as_nanos());
        (&self.starts[(tick % BUCKETS as u64) as usize], tick & TICK_MAX)
    }
}

impl Held {
    const fn unpack(word: u64) -> Self {
        Self {
            era: Era::new((word >> (TICK_BITS + COUNT_BITS)) as u32),
            tick: (word >> COUNT_BITS) & TICK_MAX,
            count: word & COUNT_MAX,
        }
    }

    #[inline]
    const fn is_of(self, era: Era, tick: u64) -> bool {
        self.era.number() == era.number() && self.tick == tick
    }

    fn pack(self) -> u64 {
        u64::from(self.era.number()) << (TICK_BITS + COUNT_BITS) | self.tick << COUNT_BITS | self.count
    }
}

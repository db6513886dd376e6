//! The atomics of one breaker, and the machine applied to them by compare-and-swap.
//!
//! The whole mutable state is one fixed-size block without a pointer: it could as well lie in memory
//! shared between processes, or be stepped by a simulator. Only the memory of the rate rules is beside it.
//!
//! The word decides. Everything else here is a consequence that the winner of a compare-and-swap writes
//! down just after it; a reader that comes in between sees the new word with the old consequence, which
//! the comment at each of them shows to be harmless.

use std::time::Duration;

use super::config::BreakerConfig;
use super::lease::Leases;
use super::metrics::Counters;
use super::state::{Effect, Input, RECOVERED, Reason, is_judged, next};
use super::word::{State, Word};
use crate::base::sync::{AtomicU32, AtomicU64, Ordering};
use crate::base::{Dice, Time};
use crate::window::{Era, Tagged};

/// A moment that has not been.
const NEVER: u64 = u64::MAX;

/// The block.
#[derive(Debug)]
#[repr(C)]
pub struct Cell {
    word: AtomicU64,
    /// The exact end of the open time, in nanoseconds; the word has only its milliseconds. It counts only
    /// if it agrees with the word: see [`Cell::ends`].
    ends: AtomicU64,
    pub(super) counters: Counters,
    /// Failures in a row. Its own era is the one that was judged last.
    pub(super) streak: Tagged,
    /// When the state last changed. A late reader gets the change before.
    since: AtomicU64,
    /// When it opened, while it has not closed again. A late reader misses one recovery in the mean.
    down_since: AtomicU64,
    recovery_nanos: AtomicU64,
    recoveries: AtomicU32,
    /// The level of growth of the open time. It is written when it opens and read when it opens next,
    /// which is at least one open time later.
    level: AtomicU32,
    pub(super) leases: Leases,
}

impl Cell {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::START.bits()),
            ends: AtomicU64::new(0),
            counters: Counters::new(),
            streak: Tagged::new(),
            since: AtomicU64::new(NEVER),
            down_since: AtomicU64::new(NEVER),
            recovery_nanos: AtomicU64::new(0),
            recoveries: AtomicU32::new(0),
            level: AtomicU32::new(0),
            leases: Leases::new(),
        }
    }

    /// The state word.
    #[inline]
    pub(super) fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// The exact end of an open word. Until the winner has written it down, and after that for a word
    /// cut off at its greatest payload, it is the next whole millisecond: never too early.
    pub(super) fn ends(&self, word: Word) -> Time {
        let exact = Time::from_nanos(self.ends.load(Ordering::Acquire));
        if exact.as_millis() == word.payload() { exact } else { Time::from_millis(word.payload() + 1) }
    }

    /// The era that the rules look at, or that they looked at last.
    pub(super) fn judged_era(&self, now: Time) -> Era {
        let word = self.word();
        if is_judged(word, now) { word.era() } else { self.streak.era() }
    }

    /// The level of growth in force.
    pub(super) fn level(&self) -> u32 {
        self.level.load(Ordering::Acquire)
    }

    /// Forgets the growth.
    pub(super) fn flatten(&self) {
        self.level.store(0, Ordering::Release);
    }

    /// Applies an input, which may depend on the word it meets, and returns what came of it: to exactly
    /// one of those who try, however many do.
    pub(super) fn apply(
        &self,
        input: impl Fn(Word) -> Input,
        now: Time,
        dice: &mut dyn Dice,
        config: &BreakerConfig,
    ) -> Effect {
        let mut word = self.word();
        loop {
            let (new, effect) = next(word, input(word), now, dice, config);
            if new == word {
                return effect;
            }
            match self.word.compare_exchange_weak(
                word.bits(),
                new.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.write_down(word, new, effect, now);
                    return effect;
                }
                Err(seen) => word = Word::from_bits(seen),
            }
        }
    }

    fn write_down(&self, old: Word, new: Word, effect: Effect, now: Time) {
        if matches!(old.mode(), State::Closed | State::Shadow) {
            self.streak.update(old.era(), |n| n);
        }
        if old.mode() != new.mode() {
            self.since.store(now.as_nanos(), Ordering::Release);
        }
        match effect {
            Effect::Opened { reason, ends, level, .. } => {
                self.counters.opened.fetch_add(1, Ordering::Relaxed);
                if reason != Reason::Forced {
                    self.ends.store(ends.as_nanos(), Ordering::Release);
                    self.level.store(level, Ordering::Release);
                }
                if !old.mode().refuses() {
                    self.down_since.store(now.as_nanos(), Ordering::Release);
                }
            }
            Effect::Extended { ends } => self.ends.store(ends.as_nanos(), Ordering::Release),
            Effect::Closed { reason } => self.come_back(reason == RECOVERED, now),
            Effect::None | Effect::HalfOpened | Effect::WouldOpen { .. } => {}
        }
    }

    fn come_back(&self, by_itself: bool, now: Time) {
        let down = self.down_since.swap(NEVER, Ordering::AcqRel);
        if by_itself && down != NEVER {
            self.recovery_nanos.fetch_add(now.as_nanos().saturating_sub(down), Ordering::Relaxed);
            self.recoveries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Mean time from opening to closing by itself, and when the state last changed.
    pub(super) fn history(&self) -> (Option<Duration>, Option<Time>) {
        let times = self.recoveries.load(Ordering::Acquire);
        let nanos = self.recovery_nanos.load(Ordering::Acquire);
        let mean = (times > 0).then(|| Duration::from_nanos(nanos / u64::from(times.max(1))));
        let since = self.since.load(Ordering::Acquire);
        (mean, (since != NEVER).then(|| Time::from_nanos(since)))
    }
}

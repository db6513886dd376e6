//! One stretch of a breaker's life between two changes of state, and counters that know theirs.

use crate::base::sync::{AtomicU64, Ordering::Relaxed, replace};

/// The number of a stretch of life. It wraps after two million: a straggler that old is not to be expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Era(u32);

impl Era {
    /// How many bits of a word it takes.
    pub const BITS: u32 = 21;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// The era of this number, modulo the wrap.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number & Self::MASK)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0.wrapping_add(1))
    }

    /// Did it begin after `other`? Across the wrap the nearer way round counts.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0) & Self::MASK;
        ahead != 0 && ahead <= Self::MASK / 2
    }
}

/// A number that belongs to one era and reads as zero in every other.
///
/// `era:21 | value:43` in one atomic word.
#[derive(Debug)]
pub struct Tagged(AtomicU64);

impl Tagged {
    /// How many bits the value has.
    pub const BITS: u32 = u64::BITS - Era::BITS;
    /// The greatest value.
    pub const MAX: u64 = (1 << Self::BITS) - 1;

    /// Zero, in the first era.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Its value in `era`.
    #[must_use]
    #[inline]
    pub fn get(&self, era: Era) -> u64 {
        let (of, value) = split(self.0.load(Relaxed));
        if of == era { value } else { 0 }
    }

    /// The era it was last written in.
    #[must_use]
    pub fn era(&self) -> Era {
        split(self.0.load(Relaxed)).0
    }

    /// Replaces its value `v` in `era` by `f(v)`, taken modulo 2^43, and returns `v`.
    /// In a later era than the word's own it starts from zero; from an earlier one it is left alone: none.
    #[inline]
    pub fn update(&self, era: Era, f: impl Fn(u64) -> u64) -> Option<u64> {
        let mut word = self.0.load(Relaxed);
        loop {
            let (of, value) = split(word);
            if of.is_after(era) {
                return None;
            }
            let value = if of == era { value } else { 0 };
            let new = u64::from(era.number()) << Self::BITS | f(value) & Self::MAX;
            match replace(&self.0, word, new) {
                Ok(()) => return Some(value),
                Err(seen) => word = seen,
            }
        }
    }
}

impl Default for Tagged {
    fn default() -> Self {
        Self::new()
    }
}

const fn split(word: u64) -> (Era, u64) {
    (Era::new((word >> Tagged::BITS) as u32), word & Tagged::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The order of eras survives the wrap.
    #[test]
    fn eras_are_ordered_across_the_wrap() {
        let last = Era::new(u32::MAX);
        assert_eq!(last.next(), Era::new(0));
        assert!(last.next().is_after(last) && !last.is_after(last.next()));
        assert!(!last.is_after(last));
    }

    /// A tagged number reads as zero in every era but its own, and a straggler cannot write to it.
    #[test]
    fn a_tagged_number_belongs_to_one_era() {
        let (one, two) = (Era::new(1), Era::new(2));
        let n = Tagged::new();
        assert_eq!(n.update(one, |v| v + 5), Some(0));
        assert_eq!((n.get(one), n.get(two)), (5, 0));
        assert_eq!(n.update(two, |v| v + 1), Some(0));
        assert_eq!(n.update(one, |v| v + 1), None);
        assert_eq!((n.get(one), n.get(two)), (0, 1));
    }
}

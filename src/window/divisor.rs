//! Division by a number that is known beforehand, as a multiplication: a division takes as long as all the rest
//! of what a window does for a call.
//!
//! (T. Granlund and P. L. Montgomery: Division by Invariant Integers using Multiplication, PLDI 1994.)

/// What is divided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divisor {
    by: u64,
    /// `2^shift / by`, rounded up.
    factor: u64,
    shift: u32,
}

impl Divisor {
    /// By `by`, at least 1.
    pub(super) fn new(by: u64) -> Self {
        let by = by.max(1);
        let shift = 63 + (u64::BITS - (by - 1).leading_zeros());
        // From 2^63 to below 2^64, for `by` is above half of 2^(shift - 63) and not above the whole.
        let factor = u64::try_from((1_u128 << shift).div_ceil(u128::from(by))).unwrap_or(u64::MAX);
        Self { by, factor, shift }
    }

    /// How often it goes into `n`.
    ///
    /// `factor * by` is above `2^shift` by less than `by`, so that for an `n` below 2^63 the product is above the
    /// true quotient by less than `1 / by`: too little to reach the next whole number.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a quotient is not above what is divided")]
    pub(super) fn of(self, n: u64) -> u64 {
        if n >> 63 != 0 {
            return n / self.by;
        }
        ((u128::from(n) * u128::from(self.factor)) >> self.shift) as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::{Dice as _, SplitMix};

    /// It agrees with the division, around each multiple, at both ends, and for any numbers.
    #[test]
    fn it_divides() {
        let mut dice = SplitMix::new(1);
        for round in 0..20_000 {
            let by = (dice.roll() >> (dice.roll() % 64)).max(1);
            let by = if round % 3 == 0 { by.checked_next_power_of_two().unwrap_or(by) } else { by };
            let divisor = Divisor::new(by);
            let near = (dice.roll() / by).saturating_mul(by);
            let most = (u64::MAX >> 1) / by * by;
            for n in [near, most, dice.roll() >> (dice.roll() % 64), 0, by, u64::MAX, u64::MAX >> 1] {
                for n in [n.saturating_sub(1), n, n.saturating_add(1)] {
                    assert_eq!(divisor.of(n), n / by, "{n} / {by}");
                }
            }
        }
    }
}

//! How important a call is: under pressure the least important ones are shed first.
//!
//! Three levels are enough to say what matters (criticality, as in B. Beyer et al., "Site Reliability
//! Engineering", chapter 21). Low ones are shed early: a part of every limit is kept for the others, so that the
//! core keeps running however many of the low ones there are. Where there is a line the more important stand
//! before the less important, and push the last of these out when it is full.

/// How important a call is. Ordered: what is less is shed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// It can wait, or be left out: a batch, a prefetch.
    Low,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// Somebody waits for it.
    High,
}

/// One part in so many of a limit is kept from calls of low priority.
const KEPT: u32 = 5;

impl Priority {
    /// The level called `name`: "low", "normal" or "high".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "low" => Some(Self::Low),
            "normal" => Some(Self::Normal),
            "high" => Some(Self::High),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// How many of `limit` slots may be in use with one more of these: at least one.
    #[must_use]
    #[inline]
    pub const fn share(self, limit: u32) -> u32 {
        match self {
            Self::Low => limit - limit / KEPT,
            Self::Normal | Self::High => limit,
        }
    }

    /// How much of a rate's `tolerance` is kept from a call of this `weight`, which must be able to pass after
    /// a rest.
    #[must_use]
    #[inline]
    pub fn kept(self, tolerance: u64, weight: u64) -> u64 {
        match self {
            Self::Low => (tolerance / u64::from(KEPT)).min(tolerance.saturating_sub(weight)),
            Self::Normal | Self::High => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_kept_from_the_low_ones_but_never_all() {
        let low = |limit| Priority::Low.share(limit);
        assert_eq!([1, 2, 4, 5, 8, 10].map(low), [1, 2, 4, 4, 7, 8]);
        assert_eq!([1, 5, 10].map(|limit| Priority::Normal.share(limit)), [1, 5, 10]);
        assert_eq!((Priority::Low.kept(100, 10), Priority::Low.kept(100, 95)), (20, 5));
        assert_eq!((Priority::Low.kept(100, 200), Priority::High.kept(100, 10)), (0, 0));
        assert!(Priority::Low < Priority::Normal && Priority::Normal < Priority::High);
    }
}

//! The plainest detector: so many misses in a row convict, so many beats in a row acquit.

use super::Opinion;

/// Counts beats and misses in a row.
///
/// ```text
///            miss                 miss × failure_threshold
///   Well ──────────▶ Suspect ─────────────────────────────▶ Lost ◀──┐
///    ▲  ◀──────────     │                                    │ beat │ miss
///    │       beat       ▼                                    ▼      │
///    └───────────────────────────────────────────────────  Reviving ┘
///                     beat × recovery_threshold
/// ```
#[derive(Clone, Debug)]
pub struct Threshold {
    to_convict: u32,
    to_acquit: u32,
    misses: u32,
    beats: u32,
    lost: bool,
}

impl Threshold {
    /// A detector that convicts after `failure_threshold` misses in a row and acquits after
    /// `recovery_threshold` beats in a row. Both are at least 1.
    #[must_use]
    pub const fn new(failure_threshold: u32, recovery_threshold: u32) -> Self {
        Self {
            to_convict: failure_threshold,
            to_acquit: recovery_threshold,
            misses: 0,
            beats: 0,
            lost: false,
        }
    }

    pub(super) fn beat(&mut self) -> Opinion {
        self.misses = 0;
        self.beats = self.beats.saturating_add(1);
        if self.lost && self.beats < self.to_acquit {
            return Opinion::Reviving;
        }
        self.lost = false;
        Opinion::Well
    }

    pub(super) fn miss(&mut self) -> Opinion {
        self.beats = 0;
        self.misses = self.misses.saturating_add(1);
        self.lost |= self.misses >= self.to_convict;
        if self.lost { Opinion::Lost } else { Opinion::Suspect }
    }

    pub(super) const fn opinion(&self) -> Opinion {
        match (self.lost, self.beats, self.misses) {
            (true, 0, _) => Opinion::Lost,
            (true, ..) => Opinion::Reviving,
            (false, _, 0) => Opinion::Well,
            (false, ..) => Opinion::Suspect,
        }
    }

    pub(super) const fn misses(&self) -> u32 {
        self.misses
    }

    pub(super) const fn beats_to_acquit(&self) -> u32 {
        if self.lost { self.to_acquit.saturating_sub(self.beats) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_threshold_convicts_and_one_beat_starts_the_count_again() {
        let mut d = Threshold::new(3, 2);
        assert_eq!([d.miss(), d.miss(), d.beat()], [Opinion::Suspect, Opinion::Suspect, Opinion::Well]);
        assert_eq!([d.miss(), d.miss(), d.miss()], [Opinion::Suspect, Opinion::Suspect, Opinion::Lost]);
    }

    #[test]
    fn exactly_the_threshold_acquits_and_one_miss_starts_the_count_again() {
        let mut d = Threshold::new(1, 2);
        assert_eq!([d.miss(), d.beat(), d.miss()], [Opinion::Lost, Opinion::Reviving, Opinion::Lost]);
        assert_eq!(d.beats_to_acquit(), 2);
        assert_eq!([d.beat(), d.beat()], [Opinion::Reviving, Opinion::Well]);
        assert_eq!(d.beats_to_acquit(), 0);
    }
}

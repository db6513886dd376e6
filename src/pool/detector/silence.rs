//! What the detectors of silence share: since when it is silent, and how one comes back.

use std::time::Duration;

use super::Opinion;
use crate::base::Time;

/// Since when a node is silent, whether it was given up, and its beats and misses in a row since.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// The last beat, or the first look; moved on by what was excused.
    since: Option<Time>,
    lost: bool,
    beats: u32,
    misses: u32,
    to_acquit: u32,
}

impl Silence {
    /// Nothing heard yet. After being given up a node needs `to_acquit` beats in a row: at least 1.
    pub(super) const fn new(to_acquit: u32) -> Self {
        Self { since: None, lost: false, beats: 0, misses: 0, to_acquit }
    }

    /// How long nothing has been heard; none before the first beat or look.
    pub(super) fn length(&self, now: Time) -> Option<Duration> {
        self.since.map(|since| now.since(since))
    }

    pub(super) const fn since(&self) -> Option<Time> {
        self.since
    }

    /// A beat ends a silence that was `too_long` or not.
    pub(super) fn beat(&mut self, now: Time, too_long: bool) -> Opinion {
        if too_long {
            self.give_up();
        }
        self.since = Some(self.since.map_or(now, |since| since.max(now)));
        self.misses = 0;
        self.beats = self.beats.saturating_add(1);
        self.lost &= self.beats < self.to_acquit;
        if self.lost { Opinion::Reviving } else { Opinion::Well }
    }

    /// A question was not answered. Only silence convicts; a miss says that it is not a good one.
    pub(super) const fn miss(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// Looks at a silence that is `too_long`, or `suspect`, or neither.
    pub(super) fn look(&mut self, now: Time, too_long: bool, suspect: bool) -> Opinion {
        self.since.get_or_insert(now);
        if too_long {
            self.give_up();
        }
        match (self.lost, self.beats) {
            (true, 0) => Opinion::Lost,
            (true, _) => Opinion::Reviving,
            (false, _) if suspect || self.misses > 0 => Opinion::Suspect,
            (false, _) => Opinion::Well,
        }
    }

    pub(super) fn excuse(&mut self, span: Duration) {
        self.since = self.since.map(|since| since.after(span));
    }

    pub(super) const fn listen_anew(&mut self) {
        self.since = None;
    }

    /// Is it given up, with no beat since? Then silence changes nothing any more.
    pub(super) const fn is_dead(&self) -> bool {
        self.lost && self.beats == 0
    }

    pub(super) const fn misses(&self) -> u32 {
        self.misses
    }

    pub(super) const fn beats_to_acquit(&self) -> u32 {
        if self.lost { self.to_acquit.saturating_sub(self.beats) } else { 0 }
    }

    const fn give_up(&mut self) {
        self.lost = true;
        self.beats = 0;
    }
}

//! Failure detectors: what beats, misses and silence say about a node.
//!
//! Why they stand alone: a detector hears beats and misses and holds an [`Opinion`]; it knows neither
//! the node nor the other evidence against it. What follows from its opinion is `node`'s to decide.
//!
//! ```text
//!   Threshold   counts misses: the node is asked, and did not answer so many times in a row
//!   Deadline    measures silence against a fixed limit
//!   Phi         measures silence against the node's own rhythm, as a suspicion that grows
//! ```
//!
//! The two that measure silence need no question: a node that sends beats of its own is enough. They are
//! looked at when their opinion may have changed ([`Detector::next_change`]), and time in which we
//! ourselves were not there is taken off the silence ([`Detector::excuse`], P6).

mod deadline;
mod phi;
mod silence;
mod threshold;

pub use deadline::{Deadline, DeadlineConfig};
pub use phi::{Phi, PhiConfig};
pub use threshold::Threshold;

use std::time::Duration;

use crate::base::{ConfigError, Time};

/// What a detector thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It answers.
    Well,
    /// It has begun to miss, but not often enough to be given up.
    Suspect,
    /// It is given up.
    Lost,
    /// It was given up, and answers again, but not yet often enough.
    Reviving,
}

impl Opinion {
    /// The word Python users read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
            Self::Reviving => "reviving",
        }
    }
}

/// Which detector a heartbeat uses, and its numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DetectorConfig {
    /// Misses and beats in a row, by the heartbeat's own thresholds.
    #[default]
    Counting,
    /// Misses and beats in a row, by thresholds of its own.
    Threshold {
        /// Misses in a row that convict: at least 1.
        failure_threshold: u32,
        /// Beats in a row that acquit: at least 1.
        recovery_threshold: u32,
    },
    /// Silence against a fixed limit.
    Deadline(DeadlineConfig),
    /// Silence against the node's own rhythm.
    Phi(PhiConfig),
}

impl DetectorConfig {
    /// Checks every rule of the detector's numbers.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Counting | Self::Threshold { .. } => Ok(()),
            Self::Deadline(config) => config.validate(),
            Self::Phi(config) => config.validate(),
        }
    }
}

/// The detector of one node.
#[derive(Clone, Debug)]
pub enum Detector {
    /// Counts beats and misses in a row.
    Threshold(Threshold),
    /// Measures silence against a fixed limit.
    Deadline(Deadline),
    /// Measures silence against the node's own rhythm.
    Phi(Box<Phi>),
}

impl Detector {
    /// Hears a beat.
    pub fn beat(&mut self, now: Time) -> Opinion {
        match self {
            Self::Threshold(d) => d.beat(),
            Self::Deadline(d) => d.beat(now),
            Self::Phi(d) => d.beat(now),
        }
    }

    /// Hears a miss.
    pub fn miss(&mut self, now: Time) -> Opinion {
        match self {
            Self::Threshold(d) => d.miss(),
            Self::Deadline(d) => d.miss(now),
            Self::Phi(d) => d.miss(now),
        }
    }

    /// Listens at `now` and hears nothing. From the first look on, silence counts.
    pub fn look(&mut self, now: Time) -> Opinion {
        match self {
            Self::Threshold(d) => d.opinion(),
            Self::Deadline(d) => d.look(now),
            Self::Phi(d) => d.look(now),
        }
    }

    /// When, after `now`, silence alone will change its opinion; none if it never does.
    #[must_use]
    pub fn next_change(&self, now: Time) -> Option<Time> {
        match self {
            Self::Threshold(_) => None,
            Self::Deadline(d) => d.next_change(now),
            Self::Phi(d) => d.next_change(now),
        }
    }

    /// We were not there for `span`: it does not count as the node's silence (P6).
    pub fn excuse(&mut self, span: Duration) {
        match self {
            Self::Threshold(_) => {}
            Self::Deadline(d) => d.excuse(span),
            Self::Phi(d) => d.excuse(span),
        }
    }

    /// We were not there for nobody knows how long: silence counts from the next look on.
    pub fn listen_anew(&mut self) {
        match self {
            Self::Threshold(_) => {}
            Self::Deadline(d) => d.listen_anew(),
            Self::Phi(d) => d.listen_anew(),
        }
    }

    /// How suspicious the silence is at `now`, as φ; none for a detector that has no such figure.
    #[must_use]
    pub fn phi(&self, now: Time) -> Option<f64> {
        match self {
            Self::Phi(d) => Some(d.phi(now)),
            Self::Threshold(_) | Self::Deadline(_) => None,
        }
    }

    /// Does silence alone count?
    #[must_use]
    pub const fn counts_silence(&self) -> bool {
        !matches!(self, Self::Threshold(_))
    }

    /// Misses in a row, up to now.
    #[must_use]
    pub const fn misses(&self) -> u32 {
        match self {
            Self::Threshold(d) => d.misses(),
            Self::Deadline(d) => d.misses(),
            Self::Phi(d) => d.misses(),
        }
    }

    /// How many more good beats, at the least, a node needs that is given up.
    #[must_use]
    pub const fn beats_to_acquit(&self) -> u32 {
        match self {
            Self::Threshold(d) => d.beats_to_acquit(),
            Self::Deadline(d) => d.beats_to_acquit(),
            Self::Phi(d) => d.beats_to_acquit(),
        }
    }
}

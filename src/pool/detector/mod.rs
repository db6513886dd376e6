//! Failure detectors: what a row of beats and misses says about a node.
//!
//! Why they stand alone: a detector hears beats and misses and holds an [`Opinion`]; it knows neither
//! the node nor the other evidence against it. What follows from its opinion is `node`'s to decide.

mod threshold;

pub use threshold::Threshold;

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

/// The detector of one node.
#[derive(Clone, Debug)]
pub enum Detector {
    /// Counts beats and misses in a row.
    Threshold(Threshold),
}

impl Detector {
    /// Hears a beat.
    pub fn beat(&mut self) -> Opinion {
        match self {
            Self::Threshold(d) => d.beat(),
        }
    }

    /// Hears a miss.
    pub fn miss(&mut self) -> Opinion {
        match self {
            Self::Threshold(d) => d.miss(),
        }
    }

    /// Misses in a row, up to now.
    #[must_use]
    pub const fn misses(&self) -> u32 {
        match self {
            Self::Threshold(d) => d.misses(),
        }
    }

    /// How many more good beats, at the least, a node needs that is given up.
    #[must_use]
    pub const fn beats_to_acquit(&self) -> u32 {
        match self {
            Self::Threshold(d) => d.beats_to_acquit(),
        }
    }
}

//! The shared words of every layer: time, dice, identities, verdicts, events and errors.
//!
//! Why it exists: all layers above speak of the same things, and none of them may own the words.
//! It depends on nothing but `std`, holds no clock and no source of randomness: the present moment
//! and the dice are always arguments.

pub mod error;
pub mod event;
pub mod id;
pub mod rng;
pub mod sync;
pub mod time;
pub mod verdict;

pub use error::{ConfigError, Rejection, RejectionKind};
pub use event::{Event, EventKind, Field, Outbox};
pub use id::{NodeId, Source, SourceId};
pub use rng::{Dice, SplitMix};
pub use time::Time;
pub use verdict::{Blame, Failure, FailureKind, Verdict};

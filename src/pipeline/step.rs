//! What the driver is told to do next.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{FailureKind, NodeId, Rejection, Time};
use crate::policy::limit::Place;
use crate::policy::timeout::Expiry;

/// The next thing for the driver to do.
#[derive(Debug)]
pub enum Step {
    /// Make this attempt, then `record` what came of it.
    Attempt(Attempt),
    /// Ask the user's own back-off for the wait before this attempt, then `answer_backoff`.
    AskBackoff {
        /// The retry that is due, counted from 1.
        retry: u32,
    },
    /// Ask the user's own balancer which of these to ask, then `answer_balancer`.
    AskBalancer {
        /// Who may be asked, at least one.
        candidates: Vec<NodeId>,
    },
    /// Wait until then, or until called, then `wake`.
    Sleep {
        /// When to wake.
        until: Pause,
    },
    /// The call is over.
    Finish(Finish),
}

/// How long to wait: until a moment, or in a line.
#[derive(Clone, Debug)]
pub struct Pause {
    /// When it ends.
    pub at: Time,
    /// Where it ends before that with a call, if it is a line that one waits in.
    pub place: Option<Arc<Place>>,
}

impl Pause {
    /// Until `at`, or until the place in line is called.
    pub(super) const fn in_line(at: Time, place: Arc<Place>) -> Self {
        Self { at, place: Some(place) }
    }
}

impl From<Time> for Pause {
    fn from(at: Time) -> Self {
        Self { at, place: None }
    }
}

/// One attempt to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1 over the whole call.
    pub number: u32,
    /// The node to ask, in a pool.
    pub node: Option<NodeId>,
}

/// How a call ends.
#[derive(Debug)]
pub enum Finish {
    /// Hand on the last attempt's value.
    Return,
    /// Raise the last attempt's own error.
    Raise,
    /// Nobody was asked: raise this refusal.
    Reject(Rejection),
    /// The last attempt's value came after this clock had expired, and late values are not wanted.
    Late(Expiry),
    /// Ask the fallback for another answer; if it has none, end in this way.
    FallBack(Box<Self>),
}

/// A failed attempt, as the history tells it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The attempt's number.
    pub number: u32,
    /// The node asked, in a pool.
    pub node: Option<Arc<str>>,
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// How long the attempt took.
    pub took: Duration,
}

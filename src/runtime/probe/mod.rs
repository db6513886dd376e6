//! Probes: the questions a heartbeat asks a node.
//!
//! Why natively: a probe that runs on tokio keeps its cadence while Python is busy elsewhere. Each probe
//! makes a new connection, because what is asked is whether a new call would get through.
//!
//! A probe answers `Ok`, or the reason of its failure in a few words: "connect", "tls", "network",
//! "status 503", "timeout" (the ticker's word). No reason carries a URL, a header or a credential. If it is
//! we who have no socket left to ask with, it answers that, and nobody is blamed.
//!
//! What it deliberately does not do: it chooses no timeout (whoever asks does), follows no redirect (the
//! answer itself is the sign of life), and reads no body.

mod address;
mod http;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod trouble;

pub use address::join;
pub use http::HttpProbe;
pub use tcp::TcpProbe;
pub use tls::trust_file;
pub use trouble::Trouble;

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::clock::{self, Busy};
use crate::base::NodeId;

/// An answer on its way.
pub type ProbeFuture = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send>>;
/// An answer, or the end of the patience, on its way.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What came of a question.
#[derive(Debug)]
pub struct Answer {
    /// A sign of life, or why there was none.
    pub heard: Heard,
    /// Of the clock that ended the wait; to be dropped once the answer is judged.
    pub woken: Busy,
}

/// What was heard of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A sign of life.
    Beat,
    /// None, for this reason.
    Miss(Arc<str>),
    /// The question got stuck on our side, which tells nothing of the node (P6).
    Nothing,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beat => f.write_str("beats"),
            Self::Miss(reason) => write!(f, "misses ({reason})"),
            Self::Nothing => f.write_str("could not be asked: we were held up"),
        }
    }
}

impl Answer {
    /// An answer that came without a clock.
    #[must_use]
    pub fn of(result: Result<(), Trouble>) -> Self {
        let heard = match result {
            Ok(()) => Heard::Beat,
            Err(Trouble::Theirs(reason)) => Heard::Miss(reason),
            Err(Trouble::Ours) => Heard::Nothing,
        };
        Self { heard, woken: Busy::idle() }
    }
}

/// Something that can ask nodes for a sign of life.
pub trait Probe: Send + Sync {
    /// Asks `node`. Called on the engine's thread: it should return at once, the future does the work.
    /// Dropping the future gives the question up.
    fn probe(&self, node: NodeId) -> ProbeFuture;

    /// The same, and waits at most `patience`: then the answer is "timeout". A ready answer counts even
    /// if it is looked at too late (P6).
    fn ask(&self, node: NodeId, patience: Duration) -> AnswerFuture {
        let (probe, deadline) = (self.probe(node), clock::now().after(patience));
        Box::pin(async move {
            tokio::select! {
                biased;
                result = probe => Answer::of(result),
                woken = clock::sleep_until(deadline, Busy::idle()) => {
                    Answer { heard: Heard::Miss("timeout".into()), woken }
                }
            }
        })
    }
}

/// A probe for each node.
#[derive(Default)]
pub struct ProbeTable(RwLock<HashMap<NodeId, Arc<dyn Probe>>>);

impl ProbeTable {
    /// From now on `node` is asked by `probe`.
    pub fn set(&self, node: NodeId, probe: Arc<dyn Probe>) {
        // The old one is dropped outside the lock: it may belong to somebody else's code.
        let _old = self.0.write().insert(node, probe);
    }

    /// `node` has left.
    pub fn remove(&self, node: NodeId) {
        let _old = self.0.write().remove(&node);
    }
}

impl Probe for ProbeTable {
    fn probe(&self, node: NodeId) -> ProbeFuture {
        let probe = self.0.read().get(&node).cloned();
        probe.map_or_else(|| Box::pin(ready(Err("no probe".into()))) as ProbeFuture, |p| p.probe(node))
    }

    fn ask(&self, node: NodeId, patience: Duration) -> AnswerFuture {
        let probe = self.0.read().get(&node).cloned();
        let nobody = || Box::pin(ready(Answer::of(Err("no probe".into())))) as AnswerFuture;
        probe.map_or_else(nobody, |p| p.ask(node, patience))
    }
}

impl fmt::Debug for ProbeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}

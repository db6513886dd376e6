//! Probes: the questions a heartbeat asks a node.
//!
//! Why natively: a probe that runs on tokio keeps its cadence while Python is busy elsewhere. Each probe
//! makes a new connection, because what is asked is whether a new call would get through.
//!
//! A probe answers `Ok`, or the reason of its failure in a few words: "connect", "tls", "network",
//! "status 503", "timeout" (the ticker's word). No reason carries a URL, a header or a credential.
//!
//! What it deliberately does not do: it has no timeout of its own (the ticker has), follows no redirect
//! (the answer itself is the sign of life), and reads no body.

mod address;
mod http;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

pub use address::join;
pub use http::HttpProbe;
pub use tcp::TcpProbe;
pub use tls::trust_file;

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::base::NodeId;

/// An answer on its way.
pub type ProbeFuture = Pin<Box<dyn Future<Output = Result<(), Arc<str>>> + Send>>;

/// Something that can ask nodes for a sign of life.
pub trait Probe: Send + Sync {
    /// Asks `node`. Called on the engine's thread: it should return at once, the future does the work.
    /// Dropping the future gives the question up.
    fn probe(&self, node: NodeId) -> ProbeFuture;
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
}

impl fmt::Debug for ProbeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}

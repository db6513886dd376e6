//! The plainest question: does the port accept a connection?

use super::address::{Target, parse_host_port};
use super::trouble::connect;
use super::{Probe, ProbeFuture};
use crate::base::{ConfigError, NodeId};

/// A node is alive if it accepts a TCP connection.
#[derive(Clone, Debug)]
pub struct TcpProbe(Target);

impl TcpProbe {
    /// `address` is `host:port`, or a URL whose origin is meant.
    pub fn new(address: &str) -> Result<Self, ConfigError> {
        parse_host_port(address).map(Self)
    }
}

impl Probe for TcpProbe {
    fn probe(&self, _node: NodeId) -> ProbeFuture {
        let Target { host, port, .. } = self.0.clone();
        Box::pin(async move { connect(&host, port).await.map(drop) })
    }
}

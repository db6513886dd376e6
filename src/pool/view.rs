//! The words for what a node is and who speaks against it, and the picture of a node at one moment.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{FailureKind, NodeId, Time};

/// What a node is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Nothing speaks against it.
    Up,
    /// It has begun to miss heartbeats; calls still go there.
    Suspect,
    /// It is given up.
    Down,
    /// It was given up and shows signs of life.
    Recovering,
    /// It gets no new call, because the operator said so.
    Draining,
}

impl NodeState {
    /// The word Python users read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Recovering => "recovering",
            Self::Draining => "draining",
        }
    }
}

/// Who speaks against a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Its heartbeat stayed away.
    Heartbeat,
    /// Its breaker opened: real traffic failed.
    Breaker,
    /// An outside monitor reported it.
    Report,
    /// Its process, which is ours, has ended.
    Process,
}

impl Evidence {
    /// Every kind of evidence.
    pub const ALL: [Self; 4] = [Self::Heartbeat, Self::Breaker, Self::Report, Self::Process];

    /// The word events use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Breaker => "breaker",
            Self::Report => "report",
            Self::Process => "process",
        }
    }

    pub(super) const fn flag(self) -> u8 {
        1 << self as u8
    }
}

/// Why and until when a node is kept waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Until when.
    pub until: Time,
    /// The failure that began it.
    pub kind: FailureKind,
    /// What cools: the node itself ("node:a"), or what it shares ("key:prod-1").
    pub domain: Arc<str>,
}

/// A node as seen at one moment.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is, in one word.
    pub state: NodeState,
    /// The operator's will: false once disabled by hand.
    pub enabled: bool,
    /// Enabled, not draining, and nobody speaks against it. A node that is not ready because of its
    /// breaker alone still gets the calls its breaker admits.
    pub ready: bool,
    /// Who speaks against it.
    pub convicted_by: Vec<Evidence>,
    /// Since when it is out, if it is.
    pub down_since: Option<Time>,
    /// Calls there at the moment.
    pub in_flight: u32,
    /// Seconds of work that wait there: its calls in flight, and the places held by failed ones, times what
    /// one is expected to take.
    pub load: f64,
    /// The part of its tier's calls that it is meant to get at the moment, 0 to 1.
    pub share: f64,
    /// Mean time of its good answers, the recent ones weighing most; none before the first.
    pub latency: Option<Duration>,
    /// Outages so far, the present one included.
    pub failures: u64,
    /// Outages that have ended.
    pub recoveries: u64,
    /// Its configured weight.
    pub weight: f64,
    /// Its tier.
    pub tier: u32,
    /// The kind of its last failure, or why its last heartbeat stayed away.
    pub last_error: Option<Arc<str>>,
    /// Its longest cool-down, if one keeps it from being asked.
    pub cooling: Option<Cooling>,
    /// Until when it is put out because it fails more often than the others, if it is.
    pub ejected_until: Option<Time>,
}

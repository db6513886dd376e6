//! Failover: where traffic goes, tier by tier, and the story told when its home is lost.
//!
//! Of the tiers, the lowest with a node that can be asked is used. Inside it the balancer decides.
//!
//! The five events of an outage come once each, in this order:
//!
//! ```text
//! node_marked_failed ─ failover_started ─ failover_completed ─ recovery_started ─ recovery_completed
//!                                             │
//!                      at once if another node is ready; else when one becomes ready;
//!                      else, with no node named, just before recovery_started
//! ```

use std::time::Duration;

use super::balancer::{Balancer, Strategy};
use super::config::NodeConfig;
use super::members::Members;
use super::node::{Change, Node};
use super::view::NodeState;
use crate::base::{Event, EventKind, NodeId, Outbox};

/// The nodes in the order they are preferred.
#[derive(Debug)]
pub(super) struct Tiers {
    strategy: Strategy,
    tiers: Vec<Tier>,
}

/// The nodes that are preferred alike.
#[derive(Debug)]
pub(super) struct Tier {
    rank: u32,
    /// Sorted by id, because ids only grow.
    pub(super) nodes: Vec<NodeId>,
    pub(super) balancer: Balancer,
}

impl Tiers {
    pub(super) const fn new(strategy: Strategy) -> Self {
        Self { strategy, tiers: Vec::new() }
    }

    pub(super) const fn strategy(&self) -> Strategy {
        self.strategy
    }

    pub(super) fn join(&mut self, node: NodeId, config: &NodeConfig) {
        let at = match self.tiers.binary_search_by_key(&config.tier, |tier| tier.rank) {
            Ok(at) => at,
            Err(at) => {
                let balancer = Balancer::new(self.strategy);
                self.tiers.insert(at, Tier { rank: config.tier, nodes: Vec::new(), balancer });
                at
            }
        };
        self.tiers[at].nodes.push(node);
        self.tiers[at].balancer.joined(&config.name, config.weight);
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        for tier in &mut self.tiers {
            if let Ok(place) = tier.nodes.binary_search(&node) {
                tier.nodes.remove(place);
                tier.balancer.left(place);
            }
        }
        self.tiers.retain(|tier| !tier.nodes.is_empty());
    }

    /// A node of tier `rank` has so many calls now.
    pub(super) fn busy(&mut self, node: NodeId, rank: u32, calls: u32) {
        if self.strategy != Strategy::LeastConnections {
            return;
        }
        let Ok(at) = self.tiers.binary_search_by_key(&rank, |tier| tier.rank) else { return };
        let tier = &mut self.tiers[at];
        if let Ok(place) = tier.nodes.binary_search(&node) {
            tier.balancer.busy(place, calls);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[NodeId]> {
        self.tiers.iter().map(|tier| tier.nodes.as_slice())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tier> {
        self.tiers.iter_mut()
    }

    /// The first eligible node, of the lowest tier with one. Nobody's turn changes.
    fn first(&self, mut eligible: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        self.iter().flatten().copied().find(|&node| eligible(node))
    }
}

impl Members {
    /// Tells what a change means, and to whom else it matters. `reason` is for a node that failed.
    pub(super) fn tell(&mut self, node: NodeId, change: Change, reason: &str, out: &mut Outbox) {
        match change {
            Change::None => {}
            Change::Suspected => self.tell_suspected(node, reason, out),
            Change::Failed => self.tell_failed(node, reason, out),
            Change::Reviving => self.tell_reviving(node, out),
            Change::Recovered { downtime, announced, rehoused } => {
                if !rehoused {
                    self.rehoused(node, self.home(node), out);
                }
                if !announced {
                    self.tell_recovery_started(node, out);
                }
                self.tell_recovered(node, downtime, out);
            }
        }
        if change != Change::None {
            self.watch_for_panic(out);
        }
    }

    fn tell_suspected(&self, node: NodeId, reason: &str, out: &mut Outbox) {
        out.emit(EventKind::NodeSuspected, || Event::NodeSuspected {
            source: self.source.clone(),
            node: self.name(node),
            reason: reason.into(),
        });
    }

    fn tell_failed(&mut self, node: NodeId, reason: &str, out: &mut Outbox) {
        self.totals.failures += 1;
        self.out += 1;
        let (source, name) = (&self.source, self.name(node));
        out.emit(EventKind::NodeMarkedFailed, || Event::NodeMarkedFailed {
            source: source.clone(),
            node: name.clone(),
            reason: reason.into(),
        });
        out.emit(EventKind::FailoverStarted, || Event::FailoverStarted {
            source: source.clone(),
            node: name.clone(),
        });
        self.stranded += 1;
        self.house(node, false, out);
    }

    fn tell_reviving(&mut self, node: NodeId, out: &mut Outbox) {
        self.house(node, true, out);
        self.tell_recovery_started(node, out);
    }

    fn tell_recovery_started(&self, node: NodeId, out: &mut Outbox) {
        out.emit(EventKind::RecoveryStarted, || Event::RecoveryStarted {
            source: self.source.clone(),
            node: self.name(node),
        });
    }

    fn tell_recovered(&mut self, node: NodeId, downtime: Duration, out: &mut Outbox) {
        out.emit(EventKind::RecoveryCompleted, || Event::RecoveryCompleted {
            source: self.source.clone(),
            node: self.name(node),
            downtime,
        });
        self.totals.recoveries += 1;
        self.out -= 1;
        self.totals.recovery_time += downtime;
        if let Some(node) = self.get(node).filter(|n| n.state() == NodeState::Suspect) {
            // It began to miss heartbeats while it was out for another reason.
            self.tell_suspected(node.id, &node.last_error().unwrap_or_default(), out);
        }
        self.house_the_stranded(out);
    }

    /// A node has become ready: outages whose traffic had no home may have one now.
    pub(super) fn house_the_stranded(&mut self, out: &mut Outbox) {
        if self.stranded == 0 {
            return;
        }
        let stranded: Vec<NodeId> = self.nodes.iter().filter(|n| n.stranded()).map(|n| n.id).collect();
        for node in stranded {
            self.house(node, false, out);
        }
    }

    /// Completes the failover from `node` if another is ready, or if it is `high_time`.
    fn house(&mut self, node: NodeId, high_time: bool, out: &mut Outbox) {
        let home = self.home(node);
        if (home.is_some() || high_time) && self.get_mut(node).is_some_and(Node::rehouse) {
            self.rehoused(node, home, out);
        }
    }

    fn rehoused(&mut self, node: NodeId, home: Option<NodeId>, out: &mut Outbox) {
        self.stranded -= 1;
        out.emit(EventKind::FailoverCompleted, || Event::FailoverCompleted {
            source: self.source.clone(),
            node: self.name(node),
            to_node: home.map(|n| self.name(n)),
        });
    }

    /// A ready node other than `node`, of the lowest tier with one.
    fn home(&self, node: NodeId) -> Option<NodeId> {
        self.tiers.first(|n| n != node && self.get(n).is_some_and(Node::ready))
    }
}

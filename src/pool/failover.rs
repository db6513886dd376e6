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

use super::balancer::Balancer;
use super::members::Members;
use super::node::{Change, Node};
use super::view::NodeState;
use crate::base::{Dice, Event, EventKind, NodeId, Outbox};

/// The nodes in the order they are preferred.
#[derive(Debug, Default)]
pub(super) struct Tiers(Vec<Tier>);

#[derive(Debug)]
struct Tier {
    rank: u32,
    nodes: Vec<NodeId>,
    balancer: Balancer,
}

impl Tiers {
    pub(super) fn join(&mut self, node: NodeId, rank: u32) {
        match self.0.binary_search_by_key(&rank, |tier| tier.rank) {
            Ok(at) => self.0[at].nodes.push(node),
            Err(at) => {
                self.0.insert(at, Tier { rank, nodes: vec![node], balancer: Balancer::default() });
            }
        }
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        for tier in &mut self.0 {
            if let Some(place) = tier.nodes.iter().position(|&n| n == node) {
                tier.nodes.remove(place);
                tier.balancer.left(place);
            }
        }
        self.0.retain(|tier| !tier.nodes.is_empty());
    }

    /// The node whose turn it is, of the lowest tier with an eligible one.
    pub(super) fn pick(
        &mut self,
        eligible: &mut dyn FnMut(NodeId) -> bool,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        self.0.iter_mut().find_map(|Tier { nodes, balancer, .. }| {
            balancer.pick(nodes.len(), &mut |place| eligible(nodes[place]), dice).map(|place| nodes[place])
        })
    }

    /// The first eligible node, of the lowest tier with one. Nobody's turn changes.
    fn first(&self, mut eligible: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        self.0.iter().flat_map(|tier| &tier.nodes).copied().find(|&node| eligible(node))
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

//! Looks at a pool: they change nothing.

use std::sync::Arc;

use super::node::Node;
use super::pick::{find, may_be_asked};
use super::{Evidence, HeartbeatConfig, NodeView, Pool, PoolMetrics, Record};
use crate::base::{NodeId, Time};

impl Pool {
    /// How many nodes a call could be sent to. `admissible` is asked with no lock held; not in panic.
    pub fn ready_count(&self, admissible: &mut dyn FnMut(NodeId) -> bool, now: Time) -> usize {
        let (may, panic): (Vec<NodeId>, bool) = {
            let members = self.members.lock();
            let may = |n: &&Node| may_be_asked(n, &members.cooldowns, members.panic, now);
            (members.nodes.iter().filter(may).map(|n| n.id).collect(), members.panic)
        };
        may.into_iter().filter(|&node| panic || admissible(node)).count()
    }

    /// When it is worth asking again while no node is ready, where that is known: the earliest moment
    /// some node may be back, possibly in the past by now. `breaker` tells when a node's
    /// breaker will admit a call, and is asked with no lock held; what the heartbeat may say is known
    /// here; an outside monitor is not foreseeable.
    pub fn earliest(&self, breaker: &mut dyn FnMut(NodeId) -> Option<Time>, now: Time) -> Option<Time> {
        let hopeful: Vec<(NodeId, Option<Time>)> = {
            let members = self.members.lock();
            let nodes = members.nodes.iter();
            nodes
                .filter(|n| n.open_to_traffic() && !n.convicted_by(Evidence::Report))
                .filter_map(|n| {
                    let by_heartbeat = n.convicted_by(Evidence::Heartbeat);
                    let beats = if by_heartbeat { Some(members.heartbeat_may_acquit(n.id)?) } else { None };
                    let cool = members.cooldowns.until(&n.config.domains, now).map(|(until, ..)| until);
                    Some((n.id, beats.max(cool).max(n.conduct.out_until(now))))
                })
                .collect()
        };
        hopeful.into_iter().filter_map(|(node, known)| known.max(breaker(node))).min()
    }

    /// Every node as it is at the moment, in the order they joined.
    #[must_use]
    pub fn views(&self, now: Time) -> Vec<NodeView> {
        let members = self.members.lock();
        let view = |n: &Node| {
            let cooling = members.cooldowns.until(&n.config.domains, now);
            n.view(cooling, now, members.usual(now), members.share_of(n, now))
        };
        members.nodes.iter().map(view).collect()
    }

    /// One node as it is at the moment; none if it has left.
    #[must_use]
    pub fn view(&self, node: NodeId, now: Time) -> Option<NodeView> {
        let members = self.members.lock();
        let node = &members.nodes[find(&members.nodes, node)?];
        let cooling = members.cooldowns.until(&node.config.domains, now);
        Some(node.view(cooling, now, members.usual(now), members.share_of(node, now)))
    }

    /// The node of this name.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<NodeId> {
        self.members.lock().id_of(name)
    }

    /// The name of a node; empty for one that has left.
    #[must_use]
    pub fn name_of(&self, node: NodeId) -> Arc<str> {
        self.members.lock().name(node)
    }

    /// The heartbeat that asks `node`, if one does.
    #[must_use]
    pub fn asked_by(&self, node: NodeId) -> Option<HeartbeatConfig> {
        let members = self.members.lock();
        members.schedule.due_of(node)?;
        members.schedule.config_of(node).cloned()
    }

    /// What the nodes' reliability is made of, in the order they joined.
    #[must_use]
    pub fn records(&self, now: Time) -> Vec<(Arc<str>, Record)> {
        let members = self.members.lock();
        // What a report has said, only another takes back.
        let record = |n: &Node| n.record(!n.convicted_by(Evidence::Report), now);
        members.nodes.iter().map(|n| (n.config.name.clone(), record(n))).collect()
    }

    /// What it has lived through.
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        let members = self.members.lock();
        let totals = &members.totals;
        let mean = u32::try_from(totals.recoveries).ok().filter(|&n| n > 0);
        PoolMetrics {
            nodes: members.nodes.len(),
            in_flight: members.nodes.iter().map(|n| u64::from(n.in_flight())).sum(),
            failures: totals.failures,
            recoveries: totals.recoveries,
            mean_recovery_time: mean.map(|n| totals.recovery_time / n),
        }
    }
}

//! The pool's inside: its nodes, their order, the schedule, and the totals. One lock guards it all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::config::{HeartbeatConfig, NodeConfig, PoolConfig};
use super::cooldown::Cooldowns;
use super::detector::Detector;
use super::failover::Tiers;
use super::heartbeat::Schedule;
use super::load::{HELD, TAU};
use super::node::Node;
use super::pick::{find, may_be_asked};
use super::ramp::Ramp;
use crate::base::{Blame, ConfigError, Event, EventKind, NodeId, Outbox, Source, Time, Verdict};
use crate::window::Ewma;

#[derive(Debug)]
pub(super) struct Members {
    pub(super) source: Source,
    /// Sorted by id, because ids only grow.
    pub(super) nodes: Vec<Node>,
    pub(super) tiers: Tiers,
    pub(super) schedule: Schedule,
    pub(super) cooldowns: Cooldowns,
    /// Outages whose traffic has no new home yet.
    pub(super) stranded: usize,
    pub(super) totals: Totals,
    /// Nodes that are out at the moment.
    pub(super) out: usize,
    /// Places of failed calls, by when they are released.
    held: VecDeque<(Time, NodeId)>,
    /// What a good answer takes, over all nodes.
    pub(super) latency: Ewma,
    pub(super) ramp: Ramp,
    /// No node is back for so short that it gets less than its share after this.
    pub(super) ramping_until: Time,
    pub(super) max_ejected: f64,
    pub(super) panic_below: f64,
    /// So few are healthy that all are used.
    pub(super) panic: bool,
    pub(super) rebalance_interval: Option<Duration>,
    pub(super) next_rebalance: Option<Time>,
    /// The largest factor of any node.
    pub(super) most: f64,
    next_id: u32,
}

/// What the pool has lived through, nodes that left included.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) failures: u64,
    pub(super) recoveries: u64,
    pub(super) recovery_time: Duration,
}

impl Members {
    pub(super) fn new(source: Source, heartbeat: Option<HeartbeatConfig>, config: &PoolConfig) -> Self {
        let mut cooldowns = Cooldowns::default();
        cooldowns.set_cap(config.cooldown_cap);
        Self {
            source,
            nodes: Vec::new(),
            tiers: Tiers::new(config.balancer),
            schedule: Schedule::new(heartbeat),
            cooldowns,
            stranded: 0,
            totals: Totals::default(),
            out: 0,
            held: VecDeque::new(),
            latency: Ewma::new(TAU),
            ramp: Ramp { hold: config.failback_hold, slow_start: config.slow_start },
            ramping_until: Time::ZERO,
            max_ejected: config.max_ejected,
            panic_below: config.panic_below,
            panic: false,
            // Who looks at load has no use for shares.
            rebalance_interval: config.rebalance_interval.filter(|_| !config.balancer.follows_load()),
            next_rebalance: None,
            most: 1.0,
            next_id: 0,
        }
    }

    // ---- who is there ----

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        find(&self.nodes, id).map(|at| &self.nodes[at])
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        find(&self.nodes, id).map(|at| &mut self.nodes[at])
    }

    pub(super) fn id_of(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|n| *n.config.name == *name).map(|n| n.id)
    }

    /// The node of this name, or the error that says there is none.
    pub(super) fn named(&mut self, name: &str) -> Result<&mut Node, ConfigError> {
        let found = self.nodes.iter_mut().find(|n| *n.config.name == *name);
        found.ok_or_else(|| ConfigError::new("name", "name a node of the pool", format!("{name:?}")))
    }

    /// A node's name; empty for one that has left.
    pub(super) fn name(&self, id: NodeId) -> Arc<str> {
        self.get(id).map_or_else(|| "".into(), |n| n.config.name.clone())
    }

    pub(super) fn join(&mut self, mut config: NodeConfig) -> Result<NodeId, ConfigError> {
        config.validate()?;
        // A node is a domain of its own, the first of its list.
        config.domains.insert(0, format!("node:{}", config.name).into());
        if self.id_of(&config.name).is_some() {
            let rule = "differ from the names of the pool's other nodes";
            return Err(ConfigError::new("name", rule, format!("{:?}", config.name)));
        }
        let id = NodeId(self.next_id);
        self.next_id += 1;
        self.tiers.join(id, &config);
        let heartbeat = self.schedule.config_for(config.own_heartbeat.take());
        let detector = heartbeat.as_deref().map(HeartbeatConfig::make_detector);
        let listens = detector.as_ref().is_some_and(Detector::counts_silence) && config.heartbeat;
        if let Some(heartbeat) = heartbeat {
            let asks = config.heartbeat && heartbeat.asks;
            self.schedule.enrol(id, heartbeat, asks);
        }
        if listens {
            self.schedule.look_at(id, Some(Time::ZERO));
        }
        self.nodes.push(Node::new(id, config, detector));
        Ok(id)
    }

    /// A node has joined a pool that is at work: it begins as a returning one does.
    pub(super) fn welcome(&mut self, id: NodeId, now: Time) {
        if let Some(node) = self.get_mut(id) {
            node.back_since = Some(now);
            self.damp(now);
        }
    }

    pub(super) fn remove(&mut self, name: &str, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let node = self.named(name)?;
        let (id, stranded, name) = (node.id, node.stranded(), node.config.name.clone());
        let was_out = node.is_out();
        self.stranded -= usize::from(stranded);
        self.out -= usize::from(was_out);
        self.nodes.retain(|n| n.id != id);
        self.tiers.leave(id);
        self.schedule.dismiss(id);
        self.find_most();
        out.emit(EventKind::NodeRemoved, || Event::NodeRemoved { source: self.source.clone(), node: name });
        self.watch_for_panic(out);
        Ok(id)
    }

    // ---- calls ----

    /// Counts a call to `id`, unless the node has been closed to traffic meanwhile.
    pub(super) fn enter(&mut self, id: NodeId, now: Time) -> bool {
        let Some(at) = find(&self.nodes, id) else { return false };
        let node = &self.nodes[at];
        if !may_be_asked(node, &self.cooldowns, self.panic, now) {
            return false;
        }
        self.cooldowns.enter(id, &node.config.domains, now);
        self.count_in(id);
        true
    }

    /// Counts a call to `id`, whatever speaks against it.
    pub(super) fn count_in(&mut self, id: NodeId) {
        if let Some(node) = self.get_mut(id) {
            node.enter();
            self.tell_busy(id);
        }
    }

    pub(super) fn finish(
        &mut self,
        id: NodeId,
        verdict: &Verdict,
        elapsed: Duration,
        now: Time,
        out: &mut Outbox,
    ) {
        self.release_held(now);
        self.cool(id, verdict, now);
        if verdict.is_ok() {
            self.latency.observe(elapsed.as_secs_f64(), now);
        }
        let Some(node) = self.get_mut(id) else { return };
        let drained = node.leave(verdict, elapsed, now);
        let blamed = matches!(verdict, Verdict::Fail(failure) if failure.blame != Blame::Nobody);
        if blamed && node.load.hold() {
            self.held.push_back((now.after(HELD), id));
        }
        self.tell_busy(id);
        if drained {
            self.tell_drained(id, out);
        }
        if blamed {
            self.consider_ejection(id, now, out);
        }
        self.rebalance_if_due(now, out);
    }

    /// Gives up the places of calls that failed long enough ago.
    pub(super) fn release_held(&mut self, now: Time) {
        while let Some(&(until, id)) = self.held.front()
            && until <= now
        {
            self.held.pop_front();
            if let Some(node) = self.get_mut(id) {
                node.load.release();
                self.tell_busy(id);
            }
        }
    }

    /// The balancer hears how many calls `id` has now.
    fn tell_busy(&mut self, id: NodeId) {
        let Some(at) = find(&self.nodes, id) else { return };
        let node = &self.nodes[at];
        self.tiers.busy(id, node.config.tier, node.load.busy());
    }

    /// Lets cool what the verdict blames, if that is more than the endpoint.
    ///
    /// Who asked for a pause gets it. Any other cool-down is our own guess, and a guess does not take the
    /// last node that can be asked.
    fn cool(&mut self, id: NodeId, verdict: &Verdict, now: Time) {
        let Some(at) = find(&self.nodes, id) else { return };
        let domains = &self.nodes[at].config.domains;
        match verdict {
            Verdict::Ok => self.cooldowns.forget(domains),
            Verdict::Ignore => self.cooldowns.release(id, domains),
            Verdict::Fail(failure) | Verdict::Throttled(failure) => {
                self.cooldowns.release(id, domains);
                let asked_for = failure.delay.is_some() || failure.blame == Blame::Rate;
                if asked_for || self.has_other(at, now) {
                    self.cooldowns.note(failure, &domains[0], domains, now);
                }
            }
        }
    }

    /// Can a node be asked that shares nothing with the node at `at`?
    fn has_other(&self, at: usize, now: Time) -> bool {
        let domains = &self.nodes[at].config.domains;
        self.nodes.iter().any(|other| {
            other.pickable()
                && self.cooldowns.admits(&other.config.domains, now)
                && !other.config.domains.iter().any(|domain| domains.contains(domain))
        })
    }

    pub(super) fn tell_drained(&self, id: NodeId, out: &mut Outbox) {
        let (source, node) = (self.source.clone(), self.name(id));
        out.emit(EventKind::NodeDrained, || Event::NodeDrained { source, node });
    }
}

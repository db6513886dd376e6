//! The pool's inside: its nodes, their order, the schedule, and the totals. One lock guards it all.

use std::sync::Arc;
use std::time::Duration;

use super::config::{HeartbeatConfig, NodeConfig};
use super::cooldown::Cooldowns;
use super::detector::Detector;
use super::failover::Tiers;
use super::heartbeat::Schedule;
use super::node::{Change, Node};
use super::view::Evidence;
use crate::base::{Blame, ConfigError, Dice, Event, EventKind, NodeId, Outbox, Source, Time, Verdict};

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
    pub(super) fn new(source: Source, heartbeat: Option<HeartbeatConfig>) -> Self {
        Self {
            source,
            nodes: Vec::new(),
            tiers: Tiers::default(),
            schedule: Schedule::new(heartbeat),
            cooldowns: Cooldowns::default(),
            stranded: 0,
            totals: Totals::default(),
            next_id: 0,
        }
    }

    // ---- who is there ----

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.binary_search_by_key(&id, |n| n.id).ok().map(|at| &self.nodes[at])
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.binary_search_by_key(&id, |n| n.id).ok().map(|at| &mut self.nodes[at])
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
        self.tiers.join(id, config.tier);
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

    pub(super) fn remove(&mut self, name: &str, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let node = self.named(name)?;
        let (id, stranded, name) = (node.id, node.stranded(), node.config.name.clone());
        self.stranded -= usize::from(stranded);
        self.nodes.retain(|n| n.id != id);
        self.tiers.leave(id);
        self.schedule.dismiss(id);
        out.emit(EventKind::NodeRemoved, || Event::NodeRemoved { source: self.source.clone(), node: name });
        Ok(id)
    }

    // ---- calls ----

    /// Whose turn it is, of those that may be asked as far as the pool knows.
    pub(super) fn propose(
        &mut self,
        refused: &[&[NodeId]],
        now: Time,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        let Self { nodes, tiers, cooldowns, .. } = self;
        let mut eligible = |id: NodeId| {
            let node = nodes.binary_search_by_key(&id, |n| n.id).ok().map(|at| &nodes[at]);
            node.is_some_and(|n| n.pickable() && cooldowns.admits(&n.config.domains, now))
                && !refused.iter().any(|ids| ids.contains(&id))
        };
        tiers.pick(&mut eligible, dice)
    }

    /// Counts a call to `id`, unless the node has been closed to traffic meanwhile.
    pub(super) fn enter(&mut self, id: NodeId, now: Time) -> bool {
        let Ok(at) = self.nodes.binary_search_by_key(&id, |n| n.id) else { return false };
        let node = &mut self.nodes[at];
        if !node.pickable() || !self.cooldowns.admits(&node.config.domains, now) {
            return false;
        }
        node.enter();
        self.cooldowns.enter(id, &node.config.domains, now);
        true
    }

    pub(super) fn finish(
        &mut self,
        id: NodeId,
        verdict: &Verdict,
        elapsed: Duration,
        now: Time,
        out: &mut Outbox,
    ) {
        self.cool(id, verdict, now);
        if self.get_mut(id).is_some_and(|node| node.leave(verdict, elapsed)) {
            self.tell_drained(id, out);
        }
    }

    /// Lets cool what the verdict blames, if that is more than the endpoint.
    ///
    /// Who asked for a pause gets it. Any other cool-down is our own guess, and a guess does not take the
    /// last node that can be asked.
    fn cool(&mut self, id: NodeId, verdict: &Verdict, now: Time) {
        let Ok(at) = self.nodes.binary_search_by_key(&id, |n| n.id) else { return };
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

    // ---- evidence ----

    pub(super) fn convict(&mut self, id: NodeId, by: Evidence, why: &str, now: Time, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.convict(by, why, now);
        match by {
            Evidence::Report => self.tell(id, change, &format!("report: {why}"), out),
            // Whoever watches the process reports it; the words say which.
            Evidence::Process => self.tell(id, change, &format!("report: process {why}"), out),
            Evidence::Heartbeat | Evidence::Breaker => self.tell(id, change, by.as_str(), out),
        }
    }

    pub(super) fn acquit(&mut self, id: NodeId, by: Evidence, now: Time, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.acquit(by, now);
        self.tell(id, change, "", out);
    }

    pub(super) fn recovering(&mut self, id: NodeId, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.revive();
        self.tell(id, change, "", out);
    }

    pub(super) fn beat(&mut self, id: NodeId, now: Time, out: &mut Outbox) {
        self.schedule.answered(id, now);
        let Some(node) = self.get_mut(id) else { return };
        let change = node.beat(now);
        self.listen(id, now);
        self.tell(id, change, "", out);
    }

    pub(super) fn miss(&mut self, id: NodeId, why: &str, now: Time, out: &mut Outbox) {
        if !self.schedule.answered(id, now) {
            return;
        }
        let Some(node) = self.get_mut(id).filter(|node| node.is_heard()) else { return };
        let change = node.miss(why, now);
        let misses = node.misses();
        self.listen(id, now);
        out.emit(EventKind::HeartbeatMissed, || Event::HeartbeatMissed {
            source: self.source.clone(),
            node: self.name(id),
            misses,
            reason: why.into(),
        });
        let reason = if change == Change::Failed { Evidence::Heartbeat.as_str() } else { why };
        self.tell(id, change, reason, out);
    }

    /// Nobody knows whether `id` answered, because we did not listen (P6).
    pub(super) fn unheard(&mut self, id: NodeId, now: Time) {
        self.schedule.answered(id, now);
        let interval = self.schedule.config_of(id).map(|config| config.interval);
        if let (Some(node), Some(interval)) = (self.get_mut(id), interval) {
            node.excuse(Some(interval));
            self.listen(id, now);
        }
    }

    /// Listens to those whose silence may mean something by now. If it is we who were not there, everybody's
    /// silence is shorter by that (P6).
    pub(super) fn listen_to_the_silent(&mut self, now: Time, out: &mut Outbox) {
        let late = self.schedule.lateness(now);
        if !late.is_zero() {
            self.nodes.iter_mut().for_each(|node| node.excuse(Some(late)));
            let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
            for id in ids {
                self.listen(id, now);
            }
            return;
        }
        for id in self.schedule.take_silent(now) {
            let Some(node) = self.get_mut(id) else { continue };
            let change = node.look(now);
            let doubt = node.last_error().unwrap_or_default();
            self.listen(id, now);
            let reason = if change == Change::Failed { Evidence::Heartbeat.as_str() } else { &doubt };
            self.tell(id, change, reason, out);
        }
    }

    /// Whoever asked and listened before has stopped: all are due at once, and nobody is late.
    pub(super) fn restart_heartbeat(&mut self) {
        self.schedule.restart();
        for node in &mut self.nodes {
            node.excuse(None);
            if node.counts_silence() && node.config.heartbeat {
                self.schedule.look_at(node.id, Some(Time::ZERO));
            }
        }
    }

    fn listen(&mut self, id: NodeId, now: Time) {
        let next = self.get(id).and_then(|node| node.next_look(now));
        self.schedule.look_at(id, next);
    }

    // ---- looks ----

    /// When at the earliest the heartbeat could acquit `id`, if every beat from now on is good.
    pub(super) fn heartbeat_may_acquit(&self, id: NodeId) -> Option<Time> {
        let more = self.get(id)?.beats_to_acquit().saturating_sub(1);
        let interval = self.schedule.config_of(id)?.interval;
        Some(self.schedule.due_of(id)?.after(interval.saturating_mul(more)))
    }
}

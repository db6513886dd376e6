//! The pool: which nodes there are, what to think of each, and which is asked next.
//!
//! Why it exists: calls and heartbeats meet in one value, the *ready set*. Heartbeats, breakers and
//! outside monitors write it, each with evidence of its own; calls read it when they pick a node.
//!
//! ```text
//!   heartbeat (who is due) ─▶ detector (beats and misses) ─┐
//!   breaker opens, half-opens, closes ─────────────────────┼─▶ node (state) ─▶ failover (tiers, events)
//!   report(name, ok=…) ────────────────────────────────────┘       ▲                │
//!                                                   drain, disable ─┘                ▼
//!                                                                       balancer ─▶ pick
//! ```
//!
//! `ready = enabled ∧ not draining ∧ nobody speaks against it`; a suspect node is still ready.
//!
//! What it deliberately does not do: it asks no node anything (the runtime's ticker does), knows no
//! policy (whether a breaker admits a call is the caller's closure), and reads no clock.

mod anyway;
mod balancer;
mod config;
mod cooldown;
mod detector;
mod evidence;
mod failover;
mod health;
mod heartbeat;
mod load;
mod looks;
mod members;
mod node;
mod operator;
mod outlier;
mod pick;
mod ramp;
mod rebalance;
mod recovery;
mod reliability;
#[cfg(test)]
mod tests;
mod view;

pub use balancer::Strategy;
pub use config::{HeartbeatConfig, NodeConfig, PoolConfig};
pub use detector::{Deadline, DeadlineConfig, Detector, DetectorConfig, Opinion, Phi, PhiConfig, Threshold};
pub use recovery::{Ill, Recovery, RecoveryConfig, Treatment};
pub use reliability::{Record, Reliability};
pub use view::{Cooling, Evidence, NodeState, NodeView};

use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{ConfigError, Dice, NodeId, Outbox, Source, Time, Verdict};
use members::Members;
use pick::Wish;

/// A set of nodes behind one lock, which is held for short, pure moments only: no caller's closure
/// runs under it (R3).
#[derive(Debug)]
pub struct Pool {
    members: Mutex<Members>,
    source: Source,
    /// Does somebody outside choose among the candidates?
    outside: bool,
}

/// What a pool has lived through, nodes that left included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMetrics {
    /// Nodes at the moment.
    pub nodes: usize,
    /// Calls at the nodes at the moment.
    pub in_flight: u64,
    /// Outages so far, those under way included.
    pub failures: u64,
    /// Outages that have ended.
    pub recoveries: u64,
    /// Mean length of those that have ended.
    pub mean_recovery_time: Option<Duration>,
}

impl Pool {
    /// A pool of `nodes`, which speaks as `source`, with the defaults of [`PoolConfig`].
    ///
    /// Errors: an empty list (field "nodes"), an equal name (field "name"), a broken rule of a config.
    pub fn new(
        source: Source,
        nodes: Vec<NodeConfig>,
        heartbeat: Option<HeartbeatConfig>,
    ) -> Result<Self, ConfigError> {
        Self::with_config(source, nodes, heartbeat, &PoolConfig::default())
    }

    /// The same, by `config`.
    pub fn with_config(
        source: Source,
        nodes: Vec<NodeConfig>,
        heartbeat: Option<HeartbeatConfig>,
        config: &PoolConfig,
    ) -> Result<Self, ConfigError> {
        if nodes.is_empty() {
            return Err(ConfigError::new("nodes", "hold at least one node", "[]"));
        }
        if let Some(config) = &heartbeat {
            config.validate()?;
        }
        config.validate()?;
        let mut members = Members::new(source.clone(), heartbeat, config);
        for node in nodes {
            members.join(node)?;
        }
        let outside = config.balancer == Strategy::Outside;
        Ok(Self { members: Mutex::new(members), source, outside })
    }

    /// Who speaks in its events.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Is nobody asked or listened to?
    #[must_use]
    pub fn is_unwatched(&self) -> bool {
        self.members.lock().schedule.is_idle()
    }

    /// How long an answer of `node` to its heartbeat's question may take.
    #[must_use]
    pub fn patience(&self, node: NodeId) -> Duration {
        self.members.lock().schedule.config_of(node).map_or(Duration::MAX, |config| config.timeout)
    }

    // ---- calls ----

    /// The node to ask next, now counted as having one more call in flight; each pick is given back by
    /// one [`Pool::finish`].
    ///
    /// The nodes in `exclude` are passed over. `admissible` is asked last, of one node at a time and
    /// with no lock held: it may look at the node's breaker, and should not take its permit yet. In panic it
    /// is not asked.
    pub fn pick(
        &self,
        exclude: &[NodeId],
        admissible: &mut dyn FnMut(NodeId) -> bool,
        now: Time,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        self.pick_for(None, exclude, admissible, now, dice)
    }

    /// The same, for a call with this key, which a sticky balancer ties to a node.
    pub fn pick_for(
        &self,
        key: Option<&str>,
        exclude: &[NodeId],
        admissible: &mut dyn FnMut(NodeId) -> bool,
        now: Time,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        let mut refused = Vec::new();
        loop {
            let (node, panic) = {
                let mut members = self.members.lock();
                (members.propose(Wish { key, refused: &[exclude, &refused] }, now, dice)?, members.panic)
            };
            // Asked outside the lock, so the operator may have closed the node meanwhile.
            if (panic || admissible(node)) && self.members.lock().enter(node, now) {
                return Some(node);
            }
            refused.push(node);
        }
    }

    /// The same where nobody beside the pool has a say.
    pub fn pick_unasked(
        &self,
        key: Option<&str>,
        exclude: &[NodeId],
        now: Time,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        let mut members = self.members.lock();
        let node = members.propose(Wish { key, refused: &[exclude] }, now, dice)?;
        members.enter(node, now).then_some(node)
    }

    /// Does somebody outside choose among the candidates?
    #[must_use]
    pub const fn is_balanced_outside(&self) -> bool {
        self.outside
    }

    /// Everybody whom a call may ask, of the lowest tier with somebody, for the choice of somebody outside.
    pub fn candidates(
        &self,
        exclude: &[NodeId],
        admissible: &mut dyn FnMut(NodeId) -> bool,
        now: Time,
    ) -> Vec<NodeId> {
        let mut refused = exclude.to_vec();
        loop {
            let (found, panic) = {
                let mut members = self.members.lock();
                (members.candidates(&refused, now), members.panic)
            };
            let admitted: Vec<NodeId> = found.iter().copied().filter(|&n| panic || admissible(n)).collect();
            if found.is_empty() || !admitted.is_empty() {
                return admitted;
            }
            refused.extend(found);
        }
    }

    /// Counts a call to `node`, which somebody outside chose; false if it may not be asked any more.
    pub fn enter(&self, node: NodeId, now: Time) -> bool {
        self.members.lock().enter(node, now)
    }

    /// Are so few nodes healthy that all are used?
    #[must_use]
    pub fn panics(&self) -> bool {
        self.members.lock().panic
    }

    /// The call to `node` has ended after `elapsed`. A node that has left is forgotten silently.
    pub fn finish(&self, node: NodeId, verdict: &Verdict, elapsed: Duration, now: Time, out: &mut Outbox) {
        self.members.lock().finish(node, verdict, elapsed, now, out);
    }

    // ---- evidence ----

    /// `by` speaks against `node`; `reason` is a few words without secrets.
    pub fn convict(&self, node: NodeId, by: Evidence, reason: &str, now: Time, out: &mut Outbox) {
        self.members.lock().convict(node, by, reason, now, out);
    }

    /// `by` takes back what it said against `node`; what others said stays (P8).
    pub fn acquit(&self, node: NodeId, by: Evidence, now: Time, out: &mut Outbox) {
        self.members.lock().acquit(node, by, now, out);
    }

    /// The breaker of `node` will let a call pass at `then`; none: nobody knows when.
    pub fn expect_back(&self, node: NodeId, then: Option<Time>) {
        if let Some(node) = self.members.lock().get_mut(node) {
            node.expect_back(then);
        }
    }

    // ---- what reliability is made of ----

    /// From now on the reliability of the nodes is watched; those that join are watched by themselves.
    pub fn watch(&self, now: Time) {
        self.members.lock().nodes.iter_mut().for_each(|node| node.watch(now));
    }

    /// A call that these nodes failed has ended well all the same.
    pub fn handled<'a>(&self, failed: impl Iterator<Item = &'a str>) {
        let mut members = self.members.lock();
        for name in failed {
            if let Ok(node) = members.named(name) {
                node.handled();
            }
        }
    }

    /// The restarts of `node` are used up until `until`: so long it cannot come back without help. None: it
    /// is being restarted.
    pub fn give_up(&self, node: NodeId, until: Option<Time>) {
        if let Some(node) = self.members.lock().get_mut(node) {
            node.give_up(until);
        }
    }

    // ---- shares ----

    /// Are the nodes' shares computed anew now and then?
    #[must_use]
    pub fn rebalances(&self) -> bool {
        self.members.lock().rebalance_interval.is_some()
    }

    /// Computes the nodes' shares anew if the interval is over, and says when it will be over next. Calls that
    /// end do so too, so this is for whoever wants it on time.
    pub fn rebalance_if_due(&self, now: Time, out: &mut Outbox) -> Option<Time> {
        self.members.lock().rebalance_if_due(now, out)
    }

    /// `node`, which is out, shows a sign of life: its breaker admits a probe.
    pub fn recovering(&self, node: NodeId, _now: Time, out: &mut Outbox) {
        self.members.lock().recovering(node, out);
    }

    // ---- heartbeat ----

    /// The heartbeat of `node` came. True if traffic still speaks against it and its heartbeat is trusted to
    /// clear that (P8): then its breaker is to be closed, and [`Pool::acquit`] said.
    pub fn beat(&self, node: NodeId, now: Time, out: &mut Outbox) -> bool {
        self.members.lock().beat(node, now, out)
    }

    /// The heartbeat of `node` stayed away because of `reason`, a few words without secrets. Counts for
    /// nothing if the question or this judgment was delayed by ourselves (P6).
    pub fn miss(&self, node: NodeId, reason: &str, now: Time, out: &mut Outbox) {
        self.members.lock().miss(node, reason, now, out);
    }

    /// What became of the question to `node` is not known, because it got stuck on our side (P6): the node
    /// is asked again at its next turn.
    pub fn unheard(&self, node: NodeId, now: Time) {
        self.members.lock().unheard(node, now);
    }

    /// Listens at `now` to those whose silence may mean something. To be called before [`Pool::due`].
    pub fn listen(&self, now: Time, out: &mut Outbox) {
        self.members.lock().listen_to_the_silent(now, out);
    }

    /// Who is to be asked now. Each of them is scheduled again, with jitter, and is not due before a
    /// [`Pool::beat`] or [`Pool::miss`] has told what came of it.
    pub fn due(&self, now: Time, dice: &mut dyn Dice) -> Vec<NodeId> {
        self.members.lock().schedule.take_due(now, dice)
    }

    /// When [`Pool::due`] will have somebody next, of those not asked at the moment, or [`Pool::listen`]
    /// something to hear.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.members.lock().schedule.next_due()
    }

    /// Whoever asked the nodes before has stopped: all are due at once, and nobody is late.
    pub fn restart_heartbeat(&self) {
        self.members.lock().restart_heartbeat();
    }
}

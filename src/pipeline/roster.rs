//! A pool and its nodes' breakers, side by side.
//!
//! The pool and the policies are blind to each other; here is where they meet: a breaker that opens
//! convicts its node, one that closes acquits it, and a pick asks both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::gates::Passes;
use super::{Costs, Limits, Moment};
use crate::base::{ConfigError, NodeId, Outbox, Source, Time, Verdict};
use crate::policy::breaker::{Breaker, Permit, State};
use crate::pool::{Evidence, NodeConfig, NodeState, NodeView, Pool};

/// A pool whose nodes each have a breaker of their own, copied from one template.
#[derive(Debug)]
pub struct Roster {
    pool: Arc<Pool>,
    source: Source,
    template: Option<Breaker>,
    breakers: RwLock<Vec<(NodeId, Arc<Breaker>)>>,
    /// Of the nodes that have limits of their own.
    pub(super) limits: RwLock<Vec<(NodeId, Arc<Limits>)>>,
    /// Was there ever one? Till then nobody needs to look.
    pub(super) limited: AtomicBool,
    calls: AtomicU64,
    failovers: AtomicU64,
    rejected: AtomicU64,
}

/// How a roster's calls have fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Calls begun.
    pub calls: u64,
    /// Times that a call moved from a node that failed it to another.
    pub failovers: u64,
    /// Calls refused because no node was ready.
    pub rejected: u64,
}

/// A node that a call may ask now, counted in flight; its permit, if it has a breaker, and what its own limits
/// have given.
#[derive(Debug)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// Its breaker and the permit taken there.
    pub permit: Option<(Arc<Breaker>, Permit)>,
    pub(super) passes: Passes,
}

impl Roster {
    /// The nodes of `pool`, each behind a copy of `template` named `<name>/<node>`.
    #[must_use]
    pub fn new(pool: Arc<Pool>, source: Source, template: Option<Breaker>) -> Self {
        let roster = Self {
            pool,
            source,
            template,
            breakers: RwLock::default(),
            limits: RwLock::default(),
            limited: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        };
        for view in roster.pool.views(Time::ZERO) {
            roster.give_breaker(view.id, &view.name);
        }
        roster
    }

    /// The nodes' states.
    #[must_use]
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How its calls have fared.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            calls: self.calls.load(Ordering::Relaxed),
            failovers: self.failovers.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failover(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a node, with its breaker.
    pub fn add(&self, config: NodeConfig, now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let name = Arc::clone(&config.name);
        let id = self.pool.add(config, now, out)?;
        self.give_breaker(id, &name);
        Ok(id)
    }

    /// Takes a node out; calls under way there end as they will.
    pub fn remove(&self, name: &str, now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let node = self.pool.remove(name, now, out)?;
        self.breakers.write().retain(|(id, _)| *id != node);
        self.limits.write().retain(|(id, _)| *id != node);
        Ok(node)
    }

    /// The breaker of `node`, if nodes have breakers.
    #[must_use]
    pub fn breaker(&self, node: NodeId) -> Option<Arc<Breaker>> {
        self.template.as_ref()?;
        let breakers = self.breakers.read();
        let at = breakers.binary_search_by_key(&node, |(id, _)| *id).ok()?;
        Some(Arc::clone(&breakers[at].1))
    }

    /// May `node` be asked, as far as its breaker and its own limits are concerned? A pure look.
    #[must_use]
    pub fn admissible(&self, node: NodeId, costs: &Costs, now: Time) -> bool {
        self.breaker(node).is_none_or(|breaker| breaker.would_admit(now)) && self.has_room(node, costs, now)
    }

    /// Picks a node outside `exclude` that is ready and whose breaker and limits let the call pass. `key` ties the
    /// call to a node, where the balancer is sticky.
    pub fn pick(
        &self,
        key: Option<&str>,
        exclude: &[NodeId],
        costs: &Costs,
        at: &mut Moment<'_>,
    ) -> Option<Seat> {
        if self.template.is_none() && !self.limited.load(Ordering::Acquire) {
            let node = self.pool.pick_unasked(key, exclude, at.now, at.dice)?;
            return Some(Seat { node, permit: None, passes: Passes::default() });
        }
        let mut refused = exclude.to_vec();
        loop {
            let admissible = &mut |id| self.admissible(id, costs, at.now);
            let node = self.pool.pick_for(key, &refused, admissible, at.now, at.dice)?;
            match self.sit(node, costs, at) {
                Some(seat) => return Some(seat),
                None => refused.push(node),
            }
        }
    }

    /// Who may be asked outside `exclude`, of the lowest tier with somebody.
    #[must_use]
    pub fn candidates(&self, exclude: &[NodeId], costs: &Costs, now: Time) -> Vec<NodeId> {
        self.pool.candidates(exclude, &mut |id| self.admissible(id, costs, now), now)
    }

    /// Takes `node`, which somebody outside chose; none if it may not be asked any more.
    pub fn take(&self, node: NodeId, costs: &Costs, at: &mut Moment<'_>) -> Option<Seat> {
        if self.pool.enter(node, at.now) { self.sit(node, costs, at) } else { None }
    }

    /// Passes the limits and takes the permit of a node that counts the call already, or gives the call's place
    /// back. The permit comes last, so that no probe is out for a call that is not made.
    fn sit(&self, node: NodeId, costs: &Costs, at: &mut Moment<'_>) -> Option<Seat> {
        let Some(mut passes) = self.pass(node, costs, at) else {
            self.pool.finish(node, &Verdict::Ignore, Duration::ZERO, at.now, at.out);
            return None;
        };
        let Some(breaker) = self.breaker(node) else { return Some(Seat { node, permit: None, passes }) };
        match breaker.admit(at.now, at.dice, at.out) {
            Ok(permit) => {
                self.follow(node, &breaker, at.now, at.out);
                Some(Seat { node, permit: Some((breaker, permit)), passes })
            }
            // In panic the breaker is not asked, only told what it can be told.
            Err(_rejection) if self.pool.panics() => Some(Seat { node, permit: None, passes }),
            // Another call took the last probe slot between the look and the try.
            Err(_rejection) => {
                passes.give_back(at.now, at.out);
                self.pool.finish(node, &Verdict::Ignore, Duration::ZERO, at.now, at.out);
                None
            }
        }
    }

    /// Picks any node outside `exclude` that is neither draining nor disabled nor full, whatever its state.
    pub fn pick_anyway(&self, exclude: &[NodeId], costs: &Costs, at: &mut Moment<'_>) -> Option<Seat> {
        let mut refused = exclude.to_vec();
        loop {
            let node = self.pool.pick_anyway(&refused, at.dice)?;
            if let Some(passes) = self.pass(node, costs, at) {
                return Some(Seat { node, permit: None, passes });
            }
            self.pool.finish(node, &Verdict::Ignore, Duration::ZERO, at.now, at.out);
            refused.push(node);
        }
    }

    /// Is a node outside `exclude` ready, as far as one can see without asking it?
    #[must_use]
    pub fn is_ready_outside(&self, exclude: &[NodeId], costs: &Costs, now: Time) -> bool {
        let may = &mut |id| !exclude.contains(&id) && self.admissible(id, costs, now);
        self.pool.ready_count(may, now) > 0
    }

    /// Is it known at `now` that no node may be asked at `then`?
    #[must_use]
    pub fn is_shut(&self, then: Time, now: Time) -> bool {
        let may_be_asked = &mut |id| self.breaker(id).is_none_or(|breaker| !breaker.is_shut(then));
        self.pool.ready_count(may_be_asked, then) == 0
            && self.earliest(now).is_none_or(|earliest| earliest > then)
    }

    /// Which nodes there are and why each is or is not ready (P16).
    #[must_use]
    pub fn explain(&self, now: Time) -> Vec<(Arc<str>, String)> {
        let views = self.pool.views(now);
        views.into_iter().map(|view| (Arc::clone(&view.name), self.why(&view, now))).collect()
    }

    /// Gives a seat back with what came of it.
    pub fn settle(&self, seat: Seat, verdict: &Verdict, took: Duration, at: &mut Moment<'_>) {
        seat.passes.land(verdict, at.now, at.out);
        if let Some((breaker, permit)) = seat.permit {
            breaker.settle(permit, verdict, at.now, at.dice, at.out);
            self.follow(seat.node, &breaker, at.now, at.out);
        }
        self.pool.finish(seat.node, verdict, took, at.now, at.out);
    }

    /// The heartbeat of `node` came. Where it is trusted to, it clears what traffic has said as well (P8): the
    /// node's breaker closes.
    pub fn beat(&self, node: NodeId, now: Time, out: &mut Outbox) {
        if !self.pool.beat(node, now, out) {
            return;
        }
        match self.breaker(node) {
            Some(breaker) => {
                breaker.vouch(now, out);
                self.follow(node, &breaker, now, out);
            }
            None => self.pool.acquit(node, Evidence::Breaker, now, out),
        }
    }

    /// When the next node may be asked again, as far as anybody knows.
    #[must_use]
    pub fn earliest(&self, now: Time) -> Option<Time> {
        let wait = |id| self.breaker(id).and_then(|breaker| breaker.retry_after(now));
        self.pool.earliest(&mut |id| wait(id).map(|wait| now.after(wait)).max(self.room_at(id, now)), now)
    }

    fn why(&self, view: &NodeView, now: Time) -> String {
        if !view.enabled {
            return "disabled by hand".to_owned();
        }
        if view.state == NodeState::Draining {
            return "draining".to_owned();
        }
        let breaker = self.breaker(view.id);
        let spoken: Vec<&str> = view
            .convicted_by
            .iter()
            .filter(|by| **by != Evidence::Breaker || breaker.is_none())
            .map(|by| by.as_str())
            .collect();
        let mut reasons = Vec::new();
        if !spoken.is_empty() {
            reasons.push(format!("{} by {}", view.state.as_str(), spoken.join(" and ")));
        }
        if let Some(until) = view.ejected_until {
            let wait = until.since(now).as_secs_f64();
            reasons.push(format!("ejected for {wait:.3} s: it fails more often than the others"));
        }
        if let Some(cooling) = &view.cooling {
            let wait = cooling.until.since(now).as_secs_f64();
            reasons.push(format!(
                "{} cools down for {wait:.3} s ({})",
                cooling.domain,
                cooling.kind.as_str()
            ));
        }
        if let Some(breaker) = breaker.filter(|breaker| !breaker.would_admit(now)) {
            let wait = breaker.retry_after(now);
            let until = wait.map_or_else(String::new, |wait| format!(" for {:.3} s", wait.as_secs_f64()));
            reasons.push(format!("breaker {}{until}", breaker.state().as_str()));
        }
        reasons.extend(self.why_full(view.id, now));
        if reasons.is_empty() { "ready".to_owned() } else { reasons.join(", ") }
    }

    /// Lets the node's state follow its breaker's.
    fn follow(&self, node: NodeId, breaker: &Breaker, now: Time, out: &mut Outbox) {
        match breaker.state() {
            State::Open | State::ForcedOpen => {
                self.pool.expect_back(node, breaker.retry_after(now).map(|wait| now.after(wait)));
                self.pool.convict(node, Evidence::Breaker, "breaker", now, out);
            }
            State::HalfOpen => self.pool.recovering(node, now, out),
            State::Closed | State::ForcedClosed | State::Disabled | State::Shadow => {
                self.pool.acquit(node, Evidence::Breaker, now, out);
            }
        }
    }

    fn give_breaker(&self, id: NodeId, node: &str) {
        if let Some(template) = &self.template {
            let name = format!("{}/{node}", template.source().name());
            let breaker = template.fork(Source::owned(&name, &self.source));
            let mut breakers = self.breakers.write();
            // Numbers only grow, but two nodes that join at once may come here in either order.
            let at = breakers.partition_point(|(other, _)| *other < id);
            breakers.insert(at, (id, Arc::new(breaker)));
        }
    }
}

//! A pool and its nodes' breakers, side by side.
//!
//! The pool and the policies are blind to each other; here is where they meet: a breaker that opens
//! convicts its node, one that closes acquits it, and a pick asks both.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::base::id::NodeId;
use crate::base::{ConfigError, Dice, Outbox, Source, Time, Verdict};
use crate::policy::breaker::{Breaker, Permit, State};
use crate::pool::{Evidence, NodeConfig, Pool};

/// A pool whose nodes each have a breaker of their own, copied from one template.
#[derive(Debug)]
pub struct Roster {
    pool: Arc<Pool>,
    source: Source,
    template: Option<Breaker>,
    breakers: RwLock<Vec<(NodeId, Arc<Breaker>)>>,
}

/// A node that a call may ask now, counted in flight; its permit, if it has a breaker.
#[derive(Debug)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// Its breaker and the permit taken there.
    pub permit: Option<(Arc<Breaker>, Permit)>,
}

impl Roster {
    /// The nodes of `pool`, each behind a copy of `template` named `<name>/<node>`.
    #[must_use]
    pub fn new(pool: Arc<Pool>, source: Source, template: Option<Breaker>) -> Self {
        let roster = Self { pool, source, template, breakers: RwLock::default() };
        for (id, name) in roster.pool.names() {
            roster.give_breaker(id, &name);
        }
        roster
    }

    /// The nodes' states.
    #[must_use]
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Adds a node, with its breaker.
    pub fn add(&self, config: NodeConfig, now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let name = Arc::clone(&config.name);
        let id = self.pool.add(config, now, out)?;
        self.give_breaker(id, &name);
        Ok(id)
    }

    /// Takes a node out; calls under way there end as they will.
    pub fn remove(&self, node: NodeId, now: Time, out: &mut Outbox) {
        self.pool.remove(node, now, out);
        self.breakers.write().retain(|(id, _)| *id != node);
    }

    /// The breaker of `node`, if nodes have breakers.
    #[must_use]
    pub fn breaker(&self, node: NodeId) -> Option<Arc<Breaker>> {
        let breakers = self.breakers.read();
        breakers.iter().find(|(id, _)| *id == node).map(|(_, breaker)| Arc::clone(breaker))
    }

    /// May `node` be asked, as far as its breaker is concerned? A pure look.
    #[must_use]
    pub fn admissible(&self, node: NodeId, now: Time) -> bool {
        self.breaker(node).is_none_or(|breaker| breaker.would_admit(now))
    }

    /// Picks a node outside `exclude` that is ready and whose breaker lets the call pass.
    pub fn pick(&self, exclude: &[NodeId], now: Time, dice: &mut dyn Dice, out: &mut Outbox) -> Option<Seat> {
        let mut refused = exclude.to_vec();
        loop {
            let node = self.pool.pick(&refused, &mut |id| self.admissible(id, now), now, dice)?;
            let Some(breaker) = self.breaker(node) else { return Some(Seat { node, permit: None }) };
            match breaker.admit(now, dice, out) {
                Ok(permit) => {
                    self.follow(node, &breaker, now, out);
                    return Some(Seat { node, permit: Some((breaker, permit)) });
                }
                // Another call took the last probe slot between the look and the try.
                Err(_rejection) => {
                    self.pool.finish(node, &Verdict::Ignore, Duration::ZERO, now, out);
                    refused.push(node);
                }
            }
        }
    }

    /// Picks any node outside `exclude` that is neither draining nor disabled, whatever its state.
    pub fn pick_anyway(&self, exclude: &[NodeId], now: Time, dice: &mut dyn Dice) -> Option<Seat> {
        let node = self.pool.pick_anyway(exclude, now, dice)?;
        Some(Seat { node, permit: None })
    }

    /// Gives a seat back with what came of it.
    pub fn settle(
        &self,
        seat: Seat,
        verdict: &Verdict,
        took: Duration,
        now: Time,
        dice: &mut dyn Dice,
        out: &mut Outbox,
    ) {
        if let Some((breaker, permit)) = seat.permit {
            breaker.settle(permit, verdict, now, dice, out);
            self.follow(seat.node, &breaker, now, out);
        }
        self.pool.finish(seat.node, verdict, took, now, out);
    }

    /// When the next node may be asked again, as far as anybody knows.
    #[must_use]
    pub fn earliest(&self, now: Time) -> Option<Time> {
        let opens = self.breakers.read().iter().filter_map(|(_, b)| b.retry_after(now)).min();
        [opens.map(|wait| now.after(wait)), self.pool.next_due()].into_iter().flatten().min()
    }

    /// Lets the node's state follow its breaker's.
    fn follow(&self, node: NodeId, breaker: &Breaker, now: Time, out: &mut Outbox) {
        match breaker.state() {
            State::Open | State::ForcedOpen => {
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
            self.breakers.write().push((id, Arc::new(breaker)));
        }
    }
}

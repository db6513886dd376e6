//! Limits of a node's own: a node that is full is passed over for another.
//!
//! Nobody waits in a node's line while another node may be free: a pick looks whether there is room, and passes
//! the limits at once or not at all. Where every node is full the call waits for the earliest as for any other
//! reason (`nobody`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gates::Passes;
use super::{Costs, Limits, Moment, Roster};
use crate::base::{NodeId, Time};
use crate::policy::limit::Priority;

/// How soon a full bulkhead is looked at again of which nobody knows how long its places are held.
const SOON: Duration = Duration::from_millis(50);

impl Roster {
    /// Gives `node` limits of its own.
    pub fn limit(&self, node: NodeId, limits: Limits) {
        if !limits.are_off() {
            let mut all = self.limits.write();
            all.retain(|(id, _)| *id != node);
            all.push((node, Arc::new(limits)));
            self.limited.store(true, Ordering::Release);
        }
    }

    /// The node's own limits, if it has some.
    pub(super) fn limits_of(&self, node: NodeId) -> Option<Arc<Limits>> {
        if !self.limited.load(Ordering::Acquire) {
            return None;
        }
        let all = self.limits.read();
        all.iter().find(|(id, _)| *id == node).map(|(_, limits)| Arc::clone(limits))
    }

    /// Have the node's own limits room for such a call? A look that changes nothing.
    pub(super) fn has_room(&self, node: NodeId, costs: &Costs, now: Time) -> bool {
        self.limits_of(node).is_none_or(|limits| limits.have_room(costs, now))
    }

    /// Passes the node's own limits, at once or not at all.
    pub(super) fn pass(&self, node: NodeId, costs: &Costs, at: &mut Moment<'_>) -> Option<Passes> {
        let mut passes = Passes::default();
        let Some(limits) = self.limits_of(node) else { return Some(passes) };
        // Looked at first: whoever tries in vain may stand in a line for a moment, and push somebody out of it.
        let through = limits.have_room(costs, at.now) && limits.pass_at_once(&mut passes, costs, at);
        through.then_some(passes)
    }

    /// When the node's own limits may have room again; none if they have it.
    pub(super) fn room_at(&self, node: NodeId, now: Time) -> Option<Time> {
        let limits = self.limits_of(node)?;
        let full = limits.concurrency.as_ref().filter(|limit| !limit.has_room(Priority::Normal));
        let free = full.map(|limit| now.after(limit.retry_after().unwrap_or(SOON)));
        let rates = limits.rates.iter().map(|rate| rate.earliest(1.0)).filter(|due| *due > now);
        rates.chain(free).max()
    }

    /// Why the node's own limits let nobody pass, for people.
    pub(super) fn why_full(&self, node: NodeId, now: Time) -> Vec<String> {
        let Some(limits) = self.limits_of(node) else { return Vec::new() };
        let mut reasons = Vec::new();
        if let Some(limit) = limits.concurrency.as_ref().filter(|limit| !limit.has_room(Priority::Normal)) {
            let load = limit.load();
            reasons.push(format!("full: {} of {} calls", load.in_use, load.limit));
        }
        for due in limits.rates.iter().map(|rate| rate.earliest(1.0)).filter(|due| *due > now) {
            reasons.push(format!("rate limit for {:.3} s", due.since(now).as_secs_f64()));
        }
        reasons
    }
}

//! The pool as a whole: outliers put out, panic, and the nodes' shares computed anew.

use super::members::Members;
use super::node::Node;
use super::outlier::most_out;
use super::pick::may_be_asked;
use super::rebalance::{Round, next_factors};
use crate::base::{Event, EventKind, NodeId, Outbox, Time};

/// How far above the limit the share of healthy nodes must be to end a panic: it does not flap.
const CALM: f64 = 0.1;
/// A factor that moved by less has not moved.
const SAME: f64 = 1e-9;

impl Members {
    // ---- outliers ----

    /// Puts `id` out, if it fails much more than the others and enough others are ready (P3, P5).
    pub(super) fn consider_ejection(&mut self, id: NodeId, now: Time, out: &mut Outbox) {
        let is_in =
            |node: &Node| node.pickable() && node.is_healthy() && node.conduct.out_until(now).is_none();
        let most = most_out(self.nodes.len(), self.max_ejected);
        let ready = self.nodes.iter().filter(|node| is_in(node)).count();
        // Whoever is down for another reason counts too: the floor is one of ready nodes.
        if !self.get(id).is_some_and(is_in) || self.nodes.len() - ready >= most {
            return;
        }
        let others = self.nodes.iter().filter(|node| node.id != id);
        let mut rates: Vec<f64> = others.filter_map(|node| node.conduct.comparable(now)).collect();
        let Some(node) = self.get_mut(id) else { return };
        let Some(failure_rate) = node.conduct.outlies(&mut rates, now) else { return };
        let until = node.conduct.eject(now);
        // When it is back it is judged anew, and ramps.
        node.back_since = Some(until);
        self.damp(until);
        out.emit(EventKind::NodeEjected, || Event::NodeEjected {
            source: self.source.clone(),
            node: self.name(id),
            failure_rate,
            ejected_for: until.since(now),
        });
    }

    /// Lets outliers back in, if they have become the last nodes there are (P3); says whether there were any.
    pub(super) fn pardon(&mut self, now: Time) -> bool {
        if self.nodes.iter().any(|node| node.pickable() && node.conduct.out_until(now).is_none()) {
            return false;
        }
        let out = self.nodes.iter_mut().filter(|node| node.pickable());
        out.map(|node| node.conduct.pardon()).count() > 0
    }

    // ---- panic ----

    /// Enters or leaves the panic in which all nodes are used (P4).
    pub(super) fn watch_for_panic(&mut self, out: &mut Outbox) {
        if self.panic_below <= 0.0 {
            return;
        }
        let open = self.nodes.iter().filter(|node| node.open_to_traffic());
        let (healthy, nodes) =
            open.fold((0, 0), |(healthy, nodes), node| (healthy + u32::from(node.is_healthy()), nodes + 1));
        let share = if nodes == 0 { 1.0 } else { f64::from(healthy) / f64::from(nodes) };
        let panic =
            if self.panic { share < (self.panic_below + CALM).min(1.0) } else { share < self.panic_below };
        if panic == std::mem::replace(&mut self.panic, panic) {
            return;
        }
        let source = self.source.clone();
        if panic {
            out.emit(EventKind::PanicEntered, || Event::PanicEntered { source, healthy, nodes });
        } else {
            out.emit(EventKind::PanicLeft, || Event::PanicLeft { source, healthy, nodes });
        }
    }

    // ---- shares ----

    /// Computes the nodes' shares anew, once per interval, and says when it will be over next. The first one
    /// begins with the first look.
    pub(super) fn rebalance_if_due(&mut self, now: Time, out: &mut Outbox) -> Option<Time> {
        let interval = self.rebalance_interval?;
        let due = *self.next_rebalance.get_or_insert_with(|| now.after(interval));
        if now < due {
            return Some(due);
        }
        self.rebalance(now, out);
        let next = now.after(interval);
        self.next_rebalance = Some(next);
        Some(next)
    }

    fn rebalance(&mut self, now: Time, out: &mut Outbox) {
        let rounds: Vec<(f64, Round)> =
            self.nodes.iter_mut().map(|node| (node.factor, std::mem::take(&mut node.round))).collect();
        let mut changed = false;
        for (node, factor) in self.nodes.iter_mut().zip(next_factors(&rounds)) {
            changed |= (node.factor - factor).abs() > SAME;
            node.factor = factor;
        }
        self.find_most();
        out.emit(EventKind::Rebalanced, || {
            let shares: Vec<String> = self
                .nodes
                .iter()
                .map(|node| format!("{}={:.3}", node.config.name, self.share_of(node, now)))
                .collect();
            Event::Rebalanced { source: self.source.clone(), changed, shares: shares.join(" ").into() }
        });
    }

    pub(super) fn find_most(&mut self) {
        let most = self.nodes.iter().map(|node| node.factor).fold(0.0, f64::max);
        self.most = if most > 0.0 { most } else { 1.0 };
    }

    /// The part of its tier's calls that `node` is meant to get at `now`: 0 to 1.
    pub(super) fn share_of(&self, node: &Node, now: Time) -> f64 {
        let tier = self.nodes.iter().filter(|other| other.config.tier == node.config.tier);
        let sum: f64 = tier.map(|other| self.claim(other, now)).sum();
        if sum > 0.0 { self.claim(node, now) / sum } else { 0.0 }
    }

    fn claim(&self, node: &Node, now: Time) -> f64 {
        if !may_be_asked(node, &self.cooldowns, self.panic, now) || !(self.panic || node.is_healthy()) {
            return 0.0;
        }
        let strategy = self.tiers.strategy();
        let weight = if strategy.weighs() { node.config.weight } else { 1.0 };
        let factor = if strategy.follows_load() { 1.0 } else { node.factor };
        let ramp = node.back_since.map_or(1.0, |since| self.ramp.share(since, now));
        weight * factor * ramp
    }
}

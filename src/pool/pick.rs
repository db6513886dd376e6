//! The pick: tier by tier, who may be asked, and the balancer's choice among them.
//!
//! ```text
//!   first pass    the lowest tier with a node that may be asked and whose ramp lets this call pass
//!   second pass   the same, ramps or not: a node that is only just back is better than none
//! ```
//!
//! Outliers that were put out come back when nobody else is left: another node may have been disabled, or have failed,
//! since then (P3).
//!
//! In panic everybody counts as well who is neither disabled nor draining, whatever else speaks against them;
//! who asked for a pause still gets it.

use super::balancer::{Field, hash_key};
use super::cooldown::Cooldowns;
use super::load::UNKNOWN;
use super::members::Members;
use super::node::Node;
use super::ramp::Ramp;
use crate::base::{Dice, NodeId, Time};

/// What a call asks of a pick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish<'a> {
    /// The key that ties it to a node, where the balancer is sticky.
    pub(super) key: Option<&'a str>,
    /// Those that are passed over.
    pub(super) refused: &'a [&'a [NodeId]],
}

/// One tier as its balancer sees it at one moment.
struct Ground<'a> {
    nodes: &'a [Node],
    places: &'a [NodeId],
    cooldowns: &'a Cooldowns,
    refused: &'a [&'a [NodeId]],
    now: Time,
    panic: bool,
    /// A returning node takes this call if its share is above this; none: in any case.
    ramp: Option<(Ramp, f64)>,
    key: Option<u64>,
    usual: f64,
    /// The largest factor of rebalancing: who has it takes all its turns.
    most: f64,
    anyone_due: bool,
}

impl Ground<'_> {
    fn node(&self, place: usize) -> Option<&Node> {
        let id = *self.places.get(place)?;
        find(self.nodes, id).map(|at| &self.nodes[at])
    }
}

/// Where the node of this number lies among `nodes`, which are sorted by it.
pub(super) fn find(nodes: &[Node], id: NodeId) -> Option<usize> {
    // Mostly nobody has ever left, and the number is the place.
    if nodes.get(id.0 as usize).is_some_and(|node| node.id == id) {
        return Some(id.0 as usize);
    }
    nodes.binary_search_by_key(&id, |node| node.id).ok()
}

/// May `node` be asked, as far as the pool knows?
pub(super) fn may_be_asked(node: &Node, cooldowns: &Cooldowns, panic: bool, now: Time) -> bool {
    let fit =
        if panic { node.open_to_traffic() } else { node.pickable() && node.conduct.out_until(now).is_none() };
    fit && cooldowns.admits(&node.config.domains, now)
}

impl Field for Ground<'_> {
    fn count(&self) -> usize {
        self.places.len()
    }

    fn eligible(&self, place: usize) -> bool {
        self.node(place).is_some_and(|node| {
            may_be_asked(node, self.cooldowns, self.panic, self.now)
                && !self.refused.iter().any(|ids| ids.contains(&node.id))
                && self.ramp.is_none_or(|(ramp, draw)| {
                    node.back_since.is_none_or(|since| ramp.share(since, self.now) > draw)
                })
        })
    }

    fn share(&self, place: usize) -> f64 {
        self.node(place).map_or(1.0, |node| node.factor / self.most)
    }

    fn load(&self, place: usize) -> f64 {
        self.node(place).map_or(0.0, |node| node.load.work_with_one_more(self.now, self.usual))
    }

    fn busy(&self, place: usize) -> u32 {
        self.node(place).map_or(0, |node| node.load.busy())
    }

    fn is_due(&self, place: usize) -> bool {
        self.node(place).is_some_and(|node| {
            node.awaits_probe(self.now) || self.cooldowns.await_probe(&node.config.domains, self.now)
        })
    }

    fn anyone_due(&self) -> bool {
        self.anyone_due
    }

    fn totals(&self) -> (u64, f64) {
        let nodes = (0..self.places.len()).filter_map(|place| Some((place, self.node(place)?)));
        nodes.fold((0, 0.0), |(calls, weights), (place, node)| {
            let weight = if self.eligible(place) { node.config.weight } else { 0.0 };
            (calls + u64::from(node.load.busy()), weights + weight)
        })
    }

    fn key(&self) -> Option<u64> {
        self.key
    }
}

impl Members {
    /// Whose turn it is, of those that may be asked as far as the pool knows.
    pub(super) fn propose(&mut self, wish: Wish<'_>, now: Time, dice: &mut dyn Dice) -> Option<NodeId> {
        self.release_held(now);
        let key = wish.key.map(hash_key);
        if self.ramp.is_on() && now < self.ramping_until {
            // A key always draws the same, so that it returns to its node once, and stays.
            let draw = key.map_or_else(|| dice.unit(), unit);
            let damped = self.propose_with(wish, key, Some((self.ramp, draw)), now, dice);
            if damped.is_some() {
                return damped;
            }
        }
        let found = self.propose_with(wish, key, None, now, dice);
        if found.is_none() && self.pardon(now) {
            return self.propose_with(wish, key, None, now, dice);
        }
        found
    }

    fn propose_with(
        &mut self,
        wish: Wish<'_>,
        key: Option<u64>,
        ramp: Option<(Ramp, f64)>,
        now: Time,
        dice: &mut dyn Dice,
    ) -> Option<NodeId> {
        let usual = self.usual(now);
        let (panic, most) = (self.panic, self.most);
        let anyone_due = self.out > 0 || !self.cooldowns.is_empty();
        let Self { nodes, tiers, cooldowns, .. } = self;
        for tier in tiers.iter_mut() {
            let places = &tier.nodes;
            let ground = Ground {
                nodes,
                places,
                cooldowns,
                refused: wish.refused,
                now,
                panic,
                ramp,
                key,
                usual,
                most,
                anyone_due,
            };
            if let Some(place) = tier.balancer.pick(&ground, dice) {
                return Some(places[place]);
            }
        }
        None
    }

    /// What a call is expected to take at a node of which nothing is known, in seconds.
    pub(super) fn usual(&self, now: Time) -> f64 {
        self.latency.last().map_or(UNKNOWN, |last| self.latency.value_at(now, last))
    }

    /// Everybody of the lowest tier that has somebody who may be asked.
    pub(super) fn candidates(&mut self, exclude: &[NodeId], now: Time) -> Vec<NodeId> {
        self.release_held(now);
        let may = |id: &NodeId| {
            find(&self.nodes, *id)
                .is_some_and(|at| may_be_asked(&self.nodes[at], &self.cooldowns, self.panic, now))
                && !exclude.contains(id)
        };
        let mut tiers = self.tiers.iter().map(|tier| tier.iter().copied().filter(may).collect::<Vec<_>>());
        tiers.find(|tier| !tier.is_empty()).unwrap_or_default()
    }
}

/// A hash as a number in `[0, 1)`, by other bits than those that place it on the ring.
fn unit(hash: u64) -> f64 {
    const TWO_POW_32: f64 = 4_294_967_296.0;
    f64::from(u32::try_from(hash & 0xffff_ffff).unwrap_or(0)) / TWO_POW_32
}

//! Balancers: which of the nodes of one tier is asked next.
//!
//! A balancer sees places `0..count` in the order the nodes joined, and a [`Field`] that answers its
//! questions about them: may this one be asked, what does it weigh, how loaded is it. It keeps its own
//! memory of whose turn it is, and knows nothing of why a node may not be asked.
//!
//! ```text
//!   RoundRobin      everybody in turn                                     O(1)
//!   Random          1/N                                                   O(1)
//!   Weighted        in turn, W/ΣW, the heavy ones spread out              O(log N), a heap of deadlines
//!   WeightedRandom  W/ΣW                                                  O(log N), prefix sums
//!   Least           the fewest calls, ties at random                      O(1), buckets by calls
//!   PowerOfTwo      the less loaded of two drawn at random                O(1)
//!   Sticky          a key's own node, others take over when it is full    O(log N), a hash ring
//! ```
//!
//! The costs are those of a pick with nobody excluded; looking for the few that may be asked among many that
//! may not is O(N).
//!
//! Each of the first four and the last gives a node the part of its turns that [`Field::share`] says; the
//! two that look at load find the right share by themselves.

mod least;
mod p2c;
mod random;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;
mod weighted;

pub use sticky::hash_key;

use crate::base::Dice;
use least::Least;
use p2c::PowerOfTwo;
use random::{Random, WeightedRandom};
use round_robin::RoundRobin;
use sticky::Sticky;
use weighted::Weighted;

/// How the nodes of a tier share its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Everybody in turn.
    #[default]
    RoundRobin,
    /// By weight, in turn.
    Weighted,
    /// At random.
    Random,
    /// By weight, at random.
    WeightedRandom,
    /// The fewest calls in flight.
    LeastConnections,
    /// The less loaded of two.
    PowerOfTwo,
    /// By the call's key.
    Sticky,
    /// Somebody outside chooses; everybody in turn where that fails.
    Outside,
}

impl Strategy {
    /// The names that Python users write, for error messages.
    pub const NAMES: &'static str =
        "'round_robin', 'weighted', 'random', 'weighted_random', 'least_connections', 'p2c', 'sticky'";

    /// The strategy called so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" => Self::RoundRobin,
            "weighted" => Self::Weighted,
            "random" => Self::Random,
            "weighted_random" => Self::WeightedRandom,
            "least_connections" => Self::LeastConnections,
            "p2c" => Self::PowerOfTwo,
            "sticky" => Self::Sticky,
            _ => return None,
        })
    }

    /// Do the nodes' weights count?
    #[must_use]
    pub const fn weighs(self) -> bool {
        matches!(self, Self::Weighted | Self::WeightedRandom | Self::Sticky)
    }

    /// Does it look at load, and so finds by itself who deserves how much?
    #[must_use]
    pub const fn follows_load(self) -> bool {
        matches!(self, Self::LeastConnections | Self::PowerOfTwo)
    }
}

/// What a balancer may ask about the nodes of its tier, by place.
pub trait Field {
    /// How many there are.
    fn count(&self) -> usize;
    /// May it be asked?
    fn eligible(&self, place: usize) -> bool;
    /// The part of its turns that it takes at the moment: above 0 up to 1.
    fn share(&self, place: usize) -> f64;
    /// How long a call sent there now would have to share it with others, in seconds of work.
    fn load(&self, place: usize) -> f64;
    /// Calls there at the moment, and what counts as such.
    fn busy(&self, place: usize) -> u32;
    /// Does it wait for a call that shows whether it is back?
    fn is_due(&self, place: usize) -> bool;
    /// May anybody be waiting so at all? Cheap.
    fn anyone_due(&self) -> bool;
    /// Calls in the tier, and the weights of those that may be asked, both summed up.
    fn totals(&self) -> (u64, f64);
    /// The hash of the call's key, where it has one.
    fn key(&self) -> Option<u64>;
}

/// The balancer of one tier.
#[derive(Clone, Debug)]
pub enum Balancer {
    /// Everybody in turn.
    RoundRobin(RoundRobin),
    /// By weight, in turn.
    Weighted(Weighted),
    /// At random.
    Random(Random),
    /// By weight, at random.
    WeightedRandom(WeightedRandom),
    /// The fewest calls in flight.
    Least(Least),
    /// The less loaded of two.
    PowerOfTwo(PowerOfTwo),
    /// By the call's key.
    Sticky(Sticky),
}

impl Balancer {
    /// A balancer of no nodes yet.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        match strategy {
            Strategy::RoundRobin | Strategy::Outside => Self::RoundRobin(RoundRobin::default()),
            Strategy::Weighted => Self::Weighted(Weighted::default()),
            Strategy::Random => Self::Random(Random),
            Strategy::WeightedRandom => Self::WeightedRandom(WeightedRandom::default()),
            Strategy::LeastConnections => Self::Least(Least::default()),
            Strategy::PowerOfTwo => Self::PowerOfTwo(PowerOfTwo),
            Strategy::Sticky => Self::Sticky(Sticky::default()),
        }
    }

    /// The place whose turn it is among the eligible ones; remembers that it had its turn.
    pub fn pick(&mut self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        match self {
            Self::RoundRobin(b) => b.pick(field, dice),
            Self::Weighted(b) => b.pick(field, dice),
            Self::Random(b) => b.pick(field, dice),
            Self::WeightedRandom(b) => b.pick(field, dice),
            Self::Least(b) => b.pick(field, dice),
            Self::PowerOfTwo(b) => b.pick(field, dice),
            Self::Sticky(b) => b.pick(field, dice),
        }
    }

    /// A node has joined, at the last place.
    pub fn joined(&mut self, name: &str, weight: f64) {
        match self {
            Self::RoundRobin(_) | Self::Random(_) | Self::PowerOfTwo(_) => {}
            Self::Weighted(b) => b.joined(weight),
            Self::WeightedRandom(b) => b.joined(weight),
            Self::Least(b) => b.joined(),
            Self::Sticky(b) => b.joined(name, weight),
        }
    }

    /// The node at `place` has left; those behind it move up by one.
    pub fn left(&mut self, place: usize) {
        match self {
            Self::RoundRobin(b) => b.left(place),
            Self::Weighted(b) => b.left(place),
            Self::WeightedRandom(b) => b.left(place),
            Self::Least(b) => b.left(place),
            Self::Sticky(b) => b.left(place),
            Self::Random(_) | Self::PowerOfTwo(_) => {}
        }
    }

    /// The node at `place` has so many calls now.
    pub fn busy(&mut self, place: usize, calls: u32) {
        if let Self::Least(b) = self {
            b.busy(place, calls);
        }
    }
}

/// Does the node at `place` take this turn, or leave it to the next?
fn takes(field: &dyn Field, place: usize, dice: &mut dyn Dice) -> bool {
    let share = field.share(place);
    share >= 1.0 || dice.unit() < share
}

/// One of `0..count` drawn with the probability of its weight; none if no weight is above 0.
fn draw(count: usize, weight: impl Fn(usize) -> f64, dice: &mut dyn Dice) -> Option<usize> {
    let (mut drawn, mut sum) = (None, 0.0);
    for place in 0..count {
        let weight = weight(place);
        if weight > 0.0 {
            sum += weight;
            // Chao 1982: the newcomer takes the place with its part of what was seen so far.
            if dice.unit() * sum < weight {
                drawn = Some(place);
            }
        }
    }
    drawn
}

/// The first place that waits for a call to show whether it is back: its probe outranks a bad score (P2).
fn due(field: &dyn Field) -> Option<usize> {
    let all = if field.anyone_due() { field.count() } else { 0 };
    (0..all).find(|&place| field.is_due(place) && field.eligible(place))
}

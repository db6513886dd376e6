//! Balancers: which of the nodes of one tier is asked next.
//!
//! A balancer sees places `0..count` in the order the nodes joined, and a question "is this place
//! eligible?". It keeps its own memory of whose turn it is, and knows nothing of why a node is not
//! eligible.

mod round_robin;

pub use round_robin::RoundRobin;

use crate::base::Dice;

/// The balancer of one tier.
#[derive(Clone, Debug)]
pub enum Balancer {
    /// Everybody in turn.
    RoundRobin(RoundRobin),
}

impl Default for Balancer {
    fn default() -> Self {
        Self::RoundRobin(RoundRobin::default())
    }
}

impl Balancer {
    /// The place whose turn it is among the eligible ones of `0..count`; remembers that it had its turn.
    pub fn pick(
        &mut self,
        count: usize,
        eligible: &mut dyn FnMut(usize) -> bool,
        _dice: &mut dyn Dice,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(b) => b.pick(count, eligible),
        }
    }

    /// The node at `place` has left; those behind it move up by one.
    pub fn left(&mut self, place: usize) {
        match self {
            Self::RoundRobin(b) => b.left(place),
        }
    }
}

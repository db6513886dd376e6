//! In turn, by weight, the heavy ones spread out: an earliest-deadline-first queue.
//!
//! Each node's turns are deadlines one period, 1/weight, apart, the first one half a period after it joined;
//! the earliest deadline has its turn. Over any stretch in which everybody is eligible and the weights are
//! whole numbers with sum W, every W turns give each node exactly its weight (it is Webster's method of
//! apportionment, one seat at a time), and a heavy node's turns are spread as evenly as they can be.
//!
//! Why not the smooth weighted round robin of nginx: it gives the same shares, but looks at every node for
//! each pick.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::{Field, takes};
use crate::base::Dice;

/// Turns that may be left to the next one before the last of them is taken all the same.
const MOST_LEFT: usize = 64;
/// When the clock of the turns has come so far it starts anew, before digits are lost.
const FAR: f64 = 1e6;

/// The queue of turns.
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    weights: Vec<f64>,
    turns: BinaryHeap<Reverse<Turn>>,
    /// The deadline of the last turn.
    now: f64,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: f64,
    place: usize,
}

impl Weighted {
    pub(super) fn pick(&mut self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        let (mut away, mut left) = (Vec::new(), 0);
        let picked = loop {
            let Some(Reverse(turn)) = self.turns.pop() else { break None };
            if !field.eligible(turn.place) {
                away.push(turn);
                continue;
            }
            self.now = turn.at;
            self.turns.push(Reverse(self.later(turn.place, turn.at, 1.0)));
            left += 1;
            if left >= MOST_LEFT || takes(field, turn.place, dice) {
                break Some(turn.place);
            }
        };
        for turn in away {
            // Whoever is away misses its turns: it does not get them all when it is back.
            let next = if picked.is_some() { self.later(turn.place, self.now, 0.5) } else { turn };
            self.turns.push(Reverse(if next.at > turn.at { next } else { turn }));
        }
        self.rewind();
        picked
    }

    pub(super) fn joined(&mut self, weight: f64) {
        self.weights.push(weight);
        let first = self.later(self.weights.len() - 1, self.now, 0.5);
        self.turns.push(Reverse(first));
    }

    pub(super) fn left(&mut self, place: usize) {
        self.weights.remove(place);
        let stays = |Reverse(turn): Reverse<Turn>| match turn.place.cmp(&place) {
            Ordering::Less => Some(Reverse(turn)),
            Ordering::Equal => None,
            Ordering::Greater => Some(Reverse(Turn { place: turn.place - 1, ..turn })),
        };
        self.turns = self.turns.drain().filter_map(stays).collect();
    }

    fn later(&self, place: usize, at: f64, periods: f64) -> Turn {
        Turn { at: at + periods / self.weights[place], place }
    }

    fn rewind(&mut self) {
        if self.now > FAR {
            let back = |Reverse(turn): Reverse<Turn>| Reverse(Turn { at: turn.at - self.now, ..turn });
            self.turns = self.turns.drain().map(back).collect();
            self.now = 0.0;
        }
    }
}

impl Ord for Turn {
    /// By time, and of equal ones the first place first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

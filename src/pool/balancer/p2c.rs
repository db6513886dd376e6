//! The power of two choices: the less loaded of two drawn at random.
//!
//! Mitzenmacher 2001: one look at a second node is exponentially better than none, and unlike "the least
//! loaded of all" it does not send everybody to the same node on the same stale figure.

use super::{Field, due};
use crate::base::Dice;

/// Draws that may hit a node which may not be asked, before all nodes are looked at.
const DRAWS: usize = 4;

/// It remembers nothing: the loads are the nodes' own.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerOfTwo;

impl PowerOfTwo {
    #[expect(clippy::unused_self, reason = "a balancer like the others")]
    pub(super) fn pick(self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        if let Some(place) = due(field) {
            return Some(place);
        }
        let count = field.count();
        let mut first = None;
        for _ in 0..if count > 2 { DRAWS } else { 0 } {
            let place = dice.below(count);
            if Some(place) == first || !field.eligible(place) {
                continue;
            }
            match first {
                None => first = Some(place),
                Some(other) => return Some(lighter(field, other, place)),
            }
        }
        let all: Vec<usize> = (0..count).filter(|&place| field.eligible(place)).collect();
        match *all.as_slice() {
            [] => None,
            [only] => Some(only),
            _ => {
                let one = dice.below(all.len());
                let other = (one + 1 + dice.below(all.len() - 1)) % all.len();
                Some(lighter(field, all[one], all[other]))
            }
        }
    }
}

/// The less loaded; of equals the first, which was drawn at random.
fn lighter(field: &dyn Field, one: usize, other: usize) -> usize {
    if field.load(other) < field.load(one) { other } else { one }
}

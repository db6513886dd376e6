//! Everybody in turn, starting with the first.

use super::{Field, takes};
use crate::base::Dice;

/// Remembers whose turn is next.
///
/// The turn moves to the place behind the one that was picked, not by one per call. Counting calls
/// modulo the number of nodes would give the node behind a failed one a double share.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    pub(super) fn pick(&mut self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        let count = field.count();
        let start = if self.next < count { self.next } else { 0 };
        let turns = || (start..count).chain(0..start).filter(|&place| field.eligible(place));
        let place = turns().find(|&place| takes(field, place, dice)).or_else(|| turns().next())?;
        self.next = place + 1;
        Some(place)
    }

    pub(super) const fn left(&mut self, place: usize) {
        if place < self.next {
            self.next -= 1;
        }
    }
}

//! The fewest calls in flight, ties at random.
//!
//! The places lie in buckets by their number of calls, so that the emptiest are at hand: a call that comes
//! or goes moves its node by one bucket.

use super::{Field, draw, due};
use crate::base::Dice;

/// Draws from the emptiest bucket that may hit a node which may not be asked, before all are looked at.
const DRAWS: usize = 4;

/// The places by their calls.
#[derive(Clone, Debug, Default)]
pub struct Least {
    /// By number of calls: the places with as many, in no order.
    buckets: Vec<Vec<usize>>,
    /// By place: its number of calls, and where in that bucket it lies.
    spots: Vec<(usize, usize)>,
    /// No bucket before this one has a place in it.
    lowest: usize,
}

impl Least {
    pub(super) fn pick(&self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        if let Some(place) = due(field) {
            return Some(place);
        }
        let emptiest = self.buckets.get(self.lowest)?;
        for _ in 0..DRAWS.min(emptiest.len()) {
            let place = emptiest[dice.below(emptiest.len())];
            if field.eligible(place) {
                return Some(place);
            }
        }
        self.buckets[self.lowest..].iter().find_map(|bucket| {
            let at = draw(bucket.len(), |at| f64::from(u8::from(field.eligible(bucket[at]))), dice)?;
            Some(bucket[at])
        })
    }

    pub(super) fn joined(&mut self) {
        self.spots.push((0, 0));
        self.put(self.spots.len() - 1, 0);
    }

    pub(super) fn left(&mut self, place: usize) {
        self.spots.remove(place);
        self.buckets.clear();
        let calls: Vec<usize> = self.spots.iter().map(|&(calls, _)| calls).collect();
        for (place, calls) in calls.into_iter().enumerate() {
            self.put(place, calls);
        }
        self.find_lowest(0);
    }

    pub(super) fn busy(&mut self, place: usize, calls: u32) {
        let Some(&(before, at)) = self.spots.get(place) else { return };
        let calls = calls as usize;
        if calls == before {
            return;
        }
        self.buckets[before].swap_remove(at);
        if let Some(&moved) = self.buckets[before].get(at) {
            self.spots[moved].1 = at;
        }
        self.put(place, calls);
        self.find_lowest(self.lowest.min(calls));
    }

    fn put(&mut self, place: usize, calls: usize) {
        if self.buckets.len() <= calls {
            self.buckets.resize_with(calls + 1, Vec::new);
        }
        self.spots[place] = (calls, self.buckets[calls].len());
        self.buckets[calls].push(place);
        self.lowest = self.lowest.min(calls);
    }

    fn find_lowest(&mut self, from: usize) {
        let filled = (from..self.buckets.len()).find(|&calls| !self.buckets[calls].is_empty());
        self.lowest = filled.unwrap_or(0);
    }
}

//! At random: evenly, or by weight.

use super::{Field, draw, takes};
use crate::base::Dice;

/// Draws that may hit a node which may not be asked, before all nodes are looked at. What is drawn after
/// them has the same distribution, so this only trades time.
const DRAWS: usize = 8;

/// Every eligible node with the same probability.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Random {
    #[expect(clippy::unused_self, reason = "a balancer like the others")]
    pub(super) fn pick(self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        let count = field.count();
        for _ in 0..DRAWS.min(count) {
            let place = dice.below(count);
            if field.eligible(place) && takes(field, place, dice) {
                return Some(place);
            }
        }
        draw(count, |place| if field.eligible(place) { field.share(place) } else { 0.0 }, dice)
    }
}

/// Every eligible node with the probability of its weight.
#[derive(Clone, Debug, Default)]
pub struct WeightedRandom {
    weights: Vec<f64>,
    /// The sums of the weights up to and including each place.
    sums: Vec<f64>,
}

impl WeightedRandom {
    pub(super) fn pick(&self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        let total = *self.sums.last()?;
        for _ in 0..DRAWS {
            let point = dice.unit() * total;
            // Rounding may put the point on the very end.
            let place = self.sums.partition_point(|&sum| sum <= point).min(self.sums.len() - 1);
            if field.eligible(place) && takes(field, place, dice) {
                return Some(place);
            }
        }
        let weight = |place: usize| {
            if field.eligible(place) { self.weights[place] * field.share(place) } else { 0.0 }
        };
        draw(self.weights.len(), weight, dice)
    }

    pub(super) fn joined(&mut self, weight: f64) {
        self.weights.push(weight);
        self.sums.push(self.sums.last().unwrap_or(&0.0) + weight);
    }

    pub(super) fn left(&mut self, place: usize) {
        self.weights.remove(place);
        let mut sum = 0.0;
        self.sums = self.weights.iter().map(|weight| (sum += weight, sum).1).collect();
    }
}

//! Rebalancing: who answers better gets more, within bounds and by small steps.
//!
//! In each round a node's worth is its good answers per second of waiting: the share of its calls that went
//! well, over their mean latency. Its *factor* moves towards its worth relative to the pool's, by at most
//! [`STEP`] a round, and stays within [`LEAST`] and [`MOST`]: a figure from a few calls never moves all the
//! traffic, and nobody is starved into having no figures at all (P2). A node with too few calls to judge
//! moves towards 1 (P14), and so does one that is about as good as the others.
//!
//! A node's factor multiplies its weight.

use std::time::Duration;

/// Calls in a round before a node is judged.
const ENOUGH: u32 = 10;
/// The bounds of a factor.
pub(super) const LEAST: f64 = 0.5;
pub(super) const MOST: f64 = 2.0;
/// The most that a factor moves in one round.
const STEP: f64 = 0.25;
/// A worth this close to the pool's is noise.
const NOISE: f64 = 0.1;

/// What a node did in the round under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    good: u32,
    bad: u32,
    waited: f64,
}

impl Round {
    pub(super) fn note(&mut self, good: bool, took: Duration) {
        *(if good { &mut self.good } else { &mut self.bad }) += 1;
        if good {
            self.waited += took.as_secs_f64();
        }
    }

    /// Good answers per second of waiting, times the share of good ones; none from too few calls.
    fn worth(&self) -> Option<f64> {
        let calls = self.good + self.bad;
        if calls < ENOUGH {
            return None;
        }
        let good = f64::from(self.good);
        // A millisecond of floor: below it the differences are the clock's.
        let latency = if self.good == 0 { f64::INFINITY } else { (self.waited / good).max(0.001) };
        Some(good / f64::from(calls) / latency)
    }
}

/// The nodes' next factors, from their factors so far and their rounds.
pub(super) fn next_factors(nodes: &[(f64, Round)]) -> Vec<f64> {
    let worths: Vec<Option<f64>> = nodes.iter().map(|(_, round)| round.worth()).collect();
    let known: Vec<f64> = worths.iter().flatten().copied().collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let target = |worth: Option<f64>| match worth {
        Some(worth) if mean > 0.0 && (worth / mean - 1.0).abs() > NOISE => (worth / mean).clamp(LEAST, MOST),
        _ => 1.0,
    };
    let step = |(&(factor, _), worth): (&(f64, Round), Option<f64>)| {
        factor + (target(worth) - factor).clamp(-STEP, STEP)
    };
    nodes.iter().zip(worths).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(good: u32, bad: u32, millis: u64) -> Round {
        let mut round = Round::default();
        (0..good).for_each(|_| round.note(true, Duration::from_millis(millis)));
        (0..bad).for_each(|_| round.note(false, Duration::ZERO));
        round
    }

    fn rounds(n: u32, nodes: &[Round]) -> Vec<f64> {
        let mut factors = vec![1.0; nodes.len()];
        for _ in 0..n {
            let now: Vec<(f64, Round)> = factors.iter().copied().zip(nodes.iter().copied()).collect();
            factors = next_factors(&now);
        }
        factors
    }

    fn is(factors: &[f64], expected: &[f64]) -> bool {
        factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn who_answers_sooner_gets_more_by_small_steps_within_bounds() {
        let nodes = [round(50, 0, 100), round(50, 0, 900)];
        assert!(is(&rounds(1, &nodes), &[1.25, 0.75]));
        assert!(is(&rounds(50, &nodes), &[1.8, LEAST]));
        let nodes = [round(50, 0, 1), round(50, 0, 900), round(50, 0, 900), round(50, 0, 900)];
        assert!(is(&rounds(50, &nodes), &[MOST, LEAST, LEAST, LEAST]));
    }

    #[test]
    fn who_fails_gets_less() {
        let factors = rounds(50, &[round(50, 0, 100), round(25, 25, 100), round(0, 50, 100)]);
        assert!(factors[0] > factors[1] && factors[1] > factors[2], "{factors:?}");
        assert!((factors[2] - LEAST).abs() < 1e-9, "and is not starved");
    }

    #[test]
    fn equals_and_the_unknown_stay_as_they_are() {
        assert!(is(&rounds(9, &[round(50, 0, 100), round(50, 0, 105)]), &[1.0, 1.0]));
        assert!(is(&rounds(9, &[round(50, 0, 100), round(9, 0, 9000)]), &[1.0, 1.0]));
        let back = next_factors(&[(2.0, round(50, 0, 100)), (0.5, Round::default())]);
        assert!(is(&back, &[1.75, 0.75]), "without figures they go back to where they were");
        assert!(is(&rounds(3, &[round(0, 50, 100), round(0, 50, 100)]), &[1.0, 1.0]), "P5");
    }
}

//! The balancers' stated distributions, and what they do when some may not be asked.

use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_assume, proptest};

use super::*;
use crate::base::SplitMix;

/// Nodes that answer what they are told to.
#[derive(Clone, Default)]
struct Nodes {
    weights: Vec<f64>,
    busy: Vec<u32>,
    away: BTreeSet<usize>,
    shares: Vec<f64>,
    due: Option<usize>,
    key: Option<u64>,
}

impl Nodes {
    fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        Self { weights: weights.to_vec(), busy: vec![0; n], shares: vec![1.0; n], ..Self::default() }
    }

    fn equal(count: usize) -> Self {
        Self::new(&vec![1.0; count])
    }

    fn balancer(&self, strategy: Strategy) -> Balancer {
        let mut balancer = Balancer::new(strategy);
        for (place, weight) in self.weights.iter().enumerate() {
            balancer.joined(&format!("node-{place}"), *weight);
        }
        balancer
    }
}

impl Field for Nodes {
    fn count(&self) -> usize {
        self.weights.len()
    }
    fn eligible(&self, place: usize) -> bool {
        !self.away.contains(&place)
    }
    fn share(&self, place: usize) -> f64 {
        self.shares[place]
    }
    fn load(&self, place: usize) -> f64 {
        f64::from(self.busy[place])
    }
    fn busy(&self, place: usize) -> u32 {
        self.busy[place]
    }
    fn is_due(&self, place: usize) -> bool {
        self.due == Some(place)
    }
    fn anyone_due(&self) -> bool {
        self.due.is_some()
    }
    fn totals(&self) -> (u64, f64) {
        let here = (0..self.count()).filter(|&place| self.eligible(place));
        (self.busy.iter().map(|&busy| u64::from(busy)).sum(), here.map(|place| self.weights[place]).sum())
    }
    fn key(&self) -> Option<u64> {
        self.key
    }
}

const ALL: [Strategy; 8] = [
    Strategy::RoundRobin,
    Strategy::Weighted,
    Strategy::Random,
    Strategy::WeightedRandom,
    Strategy::LeastConnections,
    Strategy::PowerOfTwo,
    Strategy::Sticky,
    Strategy::Outside,
];

fn picks(balancer: &mut Balancer, nodes: &Nodes, n: usize, seed: u64) -> Vec<usize> {
    let dice = &mut SplitMix::new(seed);
    (0..n).map(|_| balancer.pick(nodes, dice).expect("somebody")).collect()
}

fn counts(picked: &[usize], nodes: &Nodes) -> Vec<usize> {
    (0..nodes.count()).map(|place| picked.iter().filter(|&&p| p == place).count()).collect()
}

/// Are the counts within five standard deviations of these probabilities?
fn follows(counts: &[usize], probabilities: &[f64]) -> bool {
    let n = counts.iter().sum::<usize>() as f64;
    counts
        .iter()
        .zip(probabilities)
        .all(|(&count, p)| (count as f64 - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt() + 1e-9)
}

#[test]
fn round_robin_begins_with_the_first_and_gives_each_its_turn() {
    let nodes = Nodes::equal(3);
    let mut b = nodes.balancer(Strategy::RoundRobin);
    assert_eq!(picks(&mut b, &nodes, 7, 1), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn round_robin_spreads_the_share_of_a_failed_node_evenly() {
    let mut nodes = Nodes::equal(4);
    nodes.away.insert(1);
    let mut b = nodes.balancer(Strategy::RoundRobin);
    assert_eq!(counts(&picks(&mut b, &nodes, 300, 1), &nodes), [100, 0, 100, 100]);
}

#[test]
fn nobody_loses_a_turn_when_a_node_leaves() {
    let mut b = Nodes::equal(4).balancer(Strategy::RoundRobin);
    assert_eq!(picks(&mut b, &Nodes::equal(4), 2, 1), [0, 1]);
    b.left(0); // 1, 2, 3 are now 0, 1, 2, and it is 2's turn.
    assert_eq!(picks(&mut b, &Nodes::equal(3), 3, 1), [1, 2, 0]);
}

#[test]
fn weighted_spreads_the_heavy_ones_turns() {
    let nodes = Nodes::new(&[5.0, 1.0, 1.0]);
    let mut b = nodes.balancer(Strategy::Weighted);
    assert_eq!(picks(&mut b, &nodes, 14, 1), [0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
}

#[test]
fn weighted_gives_whoever_was_away_no_burst_when_it_is_back() {
    let mut nodes = Nodes::new(&[2.0, 1.0, 1.0]);
    let mut b = nodes.balancer(Strategy::Weighted);
    nodes.away.insert(0);
    assert_eq!(counts(&picks(&mut b, &nodes, 100, 1), &nodes), [0, 50, 50]);
    nodes.away.clear();
    let back = counts(&picks(&mut b, &nodes, 8, 1), &nodes);
    assert!((3..=5).contains(&back[0]), "{back:?}");
}

#[test]
fn weighted_keeps_its_shares_over_any_number_of_turns() {
    let nodes = Nodes::new(&[1e-5, 3e-5]);
    let mut b = nodes.balancer(Strategy::Weighted);
    // Each turn is 25 000 units of its clock: it starts anew every forty turns.
    assert_eq!(counts(&picks(&mut b, &nodes, 4000, 1), &nodes), [1000, 3000]);
}

#[test]
fn p14_least_connections_breaks_ties_at_random() {
    let mut nodes = Nodes::equal(4);
    nodes.busy = vec![2, 1, 1, 3];
    let mut b = nodes.balancer(Strategy::LeastConnections);
    (0..4).for_each(|place| b.busy(place, nodes.busy[place]));
    let seen = counts(&picks(&mut b, &nodes, 10_000, 42), &nodes);
    assert!(follows(&seen, &[0.0, 0.5, 0.5, 0.0]), "{seen:?}");
    nodes.away.extend([1, 2]);
    assert_eq!(picks(&mut b, &nodes, 3, 1), [0, 0, 0]);
}

#[test]
fn p14_two_choices_break_ties_at_random_and_avoid_the_most_loaded() {
    let mut nodes = Nodes::equal(4);
    let mut b = nodes.balancer(Strategy::PowerOfTwo);
    let seen = counts(&picks(&mut b, &nodes, 10_000, 42), &nodes);
    assert!(follows(&seen, &[0.25; 4]), "{seen:?}");
    nodes.busy = vec![1, 2, 3, 4];
    let seen = counts(&picks(&mut b, &nodes, 12_000, 42), &nodes);
    // Of the six pairs the first wins three, the second two, the third one.
    assert!(follows(&seen, &[3.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0, 0.0]), "{seen:?}");
}

#[test]
fn a_due_probe_outranks_a_bad_score() {
    for strategy in [Strategy::LeastConnections, Strategy::PowerOfTwo] {
        let mut nodes = Nodes::equal(3);
        nodes.busy = vec![0, 0, 60];
        nodes.due = Some(2);
        let mut b = nodes.balancer(strategy);
        b.busy(2, 60);
        assert_eq!(picks(&mut b, &nodes, 1, 1), [2], "{strategy:?}");
        nodes.away.insert(2);
        assert_ne!(picks(&mut b, &nodes, 1, 1), [2], "{strategy:?}");
    }
}

#[test]
fn sticky_keeps_a_key_at_its_node_whoever_else_comes_or_goes() {
    let home = |names: &[&str], key: &str| {
        let mut b = Balancer::new(Strategy::Sticky);
        for name in names {
            b.joined(name, 1.0);
        }
        let mut nodes = Nodes::equal(names.len());
        nodes.key = Some(hash_key(key));
        names[picks(&mut b, &nodes, 1, 1)[0]].to_owned()
    };
    let mut moved = 0;
    for n in 0..1000 {
        let key = format!("conversation-{n}");
        let before = home(&["a", "b", "c", "d"], &key);
        assert_eq!(home(&["d", "c", "b", "a"], &key), before, "the order does not matter");
        let without = home(&["a", "b", "c"], &key);
        assert!(without == before || before == "d", "only the keys of the one that left move");
        moved += usize::from(without != before);
    }
    assert!((150..350).contains(&moved), "{moved} of 1000 keys were at one of four nodes");
}

#[test]
fn p13_exclusion_comes_before_affinity() {
    let mut nodes = Nodes::equal(5);
    nodes.key = Some(hash_key("a conversation"));
    let mut b = nodes.balancer(Strategy::Sticky);
    let home = picks(&mut b, &nodes, 3, 1)[0];
    nodes.away.insert(home);
    let second = picks(&mut b, &nodes, 3, 1);
    assert!(second.iter().all(|&place| place == second[0] && place != home));
    nodes.away.clear();
    assert_eq!(picks(&mut b, &nodes, 1, 1), [home]);
}

#[test]
fn sticky_bounds_the_load_that_one_key_can_bring() {
    for weights in [vec![1.0; 8], vec![1.0, 1.0, 2.0, 4.0]] {
        let mut nodes = Nodes::new(&weights);
        nodes.key = Some(hash_key("everybody's favourite"));
        let mut b = nodes.balancer(Strategy::Sticky);
        let dice = &mut SplitMix::new(1);
        let sum: f64 = weights.iter().sum();
        for calls in 1..=2000u32 {
            let place = b.pick(&nodes, dice).expect("somebody");
            nodes.busy[place] += 1;
            let bound = (1.25 * f64::from(calls) * weights[place] / sum).ceil().max(4.0);
            assert!(f64::from(nodes.busy[place]) <= bound, "{calls} calls: {:?}", nodes.busy);
        }
    }
}

#[test]
fn sticky_spreads_keys_by_weight() {
    let mut nodes = Nodes::new(&[1.0, 1.0, 2.0]);
    let mut b = nodes.balancer(Strategy::Sticky);
    let dice = &mut SplitMix::new(1);
    let mut seen = [0u32; 3];
    for n in 0..8000 {
        nodes.key = Some(hash_key(&format!("key-{n}")));
        seen[b.pick(&nodes, dice).expect("somebody")] += 1;
    }
    // The ring's shares are themselves random: within a quarter of what they should be.
    assert!((1500..2500).contains(&seen[0]) && (1500..2500).contains(&seen[1]), "{seen:?}");
    assert!((3000..5000).contains(&seen[2]), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// P(i) = 1/N among those that may be asked, P(i) = Wᵢ/ΣW where weights count, times the shares where
    /// they do, for any weights, any away, any shares.
    #[test]
    fn each_strategy_keeps_its_stated_distribution(
        weights in prop::collection::vec(1u32..20, 2..12),
        away in prop::collection::btree_set(0usize..12, 0..6),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let mut nodes = Nodes::new(&weights);
        nodes.away = away.into_iter().filter(|&place| place < weights.len()).collect();
        prop_assume!(nodes.away.len() < weights.len());
        if shared {
            nodes.shares = (0..weights.len()).map(|place| 1.0 / (1.0 + (place % 3) as f64)).collect();
            // Somebody who is here takes all its turns: the shares are relative to the largest.
            let most = (0..weights.len()).filter(|p| nodes.eligible(*p)).map(|p| nodes.shares[p]).fold(0.0, f64::max);
            nodes.shares.iter_mut().for_each(|share| *share = (*share / most).min(1.0));
        }
        for strategy in [Strategy::RoundRobin, Strategy::Random, Strategy::Weighted, Strategy::WeightedRandom] {
            let claim = |place: usize| {
                let weight = if strategy.weighs() { weights[place] } else { 1.0 };
                if nodes.eligible(place) { weight * nodes.shares[place] } else { 0.0 }
            };
            let sum: f64 = (0..weights.len()).map(claim).sum();
            let expected: Vec<f64> = (0..weights.len()).map(|place| claim(place) / sum).collect();
            let mut b = nodes.balancer(strategy);
            let seen = counts(&picks(&mut b, &nodes, 20_000, seed), &nodes);
            prop_assert!(follows(&seen, &expected), "{strategy:?}: {seen:?}, not {expected:?} of 20 000");
            if !shared && !matches!(strategy, Strategy::Random | Strategy::WeightedRandom) {
                let exact = seen.iter().zip(&expected).all(|(&n, p)| (n as f64 - p * 20_000.0).abs() <= 20.0);
                prop_assert!(exact, "{strategy:?} takes turns: {seen:?}, not {expected:?}");
            }
        }
    }

    /// Whatever joins, leaves and gets busy: who may be asked is found, and nobody else.
    #[test]
    fn a_pick_is_eligible_and_found_whenever_there_is_one(
        acts in prop::collection::vec((0usize..6, any::<u16>()), 1..80),
        seed in any::<u64>(),
    ) {
        for strategy in ALL {
            let (mut nodes, mut b) = (Nodes::equal(1), Nodes::equal(1).balancer(strategy));
            let dice = &mut SplitMix::new(seed);
            for &(act, word) in &acts {
                let place = usize::from(word) % nodes.count().max(1);
                match act {
                    0 | 1 => {
                        let weight = f64::from(1 + word % 9);
                        b.joined(&format!("n{word}"), weight);
                        nodes.weights.push(weight);
                        nodes.busy.push(0);
                        nodes.shares.push(f64::from(1 + word % 10) / 10.0);
                    }
                    2 if nodes.count() > 1 => {
                        b.left(place);
                        nodes.weights.remove(place);
                        nodes.busy.remove(place);
                        nodes.shares.remove(place);
                        nodes.away = nodes.away.iter().filter(|&&p| p != place)
                            .map(|&p| if p > place { p - 1 } else { p }).collect();
                    }
                    3 if !nodes.away.remove(&place) => drop(nodes.away.insert(place)),
                    4 => {
                        nodes.busy[place] = u32::from(word % 50);
                        b.busy(place, nodes.busy[place]);
                    }
                    _ => nodes.key = Some(hash_key(&word.to_string())),
                }
                let picked = b.pick(&nodes, dice);
                prop_assert_eq!(picked.is_some(), nodes.away.len() < nodes.count(), "{:?}", strategy);
                prop_assert!(picked.is_none_or(|place| nodes.eligible(place)), "{:?}", strategy);
                if let (Strategy::LeastConnections, Some(place)) = (strategy, picked) {
                    let least = (0..nodes.count()).filter(|&p| nodes.eligible(p)).map(|p| nodes.busy[p]).min();
                    prop_assert_eq!(Some(nodes.busy[place]), least);
                }
            }
        }
    }
}

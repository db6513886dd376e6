//! What traffic does to the pool: loads, outliers, panic, ramps and shares.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const FAIL: Verdict = Verdict::Fail(Failure::plain());

fn make(config: &PoolConfig, nodes: Vec<NodeConfig>) -> Pool {
    Pool::with_config(Source::new("pool"), nodes, None, config).unwrap()
}

fn named(names: &[&str]) -> Vec<NodeConfig> {
    names.iter().map(|&name| NodeConfig::new(name)).collect()
}

fn balanced(balancer: Strategy, names: &[&str]) -> Pool {
    make(&PoolConfig { balancer, ..PoolConfig::default() }, named(names))
}

/// A world with callers that each make one call after the other; says how many calls each node got.
struct World<'a> {
    pool: &'a Pool,
    dice: SplitMix,
    now: Time,
    out: Outbox,
    /// What a call to each node takes, and whether it succeeds.
    nodes: Vec<(Duration, bool)>,
}

impl<'a> World<'a> {
    fn new(pool: &'a Pool, nodes: &[(Duration, bool)]) -> Self {
        Self { pool, dice: SplitMix::new(7), now: at(1), out: out(), nodes: nodes.to_vec() }
    }

    fn run(&mut self, callers: usize, span: Duration) -> Vec<u32> {
        let (end, mut calls) = (self.now.after(span), vec![0; self.nodes.len()]);
        let mut under_way = BinaryHeap::new();
        for _ in 0..callers {
            under_way.push(Reverse((self.now, None)));
        }
        while under_way.peek().is_some_and(|Reverse((then, _))| *then < end) {
            let Some(Reverse((then, node))) = under_way.pop() else { break };
            self.now = self.now.max(then);
            if let Some(node) = node {
                self.finish(node);
            }
            let Some(node) = self.pool.pick(&[], &mut |_| true, self.now, &mut self.dice) else {
                under_way.push(Reverse((self.now.after(S), None)));
                continue;
            };
            calls[node.0 as usize] += 1;
            under_way.push(Reverse((self.now.after(self.nodes[node.0 as usize].0), Some(node))));
        }
        self.now = end;
        under_way.into_iter().filter_map(|Reverse((_, node))| node).for_each(|node| self.finish(node));
        assert_eq!(self.pool.metrics().in_flight, 0);
        calls
    }

    fn finish(&mut self, node: NodeId) {
        let (took, good) = self.nodes[node.0 as usize];
        self.pool.finish(node, if good { &Verdict::Ok } else { &FAIL }, took, self.now, &mut self.out);
    }
}

/// A node that fails within a millisecond looks idle; it must not draw the calls.
#[test]
fn p1_a_black_hole_does_not_win() {
    for strategy in [Strategy::LeastConnections, Strategy::PowerOfTwo] {
        let pool = make(
            &PoolConfig { balancer: strategy, max_ejected: 0.0, ..PoolConfig::default() },
            named(&["hole", "b", "c"]),
        );
        let mut world = World::new(&pool, &[(MS, false), (MS * 200, true), (MS * 200, true)]);
        let calls = world.run(10, Duration::from_mins(1));
        let all: u32 = calls.iter().sum();
        assert!(calls[0] * 20 < all, "{strategy:?}: {calls:?}");
        assert!(calls[0] > 5, "and it is tried again (P2): {strategy:?}: {calls:?}");
    }
}

/// Once well again, a node that was bad for long gets its share back.
#[test]
fn p2_a_bad_old_score_decays() {
    for strategy in [Strategy::LeastConnections, Strategy::PowerOfTwo] {
        let pool = balanced(strategy, &["a", "b", "c"]);
        let mut world = World::new(&pool, &[(S * 20, true), (MS * 100, true), (MS * 100, true)]);
        let slow = world.run(6, Duration::from_mins(5));
        world.nodes[0].0 = MS * 100;
        world.run(6, Duration::from_mins(2));
        let well = world.run(6, Duration::from_mins(1));
        let share = |calls: &[u32]| f64::from(calls[0]) / f64::from(calls.iter().sum::<u32>());
        assert!(share(&slow) < 0.05, "{strategy:?}: {slow:?}");
        assert!(share(&well) > 0.2, "{strategy:?}: {well:?}");
    }
}

/// The quicker of two gets more, without anybody telling.
#[test]
fn two_choices_follow_the_latency() {
    let pool = balanced(Strategy::PowerOfTwo, &["quick", "slow", "slower"]);
    let mut world = World::new(&pool, &[(MS * 50, true), (MS * 200, true), (MS * 800, true)]);
    let calls = world.run(30, Duration::from_mins(1));
    assert!(calls[0] > calls[1] && calls[1] > calls[2] && calls[2] > 0, "{calls:?}");
}

/// Nodes of which nothing is known are neither preferred nor avoided.
#[test]
fn p14_a_newcomer_is_not_swamped() {
    let pool = balanced(Strategy::PowerOfTwo, &["a", "b", "c"]);
    let mut world = World::new(&pool, &[(MS * 100, true); 4]);
    world.run(20, Duration::from_mins(1));
    pool.add(NodeConfig::new("new"), world.now, &mut out()).unwrap();
    let calls = world.run(20, Duration::from_mins(1));
    let all: u32 = calls.iter().sum();
    assert!((all / 8..all / 2).contains(&calls[3]), "{calls:?}");
}

/// Failures hold a place for a while, and the books balance in the end.
#[test]
fn p1_a_failure_adds_load_for_a_while() {
    let (pool, out) = (balanced(Strategy::LeastConnections, &["a", "b"]), &mut out());
    let node = pool.pick(&[B], &mut |_| true, at(0), &mut SplitMix::new(1)).unwrap();
    pool.finish(node, &FAIL, MS, at(0), out);
    for second in 0..10 {
        let next = pool.pick(&[], &mut |_| true, at(second), &mut SplitMix::new(second)).unwrap();
        assert_eq!(next, B, "{second} s after the failure");
        pool.finish(next, &Verdict::Ok, MS, at(second), out);
    }
    assert!(pool.views(at(9))[0].load > 0.0 && pool.views(at(9))[0].in_flight == 0);
    let later: Vec<NodeId> =
        (0..20).map(|n| pool.pick(&[], &mut |_| true, at(10), &mut SplitMix::new(n)).unwrap()).collect();
    assert!(later.contains(&A));
}

/// Of ten nodes one fails half of its calls: it is put out for thirty seconds, longer the next time.
#[test]
fn p3_an_outlier_is_put_out_and_tried_again() {
    let pool = balanced(Strategy::RoundRobin, &["a", "b", "c", "d"]);
    let mut out = out();
    let mut calls = |from: u64, n: u32| {
        let mut asked = 0;
        for call in 0..n {
            let now = at(from);
            let node = pool.pick(&[], &mut |_| true, now, &mut SplitMix::new(1)).unwrap();
            asked += u32::from(node == A);
            let bad = node == A && call % 8 < 4;
            pool.finish(node, if bad { &FAIL } else { &Verdict::Ok }, MS, now, &mut out);
        }
        asked
    };
    assert!(calls(0, 400) < 60, "most of its turns went to others");
    assert_eq!((calls(1, 40), calls(29, 40)), (0, 0));
    assert!(calls(31, 200) > 0);
    assert!(pool.views(at(32))[0].ejected_until.is_some_and(|until| until == at(31 + 60)));
    let told: Vec<String> =
        told(&mut out).into_iter().filter(|line| line.starts_with("node_ejected")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("node_ejected a ") && told[0].ends_with(" 30s"), "{told:?}");
}

/// However many fail, a floor of ready nodes stays, whoever else is down.
#[test]
fn p3_ejection_keeps_a_floor() {
    let pool = balanced(Strategy::Random, &["a", "b", "c", "d", "e", "f"]);
    let mut world = World::new(&pool, &[(MS, true); 6]);
    world.nodes[4..].iter_mut().for_each(|node| node.1 = false);
    pool.convict(A, Evidence::Report, "away", at(0), &mut out());
    pool.convict(B, Evidence::Report, "away", at(0), &mut out());
    world.run(1, S * 5);
    let ejected = |pool: &Pool| pool.views(at(6)).iter().filter(|v| v.ejected_until.is_some()).count();
    assert_eq!(ejected(&pool), 1, "three of six may be out, and two are down");
    let pool = balanced(Strategy::Random, &["a", "b"]);
    let mut world = World::new(&pool, &[(MS, false), (MS, true)]);
    world.run(1, S * 5);
    world.nodes[1].1 = false;
    world.run(1, S * 5);
    assert_eq!(ejected(&pool), 1, "never the last one");
}

/// All fail alike: the fault is ours.
#[test]
fn p5_when_all_fail_alike_nobody_is_ejected() {
    let pool = balanced(Strategy::Random, &["a", "b", "c", "d"]);
    let mut world = World::new(&pool, &[(MS, true); 4]);
    world.run(1, S * 2);
    world.nodes.iter_mut().for_each(|node| node.1 = false);
    world.run(1, S * 60);
    assert!(!told(&mut world.out).iter().any(|line| line.starts_with("node_ejected")));
}

/// Under the limit all are used but those the operator has closed; it ends with a margin.
#[test]
fn p4_panic_uses_everybody_and_ends_with_a_margin() {
    let config = PoolConfig { panic_below: 0.5, ..PoolConfig::default() };
    let pool = make(&config, named(&["a", "b", "c", "d", "e"]));
    let (out, dice) = (&mut out(), &mut SplitMix::new(1));
    let closed = pool.disable("e", at(0), out).unwrap();
    let mut asked = |admits: bool| {
        let picks: Vec<NodeId> =
            (0..8).filter_map(|_| pool.pick(&[], &mut |_| admits, at(1), dice)).collect();
        assert!(!picks.contains(&closed));
        [A, B, C, NodeId(3)].map(|node| picks.iter().filter(|&&n| n == node).count())
    };
    pool.convict(A, Evidence::Heartbeat, "", at(0), out);
    pool.convict(B, Evidence::Report, "", at(0), out);
    assert_eq!(asked(true), [0, 0, 4, 4], "two of four are healthy: no panic yet");
    pool.convict(C, Evidence::Breaker, "", at(0), out);
    assert!(pool.panics());
    assert_eq!(asked(false), [2, 2, 2, 2], "breakers are not asked either");
    assert_eq!(pool.ready_count(&mut |_| false, at(1)), 4);
    pool.acquit(C, Evidence::Breaker, at(2), out);
    assert!(pool.panics(), "exactly at the limit it goes on");
    pool.acquit(A, Evidence::Heartbeat, at(3), out);
    assert!(!pool.panics());
    let panics: Vec<String> = told(out).into_iter().filter(|line| line.starts_with("panic")).collect();
    assert_eq!(panics, ["panic_entered 1 4", "panic_left 3 4"]);
}

/// A node that is back takes a growing part of its turns.
#[test]
fn b24_a_returning_node_ramps() {
    let config = PoolConfig { slow_start: S * 100, ..PoolConfig::default() };
    let (pool, out) = (make(&config, named(&["a", "b"])), &mut out());
    let dice = &mut SplitMix::new(3);
    pool.convict(A, Evidence::Report, "", at(0), out);
    pool.acquit(A, Evidence::Report, at(100), out);
    let mut share = |second: u64| {
        let asked = (0..1000).filter(|_| pool.pick(&[], &mut |_| true, at(second), dice) == Some(A)).count();
        asked as f64 / 1000.0
    };
    let shares = [share(100), share(150), share(180), share(200), share(500)];
    let expected = [0.09, 0.34, 0.44, 0.5, 0.5];
    let near = shares.iter().zip(expected).all(|(share, p)| (share - p).abs() < 0.06);
    assert!(near && shares.is_sorted(), "{shares:?}");
    pool.disable("b", at(600), out).unwrap();
    pool.disable("a", at(600), out).unwrap();
    pool.enable("a", at(601), out).unwrap();
    assert_eq!(pool.pick(&[], &mut |_| true, at(601), dice), Some(A), "it is better than none");
}

/// Traffic returns to the better tier after a hold, by a ramp; a key that is home again stays there.
#[test]
fn p9_failback_is_damped() {
    let spare = NodeConfig { tier: 1, ..NodeConfig::new("spare") };
    let config = PoolConfig {
        balancer: Strategy::Sticky,
        failback_hold: S * 30,
        slow_start: S * 60,
        ..PoolConfig::default()
    };
    let (pool, out, dice) =
        (make(&config, vec![NodeConfig::new("first"), spare]), &mut out(), &mut SplitMix::new(1));
    pool.convict(A, Evidence::Report, "", at(0), out);
    pool.acquit(A, Evidence::Report, at(100), out);
    let keys: Vec<String> = (0..500).map(|n| format!("conversation {n}")).collect();
    let mut home = |second: u64| {
        let mut at_home = Vec::new();
        for key in &keys {
            let node = pool.pick_for(Some(key), &[], &mut |_| true, at(second), dice).unwrap();
            pool.finish(node, &Verdict::Ok, MS, at(second), out);
            at_home.push(node == A);
        }
        at_home
    };
    let count = |homes: &[bool]| homes.iter().filter(|home| **home).count();
    assert_eq!((count(&home(100)), count(&home(129))), (0, 0), "held");
    let (early, late) = (home(145), home(175));
    assert!((75..175).contains(&count(&early)), "{} of 500 after a quarter", count(&early));
    assert!((325..425).contains(&count(&late)), "{} of 500 after three quarters", count(&late));
    assert!(early.iter().zip(&late).all(|(early, late)| *late || !*early), "who is home stays there");
    assert_eq!(count(&home(190)), 500);
}

/// Every interval the shares follow latency and success, and the traffic follows the shares.
#[test]
fn shares_are_rebalanced_once_per_interval() {
    let pool = balanced(Strategy::Weighted, &["quick", "slow"]);
    let mut world = World::new(&pool, &[(MS * 100, true), (MS * 900, true)]);
    let before = world.run(1, S * 299);
    assert!(before[0].abs_diff(before[1]) <= 1, "{before:?}");
    world.run(1, S * 3000);
    let after = world.run(1, S * 200);
    assert!(after[0] > 3 * after[1], "{after:?}");
    let views = pool.views(world.now);
    assert!((views[0].share + views[1].share - 1.0).abs() < 1e-9);
    assert!((0.75..0.80).contains(&views[0].share), "1.8 to 0.5: {}", views[0].share);
    assert!((views[0].weight - 1.0).abs() < 1e-9, "the weight is the user's");
    let rebalanced =
        |out: &mut Outbox| told(out).into_iter().filter(|line| line.starts_with("rebalanced")).count();
    let (mut keen, later) = (Outbox::new(Outbox::EVERYTHING), world.now.after(S * 300));
    assert_eq!(pool.rebalance_if_due(later, &mut keen), Some(later.after(S * 300)));
    assert_eq!((rebalanced(&mut keen), rebalanced(&mut world.out)), (1, 0), "built only if wanted");
    let never = make(&PoolConfig { rebalance_interval: None, ..PoolConfig::default() }, named(&["a", "b"]));
    World::new(&never, &[(MS * 100, true), (MS * 900, true)]).run(1, S * 3000);
    assert!((never.views(at(9999))[0].share - 0.5).abs() < 1e-9);
    assert!(!never.rebalances() && pool.rebalances());
}

/// Whoever looks at load itself has no shares to compute.
#[test]
fn balancers_that_follow_the_load_are_not_rebalanced() {
    for strategy in [Strategy::LeastConnections, Strategy::PowerOfTwo] {
        let (pool, mut out) = (balanced(strategy, &["a", "b"]), Outbox::new(Outbox::EVERYTHING));
        assert_eq!((pool.rebalances(), pool.rebalance_if_due(at(9999), &mut out)), (false, None));
        assert!(out.is_empty());
    }
}

/// Whom the breaker lets pass again is asked before those with better scores.
#[test]
fn a_node_whose_breaker_waits_for_a_probe_is_asked_soon() {
    let pool = balanced(Strategy::PowerOfTwo, &["a", "b", "c"]);
    let (out, dice) = (&mut out(), &mut SplitMix::new(1));
    pool.convict(B, Evidence::Breaker, "breaker", at(0), out);
    pool.expect_back(B, Some(at(30)));
    let mut asked = |second: u64| {
        let node = pool.pick(&[], &mut |n| n != B || second >= 30, at(second), dice).unwrap();
        pool.finish(node, &Verdict::Ok, MS, at(second), &mut Outbox::new(0));
        node
    };
    assert!((0..30).all(|second| asked(second) != B));
    assert_eq!(asked(30), B);
}

/// Whoever chooses outside is shown the best tier's nodes that may be asked.
#[test]
fn candidates_are_of_the_lowest_tier_that_has_some() {
    let mut nodes = named(&["a", "b", "c"]);
    nodes[2].tier = 1;
    let pool = make(&PoolConfig { balancer: Strategy::Outside, ..PoolConfig::default() }, nodes);
    assert!(pool.is_balanced_outside());
    assert_eq!(pool.candidates(&[], &mut |_| true, at(0)), [A, B]);
    assert_eq!(pool.candidates(&[A], &mut |n| n != B, at(0)), [C]);
    assert_eq!(pool.candidates(&[A, B, C], &mut |_| true, at(0)), []);
    assert!(pool.enter(B, at(0)));
    pool.disable("b", at(0), &mut out()).unwrap();
    assert!(!pool.enter(B, at(0)));
}

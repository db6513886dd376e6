//! Laws that hold whatever happens, in whatever order.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Convict(u32, usize),
    Acquit(u32, usize),
    Recovering(u32),
    Beat(u32),
    Miss(u32),
    Drain(u32),
    Enable(u32),
    Disable(u32),
    Call(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0..4u32;
    prop_oneof![
        (node.clone(), 0..4usize).prop_map(|(n, e)| Act::Convict(n, e)),
        (node.clone(), 0..4usize).prop_map(|(n, e)| Act::Acquit(n, e)),
        node.clone().prop_map(Act::Recovering),
        node.clone().prop_map(Act::Beat),
        node.clone().prop_map(Act::Miss),
        node.clone().prop_map(Act::Drain),
        node.clone().prop_map(Act::Enable),
        node.prop_map(Act::Disable),
        any::<bool>().prop_map(Act::Call),
    ]
}

fn perform(pool: &Pool, act: &Act, now: Time, out: &mut Outbox) {
    let name = |n: u32| ["a", "b", "c", "d"][n as usize];
    match *act {
        Act::Convict(n, e) => pool.convict(NodeId(n), Evidence::ALL[e], "x", now, out),
        Act::Acquit(n, e) => pool.acquit(NodeId(n), Evidence::ALL[e], now, out),
        Act::Recovering(n) => pool.recovering(NodeId(n), now, out),
        Act::Beat(n) => drop(pool.beat(NodeId(n), now, out)),
        Act::Miss(n) => pool.miss(NodeId(n), "x", now, out),
        Act::Drain(n) => drop(pool.drain(name(n), now, out)),
        Act::Enable(n) => drop(pool.enable(name(n), now, out)),
        Act::Disable(n) => drop(pool.disable(name(n), at(0), out)),
        Act::Call(ok) => {
            let views = pool.views(now);
            if let Some(node) = pool.pick(&[], &mut |_| true, now, &mut SplitMix::new(1)) {
                let view = &views[node.0 as usize];
                let only_breaker = view.convicted_by.iter().all(|&by| by == Evidence::Breaker);
                assert!(view.enabled && view.state != NodeState::Draining && only_breaker);
                let verdict = if ok { Verdict::Ok } else { Verdict::Ignore };
                pool.finish(node, &verdict, Duration::ZERO, now, out);
            }
        }
    }
}

/// The five events of an outage, by their place in the story.
fn place(event: &Event) -> Option<(usize, Arc<str>)> {
    match event {
        Event::NodeMarkedFailed { node, .. } => Some((0, node.clone())),
        Event::FailoverStarted { node, .. } => Some((1, node.clone())),
        Event::FailoverCompleted { node, .. } => Some((2, node.clone())),
        Event::RecoveryStarted { node, .. } => Some((3, node.clone())),
        Event::RecoveryCompleted { node, .. } => Some((4, node.clone())),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the evidence does, each outage tells its five events once and in order, a node is
    /// out exactly while its story is unfinished, and the totals agree with what was told.
    #[test]
    fn each_outage_tells_its_story_once_and_in_order(acts in prop::collection::vec(act(), 1..100)) {
        let (pool, mut out) = (pool(&["a", "b", "c", "d"]), out());
        let mut stories: HashMap<Arc<str>, usize> = HashMap::new();
        let mut completed = 0;
        for (t, act) in acts.iter().enumerate() {
            perform(&pool, act, at(t as u64), &mut out);
            for (step, node) in out.drain().filter_map(|event| place(&event)) {
                let next = stories.entry(node).or_insert(0);
                prop_assert_eq!(*next, step);
                *next = (step + 1) % 5;
                completed += u64::from(step == 4);
            }
            for view in pool.views(at(t as u64)) {
                let unfinished = stories.get(&view.name).is_some_and(|&next| next != 0);
                prop_assert_eq!(unfinished, view.down_since.is_some());
                prop_assert_eq!(unfinished, !view.convicted_by.is_empty());
                prop_assert_eq!(view.in_flight, 0);
                if stories.get(&view.name) == Some(&2) {
                    prop_assert!(pool.views(at(0)).iter().all(|v| !v.ready), "a ready node is a home");
                }
            }
        }
        prop_assert_eq!(pool.metrics().recoveries, completed);
    }

    /// P(i) = 1/N over whichever nodes are ready: no two shares differ by more than one call.
    #[test]
    fn round_robin_gives_equal_shares(down in prop::collection::vec(any::<bool>(), 1..12), calls in 1usize..200) {
        let names: Vec<String> = (0..down.len()).map(|n| n.to_string()).collect();
        let pool = pool(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, _) in names.iter().zip(&down).filter(|(_, down)| **down) {
            pool.disable(name, at(0), &mut out()).unwrap();
        }
        let mut shares = vec![0usize; down.len()];
        for _ in 0..calls {
            if let Some(node) = pick(&pool, &[]) {
                shares[node.0 as usize] += 1;
            }
        }
        let up = || shares.iter().zip(&down).filter(|(_, down)| !**down).map(|(n, _)| *n);
        if let (Some(least), Some(most)) = (up().min(), up().max()) {
            prop_assert!(most - least <= 1);
            prop_assert_eq!(up().sum::<usize>(), calls);
        }
    }
}

/// P11: nodes drain, leave and join under eight threads of calls. Every call finds a node and ends
/// on it; nothing stays in flight.
#[test]
fn p11_nodes_come_and_go_under_load_and_no_call_is_lost() {
    let pool = pool(&["a", "b"]);
    std::thread::scope(|s| {
        for seed in 0..8 {
            let pool = &pool;
            s.spawn(move || {
                let (mut dice, mut out) = (SplitMix::new(seed), out());
                for _ in 0..5_000 {
                    let node = pool.pick(&[], &mut |_| true, at(0), &mut dice).expect("one is always ready");
                    pool.finish(node, &Verdict::Ok, Duration::ZERO, at(0), &mut out);
                }
            });
        }
        let mut out = out();
        for _ in 0..500 {
            pool.add(NodeConfig::new("guest"), at(0), &mut out).unwrap();
            pool.drain("a", at(0), &mut out).unwrap();
            pool.remove("guest", at(0), &mut out).unwrap();
            pool.enable("a", at(0), &mut out).unwrap();
        }
    });
    assert_eq!(pool.metrics().in_flight, 0);
    assert_eq!(pool.ready_count(&mut |_| true, Time::ZERO), 2);
}

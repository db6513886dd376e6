//! The pool as a whole: evidence, outages, picks, and the operator's will.

use std::time::Duration;

mod traffic;

use super::*;
use crate::base::{Event, Failure, SplitMix};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

fn at(secs: u64) -> Time {
    Time::from_millis(secs * 1000)
}

fn heartbeat() -> HeartbeatConfig {
    HeartbeatConfig { interval: Duration::from_secs(1), jitter: 0.0, ..HeartbeatConfig::default() }
}

fn pool(names: &[&str]) -> Pool {
    let nodes = names.iter().map(|&n| NodeConfig::new(n)).collect();
    Pool::new(Source::new("pool"), nodes, Some(heartbeat())).unwrap()
}

/// What happened, one line per event: kind, node, and the field that matters.
fn told(out: &mut Outbox) -> Vec<String> {
    out.drain()
        .map(|event| {
            let fields = event.fields().into_iter().map(|(_, f)| match f {
                crate::base::Field::Text(t) => t.to_string(),
                crate::base::Field::Span(s) => format!("{}s", s.as_secs()),
                crate::base::Field::Count(n) => n.to_string(),
                other => format!("{other:?}"),
            });
            format!("{} {}", event.kind().as_str(), fields.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn out() -> Outbox {
    Outbox::new(0)
}

fn pick(pool: &Pool, exclude: &[NodeId]) -> Option<NodeId> {
    pool.pick(exclude, &mut |_| true, Time::ZERO, &mut SplitMix::new(1))
}

fn state(pool: &Pool, node: NodeId) -> &'static str {
    pool.views(Time::ZERO).into_iter().find(|v| v.id == node).unwrap().state.as_str()
}

#[test]
fn bad_input_names_field_rule_and_value() {
    let source = || Source::new("pool");
    assert_eq!(Pool::new(source(), vec![], None).unwrap_err().field, "nodes");
    let twice = vec![NodeConfig::new("a"), NodeConfig::new("a")];
    let error = Pool::new(source(), twice, None).unwrap_err();
    assert_eq!((error.field, error.value.as_str()), ("name", "\"a\""));
    let pool = pool(&["a"]);
    assert_eq!(pool.add(NodeConfig::new("a"), at(0), &mut out()).unwrap_err().field, "name");
    assert_eq!(pool.remove("z", at(0), &mut out()).unwrap_err().field, "name");
}

/// An outage of one node among two, found and ended by its heartbeat: all five events, once, in order.
#[test]
fn an_outage_is_told_once_and_in_order() {
    let (pool, out) = (pool(&["a", "b"]), &mut out());
    for t in 1..=4 {
        pool.miss(A, "connect", at(t), out);
    }
    assert_eq!(
        told(out),
        [
            "node_suspected a connect",
            "node_marked_failed a heartbeat",
            "failover_started a",
            "failover_completed a b"
        ]
    );
    assert_eq!((state(&pool, A), pick(&pool, &[]), pick(&pool, &[])), ("down", Some(B), Some(B)));
    pool.beat(A, at(5), out);
    assert_eq!(state(&pool, A), "recovering");
    pool.miss(A, "connect", at(6), out);
    assert_eq!(state(&pool, A), "down");
    pool.beat(A, at(7), out);
    pool.beat(A, at(8), out);
    assert_eq!(told(out), ["recovery_started a", "recovery_completed a 5s"]);
    assert_eq!(state(&pool, A), "up");
    let metrics = pool.metrics();
    assert_eq!((metrics.failures, metrics.recoveries), (1, 1));
    assert_eq!(metrics.mean_recovery_time, Some(Duration::from_secs(5)));
}

/// Suspicion costs a node nothing, and one good beat ends it.
#[test]
fn a_suspect_node_is_still_picked() {
    let (pool, out) = (pool(&["a"]), &mut out());
    pool.miss(A, "timeout", at(1), out);
    assert_eq!((state(&pool, A), pick(&pool, &[])), ("suspect", Some(A)));
    pool.beat(A, at(2), out);
    assert_eq!(state(&pool, A), "up");
    assert_eq!(told(out), ["node_suspected a timeout"]);
}

fn watched(detector: DetectorConfig, asks: bool) -> Pool {
    let heartbeat = HeartbeatConfig { detector, asks, ..heartbeat() };
    let nodes = ["a", "b"].map(NodeConfig::new).into();
    Pool::new(Source::new("pool"), nodes, Some(heartbeat)).unwrap()
}

/// Runs the schedule up to `until`, each look at its time; nobody who is asked answers.
fn listen(pool: &Pool, until: Time, out: &mut Outbox) {
    while let Some(then) = pool.next_due().filter(|&then| then <= until) {
        pool.listen(then, out);
        pool.due(then, &mut SplitMix::new(1));
    }
}

/// Nobody asks: silence of three intervals convicts, beats in a row acquit.
#[test]
fn nodes_that_are_only_heard_are_convicted_by_their_silence() {
    let (pool, out) = (watched(DetectorConfig::Counting, false), &mut out());
    listen(&pool, at(0), out);
    for t in 1..=10 {
        pool.beat(B, at(t), out);
        listen(&pool, at(t), out);
    }
    let failed = ["node_suspected a silence", "node_marked_failed a heartbeat", "failover_started a"];
    assert_eq!(told(out)[..3], failed);
    assert_eq!((state(&pool, A), state(&pool, B)), ("down", "up"));
    pool.beat(A, at(11), out);
    assert_eq!(state(&pool, A), "recovering");
    pool.beat(A, at(12), out);
    assert_eq!((state(&pool, A), told(out).len()), ("up", 2));
}

/// A node whose silence was ours is not convicted (P6), and whoever starts to listen anew begins at zero.
#[test]
fn p6_a_listener_that_was_away_convicts_nobody() {
    let (pool, out) = (watched(DetectorConfig::Counting, false), &mut out());
    listen(&pool, at(0), out);
    pool.beat(A, at(1), out);
    pool.listen(at(3600), out);
    assert_eq!((told(out).len(), state(&pool, A)), (0, "up"));
    listen(&pool, at(3602), out);
    assert_eq!(told(out), ["node_suspected b silence", "node_suspected a silence"]);
    pool.beat(A, at(3602), out);
    pool.beat(B, at(3602), out);
    pool.restart_heartbeat();
    pool.listen(at(9000), out);
    assert_eq!((told(out).len(), state(&pool, A)), (0, "up"));
    listen(&pool, at(9003), out);
    assert_eq!((state(&pool, A), state(&pool, B)), ("down", "down"));
}

/// φ judges by the node's own rhythm: the same silence convicts the quick node and not the slow one.
#[test]
fn p7_each_node_is_judged_by_its_own_rhythm() {
    let config = PhiConfig { acceptable_pause: Some(Duration::ZERO), ..PhiConfig::default() };
    let (pool, out) = (watched(DetectorConfig::Phi(config), false), &mut out());
    listen(&pool, at(0), out);
    for t in 1..=60 {
        listen(&pool, at(t), out);
        pool.beat(A, at(t), out);
        if t % 2 == 0 {
            pool.beat(B, at(t), out);
        }
    }
    assert_eq!((state(&pool, A), state(&pool, B)), ("up", "up"));
    listen(&pool, at(62), out);
    assert_eq!((state(&pool, A), state(&pool, B)), ("down", "up"));
    listen(&pool, at(63), out);
    assert_eq!(state(&pool, B), "down");
}

/// A node that no heartbeat asks is listened to once it has sent a beat of its own.
#[test]
fn a_node_that_is_not_asked_is_heard_from_its_first_beat_on() {
    let deadline = DetectorConfig::Deadline(DeadlineConfig {
        timeout: Some(Duration::from_secs(5)),
        suspect_after: None,
    });
    let heartbeat = HeartbeatConfig { detector: deadline, ..heartbeat() };
    let node = NodeConfig { heartbeat: false, ..NodeConfig::new("a") };
    let (pool, out) = (Pool::new(Source::new("pool"), vec![node], Some(heartbeat)).unwrap(), &mut out());
    assert_eq!(pool.next_due(), None);
    pool.beat(A, at(10), out);
    listen(&pool, at(14), out);
    assert_eq!(state(&pool, A), "suspect");
    listen(&pool, at(15), out);
    assert_eq!(state(&pool, A), "down");
}

/// Traffic convicted; however many pings succeed, only traffic acquits.
#[test]
fn p8_a_ping_alone_cannot_clear_what_traffic_convicted() {
    let (pool, out) = (pool(&["a", "b"]), &mut out());
    pool.convict(A, Evidence::Breaker, "server", at(1), out);
    for t in 2..50 {
        pool.beat(A, at(t), out);
    }
    assert_eq!(state(&pool, A), "down");
    assert_eq!(told(out), ["node_marked_failed a breaker", "failover_started a", "failover_completed a b"]);
    pool.recovering(A, at(50), out);
    pool.acquit(A, Evidence::Breaker, at(51), out);
    assert_eq!(told(out), ["recovery_started a", "recovery_completed a 50s"]);
}

/// Two witnesses, one outage: it ends when the last of them is satisfied, whichever that is.
#[test]
fn p8_each_evidence_clears_its_own_flag_only() {
    for last in Evidence::ALL {
        let (pool, out) = (pool(&["a", "b"]), &mut out());
        for by in Evidence::ALL {
            pool.convict(A, by, "x", at(1), out);
        }
        for by in Evidence::ALL.into_iter().filter(|&by| by != last) {
            pool.acquit(A, by, at(2), out);
        }
        assert_eq!(told(out).len(), 3, "one outage, still under way");
        assert_eq!(state(&pool, A), "down");
        pool.acquit(A, last, at(3), out);
        assert_eq!(told(out), ["recovery_started a", "recovery_completed a 2s"]);
        assert_eq!(state(&pool, A), "up");
    }
}

/// A node that its breaker takes back while its heartbeat wavers comes back as a suspect, and says so.
#[test]
fn what_began_during_an_outage_is_told_when_it_ends() {
    let (pool, out) = (pool(&["a"]), &mut out());
    pool.convict(A, Evidence::Breaker, "server", at(1), out);
    pool.miss(A, "timeout", at(2), out);
    assert_eq!((state(&pool, A), told(out).len()), ("down", 2));
    pool.acquit(A, Evidence::Breaker, at(3), out);
    assert_eq!(told(out).last().unwrap(), "node_suspected a timeout");
    assert_eq!(state(&pool, A), "suspect");
}

/// A single node has nowhere to fail over to: that is said just before its recovery starts.
#[test]
fn a_lone_node_completes_its_failover_with_no_home() {
    let (pool, out) = (pool(&["a"]), &mut out());
    pool.convict(A, Evidence::Report, "pager", at(1), out);
    assert_eq!(told(out), ["node_marked_failed a report: pager", "failover_started a"]);
    pool.acquit(A, Evidence::Report, at(4), out);
    assert_eq!(told(out), ["failover_completed a None", "recovery_started a", "recovery_completed a 3s"]);
}

/// With everybody out, the first to come back is the home of the others' traffic.
#[test]
fn a_stranded_failover_completes_when_a_node_becomes_ready() {
    let (pool, out) = (pool(&["a", "b", "c"]), &mut out());
    for node in [A, B, C] {
        pool.convict(node, Evidence::Breaker, "x", at(1), out);
    }
    assert!(told(out).contains(&"failover_completed b c".to_owned()));
    pool.acquit(B, Evidence::Breaker, at(2), out);
    assert_eq!(told(out), ["recovery_started b", "recovery_completed b 1s", "failover_completed c b"]);
    pool.remove("c", at(3), out).unwrap();
    pool.convict(B, Evidence::Breaker, "x", at(3), out);
    told(out);
    pool.add(NodeConfig::new("d"), at(4), out).unwrap();
    assert_eq!(told(out), ["node_added d", "failover_completed b d"]);
}

/// A breaker's conviction leaves the last word to the breaker; the other kinds do not.
#[test]
fn only_the_breakers_own_conviction_is_left_to_the_breaker() {
    let (pool, out) = (pool(&["a"]), &mut out());
    pool.convict(A, Evidence::Breaker, "x", at(1), out);
    let ask = |yes: bool| pool.pick(&[], &mut |_| yes, at(1), &mut SplitMix::new(1));
    assert_eq!((ask(false), ask(true)), (None, Some(A)));
    assert_eq!(pool.ready_count(&mut |_| true, Time::ZERO), 1);
    pool.convict(A, Evidence::Report, "x", at(1), out);
    assert_eq!((ask(true), pool.ready_count(&mut |_| true, Time::ZERO)), (None, 0));
}

/// A pick that its breaker refused counts no call, and the next in turn is asked.
#[test]
fn a_refused_pick_moves_on_and_counts_nothing() {
    let pool = pool(&["a", "b"]);
    let picked = pool.pick(&[], &mut |n| n != A, at(0), &mut SplitMix::new(1));
    assert_eq!(picked, Some(B));
    let in_flight: Vec<u32> = pool.views(at(0)).iter().map(|v| v.in_flight).collect();
    assert_eq!(in_flight, [0, 1]);
    assert_eq!(pool.pick(&[B], &mut |n| n != A, at(0), &mut SplitMix::new(1)), None);
}

/// A higher tier is used only while no lower one has a node to offer; each tier keeps its own turn.
#[test]
fn tiers_are_used_lowest_first() {
    let tiered = |name: &str, tier| NodeConfig { tier, ..NodeConfig::new(name) };
    let nodes = vec![tiered("spare", 7), tiered("x", 1), tiered("y", 1)];
    let pool = Pool::new(Source::new("pool"), nodes, None).unwrap();
    assert_eq!([pick(&pool, &[]), pick(&pool, &[B, C]), pick(&pool, &[])], [Some(B), Some(A), Some(C)]);
    pool.disable("x", at(0), &mut out()).unwrap();
    pool.disable("y", at(0), &mut out()).unwrap();
    assert_eq!(pick(&pool, &[]), Some(A));
    pool.enable("x", at(0), &mut out()).unwrap();
    assert_eq!(pick(&pool, &[]), Some(B));
}

/// A draining node keeps its calls and gets no new one; its last answer is told.
#[test]
fn p11_a_node_drains_and_leaves_without_losing_a_call() {
    let (pool, out) = (pool(&["a", "b"]), &mut out());
    assert_eq!(pick(&pool, &[]), Some(A));
    pool.drain("a", at(1), out).unwrap();
    assert_eq!((state(&pool, A), pick(&pool, &[]), pick(&pool, &[])), ("draining", Some(B), Some(B)));
    assert_eq!(told(out), Vec::<String>::new());
    pool.finish(A, &Verdict::Ok, Duration::from_millis(5), at(2), out);
    assert_eq!(told(out), ["node_drained a"]);
    pool.remove("b", at(3), out).unwrap();
    pool.finish(B, &Verdict::Ok, Duration::ZERO, at(4), out);
    pool.drain("a", at(5), out).unwrap();
    assert_eq!(told(out), ["node_removed b"], "draining twice is told once");
    assert_eq!(pick(&pool, &[]), None);
}

/// Every pick is in flight until it is finished, whatever its verdict.
#[test]
fn finishing_takes_a_call_out_of_flight_and_keeps_its_figures() {
    let (pool, out) = (pool(&["a"]), &mut out());
    let verdicts = [Verdict::Ok, Verdict::Ignore, Verdict::Fail(Failure::plain())];
    for verdict in verdicts {
        let node = pick(&pool, &[]).unwrap();
        pool.finish(node, &verdict, Duration::from_millis(40), at(1), out);
    }
    let view = pool.views(at(1)).remove(0);
    assert_eq!((view.in_flight, view.last_error.as_deref()), (0, Some("unknown")));
    assert_eq!(view.latency, Some(Duration::from_millis(40)), "only good answers count");
    assert_eq!(pool.metrics().in_flight, 0);
}

/// When a node may be back is known from its breaker and its heartbeat, whichever is later.
#[test]
fn the_earliest_return_is_known_where_it_can_be() {
    let (pool, out) = (pool(&["a", "b"]), &mut out());
    pool.due(at(10), &mut SplitMix::new(1));
    for t in 11..14 {
        pool.miss(A, "connect", at(t), out);
    }
    pool.convict(B, Evidence::Report, "x", at(13), out);
    // Two good beats are missing: the first is due at 11, the second at 12.
    assert_eq!(pool.earliest(&mut |_| None, Time::ZERO), Some(at(12)));
    assert_eq!(pool.earliest(&mut |_| Some(at(30)), Time::ZERO), Some(at(30)));
    pool.acquit(B, Evidence::Report, at(14), out);
    assert_eq!(pool.earliest(&mut |n| (n == B).then_some(at(5)), Time::ZERO), Some(at(5)));
}

/// The same dice make the same schedule; P6's guard is reached through the pool as well.
#[test]
fn p6_a_late_ticker_convicts_nobody() {
    let (pool, out, dice) = (pool(&["a"]), &mut Outbox::new(Outbox::EVERYTHING), &mut SplitMix::new(1));
    for round in 0..10 {
        // Each round comes ten intervals after the last.
        assert_eq!(pool.due(at(round * 10), dice), [A]);
        pool.miss(A, "timeout", at(round * 10), out);
    }
    assert_eq!(
        (state(&pool, A), told(out)),
        ("suspect", vec!["heartbeat_missed a 1 timeout".to_owned(), "node_suspected a timeout".to_owned(),]),
        "only the first question was asked in time"
    );
}

mod laws {
    //! Laws that hold whatever happens, in whatever order.

    use std::collections::HashMap;

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
            (node.clone(), 0..3usize).prop_map(|(n, e)| Act::Convict(n, e)),
            (node.clone(), 0..3usize).prop_map(|(n, e)| Act::Acquit(n, e)),
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
            Act::Beat(n) => pool.beat(NodeId(n), now, out),
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
                        let node =
                            pool.pick(&[], &mut |_| true, at(0), &mut dice).expect("one is always ready");
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
}

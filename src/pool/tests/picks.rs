//! Who may be asked, by the operator's will and by what is known; and what calls leave behind.

use super::*;

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

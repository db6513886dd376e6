//! Evidence and outages: who speaks against a node, who takes it back, and what is told of it.

use super::*;

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

/// Where it is trusted to, a heartbeat says so once it has come often enough since traffic failed: not by what
/// came before, not while it wavers, and not where it has been lost itself.
#[test]
fn p8_a_trusted_heartbeat_may_clear_what_traffic_convicted() {
    let trusted = HeartbeatConfig { clears_traffic: true, ..heartbeat() };
    let nodes = ["a", "b"].map(NodeConfig::new).into();
    let (pool, out) = (Pool::new(Source::new("pool"), nodes, Some(trusted)).unwrap(), &mut out());
    assert!(![1, 2, 3].into_iter().any(|t| pool.beat(A, at(t), out)), "nothing is to be cleared");
    pool.convict(A, Evidence::Breaker, "server", at(4), out);
    assert!(!pool.beat(A, at(5), out), "one beat of two");
    pool.miss(A, "timeout", at(6), out);
    assert!(!pool.beat(A, at(7), out) && pool.beat(A, at(8), out));
    pool.recovering(A, at(9), out);
    pool.convict(A, Evidence::Breaker, "server", at(9), out);
    assert!(!pool.beat(A, at(10), out), "a probe of traffic has failed since");
    pool.convict(A, Evidence::Breaker, "server", at(10), out);
    assert!(pool.beat(A, at(11), out), "a late answer of the same failure tells nothing new");
    for t in 12..15 {
        pool.miss(A, "timeout", at(t), out);
    }
    assert!(!pool.beat(A, at(15), out), "lost, and seen once");
    assert!(pool.beat(A, at(16), out), "found again");
    pool.acquit(A, Evidence::Breaker, at(16), out);
    assert_eq!(state(&pool, A), "up");
    assert!(!pool.beat(A, at(17), out));
}

/// A node whose restarts are used up is not counted as one that comes back by itself, until they are free again
/// or it is back all the same.
#[test]
fn a_node_that_was_given_up_is_not_recoverable() {
    let (pool, out) = (pool(&["a", "b"]), &mut out());
    let recoverable =
        |second: u64| pool.records(at(second)).iter().map(|(_, r)| r.recoverable).collect::<Vec<_>>();
    pool.convict(A, Evidence::Process, "ended with code 1", at(1), out);
    assert_eq!(recoverable(1), [true, true]);
    pool.give_up(A, Some(at(60)));
    assert_eq!((recoverable(59), recoverable(60)), (vec![false, true], vec![true, true]));
    pool.give_up(A, None);
    assert_eq!(recoverable(2), [true, true], "it is being restarted");
    pool.give_up(A, Some(at(60)));
    pool.acquit(A, Evidence::Process, at(3), out);
    pool.convict(A, Evidence::Process, "ended with code 1", at(4), out);
    assert_eq!(recoverable(4), [true, true], "another outage");
}

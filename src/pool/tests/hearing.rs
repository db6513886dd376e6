//! What is heard of the nodes, and what their silence means.

use super::*;

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

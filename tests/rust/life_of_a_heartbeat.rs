//! Life of a heartbeat: `runtime/ticker` → `pool/heartbeat` (who is due) → `runtime/probe` →
//! `pool/detector` → `pool/node` → `base/event` → `runtime/dispatch`.
//!
//! The servers and the probes are real, the time is not: nothing here waits for a clock.

use std::future::{pending, ready};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use holdfast::base::{Failure, NodeId, Outbox, Source, SplitMix, Verdict};
use holdfast::pipeline::{Costs, Moment, Roster};
use holdfast::policy::breaker::{Breaker, BreakerConfig};
use holdfast::pool::{HeartbeatConfig, NodeConfig, Pool, PoolConfig, Strategy};
use holdfast::runtime::probe::{HttpProbe, Probe, ProbeFuture, ProbeTable};
use holdfast::runtime::{self, Ticker, clock, dispatch, engine};

use crate::turn::ManualTurn;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

/// A server on loopback that answers 200 to everything, until it is killed.
struct Server {
    port: u16,
    alive: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Port 0 lets the system choose.
    #[expect(clippy::disallowed_methods, reason = "a server is somebody else's process")]
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (port, alive) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(true)));
        let still = alive.clone();
        let thread = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if !still.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Write);
            }
        }));
        Self { port, alive, thread }
    }

    fn probe(&self) -> Arc<dyn Probe> {
        let url = format!("http://127.0.0.1:{}/health", self.port);
        Arc::new(HttpProbe::new(&url, "GET", &[], 200..400).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.thread.take().map(JoinHandle::join);
    }
}

fn roster(names: &[&str], failure_threshold: u32) -> Arc<Roster> {
    let heartbeat = HeartbeatConfig {
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(400),
        failure_threshold,
        jitter: 0.0,
        ..HeartbeatConfig::default()
    };
    let nodes = names.iter().map(|&name| NodeConfig::new(name)).collect();
    over(Pool::new(Source::new("pool"), nodes, Some(heartbeat)).unwrap())
}

/// The pool without breakers.
fn over(pool: Pool) -> Arc<Roster> {
    Arc::new(Roster::new(Arc::new(pool), Source::new("pool"), None))
}

fn state(roster: &Roster, name: &str) -> &'static str {
    roster.pool().views(clock::now()).iter().find(|v| &*v.name == name).unwrap().state.as_str()
}

fn pick(roster: &Roster) -> Option<NodeId> {
    let pool = roster.pool();
    let node = pool.pick(&[], &mut |_| true, clock::now(), &mut SplitMix::new(1))?;
    let mut out = Outbox::new(0);
    pool.finish(node, &Verdict::Ok, Duration::ZERO, clock::now(), &mut out);
    Some(node)
}

/// What happened since the last look, each line with its time in seconds after `start`.
fn trace(turn: &ManualTurn, start: SystemTime) -> Vec<String> {
    let line = |stamped: dispatch::Stamped| {
        let at = stamped.at.duration_since(start).unwrap().as_secs_f64();
        format!("{at:.1} {}", dispatch::Line(&stamped.event))
    };
    turn.events().into_iter().map(line).collect()
}

/// Two servers, one is killed and comes back: each step at its time, all five events once and in order.
#[test]
fn b12_p6_a_node_dies_and_recovers_on_the_beat() {
    let turn = ManualTurn::take();
    let (server_a, server_b) = (Server::start(0), Server::start(0));
    let (roster, probes) = (roster(&["a", "b"], 3), Arc::new(ProbeTable::default()));
    probes.set(A, server_a.probe());
    probes.set(B, server_b.probe());
    let start = clock::wall();
    let _ticker = Ticker::start(&roster, probes).unwrap();

    turn.advance(0.5);
    assert_eq!((trace(&turn, start).len(), state(&roster, "a")), (0, "up"), "good beats are no news");

    let port = server_a.port;
    drop(server_a);
    turn.advance(1.0);
    assert_eq!(state(&roster, "a"), "suspect");
    turn.advance(3.0);
    assert_eq!(
        trace(&turn, start),
        [
            "1.0 pool: heartbeat_missed node=a misses=1 reason=connect",
            "1.0 pool: node_suspected node=a reason=connect",
            "2.0 pool: heartbeat_missed node=a misses=2 reason=connect",
            "3.0 pool: heartbeat_missed node=a misses=3 reason=connect",
            "3.0 pool: node_marked_failed node=a reason=heartbeat",
            "3.0 pool: failover_started node=a",
            "3.0 pool: failover_completed node=a to_node=b",
            "4.0 pool: heartbeat_missed node=a misses=4 reason=connect",
        ]
    );
    assert_eq!((state(&roster, "a"), pick(&roster), pick(&roster)), ("down", Some(B), Some(B)));

    let _server_a = Server::start(port);
    turn.advance(1.0);
    assert_eq!(state(&roster, "a"), "recovering");
    turn.advance(1.0);
    assert_eq!(
        trace(&turn, start),
        ["5.0 pool: recovery_started node=a", "6.0 pool: recovery_completed node=a downtime=3.000s"]
    );
    assert_eq!((state(&roster, "a"), pick(&roster), pick(&roster)), ("up", Some(A), Some(B)));
}

/// Asks nobody: says what it is told to, and counts how often it was asked.
struct Scripted {
    asked: AtomicU32,
    answer: fn(NodeId) -> ProbeFuture,
}

impl Scripted {
    fn new(answer: fn(NodeId) -> ProbeFuture) -> Arc<Self> {
        Arc::new(Self { asked: AtomicU32::new(0), answer })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Probe for Scripted {
    fn probe(&self, node: NodeId) -> ProbeFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.answer)(node)
    }
}

fn well(_: NodeId) -> ProbeFuture {
    Box::pin(ready(Ok(())))
}

/// A server that accepts and never answers: the timeout is the clock's, and counts as a miss.
#[test]
fn a_silent_node_is_missed_when_its_timeout_is_over() {
    let turn = ManualTurn::take();
    let roster = roster(&["a"], 1);
    let start = clock::wall();
    let _ticker = Ticker::start(&roster, Scripted::new(|_| Box::pin(pending()))).unwrap();
    turn.advance(0.5);
    assert_eq!(
        trace(&turn, start)[..2],
        [
            "0.4 pool: heartbeat_missed node=a misses=1 reason=timeout",
            "0.4 pool: node_marked_failed node=a reason=heartbeat",
        ]
    );
}

/// A probe that panics is a miss of its node, and the heartbeat of the others goes on.
#[test]
fn r8_a_probe_that_panics_is_a_miss() {
    let turn = ManualTurn::take();
    let roster = roster(&["a", "b"], 2);
    let probes = Scripted::new(|node| if node == A { panic!("as this test told it to") } else { well(node) });
    let _ticker = Ticker::start(&roster, probes.clone()).unwrap();
    turn.advance(1.5);
    assert_eq!((state(&roster, "a"), state(&roster, "b"), probes.asked()), ("down", "up", 4));
}

/// One question per interval, whoever reads the clock in between; a node that joins is asked at once.
#[test]
fn a_joining_node_is_asked_without_waiting_for_the_next_beat() {
    let turn = ManualTurn::take();
    let (roster, probes) = (roster(&["a"], 1), Scripted::new(well));
    let ticker = Ticker::start(&roster, probes.clone()).unwrap();
    turn.advance(10.5);
    assert_eq!(probes.asked(), 11);
    roster.pool().add(NodeConfig::new("b"), clock::now(), &mut dispatch::outbox()).unwrap();
    ticker.wake();
    turn.advance(0.1);
    assert_eq!(probes.asked(), 12);
}

/// The shares are computed anew at the end of each interval, with its event, though nobody calls any more and
/// no heartbeat beats; they stay within their bounds, and what is not refreshed goes back to where it was.
#[test]
fn shares_are_rebalanced_on_time_while_nobody_calls() {
    let turn = ManualTurn::take();
    let config = PoolConfig { balancer: Strategy::Weighted, ..PoolConfig::default() };
    let nodes = ["quick", "slow"].map(NodeConfig::new).into();
    let roster = over(Pool::with_config(Source::new("pool"), nodes, None, &config).unwrap());
    let start = clock::wall();
    let _ticker = Ticker::start(&roster, Scripted::new(well)).unwrap();
    for _ in 0..20 {
        let node = roster.pool().pick(&[], &mut |_| true, clock::now(), &mut SplitMix::new(1)).unwrap();
        let took = Duration::from_millis(if node == A { 100 } else { 900 });
        roster.pool().finish(node, &Verdict::Ok, took, clock::now(), &mut Outbox::new(0));
    }
    turn.advance(299.0);
    assert_eq!(trace(&turn, start), [""; 0]);
    turn.advance(902.0);
    assert_eq!(
        trace(&turn, start),
        [
            "300.0 pool: rebalanced changed=true shares=quick=0.625 slow=0.375",
            "600.0 pool: rebalanced changed=true shares=quick=0.500 slow=0.500",
            "900.0 pool: rebalanced changed=false shares=quick=0.500 slow=0.500",
            "1200.0 pool: rebalanced changed=false shares=quick=0.500 slow=0.500",
        ]
    );
}

/// P8: beats alone do not close the breaker that traffic has opened, unless they are trusted to.
#[test]
fn p8_a_heartbeat_clears_what_traffic_found_only_where_it_is_trusted() {
    for trusted in [false, true] {
        let turn = ManualTurn::take();
        let heartbeat = HeartbeatConfig {
            interval: Duration::from_secs(1),
            jitter: 0.0,
            clears_traffic: trusted,
            ..HeartbeatConfig::default()
        };
        let nodes = ["a", "b"].map(NodeConfig::new).into();
        let pool = Arc::new(Pool::new(Source::new("pool"), nodes, Some(heartbeat)).unwrap());
        let template = Breaker::new(Source::new("pool"), BreakerConfig::default());
        let roster = Arc::new(Roster::new(pool, Source::new("pool"), Some(template)));
        let start = clock::wall();
        let _ticker = Ticker::start(&roster, Scripted::new(well)).unwrap();
        turn.advance(0.5);
        let mut out = dispatch::outbox();
        let dice = &mut SplitMix::new(1);
        while state(&roster, "a") == "up" {
            let at = &mut Moment { now: clock::now(), dice, out: &mut out };
            let seat = roster.pick(None, &[B], &Costs::default(), at).unwrap();
            let failed = Verdict::Fail(Failure::plain());
            roster.settle(seat, &failed, Duration::ZERO, at);
        }
        dispatch::post(&mut out);
        turn.advance(10.0);
        let told = trace(&turn, start);
        if trusted {
            let expected = [
                "2.0 pool/a: circuit_closed reason=recovered",
                "2.0 pool: recovery_started node=a",
                "2.0 pool: recovery_completed node=a downtime=1.500s",
            ];
            assert_eq!(told[told.len() - 3..], expected);
        } else {
            assert_eq!(
                told.last().map(String::as_str),
                Some("0.5 pool: failover_completed node=a to_node=b")
            );
        }
        assert_eq!(state(&roster, "a"), if trusted { "up" } else { "down" });
    }
}

/// The pool is held weakly, and a stopped ticker asks nobody until it is revived.
#[test]
fn a_heartbeat_ends_with_its_pool_or_its_ticker() {
    let turn = ManualTurn::take();
    let (roster, probes) = (roster(&["a"], 1), Scripted::new(well));
    let ticker = Ticker::start(&roster, probes.clone()).unwrap();
    turn.advance(2.5);
    ticker.stop();
    turn.advance(60.0);
    assert_eq!((probes.asked(), ticker.is_running()), (3, false));
    ticker.revive().unwrap();
    turn.advance(0.5);
    assert_eq!((probes.asked(), state(&roster, "a")), (4, "up"), "a long pause is nobody's fault");
    drop(roster);
    turn.advance(60.0);
    assert_eq!((probes.asked(), ticker.is_running()), (4, false));
}

/// The engine is shut down under a running heartbeat, as at the end of a process: it can be revived.
#[test]
fn a_heartbeat_survives_a_shutdown_of_the_engine() {
    let turn = ManualTurn::take();
    let (roster, probes) = (roster(&["a"], 1), Scripted::new(well));
    let ticker = Ticker::start(&roster, probes.clone()).unwrap();
    turn.advance(0.5);
    engine::shutdown(Duration::from_secs(2));
    assert!(!ticker.is_running());
    ticker.revive().unwrap();
    turn.advance(0.5);
    assert_eq!(probes.asked(), 2);
}

/// R2: what a forked child finds. Run in a process of its own, because it cannot be undone.
#[test]
fn r2_a_child_starts_anew() {
    const CHILD: &str = "HOLDFAST_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return in_the_child();
    }
    // Alone: until it is exec'd the new process holds the listening sockets of other tests open.
    let _turn = ManualTurn::take();
    let name = "life_of_a_heartbeat::r2_a_child_starts_anew";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn in_the_child() {
    let turn = ManualTurn::take();
    let (roster, probes) = (roster(&["a"], 1), Scripted::new(well));
    let ticker = Ticker::start(&roster, probes.clone()).unwrap();
    turn.advance(0.5);
    let mut out = dispatch::outbox();
    roster.pool().add(NodeConfig::new("b"), clock::now(), &mut out).unwrap();
    dispatch::post(&mut out);
    runtime::before_fork();
    runtime::after_fork_in_child();
    assert!(!engine::is_running() && !ticker.is_running());
    assert!(turn.events().is_empty(), "the parent tells its own events");
    turn.advance(5.0);
    assert_eq!(probes.asked(), 1, "nothing runs until it is used");
    ticker.revive().unwrap();
    turn.advance(0.5);
    assert_eq!(probes.asked(), 3, "both nodes are asked at once");
    drop(ticker);
    engine::shutdown(Duration::from_secs(2));
}

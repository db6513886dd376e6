//! Life of a restart: the pool convicts → `runtime/medic` → `pool/recovery` (is it due?) → `runtime/errands`
//! (somebody else restarts it) → probes → the pool acquits → `base/event`.
//!
//! The test plays the part of Python: it takes the errands and does them. Time is moved by hand.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use holdfast::base::{NodeId, Source};
use holdfast::policy::retry::Backoff;
use holdfast::pool::{Evidence, HeartbeatConfig, NodeConfig, Pool, RecoveryConfig};
use holdfast::runtime::errands::{self, Job, What};
use holdfast::runtime::medic::{Care, Cares, MedicConfig};
use holdfast::runtime::probe::{Probe, ProbeFuture};
use holdfast::runtime::{Medic, clock, dispatch};
use parking_lot::Mutex;

use crate::turn::ManualTurn;

const A: NodeId = NodeId(0);

/// How a step ends, by its name.
type Ends = fn(&str) -> Result<(), &'static str>;

/// Whoever does errands, on a thread of their own until dropped.
struct Hands {
    did: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hands {
    fn that(ends: Ends) -> Self {
        let (did, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (list, end): (Arc<Mutex<Vec<String>>>, _) = (Arc::clone(&did), Arc::clone(&stop));
        let work = move || {
            while !end.load(Ordering::SeqCst) {
                for errand in errands::take(Duration::from_millis(5)).unwrap_or_default() {
                    let name: &&str = errand.job.downcast_ref().expect("a job of this test");
                    if errand.what == What::Do {
                        errand.begun();
                        list.lock().push((*name).to_owned());
                        errand.done(ends(name).map_err(Into::into));
                    }
                }
            }
        };
        Self { did, stop, thread: Some(spawn(work)) }
    }

    fn did(&self) -> Vec<String> {
        std::mem::take(&mut *self.did.lock())
    }
}

#[expect(clippy::disallowed_methods, reason = "these are somebody else's hands")]
fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Every node answers, always or never.
struct Answers(bool);

impl Probe for Answers {
    fn probe(&self, _: NodeId) -> ProbeFuture {
        Box::pin(ready(if self.0 { Ok(()) } else { Err("connect".into()) }))
    }
}

/// A pool of a, which can be restarted, and b; and its medic.
struct Ward {
    pool: Arc<Pool>,
    medic: Medic,
    start: SystemTime,
}

impl Ward {
    /// Two restarts in a minute, two seconds apart; probes come every second, two in a row are enough.
    fn open(answers: bool) -> Self {
        let second = Duration::from_secs(1);
        let heartbeat = HeartbeatConfig { interval: second, jitter: 0.0, ..HeartbeatConfig::default() };
        let nodes = ["a", "b"].map(NodeConfig::new).into();
        let pool = Arc::new(Pool::new(Source::new("pool"), nodes, Some(heartbeat)).unwrap());
        let config = MedicConfig {
            recovery: RecoveryConfig { max_restarts: 2, within: second * 60, patience: second * 30 },
            backoff: Backoff::Constant(second * 2),
            timeout: second * 5,
        };
        let job = |step: &'static str| Arc::new(step) as Job;
        let care = Care { restart: job("restart"), sync_state: Some(job("sync_state")) };
        let cares = Arc::new(Cares::default());
        cares.write().insert(A, care);
        let medic = Medic::new(&pool, config, Arc::new(Answers(answers)), cares);
        medic.revive().unwrap();
        Self { pool, medic, start: clock::wall() }
    }

    /// The process of a has ended.
    fn lose_a(&self) {
        let mut out = dispatch::outbox();
        self.pool.convict(A, Evidence::Process, "was ended by SIGKILL", clock::now(), &mut out);
        dispatch::post(&mut out);
    }

    /// What happened since the last look, each line with its time in seconds.
    fn trace(&self, turn: &ManualTurn) -> Vec<String> {
        let line = |stamped: dispatch::Stamped| {
            let at = stamped.at.duration_since(self.start).unwrap().as_secs_f64();
            format!("{at:.1} {}", dispatch::Line(&stamped.event))
        };
        turn.events().into_iter().map(line).collect()
    }

    fn recoverable(&self) -> bool {
        self.pool.records(clock::now())[0].1.recoverable
    }
}

const LOST: [&str; 3] = [
    "0.0 pool: node_marked_failed node=a reason=report: process was ended by SIGKILL",
    "0.0 pool: failover_started node=a",
    "0.0 pool: failover_completed node=a to_node=b",
];

/// Restarted, brought up to date, probed as often as a heartbeat would, and back: each step at its time.
#[test]
fn a_node_that_is_out_is_restarted_brought_up_to_date_and_probed() {
    let turn = ManualTurn::take();
    let (hands, ward) = (Hands::that(|_| Ok(())), Ward::open(true));
    ward.lose_a();
    turn.advance(5.0);
    let told = ward.trace(&turn);
    assert_eq!(told[..3], LOST);
    assert_eq!(
        told[3..],
        [
            "0.0 pool: recovery_started node=a",
            "0.0 pool: restart_attempted node=a attempt=1",
            "0.0 pool: restart_completed node=a attempt=1",
            "0.0 pool: state_synced node=a",
            "1.0 pool: recovery_completed node=a downtime=1.000s",
        ]
    );
    assert_eq!(hands.did(), ["restart", "sync_state"]);
}

/// Restarts that fail are spaced and bounded; then the node is given up, until its budget is free again.
#[test]
fn restarts_are_spaced_and_bounded_and_a_node_given_up_does_not_count_as_recoverable() {
    let turn = ManualTurn::take();
    let (hands, ward) =
        (Hands::that(|step| if step == "restart" { Err("OSError") } else { Ok(()) }), Ward::open(true));
    ward.lose_a();
    turn.advance(1.0);
    assert!(ward.recoverable(), "it is being restarted");
    turn.advance(4.0);
    let told = ward.trace(&turn);
    assert_eq!(
        told[4..],
        [
            "0.0 pool: restart_attempted node=a attempt=1",
            "0.0 pool: restart_failed node=a attempt=1 step=restart error=OSError",
            "2.0 pool: restart_attempted node=a attempt=2",
            "2.0 pool: restart_failed node=a attempt=2 step=restart error=OSError",
            "4.0 pool: restarts_exhausted node=a restarts=2 within=60.000s retry_after=56.000s",
        ]
    );
    assert!(!ward.recoverable());
    assert_eq!(hands.did(), ["restart"; 2], "what failed is not brought up to date");
    turn.advance(55.5);
    assert_eq!(
        ward.trace(&turn),
        [
            "60.0 pool: restart_attempted node=a attempt=3",
            "60.0 pool: restart_failed node=a attempt=3 step=restart error=OSError",
        ]
    );
    assert!(ward.recoverable());
}

/// A restart that went well of a node that does not answer afterwards is a failed one.
#[test]
fn a_node_that_does_not_answer_after_its_restart_is_restarted_again() {
    let turn = ManualTurn::take();
    let (hands, ward) = (Hands::that(|_| Ok(())), Ward::open(false));
    ward.lose_a();
    turn.advance(2.5);
    let told = ward.trace(&turn);
    let failed: Vec<&String> = told.iter().filter(|line| line.contains("restart_failed")).collect();
    assert_eq!(
        failed,
        [
            "0.0 pool: restart_failed node=a attempt=1 step=probe error=connect",
            "2.0 pool: restart_failed node=a attempt=2 step=probe error=connect",
        ]
    );
    assert_eq!(hands.did(), ["restart", "sync_state"].repeat(2));
}

/// P6: where nobody does errands a restart is not waited for in vain for ever, and is tried again.
#[test]
fn a_restart_that_nobody_begins_has_failed_after_a_while() {
    let turn = ManualTurn::take();
    let ward = Ward::open(true);
    ward.lose_a();
    turn.advance(30.0);
    let told = ward.trace(&turn).join("\n");
    assert!(
        told.contains("restart_failed node=a attempt=1 step=restart error=it was not begun in time"),
        "{told}"
    );
    drop(ward);
    // Nor is the errand left for those who come later to do.
    assert!(errands::take(Duration::ZERO).is_some());
}

/// Nobody is overruled: a node that was drained or disabled by hand is left alone, and cared for once enabled.
#[test]
fn an_operators_will_stands() {
    let turn = ManualTurn::take();
    let (hands, ward) = (Hands::that(|_| Ok(())), Ward::open(true));
    let mut out = dispatch::outbox();
    ward.pool.disable("a", clock::now(), &mut out).unwrap();
    ward.lose_a();
    turn.advance(100.0);
    assert_eq!(hands.did(), [""; 0]);
    ward.pool.enable("a", clock::now(), &mut out).unwrap();
    turn.advance(3.0);
    assert_eq!(hands.did(), ["restart", "sync_state"]);
}

/// A medic that was stopped restarts nobody until it works again; without a pool there is nothing to work for.
#[test]
fn a_medic_works_for_its_pool_until_it_is_told_to_stop() {
    let turn = ManualTurn::take();
    let (hands, ward) = (Hands::that(|_| Ok(())), Ward::open(true));
    ward.medic.stop();
    ward.lose_a();
    turn.advance(10.0);
    assert_eq!(hands.did(), [""; 0]);
    ward.medic.revive().unwrap();
    turn.advance(10.0);
    assert_eq!(hands.did(), ["restart", "sync_state"]);
    let Ward { pool, medic, .. } = ward;
    drop(pool);
    medic.stop();
    medic.revive().unwrap();
    assert_eq!(format!("{medic:?}"), "Medic { working: false, .. }");
}

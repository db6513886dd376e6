//! The ticker: the heartbeat of one pool, as one task in the background.
//!
//! ```text
//!   sleep until pool.next_due() ─▶ pool.due() ─▶ one probe each, with a timeout ─▶ beat | miss ─▶ dispatch
//!        ▲    ▲ woken: a node joined                                                  │
//!        └────┴───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! It holds the pool weakly: a pool that nobody uses any more ends its own heartbeat. A probe that
//! panics is a miss, not the end of the heartbeat.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::clock::{self, Busy};
use super::dice::ThreadDice;
use super::probe::{Answer, Heard, Probe};
use super::process::{generation, quiet};
use super::{dispatch, engine};
use crate::base::{NodeId, Time};
use crate::pool::Pool;

/// The heartbeat of a pool. Dropping it ends it.
pub struct Ticker {
    pool: Weak<Pool>,
    probes: Arc<dyn Probe>,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// The process it runs in: after a fork there is no task behind it (R2).
    generation: usize,
    task: AbortHandle,
    errands: UnboundedSender<Busy>,
}

impl Ticker {
    /// Starts to ask the nodes of `pool` by `probes`, the first time at once. A pool without a heartbeat
    /// has nobody to ask. Errors if the system gives us no thread.
    pub fn start(pool: &Arc<Pool>, probes: Arc<dyn Probe>) -> io::Result<Self> {
        let ticker = Self { pool: Arc::downgrade(pool), probes, running: Mutex::new(None) };
        ticker.revive()?;
        Ok(ticker)
    }

    /// Starts it again if it does not run: after a stop, in a forked child, after the engine was shut
    /// down. Cheap if it runs.
    pub fn revive(&self) -> io::Result<()> {
        let mut running = self.running.lock();
        if running.as_ref().is_some_and(Running::is_alive) {
            return Ok(());
        }
        if let Some(stale) = running.take() {
            stale.end();
        }
        let Some(pool) = self.pool.upgrade() else { return Ok(()) };
        pool.restart_heartbeat();
        let (errands, calls) = unbounded_channel();
        // Time stands still until the first questions are answered.
        let busy = Busy::begin();
        let task = engine::spawn(tick(self.pool.clone(), self.probes.clone(), calls, busy))?.abort_handle();
        *running = Some(Running { generation: generation(), task, errands });
        Ok(())
    }

    /// Does it run in this process?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.lock().as_ref().is_some_and(Running::is_alive)
    }

    /// The pool has changed: somebody may be due earlier than it thinks.
    pub fn wake(&self) {
        if let Some(running) = self.running.lock().as_ref().filter(|r| r.is_alive()) {
            drop(running.errands.send(Busy::begin()));
        }
    }

    /// Ends it. Questions under way are given up, and count for nothing.
    pub fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.end();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

impl Running {
    fn is_alive(&self) -> bool {
        self.generation == generation() && !self.task.is_finished()
    }

    fn end(self) {
        if self.generation == generation() {
            self.task.abort();
        } else {
            // The parent's task: touching it could wait for a thread that is not here.
            mem::forget(self);
        }
    }
}

/// The answers under way. A task that panics loses everything but its id: hence the map, and the guard
/// in it, which holds the manual clock until the answer is judged.
#[derive(Default)]
struct Asked {
    probes: JoinSet<Answer>,
    nodes: HashMap<Id, (NodeId, Busy)>,
}

async fn tick(
    pool: Weak<Pool>,
    probes: Arc<dyn Probe>,
    mut errands: UnboundedReceiver<Busy>,
    mut busy: Busy,
) {
    let mut asked = Asked::default();
    loop {
        let Some(next) = pool.upgrade().map(|pool| ask_the_due(&pool, &probes, &mut asked, &busy)) else {
            return;
        };
        tokio::select! {
            biased;
            Some(done) = asked.probes.join_next_with_id() => {
                busy = judge(&pool, &mut asked.nodes, done);
            }
            errand = errands.recv() => match errand {
                Some(guard) => busy = guard,
                None => return,
            },
            guard = clock::sleep_until(next, mem::take(&mut busy)) => busy = guard,
        }
    }
}

/// Asks everybody who is due, and tells when somebody is due next.
fn ask_the_due(pool: &Pool, probes: &Arc<dyn Probe>, asked: &mut Asked, busy: &Busy) -> Time {
    let mut out = dispatch::outbox();
    let (due, next) = {
        let _quiet = quiet();
        let now = clock::now();
        pool.listen(now, &mut out);
        (pool.due(now, &mut ThreadDice), pool.next_due())
    };
    dispatch::post(&mut out);
    for node in due {
        let (probes, patience) = (probes.clone(), pool.patience(node));
        // Asked inside the task, so that a probe that panics at once does no more harm than one that does later.
        let task = asked.probes.spawn(async move { probes.ask(node, patience).await });
        asked.nodes.insert(task.id(), (node, busy.clone()));
    }
    next.unwrap_or(Time::NEVER)
}

/// Tells the pool what came of a question, and the world what follows.
fn judge(
    pool: &Weak<Pool>,
    asked: &mut HashMap<Id, (NodeId, Busy)>,
    done: Result<(Id, Answer), JoinError>,
) -> Busy {
    let (task, Answer { heard, woken: _woken }) = match done {
        Ok(done) => done,
        Err(error) => (error.id(), Answer::of(Err("the probe panicked".into()))),
    };
    let Some((node, busy)) = asked.remove(&task) else { return Busy::idle() };
    let Some(pool) = pool.upgrade() else { return busy };
    tracing::debug!(target: "holdfast::heartbeat", "{}: node {} {heard}", pool.source().name(), pool.name_of(node));
    let mut out = dispatch::outbox();
    {
        let _quiet = quiet();
        let now = clock::now();
        match heard {
            Heard::Beat => pool.beat(node, now, &mut out),
            Heard::Miss(reason) => pool.miss(node, &reason, now, &mut out),
            Heard::Nothing => pool.unheard(node, now),
        }
    }
    dispatch::post(&mut out);
    busy
}

//! The ticker: the heartbeat of one pool, and its other errands on time, as one task in the background.
//!
//! ```text
//!   pool.listen, pool.rebalance_if_due, pool.due ─▶ one probe each, with a timeout ─▶ beat | miss ─▶ dispatch
//! ```
//!
//! It holds the roster weakly: a pool that nobody uses any more ends its own heartbeat. A probe that
//! panics is a miss, not the end of the heartbeat.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{Id, JoinError, JoinSet};

use super::background::{Background, Work, labour};
use super::clock::{self, Busy};
use super::dice::ThreadDice;
use super::dispatch;
use super::probe::{Answer, Heard, Probe};
use super::process::quiet;
use crate::base::{NodeId, Time};
use crate::pipeline::Roster;

/// The heartbeat of a pool. Dropping it ends it.
pub struct Ticker {
    roster: Weak<Roster>,
    probes: Arc<dyn Probe>,
    task: Background<UnboundedSender<Busy>>,
}

impl Ticker {
    /// Starts to ask the nodes of `roster` by `probes`, the first time at once. Of a pool without a heartbeat
    /// it asks nobody. Errors if the system gives us no thread.
    pub fn start(roster: &Arc<Roster>, probes: Arc<dyn Probe>) -> io::Result<Self> {
        let ticker = Self { roster: Arc::downgrade(roster), probes, task: Background::default() };
        ticker.revive()?;
        Ok(ticker)
    }

    /// Starts it again if it does not run: after a stop, in a forked child, after the engine was shut
    /// down. Cheap if it runs.
    pub fn revive(&self) -> io::Result<()> {
        self.task.ensure(|| {
            self.roster.upgrade()?.pool().restart_heartbeat();
            let (line, calls) = unbounded_channel();
            let beats =
                Beats { roster: self.roster.clone(), probes: self.probes.clone(), asked: HashMap::new() };
            // Time stands still until the first questions are answered.
            Some((line, labour(beats, calls, Busy::begin())))
        })
    }

    /// Does it run in this process?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.task.is_running()
    }

    /// The pool has changed: somebody may be due earlier than it thinks.
    pub fn wake(&self) {
        self.task.call(|line| drop(line.send(Busy::begin())));
    }

    /// Ends it. Questions under way are given up, and count for nothing.
    pub fn stop(&self) {
        self.task.stop();
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

struct Beats {
    roster: Weak<Roster>,
    probes: Arc<dyn Probe>,
    /// Who is being asked. A task that panics loses everything but its id: hence the map, and the guard in
    /// it, which holds the manual clock until the answer is judged.
    asked: HashMap<Id, (NodeId, Busy)>,
}

impl Work for Beats {
    type Piece = Answer;

    /// Asks everybody who is due, and tells when somebody is due next.
    fn look(&mut self, pieces: &mut JoinSet<Answer>, busy: &Busy) -> Option<Time> {
        let roster = self.roster.upgrade()?;
        let pool = roster.pool();
        let mut out = dispatch::outbox();
        let (due, next) = {
            let _quiet = quiet();
            let now = clock::now();
            pool.listen(now, &mut out);
            let rebalance = pool.rebalance_if_due(now, &mut out);
            let due = pool.due(now, &mut ThreadDice);
            (due, [pool.next_due(), rebalance])
        };
        dispatch::post(&mut out);
        for node in due {
            let (probes, patience) = (self.probes.clone(), pool.patience(node));
            // Asked inside the task, so that a probe that panics at once does no more harm than one that does later.
            let task = pieces.spawn(async move { probes.ask(node, patience).await });
            self.asked.insert(task.id(), (node, busy.clone()));
        }
        Some(next.into_iter().flatten().min().unwrap_or(Time::NEVER))
    }

    /// Tells the pool what came of a question, and the world what follows.
    fn ended(&mut self, piece: Result<(Id, Answer), JoinError>) -> Busy {
        let (task, Answer { heard, woken: _woken }) = match piece {
            Ok(done) => done,
            Err(error) => (error.id(), Answer::of(Err("the probe panicked".into()))),
        };
        let Some((node, busy)) = self.asked.remove(&task) else { return Busy::idle() };
        let Some(roster) = self.roster.upgrade() else { return busy };
        let pool = roster.pool();
        tracing::debug!(target: "holdfast::heartbeat", "{}: node {} {heard}", pool.source().name(), pool.name_of(node));
        let mut out = dispatch::outbox();
        {
            let _quiet = quiet();
            let now = clock::now();
            match heard {
                Heard::Beat => roster.beat(node, now, &mut out),
                Heard::Miss(reason) => pool.miss(node, &reason, now, &mut out),
                Heard::Nothing => pool.unheard(node, now),
            }
        }
        dispatch::post(&mut out);
        busy
    }
}

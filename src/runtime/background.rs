//! One task in the background for something that lives: what the ticker and the medic have in common.
//!
//! ```text
//!   look what is to be done, begin it ─▶ wait: a piece of it has ended | somebody calls | it is time ─┐
//!     ▲                                                                                              │
//!     └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The guards of the manual clock are handed from each turn to the next and to the pieces begun in it, so
//! that time does not go on before everybody it woke is done.

use std::future::Future;
use std::io;
use std::mem;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::clock::{self, Busy};
use super::engine;
use super::process::generation;
use crate::base::Time;

/// Something to do, piece by piece, now and later.
pub(super) trait Work: Send + 'static {
    /// What comes of a piece.
    type Piece: Send + 'static;

    /// Begins what is to be done now, in `pieces`, and says when to look again at the latest. None: nobody is
    /// left to work for.
    fn look(&mut self, pieces: &mut JoinSet<Self::Piece>, busy: &Busy) -> Option<Time>;

    /// A piece has ended.
    fn ended(&mut self, piece: Result<(Id, Self::Piece), JoinError>) -> Busy;
}

/// Works until there is nobody to work for, or nobody who could call.
pub(super) async fn labour(mut work: impl Work, mut calls: UnboundedReceiver<Busy>, mut busy: Busy) {
    let mut pieces = JoinSet::new();
    while let Some(next) = work.look(&mut pieces, &busy) {
        tokio::select! {
            biased;
            Some(piece) = pieces.join_next_with_id() => busy = work.ended(piece),
            call = calls.recv() => match call {
                Some(guard) => busy = guard,
                None => return,
            },
            guard = clock::sleep_until(next, mem::take(&mut busy)) => busy = guard,
        }
    }
}

/// The task, and the line by which it is called. Dropping it ends the task.
pub(super) struct Background<L>(Mutex<Option<Running<L>>>);

struct Running<L> {
    /// The process it runs in: after a fork there is no task behind it (R2).
    generation: usize,
    task: AbortHandle,
    line: L,
}

impl<L> Default for Background<L> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<L> Background<L> {
    /// Begins, unless it runs in this process: the first time, after a stop, in a forked child, after the
    /// engine was shut down. Cheap if it runs. `begin` says none if there is nobody to work for. Errors if
    /// the system gives us no thread.
    pub(super) fn ensure<F>(&self, begin: impl FnOnce() -> Option<(L, F)>) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.0.lock();
        if running.as_ref().is_some_and(Running::is_alive) {
            return Ok(());
        }
        if let Some(stale) = running.take() {
            stale.end();
        }
        if let Some((line, work)) = begin() {
            let task = engine::spawn(work)?.abort_handle();
            *running = Some(Running { generation: generation(), task, line });
        }
        Ok(())
    }

    /// Does it run in this process?
    pub(super) fn is_running(&self) -> bool {
        self.0.lock().as_ref().is_some_and(Running::is_alive)
    }

    /// Uses the line, if it runs.
    pub(super) fn call(&self, by: impl FnOnce(&L)) {
        if let Some(running) = self.0.lock().as_ref().filter(|running| running.is_alive()) {
            by(&running.line);
        }
    }

    /// Ends it. What is under way is given up.
    pub(super) fn stop(&self) {
        let running = self.0.lock().take();
        if let Some(running) = running {
            running.end();
        }
    }
}

impl<L> Drop for Background<L> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<L> Running<L> {
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

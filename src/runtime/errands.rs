//! Errands: work that is done for our tasks on threads that are not ours.
//!
//! Why it exists: our own threads never touch Python. A probe or a restart written in Python is put in
//! here as an opaque job; a thread of Python's takes it out, does it, and says so.
//!
//! ```text
//!   run(job, patience) ─send▶ queue ─take▶ whoever does it ─ begun ─ done ─┐
//!        ▲                                                                │
//!        └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The patience counts from when the job was begun, because a job that was never begun has told nothing
//! about what it asks. When it runs out, whoever does the job is asked whether they are awake at all: a
//! stalled event loop, or an interpreter that is busy elsewhere, convicts nobody (P6).
//!
//! What it deliberately does not do: it does not know what a job is, and starts no thread.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::clock::{self, Busy};
use super::process::PerProcess;
use crate::base::Time;

/// Whoever is awake answers within this share of the patience; who takes longer was held up.
const AWAKE_WITHIN: u32 = 4;
/// On a busy machine even a thread that is awake waits for its turn this long.
const AWAKE_AT_LEAST: Duration = Duration::from_millis(50);

static QUEUE: PerProcess<Queue> = PerProcess::new(Queue::default);

/// What is to be done; only whoever does it knows what is inside.
pub type Job = Arc<dyn Any + Send + Sync>;

/// How an errand went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, with this result; a failure is told in a few words without secrets.
    Done(Result<(), Arc<str>>),
    /// It was begun, and was not done when the patience ran out.
    TimedOut,
    /// Nobody did it, or whoever did was held up: this tells nothing.
    Unheard,
}

/// What is asked of whoever does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Do it.
    Do,
    /// Are you awake?
    Look,
    /// It is not needed any more.
    Stop,
}

enum Note {
    Begun,
    Done(Result<(), Arc<str>>),
    Awake,
}

/// A job on its way to whoever does it.
pub struct Errand {
    /// What is asked.
    pub what: What,
    /// What is to be done.
    pub job: Job,
    notes: UnboundedSender<Note>,
}

impl Errand {
    /// The job is being begun: from now on its patience counts.
    pub fn begun(&self) {
        drop(self.notes.send(Note::Begun));
    }

    /// The job is done. A failure is told in a few words without secrets.
    pub fn done(&self, result: Result<(), Arc<str>>) {
        drop(self.notes.send(Note::Done(result)));
    }

    /// Whoever does the job is awake.
    pub fn awake(&self) {
        drop(self.notes.send(Note::Awake));
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("what", &self.what).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    errands: VecDeque<Errand>,
    closed: bool,
}

/// Has `job` done, and waits at most `patience` from when it was begun, and as long again for it to begin.
/// Dropping the future calls the job off.
pub async fn run(job: Job, patience: Duration) -> (Outcome, Busy) {
    let (notes, told) = unbounded_channel();
    let mut order = Order { job, notes, told, open: true };
    order.send(What::Do);
    let (mut begun, mut deadline, mut busy) = (false, clock::now().after(patience), Busy::idle());
    loop {
        tokio::select! {
            biased;
            note = order.told.recv() => match note {
                Some(Note::Done(result)) => return (order.close(Outcome::Done(result)), busy),
                Some(Note::Begun) => (begun, deadline) = (true, clock::now().after(patience)),
                Some(Note::Awake) | None => {}
            },
            woken = clock::sleep_until(deadline, mem::take(&mut busy)) => {
                busy = woken;
                break;
            }
        }
    }
    if begun { order.look(patience, busy).await } else { (Outcome::Unheard, busy) }
}

/// A job that was sent; called off when dropped before it was done.
struct Order {
    job: Job,
    notes: UnboundedSender<Note>,
    told: UnboundedReceiver<Note>,
    open: bool,
}

impl Order {
    fn send(&self, what: What) {
        send(Errand { what, job: self.job.clone(), notes: self.notes.clone() });
    }

    fn close(&mut self, outcome: Outcome) -> Outcome {
        self.open = false;
        outcome
    }

    /// The patience is over. Was whoever does the job awake meanwhile? A result that turns up now counts.
    async fn look(&mut self, patience: Duration, busy: Busy) -> (Outcome, Busy) {
        self.send(What::Look);
        let asked = clock::now();
        let awake_until = asked.after(patience.div_f64(f64::from(AWAKE_WITHIN)).max(AWAKE_AT_LEAST));
        let give_up = asked.after(patience.max(AWAKE_AT_LEAST));
        loop {
            tokio::select! {
                biased;
                note = self.told.recv() => match note {
                    Some(Note::Done(result)) => return (self.close(Outcome::Done(result)), busy),
                    Some(Note::Awake) => return (verdict(awake_until), busy),
                    Some(Note::Begun) | None => {}
                },
                _woken = clock::sleep_until(give_up, Busy::idle()) => return (Outcome::Unheard, busy),
            }
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if self.open {
            self.send(What::Stop);
        }
    }
}

fn verdict(awake_until: Time) -> Outcome {
    if clock::now() <= awake_until { Outcome::TimedOut } else { Outcome::Unheard }
}

fn send(errand: Errand) {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    if !state.closed {
        state.errands.push_back(errand);
        drop(state);
        queue.filled.notify_one();
    }
}

/// Waits, for at most `timeout` of real time, for something to do. `None` once [`close`] was called.
#[must_use]
pub fn take(timeout: Duration) -> Option<Vec<Errand>> {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    if state.errands.is_empty() && !state.closed {
        queue.filled.wait_for(&mut state, timeout);
    }
    if state.closed { None } else { Some(state.errands.drain(..).collect()) }
}

/// Nobody takes errands any more: the process is about to end.
pub fn close() {
    let queue = QUEUE.get();
    let left = {
        let mut state = queue.state.lock();
        state.closed = true;
        mem::take(&mut state.errands)
    };
    queue.filled.notify_all();
    // Outside the lock: a job may be anything.
    drop(left);
}

/// A fork must not catch it half-made.
pub(super) fn prepare_fork() {
    QUEUE.get();
}

#[cfg(test)]
mod tests;

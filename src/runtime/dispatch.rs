//! Events on their way from the core to listeners: ordered, bounded, and outside every lock of the core.
//!
//! ```text
//!   core ─emit▶ Outbox ─┬▶ queue (stamped: wall time, number) ─▶ take ─▶ the thread that runs listeners
//!                       └▶ post ─▶ tracing, target "holdfast": one line per change of state
//! ```
//!
//! An [`outbox`] puts each event into the queue while its source still holds its own lock, so that the
//! events of one source are queued in the order in which they happened, whichever threads they happened
//! on. That is one short lock and no call to anybody. [`post`] does the rest once all locks are free.
//!
//! Nothing here ever waits for a listener (R1): when the queue is full the oldest event is dropped and
//! counted. Events of kinds nobody subscribed to are not queued at all.
//!
//! What it deliberately does not do: it knows no listener. The layer above keeps their list, says which
//! kinds they want ([`set_interest`]), and runs them on a thread of its own.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::clock;
use super::process::PerProcess;
use crate::base::event::bit;
use crate::base::{Event, EventKind, Field, Outbox};

/// How many events wait at most. A listener that blocks for a minute while every call of a busy process
/// tells something loses little; the memory stays below some 10 MB.
pub const CAPACITY: usize = 65_536;

static QUEUE: PerProcess<Queue> = PerProcess::new(Queue::default);
/// The kinds somebody listens to. Listeners are inherited through a fork, and so is this.
static INTEREST: AtomicU64 = AtomicU64::new(0);

/// An event with the marks of its delivery.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// What happened.
    pub event: Event,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Its number in this process, counted from 1. A gap in what is delivered is what was dropped.
    pub seq: u64,
}

/// What [`take`] found.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events, in order; none if the time ran out or [`wake`] was called.
    pub events: Vec<Stamped>,
    /// How many were dropped since the last batch.
    pub dropped: u64,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Something to take, or a [`wake`].
    filled: Condvar,
    /// Everything taken was handled.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Stamped>,
    seq: u64,
    dropped: u64,
    dropped_in_all: u64,
    woken: bool,
    /// A batch was taken, and its taker has not come back for the next.
    handing_out: bool,
}

/// An outbox for the kinds that somebody wants, which queues each event as it is emitted.
#[must_use]
pub fn outbox() -> Outbox {
    Outbox::forwarding(interest(), enqueue)
}

/// The bit set of kinds that somebody listens to; see [`bit`].
#[must_use]
pub fn interest() -> u64 {
    INTEREST.load(Ordering::Relaxed)
}

/// Says which kinds somebody listens to.
pub fn set_interest(kinds: u64) {
    INTEREST.store(kinds, Ordering::Relaxed);
}

/// Empties `out`: wakes the thread that waits in [`take`], and writes the changes of state to `tracing`.
///
/// To be called with no lock held: a `tracing` subscriber is somebody else's code.
pub fn post(out: &mut Outbox) {
    if out.is_empty() {
        return;
    }
    let queued = out.forwards();
    for event in out.drain() {
        if !queued {
            enqueue(&event);
        }
        if Outbox::STATE_CHANGES & bit(event.kind()) != 0 {
            log(&event);
        }
    }
    let queue = QUEUE.get();
    // The lock orders this wake-up after the look of a taker who is about to wait.
    drop(queue.state.lock());
    queue.filled.notify_one();
}

/// Waits, for at most `timeout` of real time, until there is something to deliver, and takes it all.
///
/// For one thread, which hands out each batch before it comes back for the next.
#[must_use]
pub fn take(timeout: Duration) -> Batch {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    state.handing_out = false;
    if state.events.is_empty() {
        queue.emptied.notify_all();
        if !state.woken {
            queue.filled.wait_for(&mut state, timeout);
        }
    }
    state.woken = false;
    state.handing_out = !state.events.is_empty();
    Batch { events: state.events.drain(..).collect(), dropped: std::mem::take(&mut state.dropped) }
}

/// Ends the present [`take`], or the next one, with what there is.
pub fn wake() {
    let queue = QUEUE.get();
    queue.state.lock().woken = true;
    queue.filled.notify_one();
}

/// Waits, for at most `timeout` of real time, until everything posted so far is delivered. Says whether
/// it is. For tests, and for the end of a process; not for the thread that delivers.
#[must_use]
pub fn flush(timeout: Duration) -> bool {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    let (mut left, started) = (timeout, monotonic());
    while !state.events.is_empty() || state.handing_out {
        if queue.emptied.wait_for(&mut state, left).timed_out() {
            return state.events.is_empty() && !state.handing_out;
        }
        left = timeout.saturating_sub(started.elapsed());
    }
    true
}

/// The number of the youngest event: whoever begins to listen now has missed all up to it.
#[must_use]
pub fn last_number() -> u64 {
    QUEUE.get().state.lock().seq
}

/// How many events this process has dropped so far.
#[must_use]
pub fn dropped() -> u64 {
    QUEUE.get().state.lock().dropped_in_all
}

/// A fork must not catch it half-made.
pub(super) fn prepare_fork() {
    QUEUE.get();
}

#[expect(clippy::disallowed_methods, reason = "delivery is not what a manual clock holds up")]
fn monotonic() -> Instant {
    Instant::now()
}

fn enqueue(event: &Event) {
    if interest() & bit(event.kind()) == 0 {
        return;
    }
    let at = clock::wall();
    let mut state = QUEUE.get().state.lock();
    state.seq += 1;
    let seq = state.seq;
    if state.events.len() == CAPACITY {
        state.events.pop_front();
        state.dropped += 1;
        state.dropped_in_all += 1;
    }
    state.events.push_back(Stamped { event: event.clone(), at, seq });
}

/// One line: WARN for bad news, INFO for good.
fn log(event: &Event) {
    let (kind, source) = (event.kind().as_str(), event.source().name());
    match event.kind() {
        EventKind::CircuitOpened
        | EventKind::WouldOpen
        | EventKind::NodeSuspected
        | EventKind::NodeMarkedFailed
        | EventKind::FailoverStarted => {
            tracing::warn!(target: "holdfast", kind, source, "{}", Line(event));
        }
        _ => tracing::info!(target: "holdfast", kind, source, "{}", Line(event)),
    }
}

/// An event as one line of text: `pool: node_marked_failed node=a reason=heartbeat`.
#[derive(Debug)]
pub struct Line<'a>(pub &'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.source().name(), self.0.kind().as_str())?;
        for (name, value) in self.0.fields() {
            match value {
                Field::None => write!(f, " {name}=none")?,
                Field::Text(text) => write!(f, " {name}={text}")?,
                Field::Count(n) => write!(f, " {name}={n}")?,
                Field::Number(x) => write!(f, " {name}={x}")?,
                Field::Span(span) => write!(f, " {name}={:.3}s", span.as_secs_f64())?,
                Field::Flag(yes) => write!(f, " {name}={yes}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

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
//! What `tracing` makes of it may come back as [`Remark`]s ([`remark`]), so that the thread that runs
//! listeners can hand them to the host's own log.
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
use tokio::sync::mpsc::UnboundedSender;

use super::clock::{self, Busy};
use super::process::PerProcess;
use crate::base::event::bit;
use crate::base::{Event, EventKind, Field, Outbox, SourceId};

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

/// A line for the host's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How important it is.
    pub level: tracing::Level,
    /// Who says so, such as "holdfast" or "holdfast::heartbeat".
    pub target: &'static str,
    /// What. Without secrets, as all that we say.
    pub text: String,
    /// The kind of event it tells of, if it tells of one.
    pub kind: Option<String>,
}

/// What [`take`] found.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events, in order; none if the time ran out or [`wake`] was called.
    pub events: Vec<Stamped>,
    /// The lines for the log, in order.
    pub remarks: Vec<Remark>,
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
    remarks: VecDeque<Remark>,
    seq: u64,
    dropped: u64,
    dropped_in_all: u64,
    woken: bool,
    /// A batch was taken, and its taker has not come back for the next.
    handing_out: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.remarks.is_empty()
    }
}

/// Those of our own tasks that want to know when something about a source changes.
#[derive(Default)]
struct Watchers {
    next: AtomicU64,
    list: Mutex<Vec<(u64, SourceId, UnboundedSender<Busy>)>>,
}

static WATCHERS: PerProcess<Watchers> = PerProcess::new(Watchers::default);

/// Somebody watches, until this is dropped.
#[derive(Debug)]
pub struct Watch(u64);

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHERS.get().list.lock().retain(|(number, ..)| *number != self.0);
    }
}

/// From now on `wake` hears of each change of state of `source`, or of what it owns, after it was posted.
/// The guard that comes with it holds the manual clock until the watcher has looked.
#[must_use]
pub fn watch(source: SourceId, wake: UnboundedSender<Busy>) -> Watch {
    let watchers = WATCHERS.get();
    let number = watchers.next.fetch_add(1, Ordering::Relaxed);
    watchers.list.lock().push((number, source, wake));
    Watch(number)
}

fn wake_watchers(event: &Event) {
    for (_, source, wake) in &*WATCHERS.get().list.lock() {
        if event.source().chain().any(|id| id == *source) {
            // Its watcher may be ending just now.
            drop(wake.send(Busy::begin()));
        }
    }
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
            wake_watchers(&event);
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
    if state.is_empty() {
        queue.emptied.notify_all();
        if !state.woken {
            queue.filled.wait_for(&mut state, timeout);
        }
    }
    state.woken = false;
    state.handing_out = !state.is_empty();
    Batch {
        events: state.events.drain(..).collect(),
        remarks: state.remarks.drain(..).collect(),
        dropped: std::mem::take(&mut state.dropped),
    }
}

/// Queues a line for the host's log. When too many wait, the oldest is dropped.
pub fn remark(line: Remark) {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    if state.remarks.len() == CAPACITY {
        state.remarks.pop_front();
    }
    state.remarks.push_back(line);
    drop(state);
    queue.filled.notify_one();
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
    while !state.is_empty() || state.handing_out {
        if queue.emptied.wait_for(&mut state, left).timed_out() {
            return state.is_empty() && !state.handing_out;
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
    WATCHERS.get();
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
    if is_bad_news(event.kind()) {
        tracing::warn!(target: "holdfast", kind, source, "{}", Sentence(event));
    } else {
        tracing::info!(target: "holdfast", kind, source, "{}", Sentence(event));
    }
}

/// Is it something that somebody may want to do something about?
#[must_use]
pub const fn is_bad_news(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::CircuitOpened
            | EventKind::WouldOpen
            | EventKind::NodeSuspected
            | EventKind::NodeMarkedFailed
            | EventKind::FailoverStarted
            | EventKind::RestartFailed
            | EventKind::RestartsExhausted
    )
}

/// An event as people read it: `pool: node marked failed (node a, reason heartbeat)`.
#[derive(Debug)]
pub struct Sentence<'a>(pub &'a Event);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.source().name(), self.0.kind().as_str().replace('_', " "))?;
        let mut before = " (";
        for (name, value) in self.0.fields() {
            let value = match value {
                Field::None => continue,
                Field::Text(text) => text.to_string(),
                Field::Count(n) => n.to_string(),
                Field::Number(x) => rounded(x),
                Field::Span(span) => rounded(span.as_secs_f64()),
                Field::Flag(yes) => yes.to_string(),
            };
            write!(f, "{before}{name} {value}")?;
            before = ", ";
        }
        f.write_str(if before == " (" { "" } else { ")" })
    }
}

/// A number in as few digits as say enough: at most three behind the point.
fn rounded(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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

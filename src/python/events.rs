//! Events for Python: what the delivering thread takes, and which kinds are wanted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::{apart, trace};
use crate::base::event::bit;
use crate::base::{EventKind, Field, Outbox};
use crate::runtime::dispatch::{self, Stamped};

/// How long the delivering thread waits at a stretch; it is woken when something comes.
const PATIENCE: Duration = Duration::from_hours(1);

/// Is there a thread that delivers, or one being started?
static DELIVERING: AtomicBool = AtomicBool::new(false);
/// Has the interpreter begun to exit?
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Makes sure that what was just posted is delivered. No lock is held here (R3).
pub fn ensure_delivery() {
    if DELIVERING.load(Ordering::Acquire) || CLOSED.load(Ordering::Acquire) {
        return;
    }
    if DELIVERING.swap(true, Ordering::AcqRel) {
        return;
    }
    // At interpreter shutdown nothing is delivered any more.
    let _shutting_down = apart(|py| {
        let started = py.import("holdfast._events").and_then(|m| m.call_method0("ensure_thread"));
        if let Err(error) = started {
            DELIVERING.store(false, Ordering::Release);
            error.write_unraisable(py, None);
        }
    });
}

/// The thread has ended with its process' fork, or was never started in this one.
pub fn forget_delivery() {
    DELIVERING.store(false, Ordering::Release);
}

/// Every kind of event, by name.
pub fn kinds() -> Vec<&'static str> {
    EventKind::ALL.iter().map(|kind| kind.as_str()).collect()
}

/// The kinds that are changes of state.
pub fn state_changes() -> Vec<&'static str> {
    let is_change = |kind: &&EventKind| Outbox::STATE_CHANGES & bit(**kind) != 0;
    EventKind::ALL.iter().filter(is_change).map(|kind| kind.as_str()).collect()
}

/// The changes of state are wanted from the start, for the log.
pub fn want_state_changes() {
    dispatch::set_interest(Outbox::STATE_CHANGES);
}

/// Says which kinds somebody listens to; the changes of state are always wanted, for the log.
#[pyfunction]
pub fn set_interest(kinds: Vec<String>) {
    let wanted = kinds.iter().filter_map(|name| EventKind::from_name(name)).map(bit);
    dispatch::set_interest(wanted.fold(Outbox::STATE_CHANGES, |set, kind| set | kind));
}

/// What the thread that delivers takes: lines for the log, and events.
type Taken<'py> = (Vec<(u8, String, String, Option<String>)>, Bound<'py, PyList>);

/// Waits for events with the GIL released; lines for the log as `(level, logger, text, kind)`, and a list of
/// `(kind, source, at, seq, fields, sources)`, or `None` when the process ends.
#[pyfunction]
pub fn take_events(py: Python<'_>) -> PyResult<Option<Taken<'_>>> {
    DELIVERING.store(true, Ordering::Release);
    loop {
        // The wake-up at the end of the process may have come together with events, and be spent.
        let patience = if CLOSED.load(Ordering::Acquire) { Duration::ZERO } else { PATIENCE };
        let batch = py.detach(|| dispatch::take(patience));
        if batch.events.is_empty() && batch.remarks.is_empty() {
            if CLOSED.load(Ordering::Acquire) {
                return Ok(None);
            }
            continue;
        }
        let list = PyList::empty(py);
        for stamped in &batch.events {
            list.append(row(py, stamped)?)?;
        }
        return Ok(Some((batch.remarks.into_iter().map(trace::row).collect(), list)));
    }
}

/// The number of the youngest event.
#[pyfunction]
pub fn last_event() -> u64 {
    dispatch::last_number()
}

/// Ends the delivering thread once it has delivered what is queued.
#[pyfunction]
pub fn close_events() {
    CLOSED.store(true, Ordering::Release);
    dispatch::wake();
}

/// Waits until everything posted so far has been delivered; `False` if the time ran out.
#[pyfunction]
pub fn flush_events(py: Python<'_>, timeout: f64) -> bool {
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
    py.detach(|| dispatch::flush(timeout))
}

fn row<'py>(py: Python<'py>, stamped: &Stamped) -> PyResult<Bound<'py, PyTuple>> {
    let event = &stamped.event;
    let fields = PyDict::new(py);
    for (name, value) in event.fields() {
        fields.set_item(name, field(py, value)?)?;
    }
    let sources: Vec<u64> = event.source().chain().map(|id| id.0).collect();
    let sources = PyTuple::new(py, sources)?;
    let (kind, source) = (event.kind().as_str(), event.source().name());
    (kind, source, utc(py, stamped.at)?, stamped.seq, fields, sources).into_pyobject(py)
}

/// A moment of the wall clock as an aware `datetime` in UTC.
pub fn utc(py: Python<'_>, at: std::time::SystemTime) -> PyResult<Bound<'_, PyAny>> {
    at.into_pyobject(py).map(Bound::into_any)
}

fn field(py: Python<'_>, value: Field) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Field::None => py.None().into_bound(py),
        Field::Text(text) => text.as_ref().into_pyobject(py)?.into_any(),
        Field::Count(n) => n.into_pyobject(py)?.into_any(),
        Field::Number(x) => x.into_pyobject(py)?.into_any(),
        Field::Span(span) => span.as_secs_f64().into_pyobject(py)?.into_any(),
        Field::Flag(yes) => yes.into_pyobject(py)?.to_owned().into_any(),
    })
}

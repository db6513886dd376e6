//! What an exception carries of the attempts behind it: a note for people, rows for `holdfast.history`, and
//! the mark that an outer layer does not try again (A2).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::pipeline::{Execution, Target, Tried};
use crate::python::once::intern;

/// How many exceptions have been marked so far. A mark is a number of this row: one that is younger than an
/// attempt was put on inside of it, an older one is the past of an exception object that is raised again.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// The youngest mark there is.
pub fn youngest_mark() -> u64 {
    MARKS.load(Ordering::Acquire)
}

/// Has a layer inside the attempt that began after the mark `before` given up on this exception?
pub fn is_exhausted(py: Python<'_>, error: &PyErr, before: u64) -> bool {
    mark(py, error).is_some_and(|mark| mark > before)
}

fn mark(py: Python<'_>, error: &PyErr) -> Option<u64> {
    // An exception whose attributes cannot be read has no mark of ours.
    let dict = error.value(py).getattr_opt(intern!(py, "__dict__")).ok()??;
    let mark = dict.cast_into::<PyDict>().ok()?.get_item(intern!(py, "__holdfast_mark__")).ok()??;
    mark.extract().ok()
}

/// Tells, on the exception itself, which attempts were made. One that takes no attributes is left alone.
pub fn annotate(py: Python<'_>, error: &PyErr, execution: &Execution, before: u64) {
    let plan = execution.plan();
    let history = execution.history();
    let has_attempts = plan.retry.is_some() || matches!(plan.target, Target::Roster(_));
    let told_inside = is_exhausted(py, error, before);
    if !has_attempts || history.is_empty() || (told_inside && history.len() == 1) {
        return;
    }
    if let Err(refused) = tell(py, error, history, told_inside) {
        // Slots without a dict, or a setter that objects: the user's exception is worth more than our note.
        refused.write_unraisable(py, Some(error.value(py)));
    }
}

fn tell(py: Python<'_>, error: &PyErr, history: &[Tried], told_inside: bool) -> PyResult<()> {
    let value = error.value(py);
    if !told_inside {
        forget(value)?;
    }
    value.setattr(intern!(py, "__holdfast_history__"), rows(py, history)?)?;
    value.setattr(intern!(py, "__holdfast_mark__"), MARKS.fetch_add(1, Ordering::AcqRel) + 1)?;
    if history.len() > 1 || history[0].node.is_some() {
        value.call_method1(intern!(py, "add_note"), (note(history),))?;
    }
    Ok(())
}

/// An exception object that is raised again keeps no notes of its earlier calls.
fn forget(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(notes) = value.getattr_opt(intern!(value.py(), "__notes__"))? else { return Ok(()) };
    let Ok(notes) = notes.cast_into::<PyList>() else { return Ok(()) };
    let kept = PyList::empty(value.py());
    for note in notes.iter() {
        let ours = note.extract::<String>().is_ok_and(|text| text.starts_with(NOTE));
        if !ours {
            kept.append(note)?;
        }
    }
    value.setattr(intern!(value.py(), "__notes__"), kept)
}

/// How our notes begin.
const NOTE: &str = "holdfast: ";

fn rows<'py>(py: Python<'py>, history: &[Tried]) -> PyResult<Bound<'py, PyList>> {
    let row = |tried: &Tried| {
        (
            tried.number,
            tried.node.as_deref().map(str::to_owned),
            tried.kind.as_str(),
            tried.took.as_secs_f64(),
        )
    };
    PyList::new(py, history.iter().map(row))
}

fn note(history: &[Tried]) -> String {
    let plural = if history.len() == 1 { "" } else { "s" };
    let mut text = format!("{NOTE}{} failed attempt{plural}:", history.len());
    for (i, tried) in history.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let place = tried.node.as_deref().map_or_else(String::new, |node| format!(" on '{node}'"));
        let (number, kind, took) = (tried.number, tried.kind.as_str(), tried.took.as_secs_f64());
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{comma} #{number}{place} ({kind}, {took:.3} s)");
    }
    text
}

//! The driver of plain functions: it blocks the calling thread and lets go of the GIL to wait.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::Guard;
use super::under_way::Call;
use super::wait;
use crate::pipeline::Step;
use crate::policy::timeout::Phase;
use crate::runtime::clock::Busy;

/// Carries one call to its end.
pub fn call<'py>(
    guard: &Bound<'py, Guard>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = guard.py();
    let mut call = Call::new(guard.clone().unbind(), args.unbind(), kwargs.map(Bound::unbind));
    let mut step = call.start(py)?;
    let mut busy = Busy::idle();
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                let outcome = call.attempt(py, &attempt, Phase::Answer).map(Bound::unbind);
                match call.waited(py, outcome) {
                    (outcome, true) => call.record_timeout(outcome),
                    (outcome, false) => call.record(py, outcome),
                }
            }
            Step::AskBackoff { retry } => call.ask_backoff(py, retry)?,
            Step::Sleep { until } => {
                busy = wait::blocking(py, until, busy)?;
                call.wake()
            }
            Step::Finish(finish) => return call.finish(py, finish),
        };
    }
}

//! One call under way, and how it ends for Python.

use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::guard::Guard;
use crate::base::Verdict;
use crate::pipeline::Moment;
use crate::pipeline::{Attempt, Execution, Finish, Step};
use crate::python::{convert, errors, events};
use crate::runtime::dice::ThreadDice;
use crate::runtime::{clock, dispatch};

/// Runs `act` with the present moment, the dice and an outbox, and posts what it put there.
pub fn moment<R>(act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
    let mut out = dispatch::outbox();
    let now = clock::now();
    let result = act(&mut Moment { now, dice: &mut ThreadDice, out: &mut out });
    if !out.is_empty() {
        dispatch::post(&mut out);
        events::ensure_delivery();
    }
    result
}

/// A call under way. Dropped unfinished, it gives back what it holds, and nobody is blamed (B7, R7).
#[derive(Debug)]
pub struct Call {
    guard: Py<Guard>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
    execution: Option<Execution>,
    last: Option<PyResult<Py<PyAny>>>,
}

impl Call {
    pub fn new(guard: Py<Guard>, args: Py<PyTuple>, kwargs: Option<Py<PyDict>>) -> Self {
        Self { guard, args, kwargs, execution: None, last: None }
    }

    /// Asks for the first step.
    pub fn start(&mut self, py: Python<'_>) -> PyResult<Step> {
        let guard = self.guard.get();
        let plan = guard.plan().clone();
        let key = guard.key(py, &plan, self.args.bind(py), self.kwargs.as_ref().map(|k| k.bind(py)))?;
        let (execution, step) = moment(|at| Execution::start(plan, key, None, at));
        self.execution = Some(execution);
        Ok(step)
    }

    /// Makes the attempt's call; what it gives is the answer, or what will become it.
    pub fn attempt<'py>(&self, py: Python<'py>, attempt: &Attempt) -> PyResult<Bound<'py, PyAny>> {
        let kwargs = self.kwargs.as_ref().map(|k| k.bind(py));
        self.guard.get().callee().call(py, attempt, self.args.bind(py), kwargs)
    }

    /// Reports what came of an attempt.
    pub fn record(&mut self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> Step {
        let verdict = self.guard.get().judge().verdict(py, &outcome);
        self.record_as(outcome, &verdict)
    }

    /// Reports an outcome whose verdict is known.
    pub fn record_as(&mut self, outcome: PyResult<Py<PyAny>>, verdict: &Verdict) -> Step {
        self.last = Some(outcome);
        match &mut self.execution {
            Some(execution) => moment(|at| execution.record(verdict, at)),
            None => Step::Finish(Finish::Raise),
        }
    }

    /// A wait is over.
    pub fn wake(&mut self) -> Step {
        match &mut self.execution {
            Some(execution) => moment(|at| execution.wake(at)),
            None => Step::Finish(Finish::Raise),
        }
    }

    /// Asks the user's own back-off how long to wait.
    pub fn ask_backoff(&mut self, py: Python<'_>, retry: u32) -> PyResult<Step> {
        let delay = match self.guard.get().backoff() {
            Some(backoff) => convert::span("backoff", &backoff.bind(py).call1((retry,))?)?,
            None => std::time::Duration::ZERO,
        };
        Ok(match &mut self.execution {
            Some(execution) => moment(|at| execution.answer_backoff(delay, at)),
            None => Step::Finish(Finish::Raise),
        })
    }

    pub fn execution(&mut self) -> Option<&mut Execution> {
        self.execution.as_mut()
    }

    /// Ends the call without a verdict.
    pub fn abandon(&mut self) {
        if let Some(mut execution) = self.execution.take() {
            moment(|at| execution.abandon(at));
        }
    }

    /// What Python gets: the value, the user's own exception, or our refusal.
    pub fn finish(&mut self, py: Python<'_>, finish: Finish) -> PyResult<Py<PyAny>> {
        let execution = self.execution.take();
        match finish {
            Finish::Reject(rejection) => Err(errors::rejection(py, &rejection)),
            Finish::Late(expiry) => Err(errors::timeout(py, &expiry)),
            Finish::Return | Finish::Raise => {
                let last = self.last.take().unwrap_or_else(|| Ok(py.None()));
                if let (Err(error), Some(execution)) = (&last, &execution) {
                    annotate(py, error, execution);
                }
                last
            }
        }
    }

    pub fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.guard)?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)?;
        if let Some(Ok(value)) = &self.last {
            visit.call(value)?;
        }
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The attribute that `holdfast.history` reads.
const HISTORY: &str = "__holdfast_history__";

/// Tells, on the exception itself, which attempts were made. An exception that takes no note is left alone.
fn annotate(py: Python<'_>, error: &PyErr, execution: &Execution) {
    let history = execution.history();
    if history.is_empty() || (history.len() == 1 && history[0].node.is_none()) {
        return;
    }
    let value = error.value(py);
    if value.hasattr(HISTORY).unwrap_or(true) {
        return;
    }
    let mut note = format!("holdfast: {} attempt(s):", history.len());
    let rows = PyList::empty(py);
    for tried in history {
        let node = tried.node.as_deref();
        let took = tried.took.as_secs_f64();
        // Writing to a String cannot fail.
        let _infallible =
            write!(note, " #{} {} {} after {took:.3} s;", tried.number, node.unwrap_or(""), tried.kind.as_str());
        if rows.append((tried.number, node, tried.kind.as_str(), took)).is_err() {
            return;
        }
    }
    let told = value.setattr(HISTORY, rows).and_then(|()| {
        value.call_method1("add_note", (note.trim_end_matches(';'),)).map(drop)
    });
    if let Err(refused) = told {
        // Slots without a dict, or a setter that objects: the user's exception is worth more than our note.
        refused.write_unraisable(py, Some(value));
    }
}

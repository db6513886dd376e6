//! The driver of plain functions: it blocks the calling thread and lets go of the GIL to wait.
//!
//! A breaker that is all there is has two inline doors: a call that it admits at once, and that answers, does
//! not pass through the machine. Everything else does.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::Guard;
use super::scope;
use super::under_way::{Call, moment};
use super::wait;
use crate::base::{Time, Verdict};
use crate::pipeline::{Attempt, Step};
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::timeout::Phase;
use crate::runtime::clock::{self, Busy};

/// Carries one call to its end.
pub fn call<'py>(
    guard: &Bound<'py, Guard>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = guard.py();
    if let Some((breaker, permit)) = admit(py, guard.get())? {
        return through(guard, breaker, permit, &args, kwargs.as_ref());
    }
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
            Step::Finish(finish) => return call.answer(py, finish),
        };
    }
}

/// The first inline door: a closed breaker that is all there is admits the call.
fn admit<'a>(py: Python<'_>, guard: &'a Guard) -> PyResult<Option<(&'a Arc<Breaker>, Permit)>> {
    let Some(breaker) = guard.lone_breaker() else { return Ok(None) };
    // An inherited deadline is the machine's business.
    if scope::inherited(py)?.is_some() {
        return Ok(None);
    }
    Ok(breaker.admit_fast(moment_for(breaker)).map(|permit| (breaker, permit)))
}

/// The second: a good answer is settled; anything else is judged, and settled slowly.
fn through<'py>(
    guard: &Bound<'py, Guard>,
    breaker: &Arc<Breaker>,
    permit: Permit,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = guard.py();
    let wiring = guard.get().wiring();
    let alone = Attempt { number: 1, node: None };
    let outcome = guard.get().callee().call(py, &wiring.plan.source, &alone, args, kwargs).map(Bound::unbind);
    let (outcome, permit, verdict) = match outcome {
        Ok(value) => match breaker.settle_ok(permit, moment_for(breaker)) {
            Ok(()) => return Ok(value),
            Err(permit) => (Ok(value), permit, Verdict::Ok),
        },
        Err(error) => match wiring.judge.of_error(py, &error) {
            Ok(verdict) => (Err(error), permit, verdict),
            // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
            Err(interrupt) => (Err(interrupt), permit, Verdict::Ignore),
        },
    };
    moment(|at| breaker.settle(permit, &verdict, at.now, at.dice, at.out));
    outcome
}

/// The present, if the breaker's doors need it.
fn moment_for(breaker: &Breaker) -> Time {
    if breaker.needs_now() { clock::now() } else { Time::ZERO }
}

//! The driver of plain functions: it blocks the calling thread and lets go of the GIL to wait.
//!
//! A breaker that is all there is has two inline doors: a call that it admits at once, and that answers, does
//! not pass through the machine, and its arguments go to the user's function as they came. Everything else
//! goes the long way.

use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Callee;
use super::guard::{Guard, GuardRef, packed};
use super::raw::{body, enter};
use super::scope;
use super::under_way::{Call, moment};
use super::wait;
use crate::base::{Time, Verdict};
use crate::pipeline::Step;
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::timeout::Phase;
use crate::runtime::clock::{self, Busy};

/// How Python calls this guard of a plain function.
pub fn vectorcall(guard: &Guard) -> ffi::vectorcallfunc {
    match (guard.lone_breaker(), guard.callee()) {
        (Some(breaker), Callee::Function(_)) if breaker.needs_now() => through::<true>,
        (Some(_), Callee::Function(_)) => through::<false>,
        _ => machine,
    }
}

/// Through the two inline doors. `TIMED`: the breaker wants to know when.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn through<const TIMED: bool>(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls a guard attached, and keeps it alive meanwhile; the guard keeps its breaker and the
    // user's function. The arguments are passed on as they came, to a callee that may do with them what we
    // may. What the call gives is a new reference, or null with an exception set, and so is what we give.
    // None of the Rust code on the way can panic, but for that behind `enter`.
    unsafe {
        let Guard { lone: Some(breaker), callee: Callee::Function(function), .. } = body(guard) else {
            return machine(guard, args, nargsf, names);
        };
        // An inherited deadline is the machine's business.
        if !scope::is_free(Python::assume_attached()) {
            return machine(guard, args, nargsf, names);
        }
        let Some(permit) = breaker.admit_fast(moment_if::<TIMED>()) else {
            return machine(guard, args, nargsf, names);
        };
        let answer = ffi::PyObject_Vectorcall(function.as_ptr(), args, nargsf, names);
        if answer.is_null() {
            return failed(guard, breaker, permit);
        }
        match breaker.settle_ok(permit, moment_if::<TIMED>()) {
            Ok(()) => answer,
            Err(permit) => {
                settle(breaker, permit, &Verdict::Ok);
                answer
            }
        }
    }
}

/// The present, where the breaker's doors look at it.
#[inline]
fn moment_if<const TIMED: bool>() -> Time {
    if TIMED { clock::now() } else { Time::ZERO }
}

/// The user's function has raised: that is judged, and settled slowly. Null, with the exception set.
///
/// # Safety
///
/// This thread is attached, the guard alive, and an exception set.
#[cold]
#[expect(unsafe_code, reason = "an exception is taken from the interpreter, and given back")]
unsafe fn failed(guard: *mut ffi::PyObject, breaker: &Arc<Breaker>, permit: Permit) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract.
    unsafe {
        enter(|py| {
            let error = PyErr::fetch(py);
            let (error, verdict) = match body::<Guard>(guard).wiring().judge.of_error(py, &error) {
                Ok(verdict) => (error, verdict),
                // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
                Err(interrupt) => (interrupt, Verdict::Ignore),
            };
            settle(breaker, permit, &verdict);
            Err(error)
        })
    }
}

/// The long way back through the second door.
#[cold]
fn settle(breaker: &Breaker, permit: Permit, verdict: &Verdict) {
    moment(|at| breaker.settle(permit, verdict, at.now, at.dice, at.out));
}

/// By the machine.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn machine(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, call) }
}

/// Carries one call to its end.
pub(super) fn call(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let mut call = Call::new(guard.clone_ref(py), args.unbind(), kwargs.map(Bound::unbind));
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

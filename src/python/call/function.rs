//! The driver of plain functions: it blocks the calling thread and lets go of the GIL to wait.
//!
//! A breaker that is all there is needs no machine: a call is admitted, made, and settled, and its arguments go
//! to the user's function as they came. Of these calls the ordinary ones pass through the breaker's inline
//! doors: one that it admits at once, that answers or fails plainly, and that changes no state.
//!
//! ```text
//!   through ─ admit_fast ─▶ the call ─┬─ answered ─ settle_ok ─────▶
//!      │ no                   ▲       └─ raised ─── settle_failed ─▶
//!      └─ admit ─ a probe ────┘ no                   │ no
//!           └─ refused ─▶ CircuitOpen                └─ judge, settle ─▶
//! ```

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Callee;
use super::first;
use super::guard::{Guard, GuardRef, packed};
use super::plain;
use super::raised::Raised;
use super::raw::{body, enter, pass_on, shield, ticks};
use super::refusal;
use super::scope;
use super::under_way::{Call, admit, moment};
use super::wait;
use crate::base::{Rejection, Time, Verdict};
use crate::pipeline::Step;
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::timeout::Phase;
use crate::runtime::clock::{self, Busy};

/// How Python calls this guard of a plain function.
pub fn vectorcall(guard: &Guard) -> ffi::vectorcallfunc {
    match (guard.lone_breaker(), guard.callee()) {
        (Some(breaker), Callee::Function(_)) => {
            match (breaker.needs_now(), breaker.bears_lag(), breaker.times_calls()) {
                (false, ..) if breaker.is_plain() => through::<PLAIN, false>,
                (false, ..) => through::<NO_TIME, false>,
                (true, true, false) => through::<BY_TICKS, false>,
                (true, true, true) => through::<BY_TICKS, true>,
                (true, false, false) => through::<EXACT, false>,
                (true, false, true) => through::<EXACT, true>,
            }
        }
        _ => first::vectorcall(guard).unwrap_or(machine),
    }
}

/// The breaker's rules remember no calls, and do not ask when.
pub(super) const PLAIN: u8 = 0;
/// They do not ask when.
pub(super) const NO_TIME: u8 = 1;
/// They do, and a few milliseconds do not matter to them.
pub(super) const BY_TICKS: u8 = 2;
/// They do, exactly.
pub(super) const EXACT: u8 = 3;

/// With a breaker and nothing else. `WHEN`: the time that it wants to be told. `TIMED`: also of a call's beginning.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn through<const WHEN: u8, const TIMED: bool>(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls a guard attached, and keeps it alive meanwhile; the guard keeps its breaker and the
    // user's function. The arguments are passed on as they came, to a callee that may do with them what we
    // may. What the call gives is a new reference, or null with an exception set, and so is what we give.
    // None of the Rust code on the way can panic, but for what is shielded.
    unsafe {
        let body = body::<Guard>(guard);
        let Guard { lone: Some(breaker), callee: Callee::Function(function), .. } = body else {
            return machine(guard, args, nargsf, names);
        };
        // An inherited deadline is the machine's business.
        if !scope::is_free(Python::assume_attached()) {
            return machine(guard, args, nargsf, names);
        }
        let admitted = match WHEN {
            PLAIN => breaker.admit_plain(Time::ZERO),
            _ => breaker.admit_fast(if TIMED { present::<WHEN>() } else { Time::ZERO }),
        };
        let permit = match admitted {
            Some(permit) => permit,
            None => match ask(body, breaker) {
                Some(permit) => permit,
                None => return std::ptr::null_mut(),
            },
        };
        let answer = pass_on(function.as_ptr(), args, nargsf, names);
        if answer.is_null() {
            failed(body, breaker, permit);
            return answer;
        }
        let settling = match WHEN {
            PLAIN => breaker.settle_ok_plain(permit),
            _ => breaker.settle_ok_timed(permit, present::<WHEN>()),
        };
        match settling {
            Ok(()) => answer,
            Err(permit) => settled(breaker, permit, answer),
        }
    }
}

/// The present, where the breaker's doors look at it.
#[inline]
pub(super) fn present<const WHEN: u8>() -> Time {
    match WHEN {
        PLAIN | NO_TIME => Time::ZERO,
        BY_TICKS => ticks::now(),
        _ => clock::now(),
    }
}

/// The long way in. None if the call is refused; then `CircuitOpen` is set.
///
/// # Safety
///
/// This thread is attached, and no exception is set.
#[cold]
#[expect(unsafe_code, reason = "an exception is set")]
unsafe fn ask(guard: &Guard, breaker: &Breaker) -> Option<Permit> {
    // SAFETY: by the function's own contract.
    unsafe {
        shield(|py| match admit(breaker) {
            Ok(permit) => Some(permit),
            Err(rejection) => {
                refuse(py, guard, &rejection);
                None
            }
        })
        .flatten()
    }
}

fn refuse(py: Python<'_>, guard: &Guard, rejection: &Rejection) {
    match refusal::circuit_open(py, rejection, guard.refuser(py, rejection)) {
        Ok(exception) => raise(&exception),
        Err(broken) => broken.restore(py),
    }
}

/// Sets an exception, with what is being handled as its context.
#[expect(unsafe_code, reason = "an exception is set")]
fn raise(exception: &Bound<'_, PyAny>) {
    // SAFETY: a live exception and its class; both are referred to anew.
    unsafe { ffi::PyErr_SetObject(ffi::Py_TYPE(exception.as_ptr()).cast(), exception.as_ptr()) }
}

/// The user's function has raised: that is judged and settled. The exception is set again afterwards, or
/// what interrupted the user's rules in its place.
///
/// # Safety
///
/// This thread is attached, and an exception is set.
#[expect(unsafe_code, reason = "an exception is taken from the interpreter, and given back")]
unsafe fn failed(guard: &Guard, breaker: &Breaker, permit: Permit) {
    let mut permit = Some(permit);
    // SAFETY: by the function's own contract.
    let done = unsafe {
        shield(|py| {
            if !guard.wiring().judge.is_plain() {
                return false;
            }
            let raised = Raised::take();
            let verdict = plain::at_once(raised.get(py));
            let left = match (&verdict, permit.take()) {
                (Some(Verdict::Fail(_)), Some(permit)) => breaker.settle_failed(permit).err(),
                (_, permit) => permit,
            };
            permit = match (verdict, left) {
                (Some(verdict), Some(permit)) => {
                    settle(breaker, permit, &verdict);
                    None
                }
                (_, left) => left,
            };
            raised.put_back(py);
            permit.is_none()
        })
    };
    if let (Some(false), Some(permit)) = (done, permit) {
        // SAFETY: by the function's own contract; the exception was put back.
        unsafe { judged(guard, breaker, permit) }
    }
}

/// The same by the rules that are Python's.
///
/// # Safety
///
/// As for [`failed`].
#[cold]
#[expect(unsafe_code, reason = "an exception is taken from the interpreter, and given back")]
unsafe fn judged(guard: &Guard, breaker: &Breaker, permit: Permit) {
    // SAFETY: by the function's own contract.
    unsafe {
        enter(|py| {
            let error = PyErr::fetch(py);
            let judge = &guard.wiring().judge;
            // First, so that a class that has changed is judged as what it is now.
            let learnt = if judge.is_plain() { plain::learn(error.value(py)) } else { Ok(()) };
            let (error, verdict) = match learnt.and_then(|()| judge.of_error(py, &error)) {
                Ok(verdict) => (error, verdict),
                // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
                Err(interrupt) => (interrupt, Verdict::Ignore),
            };
            settle(breaker, permit, &verdict);
            Err(error)
        });
    }
}

/// An answer that changes something. Should that panic, the answer is lost to it.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the answer is an owned reference.
#[cold]
#[expect(unsafe_code, reason = "a reference is given up if there is a panic")]
unsafe fn settled(breaker: &Breaker, permit: Permit, answer: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract.
    unsafe {
        if shield(|_| settle(breaker, permit, &Verdict::Ok)).is_some() {
            return answer;
        }
        ffi::Py_DECREF(answer);
        std::ptr::null_mut()
    }
}

/// The long way out.
#[cold]
pub(super) fn settle(breaker: &Breaker, permit: Permit, verdict: &Verdict) {
    moment(|at| breaker.settle(permit, verdict, at.now, at.dice, at.out));
}

/// By the machine.
#[expect(unsafe_code, reason = "it is called from C")]
pub(super) unsafe extern "C" fn machine(
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
    let step = call.start(py)?;
    carry_on(py, call, step)
}

/// The first attempt has been made by the inline doors, and the machine judges it and goes on.
pub(super) fn recorded(py: Python<'_>, mut call: Call, outcome: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    let step = made(py, &mut call, outcome);
    carry_on(py, call, step)
}

/// An attempt was made.
fn made(py: Python<'_>, call: &mut Call, outcome: PyResult<Py<PyAny>>) -> Step {
    match call.waited(py, outcome) {
        (outcome, true) => call.record_timeout(outcome),
        (outcome, false) => call.record(py, outcome),
    }
}

fn carry_on(py: Python<'_>, mut call: Call, mut step: Step) -> PyResult<Py<PyAny>> {
    let mut busy = Busy::idle();
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                let outcome = call.attempt(py, &attempt, Phase::Answer).map(Bound::unbind);
                made(py, &mut call, outcome)
            }
            Step::AskBackoff { retry } => call.ask_backoff(py, retry)?,
            Step::AskBalancer { candidates } => call.ask_balancer(py, &candidates)?,
            Step::Sleep { until } => {
                busy = wait::blocking(py, until, busy)?;
                call.wake()
            }
            Step::Finish(finish) => return call.answer(py, finish),
        };
    }
}

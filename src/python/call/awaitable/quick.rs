//! The quick way: a first attempt that succeeds, past the breaker's two inline doors.

use std::ptr;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyType};

use super::inside::{Inside, abandon, settle};
use super::{Awaitable, DONE, FRESH, QUICK, by_machine};
use crate::base::{Time, Verdict};
use crate::pipeline::{Plan, Target};
use crate::policy::timeout::Phase;
use crate::python::call::coroutine::{State, recorded, suspend};
use crate::python::call::raw::ticks;
use crate::python::call::scope::{self, Inherited, Scope};
use crate::python::call::{Callee, foreign, history};
use crate::python::once::intern;
use crate::runtime::clock;

/// May calls of this callee take the quick way?
pub fn is_quick(py: Python<'_>, callee: &Callee, plan: &Plan) -> bool {
    const CO_COROUTINE: u32 = 0x80;
    let Callee::Function(function) = callee else { return false };
    let simple = matches!(plan.target, Target::Bare | Target::Breaker(_));
    let function = function.bind(py);
    let native = function.get_type();
    // Only of a true coroutine function is it known that calling it runs nothing of it.
    simple
        && (native.is(py.get_type::<PyFunction>()) || is_method(&native))
        && function
            .getattr(intern!(py, "__code__"))
            .and_then(|code| code.getattr(intern!(py, "co_flags"))?.extract::<u32>())
            .is_ok_and(|flags| flags & CO_COROUTINE != 0)
}

fn is_method(class: &Bound<'_, PyType>) -> bool {
    class.name().is_ok_and(|name| name == "method")
        && class
            .getattr(intern!(class.py(), "__module__"))
            .is_ok_and(|module| module.eq("builtins").unwrap_or(false))
}

/// What a plan asks of the quick way, in one byte: fixed when the guard is made.
#[derive(Clone, Copy, Debug)]
pub struct Way(u8);

impl Way {
    /// There is a breaker.
    const BREAKER: u8 = 1;
    /// There may be further attempts, or clocks: the attempt has a scope.
    const SCOPE: u8 = 2;
    /// There are clocks.
    const CLOCKS: u8 = 4;
    /// The breaker's rules ask when.
    const TIMED: u8 = 8;
    /// They do, and a few milliseconds matter to them.
    const EXACT: u8 = 16;

    /// That of a plan.
    pub fn of(plan: &Plan) -> Self {
        let breaker = Inside::breaker(plan);
        let bits = [
            (Self::BREAKER, breaker.is_some()),
            (Self::SCOPE, plan.retry.is_some() || plan.timeout.is_on()),
            (Self::CLOCKS, plan.timeout.is_on()),
            (Self::TIMED, breaker.is_some_and(|breaker| breaker.needs_now())),
            (Self::EXACT, breaker.is_some_and(|breaker| breaker.needs_now() && !breaker.bears_lag())),
        ];
        Self(bits.into_iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit))
    }

    #[inline]
    const fn has(self, any: u8) -> bool {
        self.0 & any != 0
    }

    /// The time that the breaker's doors are told.
    #[inline]
    fn present(self) -> Time {
        if !self.has(Self::TIMED) {
            Time::ZERO
        } else if self.has(Self::EXACT) {
            clock::now()
        } else {
            ticks::now()
        }
    }
}

/// The first step.
///
/// # Safety
///
/// This thread is attached and has made the awaitable busy, which was fresh.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
pub(super) unsafe fn begin(
    awaitable: &Awaitable,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: the inside belongs to whoever has made the awaitable busy.
    unsafe {
        let py = Python::assume_attached();
        let inside = &mut *awaitable.inside.get();
        if arg != ffi::Py_None() || !foreign::is_none(py) || !scope::is_free(py) {
            return by_machine(awaitable, FRESH, arg, result);
        }
        let plan = &*Arc::as_ptr(&inside.guard().wiring().plan);
        let way = inside.guard().way;
        // A deadline counts from here.
        inside.began = if way.has(Way::SCOPE) { clock::now() } else { way.present() };
        if let Some(breaker) = Inside::breaker(plan) {
            inside.permit = breaker.admit_fast(inside.began);
            if inside.permit.is_none() {
                return by_machine(awaitable, FRESH, arg, result);
            }
        }
        if way.has(Way::SCOPE) && !equip(py, inside, plan) {
            return given_up(awaitable);
        }
        resume(awaitable, arg, result)
    }
}

/// An attempt with clocks or others after it has a scope. False with an exception set.
#[expect(unsafe_code, reason = "an owned pointer")]
unsafe fn equip(py: Python<'_>, inside: &mut Inside, plan: &Plan) -> bool {
    let deadline = plan.deadline(inside.began);
    let inherited = Inherited { deadline, ..Inherited::default() };
    let scope = Scope::new(scope::fresh_call_id(), 1, None, inherited);
    if plan.timeout.is_on() {
        scope.wait_until(plan.timeout.binding(Phase::Answer, deadline, inside.began, inside.began));
    }
    inside.mark = history::youngest_mark();
    match Py::new(py, scope) {
        Ok(scope) => {
            inside.scope = scope.into_ptr();
            true
        }
        Err(error) => {
            error.restore(py);
            false
        }
    }
}

/// Resumes the user's coroutine by the quick way.
///
/// # Safety
///
/// This thread is attached and has made the awaitable busy, which is in the user's coroutine.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
pub(super) unsafe fn resume(
    awaitable: &Awaitable,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: the inside belongs to whoever has made the awaitable busy, and so nobody gives up what it holds while
    // the user's code runs. It is looked at through the pointer before and after, not meanwhile.
    unsafe {
        let py = Python::assume_attached();
        let inside = awaitable.inside.get();
        let (inner, scope) = ((*inside).inner, (*inside).scope);
        let sent = if scope.is_null() {
            ffi::PyIter_Send(inner, arg, result)
        } else {
            scope::scoped(py, scope, || ffi::PyIter_Send(inner, arg, result))
                .unwrap_or(ffi::PySendResult::PYGEN_ERROR)
        };
        match sent {
            ffi::PySendResult::PYGEN_RETURN => {
                if !settled(&mut *inside) {
                    return late(awaitable, result);
                }
                ffi::Py_DECREF(ptr::replace(&raw mut (*inside).inner, ptr::null_mut()));
                awaitable.leave(DONE);
                sent
            }
            ffi::PySendResult::PYGEN_NEXT if (*inside).guard().way.has(Way::CLOCKS) => {
                armed(awaitable, result)
            }
            ffi::PySendResult::PYGEN_NEXT => {
                awaitable.leave(QUICK);
                sent
            }
            ffi::PySendResult::PYGEN_ERROR => failed(awaitable, result),
        }
    }
}

/// A good answer is settled by the inline door; false if it came after its deadline.
#[inline]
fn settled(inside: &mut Inside) -> bool {
    let way = inside.guard().way;
    if way.has(Way::CLOCKS) && is_late(inside) {
        return false;
    }
    let permit = inside.permit.take();
    let plan = &inside.guard().wiring().plan;
    if let Some((breaker, permit)) = Inside::breaker(plan).zip(permit)
        && let Err(permit) = breaker.settle_ok(permit, way.present())
    {
        settle(breaker, permit, &Verdict::Ok);
    }
    if way.has(Way::SCOPE) {
        plan.deposit();
    }
    true
}

/// Has the answer missed its deadline? Most are so early that the kernel's tick can tell, lag or no lag.
fn is_late(inside: &Inside) -> bool {
    let plan = &inside.guard().wiring().plan;
    plan.missed(inside.began, ticks::now().after(ticks::MOST_LAG)).is_some()
        && plan.missed(inside.began, clock::now()).is_some()
}

/// The value came after its deadline.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn late(awaitable: &Awaitable, result: *mut *mut ffi::PyObject) -> ffi::PySendResult {
    // SAFETY: as for `resume`; `result` holds a new reference, which is taken.
    unsafe {
        let value = *result;
        awaitable.step(result, |py, inside| {
            let value = Bound::from_owned_ptr(py, value).unbind();
            let (call, _inner) = inside.convert(py)?;
            Ok(recorded(py, call, Ok(value)))
        })
    }
}

/// It waits for the first time, and from now on our clock runs.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn armed(awaitable: &Awaitable, result: *mut *mut ffi::PyObject) -> ffi::PySendResult {
    // SAFETY: as for `resume`; `result` holds a new reference, which is taken.
    unsafe {
        let on = *result;
        awaitable.step(result, |py, inside| {
            let on = Bound::from_owned_ptr(py, on).unbind();
            let (call, inner) = inside.convert(py)?;
            Ok(suspend(py, call, inner, None, on))
        })
    }
}

/// The user's coroutine has raised.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn failed(awaitable: &Awaitable, result: *mut *mut ffi::PyObject) -> ffi::PySendResult {
    // SAFETY: as for `resume`; an exception is set.
    unsafe {
        awaitable.step(result, |py, inside| {
            let error = PyErr::fetch(py);
            if inside.guard().lone_breaker().is_some() {
                return Ok((State::Done, Err(judged(py, inside, error))));
            }
            let (call, _inner) = inside.convert(py)?;
            Ok(recorded(py, call, Err(error)))
        })
    }
}

/// The failure of a call whose breaker is all there is; the error as it goes on.
fn judged(py: Python<'_>, inside: &mut Inside, error: PyErr) -> PyErr {
    let permit = inside.permit.take();
    drop(Inside::take(py, &mut inside.inner));
    let guard = inside.guard();
    let (error, verdict) = match guard.wiring().judge.of_error(py, &error) {
        Ok(verdict) => (error, verdict),
        // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
        Err(interrupt) => (interrupt, Verdict::Ignore),
    };
    if let Some((breaker, permit)) = guard.lone_breaker().zip(permit) {
        settle(breaker, permit, &verdict);
    }
    error
}

/// The attempt could not be equipped: an exception is set, and nobody is blamed.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn given_up(awaitable: &Awaitable) -> ffi::PySendResult {
    // SAFETY: as for `begin`.
    unsafe { abandon(&mut *awaitable.inside.get()) };
    awaitable.leave(DONE);
    ffi::PySendResult::PYGEN_ERROR
}

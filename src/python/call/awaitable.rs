//! What a guarded coroutine function gives: an awaitable around the user's coroutine.
//!
//! ```text
//!            first step: admitted by the inline door
//!   fresh ───────────────────────────────────────────▶ quick ── it returns: settled by the other ──▶ done
//!     │                                                  │ it fails, a clock must be set,              ▲
//!     └─ refused, a deadline is inherited, …             ▼ or something is thrown in                   │
//!          └───────────────────────────────────────▶ machine ──────────────────────────────────────────┘
//! ```
//!
//! The user's function is called when ours is, so that its arguments are passed on as they came; a coroutine
//! runs nothing before its first step, which is when admission is asked for. A first attempt that succeeds
//! needs nothing but the breaker's two inline doors. Everything else is the machine's, which takes over in the
//! midst of it and is not made before.
//!
//! What Python asks of a coroutine it asks here by `am_send` and, from 3.12 on, `tp_iternext`. The memory of
//! dead ones is kept for new ones.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::coroutine::{Resumption, State, Turn, advance, recorded, suspend};
use super::guard::{Guard, packed};
use super::raw::{
    Body, Class, Raw, Slot, Stop, Visit, arguments, body, enter, getter, method, raise_stop, take_back,
};
use super::resume::Input;
use super::scope::{self, Scope};
use super::under_way::{Call, moment};
use super::{Callee, coroutine, foreign, history};
use crate::base::{Time, Verdict};
use crate::pipeline::{Execution, Plan, Target};
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::timeout::Phase;
use crate::python::once::intern;
use crate::runtime::clock;

/// Not awaited yet.
const FRESH: u8 = 0;
/// In the user's coroutine, past the inline door.
const QUICK: u8 = 1;
/// Carried by the machine.
const MACHINE: u8 = 2;
/// Over.
const DONE: u8 = 3;
/// A step runs right now.
const BUSY: u8 = 4;

/// The awaitable. It is a coroutine to `asyncio` (it has `send`, `throw`, `close` and `__await__`), so tasks,
/// `gather` and task groups take it as it is.
#[derive(Debug)]
pub struct Awaitable {
    phase: AtomicU8,
    /// Its parts, which belong to whoever has made it busy.
    inside: UnsafeCell<Inside>,
}

/// What an awaitable holds: plain pointers, owned, null for nothing. PyO3 need not know that they end.
#[derive(Debug)]
struct Inside {
    guard: *mut ffi::PyObject,
    /// The user's coroutine, until it is over or the machine has it.
    inner: *mut ffi::PyObject,
    /// The arguments, those by name after those by place, where there may be another attempt.
    args: *mut ffi::PyObject,
    /// The names of the last of them.
    names: *mut ffi::PyObject,
    scope: *mut ffi::PyObject,
    /// The exception that carried the value out.
    stop: *mut ffi::PyObject,
    /// A boxed [`State`].
    machine: *mut State,
    permit: Option<Permit>,
    began: Time,
    mark: u64,
}

#[expect(unsafe_code, reason = "plain pointers")]
// SAFETY: the pointers are owned references to Python objects and a box of what is `Send`; whoever follows them
// is attached and has made the awaitable busy, or is the collector, for which everybody else stands still.
unsafe impl Send for Awaitable {}

/// May calls of this callee take the quick way?
pub fn is_quick(py: Python<'_>, callee: &Callee, plan: &Plan) -> bool {
    const CO_COROUTINE: u32 = 0x80;
    let Callee::Function(function) = callee else { return false };
    let simple = matches!(plan.target, Target::Bare | Target::Breaker(_));
    let function = function.bind(py);
    let native = function.get_type();
    // Only of a true coroutine function is it known that calling it runs nothing of it.
    simple
        && (native.is(py.get_type::<pyo3::types::PyFunction>()) || is_method(&native))
        && function
            .getattr(intern!(py, "__code__"))
            .and_then(|code| code.getattr(intern!(py, "co_flags"))?.extract::<u32>())
            .is_ok_and(|flags| flags & CO_COROUTINE != 0)
}

fn is_method(class: &Bound<'_, pyo3::types::PyType>) -> bool {
    class.name().is_ok_and(|name| name == "method")
        && class
            .getattr(intern!(class.py(), "__module__"))
            .is_ok_and(|module| module.eq("builtins").unwrap_or(false))
}

/// How Python calls a guard that takes the quick way. `KEEPS`: there may be another attempt.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn quick<const KEEPS: bool>(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls a guard attached, and keeps it and the arguments alive meanwhile. They are passed on as
    // they came. Each reference taken here is owned by the awaitable, or given up where there is none.
    unsafe {
        let Callee::Function(function) = &body::<Guard>(guard).callee else {
            return packed(guard, args, nargsf, names, coroutine::call);
        };
        let inner = ffi::PyObject_Vectorcall(function.as_ptr(), args, nargsf, names);
        if inner.is_null() {
            return inner;
        }
        let kept = if KEEPS { keep(args, nargsf, names) } else { ptr::null_mut() };
        if KEEPS {
            if kept.is_null() {
                ffi::Py_DECREF(inner);
                return kept;
            }
            ffi::Py_XINCREF(names);
        }
        ffi::Py_INCREF(guard);
        let names = if KEEPS { names } else { ptr::null_mut() };
        let inside = Inside { guard, inner, args: kept, names, ..Inside::EMPTY };
        made(Awaitable { phase: AtomicU8::new(FRESH), inside: UnsafeCell::new(inside) })
    }
}

/// The awaitable of a call that the machine makes from the start.
pub fn machined(py: Python<'_>, guard: &Raw<Guard>, call: Call) -> PyResult<Py<PyAny>> {
    let machine = Box::into_raw(Box::new(State::New(call)));
    let inside = Inside { guard: guard.clone_ref(py).into_any().into_ptr(), machine, ..Inside::EMPTY };
    let awaitable = Awaitable { phase: AtomicU8::new(MACHINE), inside: UnsafeCell::new(inside) };
    Ok(Raw::new(py, awaitable, None)?.into_any())
}

/// # Safety
///
/// This thread is attached.
#[inline]
#[expect(unsafe_code, reason = "a pointer for C")]
unsafe fn made(awaitable: Awaitable) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract.
    let py = unsafe { Python::assume_attached() };
    match Raw::new(py, awaitable, None) {
        Ok(raw) => raw.into_any().into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// The arguments of a vectorcall as one tuple; null with an exception set.
///
/// # Safety
///
/// These are arguments of a vectorcall.
#[expect(unsafe_code, reason = "vectorcall hands over an array")]
unsafe fn keep(
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: there are as many arguments as the counts say, all alive; each place of the new tuple, which
    // nobody else knows, is given one reference.
    unsafe {
        let named = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
        let length = ffi::PyVectorcall_NARGS(nargsf) + named;
        let kept = ffi::PyTuple_New(length);
        if !kept.is_null() {
            for place in 0..length {
                let argument = *args.offset(place);
                ffi::Py_INCREF(argument);
                ffi::PyTuple_SET_ITEM(kept, place, argument);
            }
        }
        kept
    }
}

impl Inside {
    const EMPTY: Self = Self {
        guard: ptr::null_mut(),
        inner: ptr::null_mut(),
        args: ptr::null_mut(),
        names: ptr::null_mut(),
        scope: ptr::null_mut(),
        stop: ptr::null_mut(),
        machine: ptr::null_mut(),
        permit: None,
        began: Time::ZERO,
        mark: 0,
    };

    /// The guard.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    fn guard(&self) -> &Guard {
        // SAFETY: `guard` is an owned reference to a guard, and never changes.
        unsafe { body(self.guard) }
    }

    /// The breaker, where there is one.
    #[inline]
    fn breaker(plan: &Plan) -> Option<&std::sync::Arc<Breaker>> {
        match &plan.target {
            Target::Breaker(breaker) => Some(breaker),
            _ => None,
        }
    }

    /// Takes an owned reference out.
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    fn take(py: Python<'_>, place: &mut *mut ffi::PyObject) -> Option<Py<PyAny>> {
        let taken = std::mem::replace(place, ptr::null_mut());
        // SAFETY: what lies in a place is an owned reference or null, and it has just been taken out of it.
        unsafe { Bound::from_owned_ptr_or_opt(py, taken) }.map(Bound::unbind)
    }

    /// The call as the machine knows it, not begun.
    #[expect(unsafe_code, reason = "pointers become references")]
    fn call(&self, py: Python<'_>) -> PyResult<Call> {
        // SAFETY: `guard` is a guard. `args` holds the arguments that `keep` put there, the last of them named by
        // `names`, and stays alive meanwhile.
        unsafe {
            let guard = Raw::from_borrowed(py, self.guard);
            if self.args.is_null() {
                return Ok(Call::new(guard, PyTuple::empty(py).unbind(), None));
            }
            let named = if self.names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(self.names) };
            let places = ffi::PyTuple_GET_SIZE(self.args) - named;
            let items = (&raw const (*self.args.cast::<ffi::PyTupleObject>()).ob_item).cast();
            let (args, kwargs) = arguments(py, items, places.unsigned_abs(), self.names)?;
            Ok(Call::new(guard, args.unbind(), kwargs.map(Bound::unbind)))
        }
    }

    /// The machine takes over in the midst of the first attempt: the call, and the user's coroutine.
    fn convert(&mut self, py: Python<'_>) -> PyResult<(Call, Py<PyAny>)> {
        let plan = &self.guard().wiring().plan;
        let breaker = Self::breaker(plan).cloned();
        let plan = std::sync::Arc::clone(plan);
        let call = self.call(py);
        let permit = breaker.zip(self.permit.take());
        let execution = Execution::under_way(plan, permit, self.began);
        let scope = Self::take(py, &mut self.scope);
        let scope = scope.and_then(|scope| scope.into_bound(py).cast_into::<Scope>().ok()).map(Bound::unbind);
        let inner = Self::take(py, &mut self.inner).unwrap_or_else(|| py.None());
        Ok((call?.going_on(execution, scope, self.mark), inner))
    }
}

impl Awaitable {
    /// Makes it busy; what it was.
    #[inline]
    fn claim(&self) -> u8 {
        if cfg!(Py_GIL_DISABLED) {
            return self.phase.swap(BUSY, Ordering::Acquire);
        }
        // Under the GIL nobody comes in between.
        let was = self.phase.load(Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
        was
    }

    /// Puts it into a phase; it is not busy any more.
    #[inline]
    fn leave(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
    }

    /// One step by the machine, or into it. The awaitable is busy.
    #[cold]
    #[expect(unsafe_code, reason = "results for C")]
    unsafe fn step(
        &self,
        result: *mut *mut ffi::PyObject,
        act: impl FnOnce(Python<'_>, &mut Inside) -> PyResult<Turn>,
    ) -> ffi::PySendResult {
        let inside = self.inside.get();
        let mut waits = false;
        // SAFETY: this thread is attached, and has made the awaitable busy, so that its inside is its own.
        // `result` is where C wants the answer.
        unsafe {
            let given = enter(|py| {
                let (state, outcome) = act(py, &mut *inside)?;
                if !matches!(state, State::Done) {
                    (*inside).machine = Box::into_raw(Box::new(state));
                }
                Ok(match outcome.map_err(|error| coroutine::as_it_leaves(py, error))? {
                    Resumption::Wait(on) => {
                        waits = true;
                        on
                    }
                    Resumption::Done(value) => value,
                })
            });
            self.leave(if (*inside).machine.is_null() { DONE } else { MACHINE });
            *result = given;
            if given.is_null() {
                ffi::PySendResult::PYGEN_ERROR
            } else if waits {
                ffi::PySendResult::PYGEN_NEXT
            } else {
                ffi::PySendResult::PYGEN_RETURN
            }
        }
    }
}

/// One step, by whichever way. `am_send`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn send(
    this: *mut ffi::PyObject,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: Python resumes a live awaitable attached, with a live argument.
    unsafe {
        let awaitable = body::<Awaitable>(this);
        match awaitable.claim() {
            FRESH => begin(awaitable, arg, result),
            QUICK => resume(awaitable, arg, result),
            phase => by_machine(awaitable, phase, arg, result),
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
unsafe fn begin(
    awaitable: &Awaitable,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: the inside belongs to whoever has made the awaitable busy.
    unsafe {
        let py = Python::assume_attached();
        let inside = &mut *awaitable.inside.get();
        let plan = &*std::sync::Arc::as_ptr(&inside.guard().wiring().plan);
        if arg != ffi::Py_None() || !foreign::is_none(py) || !scope::is_free(py) {
            return by_machine(awaitable, FRESH, arg, result);
        }
        let more = plan.retry.is_some() || plan.timeout.is_on();
        if let Some(breaker) = Inside::breaker(plan) {
            let now = if more || breaker.needs_now() { clock::now() } else { Time::ZERO };
            inside.began = now;
            inside.permit = breaker.admit_fast(now);
            if inside.permit.is_none() {
                return by_machine(awaitable, FRESH, arg, result);
            }
        } else if more {
            inside.began = clock::now();
        }
        if more && !equip(py, inside, plan) {
            return given_up(awaitable);
        }
        resume(awaitable, arg, result)
    }
}

/// An attempt with clocks or others after it has a scope. False with an exception set.
#[expect(unsafe_code, reason = "an owned pointer")]
unsafe fn equip(py: Python<'_>, inside: &mut Inside, plan: &Plan) -> bool {
    let deadline = plan.deadline(inside.began);
    let scope = Scope::new(scope::next_call_id(), 1, None, deadline);
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
unsafe fn resume(
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
            scoped(py, scope, || ffi::PyIter_Send(inner, arg, result))
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
            ffi::PySendResult::PYGEN_NEXT if (*inside).guard().wiring().plan.timeout.is_on() => {
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

/// Runs `act` in a scope.
///
/// # Safety
///
/// This thread is attached, and the scope alive.
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn scoped(
    py: Python<'_>,
    scope: *mut ffi::PyObject,
    act: impl FnOnce() -> ffi::PySendResult,
) -> ffi::PySendResult {
    // SAFETY: by the function's own contract; `outer` is an owned reference.
    unsafe {
        let outer = scope::swap(py, scope);
        if outer.is_null() {
            return ffi::PySendResult::PYGEN_ERROR;
        }
        let sent = act();
        if sent == ffi::PySendResult::PYGEN_ERROR {
            // At interpreter shutdown there is no scope to go back to.
            let _shutting_down = crate::python::apart(|py| scope::swap_back(py, outer));
        } else {
            scope::swap_back(py, outer);
        }
        sent
    }
}

/// A good answer is settled by the inline door; false if it came after its deadline.
#[inline]
fn settled(inside: &mut Inside) -> bool {
    let permit = inside.permit.take();
    let plan = &inside.guard().wiring().plan;
    let breaker = Inside::breaker(plan);
    let clocked = plan.timeout.is_on();
    let now =
        if clocked || breaker.is_some_and(|breaker| breaker.needs_now()) { clock::now() } else { Time::ZERO };
    if clocked && plan.missed(inside.began, now).is_some() {
        inside.permit = permit;
        return false;
    }
    if let Some((breaker, permit)) = breaker.zip(permit)
        && let Err(permit) = breaker.settle_ok(permit, now)
    {
        settle(breaker, permit, &Verdict::Ok);
    }
    plan.deposit();
    true
}

/// The long way back through the second door.
#[cold]
fn settle(breaker: &Breaker, permit: Permit, verdict: &Verdict) {
    moment(|at| breaker.settle(permit, verdict, at.now, at.dice, at.out));
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

/// What is not for the quick way.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn by_machine(
    awaitable: &Awaitable,
    phase: u8,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: as for `send`.
    unsafe {
        if phase == BUSY {
            return refused(PyValueError::new_err("coroutine already executing"));
        }
        if phase == FRESH && arg != ffi::Py_None() {
            awaitable.leave(FRESH);
            let text = "can't send non-None value to a just-started coroutine";
            return refused(PyTypeError::new_err(text));
        }
        awaitable.step(result, |py, inside| {
            let input = Input::Send(Bound::from_borrowed_ptr(py, arg));
            Ok(advance(py, state(py, phase, inside)?, input))
        })
    }
}

#[expect(unsafe_code, reason = "an exception is set")]
unsafe fn refused(error: PyErr) -> ffi::PySendResult {
    // SAFETY: the callers are attached.
    error.restore(unsafe { Python::assume_attached() });
    ffi::PySendResult::PYGEN_ERROR
}

/// What the machine goes on with from this phase. The awaitable is busy.
#[expect(unsafe_code, reason = "a box comes back from its pointer")]
fn state(py: Python<'_>, phase: u8, inside: &mut Inside) -> PyResult<State> {
    Ok(match phase {
        FRESH => {
            let call = inside.call(py)?;
            let inner = Inside::take(py, &mut inside.inner);
            State::New(match inner {
                Some(inner) => call.with_made(inner),
                None => call,
            })
        }
        QUICK => {
            let (call, inner) = inside.convert(py)?;
            State::Running(call, inner, None)
        }
        _ => {
            let machine = std::mem::replace(&mut inside.machine, ptr::null_mut());
            if machine.is_null() {
                State::Done
            } else {
                // SAFETY: it is a box that `step` or `machined` made, and it has just been taken out.
                *unsafe { Box::from_raw(machine) }
            }
        }
    })
}

/// `tp_iternext`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn iternext(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as for `send`; what it gives is a new reference. Nothing set with null is how iterators stop. The
    // place of the exception is ours: this is the step that has ended the call.
    unsafe {
        let mut value = ptr::null_mut();
        match send(this, ffi::Py_None(), &raw mut value) {
            ffi::PySendResult::PYGEN_NEXT => value,
            ffi::PySendResult::PYGEN_ERROR => ptr::null_mut(),
            ffi::PySendResult::PYGEN_RETURN => {
                if value == ffi::Py_None() {
                    ffi::Py_DECREF(value);
                } else {
                    let inside = body::<Awaitable>(this).inside.get();
                    (*inside).stop = raise_stop(Python::assume_attached(), value);
                }
                ptr::null_mut()
            }
        }
    }
}

/// Itself: `am_await`, `tp_iter`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn itself(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a new reference to a live object.
    unsafe {
        ffi::Py_INCREF(this);
    }
    this
}

/// A step for Python code that makes it by a method.
#[expect(unsafe_code, reason = "it calls what C calls")]
fn told(
    py: Python<'_>,
    step: impl FnOnce(*mut *mut ffi::PyObject) -> ffi::PySendResult,
) -> PyResult<Py<PyAny>> {
    let mut value = ptr::null_mut();
    let sent = step(&raw mut value);
    // SAFETY: what a step gives is a new reference, or null with an exception set.
    unsafe {
        match sent {
            ffi::PySendResult::PYGEN_NEXT => Ok(Bound::from_owned_ptr(py, value).unbind()),
            ffi::PySendResult::PYGEN_RETURN => {
                let value = Bound::from_owned_ptr(py, value).unbind();
                Err(PyStopIteration::new_err((value,)))
            }
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

/// `throw`.
#[expect(unsafe_code, reason = "it steps by raw pointers")]
fn throw<'py>(this: &Raw<Awaitable>, given: &[Bound<'py, PyAny>], py: Python<'py>) -> PyResult<Py<PyAny>> {
    let Some(kind) = given.first().filter(|_| given.len() <= 3) else {
        return Err(PyTypeError::new_err("throw() takes from 1 to 3 arguments"));
    };
    let input = Input::thrown(kind.clone(), given.get(1).cloned(), given.get(2).cloned())?;
    let awaitable = this.get();
    let phase = awaitable.claim();
    if phase == BUSY {
        return Err(PyValueError::new_err("coroutine already executing"));
    }
    told(py, |result| {
        // SAFETY: this thread is attached and has made the awaitable busy.
        unsafe {
            awaitable.step(result, |py, inside| {
                if phase == FRESH {
                    closed(py, inside)?;
                }
                let phase = if phase == FRESH { DONE } else { phase };
                match (phase, input) {
                    // Nothing has begun, so that there is nothing to throw it into.
                    (DONE, Input::Throw(error)) => Ok((State::Done, Err(error))),
                    (phase, input) => Ok(advance(py, state(py, phase, inside)?, input)),
                }
            })
        }
    })
}

/// `close`: neutral for every policy.
#[expect(unsafe_code, reason = "it looks inside")]
fn close(this: &Raw<Awaitable>, py: Python<'_>) -> PyResult<Py<PyAny>> {
    let awaitable = this.get();
    let phase = awaitable.claim();
    if phase == BUSY {
        return Err(PyValueError::new_err("coroutine already executing"));
    }
    // SAFETY: the awaitable is busy on our behalf.
    let inside = unsafe { &mut *awaitable.inside.get() };
    let result = if phase == MACHINE {
        state(py, phase, inside).and_then(|state| coroutine::close(py, state))
    } else {
        closed(py, inside)
    };
    awaitable.leave(DONE);
    result.map(|()| py.None())
}

/// Closes the user's coroutine, and gives back what the call holds.
fn closed(py: Python<'_>, inside: &mut Inside) -> PyResult<()> {
    let inner = Inside::take(py, &mut inside.inner);
    let closed = inner.map_or(Ok(()), |inner| inner.call_method0(py, intern!(py, "close")).map(drop));
    abandon(inside);
    closed
}

/// The permit goes back, and nobody is blamed.
fn abandon(inside: &mut Inside) {
    let permit = inside.permit.take();
    if let Some((breaker, permit)) = Inside::breaker(&inside.guard().wiring().plan).zip(permit) {
        settle(breaker, permit, &Verdict::Ignore);
    }
}

/// An attribute of the user's coroutine, while it is under way and nobody runs it.
#[expect(unsafe_code, reason = "it looks inside")]
fn of_inner(py: Python<'_>, awaitable: &Awaitable, name: &str) -> PyResult<Py<PyAny>> {
    let phase = awaitable.claim();
    if phase == BUSY {
        return Ok(py.None());
    }
    // SAFETY: the awaitable is busy on our behalf; what is borrowed is cloned before it is not any more.
    let inner = unsafe {
        let inside = &*awaitable.inside.get();
        let machine = inside.machine.as_ref();
        Bound::from_borrowed_ptr_or_opt(py, inside.inner).or_else(|| Some(machine?.inner()?.bind(py).clone()))
    };
    awaitable.leave(phase);
    match inner {
        Some(inner) => Ok(inner.getattr_opt(name)?.map_or_else(|| py.None(), Bound::unbind)),
        None => Ok(py.None()),
    }
}

impl Body for Awaitable {
    const NAME: &'static CStr = c"holdfast._native.GuardedCoroutine";
    const DOC: &'static CStr = c"What a guarded coroutine function gives: a coroutine to asyncio.";
    const KEPT: bool = true;

    fn class() -> &'static Class {
        static CLASS: Class = Class::new(1);
        &CLASS
    }

    #[expect(unsafe_code, reason = "slots are pointers of any kind")]
    fn slots() -> Vec<Slot> {
        let methods = [
            method::<Self, _>(c"send", c"Resumes the coroutine with a value.", |this, _, given| {
                let [value] = given else {
                    return Err(PyTypeError::new_err("send() takes exactly one argument"));
                };
                // SAFETY: both are alive, and this thread is attached.
                told(this.py(), |result| unsafe { send(this.as_ptr(), value.as_ptr(), result) })
            }),
            method::<Self, _>(c"throw", c"Raises an exception inside the coroutine.", |this, raw, given| {
                throw(raw, given, this.py())
            }),
            method::<Self, _>(
                c"close",
                c"Closes the coroutine: neutral for every policy.",
                |this, raw, _| close(raw, this.py()),
            ),
        ];
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_am_await, itself as *mut c_void),
                Slot::new(ffi::Py_am_send, send as *mut c_void),
                Slot::new(ffi::Py_tp_iter, itself as *mut c_void),
                Slot::new(ffi::Py_tp_iternext, iternext as *mut c_void),
            ]
        };
        functions.into_iter().chain([Slot::methods(methods), Slot::getters(getters())]).collect()
    }

    #[expect(unsafe_code, reason = "pointers are shown")]
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop> {
        let busy = self.phase.load(Ordering::Acquire) == BUSY;
        // SAFETY: the guard never changes. The rest belongs to a step that runs right now; if none does, nobody
        // changes it while the collector looks. A reference that is not shown is taken for one from outside.
        unsafe {
            let inside = self.inside.get();
            visit.pointer((*inside).guard)?;
            if busy {
                return Ok(());
            }
            let inside = &*inside;
            for held in [inside.inner, inside.args, inside.names, inside.scope] {
                visit.pointer(held)?;
            }
            inside.machine.as_ref().map_or(Ok(()), |state| state.traverse(visit))
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "references are given up")]
    fn release(&mut self, py: Python<'_>) {
        let inside = self.inside.get_mut();
        if inside.permit.is_some() || !inside.machine.is_null() {
            dropped(inside);
        }
        // SAFETY: these are owned references, given up once. A coroutine that nobody awaited says so now.
        unsafe {
            if !inside.stop.is_null() {
                take_back(py, inside.stop);
            }
            for held in [inside.inner, inside.args, inside.names, inside.scope] {
                ffi::Py_XDECREF(held);
            }
            ffi::Py_DECREF(inside.guard);
        }
    }
}

/// Nobody will go on with it: what it holds goes back, and a call that nobody has awaited is told.
#[cold]
#[expect(unsafe_code, reason = "a box comes back from its pointer")]
fn dropped(inside: &mut Inside) {
    abandon(inside);
    if inside.machine.is_null() {
        return;
    }
    // SAFETY: it is a box of ours, and nobody else has it any more.
    let state = *unsafe { Box::from_raw(std::mem::replace(&mut inside.machine, ptr::null_mut())) };
    let guard = inside.guard;
    // At interpreter shutdown there is nobody left to warn, and what is dropped ends with the process.
    let _shutting_down = crate::python::apart(|py| {
        if matches!(state, State::New(_)) {
            // SAFETY: the guard is owned by what is being dropped.
            coroutine::warn(&unsafe { Bound::from_borrowed_ptr(py, guard) });
        }
        drop(state);
    });
}

fn getters() -> [ffi::PyGetSetDef; 6] {
    #[expect(unsafe_code, reason = "it looks inside")]
    fn named(py: Python<'_>, awaitable: &Raw<Awaitable>, name: &str) -> PyResult<Py<PyAny>> {
        // SAFETY: the guard never changes, and is owned by the awaitable.
        let guard = unsafe { Bound::from_borrowed_ptr(py, (*awaitable.get().inside.get()).guard) };
        Ok(guard.getattr(name)?.unbind())
    }
    [
        getter(c"__name__", c"The function's name.", |py, this: &Raw<Awaitable>| named(py, this, "__name__")),
        getter(c"__qualname__", c"The function's qualified name.", |py, this: &Raw<Awaitable>| {
            named(py, this, "__qualname__")
        }),
        getter(c"cr_code", c"The function's code.", |py, this: &Raw<Awaitable>| {
            named(py, this, "__code__").or_else(|_missing| Ok(py.None()))
        }),
        getter(c"cr_frame", c"The user's frame, while it waits.", |py, this: &Raw<Awaitable>| {
            of_inner(py, this.get(), "cr_frame")
        }),
        getter(c"cr_await", c"What the user's coroutine waits for.", |py, this: &Raw<Awaitable>| {
            of_inner(py, this.get(), "cr_await")
        }),
        getter(c"cr_running", c"Does it run right now?", |py, this: &Raw<Awaitable>| {
            let busy = this.get().phase.load(Ordering::Acquire) == BUSY;
            Ok(busy.into_pyobject(py)?.to_owned().into_any().unbind())
        }),
    ]
}

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
//! | file | what |
//! |---|---|
//! | `inside` | what an awaitable holds |
//! | `quick` | the quick way |
//! | `methods` | what Python code sees of it |
//!
//! What Python asks of a coroutine it asks here by `am_send` and, from 3.12 on, `tp_iternext`. The memory of
//! dead ones is kept for new ones.

mod inside;
mod methods;
mod quick;

pub use quick::{Way, is_quick};

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::Callee;
use super::coroutine::{self, Resumption, State, Turn, advance};
use super::guard::{Guard, packed};
use super::raw::{Body, Class, Raw, Slot, Stop, Visit, body, enter, pass_on, raise_stop, take_back};
use super::resume::Input;
use super::under_way::Call;
use crate::python::apart;
use inside::{Inside, abandon, keep};
use quick::{begin, resume};

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

#[expect(unsafe_code, reason = "plain pointers")]
// SAFETY: the pointers are owned references to Python objects and a box of what is `Send`; whoever follows them
// is attached and has made the awaitable busy, or is the collector, for which everybody else stands still.
unsafe impl Send for Awaitable {}

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
        let inner = pass_on(function.as_ptr(), args, nargsf, names);
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
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_am_await, itself as *mut c_void),
                Slot::new(ffi::Py_am_send, send as *mut c_void),
                Slot::new(ffi::Py_tp_iter, itself as *mut c_void),
                Slot::new(ffi::Py_tp_iternext, iternext as *mut c_void),
            ]
        };
        functions
            .into_iter()
            .chain([Slot::methods(methods::methods()), Slot::getters(methods::getters())])
            .collect()
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
    let _shutting_down = apart(|py| {
        if matches!(state, State::New(_)) {
            // SAFETY: the guard is owned by what is being dropped.
            coroutine::warn(&unsafe { Bound::from_borrowed_ptr(py, guard) });
        }
        drop(state);
    });
}

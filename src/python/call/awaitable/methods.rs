//! What Python code sees of an awaitable: its methods and attributes, which are those of a coroutine.

use std::ptr;
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::inside::closed;
use super::{Awaitable, BUSY, DONE, FRESH, MACHINE, send, state};
use crate::python::call::coroutine::{self, State, advance};
use crate::python::call::raw::{Raw, getter, method};
use crate::python::call::resume::Input;

/// The methods.
#[expect(unsafe_code, reason = "it calls what C calls")]
pub(super) fn methods() -> [ffi::PyMethodDef; 3] {
    [
        method::<Awaitable, _>(c"send", c"Resumes the coroutine with a value.", |this, _, given| {
            let [value] = given else {
                return Err(PyTypeError::new_err("send() takes exactly one argument"));
            };
            // SAFETY: both are alive, and this thread is attached.
            told(this.py(), |result| unsafe { send(this.as_ptr(), value.as_ptr(), result) })
        }),
        method::<Awaitable, _>(c"throw", c"Raises an exception inside the coroutine.", |this, raw, given| {
            throw(raw, given, this.py())
        }),
        method::<Awaitable, _>(
            c"close",
            c"Closes the coroutine: neutral for every policy.",
            |this, raw, _| close(raw, this.py()),
        ),
    ]
}

/// The attributes.
pub(super) fn getters() -> [ffi::PyGetSetDef; 6] {
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

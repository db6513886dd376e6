//! What Python code sees of a step: the methods of a coroutine.

use std::ptr;

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::lane::{advance, into_machine};
use super::machine;
use super::step::{BUSY, FRESH, Given, SPENT, StreamStep, executing};
use crate::python::call::raw::{Raw, method};
use crate::python::call::resume::Input;

pub(super) fn methods() -> [ffi::PyMethodDef; 3] {
    [
        method::<StreamStep, _>(c"send", c"Resumes the step with a value.", |this, raw, given| {
            let [value] = given else {
                return Err(PyTypeError::new_err("send() takes exactly one argument"));
            };
            resumed(this.py(), raw, Input::Send(value.clone()))
        }),
        method::<StreamStep, _>(c"throw", c"Raises an exception inside the step.", |this, raw, given| {
            let Some(kind) = given.first().filter(|_| given.len() <= 3) else {
                return Err(PyTypeError::new_err("throw() takes from 1 to 3 arguments"));
            };
            let thrown = Input::thrown(kind.clone(), given.get(1).cloned(), given.get(2).cloned())?;
            resumed(this.py(), raw, thrown)
        }),
        method::<StreamStep, _>(c"close", c"Gives the step up.", |this, raw, _| close(raw, this.py())),
    ]
}

/// A step for Python code that makes it by a method.
#[expect(unsafe_code, reason = "it steps by raw pointers")]
fn resumed<'py>(py: Python<'py>, raw: &Raw<StreamStep>, input: Input<'py>) -> PyResult<Py<PyAny>> {
    let step = raw.get();
    let mut value = ptr::null_mut();
    // SAFETY: this thread is attached, and the step and what goes in are alive. What a step gives is a new
    // reference, or an exception is set.
    unsafe {
        let given = match input {
            Input::Send(sent) => advance::<false>(step, sent.as_ptr(), &raw mut value),
            thrown @ Input::Throw(_) => into_machine(step, step.claim(), &raw mut value, |_| thrown),
        };
        match given {
            Given::Waits => Ok(Bound::from_owned_ptr(py, value).unbind()),
            Given::Returned => Err(stop(Bound::from_owned_ptr(py, value))),
            Given::Stopped | Given::Raised => Err(PyErr::fetch(py)),
        }
    }
}

/// `close`: neutral for every policy.
#[expect(unsafe_code, reason = "it looks inside")]
fn close(raw: &Raw<StreamStep>, py: Python<'_>) -> PyResult<Py<PyAny>> {
    let step = raw.get();
    let phase = step.claim();
    if phase == BUSY {
        return Err(executing());
    }
    let state = if phase == FRESH {
        None
    } else {
        // SAFETY: the step is busy on our behalf.
        StreamStep::state(py, phase, step.stream(), unsafe { &mut *step.inside.get() })
    };
    let closed = state.map_or(Ok(()), |state| machine::close(py, step.stream(), state));
    step.leave(SPENT);
    closed.map(|()| py.None())
}

/// How a step that is made by a method ends; without a value as a generator's does.
fn stop(value: Bound<'_, PyAny>) -> PyErr {
    if value.is_none() { PyStopIteration::new_err(()) } else { PyStopIteration::new_err((value.unbind(),)) }
}

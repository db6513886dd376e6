//! The end of a stream that nobody asks any further: the user's iterator is closed, and nobody is blamed.

use pyo3::prelude::*;

use super::state::{Outcome, StepState, Todo, Turn};
use super::{Run, Shared};
use crate::python::call::coroutine::awaited;
use crate::python::call::resume::{Input, Resumed, resume};
use crate::python::once::intern;

/// Closes the user's iterator: neutral for every policy.
pub(super) fn close_run(py: Python<'_>, run: Run) -> Todo<'_> {
    let Run { mut call, source, .. } = run;
    call.abandon();
    let closing = source
        .bind(py)
        .getattr_opt(intern!(py, "aclose"))
        .and_then(|aclose| aclose.map(|aclose| aclose.call0().and_then(|made| awaited(&made))).transpose());
    match closing {
        Ok(Some(inner)) => close_on(py, inner.unbind(), Input::none(py)),
        Ok(None) => Todo::Return(Turn::Over(Shared::Done, Ok(Outcome::Item(py.None())))),
        Err(error) => Todo::Return(Turn::Over(Shared::Done, Err(error))),
    }
}

pub(super) fn close_on<'py>(py: Python<'py>, inner: Py<PyAny>, input: Input<'py>) -> Todo<'py> {
    Todo::Return(closed(py, inner, input))
}

pub(super) fn closed(py: Python<'_>, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(on) => Turn::Wait(StepState::Closing { inner }, on.unbind()),
        Resumed::Returned(value) => Turn::Over(Shared::Done, Ok(Outcome::Item(value.unbind()))),
        Resumed::Raised(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

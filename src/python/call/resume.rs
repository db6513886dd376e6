//! One step of somebody else's iterator, coroutine or generator.

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;

/// What goes in.
#[derive(Debug)]
pub enum Input<'py> {
    /// A value; `None` to just go on.
    Send(Bound<'py, PyAny>),
    /// An exception.
    Throw(PyErr),
}

/// What comes out.
#[derive(Debug)]
pub enum Resumed<'py> {
    /// It gave an item, or waits for this future.
    Yielded(Bound<'py, PyAny>),
    /// It has ended with this value.
    Returned(Bound<'py, PyAny>),
    /// It has ended with this exception.
    Raised(PyErr),
}

impl<'py> Input<'py> {
    /// Just go on.
    pub fn none(py: Python<'py>) -> Self {
        Self::Send(py.None().into_bound(py))
    }

    /// The arguments of `throw`: an instance, or a class with an optional value and traceback.
    pub fn thrown(
        typ: Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let value = match val.filter(|v| !v.is_none()) {
            Some(instance) if instance.is_instance(&typ).unwrap_or(false) => instance,
            Some(argument) => typ.call1((argument,))?,
            None if typ.is_callable() => typ.call0()?,
            None => typ,
        };
        if let Some(tb) = tb.filter(|tb| !tb.is_none()) {
            value.call_method1("with_traceback", (tb,))?;
        }
        Ok(Self::Throw(PyErr::from_value(value)))
    }
}

/// Resumes `inner` with `input`.
pub fn resume<'py>(inner: &Bound<'py, PyAny>, input: Input<'py>) -> Resumed<'py> {
    match input {
        Input::Send(value) => send(inner, &value),
        Input::Throw(error) => throw(inner, error),
    }
}

#[expect(unsafe_code, reason = "PyO3 sends into iterators only, and a coroutine is none")]
fn send<'py>(inner: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Resumed<'py> {
    let py = inner.py();
    let mut result = std::ptr::null_mut();
    // SAFETY: both are alive. What comes out is a new reference, or null with an exception set.
    unsafe {
        match ffi::PyIter_Send(inner.as_ptr(), value.as_ptr(), &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Resumed::Yielded(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_RETURN => Resumed::Returned(Bound::from_owned_ptr(py, result)),
            ffi::PySendResult::PYGEN_ERROR => Resumed::Raised(PyErr::fetch(py)),
        }
    }
}

fn throw<'py>(inner: &Bound<'py, PyAny>, error: PyErr) -> Resumed<'py> {
    let py = inner.py();
    let throw = match inner.getattr_opt(crate::python::once::intern!(py, "throw")) {
        Ok(Some(throw)) => throw,
        Ok(None) => return Resumed::Raised(error),
        Err(broken) => return Resumed::Raised(broken),
    };
    match throw.call1((error.value(py),)) {
        Ok(item) => Resumed::Yielded(item),
        Err(raised) => stopped(py, raised),
    }
}

/// An error as it may leave a `what`: a stray `StopIteration` would be taken for the end (PEP 479).
pub fn unmistakable(py: Python<'_>, error: PyErr, what: &str) -> PyErr {
    let stop = if error.is_instance_of::<PyStopIteration>(py) {
        "StopIteration"
    } else if what == "async generator" && error.is_instance_of::<PyStopAsyncIteration>(py) {
        "StopAsyncIteration"
    } else {
        return error;
    };
    let plain = PyRuntimeError::new_err(format!("{what} raised {stop}"));
    plain.set_cause(py, Some(error));
    plain
}

/// The value that a `StopIteration` carries; any other exception is what it is.
pub(super) fn stopped(py: Python<'_>, stop: PyErr) -> Resumed<'_> {
    if !stop.is_instance_of::<PyStopIteration>(py) {
        return Resumed::Raised(stop);
    }
    match stop.value(py).getattr(crate::python::once::intern!(py, "value")) {
        Ok(value) => Resumed::Returned(value),
        Err(broken) => Resumed::Raised(broken),
    }
}

//! `CircuitOpen`, raised in the time that a plain Python function takes to raise (L7).
//!
//! Rejections come in storms, and what most of them say is never read. So each is a fresh instance (B16) with
//! its three facts in their slots; its sentence is written by the class when somebody asks for it. The
//! instance is made by `tp_new` alone: `__init__` is Python code that would do the same more slowly.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyNone, PyString, PyTuple, PyType};

use crate::base::Rejection;
use crate::python::once::{Once, intern};

/// What it takes to make one.
struct Parts {
    class: Py<PyType>,
    /// The descriptors of the slots.
    retry_after: Py<PyAny>,
    reason: Py<PyAny>,
    source: Py<PyAny>,
    nothing: Py<PyTuple>,
}

impl Parts {
    fn find(py: Python<'_>) -> PyResult<&Self> {
        static PARTS: Once<Parts> = Once::new();
        PARTS.get_or_try(|| {
            let module = py.import("holdfast._exceptions")?;
            let slot = |name| Ok::<_, PyErr>(module.getattr("Rejected")?.getattr(name)?.unbind());
            Ok(Self {
                class: module.getattr("CircuitOpen")?.cast_into::<PyType>()?.unbind(),
                retry_after: slot("retry_after")?,
                reason: slot("reason")?,
                source: slot("source")?,
                nothing: PyTuple::empty(py).unbind(),
            })
        })
    }
}

/// The exception for this refusal by `source`.
pub fn circuit_open<'py>(
    py: Python<'py>,
    rejection: &Rejection,
    source: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let parts = Parts::find(py)?;
    let exception = blank(parts.class.bind(py), parts.nothing.bind(py))?;
    match rejection.retry_after {
        Some(span) => put(parts.retry_after.bind(py), &exception, &PyFloat::new(py, span.as_secs_f64()))?,
        // Borrowed: to drop a reference of its own PyO3 would have to know that we are attached.
        None => put(parts.retry_after.bind(py), &exception, PyNone::get(py).as_any())?,
    }
    put(parts.reason.bind(py), &exception, reason(py, rejection.reason))?;
    put(parts.source.bind(py), &exception, source)?;
    Ok(exception)
}

/// The states that refuse have few names.
fn reason<'py>(py: Python<'py>, text: &'static str) -> &'py Bound<'py, PyString> {
    match text {
        "half_open" => intern!(py, "half_open"),
        "forced_open" => intern!(py, "forced_open"),
        _ => intern!(py, "open"),
    }
}

/// An instance without `__init__`.
#[expect(unsafe_code, reason = "PyO3 calls no `tp_new`")]
fn blank<'py>(class: &Bound<'py, PyType>, nothing: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: `class` is a live, ready type, which inherits the `tp_new` of `BaseException`: that takes the
    // type, a tuple and no keywords, and gives a new reference, or null with an exception set.
    unsafe {
        let made = (*class.as_type_ptr())
            .tp_new
            .map(|new| new(class.as_type_ptr(), nothing.as_ptr(), ptr::null_mut()));
        Bound::from_owned_ptr_or_err(py, made.unwrap_or(ptr::null_mut()))
    }
}

/// Sets a slot by its descriptor, without looking for it by name.
#[expect(unsafe_code, reason = "PyO3 calls no `tp_descr_set`")]
fn put(slot: &Bound<'_, PyAny>, exception: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: three live objects; a descriptor of a slot has `tp_descr_set`, and checks the object's class.
    let done = unsafe {
        let set = (*ffi::Py_TYPE(slot.as_ptr())).tp_descr_set;
        set.map_or(0, |set| set(slot.as_ptr(), exception.as_ptr(), value.as_ptr()))
    };
    if done < 0 { Err(PyErr::fetch(slot.py())) } else { Ok(()) }
}

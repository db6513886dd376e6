//! May a call be made again with the same arguments? (A8)
//!
//! An iterator given as an argument, a generator or an open file say, is consumed by the first attempt: a
//! second one would see an empty or a cut input and answer something else. Such a call is refused its
//! further attempts. Whoever wants them passes a list, or a function that makes the iterator.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyTuple};

use crate::python::once::intern;

/// Is an argument an iterator, or an async one?
pub fn are_consumed(py: Python<'_>, args: &Py<PyTuple>, kwargs: Option<&Py<PyDict>>) -> bool {
    let by_place = args.bind(py).iter().any(|value| is_iterator(&value));
    by_place || kwargs.is_some_and(|kwargs| kwargs.bind(py).values().iter().any(|value| is_iterator(&value)))
}

fn is_iterator(value: &Bound<'_, PyAny>) -> bool {
    // By type, as Python itself decides: an instance that answers to every name is no iterator.
    let is_async = || value.get_type().hasattr(intern!(value.py(), "__anext__")).unwrap_or(false);
    value.cast::<PyIterator>().is_ok() || is_async()
}

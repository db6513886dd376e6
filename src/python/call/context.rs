//! The context variable that holds the current scope: reading it, setting it, and setting it back.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::scope::Scope;
use crate::python::apart;
use crate::python::once::{Once, intern};

/// Are we inside of no scope at all?
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub(super) fn is_scopeless(py: Python<'_>) -> bool {
    let Ok(variable) = variable(py) else { return false };
    let mut found = ptr::null_mut();
    // SAFETY: this is a live context variable, whose default is None. What is found is a new reference, or there is
    // none and an exception is set, which whoever looks again will meet again.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut found) < 0 {
            ffi::PyErr_Clear();
            return false;
        }
        ffi::Py_XDECREF(found);
        found.is_null() || found == ffi::Py_None()
    }
}

/// The scope that we are inside of.
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub(super) fn current(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let variable = variable(py)?;
    let mut found = ptr::null_mut();
    // SAFETY: this is a live context variable; what is found is a new reference, or null.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut found) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr_or_opt(py, found))
    }
}

/// Makes a scope the current one; the token by which it [ends](leave), or null with an exception set.
///
/// # Safety
///
/// This thread is attached, and the scope is alive.
#[inline]
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub unsafe fn enter(py: Python<'_>, scope: *mut ffi::PyObject) -> *mut ffi::PyObject {
    match variable(py) {
        // SAFETY: this is a live context variable, and a live scope.
        Ok(variable) => unsafe { ffi::PyContextVar_Set(variable.as_ptr(), scope) },
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// What was current before [`enter`] is so again: in the same context, for calls end in the order in which they
/// began.
///
/// # Safety
///
/// This thread is attached, and no exception is set. The token is what `enter` gave, and is given away.
#[inline]
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub unsafe fn leave(py: Python<'_>, token: *mut ffi::PyObject) {
    // SAFETY: this is a live context variable, and a live token of it.
    unsafe {
        if let Ok(variable) = variable(py)
            && ffi::PyContextVar_Reset(variable.as_ptr(), token) < 0
        {
            // For want of memory, or because somebody has swapped the context under us: that one is not ours.
            ffi::PyErr_WriteUnraisable(variable.as_ptr());
        }
        ffi::Py_DECREF(token);
    }
}

/// Runs `act` in a scope; none if that could not be entered. Either may leave an exception set.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the scope is alive.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
pub unsafe fn scoped<R>(py: Python<'_>, scope: *mut ffi::PyObject, act: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: by the function's own contract; the token is given back once.
    unsafe {
        let token = enter(py, scope);
        if token.is_null() {
            return None;
        }
        let result = act();
        if ffi::PyErr_Occurred().is_null() {
            leave(py, token);
        } else {
            // At interpreter shutdown there is no scope to go back to.
            let _shutting_down = apart(|py| leave(py, token));
        }
        Some(result)
    }
}

/// The context variable `holdfast._scope.current`.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: Once<Py<PyAny>> = Once::new();
    VARIABLE.import(py, "holdfast._scope", "current")
}

/// Runs `work` with `scope` as the current one, where there is a scope.
#[expect(unsafe_code, reason = "a pointer taken from a reference")]
pub fn within<R>(py: Python<'_>, scope: Option<&Py<Scope>>, work: impl FnOnce() -> R) -> PyResult<R> {
    let Some(scope) = scope else { return Ok(work()) };
    // SAFETY: this thread is attached, and a `Py` keeps its scope alive. Exceptions are values here, not set.
    unsafe { scoped(py, scope.as_ptr(), work) }.ok_or_else(|| PyErr::fetch(py))
}

/// Makes `scope` the current one; what was it before. By value, not by token: a generator may be closed in
/// another context than it was begun in.
pub fn replace(py: Python<'_>, scope: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let outer = current(py)?.map_or_else(|| py.None(), Bound::unbind);
    variable(py)?.call_method1(intern!(py, "set"), (scope,))?;
    Ok(outer)
}

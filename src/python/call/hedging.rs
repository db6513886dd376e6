//! Calls that may be hedged: where the drivers of races take over from the ordinary ones.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::{GuardRef, packed};
use super::race::Race;
use crate::base::ConfigError;
use crate::python::once::{Once, intern};
use crate::python::{errors, judge, switches};

/// Python's half of a hedge, and may there be threads?
#[derive(Debug)]
pub struct Hedging {
    half: Py<PyAny>,
    threads: bool,
}

impl Hedging {
    /// By a `holdfast._hedge.Hedge`.
    pub fn new(half: &Bound<'_, PyAny>, threads: bool) -> Self {
        Self { half: half.clone().unbind(), threads }
    }

    /// The object itself, for Python's garbage collector.
    pub const fn half(&self) -> &Py<PyAny> {
        &self.half
    }
}

/// How Python calls a guard of a coroutine function that may be hedged.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn coroutine(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, start_coroutine) }
}

/// How Python calls a guard of a function that may be hedged.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn function(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, start_function) }
}

fn start_coroutine(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    static RUN: Once<Py<PyAny>> = Once::new();
    let py = args.py();
    if !is_safe(guard, &args, kwargs.as_ref())? {
        return super::coroutine::call(guard, args, kwargs);
    }
    let race = Race::new(guard.clone_ref(py), args, kwargs, 1);
    let made = RUN.import(py, "holdfast._race", "arun")?.call1((race,))?;
    for name in [intern!(py, "__name__"), intern!(py, "__qualname__")] {
        if let Some(known) = guard.bind(py).getattr_opt(name)? {
            made.setattr(name, known)?;
        }
    }
    Ok(made.unbind())
}

fn start_function(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    static RUN: Once<Py<PyAny>> = Once::new();
    let py = args.py();
    if !is_safe(guard, &args, kwargs.as_ref())? {
        return super::function::call(guard, args, kwargs);
    }
    if !guard.get().wiring().hedging.as_ref().is_some_and(|hedging| hedging.threads) {
        let rule = "be True for sync calls to be hedged: the attempts run in threads of their own";
        return Err(errors::config(py, &ConfigError::new("threads", rule, "False")));
    }
    let race = Race::new(guard.clone_ref(py), args, kwargs, 1);
    Ok(RUN.import(py, "holdfast._race", "run")?.call1((race,))?.unbind())
}

/// Has the caller declared this call safe to be made twice (A10)? A declaration that raises declares nothing.
fn is_safe(
    guard: &GuardRef,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<bool> {
    let py = args.py();
    let guard = guard.get();
    let Some(hedging) = guard.wiring().hedging.as_ref().filter(|_| !switches::is_inactive()) else {
        return Ok(false);
    };
    let half = hedging.half.bind(py);
    let function = guard.callee().function();
    let none = PyDict::new(py);
    let asked = half.call_method1(intern!(py, "_is_safe"), (function, args, kwargs.unwrap_or(&none)));
    match asked.and_then(|answer| answer.is_truthy()) {
        Ok(safe) => Ok(safe),
        Err(broken) => judge::report(broken, half).map(|()| false),
    }
}

//! Is the code that awaits us run by a loop that is not asyncio?
//!
//! Our clocks, and the waits between attempts, are asyncio's. Under trio or curio a guarded call would work until
//! the day it first has to wait; so it is refused at once, whatever it needs. Nobody pays for the question as
//! long as neither is imported, and whether that is so is asked again only when modules have come or gone:
//! what a call pays is the length of `sys.modules`.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::python::once::{Once, intern};

/// How many modules there were when last none of the foreign loops was among them.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Refuses to go on under a loop that is not asyncio. With no loop at all a coroutine may be driven by hand.
///
/// # Errors
/// A `RuntimeError` that names the loop.
#[inline]
pub fn refuse(py: Python<'_>) -> PyResult<()> {
    static MODULES: Once<Py<PyDict>> = Once::new();
    let modules = MODULES.import(py, "sys", "modules")?;
    if modules.len() == SEEN.load(Ordering::Relaxed) { Ok(()) } else { look(modules) }
}

/// Is there surely no other loop? It drops nothing that PyO3 would have to be attached for.
#[inline]
pub fn is_none(py: Python<'_>) -> bool {
    matches!(refuse(py), Ok(()))
}

#[cold]
fn look(modules: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = modules.py();
    // Before the look: whoever imports one meanwhile changes the number again.
    let seen = modules.len();
    if !modules.contains(intern!(py, "trio"))? && !modules.contains(intern!(py, "curio"))? {
        SEEN.store(seen, Ordering::Relaxed);
        return Ok(());
    }
    let found = py.import("holdfast._loops")?.call_method0("foreign")?.extract::<Option<String>>()?;
    found.map_or(Ok(()), |name| {
        Err(PyRuntimeError::new_err(format!(
            "holdfast: guarded async calls need asyncio, and this one is run by {name} (trio and other loops are \
             not supported)"
        )))
    })
}

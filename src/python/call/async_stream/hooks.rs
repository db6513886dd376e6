//! What a loop is told of async generators, so that `loop.shutdown_asyncgens()` closes those left half-read.
//!
//! Python tells the hook of `sys.set_asyncgen_hooks` when an async generator is first asked for anything. Of a
//! guarded one it is told ours, and not the user's inside: a loop that knew both would close both at once, and
//! one of the two would complain that it is closed already; one that knew the inner only would leave our permit
//! out (R7). The other hook, for generators that are dropped half-read, stays the inner one's: it is the one that
//! has something to close.

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;

use super::AsyncStream;
use crate::python::call::raw::Raw;
use crate::python::once::Once;

/// Tells the loop of a stream.
///
/// # Errors
/// What the hook raised.
pub(super) fn tell(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    firstiter(stream.py())?.map_or(Ok(()), |hook| hook.call1((stream,)).map(drop))
}

/// Asks a stream inside of ours for the first time, without the loop being told of it.
///
/// # Errors
/// What `ask` raised.
pub(super) fn untold<R>(source: &Bound<'_, PyAny>, ask: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    static SET: Once<Py<PyAny>> = Once::new();
    let py = source.py();
    // Whatever else is asked may run code, which may have generators of its own.
    if !is_generator(source) && !Raw::<AsyncStream>::is(source) {
        return ask();
    }
    let Some(hook) = firstiter(py)? else { return ask() };
    let set = SET.import(py, "sys", "set_asyncgen_hooks")?;
    // An audit hook may refuse that: then the loop knows both.
    if let Err(refused) = set.call1((py.None(),)) {
        return if refused.is_instance_of::<PyException>(py) { ask() } else { Err(refused) };
    }
    let asked = ask();
    set.call1((hook,))?;
    asked
}

/// The hook of the loop that runs us, if there is one.
fn firstiter(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static GET: Once<Py<PyAny>> = Once::new();
    let hook = GET.import(py, "sys", "get_asyncgen_hooks")?.call0()?.get_item(0)?;
    Ok(Some(hook).filter(|hook| !hook.is_none()))
}

#[expect(unsafe_code, reason = "PyO3 does not know async generators")]
fn is_generator(source: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyAsyncGen_CheckExact(source.as_ptr()) != 0 }
}

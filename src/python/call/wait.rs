//! Waiting from Python: blocking with the GIL released, or as an asyncio future.

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::alarm::{call_soon, running_loop};
use super::coroutine::awaited;
use crate::base::Time;
use crate::runtime::clock::{self, Busy};

/// Blocks until `until` with the GIL released; a signal's exception (Ctrl-C) ends it within 50 ms (R8).
///
/// Under a manual clock the returned guard tells the clock that this thread is at work until it is dropped.
pub fn blocking(py: Python<'_>, until: Time) -> PyResult<Option<Busy>> {
    let mut raised = None;
    let busy = py.detach(|| {
        clock::wait_until(until, &mut || {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        })
    });
    raised.map_or(Ok(busy), Err)
}

/// What a manual clock's sleep gives to its sleeper: the proof that it is at work.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
struct Token(Mutex<Option<Busy>>);

/// Ends a manual clock's sleep, in the loop's own thread.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
struct Settle(Py<PyAny>);

#[pymethods]
impl Settle {
    fn __call__(&self, py: Python<'_>, token: Py<PyAny>) -> PyResult<()> {
        let future = self.0.bind(py);
        if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
            future.call_method1(intern!(py, "set_result"), (token,))?;
        }
        Ok(())
    }
}

/// The iterator behind an asyncio sleep until `until`.
pub fn sleeping(py: Python<'_>, until: Time) -> PyResult<Bound<'_, PyAny>> {
    static SLEEP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let running = running_loop(py)?;
    if !clock::is_manual() {
        let seconds = until.since(clock::now()).as_secs_f64();
        return awaited(&SLEEP.import(py, "asyncio", "sleep")?.call1((seconds,))?);
    }
    let future = running.call_method0(intern!(py, "create_future"))?;
    let settle = Py::new(py, Settle(future.clone().unbind()))?;
    let running = running.unbind();
    // A sleeper that is cancelled leaves its timer behind: it finds the future done.
    clock::call_at(
        until,
        Box::new(move |busy| {
            let token = Python::try_attach(|py| Py::new(py, Token(Mutex::new(Some(busy)))));
            if let Some(Ok(token)) = token {
                call_soon(&running, (settle, token));
            }
        }),
    )
    .detach();
    awaited(&future)
}

/// The proof of being at work that a sleep ended with, if it was a manual clock's.
pub fn woken(value: &Bound<'_, PyAny>) -> Option<Busy> {
    value.cast::<Token>().ok().and_then(|token| token.get().0.lock().take())
}

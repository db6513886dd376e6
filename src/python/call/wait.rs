//! Waiting from Python: blocking with the GIL released, or as an asyncio future.

use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::alarm::{call_soon, running_loop};
use super::coroutine::awaited;
use super::resume::{Input, Resumed, resume};
use crate::base::Time;
use crate::python::once::{Once, intern};
use crate::runtime::clock::{self, Busy, TimerHandle, Waited};

/// How often a blocked thread looks for signals: well within the 100 ms of R8.
const SIGNAL_SLICE: Duration = Duration::from_millis(40);

/// The exception of a signal that has come, such as Ctrl-C's.
pub fn signal() -> Option<PyErr> {
    Python::attach(|py| PyResult::err(py.check_signals()))
}

/// Blocks until `until` with the GIL released; a signal's exception (Ctrl-C) ends it (R8).
///
/// The guards tell a manual clock that this thread is at work; `carried` is that of the wait before.
pub fn blocking(py: Python<'_>, until: Time, carried: Busy) -> PyResult<Busy> {
    let mut raised = None;
    let waited = py.detach(|| {
        clock::wait_until(until, SIGNAL_SLICE, carried, &mut || {
            raised = signal();
            raised.is_some()
        })
    });
    match (waited, raised) {
        (_, Some(signal)) => Err(signal),
        (Waited::Due(busy), None) => Ok(busy),
        (Waited::Interrupted, None) => Ok(Busy::idle()),
    }
}

/// An asyncio sleep under way.
#[derive(Debug)]
pub struct Nap {
    inner: Py<PyAny>,
    /// Under a manual clock the timer that ends it; dropped, it is disarmed.
    _timer: Option<TimerHandle>,
}

/// How one look at a nap ends.
pub enum Look {
    /// Still asleep: wait for this.
    Asleep(Py<PyAny>),
    /// Awake; the guard tells a manual clock that we are at work.
    Awake(Busy),
    /// Cancelled, or thrown into.
    Raised(PyErr),
}

impl Nap {
    /// A sleep until `until`.
    pub fn until(py: Python<'_>, until: Time) -> PyResult<Self> {
        static SLEEP: Once<Py<PyAny>> = Once::new();
        let running = running_loop(py)?;
        if !clock::is_manual() {
            let seconds = until.since(clock::now()).as_secs_f64();
            let inner = awaited(&SLEEP.import(py, "asyncio", "sleep")?.call1((seconds,))?)?;
            return Ok(Self { inner: inner.unbind(), _timer: None });
        }
        let future = running.call_method0(intern!(py, "create_future"))?;
        let settle = Py::new(py, Settle(future.clone().unbind()))?;
        let running = running.unbind();
        let ring = move |busy| {
            // At interpreter shutdown there is no sleeper left.
            let token = Python::try_attach(|py| Py::new(py, Token(Mutex::new(busy))));
            if let Some(Ok(token)) = token {
                call_soon(&running, (settle, token));
            }
        };
        let timer = clock::call_at(until, Box::new(ring));
        Ok(Self { inner: awaited(&future)?.unbind(), _timer: Some(timer) })
    }

    /// Resumes it once.
    pub fn look(&self, py: Python<'_>, input: Input<'_>) -> Look {
        match resume(self.inner.bind(py), input) {
            Resumed::Yielded(on) => Look::Asleep(on.unbind()),
            Resumed::Raised(error) => Look::Raised(error),
            Resumed::Returned(value) => {
                let token = value.cast::<Token>().ok();
                Look::Awake(token.map_or_else(Busy::idle, |t| std::mem::take(&mut *t.get().0.lock())))
            }
        }
    }

    /// What it waits in, to be closed or visited.
    pub const fn inner(&self) -> &Py<PyAny> {
        &self.inner
    }
}

/// What a manual clock's sleep gives to its sleeper: the proof that it is at work.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
pub(super) struct Token(Mutex<Busy>);

/// Ends a manual clock's sleep, in the loop's own thread.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
pub(super) struct Settle(Py<PyAny>);

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

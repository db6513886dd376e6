//! Our own clocks in asyncio: a timer that cancels the task, told apart from the caller's own cancel (B8).
//!
//! The timer is armed at the first suspension only, so a call that never waits pays nothing. When it rings,
//! the task is cancelled once; when that cancellation comes back through the user's coroutine, the task's
//! count of cancel requests says whether the caller has asked too (the protocol of `asyncio.timeout`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::raw::Visitor;
use crate::policy::timeout::Expiry;
use crate::python::once::{Once, intern};
use crate::python::{apart, errors};
use crate::runtime::clock::{self, Busy, TimerHandle};

/// A clock that runs while the user's coroutine waits.
#[derive(Debug)]
pub struct Alarm {
    task: Py<PyAny>,
    /// How often the task had been asked to cancel when the clock was armed.
    cancelling: u64,
    timer: Timer,
    bell: Arc<Bell>,
    expiry: Expiry,
    stopped: AtomicBool,
}

#[derive(Debug)]
enum Timer {
    Loop(Py<PyAny>),
    /// Dropped with the alarm, and so disarmed.
    Manual(#[expect(dead_code, reason = "held for its drop, which disarms")] TimerHandle),
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    busy: Mutex<Busy>,
}

/// What the timer calls.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
pub(super) struct Ringer {
    task: Py<PyAny>,
    bell: Arc<Bell>,
}

#[pymethods]
impl Ringer {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.bell.rung.store(true, Ordering::Release);
        self.task.bind(py).call_method0(intern!(py, "cancel")).map(drop)
    }
}

impl Alarm {
    /// Sets the clock for the task that is running now.
    pub fn arm(py: Python<'_>, expiry: Expiry) -> PyResult<Self> {
        let running = running_loop(py)?;
        let task = current_task(py)?;
        let cancelling = task.call_method0(intern!(py, "cancelling"))?.extract()?;
        let bell = Arc::new(Bell::default());
        let ringer = Ringer { task: task.clone().unbind(), bell: Arc::clone(&bell) };
        let ringer = Py::new(py, ringer)?.into_any();
        let timer = if clock::is_manual() {
            Timer::Manual(arm_manual(running.unbind(), ringer, Arc::clone(&bell), expiry))
        } else {
            let wait = expiry.at.since(clock::now()).as_secs_f64();
            Timer::Loop(running.call_method1(intern!(py, "call_later"), (wait, ringer))?.unbind())
        };
        Ok(Self { task: task.unbind(), cancelling, timer, bell, expiry, stopped: AtomicBool::new(false) })
    }

    /// Stops the clock.
    pub fn disarm(self, py: Python<'_>) {
        self.stop(py);
    }

    /// Stops the clock and says whether the outcome is its doing: then the outcome is a `CallTimeout`.
    pub fn resolve(
        self,
        py: Python<'_>,
        outcome: PyResult<Py<PyAny>>,
    ) -> ((PyResult<Py<PyAny>>, bool), Busy) {
        self.stop(py);
        let busy = std::mem::take(&mut *self.bell.busy.lock());
        if !self.bell.rung.load(Ordering::Acquire) {
            return ((outcome, false), busy);
        }
        let requests = self.uncancel(py);
        let judged = match outcome {
            Err(error) if requests <= self.cancelling && is_cancellation(py, &error) => {
                let timeout = errors::timeout(py, &self.expiry);
                timeout.set_cause(py, Some(error));
                (Err(timeout), true)
            }
            outcome => (outcome, false),
        };
        (judged, busy)
    }

    /// Gives our own cancel request back; how many others there are.
    fn uncancel(&self, py: Python<'_>) -> u64 {
        let left = self.task.bind(py).call_method0(intern!(py, "uncancel")).and_then(|n| n.extract());
        left.unwrap_or_else(|broken: PyErr| {
            broken.write_unraisable(py, Some(self.task.bind(py)));
            self.cancelling
        })
    }

    fn stop(&self, py: Python<'_>) {
        if let Timer::Loop(handle) = &self.timer
            && !self.stopped.swap(true, Ordering::AcqRel)
            && let Err(broken) = handle.bind(py).call_method0(intern!(py, "cancel"))
        {
            broken.write_unraisable(py, None);
        }
    }

    /// For Python's garbage collector.
    pub fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        if let Timer::Loop(handle) = &self.timer {
            visit.call(handle)?;
        }
        visit.call(&self.task)
    }
}

impl Drop for Alarm {
    /// A call that was given up half-way must not cancel what its task does next.
    fn drop(&mut self) {
        if !self.stopped.load(Ordering::Acquire) {
            // At interpreter shutdown there is no loop left.
            let _shutting_down = apart(|py| self.stop(py));
        }
    }
}

fn arm_manual(running: Py<PyAny>, ringer: Py<PyAny>, bell: Arc<Bell>, expiry: Expiry) -> TimerHandle {
    let ring = move |busy| {
        let left = expiry.at.since(clock::now());
        if left.is_zero() {
            *bell.busy.lock() = busy;
            call_soon(&running, (ringer,));
        } else {
            // The manual clock is gone: the rest of the wait is the loop's.
            hand_over(&running, left.as_secs_f64(), ringer);
        }
    };
    clock::call_at(expiry.at, Box::new(ring))
}

/// `loop.call_soon_threadsafe(loop.call_later, seconds, ringer)`.
fn hand_over(running: &Py<PyAny>, seconds: f64, ringer: Py<PyAny>) {
    // At interpreter shutdown there is no loop left.
    let _shutting_down = Python::try_attach(|py| match running.getattr(py, "call_later") {
        Ok(call_later) => call_soon(running, (call_later, seconds, ringer)),
        Err(broken) => broken.write_unraisable(py, Some(running.bind(py))),
    });
}

/// `loop.call_soon_threadsafe(*args)`; a loop that is closed has nobody left to tell.
pub(super) fn call_soon(running: &Py<PyAny>, args: impl for<'py> pyo3::call::PyCallArgs<'py>) {
    // At interpreter shutdown there is no loop left either.
    let _shutting_down = Python::try_attach(|py| {
        if let Err(closed) = running.bind(py).call_method1(intern!(py, "call_soon_threadsafe"), args) {
            closed.write_unraisable(py, Some(running.bind(py)));
        }
    });
}

/// The running asyncio loop, or an error that says what was missing.
pub(super) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: Once<Py<PyAny>> = Once::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0().map_err(|cause| {
        let error = PyRuntimeError::new_err(
            "holdfast: timeouts and back-off of async calls need a running asyncio event loop \
             (trio and other loops are not supported)",
        );
        error.set_cause(py, Some(cause));
        error
    })
}

fn is_cancellation(py: Python<'_>, error: &PyErr) -> bool {
    static CLASS: Once<Py<PyType>> = Once::new();
    // Without the class there is nothing of it.
    CLASS.import(py, "asyncio", "CancelledError").is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

fn current_task(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: Once<Py<PyAny>> = Once::new();
    let task = GET.import(py, "asyncio", "current_task")?.call0()?;
    if task.is_none() {
        return Err(PyRuntimeError::new_err("holdfast: a timeout of an async call needs an asyncio task"));
    }
    Ok(task)
}

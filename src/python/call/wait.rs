//! Waiting from Python: blocking with the GIL released, or as an asyncio future.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::alarm::{call_soon, running_loop};
use super::coroutine::awaited;
use super::resume::{Input, Resumed, resume};
use crate::base::Time;
use crate::pipeline::Pause;
use crate::python::apart;
use crate::python::once::{Once, intern};
use crate::runtime::clock::{self, Bell, Busy, TimerHandle, Waited};

/// How often a blocked thread looks for signals: well within the 100 ms of R8.
const SIGNAL_SLICE: Duration = Duration::from_millis(40);

/// The exception of a signal that has come, such as Ctrl-C's.
pub fn signal() -> Option<PyErr> {
    Python::attach(|py| PyResult::err(py.check_signals()))
}

/// Blocks until the pause is over, with the GIL released; a signal's exception (Ctrl-C) ends it (R8).
///
/// The guards tell a manual clock that this thread is at work; `carried` is that of the wait before.
pub fn blocking(py: Python<'_>, until: Pause, carried: Busy) -> PyResult<Busy> {
    let mut raised = None;
    let waited = py.detach(|| {
        let mut interrupted = || {
            raised = signal();
            raised.is_some()
        };
        let Some(place) = until.place else {
            return clock::wait_until(until.at, SIGNAL_SLICE, carried, &mut interrupted);
        };
        let bell = Arc::new(Bell::default());
        if !place.listen(Waker::from(Arc::clone(&bell))) {
            return Waited::Due(carried);
        }
        clock::wait_for(&bell, until.at, SIGNAL_SLICE, carried, &mut interrupted)
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
    manual_timer: Option<TimerHandle>,
    loop_timer: Option<LoopTimer>,
}

/// A loop's timer that ends a wait in a line; dropped, it is cancelled.
#[derive(Debug)]
struct LoopTimer(Py<PyAny>);

impl Drop for LoopTimer {
    fn drop(&mut self) {
        // At interpreter shutdown there is no loop left.
        let _shutting_down = apart(|py| {
            if let Err(broken) = self.0.call_method0(py, intern!(py, "cancel")) {
                broken.write_unraisable(py, None);
            }
        });
    }
}

/// Ends the wait of a task in a line, from whichever thread; a loop that is closed has nobody left to wake.
struct TaskWaker {
    running: Py<PyAny>,
    settle: Py<Settle>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let busy = Busy::begin();
        // At interpreter shutdown there is no sleeper left.
        let _shutting_down = apart(|py| match Py::new(py, Token(Mutex::new(busy))) {
            Ok(token) => call_soon(&self.running, (self.settle.clone_ref(py), token)),
            Err(broken) => broken.write_unraisable(py, None),
        });
    }
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
    /// A sleep until the pause is over.
    pub fn until(py: Python<'_>, until: Pause) -> PyResult<Self> {
        static SLEEP: Once<Py<PyAny>> = Once::new();
        let running = running_loop(py)?;
        let manual = clock::is_manual();
        if !manual && until.place.is_none() {
            let seconds = until.at.since(clock::now()).as_secs_f64();
            let inner = awaited(&SLEEP.import(py, "asyncio", "sleep")?.call1((seconds,))?)?;
            return Ok(Self { inner: inner.unbind(), manual_timer: None, loop_timer: None });
        }
        let future = running.call_method0(intern!(py, "create_future"))?;
        let settle = Py::new(py, Settle(future.clone().unbind()))?;
        let mut nap = Self { inner: awaited(&future)?.unbind(), manual_timer: None, loop_timer: None };
        if let Some(place) = until.place {
            let task = TaskWaker { running: running.clone().unbind(), settle: settle.clone_ref(py) };
            if !place.listen(Waker::from(Arc::new(task))) {
                settle.get().__call__(py, py.None())?;
                return Ok(nap);
            }
        }
        if manual {
            nap.manual_timer = Some(ring_at(until.at, running.unbind(), settle));
        } else if until.at < Time::NEVER {
            let seconds = until.at.since(clock::now()).as_secs_f64();
            let timer = running.call_method1(intern!(py, "call_later"), (seconds, settle, py.None()))?;
            nap.loop_timer = Some(LoopTimer(timer.unbind()));
        }
        Ok(nap)
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

/// Has the manual clock end a sleep.
fn ring_at(at: Time, running: Py<PyAny>, settle: Py<Settle>) -> TimerHandle {
    let ring = move |busy| {
        // At interpreter shutdown there is no sleeper left.
        let token = Python::try_attach(|py| Py::new(py, Token(Mutex::new(busy))));
        if let Some(Ok(token)) = token {
            call_soon(&running, (settle, token));
        }
    };
    clock::call_at(at, Box::new(ring))
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

//! The driver of coroutine functions: an awaitable that resumes the user's.
//!
//! It never hops through another runtime: the user's coroutine is resumed in the caller's own task, and
//! what it waits for is handed up unchanged. Sleeping between attempts is one more thing to wait for.

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::alarm::Alarm;
use super::foreign;
use super::guard::{GuardRef, packed};
use super::resume::{Input, Resumed, resume, unmistakable};
use super::substitute::Instead;
use super::under_way::Call;
use super::wait::{Look, Nap};
use crate::base::ConfigError;
use crate::pipeline::{Finish, Step};
use crate::policy::timeout::Phase;
use crate::python::once::intern;
use crate::python::{apart, convert, errors};
use crate::runtime::clock::{self, Busy};

/// The awaitable of a guarded coroutine function. It is a coroutine to `asyncio` (it has `send`, `throw`,
/// `close` and `__await__`), so tasks, `gather` and task groups take it as it is.
#[pyclass(frozen, weakref, module = "holdfast._native", name = "GuardedCoroutine")]
#[derive(Debug)]
pub struct Drive {
    guard: GuardRef,
    /// Empty while a step runs: a second one meanwhile is refused, as a coroutine refuses it.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
enum State {
    New(Call),
    /// In the user's coroutine, with our clock running if one is set.
    Running(Call, Py<PyAny>, Option<Alarm>),
    /// Between two attempts.
    Sleeping(Call, Nap),
    /// In what stands in our place: the fallback's answer, or the keeping of a good one.
    Instead(Py<PyAny>),
    Done,
}

type Turn = (State, PyResult<Resumption>);

/// How one step of ours ends.
enum Resumption {
    Wait(Py<PyAny>),
    Done(Py<PyAny>),
}

/// What is to be done next. A loop does it: nodes that fail one after the other must not cost stack.
enum Todo<'py> {
    Follow(Call, Step, Busy),
    Resume(Call, Py<PyAny>, Option<Alarm>, Input<'py>),
    Return(Turn),
}

/// How Python calls a guard of this colour.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn vectorcall(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, call) }
}

/// Makes the awaitable. Nothing runs before it is awaited: a rejection is raised then, not here.
pub(super) fn call(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let call = Call::new(guard.clone_ref(py), args.unbind(), kwargs.map(Bound::unbind));
    let drive = Drive { guard: guard.clone_ref(py), state: Mutex::new(Some(State::New(call))) };
    Ok(Py::new(py, drive)?.into_any())
}

impl Drive {
    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Py<PyAny>> {
        let taken = self.state.lock().take();
        let state = taken.ok_or_else(|| PyValueError::new_err("coroutine already executing"))?;
        let (state, result) = advance(py, state, input);
        *self.state.lock() = Some(state);
        match result {
            Ok(Resumption::Wait(on)) => Ok(on),
            Ok(Resumption::Done(value)) => Err(PyStopIteration::new_err((value,))),
            Err(error) => Err(unmistakable(py, error, "coroutine")),
        }
    }
}

fn advance(py: Python<'_>, state: State, input: Input<'_>) -> Turn {
    let mut todo = match (state, input) {
        (State::Done, _) => failed(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
        (State::New(_), Input::Throw(error)) => failed(error),
        (State::New(mut call), Input::Send(_)) => match foreign::refuse(py).and_then(|()| call.start(py)) {
            Ok(step) => Todo::Follow(call, step, Busy::idle()),
            Err(error) => failed(error),
        },
        (State::Running(call, inner, alarm), input) => Todo::Resume(call, inner, alarm, input),
        (State::Sleeping(call, nap), input) => awake(py, call, nap, input),
        (State::Instead(inner), input) => Todo::Return(instead(py, inner, input)),
    };
    loop {
        todo = match todo {
            Todo::Follow(call, step, busy) => follow(py, call, step, busy),
            Todo::Resume(call, inner, alarm, input) => turn(py, call, inner, alarm, input),
            Todo::Return(turn) => return turn,
        };
    }
}

/// It ends here, with an error that is no attempt's.
const fn failed<'py>(error: PyErr) -> Todo<'py> {
    Todo::Return((State::Done, Err(error)))
}

/// Resumes the user's coroutine once.
fn turn<'py>(
    py: Python<'py>,
    mut call: Call,
    inner: Py<PyAny>,
    alarm: Option<Alarm>,
    input: Input<'py>,
) -> Todo<'py> {
    let resumed = call.within(py, || resume(inner.bind(py), input));
    let outcome = match resumed.unwrap_or_else(Resumed::Raised) {
        Resumed::Yielded(on) => return Todo::Return(suspend(py, call, inner, alarm, on.unbind())),
        Resumed::Returned(value) => Ok(value.unbind()),
        Resumed::Raised(error) => Err(error),
    };
    let (outcome, busy) = match alarm {
        Some(alarm) => alarm.resolve(py, outcome),
        None => ((outcome, false), Busy::idle()),
    };
    let step = match outcome {
        (outcome, true) => call.record_timeout(outcome),
        (outcome, false) => call.record(py, outcome),
    };
    Todo::Follow(call, step, busy)
}

/// The user's coroutine waits: from its first wait on, our clock runs.
fn suspend(py: Python<'_>, mut call: Call, inner: Py<PyAny>, alarm: Option<Alarm>, on: Py<PyAny>) -> Turn {
    if alarm.is_some() {
        return (State::Running(call, inner, alarm), Ok(Resumption::Wait(on)));
    }
    let now = clock::now();
    let expiry = call.execution().and_then(|execution| execution.binding(Phase::Answer, now));
    match expiry.map(|expiry| Alarm::arm(py, expiry)).transpose() {
        Ok(alarm) => (State::Running(call, inner, alarm), Ok(Resumption::Wait(on))),
        Err(no_loop) => {
            call.abandon();
            (State::Done, Err(no_loop))
        }
    }
}

/// The sleep between two attempts goes on, or is over.
fn awake<'py>(py: Python<'py>, mut call: Call, nap: Nap, input: Input<'py>) -> Todo<'py> {
    match nap.look(py, input) {
        Look::Asleep(on) => Todo::Return((State::Sleeping(call, nap), Ok(Resumption::Wait(on)))),
        Look::Awake(busy) => {
            let step = call.wake();
            Todo::Follow(call, step, busy)
        }
        Look::Raised(error) => failed(error),
    }
}

/// Does what the machine says. `busy` tells a manual clock that we are at work.
fn follow(py: Python<'_>, mut call: Call, step: Step, busy: Busy) -> Todo<'_> {
    let next = match step {
        Step::Attempt(attempt) => {
            let made = call.attempt(py, &attempt, Phase::Answer).and_then(|made| answer(&made));
            match made {
                Ok(inner) => return Todo::Resume(call, inner.unbind(), None, Input::none(py)),
                Err(error) => Ok(call.record(py, Err(error))),
            }
        }
        Step::AskBackoff { retry } => call.ask_backoff(py, retry),
        Step::Sleep { until } => {
            return match Nap::until(py, until) {
                Ok(nap) => awake(py, call, nap, Input::none(py)),
                Err(error) => failed(error),
            };
        }
        Step::Finish(finish) => return Todo::Return(end(py, call, finish)),
    };
    match next {
        Ok(step) => Todo::Follow(call, step, busy),
        Err(error) => failed(error),
    }
}

/// The call is over, unless something stands in its place from now on.
fn end(py: Python<'_>, mut call: Call, finish: Finish) -> Turn {
    let inner = match call.async_answer(py, finish) {
        Ok(Instead::Made(made)) => awaited(made.bind(py)),
        Ok(Instead::Nothing(value)) => return (State::Done, Ok(Resumption::Done(value))),
        Err(error) => Err(error),
    };
    match inner {
        Ok(inner) => instead(py, inner.unbind(), Input::none(py)),
        Err(error) => (State::Done, Err(error)),
    }
}

/// Resumes what stands in our place.
fn instead(py: Python<'_>, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(on) => (State::Instead(inner), Ok(Resumption::Wait(on.unbind()))),
        Resumed::Returned(value) => (State::Done, Ok(Resumption::Done(value.unbind()))),
        Resumed::Raised(error) => (State::Done, Err(error)),
    }
}

/// The iterator behind what an attempt gave, which must be awaitable.
fn answer<'py>(made: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if made.hasattr(intern!(made.py(), "__await__"))? {
        return awaited(made);
    }
    let value = format!("a function that gave {}", convert::shown(made.get_type().as_any()));
    let rule = "give an awaitable to be used by acall (a plain function goes to call)";
    Err(errors::config(made.py(), &ConfigError::new("target", rule, value)))
}

/// The iterator behind an awaitable.
pub(super) fn awaited<'py>(made: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    made.call_method0(intern!(made.py(), "__await__"))
}

#[pymethods]
impl Drive {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::none(py))
    }

    /// Resumes the coroutine with a value.
    fn send(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::Send(value))
    }

    /// Raises an exception inside the coroutine.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.step(py, Input::thrown(typ, val, tb)?)
    }

    /// Closes the coroutine: neutral for every policy.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let taken = self.state.lock().take();
        let state = taken.ok_or_else(|| PyValueError::new_err("coroutine already executing"))?;
        let closed = match &state {
            State::Running(_, inner, _) | State::Instead(inner) => {
                inner.bind(py).call_method0(intern!(py, "close")).map(drop)
            }
            State::Sleeping(_, nap) => nap.inner().bind(py).call_method0(intern!(py, "close")).map(drop),
            State::New(_) | State::Done => Ok(()),
        };
        if let State::Running(_, _, Some(alarm)) = state {
            alarm.disarm(py);
        }
        *self.state.lock() = Some(State::Done);
        closed
    }

    #[getter]
    fn __name__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.guard.bind(py).getattr(intern!(py, "__name__"))?.unbind())
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.guard.bind(py).getattr(intern!(py, "__qualname__"))?.unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.guard.as_any())?;
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &*state {
            Some(State::New(call)) => call.traverse(&visit),
            Some(State::Running(call, inner, alarm)) => {
                call.traverse(&visit)?;
                if let Some(alarm) = alarm {
                    alarm.traverse(&visit)?;
                }
                visit.call(inner)
            }
            Some(State::Sleeping(call, nap)) => {
                call.traverse(&visit)?;
                visit.call(nap.inner())
            }
            Some(State::Instead(inner)) => visit.call(inner),
            Some(State::Done) | None => Ok(()),
        }
    }
}

impl Drop for Drive {
    /// Warns, as Python does, about a call that nobody awaited.
    fn drop(&mut self) {
        if !matches!(self.state.get_mut(), Some(State::New(_))) {
            return;
        }
        // At interpreter shutdown there is nobody left to warn.
        let _shutting_down = apart(|py| {
            let name = self
                .guard
                .bind(py)
                .getattr(intern!(py, "__qualname__"))
                .map_or_else(|_| "guarded call".to_owned(), |n| n.to_string());
            let text = format!("coroutine '{name}' was never awaited\0");
            let text = std::ffi::CStr::from_bytes_until_nul(text.as_bytes()).unwrap_or(c"never awaited");
            let category = py.get_type::<PyRuntimeWarning>();
            if let Err(error) = PyErr::warn(py, &category, text, 1) {
                error.write_unraisable(py, None);
            }
        });
    }
}

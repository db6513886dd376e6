//! The driver of generators: an iterator around the user's.
//!
//! The permit is taken at the first step and the verdict given at the end (B25). Until the first item is
//! handed out, a failure moves on to another attempt; from then on nothing is tried again (A7). Closing
//! early, or dropping it, is neutral.

use parking_lot::Mutex;
use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::call::Call;
use super::guard::Guard;
use super::resume::{Input, Resumed, resume, unmistakable};
use super::wait;
use crate::base::Verdict;
use crate::pipeline::Step;
use crate::runtime::clock::{self, Busy};

/// A guarded generator.
#[pyclass(frozen, weakref, module = "holdfast._native", name = "GuardedGenerator")]
#[derive(Debug)]
pub struct Stream {
    /// Empty while a step runs: a second one meanwhile is refused, as a generator refuses it.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
enum State {
    New(Call),
    Running(Call, Py<PyAny>),
    Done,
}

type Turn = (State, PyResult<Progress>);

/// How one step ends well.
enum Progress {
    Item(Py<PyAny>),
    End(Py<PyAny>),
}

/// Makes the guarded generator; nothing runs before its first step.
pub fn call<'py>(
    guard: &Bound<'py, Guard>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(guard.clone().unbind(), args.unbind(), kwargs.map(Bound::unbind));
    let stream = Stream { state: Mutex::new(Some(State::New(call))) };
    Ok(Py::new(guard.py(), stream)?.into_any())
}

impl Stream {
    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Py<PyAny>> {
        let taken = self.state.lock().take();
        let state = taken.ok_or_else(|| PyValueError::new_err("generator already executing"))?;
        let (state, result) = advance(py, state, input);
        *self.state.lock() = Some(state);
        match result {
            Ok(Progress::Item(item)) => Ok(item),
            Ok(Progress::End(value)) => Err(PyStopIteration::new_err((value,))),
            Err(error) => Err(unmistakable(py, error, "generator")),
        }
    }
}

/// One step: to the next item, or to the end.
fn advance(py: Python<'_>, state: State, input: Input<'_>) -> Turn {
    match (state, input) {
        (State::Done | State::New(_), Input::Throw(error)) => (State::Done, Err(error)),
        (State::Done, Input::Send(_)) => (State::Done, Ok(Progress::End(py.None()))),
        (State::New(call), Input::Send(value)) if !value.is_none() => {
            let text = "can't send non-None value to a just-started generator";
            (State::New(call), Err(PyTypeError::new_err(text)))
        }
        (State::New(mut call), Input::Send(_)) => match call.start(py) {
            Ok(step) => follow(py, call, step),
            Err(error) => (State::Done, Err(error)),
        },
        (State::Running(call, inner), input) => turn(py, call, inner, input),
    }
}

/// Resumes the user's iterator once.
fn turn(py: Python<'_>, mut call: Call, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(item) => {
            if let Some(execution) = call.execution() {
                let now = clock::now();
                execution.commit(now);
                execution.progress(now);
            }
            (State::Running(call, inner), Ok(Progress::Item(item.unbind())))
        }
        // A stream that ends is good whatever it returns: a rule on values speaks of answers.
        Resumed::Returned(value) => {
            let step = call.record_as(Ok(value.unbind()), &Verdict::Ok);
            follow(py, call, step)
        }
        Resumed::Raised(error) => {
            let step = call.record(py, Err(error));
            follow(py, call, step)
        }
    }
}

/// Does what the machine says until an item or the end comes of it.
fn follow(py: Python<'_>, mut call: Call, mut step: Step) -> Turn {
    let mut busy = Busy::idle();
    loop {
        step = match step {
            Step::Attempt(attempt) => match call.attempt(py, &attempt).and_then(|answer| answer.try_iter()) {
                Ok(inner) => {
                    return turn(py, call, inner.into_any().unbind(), Input::none(py));
                }
                Err(error) => call.record(py, Err(error)),
            },
            Step::AskBackoff { retry } => match call.ask_backoff(py, retry) {
                Ok(step) => step,
                Err(error) => return (State::Done, Err(error)),
            },
            Step::Sleep { until } => {
                match wait::blocking(py, until, busy) {
                    Ok(held) => busy = held,
                    Err(error) => return (State::Done, Err(error)),
                }
                call.wake()
            }
            Step::Finish(finish) => {
                return (State::Done, call.finish(py, finish).map(Progress::End));
            }
        };
    }
}

#[pymethods]
impl Stream {
    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::none(py))
    }

    /// Sends a value into the generator, as `generator.send` does.
    fn send(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::Send(value))
    }

    /// Raises an exception inside the generator, as `generator.throw` does.
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

    /// Closes the generator: neutral for every policy.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let taken = self.state.lock().take();
        let state = taken.ok_or_else(|| PyValueError::new_err("generator already executing"))?;
        let closed = match &state {
            State::Running(_, inner) => close(inner.bind(py)),
            State::New(_) | State::Done => Ok(()),
        };
        drop(state);
        *self.state.lock() = Some(State::Done);
        closed
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &*state {
            Some(State::New(call)) => call.traverse(&visit),
            Some(State::Running(call, inner)) => {
                call.traverse(&visit)?;
                visit.call(inner)
            }
            Some(State::Done) | None => Ok(()),
        }
    }
}

/// Closes the user's iterator, if it can be closed.
fn close(inner: &Bound<'_, PyAny>) -> PyResult<()> {
    match inner.getattr_opt(pyo3::intern!(inner.py(), "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

//! `for attempt in Retry(3): with attempt: …`: retries of a block, driven by the block itself.
//!
//! The loop asks for attempts and does the waiting, the block reports what came of each: a failure that is
//! to be tried again is swallowed at the block's end, and the loop goes on.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::foreign;
use super::resume::Input;
use super::under_way::Call;
use super::wait::{self, Look, Nap};
use super::{Callee, Colour, Guard, scope};
use crate::pipeline::{Attempt, Finish, Pause, Step};
use crate::policy::timeout::Phase;
use crate::python::policies::Pipeline;
use crate::runtime::clock::Busy;

/// The attempts at one block: an iterator, sync and async, of [`Block`]s.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Attempts {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    New(Call),
    /// The last block has ended, and this comes next.
    Next(Call, Step),
    /// An attempt has been handed out, and its block has not ended.
    Block(Call),
    Done,
}

/// One attempt: a context manager around the block.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Block {
    state: Arc<Mutex<State>>,
    number: u32,
    /// The scope outside of the block, while the block runs.
    outer: Mutex<Option<Py<PyAny>>>,
}

/// What `__anext__` of [`Attempts`] gives.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct NextAttempt {
    state: Arc<Mutex<State>>,
    nap: Mutex<Option<Nap>>,
}

/// What the loop has to do.
enum Todo {
    Hand(Attempt),
    Sleep(Pause),
    End(PyErr),
}

fn take(state: &Mutex<State>) -> State {
    std::mem::replace(&mut *state.lock(), State::Done)
}

/// Asks for the next step; `end` is how this kind of loop ends.
fn advance(py: Python<'_>, state: &Mutex<State>, end: impl Fn() -> PyErr) -> Todo {
    let (mut call, mut step) = match take(state) {
        State::Done => return Todo::End(end()),
        State::Block(_) => {
            let text = "holdfast: use each attempt as `with attempt:` before the next one";
            return Todo::End(PyRuntimeError::new_err(text));
        }
        State::New(mut call) => match call.start(py) {
            Ok(step) => (call, step),
            Err(error) => return Todo::End(error),
        },
        State::Next(call, step) => (call, step),
    };
    loop {
        step = match step {
            Step::Attempt(attempt) => {
                if let Err(error) = call.enter(py, &attempt, Phase::Answer) {
                    return Todo::End(error);
                }
                *state.lock() = State::Block(call);
                return Todo::Hand(attempt);
            }
            Step::AskBackoff { retry } => match call.ask_backoff(py, retry) {
                Ok(step) => step,
                Err(error) => return Todo::End(error),
            },
            Step::AskBalancer { candidates } => match call.ask_balancer(py, &candidates) {
                Ok(step) => step,
                Err(error) => return Todo::End(error),
            },
            Step::Sleep { ref until } => {
                let until = until.clone();
                *state.lock() = State::Next(call, step);
                return Todo::Sleep(until);
            }
            Step::Finish(finish) => {
                return Todo::End(call.finish(py, finish).err().unwrap_or_else(&end));
            }
        };
    }
}

/// The sleep that was asked for is over.
fn awake(state: &Mutex<State>) {
    let woken = match take(state) {
        State::Next(mut call, Step::Sleep { .. }) => {
            let step = call.wake();
            State::Next(call, step)
        }
        other => other,
    };
    *state.lock() = woken;
}

fn hand(py: Python<'_>, state: &Arc<Mutex<State>>, attempt: Attempt) -> PyResult<Py<Block>> {
    let block = Block { state: Arc::clone(state), number: attempt.number, outer: Mutex::new(None) };
    Py::new(py, block)
}

#[pymethods]
impl Attempts {
    /// The attempts that `pipeline` allows for one block.
    #[new]
    fn new(pipeline: &Bound<'_, Pipeline>) -> PyResult<Self> {
        let py = pipeline.py();
        // The block is the user's own: there is no function to call.
        let callee = Callee::Function(py.None());
        let owner = pipeline.clone().into_any();
        let guard = Guard::make(pipeline.get().wiring(), owner, callee, Colour::Function)?;
        let call = Call::new(guard, PyTuple::empty(py).unbind(), None);
        Ok(Self { state: Arc::new(Mutex::new(State::New(call))) })
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<Block>> {
        let mut busy = Busy::idle();
        loop {
            match advance(py, &self.state, || PyStopIteration::new_err(())) {
                Todo::Hand(attempt) => return hand(py, &self.state, attempt),
                Todo::End(end) => return Err(end),
                Todo::Sleep(until) => {
                    busy = wait::blocking(py, until, busy)?;
                    awake(&self.state);
                }
            }
        }
    }

    fn __anext__(&self) -> NextAttempt {
        NextAttempt { state: Arc::clone(&self.state), nap: Mutex::new(None) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.try_lock().as_deref() {
            Some(State::New(call) | State::Next(call, _) | State::Block(call)) => call.traverse(&visit),
            Some(State::Done) | None => Ok(()),
        }
    }
}

impl NextAttempt {
    fn step<'py>(&self, py: Python<'py>, mut input: Input<'py>) -> PyResult<Py<PyAny>> {
        foreign::refuse(py)?;
        loop {
            let nap = self.nap.lock().take();
            if let Some(nap) = nap {
                match nap.look(py, input) {
                    Look::Asleep(on) => {
                        *self.nap.lock() = Some(nap);
                        return Ok(on);
                    }
                    Look::Awake(_busy) => awake(&self.state),
                    Look::Raised(error) => {
                        drop(take(&self.state));
                        return Err(error);
                    }
                }
            } else if let Input::Throw(error) = input {
                return Err(error);
            }
            input = Input::none(py);
            match advance(py, &self.state, || PyStopAsyncIteration::new_err(())) {
                Todo::Hand(attempt) => {
                    let block = hand(py, &self.state, attempt)?;
                    return Err(PyStopIteration::new_err((block,)));
                }
                Todo::End(end) => return Err(end),
                Todo::Sleep(until) => *self.nap.lock() = Some(Nap::until(py, until)?),
            }
        }
    }
}

#[pymethods]
impl NextAttempt {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::none(py))
    }

    /// Resumes the wait with a value.
    fn send(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::Send(value))
    }

    /// Raises an exception inside the wait.
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

    /// Gives the wait up.
    fn close(&self) {
        drop(self.nap.lock().take());
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.nap.try_lock().as_deref() {
            Some(Some(nap)) => visit.call(nap.inner()),
            _ => Ok(()),
        }
    }
}

#[pymethods]
impl Block {
    /// The attempt's number, counted from 1.
    #[getter]
    const fn number(&self) -> u32 {
        self.number
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = slf.py();
        let block = slf.get();
        let entered = match &*block.state.lock() {
            State::Block(call) => call.scope(py),
            _ => return Err(PyRuntimeError::new_err("holdfast: this attempt is over")),
        };
        if let Some(entered) = entered {
            *block.outer.lock() = Some(scope::replace(py, entered.into_bound(py).as_any())?);
        }
        Ok(slf.clone())
    }

    /// Ends the attempt; true swallows an exception after which another attempt follows.
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        raised: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let outer = self.outer.lock().take();
        if let Some(outer) = outer {
            scope::replace(py, outer.bind(py))?;
        }
        let State::Block(mut call) = take(&self.state) else { return Ok(false) };
        let failed = !raised.is_none();
        let outcome = if failed { Err(PyErr::from_value(raised.clone())) } else { Ok(py.None()) };
        match call.record(py, outcome) {
            Step::Finish(Finish::Return) => Ok(false),
            Step::Finish(finish) => match call.finish(py, finish) {
                Err(error) if !error.value(py).is(raised) => Err(error),
                _ => Ok(false),
            },
            step => {
                *self.state.lock() = State::Next(call, step);
                Ok(failed)
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("<attempt {}>", self.number)
    }
}

//! The driver of async generators: an async iterator around the user's.
//!
//! As with plain generators, a failure before the first item moves on to another attempt, after it nothing
//! is tried again (A7), and closing early is neutral. Our clocks run only while somebody waits for an item.

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::alarm::Alarm;
use super::call::Call;
use super::coroutine::awaited;
use super::guard::Guard;
use super::resume::{Input, Resumed, resume, unmistakable};
use super::wait::{Look, Nap};
use crate::base::{Time, Verdict};
use crate::pipeline::Step;
use crate::policy::timeout::Phase;
use crate::python::judge;
use crate::runtime::clock::{self, Busy};

/// A guarded async generator.
#[pyclass(frozen, weakref, module = "holdfast._native", name = "GuardedAsyncGenerator")]
#[derive(Debug)]
pub struct AsyncStream {
    shared: Mutex<Shared>,
}

/// What the steps of one stream share; taken out while a step runs.
#[derive(Debug)]
enum Shared {
    New(Call),
    /// The user's async iterator, and whether an item has been handed out.
    Open(Call, Py<PyAny>, bool),
    /// A step is under way.
    Busy,
    Done,
}

/// What is asked of the user's iterator.
#[derive(Debug)]
enum Request {
    Next,
    Send(Py<PyAny>),
    Throw(Py<PyAny>),
    Close,
}

/// The awaitable of one step.
#[pyclass(frozen, weakref, module = "holdfast._native", name = "GuardedStep")]
#[derive(Debug)]
pub struct StreamStep {
    stream: Py<AsyncStream>,
    state: Mutex<StepState>,
}

#[derive(Debug)]
enum StepState {
    New(Request),
    /// Waiting for the user's iterator: the call, the iterator, what it gave to wait for.
    Waiting {
        call: Call,
        source: Py<PyAny>,
        inner: Py<PyAny>,
        begun: bool,
        since: Time,
        alarm: Option<Alarm>,
    },
    Sleeping {
        call: Call,
        nap: Nap,
    },
    Closing {
        inner: Py<PyAny>,
    },
    /// A step runs right now, or is over.
    Spent,
}

/// Makes the guarded async generator; nothing runs before its first step.
pub fn call<'py>(
    guard: &Bound<'py, Guard>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(guard.clone().unbind(), args.unbind(), kwargs.map(Bound::unbind));
    let stream = AsyncStream { shared: Mutex::new(Shared::New(call)) };
    Ok(Py::new(guard.py(), stream)?.into_any())
}

/// How one step ends: with something to wait for (and the state to wait in), or for good.
enum Turn {
    Wait(StepState, Py<PyAny>),
    Over(Shared, PyResult<Outcome>),
}

/// What a step that ends well gives.
enum Outcome {
    Item(Py<PyAny>),
    /// The stream is at its end.
    End,
}

impl StreamStep {
    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Py<PyAny>> {
        let state = std::mem::replace(&mut *self.state.lock(), StepState::Spent);
        match self.turn(py, state, input) {
            Turn::Wait(state, on) => {
                *self.state.lock() = state;
                Ok(on)
            }
            Turn::Over(shared, result) => {
                *self.shared().lock() = shared;
                Err(match result {
                    Ok(Outcome::Item(item)) => PyStopIteration::new_err((item,)),
                    Ok(Outcome::End) => PyStopAsyncIteration::new_err(()),
                    Err(error) => unmistakable(py, error, "async generator"),
                })
            }
        }
    }

    fn shared(&self) -> &Mutex<Shared> {
        &self.stream.get().shared
    }

    fn turn(&self, py: Python<'_>, state: StepState, input: Input<'_>) -> Turn {
        match state {
            StepState::New(request) => self.begin(py, request, input),
            StepState::Waiting { call, source, inner, begun, since, alarm } => {
                advance(py, Ask { call, source, begun }, inner, since, alarm, input)
            }
            StepState::Sleeping { call, nap } => sleep_on(py, call, nap, input),
            StepState::Closing { inner } => close_on(py, inner, input),
            StepState::Spent => {
                // The stream's own state belongs to another step, or to nobody: it is left as it is.
                let shared = std::mem::replace(&mut *self.shared().lock(), Shared::Busy);
                let text = "cannot reuse already awaited asend()/athrow()/aclose()";
                Turn::Over(shared, Err(PyRuntimeError::new_err(text)))
            }
        }
    }

    fn begin(&self, py: Python<'_>, request: Request, input: Input<'_>) -> Turn {
        let shared = std::mem::replace(&mut *self.shared().lock(), Shared::Busy);
        if let Input::Throw(error) = input {
            return Turn::Over(shared, Err(error));
        }
        match (shared, request) {
            (Shared::Busy, _) => {
                let text = "anext(): asynchronous generator is already running";
                Turn::Over(Shared::Busy, Err(PyRuntimeError::new_err(text)))
            }
            (Shared::Done | Shared::New(_), Request::Close) => {
                Turn::Over(Shared::Done, Ok(Outcome::Item(py.None())))
            }
            (Shared::Done | Shared::New(_), Request::Throw(error)) => {
                Turn::Over(Shared::Done, Err(PyErr::from_value(error.into_bound(py))))
            }
            (Shared::Done, _) => Turn::Over(Shared::Done, Ok(Outcome::End)),
            (Shared::New(call), Request::Send(value)) if !value.is_none(py) => {
                let text = "can't send non-None value to a just-started async generator";
                Turn::Over(Shared::New(call), Err(PyTypeError::new_err(text)))
            }
            (Shared::New(mut call), _) => match call.start(py) {
                Ok(step) => follow(py, call, step),
                Err(error) => Turn::Over(Shared::Done, Err(error)),
            },
            (Shared::Open(call, source, begun), request) => ask(py, Ask { call, source, begun }, request),
        }
    }
}

/// A call, the iterator it asks, and whether an item has been handed out.
struct Ask {
    call: Call,
    source: Py<PyAny>,
    begun: bool,
}

/// Asks the user's iterator for its next step.
fn ask(py: Python<'_>, ask: Ask, request: Request) -> Turn {
    let source = ask.source.bind(py);
    let made = match request {
        Request::Next => source.call_method0(intern!(py, "__anext__")),
        Request::Send(value) => source.call_method1(intern!(py, "asend"), (value,)),
        Request::Throw(error) => source.call_method1(intern!(py, "athrow"), (error,)),
        Request::Close => return close(py, ask),
    };
    match made.and_then(|made| awaited(&made)) {
        Ok(inner) => advance(py, ask, inner.unbind(), clock::now(), None, Input::none(py)),
        Err(error) => over(py, ask.call, Err(error), false),
    }
}

/// Resumes what the user's iterator gave to wait for.
fn advance(
    py: Python<'_>,
    mut ask: Ask,
    inner: Py<PyAny>,
    since: Time,
    alarm: Option<Alarm>,
    input: Input<'_>,
) -> Turn {
    let outcome = match resume(inner.bind(py), input) {
        Resumed::Yielded(on) => {
            let phase = if ask.begun { Phase::NextItem } else { Phase::FirstItem };
            let armed = match alarm {
                Some(alarm) => Ok(Some(alarm)),
                None => {
                    let expiry = ask.call.execution().and_then(|e| e.binding(phase, since));
                    expiry.map(|expiry| Alarm::arm(py, expiry)).transpose()
                }
            };
            let Ask { call, source, begun } = ask;
            return match armed {
                Ok(alarm) => {
                    let state = StepState::Waiting { call, source, inner, begun, since, alarm };
                    Turn::Wait(state, on.unbind())
                }
                Err(no_loop) => Turn::Over(Shared::Done, Err(no_loop)),
            };
        }
        Resumed::Returned(value) => Ok(value.unbind()),
        Resumed::Raised(error) => Err(error),
    };
    let ((outcome, ours), _busy) = match alarm {
        Some(alarm) => alarm.resolve(py, outcome),
        None => ((outcome, false), Busy::idle()),
    };
    match outcome {
        Ok(item) => {
            if let Some(execution) = ask.call.execution() {
                let now = clock::now();
                execution.commit(now);
                execution.progress(now);
            }
            Turn::Over(Shared::Open(ask.call, ask.source, true), Ok(Outcome::Item(item)))
        }
        Err(error) => over(py, ask.call, Err(error), ours),
    }
}

/// The user's iterator has ended: well, or with an error.
fn over(py: Python<'_>, mut call: Call, outcome: PyResult<Py<PyAny>>, ours: bool) -> Turn {
    let step = match outcome {
        Err(error) if ours => call.record_as(Err(error), &judge::timed_out()),
        // A stream that ends is good: a rule on values speaks of answers.
        Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => {
            call.record_as(Ok(py.None()), &Verdict::Ok)
        }
        outcome => call.record(py, outcome),
    };
    follow(py, call, step)
}

/// Does what the machine says until there is something to wait for, or the end.
fn follow(py: Python<'_>, mut call: Call, mut step: Step) -> Turn {
    loop {
        step = match step {
            Step::Attempt(attempt) => match call.attempt(py, &attempt).and_then(|s| open(&s)) {
                Ok(source) => {
                    let source = source.unbind();
                    return ask(py, Ask { call, source, begun: false }, Request::Next);
                }
                Err(error) => call.record(py, Err(error)),
            },
            Step::AskBackoff { retry } => match call.ask_backoff(py, retry) {
                Ok(step) => step,
                Err(error) => return Turn::Over(Shared::Done, Err(error)),
            },
            Step::Sleep { until } => {
                return match Nap::until(py, until) {
                    Ok(nap) => sleep_on(py, call, nap, Input::none(py)),
                    Err(error) => Turn::Over(Shared::Done, Err(error)),
                };
            }
            Step::Finish(finish) => {
                return Turn::Over(Shared::Done, call.finish(py, finish).map(|_none| Outcome::End));
            }
        };
    }
}

/// The async iterator behind what a target gave.
fn open<'py>(made: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    made.call_method0(intern!(made.py(), "__aiter__"))
}

fn sleep_on(py: Python<'_>, mut call: Call, nap: Nap, input: Input<'_>) -> Turn {
    match nap.look(py, input) {
        Look::Asleep(on) => Turn::Wait(StepState::Sleeping { call, nap }, on),
        Look::Awake(_busy) => {
            let step = call.wake();
            follow(py, call, step)
        }
        Look::Raised(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

/// Closes the user's iterator: neutral for every policy.
fn close(py: Python<'_>, ask: Ask) -> Turn {
    let Ask { mut call, source, .. } = ask;
    call.abandon();
    let closing = source
        .bind(py)
        .getattr_opt(intern!(py, "aclose"))
        .and_then(|aclose| aclose.map(|aclose| aclose.call0().and_then(|made| awaited(&made))).transpose());
    match closing {
        Ok(Some(inner)) => close_on(py, inner.unbind(), Input::none(py)),
        Ok(None) => Turn::Over(Shared::Done, Ok(Outcome::Item(py.None()))),
        Err(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

fn close_on(py: Python<'_>, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(on) => Turn::Wait(StepState::Closing { inner }, on.unbind()),
        Resumed::Returned(value) => Turn::Over(Shared::Done, Ok(Outcome::Item(value.unbind()))),
        Resumed::Raised(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

impl AsyncStream {
    fn request(slf: &Bound<'_, Self>, request: Request) -> StreamStep {
        StreamStep { stream: slf.clone().unbind(), state: Mutex::new(StepState::New(request)) }
    }
}

#[pymethods]
impl AsyncStream {
    const fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(slf: &Bound<'_, Self>) -> StreamStep {
        Self::request(slf, Request::Next)
    }

    /// Sends a value into the generator, as `agen.asend` does.
    fn asend(slf: &Bound<'_, Self>, value: Py<PyAny>) -> StreamStep {
        Self::request(slf, Request::Send(value))
    }

    /// Raises an exception inside the generator, as `agen.athrow` does.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn athrow(
        slf: &Bound<'_, Self>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<StreamStep> {
        match Input::thrown(typ, val, tb)? {
            Input::Throw(error) => {
                Ok(Self::request(slf, Request::Throw(error.into_value(slf.py()).into_any())))
            }
            Input::Send(value) => Ok(Self::request(slf, Request::Send(value.unbind()))),
        }
    }

    /// Closes the generator: neutral for every policy.
    fn aclose(slf: &Bound<'_, Self>) -> StreamStep {
        Self::request(slf, Request::Close)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(shared) = self.shared.try_lock() else { return Ok(()) };
        match &*shared {
            Shared::New(call) => call.traverse(&visit),
            Shared::Open(call, source, _) => {
                call.traverse(&visit)?;
                visit.call(source)
            }
            Shared::Busy | Shared::Done => Ok(()),
        }
    }
}

#[pymethods]
impl StreamStep {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::none(py))
    }

    /// Resumes the step with a value.
    fn send(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::Send(value))
    }

    /// Raises an exception inside the step.
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

    /// Gives the step up.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = std::mem::replace(&mut *self.state.lock(), StepState::Spent);
        let (inner, alarm) = match state {
            StepState::Waiting { inner, alarm, .. } => (inner, alarm),
            StepState::Sleeping { nap, .. } => (nap.inner().clone_ref(py), None),
            StepState::Closing { inner } => (inner, None),
            StepState::New(_) | StepState::Spent => return Ok(()),
        };
        if let Some(alarm) = alarm {
            alarm.disarm(py);
        }
        *self.shared().lock() = Shared::Done;
        inner.bind(py).call_method0(intern!(py, "close")).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)?;
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &*state {
            StepState::New(Request::Send(value) | Request::Throw(value)) => visit.call(value),
            StepState::Waiting { call, source, inner, .. } => {
                call.traverse(&visit)?;
                visit.call(source)?;
                visit.call(inner)
            }
            StepState::Sleeping { call, nap } => {
                call.traverse(&visit)?;
                visit.call(nap.inner())
            }
            StepState::Closing { inner } => visit.call(inner),
            StepState::New(_) | StepState::Spent => Ok(()),
        }
    }
}

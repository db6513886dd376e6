//! The machine's driver of coroutine functions, which resumes the user's coroutine.
//!
//! `awaitable.rs` is what Python awaits; it comes here for all that its quick way cannot do.
//!
//! It never hops through another runtime: the user's coroutine is resumed in the caller's own task, and
//! what it waits for is handed up unchanged. Sleeping between attempts is one more thing to wait for.

use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::alarm::Alarm;
use super::awaitable;
use super::foreign;
use super::guard::{Guard, GuardRef, packed};
use super::raw::Visitor;
use super::resume::{Input, Resumed, resume, unmistakable};
use super::substitute::Instead;
use super::under_way::Call;
use super::wait::{Look, Nap};
use crate::base::ConfigError;
use crate::pipeline::{Finish, Step};
use crate::policy::timeout::Phase;
use crate::python::once::intern;
use crate::python::{convert, errors};
use crate::runtime::clock::{self, Busy};

/// Where a call is, between two steps.
#[derive(Debug)]
pub(super) enum State {
    /// Not begun.
    New(Call),
    /// In the user's coroutine, with our clock running if one is set.
    Running(Call, Py<PyAny>, Option<Alarm>),
    /// Between two attempts.
    Sleeping(Call, Nap),
    /// In what stands in our place: the fallback's answer, or the keeping of a good one.
    Instead(Py<PyAny>),
    /// Over.
    Done,
}

/// The state after a step, and how the step ended.
pub(super) type Turn = (State, PyResult<Resumption>);

/// How one step of ours ends well.
pub(super) enum Resumption {
    /// It waits for this.
    Wait(Py<PyAny>),
    /// It has ended with this value.
    Done(Py<PyAny>),
}

/// What is to be done next. A loop does it: nodes that fail one after the other must not cost stack.
enum Todo<'py> {
    Follow(Call, Step, Busy),
    Resume(Call, Py<PyAny>, Option<Alarm>, Input<'py>),
    Return(Turn),
}

/// How Python calls this guard of a coroutine function.
pub fn vectorcall(py: Python<'_>, guard: &Guard) -> ffi::vectorcallfunc {
    let plan = &guard.wiring().plan;
    let at_once = guard.wiring().hands_answers_on() && plan.limits.are_off();
    if !at_once || !awaitable::is_quick(py, guard.callee(), plan) {
        return machined;
    }
    if plan.attempts() > 1 { awaitable::quick::<true> } else { awaitable::quick::<false> }
}

/// By the machine from the start.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn machined(
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
    awaitable::machined(py, guard, call)
}

/// One step of the machine.
pub(super) fn advance(py: Python<'_>, state: State, input: Input<'_>) -> Turn {
    let todo = match (state, input) {
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
    carry_on(py, todo)
}

/// The first attempt has ended by the quick way, and the machine judges it.
pub(super) fn recorded(py: Python<'_>, mut call: Call, outcome: PyResult<Py<PyAny>>) -> Turn {
    let step = call.record(py, outcome);
    carry_on(py, Todo::Follow(call, step, Busy::idle()))
}

fn carry_on<'py>(py: Python<'py>, mut todo: Todo<'py>) -> Turn {
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
pub(super) fn suspend(
    py: Python<'_>,
    mut call: Call,
    inner: Py<PyAny>,
    alarm: Option<Alarm>,
    on: Py<PyAny>,
) -> Turn {
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
        Step::AskBalancer { candidates } => call.ask_balancer(py, &candidates),
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

/// Closes what is under way: neutral for every policy.
pub(super) fn close(py: Python<'_>, state: State) -> PyResult<()> {
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
    closed
}

/// An error as it may leave a coroutine.
pub(super) fn as_it_leaves(py: Python<'_>, error: PyErr) -> PyErr {
    unmistakable(py, error, "coroutine")
}

/// Warns, as Python does, about a call that nobody awaited.
pub(super) fn warn(guard: &Bound<'_, PyAny>) {
    let py = guard.py();
    let name = guard.getattr(intern!(py, "__qualname__"));
    let name = name.map_or_else(|_| "guarded call".to_owned(), |name| name.to_string());
    let text = format!("coroutine '{name}' was never awaited\0");
    let text = std::ffi::CStr::from_bytes_until_nul(text.as_bytes()).unwrap_or(c"never awaited");
    let category = py.get_type::<PyRuntimeWarning>();
    if let Err(error) = PyErr::warn(py, &category, text, 1) {
        error.write_unraisable(py, None);
    }
}

impl State {
    /// The user's coroutine, or what stands in its place, while it is under way.
    pub(super) const fn inner(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Running(_, inner, _) | Self::Instead(inner) => Some(inner),
            Self::New(_) | Self::Sleeping(..) | Self::Done => None,
        }
    }

    /// For Python's garbage collector.
    pub(super) fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        match self {
            Self::New(call) => call.traverse(visit),
            Self::Running(call, inner, alarm) => {
                call.traverse(visit)?;
                if let Some(alarm) = alarm {
                    alarm.traverse(visit)?;
                }
                visit.call(inner)
            }
            Self::Sleeping(call, nap) => {
                call.traverse(visit)?;
                visit.call(nap.inner())
            }
            Self::Instead(inner) => visit.call(inner),
            Self::Done => Ok(()),
        }
    }
}

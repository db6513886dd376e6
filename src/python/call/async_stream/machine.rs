//! One step of a guarded async generator by the machine.
//!
//! It takes the stream's state out, works on it, and puts it back when it is over, so that a second step meanwhile
//! is refused, as an async generator refuses it.

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;

use super::closing::{close_on, close_run, closed};
use super::state::{Outcome, StepState, Todo, Turn};
use super::step::Kind;
use super::{AsyncStream, Request, Run, Shared, hooks};
use crate::pipeline::{Attempt, Finish, Step};
use crate::policy::timeout::Phase;
use crate::python::call::alarm::Alarm;
use crate::python::call::coroutine::awaited;
use crate::python::call::flow::Flow;
use crate::python::call::foreign;
use crate::python::call::resume::{Input, Resumed, resume};
use crate::python::call::substitute::Instead;
use crate::python::call::under_way::Call;
use crate::python::call::wait::{Look, Nap};
use crate::python::once::intern;
use crate::runtime::clock::{self, Busy};

/// One step: the first one, or on from where it was.
pub(super) fn step(
    py: Python<'_>,
    stream: &AsyncStream,
    state: StepState,
    input: Input<'_>,
    kind: Kind,
) -> Turn {
    let todo = match state {
        StepState::New(request) => match (stream.take(), input) {
            // What is thrown into a step of a stream that is over comes back.
            (Some(Shared::Done), Input::Throw(error)) => Todo::Return(Turn::Over(Shared::Done, Err(error))),
            (Some(shared), input) => begin(py, shared, meant(py, request, input)),
            (None, _) => Todo::Return(Turn::Refused(PyRuntimeError::new_err(kind.meanwhile()))),
        },
        StepState::Waiting { run, inner, alarm } => Todo::Resume(run, inner, alarm, input),
        StepState::Sleeping { call, nap } => sleep_on(py, call, nap, input),
        StepState::Closing { inner } => close_on(py, inner, input),
        StepState::Instead { source, inner } => Todo::Return(instead(py, source, inner, input)),
    };
    carry_on(py, todo)
}

/// A step that was begun in the lane has to wait, and a clock runs meanwhile.
pub(super) fn wait(py: Python<'_>, run: Run, inner: Py<PyAny>, on: Py<PyAny>) -> Turn {
    carry_on(py, suspend(py, run, inner, None, on))
}

/// A step that was begun in the lane has ended otherwise than with an item.
pub(super) fn end(py: Python<'_>, run: Run, error: PyErr) -> Turn {
    carry_on(py, over(py, run, error, false, Busy::idle()))
}

/// Gives a step up: neutral for every policy.
pub(super) fn close(py: Python<'_>, stream: &AsyncStream, state: StepState) -> PyResult<()> {
    let (inner, alarm) = match state {
        StepState::Waiting { inner, alarm, .. } => (inner, alarm),
        StepState::Sleeping { nap, .. } => (nap.inner().clone_ref(py), None),
        StepState::Closing { inner } | StepState::Instead { inner, .. } => (inner, None),
        StepState::New(_) => return Ok(()),
    };
    if let Some(alarm) = alarm {
        alarm.disarm(py);
    }
    stream.put(Shared::Done);
    inner.bind(py).call_method0(intern!(py, "close")).map(drop)
}

fn carry_on<'py>(py: Python<'py>, mut todo: Todo<'py>) -> Turn {
    loop {
        todo = match todo {
            Todo::Follow(call, step, busy) => follow(py, call, step, busy),
            Todo::Ask(run, request) => ask(py, run, request),
            Todo::Resume(run, inner, alarm, input) => advance(py, run, inner, alarm, input),
            Todo::Return(turn) => return turn,
        };
    }
}

/// What a step that has not begun is to ask for: what is sent or thrown into it goes into the generator.
fn meant(py: Python<'_>, request: Request, input: Input<'_>) -> Request {
    match (request, input) {
        (Request::Next, Input::Send(value)) if !value.is_none() => Request::Send(value.unbind()),
        (_, Input::Throw(error)) => Request::Throw(error.into_value(py).into_any()),
        (request, Input::Send(_)) => request,
    }
}

fn begin(py: Python<'_>, shared: Shared, request: Request) -> Todo<'_> {
    let over = |shared, result| Todo::Return(Turn::Over(shared, result));
    match (shared, request) {
        (Shared::Done | Shared::New(_) | Shared::Ending(..), Request::Close)
        | (Shared::Done, Request::Throw(_)) => over(Shared::Done, Ok(Outcome::Item(py.None()))),
        (Shared::New(_) | Shared::Ending(..), Request::Throw(error)) => {
            over(Shared::Done, Err(PyErr::from_value(error.into_bound(py))))
        }
        (Shared::Done | Shared::Busy, _) => over(Shared::Done, Ok(Outcome::End)),
        (Shared::Instead(source), request) => Todo::Return(ask_instead(py, source, &request)),
        (Shared::New(call), Request::Send(value)) if !value.is_none(py) => {
            let text = "can't send non-None value to a just-started async generator";
            over(Shared::New(call), Err(PyTypeError::new_err(text)))
        }
        (Shared::Ending(flow, end), _) => Todo::Return(ending(flow, end)),
        (Shared::New(mut call), _) => match foreign::refuse(py).and_then(|()| call.start(py)) {
            Ok(step) => Todo::Follow(call, step, Busy::idle()),
            Err(error) => over(Shared::Done, Err(error)),
        },
        (Shared::Open(mut run), request) => {
            run.since = clock::now();
            match (&request, run.flow.next()) {
                (Request::Next | Request::Send(_), Some(item)) => {
                    over(Shared::Open(run), Ok(Outcome::Item(item)))
                }
                _ => Todo::Ask(run, request),
            }
        }
    }
}

/// Hands out what is left, then ends.
fn ending(mut flow: Flow, end: Option<PyErr>) -> Turn {
    match flow.next() {
        Some(item) => Turn::Over(Shared::Ending(flow, end), Ok(Outcome::Item(item))),
        None => Turn::Over(Shared::Done, end.map_or(Ok(Outcome::End), Err)),
    }
}

/// The first step of what stands in our place from now on.
fn ask_first(py: Python<'_>, source: Py<PyAny>) -> Turn {
    let made = hooks::untold(source.bind(py), || asked(source.bind(py), &Request::Next));
    match made.and_then(|made| awaited(&made)) {
        Ok(inner) => instead(py, source, inner.unbind(), Input::none(py)),
        Err(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

/// One step of what stands in our place.
fn ask_instead(py: Python<'_>, source: Py<PyAny>, request: &Request) -> Turn {
    let closes = matches!(request, Request::Close);
    let made = asked(source.bind(py), request);
    match made.and_then(|made| awaited(&made)) {
        Ok(inner) if closes => closed(py, inner.unbind(), Input::none(py)),
        Ok(inner) => instead(py, source, inner.unbind(), Input::none(py)),
        Err(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

fn instead(py: Python<'_>, source: Py<PyAny>, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(on) => Turn::Wait(StepState::Instead { source, inner }, on.unbind()),
        Resumed::Returned(item) => Turn::Over(Shared::Instead(source), Ok(Outcome::Item(item.unbind()))),
        Resumed::Raised(end) if end.is_instance_of::<PyStopAsyncIteration>(py) => {
            Turn::Over(Shared::Done, Ok(Outcome::End))
        }
        Resumed::Raised(error) => Turn::Over(Shared::Done, Err(error)),
    }
}

/// The awaitable of a request to an async iterator.
fn asked<'py>(source: &Bound<'py, PyAny>, request: &Request) -> PyResult<Bound<'py, PyAny>> {
    let py = source.py();
    match request {
        Request::Next => source.call_method0(intern!(py, "__anext__")),
        Request::Send(value) => source.call_method1(intern!(py, "asend"), (value,)),
        Request::Throw(error) => source.call_method1(intern!(py, "athrow"), (error,)),
        Request::Close => source.call_method0(intern!(py, "aclose")),
    }
}

/// Asks the user's iterator for its next step.
fn ask(py: Python<'_>, mut run: Run, request: Request) -> Todo<'_> {
    if matches!(request, Request::Close) {
        return close_run(py, run);
    }
    let first = !std::mem::replace(&mut run.asked, true);
    let made = run.call.within(py, || {
        let ask = || asked(run.source.bind(py), &request);
        if first { hooks::untold(run.source.bind(py), ask) } else { ask() }
    });
    match made.flatten().and_then(|made| awaited(&made)) {
        Ok(inner) => Todo::Resume(run, inner.unbind(), None, Input::none(py)),
        Err(error) => over(py, run, error, false, Busy::idle()),
    }
}

/// Resumes what the user's iterator gave to wait for.
fn advance<'py>(
    py: Python<'py>,
    run: Run,
    inner: Py<PyAny>,
    alarm: Option<Alarm>,
    input: Input<'py>,
) -> Todo<'py> {
    let resumed = run.call.within(py, || resume(inner.bind(py), input));
    let outcome = match resumed.unwrap_or_else(Resumed::Raised) {
        Resumed::Yielded(on) => return suspend(py, run, inner, alarm, on.unbind()),
        Resumed::Returned(value) => Ok(value.unbind()),
        Resumed::Raised(error) => Err(error),
    };
    let ((outcome, ours), busy) = match alarm {
        Some(alarm) => alarm.resolve(py, outcome),
        None => ((outcome, false), Busy::idle()),
    };
    match outcome {
        Ok(item) => yielded(py, run, item, busy),
        Err(error) => over(py, run, error, ours, busy),
    }
}

/// The user's iterator waits: from its first wait on, our clock runs.
fn suspend(py: Python<'_>, mut run: Run, inner: Py<PyAny>, alarm: Option<Alarm>, on: Py<PyAny>) -> Todo<'_> {
    let armed = if let Some(alarm) = alarm {
        Ok(Some(alarm))
    } else {
        let phase = if run.begun || run.flow.heard() { Phase::NextItem } else { Phase::FirstItem };
        let since = run.since;
        let expiry = run.call.execution().and_then(|execution| execution.binding(phase, since));
        expiry.map(|expiry| Alarm::arm(py, expiry)).transpose()
    };
    Todo::Return(match armed {
        Ok(alarm) => Turn::Wait(StepState::Waiting { run, inner, alarm }, on),
        Err(no_loop) => Turn::Over(Shared::Done, Err(no_loop)),
    })
}

fn yielded(py: Python<'_>, mut run: Run, item: Py<PyAny>, busy: Busy) -> Todo<'_> {
    match run.flow.item(py, item) {
        Ok(Some(item)) => {
            run.call.handed();
            run.begun = true;
            Todo::Return(Turn::Over(Shared::Open(run), Ok(Outcome::Item(item))))
        }
        Ok(None) => {
            run.call.heard();
            if run.flow.heard() {
                run.since = clock::now();
            }
            Todo::Ask(run, Request::Next)
        }
        // The governor refuses the answer. The source is dropped, and with it closed.
        Err(error) => over(py, run, error, false, busy),
    }
}

/// The user's iterator has ended: well, or with an error.
fn over(py: Python<'_>, mut run: Run, error: PyErr, ours: bool, busy: Busy) -> Todo<'_> {
    let mut error = error;
    if !ours && error.is_instance_of::<PyStopAsyncIteration>(py) {
        match run.flow.end(py) {
            Ok(()) => return ended(py, run, busy),
            Err(refused) => error = refused,
        }
    }
    let Run { mut call, flow, begun, .. } = run;
    let step = match (begun, ours) {
        (true, ours) => call.record_broken(py, &flow, error, ours),
        (false, true) => call.record_timeout(Err(error)),
        (false, false) => call.record_unseen(py, &flow, error),
    };
    Todo::Follow(call, step, busy)
}

fn ended(py: Python<'_>, run: Run, busy: Busy) -> Todo<'_> {
    let Run { mut call, mut flow, .. } = run;
    match call.record_end(&flow, py.None()) {
        Step::Finish(finish) => {
            let end = call.finish(py, finish);
            let going_on = end.and_then(|_none| match flow.take_kept(py)? {
                Some(items) => {
                    let all = (items, flow.pending(py)?).into_pyobject(py)?;
                    call.keep(py, intern!(py, "_akeep_items"), all.as_any())
                }
                None => Ok(None),
            });
            Todo::Return(match going_on {
                Ok(Some(source)) => ask_first(py, source),
                Ok(None) => ending(flow, None),
                Err(error) => ending(flow, Some(error)),
            })
        }
        step => Todo::Follow(call, step, busy),
    }
}

/// Does what the machine says. `busy` tells a manual clock that we are at work.
fn follow(py: Python<'_>, mut call: Call, step: Step, busy: Busy) -> Todo<'_> {
    let next = match step {
        Step::Attempt(attempt) => return start(py, call, &attempt, busy),
        Step::AskBackoff { retry } => call.ask_backoff(py, retry),
        Step::AskBalancer { candidates } => call.ask_balancer(py, &candidates),
        Step::Sleep { until } => {
            return match Nap::until(py, until) {
                Ok(nap) => sleep_on(py, call, nap, Input::none(py)),
                Err(error) => Todo::Return(Turn::Over(Shared::Done, Err(error))),
            };
        }
        Step::Finish(Finish::FallBack(otherwise)) => {
            return Todo::Return(match call.instead(py, *otherwise, intern!(py, "_aitems")) {
                Ok(Instead::Made(source)) => ask_first(py, source),
                Ok(Instead::Nothing(_)) => Turn::Over(Shared::Done, Ok(Outcome::End)),
                Err(error) => Turn::Over(Shared::Done, Err(error)),
            });
        }
        Step::Finish(finish) => {
            let end = call.finish(py, finish).map(|_none| Outcome::End);
            return Todo::Return(Turn::Over(Shared::Done, end));
        }
    };
    match next {
        Ok(step) => Todo::Follow(call, step, busy),
        Err(error) => Todo::Return(Turn::Over(Shared::Done, Err(error))),
    }
}

/// Makes an attempt: the user's function is called, its iterator not yet asked.
fn start<'py>(py: Python<'py>, mut call: Call, attempt: &Attempt, busy: Busy) -> Todo<'py> {
    let since = clock::now();
    let made = call.attempt(py, attempt, Phase::FirstItem).and_then(|made| {
        let source = made.call_method0(intern!(py, "__aiter__"))?.unbind();
        Ok((source, call.flow(py)?))
    });
    match made {
        Ok((source, flow)) => {
            let run = Run { call, source, flow, asked: false, begun: false, since };
            Todo::Ask(run, Request::Next)
        }
        Err(error) => {
            let step = call.record_unchecked(py, Err(error));
            Todo::Follow(call, step, busy)
        }
    }
}

fn sleep_on<'py>(py: Python<'py>, mut call: Call, nap: Nap, input: Input<'py>) -> Todo<'py> {
    match nap.look(py, input) {
        Look::Asleep(on) => Todo::Return(Turn::Wait(StepState::Sleeping { call, nap }, on)),
        Look::Awake(busy) => {
            let step = call.wake();
            Todo::Follow(call, step, busy)
        }
        Look::Raised(error) => Todo::Return(Turn::Over(Shared::Done, Err(error))),
    }
}

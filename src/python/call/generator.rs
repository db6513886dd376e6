//! The driver of generators: an iterator around the user's.
//!
//! The permit is taken at the first step and the verdict given at the end (B25). Until the first item is
//! handed out, a failure moves on to another attempt; from then on nothing is tried again (A7). Closing
//! early, or dropping it, is neutral. What Python holds of it is in `stream`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::flow::Flow;
use super::resume::{Input, Resumed, resume};
use super::substitute::Instead;
use super::under_way::Call;
use super::wait;
use crate::base::Time;
use crate::pipeline::{Attempt, Finish, Step};
use crate::policy::timeout::Phase;
use crate::python::once::intern;
use crate::runtime::clock::{self, Busy};

#[derive(Debug)]
pub(super) enum State {
    New(Call),
    Running(Run),
    /// The answer was whole: what had been held back is handed out.
    Ending(Flow, PyResult<Py<PyAny>>),
    /// The fallback's items.
    Instead(Py<PyAny>),
    Done,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) call: Call,
    pub(super) inner: Py<PyAny>,
    pub(super) flow: Flow,
    /// Has anything been handed out?
    begun: bool,
    /// Since when we wait for the first content, while all that came was held back.
    since: Option<Time>,
}

pub(super) type Turn = (State, PyResult<Progress>);

/// How one step of ours ends well.
pub(super) enum Progress {
    Item(Py<PyAny>),
    End(Py<PyAny>),
}

/// What is to be done next.
pub(super) enum Todo<'py> {
    Follow(Call, Step),
    Resume(Run, Input<'py>),
    Return(Turn),
}

impl Run {
    /// Would the next item pass through without anything of ours looking at it? Then it has no clock, nobody
    /// inside can ask about the call, and its permit needs no sign of life.
    pub(super) fn passes(&self) -> bool {
        self.begun && self.flow.passes() && self.call.passes_items()
    }
}

/// One step: to the next item, or to the end.
pub(super) fn advance(py: Python<'_>, state: State, input: Input<'_>) -> Turn {
    let todo = match (state, input) {
        (State::Done | State::New(_) | State::Ending(..), Input::Throw(error)) => {
            return (State::Done, Err(error));
        }
        (State::Done, Input::Send(_)) => return (State::Done, Ok(Progress::End(py.None()))),
        (State::New(call), Input::Send(value)) if !value.is_none() => {
            let text = "can't send non-None value to a just-started generator";
            return (State::New(call), Err(PyTypeError::new_err(text)));
        }
        (State::New(mut call), Input::Send(_)) => match call.start(py) {
            Ok(step) => Todo::Follow(call, step),
            Err(error) => return (State::Done, Err(error)),
        },
        (State::Running(mut run), input) => match (&input, run.flow.next()) {
            (Input::Send(_), Some(item)) => return (State::Running(run), Ok(Progress::Item(item))),
            _ => Todo::Resume(run, input),
        },
        (State::Ending(flow, end), Input::Send(_)) => return ending(flow, end),
        (State::Instead(inner), input) => return instead(py, inner, input),
    };
    drive(py, todo)
}

pub(super) fn drive<'py>(py: Python<'py>, mut todo: Todo<'py>) -> Turn {
    let mut busy = Busy::idle();
    loop {
        todo = match todo {
            Todo::Follow(call, step) => follow(py, call, step, &mut busy),
            Todo::Resume(run, input) => turn(py, run, input),
            Todo::Return(turn) => return turn,
        };
    }
}

/// Hands out what is left, then ends.
fn ending(mut flow: Flow, end: PyResult<Py<PyAny>>) -> Turn {
    match flow.next() {
        Some(item) => (State::Ending(flow, end), Ok(Progress::Item(item))),
        None => (State::Done, end.map(Progress::End)),
    }
}

/// Resumes what stands in our place.
fn instead(py: Python<'_>, inner: Py<PyAny>, input: Input<'_>) -> Turn {
    match resume(inner.bind(py), input) {
        Resumed::Yielded(item) => (State::Instead(inner), Ok(Progress::Item(item.unbind()))),
        Resumed::Returned(value) => (State::Done, Ok(Progress::End(value.unbind()))),
        Resumed::Raised(error) => (State::Done, Err(error)),
    }
}

/// Resumes the user's iterator once.
fn turn<'py>(py: Python<'py>, mut run: Run, input: Input<'py>) -> Todo<'py> {
    let phase = if run.begun || run.flow.heard() { Phase::NextItem } else { Phase::FirstItem };
    let since = *run.since.get_or_insert_with(clock::now);
    run.call.waits(py, phase, since);
    let resumed = match run.call.within(py, || resume(run.inner.bind(py), input)) {
        Ok(resumed) => resumed,
        Err(error) => Resumed::Raised(error),
    };
    judge(py, run, resumed)
}

/// What follows from what the user's iterator gave.
pub(super) fn judge<'py>(py: Python<'py>, run: Run, resumed: Resumed<'py>) -> Todo<'py> {
    match resumed {
        Resumed::Yielded(item) => {
            let (item, _) = run.call.waited(py, Ok(item.unbind()));
            yielded(py, run, item)
        }
        Resumed::Returned(value) => returned(py, run, value.unbind()),
        Resumed::Raised(error) => raised(py, run, error),
    }
}

fn yielded(py: Python<'_>, mut run: Run, item: PyResult<Py<PyAny>>) -> Todo<'_> {
    match item.and_then(|item| run.flow.item(py, item)) {
        Ok(Some(item)) => {
            run.call.handed();
            run.begun = true;
            run.since = None;
            Todo::Return((State::Running(run), Ok(Progress::Item(item))))
        }
        Ok(None) => {
            run.call.heard();
            // A role is no content: the clock of the first item goes on.
            run.since = run.since.filter(|_| !run.flow.heard());
            Todo::Resume(run, Input::none(py))
        }
        Err(error) => {
            // The governor refuses the answer: nobody reads the rest of it.
            let closed = close(run.inner.bind(py));
            raised(py, run, closed.err().unwrap_or(error))
        }
    }
}

fn returned(py: Python<'_>, mut run: Run, value: Py<PyAny>) -> Todo<'_> {
    if let Err(error) = run.flow.end(py) {
        return raised(py, run, error);
    }
    let Run { mut call, mut flow, .. } = run;
    match call.record_end(&flow, value) {
        Step::Finish(finish) => {
            let end = call.finish(py, finish).and_then(|value| {
                if let Some(items) = flow.take_kept(py)? {
                    call.keep(py, intern!(py, "_keep_items"), items.as_any())?;
                }
                Ok(value)
            });
            Todo::Return(ending(flow, end))
        }
        step => Todo::Follow(call, step),
    }
}

fn raised(py: Python<'_>, run: Run, error: PyErr) -> Todo<'_> {
    let Run { mut call, flow, begun, .. } = run;
    let (outcome, ours) = call.waited(py, Err(error));
    let step = match outcome {
        Err(error) if begun => call.record_broken(py, &flow, error, ours),
        outcome if ours => call.record_timeout(outcome),
        Err(error) => call.record_unseen(py, &flow, error),
        outcome => call.record_unchecked(py, outcome),
    };
    Todo::Follow(call, step)
}

/// Does what the machine says.
fn follow<'py>(py: Python<'py>, mut call: Call, step: Step, busy: &mut Busy) -> Todo<'py> {
    let next = match step {
        Step::Attempt(attempt) => return begin(py, call, &attempt),
        Step::AskBackoff { retry } => call.ask_backoff(py, retry),
        Step::AskBalancer { candidates } => call.ask_balancer(py, &candidates),
        Step::Sleep { until } => wait::blocking(py, until, std::mem::take(busy)).map(|held| {
            *busy = held;
            call.wake()
        }),
        Step::Finish(Finish::FallBack(otherwise)) => {
            return Todo::Return(match call.instead(py, *otherwise, intern!(py, "_items")) {
                Ok(Instead::Made(inner)) => instead(py, inner, Input::none(py)),
                Ok(Instead::Nothing(value)) => (State::Done, Ok(Progress::End(value))),
                Err(error) => (State::Done, Err(error)),
            });
        }
        Step::Finish(finish) => {
            return Todo::Return((State::Done, call.finish(py, finish).map(Progress::End)));
        }
    };
    match next {
        Ok(step) => Todo::Follow(call, step),
        Err(error) => Todo::Return((State::Done, Err(error))),
    }
}

/// Makes an attempt: the user's function is called, its iterator not yet resumed.
fn begin<'py>(py: Python<'py>, mut call: Call, attempt: &Attempt) -> Todo<'py> {
    let made = call.attempt(py, attempt, Phase::FirstItem).and_then(|answer| {
        let inner = answer.try_iter()?.into_any().unbind();
        Ok((inner, call.flow(py)?))
    });
    match made {
        Ok((inner, flow)) => {
            Todo::Resume(Run { call, inner, flow, begun: false, since: None }, Input::none(py))
        }
        Err(error) => {
            let step = match call.waited(py, Err(error)) {
                (outcome, true) => call.record_timeout(outcome),
                (outcome, false) => call.record_unchecked(py, outcome),
            };
            Todo::Follow(call, step)
        }
    }
}

/// Closes the user's iterator, if it can be closed.
pub(super) fn close(inner: &Bound<'_, PyAny>) -> PyResult<()> {
    match inner.getattr_opt(crate::python::once::intern!(inner.py(), "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

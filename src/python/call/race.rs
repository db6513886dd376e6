//! A call that may have several attempts under way at once, for `holdfast._race`, which runs them.
//!
//! Tasks and threads are Python's, so their driver is Python too; what is to be done next the machine says
//! here as everywhere. One driver per call asks it; the attempts, in tasks or threads of their own, only make
//! their call.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::GuardRef;
use super::history;
use super::rest::Rest;
use super::scope::{self, Scope};
use super::substitute::Instead;
use super::under_way::Call;
use super::wait;
use crate::pipeline::{Attempt, Finish, Pause, Step};
use crate::policy::timeout::{Expiry, Which};
use crate::python::errors;
use crate::runtime::clock::{self, Busy};

/// One call and its attempts under way.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Race {
    guard: GuardRef,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
    /// How many nodes are asked at once, and need not be late for it.
    replicas: u32,
    /// Taken out while the driver works on it: no lock is held while Python runs (R3).
    call: Mutex<Option<Call>>,
    runs: Mutex<BTreeMap<u32, Run>>,
    /// What the driver does when it is not waiting for attempts.
    pending: Mutex<Pending>,
}

/// An attempt under way.
#[derive(Debug)]
struct Run {
    attempt: Attempt,
    scope: Option<Py<Scope>>,
    /// The youngest mark on an exception when it began.
    mark: u64,
}

#[derive(Debug, Default)]
enum Pending {
    #[default]
    Nothing,
    Sleep(Pause),
    End(Finish),
}

/// A value, or an awaitable that gives it.
type Answered = (Option<Py<PyAny>>, Option<Py<PyAny>>);

/// What the driver is told: the kind of step, and its number.
type Told = (&'static str, u32);

impl Race {
    /// A call of `guard` on `replicas` nodes at once.
    pub fn new(
        guard: GuardRef,
        args: Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
        replicas: u32,
    ) -> Self {
        let py = args.py();
        let (args, kwargs) = (args.unbind(), kwargs.map(Bound::unbind));
        let copied = kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py));
        let call = Call::new(guard.clone_ref(py), args.clone_ref(py), copied);
        Self {
            guard,
            args,
            kwargs,
            replicas,
            call: Mutex::new(Some(call)),
            runs: Mutex::default(),
            pending: Mutex::default(),
        }
    }

    fn with_call<R>(&self, act: impl FnOnce(&mut Call) -> PyResult<R>) -> PyResult<R> {
        let taken = self.call.lock().take();
        let mut call =
            taken.ok_or_else(|| PyRuntimeError::new_err("this call is over, or being worked on"))?;
        let result = act(&mut call);
        *self.call.lock() = Some(call);
        result
    }

    fn tell(&self, py: Python<'_>, call: &mut Call, step: Step) -> PyResult<Told> {
        let (pending, told) = match step {
            Step::Attempt(attempt) => {
                self.enlist(py, call, &attempt)?;
                (Pending::Nothing, ("attempt", attempt.number))
            }
            Step::AskBalancer { candidates } => {
                let step = call.ask_balancer(py, &candidates)?;
                return self.tell(py, call, step);
            }
            Step::AskBackoff { retry } => (Pending::Nothing, ("ask", retry)),
            Step::Sleep { until } => (Pending::Sleep(until), ("sleep", 0)),
            Step::Finish(finish) => (Pending::End(finish), ("end", 0)),
        };
        *self.pending.lock() = pending;
        Ok(told)
    }

    fn enlist(&self, py: Python<'_>, call: &mut Call, attempt: &Attempt) -> PyResult<()> {
        let scope = call.new_scope(py, attempt)?;
        let binding = call.execution().and_then(|execution| execution.binding_of(attempt.number));
        if let Some(scope) = &scope {
            scope.bind(py).get().wait_until(binding);
        }
        let run = Run { attempt: *attempt, scope, mark: history::youngest_mark() };
        self.runs.lock().insert(attempt.number, run);
        Ok(())
    }

    /// Reports what came of an attempt; none while the race goes on.
    fn report(
        &self,
        py: Python<'_>,
        number: u32,
        outcome: PyResult<Py<PyAny>>,
        ours: bool,
    ) -> PyResult<Option<Told>> {
        let Some(run) = self.runs.lock().remove(&number) else { return Ok(None) };
        let cut = run.scope.as_ref().and_then(|scope| scope.bind(py).get().cut_by());
        let (outcome, ours) = match (outcome, cut) {
            (Err(error), Some(expiry)) if !ours => {
                let timeout = errors::timeout(py, &expiry);
                timeout.set_cause(py, Some(error));
                (Err(timeout), true)
            }
            (outcome, _) => (outcome, ours),
        };
        self.with_call(|call| match call.record_one(py, number, run.mark, outcome, ours) {
            Some(step) => self.tell(py, call, step).map(Some),
            None => Ok(None),
        })
    }

    fn take_end(&self) -> Finish {
        match std::mem::take(&mut *self.pending.lock()) {
            Pending::End(finish) => finish,
            Pending::Nothing | Pending::Sleep(_) => Finish::Raise,
        }
    }
}

#[pymethods]
impl Race {
    /// Asks for the first step: its kind ("attempt", "sleep", "ask" or "end") and number.
    fn start(&self, py: Python<'_>) -> PyResult<Told> {
        self.with_call(|call| {
            let step = call.start(py)?;
            self.tell(py, call, step)
        })
    }

    /// The attempts to be made at once beside the first.
    fn replicate(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        self.with_call(|call| {
            let more = call.replicate(self.replicas.saturating_sub(1));
            more.iter().try_for_each(|attempt| self.enlist(py, call, attempt))?;
            Ok(more.iter().map(|attempt| attempt.number).collect())
        })
    }

    /// One more attempt, if one is due.
    fn hedge(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        if self.replicas > 1 {
            return Ok(None);
        }
        self.with_call(|call| {
            let Some(attempt) = call.hedge() else { return Ok(None) };
            self.enlist(py, call, &attempt)?;
            Ok(Some(attempt.number))
        })
    }

    /// Makes the attempt's call, in its scope, which stays that of the task or thread that it runs in.
    fn attempt<'py>(&self, py: Python<'py>, number: u32) -> PyResult<Bound<'py, PyAny>> {
        let find = |run: &Run| (run.attempt, run.scope.as_ref().map(|scope| scope.clone_ref(py)));
        let run = self.runs.lock().get(&number).map(find);
        let (attempt, scope) = run.ok_or_else(|| PyRuntimeError::new_err("there is no such attempt"))?;
        if let Some(scope) = scope {
            scope::replace(py, scope.bind(py).as_any())?;
        }
        let guard = self.guard.get();
        let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
        guard.callee().call(py, &guard.wiring().plan.source, &attempt, None, self.args.bind(py), kwargs)
    }

    /// Seconds until one of our clocks, or a hedge, is due; `None` if nothing is.
    fn patience(&self) -> PyResult<Option<f64>> {
        self.with_call(|call| Ok(call.due().map(|due| due.since(clock::now()).as_secs_f64())))
    }

    /// An awaitable that ends when one of our clocks, or a hedge, is due; `None` if nothing is.
    fn rest(&self, py: Python<'_>) -> PyResult<Option<Rest>> {
        let due = self.with_call(|call| Ok(call.due()))?;
        due.map(|due| Rest::until(py, due.into())).transpose()
    }

    /// The attempts whose clock has run out.
    fn expired(&self) -> PyResult<Vec<u32>> {
        let now = clock::now();
        self.with_call(|call| Ok(call.expired(now)))
    }

    /// An attempt has answered: the next step, or `None` while the race goes on.
    fn succeed(&self, py: Python<'_>, number: u32, value: Py<PyAny>) -> PyResult<Option<Told>> {
        self.report(py, number, Ok(value), false)
    }

    /// An attempt has failed: the next step, or `None` while the race goes on.
    fn fail(&self, py: Python<'_>, number: u32, error: Bound<'_, PyAny>) -> PyResult<Option<Told>> {
        self.report(py, number, Err(PyErr::from_value(error)), false)
    }

    /// An attempt's clock has run out: the next step, or `None` while the race goes on.
    fn expire(&self, py: Python<'_>, number: u32) -> PyResult<Option<Told>> {
        let binding = self.with_call(|call| Ok(call.execution().and_then(|e| e.binding_of(number))))?;
        match binding {
            Some(expiry) => self.report(py, number, Err(errors::timeout(py, &expiry)), true),
            None => Ok(None),
        }
    }

    /// Waits as the machine said, with the GIL released.
    fn sleep(&self, py: Python<'_>) -> PyResult<()> {
        match std::mem::take(&mut *self.pending.lock()) {
            Pending::Sleep(until) => wait::blocking(py, until, Busy::idle()).map(drop),
            Pending::Nothing | Pending::End(_) => Ok(()),
        }
    }

    /// The same, awaited.
    fn asleep(&self, py: Python<'_>) -> PyResult<Rest> {
        let until = match std::mem::take(&mut *self.pending.lock()) {
            Pending::Sleep(until) => until,
            Pending::Nothing | Pending::End(_) => clock::now().into(),
        };
        Rest::until(py, until)
    }

    /// That wait is over.
    fn wake(&self, py: Python<'_>) -> PyResult<Told> {
        self.with_call(|call| {
            let step = call.wake();
            self.tell(py, call, step)
        })
    }

    /// Asks the user's own back-off.
    fn ask(&self, py: Python<'_>, retry: u32) -> PyResult<Told> {
        self.with_call(|call| {
            let step = call.ask_backoff(py, retry)?;
            self.tell(py, call, step)
        })
    }

    /// What Python gets.
    fn answer(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let finish = self.take_end();
        self.with_call(|call| call.answer(py, finish))
    }

    /// What Python gets: `(value, None)`, or `(None, awaitable)` that gives it.
    fn aanswer(&self, py: Python<'_>) -> PyResult<Answered> {
        let finish = self.take_end();
        self.with_call(|call| {
            Ok(match call.async_answer(py, finish)? {
                Instead::Nothing(value) => (Some(value), None),
                Instead::Made(made) => (None, Some(made)),
            })
        })
    }

    /// Ends the waits of transports that losers are stuck in, where they can be cut.
    fn cut(&self, py: Python<'_>) {
        let now = clock::now();
        let losers = std::mem::take(&mut *self.runs.lock());
        for scope in losers.into_values().filter_map(|run| run.scope) {
            let over = Expiry { at: now, which: Which::Attempt, limit: std::time::Duration::ZERO };
            scope.bind(py).get().wait_until(Some(over));
        }
    }

    /// Gives the call up: nobody is blamed (B7).
    fn abandon(&self) {
        if let Some(call) = self.call.lock().take() {
            drop(call);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.guard.as_any())?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)?;
        let Some(call) = self.call.try_lock() else { return Ok(()) };
        call.as_ref().map_or(Ok(()), |call| call.traverse(&visit))
    }
}

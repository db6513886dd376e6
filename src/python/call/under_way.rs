//! One call under way, and how it ends for Python.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments;
use super::flow::Flow;
use super::guard::GuardRef;
use super::history;
use super::raw::Visitor;
use super::scope::{self, CallId, Inherited, Scope};
use crate::base::{Event, EventKind, NodeId, Rejection, Time, Verdict};
use crate::pipeline::{Attempt, Costs, Execution, Finish, Moment, Step, Target};
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::timeout::Phase;
use crate::python::once::intern;
use crate::python::{apart, convert, errors, events, judge, switches};
use crate::runtime::dice::ThreadDice;
use crate::runtime::{clock, dispatch};

/// Runs `act` with the present moment, the dice and an outbox, and posts what it put there.
pub fn moment<R>(act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
    let mut out = dispatch::outbox();
    let now = clock::now();
    let result = act(&mut Moment { now, dice: &mut ThreadDice, out: &mut out });
    if !out.is_empty() {
        dispatch::post(&mut out);
        events::ensure_delivery();
    }
    result
}

/// Asks a breaker for admission; a refusal is told to its listeners.
pub fn admit(breaker: &Breaker) -> Result<Permit, Rejection> {
    moment(|at| {
        breaker.admit(at.now, at.dice, at.out).inspect_err(|rejection| {
            at.out.emit(EventKind::CallRejected, || Event::CallRejected {
                source: rejection.source.clone(),
                reason: rejection.reason,
                retry_after: rejection.retry_after,
            });
        })
    })
}

/// A call under way. Dropped unfinished, it gives back what it holds, and nobody is blamed (B7, R7).
#[derive(Debug)]
pub struct Call {
    pub(super) guard: GuardRef,
    pub(super) args: Py<PyTuple>,
    pub(super) kwargs: Option<Py<PyDict>>,
    pub(super) execution: Option<Execution>,
    /// What came of the latest attempt; an error as the exception that it is, so that the collector sees it.
    last: Option<Result<Py<PyAny>, Py<PyBaseException>>>,
    id: Option<CallId>,
    pub(super) scope: Option<Py<Scope>>,
    /// The youngest mark on an exception when the attempt began.
    pub(super) mark: u64,
    /// It began while guards only passed calls on.
    pub(super) passes: bool,
    /// The attempt that is reported, where several may be under way.
    pub(super) racing: Option<u32>,
    /// What the first attempt's call has given already.
    made: Option<Py<PyAny>>,
    /// The error of the stream that the attempt goes on with.
    pub(super) interrupted: Option<Py<PyAny>>,
}

impl Call {
    pub const fn new(guard: GuardRef, args: Py<PyTuple>, kwargs: Option<Py<PyDict>>) -> Self {
        Self {
            guard,
            args,
            kwargs,
            execution: None,
            last: None,
            id: None,
            scope: None,
            mark: 0,
            passes: false,
            racing: None,
            made: None,
            interrupted: None,
        }
    }

    /// A call whose first attempt has been called already, and has given `made`.
    pub fn with_made(mut self, made: Py<PyAny>) -> Self {
        self.made = Some(made);
        self
    }

    /// A call whose first attempt was begun by an inline door and goes on by the machine.
    pub fn going_on(mut self, execution: Execution, scope: Option<Py<Scope>>, mark: u64) -> Self {
        self.id = scope.as_ref().map(|scope| scope.get().id());
        (self.execution, self.scope, self.mark) = (Some(execution), scope, mark);
        self
    }

    /// Asks for the first step.
    pub fn start(&mut self, py: Python<'_>) -> PyResult<Step> {
        let guard = self.guard.get();
        self.passes = switches::is_inactive();
        guard.keep_beating()?;
        let plan = guard.plan();
        let key = guard.key(py, &plan, self.args.bind(py), self.kwargs.as_ref().map(|k| k.bind(py)))?;
        let mut costs = if self.passes {
            Costs::default()
        } else {
            guard.wiring().weights.weigh(self.args.bind(py), self.kwargs.as_ref().map(|k| k.bind(py)))?
        };
        let Inherited { deadline, priority } =
            if self.passes { Inherited::default() } else { scope::inherited(py)? };
        costs.priority = priority;
        let (execution, step) = moment(|at| Execution::start_weighed(plan, key, costs, deadline, at));
        self.execution = Some(execution);
        Ok(step)
    }

    /// Makes the attempt's call; what it gives is the answer, or what will become it.
    pub fn attempt<'py>(
        &mut self,
        py: Python<'py>,
        attempt: &Attempt,
        phase: Phase,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.enter(py, attempt, phase)?;
        if let Some(made) = self.made.take() {
            return Ok(made.into_bound(py));
        }
        let kwargs = self.kwargs.as_ref().map(|k| k.bind(py));
        let guard = self.guard.get();
        let (callee, pool) = (guard.callee(), &guard.wiring().plan.source);
        let node = self.scope.as_ref().and_then(|scope| scope.get().asked());
        let args = self.args.bind(py);
        scope::within(py, self.scope.as_ref(), || callee.call(py, pool, attempt, node, args, kwargs))?
    }

    /// An attempt begins: whoever makes it does so in its scope.
    pub fn enter(&mut self, py: Python<'_>, attempt: &Attempt, phase: Phase) -> PyResult<()> {
        self.scope = self.new_scope(py, attempt)?;
        self.mark = history::youngest_mark();
        self.waits(py, phase, clock::now());
        Ok(())
    }

    /// The scope of the attempt under way.
    pub fn scope(&self, py: Python<'_>) -> Option<Py<Scope>> {
        self.scope.as_ref().map(|scope| scope.clone_ref(py))
    }

    /// Runs a step of the user's code in the attempt's scope.
    pub fn within<R>(&self, py: Python<'_>, work: impl FnOnce() -> R) -> PyResult<R> {
        scope::within(py, self.scope.as_ref(), work)
    }

    /// From `since` on we wait for the user's code: a transport that can be cut learns until when.
    pub fn waits(&mut self, py: Python<'_>, phase: Phase, since: Time) {
        if let (Some(scope), Some(execution)) = (&self.scope, &self.execution) {
            scope.bind(py).get().wait_until(execution.binding(phase, since));
        }
    }

    /// We do not wait any more. An error by which a transport was cut becomes the `CallTimeout` that it is;
    /// says whether it did.
    pub fn waited(&self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> (PyResult<Py<PyAny>>, bool) {
        let Some(scope) = &self.scope else { return (outcome, false) };
        let cut = scope.bind(py).get().cut_by();
        scope.bind(py).get().wait_until(None);
        match (outcome, cut) {
            (Err(error), Some(expiry)) => {
                let timeout = errors::timeout(py, &expiry);
                timeout.set_cause(py, Some(error));
                (Err(timeout), true)
            }
            (outcome, _) => (outcome, false),
        }
    }

    /// Reports what came of an attempt: a value is validated first.
    pub fn record(&mut self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> Step {
        if let Err(interrupt) = self.settle_costs(py, &outcome) {
            return self.record_as(Err(interrupt), &Verdict::Ignore);
        }
        let wiring = self.guard.get().wiring();
        let validate = wiring.validate.as_ref().filter(|_| !self.passes);
        let outcome = match (outcome, validate) {
            (Ok(value), Some(validate)) => validate.call1(py, (&value,)).map(|_| value),
            (outcome, _) => outcome,
        };
        self.record_unchecked(py, outcome)
    }

    /// Tells the rate limits that weigh their calls what this one weighed in truth, whether or not its answer is
    /// good enough (L6).
    fn settle_costs(&mut self, py: Python<'_>, outcome: &PyResult<Py<PyAny>>) -> PyResult<()> {
        if let (Ok(answer), false, Some(execution)) = (outcome, self.passes, &mut self.execution)
            && let Some(actual) = self.guard.get().wiring().weights.settle(py, answer)?
        {
            moment(|at| execution.settle_costs(&actual, at));
        }
        Ok(())
    }

    /// Reports what came of an attempt whose answer needs no validation, or has had it.
    pub fn record_unchecked(&mut self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> Step {
        let wiring = self.guard.get().wiring();
        let mut verdict = match wiring.judge.verdict(py, &outcome) {
            Ok(verdict) => verdict,
            // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
            Err(interrupt) => return self.record_as(Err(interrupt), &Verdict::Ignore),
        };
        if let Err(error) = &outcome {
            self.heed_inner_layers(py, error, &mut verdict);
        }
        self.record_as(outcome, &verdict)
    }

    /// Reports that a stream came to its end. That is good, whatever it returned: a rule on values
    /// speaks of answers. What it weighed, its items have told (L6).
    pub fn record_end(&mut self, flow: &Flow, value: Py<PyAny>) -> Step {
        if let (Some(actual), Some(execution)) = (flow.costs(), &mut self.execution) {
            moment(|at| execution.settle_costs(&actual, at));
        }
        self.record_as(Ok(value), &Verdict::Ok)
    }

    /// Reports that our own clock ended the attempt (B8).
    pub fn record_timeout(&mut self, outcome: PyResult<Py<PyAny>>) -> Step {
        self.record_as(outcome, &judge::timed_out())
    }

    /// What an inner layer has given up on is not tried again at the same place (A2).
    pub(super) fn heed_inner_layers(&self, py: Python<'_>, error: &PyErr, verdict: &mut Verdict) {
        let nested = self.guard.get().wiring().plan.retry.as_ref().is_some_and(|retry| retry.nested);
        if let Verdict::Fail(failure) | Verdict::Throttled(failure) = verdict {
            failure.retry &= nested || !history::is_exhausted(py, error, self.mark);
        }
    }

    pub(super) fn record_as(&mut self, outcome: PyResult<Py<PyAny>>, verdict: &Verdict) -> Step {
        let verdict = self.replayable(*verdict);
        self.last = Some(outcome.map_err(|error| Python::attach(|py| error.into_value(py))));
        if let Some(number) = self.racing.take() {
            return self.report_one(number, &verdict);
        }
        self.step(|execution, at| execution.record(&verdict, at))
    }

    /// A failure that allows no further attempt, where the first one may have used up an argument (A8).
    fn replayable(&self, mut verdict: Verdict) -> Verdict {
        if let Verdict::Fail(failure) | Verdict::Throttled(failure) = &mut verdict
            && (failure.retry || failure.fail_over)
            && Python::attach(|py| arguments::are_consumed(py, &self.args, self.kwargs.as_ref()))
        {
            (failure.retry, failure.fail_over) = (false, false);
        }
        verdict
    }

    /// A wait is over.
    pub fn wake(&mut self) -> Step {
        self.step(Execution::wake)
    }

    /// Asks the user's own back-off how long to wait. One that raises, or gives no number of seconds, is
    /// reported as unraisable and the default law rules: the user's own exception is not replaced.
    ///
    /// # Errors
    /// What interrupted it and is no `Exception`.
    pub fn ask_backoff(&mut self, py: Python<'_>, retry: u32) -> PyResult<Step> {
        let answer = match self.guard.get().wiring().backoff.as_ref().map(|backoff| backoff.bind(py)) {
            Some(backoff) => {
                let asked = backoff.call1((retry,)).and_then(|told| convert::span("backoff", &told));
                asked.map(Some).or_else(|broken| judge::report(broken, backoff).map(|()| None))?
            }
            None => None,
        };
        Ok(self.step(|execution, at| execution.answer_backoff(answer, at)))
    }

    /// Asks the user's own balancer which of these nodes to ask. One that raises, or answers none of them, is
    /// reported as unraisable and the node is picked in turn.
    ///
    /// # Errors
    /// What interrupted it and is no `Exception`.
    pub fn ask_balancer(&mut self, py: Python<'_>, candidates: &[NodeId]) -> PyResult<Step> {
        let answer = match &self.guard.get().wiring().balancer {
            Some(balancer) => balancer.choose(py, &self.guard.get().wiring().plan, candidates)?,
            None => Err("no balancer".into()),
        };
        Ok(self.step(|execution, at| execution.answer_balancer(answer, at)))
    }

    /// The machine, while the call is under way.
    pub const fn execution(&mut self) -> Option<&mut Execution> {
        self.execution.as_mut()
    }

    /// Ends the call without a verdict.
    pub fn abandon(&mut self) {
        if let Some(mut execution) = self.execution.take() {
            moment(|at| execution.abandon(at));
        }
    }

    /// What Python gets: the value, the user's own exception, or our refusal.
    pub fn finish(&mut self, py: Python<'_>, finish: Finish) -> PyResult<Py<PyAny>> {
        self.ended(py, finish).0
    }

    /// The same, and the machine at its end.
    pub fn ended(&mut self, py: Python<'_>, finish: Finish) -> (PyResult<Py<PyAny>>, Option<Execution>) {
        let execution = self.execution.take();
        let result = match finish {
            Finish::Reject(rejection) => Err(errors::rejection(py, &rejection)),
            Finish::Late(expiry) => Err(errors::timeout(py, &expiry)),
            Finish::Return | Finish::Raise | Finish::FallBack(_) => {
                let last = self.last.take().unwrap_or_else(|| Ok(py.None()));
                let last = last.map_err(|error| PyErr::from_value(error.into_bound(py).into_any()));
                if let (Err(error), Some(execution)) = (&last, &execution) {
                    history::annotate(py, error, execution, self.mark);
                }
                last
            }
        };
        (result, execution)
    }

    /// For Python's garbage collector.
    pub fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        visit.call(self.guard.as_any())?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)?;
        visit.call(&self.scope)?;
        visit.call(&self.interrupted)?;
        visit.call(&self.made)?;
        match &self.last {
            Some(Ok(value)) => visit.call(value)?,
            Some(Err(error)) => visit.call(error)?,
            None => (),
        }
        Ok(())
    }

    fn step(&mut self, act: impl FnOnce(&mut Execution, &mut Moment<'_>) -> Step) -> Step {
        match &mut self.execution {
            Some(execution) => moment(|at| act(execution, at)),
            None => Step::Finish(Finish::Raise),
        }
    }

    /// A scope, where the attempt has anything to tell: a node, further attempts, or a clock.
    pub fn new_scope(&mut self, py: Python<'_>, attempt: &Attempt) -> PyResult<Option<Py<Scope>>> {
        let guard = self.guard.get();
        let plan = &guard.wiring().plan;
        let inherited = self.execution.as_ref().map_or_else(Inherited::default, |execution| Inherited {
            deadline: execution.deadline(),
            priority: execution.priority(),
        });
        let pooled = matches!(plan.target, Target::Roster(_));
        if inherited.deadline.is_none() && !pooled && plan.retry.is_none() && !plan.timeout.is_on() {
            return Ok(None);
        }
        let id = *self.id.get_or_insert_with(scope::next_call_id);
        let node = guard.callee().node(py, attempt);
        Py::new(py, Scope::new(id, attempt.number, node, inherited).within_another(py)?).map(Some)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.abandon();
        if let Some(refused) = self.made.take() {
            // Nobody is asked, so that nobody need be reminded to await it. At interpreter shutdown nobody is.
            let _shutting_down = apart(|py| {
                if let Err(broken) = refused.call_method0(py, intern!(py, "close")) {
                    broken.write_unraisable(py, Some(refused.bind(py)));
                }
            });
        }
    }
}

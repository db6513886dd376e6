//! A call that may have several attempts under way at once, for `holdfast._race`, which runs them.
//!
//! Tasks and threads are Python's, so their driver is Python too; what is to be done next the machine says
//! here as everywhere. One driver per call asks it; the attempts, in tasks or threads of their own, only make
//! their call.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::{GuardRef, packed};
use super::history;
use super::resume::{Input, unmistakable};
use super::scope::{self, Scope};
use super::substitute::Instead;
use super::under_way::Call;
use super::wait::{self, Look, Nap};
use crate::base::ConfigError;
use crate::pipeline::{Attempt, Finish, Pause, Step};
use crate::policy::timeout::{Expiry, Which};
use crate::python::once::{Once, intern};
use crate::python::{errors, judge, switches};
use crate::runtime::clock::{self, Busy};

/// Python's half of a hedge, and may there be threads?
#[derive(Debug)]
pub struct Hedging {
    half: Py<PyAny>,
    threads: bool,
}

impl Hedging {
    /// By a `holdfast._hedge.Hedge`.
    pub fn new(half: &Bound<'_, PyAny>, threads: bool) -> Self {
        Self { half: half.clone().unbind(), threads }
    }

    /// The object itself, for Python's garbage collector.
    pub const fn half(&self) -> &Py<PyAny> {
        &self.half
    }
}

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
        guard.callee().call(py, &guard.wiring().plan.source, &attempt, self.args.bind(py), kwargs)
    }

    /// Seconds until one of our clocks, or a hedge, is due; `None` if nothing is.
    fn patience(&self) -> PyResult<Option<f64>> {
        self.with_call(|call| Ok(call.due().map(|due| due.since(clock::now()).as_secs_f64())))
    }

    /// An awaitable that ends when one of our clocks, or a hedge, is due; `None` if nothing is.
    fn rest(&self, py: Python<'_>) -> PyResult<Option<Rest>> {
        let due = self.with_call(|call| Ok(call.due()))?;
        due.map(|due| Nap::until(py, due.into()).map(|nap| Rest(Mutex::new(Some(nap))))).transpose()
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
        Ok(Rest(Mutex::new(Some(Nap::until(py, until)?))))
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

/// A sleep of ours, to be awaited once.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Rest(Mutex<Option<Nap>>);

impl Rest {
    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(nap) = self.0.lock().take() else { return Ok(None) };
        match nap.look(py, input) {
            Look::Asleep(on) => {
                *self.0.lock() = Some(nap);
                Ok(Some(on))
            }
            Look::Awake(_busy) => Ok(None),
            Look::Raised(error) => Err(unmistakable(py, error, "coroutine")),
        }
    }
}

#[pymethods]
impl Rest {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.step(py, Input::none(py))
    }

    /// Resumes it.
    fn send(&self, py: Python<'_>, _value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let on = self.step(py, Input::none(py))?;
        on.ok_or_else(|| pyo3::exceptions::PyStopIteration::new_err((py.None(),)))
    }

    /// Raises an exception inside of it.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let on = self.step(py, Input::thrown(typ, val, tb)?)?;
        on.ok_or_else(|| pyo3::exceptions::PyStopIteration::new_err((py.None(),)))
    }

    /// Gives it up.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let taken = self.0.lock().take();
        taken.map_or(Ok(()), |nap| nap.inner().bind(py).call_method0(intern!(py, "close")).map(drop))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(nap) = self.0.try_lock() else { return Ok(()) };
        nap.as_ref().map_or(Ok(()), |nap| visit.call(nap.inner()))
    }
}

/// How Python calls a guard of a coroutine function that may be hedged.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn coroutine(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, start_coroutine) }
}

/// How Python calls a guard of a function that may be hedged.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn function(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, start_function) }
}

fn start_coroutine(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    static RUN: Once<Py<PyAny>> = Once::new();
    let py = args.py();
    if !is_safe(guard, &args, kwargs.as_ref())? {
        return super::coroutine::call(guard, args, kwargs);
    }
    let race = Race::new(guard.clone_ref(py), args, kwargs, 1);
    let made = RUN.import(py, "holdfast._race", "arun")?.call1((race,))?;
    for name in [intern!(py, "__name__"), intern!(py, "__qualname__")] {
        if let Some(known) = guard.bind(py).getattr_opt(name)? {
            made.setattr(name, known)?;
        }
    }
    Ok(made.unbind())
}

fn start_function(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    static RUN: Once<Py<PyAny>> = Once::new();
    let py = args.py();
    if !is_safe(guard, &args, kwargs.as_ref())? {
        return super::function::call(guard, args, kwargs);
    }
    if !guard.get().wiring().hedging.as_ref().is_some_and(|hedging| hedging.threads) {
        let rule = "be True for sync calls to be hedged: the attempts run in threads of their own";
        return Err(errors::config(py, &ConfigError::new("threads", rule, "False")));
    }
    let race = Race::new(guard.clone_ref(py), args, kwargs, 1);
    Ok(RUN.import(py, "holdfast._race", "run")?.call1((race,))?.unbind())
}

/// Has the caller declared this call safe to be made twice (A10)? A declaration that raises declares nothing.
fn is_safe(
    guard: &GuardRef,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<bool> {
    let py = args.py();
    let guard = guard.get();
    let Some(hedging) = guard.wiring().hedging.as_ref().filter(|_| !switches::is_inactive()) else {
        return Ok(false);
    };
    let half = hedging.half.bind(py);
    let function = guard.callee().function();
    let none = PyDict::new(py);
    let asked = half.call_method1(intern!(py, "_is_safe"), (function, args, kwargs.unwrap_or(&none)));
    match asked.and_then(|answer| answer.is_truthy()) {
        Ok(safe) => Ok(safe),
        Err(broken) => judge::report(broken, half).map(|()| false),
    }
}

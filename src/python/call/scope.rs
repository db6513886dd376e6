//! What an attempt knows of itself, and what calls inside it inherit: a context variable around each step
//! of the user's code.
//!
//! It is set only where there is something to know: a node, a further attempt, or a clock. Sync attempts
//! also lend it to transports that can cut a stuck read: they learn here until when they may wait, and say
//! here that they cut one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::context::{current, is_scopeless};
pub use super::context::{enter, leave, replace, scoped, within};
use crate::base::Dice as _;
use crate::policy::limit::Priority;
use crate::policy::timeout::{Expiry, Which};
use crate::python::convert;
use crate::python::once::intern;
use crate::python::switches;
use crate::runtime::clock;
use crate::runtime::dice::ThreadDice;

/// What calls inside of a call or a block take over from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inherited {
    /// By when they must be over.
    pub deadline: Option<Expiry>,
    /// How important they are.
    pub priority: Priority,
}

impl Inherited {
    /// Is there nothing to take over?
    fn is_nothing(&self) -> bool {
        self.deadline.is_none() && self.priority == Priority::Normal
    }
}

/// One attempt, as `holdfast.current_attempt()` shows it.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Scope {
    call_id: u64,
    /// Random, drawn once per call, when somebody asks for it; 0 before.
    salt: AtomicU64,
    number: u32,
    node: Option<Py<PyAny>>,
    inherited: Inherited,
    /// The clock that runs while we wait for the user's code; none in the consumer's time.
    binding: Mutex<Option<Expiry>>,
    cut: AtomicBool,
    /// The attempt that this one is part of: its clock runs too, and ends the same reads.
    outer: Option<Py<Self>>,
}

impl Scope {
    /// A new attempt's scope.
    pub fn new((call_id, salt): CallId, number: u32, node: Option<Py<PyAny>>, inherited: Inherited) -> Self {
        if !inherited.is_nothing() {
            HEIRLOOMS.fetch_add(1, Ordering::Relaxed);
        }
        let binding = Mutex::new(None);
        let salt = AtomicU64::new(salt);
        Self { call_id, salt, number, node, inherited, binding, cut: AtomicBool::new(false), outer: None }
    }

    /// The same inside the attempt that is under way, if there is one with a clock.
    pub fn within_another(mut self, py: Python<'_>) -> PyResult<Self> {
        if CLOCKS.load(Ordering::Relaxed) {
            let outer = current(py)?.and_then(|outer| outer.cast_into::<Self>().ok());
            self.outer = outer.map(Bound::unbind);
        }
        Ok(self)
    }

    /// What calls inside inherit.
    pub const fn inherited(&self) -> Inherited {
        self.inherited
    }

    /// The node that is asked, in a pool.
    pub const fn asked(&self) -> Option<&Py<PyAny>> {
        self.node.as_ref()
    }

    /// The identity of its call.
    pub fn id(&self) -> CallId {
        (self.call_id, self.salt())
    }

    fn salt(&self) -> u64 {
        let drawn = self.salt.load(Ordering::Relaxed);
        if drawn != 0 {
            return drawn;
        }
        // Of two who draw at once the first one's stands.
        let salt = ThreadDice.roll().max(1);
        self.salt
            .compare_exchange(0, salt, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|first| first, |_| salt)
    }

    /// From now on this clock runs.
    pub fn wait_until(&self, binding: Option<Expiry>) {
        if binding.is_some() {
            CLOCKS.store(true, Ordering::Relaxed);
        }
        *self.binding.lock() = binding;
    }

    /// The clock by which a transport cut the read, if one did.
    pub fn cut_by(&self) -> Option<Expiry> {
        self.cut.load(Ordering::Acquire).then(|| *self.binding.lock()).flatten()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if !self.inherited.is_nothing() {
            HEIRLOOMS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[pymethods]
impl Scope {
    /// The call's number in this process.
    #[getter]
    const fn call_id(&self) -> u64 {
        self.call_id
    }

    /// The attempt's number, counted from 1 over the whole call; 0 for a block under `deadline()` or `priority()`.
    #[getter]
    const fn number(&self) -> u32 {
        self.number
    }

    /// The same as `number`.
    #[getter]
    const fn attempt(&self) -> u32 {
        self.number
    }

    /// The whole call's deadline as a moment of `time.monotonic()`; `None` without one.
    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let Some(left) = self.time_left() else { return Ok(None) };
        let now: f64 = py.import(intern!(py, "time"))?.call_method0(intern!(py, "monotonic"))?.extract()?;
        Ok(Some(now + left))
    }

    /// The node that is asked, or `None` outside a manager.
    #[getter]
    fn node(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.node.as_ref().map(|node| node.clone_ref(py))
    }

    /// A key that all attempts of this call share, for clients that take an idempotency key (A9): random, and
    /// the same for the whole call.
    #[getter]
    fn idempotency_key(&self) -> String {
        format!("holdfast-{:016x}-{:x}", self.salt(), self.call_id)
    }

    /// How important its call is: "low", "normal" or "high".
    #[getter]
    const fn priority(&self) -> &'static str {
        self.inherited.priority.as_str()
    }

    /// Seconds until the whole call's deadline, not below 0; `None` without one.
    #[getter]
    fn time_left(&self) -> Option<f64> {
        self.inherited.deadline.map(|expiry| expiry.at.since(clock::now()).as_secs_f64())
    }

    /// Seconds that this attempt may still take, not below 0: until its own clock, the call's deadline, or that of an
    /// attempt around it, whichever is nearest. `None` while no clock runs.
    #[getter]
    fn attempt_time_left(&self) -> Option<f64> {
        self.patience()
    }

    /// Seconds a blocking read may still take, not below 0; `None` while no clock runs.
    #[pyo3(name = "_patience")]
    fn patience(&self) -> Option<f64> {
        let own = self.binding.lock().map(|expiry| expiry.at.since(clock::now()).as_secs_f64());
        let outer = self.outer.as_ref().and_then(|outer| outer.get().patience());
        own.into_iter().chain(outer).reduce(f64::min)
    }

    /// A transport asks whether it must cut its read now, and if so has it noted that it did, by each attempt whose
    /// clock has run out.
    #[pyo3(name = "_cut")]
    fn cuts(&self) -> bool {
        let expired = self.binding.lock().is_some_and(|expiry| expiry.at <= clock::now());
        if expired {
            self.cut.store(true, Ordering::Release);
        }
        self.outer.as_ref().is_some_and(|outer| outer.get().cuts()) || expired
    }

    fn __repr__(&self) -> String {
        format!("<attempt {} of call {}>", self.number, self.call_id)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.node)?;
        visit.call(&self.outer)
    }
}

/// The scope of `with deadline(seconds):`, inside an outer deadline if there is one.
#[pyfunction]
pub fn deadline_scope(py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<Scope> {
    let limit = convert::positive_span("seconds", seconds)?;
    let own = Expiry { at: clock::now().after(limit), which: Which::Total, limit };
    let outer = inherited(py)?;
    let deadline = outer.deadline.filter(|outer| outer.at < own.at).unwrap_or(own);
    Scope::new(next_call_id(), 0, None, Inherited { deadline: Some(deadline), ..outer }).within_another(py)
}

/// The scope of `with priority(level):`, under the outer deadline if there is one.
#[pyfunction]
pub fn priority_scope(py: Python<'_>, level: &Bound<'_, PyAny>) -> PyResult<Scope> {
    let priority = convert::choice("level", level, "'low', 'normal', 'high'", Priority::from_name)?;
    Scope::new(next_call_id(), 0, None, Inherited { priority, ..inherited(py)? }).within_another(py)
}

/// A call's number, which no other call of this process has, and a random word; 0 for one not drawn yet.
pub type CallId = (u64, u64);

/// The identity of a new call.
pub fn next_call_id() -> CallId {
    let (number, _) = fresh_call_id();
    (number, ThreadDice.roll())
}

/// The same, with its random word to be drawn when somebody asks for it.
pub fn fresh_call_id() -> CallId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (NEXT.fetch_add(1, Ordering::Relaxed), 0)
}

/// How many scopes there are with something to inherit. While there is none nobody needs to look. Whoever could
/// inherit it has been handed its scope by the thread that made it, and so sees it counted.
static HEIRLOOMS: AtomicUsize = AtomicUsize::new(0);

/// Has a clock ever run? Until then no attempt can be bounded by one that it is part of.
static CLOCKS: AtomicBool = AtomicBool::new(false);

/// What the call or block that we are inside of hands down.
pub fn inherited(py: Python<'_>) -> PyResult<Inherited> {
    if HEIRLOOMS.load(Ordering::Relaxed) == 0 {
        return Ok(Inherited::default());
    }
    let scope = current(py)?;
    let scope = scope.as_ref().and_then(|scope| scope.cast::<Scope>().ok());
    Ok(scope.map(|scope| scope.get().inherited()).unwrap_or_default())
}

/// Is there surely nothing to inherit, and no switch thrown? It drops nothing that PyO3 would have to be attached for.
#[inline]
pub fn is_free(py: Python<'_>) -> bool {
    switches::are_untouched()
        && (HEIRLOOMS.load(Ordering::Relaxed) == 0 || is_scopeless(py) || inherits_nothing(py))
}

#[cold]
fn inherits_nothing(py: Python<'_>) -> bool {
    inherited(py).is_ok_and(|inherited| inherited.is_nothing())
}

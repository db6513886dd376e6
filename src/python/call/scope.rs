//! What an attempt knows of itself, and what calls inside it inherit: a context variable around each step
//! of the user's code.
//!
//! It is set only where there is something to know: a node, a further attempt, or a clock. Sync attempts
//! also lend it to transports that can cut a stuck read: they learn here until when they may wait, and say
//! here that they cut one.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::base::Dice as _;
use crate::policy::limit::Priority;
use crate::policy::timeout::{Expiry, Which};
use crate::python::convert;
use crate::python::once::{Once, intern};
use crate::python::{apart, switches};
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

/// Are we inside of no scope at all?
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
fn is_scopeless(py: Python<'_>) -> bool {
    let Ok(variable) = variable(py) else { return false };
    let mut found = ptr::null_mut();
    // SAFETY: this is a live context variable, whose default is None. What is found is a new reference, or there is
    // none and an exception is set, which whoever looks again will meet again.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut found) < 0 {
            ffi::PyErr_Clear();
            return false;
        }
        ffi::Py_XDECREF(found);
        found.is_null() || found == ffi::Py_None()
    }
}

/// The scope that we are inside of.
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
fn current(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let variable = variable(py)?;
    let mut found = ptr::null_mut();
    // SAFETY: this is a live context variable; what is found is a new reference, or null.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut found) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr_or_opt(py, found))
    }
}

/// Makes a scope the current one; the token by which it [ends](leave), or null with an exception set.
///
/// # Safety
///
/// This thread is attached, and the scope is alive.
#[inline]
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub unsafe fn enter(py: Python<'_>, scope: *mut ffi::PyObject) -> *mut ffi::PyObject {
    match variable(py) {
        // SAFETY: this is a live context variable, and a live scope.
        Ok(variable) => unsafe { ffi::PyContextVar_Set(variable.as_ptr(), scope) },
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// What was current before [`enter`] is so again: in the same context, for calls end in the order in which they
/// began.
///
/// # Safety
///
/// This thread is attached, and no exception is set. The token is what `enter` gave, and is given away.
#[inline]
#[expect(unsafe_code, reason = "PyO3 has no context variables")]
pub unsafe fn leave(py: Python<'_>, token: *mut ffi::PyObject) {
    // SAFETY: this is a live context variable, and a live token of it.
    unsafe {
        if let Ok(variable) = variable(py)
            && ffi::PyContextVar_Reset(variable.as_ptr(), token) < 0
        {
            // For want of memory, or because somebody has swapped the context under us: that one is not ours.
            ffi::PyErr_WriteUnraisable(variable.as_ptr());
        }
        ffi::Py_DECREF(token);
    }
}

/// Runs `act` in a scope; none if that could not be entered. Either may leave an exception set.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the scope is alive.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
pub unsafe fn scoped<R>(py: Python<'_>, scope: *mut ffi::PyObject, act: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: by the function's own contract; the token is given back once.
    unsafe {
        let token = enter(py, scope);
        if token.is_null() {
            return None;
        }
        let result = act();
        if ffi::PyErr_Occurred().is_null() {
            leave(py, token);
        } else {
            // At interpreter shutdown there is no scope to go back to.
            let _shutting_down = apart(|py| leave(py, token));
        }
        Some(result)
    }
}

/// The context variable `holdfast._scope.current`.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: Once<Py<PyAny>> = Once::new();
    VARIABLE.import(py, "holdfast._scope", "current")
}

/// Runs `work` with `scope` as the current one, where there is a scope.
#[expect(unsafe_code, reason = "a pointer taken from a reference")]
pub fn within<R>(py: Python<'_>, scope: Option<&Py<Scope>>, work: impl FnOnce() -> R) -> PyResult<R> {
    let Some(scope) = scope else { return Ok(work()) };
    // SAFETY: this thread is attached, and a `Py` keeps its scope alive. Exceptions are values here, not set.
    unsafe { scoped(py, scope.as_ptr(), work) }.ok_or_else(|| PyErr::fetch(py))
}

/// Makes `scope` the current one; what was it before. By value, not by token: a generator may be closed in
/// another context than it was begun in.
pub fn replace(py: Python<'_>, scope: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let outer = current(py)?.map_or_else(|| py.None(), Bound::unbind);
    variable(py)?.call_method1(intern!(py, "set"), (scope,))?;
    Ok(outer)
}

//! The guarded form of a callable, as Python sees it.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::awaitable::Way;
use super::by_hand::ByHand;
use super::raw::{Body, Class, Raw, Slot, Stop, Visit, Visitor as _, arguments, body, enter, getter, method};
use super::{Callee, Colour, Hedging, Substitute, async_stream, coroutine, function, hedging, stream};
use crate::base::Rejection;
use crate::pipeline::{Plan, Target};
use crate::policy::breaker::Breaker;
use crate::python::balancer::Chooser;
use crate::python::heartbeat::Pulse;
use crate::python::judge::Judge;
use crate::python::once::{Once, intern};
use crate::python::policies::Weights;
use crate::python::switches;

/// What a guard is built from, beside its callee: shared by all guards of one pipeline or manager.
#[derive(Debug)]
pub struct Wiring {
    /// The compiled policies.
    pub plan: Arc<Plan>,
    /// How outcomes are judged.
    pub judge: Judge,
    /// The user's own back-off.
    pub backoff: Option<Py<PyAny>>,
    /// `(args, kwargs) -> str`: which of a keyed breaker's breakers.
    pub key: Option<Py<PyAny>>,
    /// What weighs a call for its rate limits.
    pub weights: Weights,
    /// `value -> None`, raising if a complete answer is not true.
    pub validate: Option<Py<PyAny>>,
    /// `() -> Governor`: decides, attempt by attempt, what of a stream is handed out and when.
    pub governor: Option<Py<PyAny>>,
    /// `StreamInterrupted -> (args, kwargs) | None`: how to go on after a stream broke.
    pub resume: Option<Py<PyAny>>,
    /// Whether one more attempt may be made beside a slow one.
    pub hedging: Option<Hedging>,
    /// Another answer, when all has failed.
    pub substitute: Option<Substitute>,
    /// The user's own balancer.
    pub balancer: Option<Chooser>,
    /// What asks a manager's nodes for signs of life.
    pub pulse: Option<Arc<Pulse>>,
    /// What is asked instead of the key's breaker while an operator holds them all.
    pub by_hand: Option<ByHand>,
}

impl Wiring {
    /// The breaker, where it is all there is.
    fn lone_breaker(&self) -> Option<&Arc<Breaker>> {
        // Every field is named, so that whoever adds one has to decide here whether it needs the machine.
        let Self {
            backoff: _,
            key: _,
            resume: _,
            by_hand: _,
            // Whoever has one has a pool.
            hedging: _,
            validate,
            governor,
            substitute,
            balancer: _,
            pulse,
            weights: _,
            plan,
            judge,
        } = self;
        if validate.is_some() || governor.is_some() || substitute.is_some() || pulse.is_some() {
            return None;
        }
        let Plan {
            retry: None,
            fallback: None,
            hedge: None,
            timeout,
            limits,
            target,
            source: _,
            exhausted: _,
            cap: _,
        } = &**plan
        else {
            return None;
        };
        match target {
            Target::Breaker(breaker) if !timeout.is_on() && limits.are_off() && judge.trusts_values() => {
                Some(breaker)
            }
            _ => None,
        }
    }

    /// Is a first attempt's answer handed on as it is, and nothing done before or after it that the plan does
    /// not tell, nor a call weighed for its limits?
    pub(super) fn hands_answers_on(&self) -> bool {
        // Every field is named, as above.
        let Self {
            plan,
            judge,
            weights,
            backoff: _,
            key: _,
            validate,
            governor: _,
            resume: _,
            substitute,
            balancer: _,
            pulse,
            by_hand,
            hedging: _,
        } = self;
        let idle = validate.is_none() && substitute.is_none() && pulse.is_none() && by_hand.is_none();
        let Plan {
            fallback: None,
            hedge: None,
            limits: _,
            retry: _,
            timeout: _,
            target: _,
            source: _,
            exhausted: _,
            cap: _,
        } = &**plan
        else {
            return false;
        };
        idle && weights.are_none() && judge.trusts_values()
    }

    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.judge.traverse(visit)?;
        visit.call(&self.backoff)?;
        visit.call(&self.key)?;
        self.weights.traverse(visit)?;
        visit.call(&self.validate)?;
        visit.call(&self.governor)?;
        if let Some(hedging) = &self.hedging {
            visit.call(hedging.half())?;
        }
        if let Some(substitute) = &self.substitute {
            visit.call(substitute.half())?;
        }
        if let Some(balancer) = &self.balancer {
            balancer.traverse(visit)?;
        }
        visit.call(&self.resume)
    }
}

/// A guarded callable, of the same colour as what it guards.
#[derive(Debug)]
pub struct Guard {
    wiring: Arc<Wiring>,
    owner: Py<PyAny>,
    pub(super) callee: Callee,
    colour: Colour,
    /// The breaker, where it is all there is.
    pub(super) lone: Option<Arc<Breaker>>,
    /// What the quick way of its coroutines has to see to.
    pub(super) way: Way,
    /// That breaker's name, once a call was refused in it.
    refuser: OnceLock<Py<PyString>>,
}

/// A guarded callable as Python has it.
pub type GuardRef = Raw<Guard>;

impl Guard {
    /// A guard of `callee` by `wiring`, which `owner` (a pipeline or manager) keeps alive.
    pub fn make(
        wiring: Arc<Wiring>,
        owner: Bound<'_, PyAny>,
        callee: Callee,
        colour: Colour,
    ) -> PyResult<GuardRef> {
        let py = owner.py();
        let lone = wiring.lone_breaker().map(Arc::clone);
        let hedged = wiring.hedging.is_some();
        let way = Way::of(&wiring.plan);
        let guard =
            Self { wiring, owner: owner.unbind(), callee, colour, lone, way, refuser: OnceLock::new() };
        let vectorcall = match colour {
            Colour::Function if hedged => hedging::function,
            Colour::Coroutine if hedged => hedging::coroutine,
            Colour::Function => function::vectorcall(&guard),
            Colour::Coroutine => coroutine::vectorcall(py, &guard),
            Colour::Generator => stream::vectorcall,
            Colour::AsyncGenerator => async_stream::vectorcall,
        };
        Raw::new(py, guard, Some(vectorcall))
    }

    pub(super) fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    pub(super) const fn callee(&self) -> &Callee {
        &self.callee
    }

    /// A manager's heartbeat begins with its first call, and again with the first one in a forked child.
    pub(super) fn keep_beating(&self) -> PyResult<()> {
        let pulse = self.wiring.pulse.as_ref().filter(|_| !switches::is_inactive());
        pulse.map_or(Ok(()), |pulse| pulse.ensure())
    }

    /// The breaker, where it is all there is: then a call that goes well may pass by the inline doors.
    pub(super) const fn lone_breaker(&self) -> Option<&Arc<Breaker>> {
        self.lone.as_ref()
    }

    /// The name of the breaker that has refused a call of this guard with a lone breaker.
    pub(super) fn refuser<'py>(&self, py: Python<'py>, rejection: &Rejection) -> &Bound<'py, PyString> {
        if let Some(name) = self.refuser.get() {
            return name.bind(py);
        }
        // Made before it is offered: whoever waited for another's to be made would wait attached.
        let name = PyString::new(py, rejection.source.name()).unbind();
        self.refuser.get_or_init(|| name).bind(py)
    }

    /// The plan for a call that begins now.
    pub(super) fn plan(&self) -> Arc<Plan> {
        switches::plan_for(match &self.wiring.by_hand {
            Some(by_hand) if by_hand.whole.state().is_manual() => &by_hand.plan,
            _ => &self.wiring.plan,
        })
    }
}

impl Body for Guard {
    const NAME: &'static CStr = c"holdfast._native.Guard";
    const DOC: &'static CStr = c"A guarded callable, of the same colour as what it guards.";
    const CALLABLE: bool = true;

    fn class() -> &'static Class {
        static CLASS: Class = Class::new(0);
        &CLASS
    }

    #[expect(unsafe_code, reason = "slots are pointers of any kind")]
    fn slots() -> Vec<Slot> {
        let methods = [method::<Self, _>(
            c"__reduce__",
            c"Pickles and copies by qualified name, as a function does.",
            |this, _, _| Ok(this.getattr(intern!(this.py(), "__qualname__"))?.unbind()),
        )];
        let getters = [
            ffi::PyGetSetDef {
                name: c"__dict__".as_ptr(),
                get: Some(ffi::PyObject_GenericGetDict),
                set: Some(ffi::PyObject_GenericSetDict),
                doc: ptr::null(),
                closure: ptr::null_mut(),
            },
            getter(
                c"pipeline",
                c"The pipeline or manager whose policies guard this callable.",
                |py, guard: &Raw<Self>| Ok(guard.get().owner.clone_ref(py)),
            ),
            getter(
                c"colour",
                c"How its answer is given: \"function\", \"coroutine\", \"generator\" or \"async_generator\".",
                |py, guard: &Raw<Self>| Ok(PyString::intern(py, guard.get().colour.as_str()).into_any().unbind()),
            ),
            getter(c"breaker", c"The breaker, or `None`.", |py, guard: &Raw<Self>| {
                guard.get().owner.getattr(py, intern!(py, "breaker"))
            }),
            getter(
                c"metrics",
                c"The breaker's metrics, or `None`; a manager's own for a manager's guards.",
                |py, guard: &Raw<Self>| guard.get().owner.getattr(py, intern!(py, "metrics")),
            ),
        ];
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_tp_descr_get, bind as *mut c_void),
                Slot::new(ffi::Py_tp_getattro, attribute as *mut c_void),
                Slot::new(ffi::Py_tp_repr, repr as *mut c_void),
            ]
        };
        functions.into_iter().chain([Slot::methods(methods), Slot::getters(getters)]).collect()
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop> {
        visit.call(&self.owner)?;
        self.callee.traverse(visit)
    }
}

/// Binds as a method, as a function would: `tp_descr_get`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn bind(
    guard: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _owner: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    static METHOD: Once<Py<PyAny>> = Once::new();
    // SAFETY: Python binds attached, with live objects; no instance is null or None.
    unsafe {
        if instance.is_null() || instance == ffi::Py_None() {
            ffi::Py_INCREF(guard);
            return guard;
        }
        if let Some(method) = METHOD.get() {
            let args = [guard, instance];
            return ffi::PyObject_Vectorcall(method.as_ptr(), args.as_ptr(), 2, ptr::null_mut());
        }
        enter(|py| {
            let method = METHOD.import(py, "types", "MethodType")?;
            let args = [guard, instance].map(|object| Bound::from_borrowed_ptr(py, object));
            Ok(method.call1((&args[0], &args[1]))?.unbind())
        })
    }
}

/// What introspection asks of a function is answered by the guarded one: `tp_getattro`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn attribute(guard: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    const FORWARDED: [&str; 6] =
        ["__code__", "__defaults__", "__kwdefaults__", "__annotations__", "__name__", "__globals__"];
    // SAFETY: Python reads an attribute attached, of a live object of our type, by a live name.
    unsafe {
        let found = ffi::PyObject_GenericGetAttr(guard, name);
        if !found.is_null() || ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) == 0 {
            return found;
        }
        enter(|py| {
            let missing = PyErr::fetch(py);
            let name = Bound::from_borrowed_ptr(py, name).cast_into::<PyString>()?;
            match body::<Guard>(guard).callee.function() {
                Some(function) if FORWARDED.contains(&name.to_str()?) => function.getattr(py, name),
                _ => Err(missing),
            }
        })
    }
}

/// `tp_repr`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn repr(guard: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python asks attached, for a live object of our type.
    unsafe {
        enter(|py| {
            let guard = Bound::from_borrowed_ptr(py, guard);
            let name = guard.getattr("__qualname__").map_or_else(|_| "call".into(), |name| name.to_string());
            let text = PyString::new(py, &format!("<holdfast guard of {name}>"));
            Ok(text.into_any().unbind())
        })
    }
}

/// A call with its arguments as a tuple and a dict.
type Packed = fn(&GuardRef, Bound<'_, PyTuple>, Option<Bound<'_, PyDict>>) -> PyResult<Py<PyAny>>;

/// The way of a call that needs its arguments as a tuple and a dict.
///
/// # Safety
///
/// The arguments are those of a vectorcall of a guard.
#[expect(unsafe_code, reason = "vectorcall hands over raw pointers")]
pub(super) unsafe fn packed(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
    act: Packed,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls attached, and by the function's own contract.
    unsafe {
        enter(|py| {
            let (args, kwargs) = arguments(py, args, nargsf, names)?;
            act(&Raw::from_borrowed(py, guard), args, kwargs)
        })
    }
}

//! The driver of async generators: an async iterator around the user's.
//!
//! As with plain generators, a failure before the first item moves on to another attempt, after it nothing
//! is tried again (A7), and closing early is neutral. Our clocks run only while somebody waits for an item.
//!
//! ```text
//!            the first item is handed out              an item comes: nothing of ours is touched
//!   shut ─────────────────────────────────────▶ open ◀───────────────────────────────────────── passing
//!    ▲                                           │  └────────────── a step begins ───────────────▶ │ │
//!    └── asend, athrow, aclose: by the machine ──┘                                                 │ │
//!    └──────────── it ends or fails, is thrown into, or has to wait while a clock is set ──────────┘ ▼
//! ```
//!
//! An item that none of our policies would look at passes through a *lane*, as in a plain generator's
//! `stream.rs`: a step asks the user's iterator itself, and leaves the machine's state where it is. Everything
//! else is the machine's.
//!
//! | file | what |
//! |---|---|
//! | `step` | the awaitable of one step, as Python has it |
//! | `lane` | its steps, where the item passes through |
//! | `methods` | what Python code sees of a step |
//! | `machine` | one step by the machine |
//! | `state` | where a step is |
//! | `closing` | the end of a stream that nobody asks any further |
//! | `hooks` | what a loop is told, so that it closes what is left half-read |

mod closing;
mod hooks;
mod lane;
mod machine;
mod methods;
mod state;
mod step;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

pub use self::step::StreamStep;

use self::step::Kind;
use super::flow::Flow;
use super::guard::{GuardRef, packed};
use super::raw::{Body, Class, Raw, Slot, Stop, Visit, Visitor, body, enter, getter, method};
use super::resume::Input;
use super::under_way::Call;
use crate::base::Time;
use crate::policy::timeout::Phase;

/// Every step needs the machine, or one is under way there.
const SHUT: u8 = 0;
/// The next item may pass through.
const OPEN: u8 = 1;
/// A step is under way in the lane.
const PASSING: u8 = 2;

/// A guarded async generator.
#[derive(Debug)]
pub struct AsyncStream {
    lane: AtomicU8,
    /// Has the loop been told of it?
    told: AtomicBool,
    /// Does a clock run while somebody waits for the next item?
    clocked: AtomicBool,
    /// The user's iterator, borrowed from the state while the lane is not shut.
    source: AtomicPtr<ffi::PyObject>,
    /// The attempt's scope, likewise; null without one.
    scope: AtomicPtr<ffi::PyObject>,
    guard: GuardRef,
    shared: Mutex<Shared>,
}

/// What the steps of one stream share; taken out while the machine makes one.
#[derive(Debug)]
pub(super) enum Shared {
    New(Call),
    Open(Run),
    /// The answer was whole: what had been held back is handed out.
    Ending(Flow, Option<PyErr>),
    /// What stands in our place: the fallback's items, or what was held back while the answer is kept.
    Instead(Py<PyAny>),
    /// A step is under way.
    Busy,
    Done,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) call: Call,
    pub(super) source: Py<PyAny>,
    pub(super) flow: Flow,
    /// Has the user's iterator been asked for anything?
    pub(super) asked: bool,
    /// Has anything been handed out?
    pub(super) begun: bool,
    /// Since when this step waits for the user's iterator.
    pub(super) since: Time,
}

/// What is asked of the user's iterator.
#[derive(Debug)]
pub(super) enum Request {
    Next,
    Send(Py<PyAny>),
    Throw(Py<PyAny>),
    Close,
}

/// What a step in the lane works with, as long as it is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    source: *mut ffi::PyObject,
    scope: *mut ffi::PyObject,
    clocked: bool,
}

/// How Python calls a guard of this colour.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn vectorcall(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, call) }
}

/// Makes the guarded async generator; nothing runs before its first step.
fn call(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let call = Call::new(guard.clone_ref(py), args.unbind(), kwargs.map(Bound::unbind));
    let stream = AsyncStream {
        lane: AtomicU8::new(SHUT),
        told: AtomicBool::new(false),
        clocked: AtomicBool::new(false),
        source: AtomicPtr::new(ptr::null_mut()),
        scope: AtomicPtr::new(ptr::null_mut()),
        guard: guard.clone_ref(py),
        shared: Mutex::new(Shared::New(call)),
    };
    Ok(Raw::new(py, stream, None)?.into_any())
}

impl Run {
    /// Would the next item pass through without anything of ours looking at it?
    fn passes(&self) -> bool {
        self.begun && self.flow.passes() && self.call.passes_on()
    }

    pub(super) fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        self.call.traverse(visit)?;
        self.flow.traverse(visit)?;
        visit.call(&self.source)
    }
}

impl AsyncStream {
    /// Begins a step in the lane, if that is open. What it is given is borrowed from the state, which nobody
    /// touches before the lane is left.
    #[inline]
    fn enter_lane(&self) -> Option<Lane> {
        // Under the GIL nobody can come between.
        #[cfg(not(Py_GIL_DISABLED))]
        {
            if self.lane.load(Ordering::Relaxed) != OPEN {
                return None;
            }
            self.lane.store(PASSING, Ordering::Relaxed);
        }
        #[cfg(Py_GIL_DISABLED)]
        self.lane.compare_exchange(OPEN, PASSING, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(self.lane())
    }

    /// What the step that is under way in the lane works with.
    #[inline]
    fn lane(&self) -> Lane {
        Lane {
            source: self.source.load(Ordering::Relaxed),
            scope: self.scope.load(Ordering::Relaxed),
            clocked: self.clocked.load(Ordering::Relaxed),
        }
    }

    /// The item has come: the next step may begin.
    #[inline]
    fn leave_lane(&self) {
        self.lane.store(OPEN, Ordering::Release);
    }

    /// Takes the state, for a step by the machine; none while another one is under way.
    fn take(&self) -> Option<Shared> {
        // Lane and state change together under the lock: a lane is never open without its state.
        let mut place = self.shared.lock();
        if self.lane.load(Ordering::Relaxed) != SHUT {
            self.lane.compare_exchange(OPEN, SHUT, Ordering::Acquire, Ordering::Relaxed).ok()?;
        }
        match std::mem::replace(&mut *place, Shared::Busy) {
            Shared::Busy => None,
            shared => Some(shared),
        }
    }

    /// The step that is under way in the lane goes on by the machine.
    fn take_passing(&self) -> Option<Run> {
        let mut place = self.shared.lock();
        let taken = std::mem::replace(&mut *place, Shared::Busy);
        self.lane.store(SHUT, Ordering::Release);
        match taken {
            Shared::Open(run) => Some(run),
            _ => None,
        }
    }

    /// Puts the state back, and opens the lane where that will do for the next item.
    fn put(&self, mut shared: Shared) {
        let mut lane = SHUT;
        if let Shared::Open(run) = &mut shared
            && run.passes()
        {
            let since = run.since;
            let clocked = run.call.execution().is_some_and(|e| e.binding(Phase::NextItem, since).is_some());
            self.clocked.store(clocked, Ordering::Relaxed);
            self.source.store(run.source.as_ptr(), Ordering::Relaxed);
            self.scope.store(run.call.scope_pointer(), Ordering::Relaxed);
            lane = OPEN;
        }
        let mut place = self.shared.lock();
        *place = shared;
        self.lane.store(lane, Ordering::Release);
    }

    fn is_running(&self) -> bool {
        self.lane.load(Ordering::Relaxed) == PASSING || matches!(*self.shared.lock(), Shared::Busy)
    }

    /// The awaitable of a request. The loop is told of the stream before its first one.
    fn request(py: Python<'_>, stream: &Raw<Self>, request: Request) -> PyResult<Py<PyAny>> {
        Self::tell(py, stream)?;
        let step = StreamStep::new(stream.clone_ref(py), request);
        Ok(Raw::new(py, step, None)?.into_any())
    }

    fn tell(py: Python<'_>, stream: &Raw<Self>) -> PyResult<()> {
        if stream.get().told.swap(true, Ordering::Relaxed) { Ok(()) } else { hooks::tell(stream.bind(py)) }
    }
}

/// `am_anext`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn anext(stream: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python asks attached, for a live object of our type.
    unsafe {
        if body::<AsyncStream>(stream).told.load(Ordering::Relaxed) {
            return step::next_of(stream);
        }
        enter(|py| AsyncStream::request(py, &Raw::from_borrowed(py, stream), Request::Next))
    }
}

impl Body for AsyncStream {
    const NAME: &'static CStr = c"holdfast._native.GuardedAsyncGenerator";
    const DOC: &'static CStr = c"A guarded async generator.";
    const KEPT: bool = true;

    fn class() -> &'static Class {
        static CLASS: Class = Class::new(3);
        &CLASS
    }

    #[expect(unsafe_code, reason = "slots are pointers of any kind")]
    fn slots() -> Vec<Slot> {
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_am_aiter, ffi::PyObject_SelfIter as *mut c_void),
                Slot::new(ffi::Py_am_anext, anext as *mut c_void),
            ]
        };
        functions.into_iter().chain([Slot::methods(asking()), Slot::getters(getters())]).collect()
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop> {
        visit.call(self.guard.as_any())?;
        let Some(shared) = self.shared.try_lock() else { return Ok(()) };
        match &*shared {
            Shared::New(call) => call.traverse(visit),
            Shared::Open(run) => run.traverse(visit),
            Shared::Ending(flow, _) => flow.traverse(visit),
            Shared::Instead(source) => visit.call(source),
            Shared::Busy | Shared::Done => Ok(()),
        }
    }
}

fn asking() -> [ffi::PyMethodDef; 3] {
    [
        method::<AsyncStream, _>(
            c"asend",
            c"Sends a value into the generator, as `agen.asend` does.",
            |this, stream, given| match given {
                [value] => AsyncStream::request(this.py(), stream, Request::Send(value.clone().unbind())),
                _ => Err(PyTypeError::new_err("asend() takes exactly one argument")),
            },
        ),
        method::<AsyncStream, _>(
            c"athrow",
            c"Raises an exception inside the generator, as `agen.athrow` does.",
            |this, stream, given| {
                let py = this.py();
                let Some(kind) = given.first().filter(|_| given.len() <= 3) else {
                    return Err(PyTypeError::new_err("athrow() takes from 1 to 3 arguments"));
                };
                let thrown = Input::thrown(kind.clone(), given.get(1).cloned(), given.get(2).cloned())?;
                AsyncStream::request(py, stream, Request::from_thrown(py, thrown))
            },
        ),
        method::<AsyncStream, _>(
            c"aclose",
            c"Closes the generator: neutral for every policy.",
            |this, stream, given| match given {
                [] => AsyncStream::request(this.py(), stream, Request::Close),
                _ => Err(PyTypeError::new_err("aclose() takes no arguments")),
            },
        ),
    ]
}

fn getters() -> [ffi::PyGetSetDef; 3] {
    type This = Raw<AsyncStream>;
    [
        getter(c"__name__", c"The function's name.", |py, this: &This| {
            this.get().guard.as_any().getattr(py, "__name__")
        }),
        getter(c"__qualname__", c"The function's qualified name.", |py, this: &This| {
            this.get().guard.as_any().getattr(py, "__qualname__")
        }),
        getter(c"ag_running", c"Is a step under way?", |py, this: &This| {
            Ok(this.get().is_running().into_pyobject(py)?.to_owned().into_any().unbind())
        }),
    ]
}

impl Request {
    fn from_thrown(py: Python<'_>, thrown: Input<'_>) -> Self {
        match thrown {
            Input::Throw(error) => Self::Throw(error.into_value(py).into_any()),
            Input::Send(value) => Self::Send(value.unbind()),
        }
    }

    /// What it is called where it is refused.
    const fn kind(&self) -> Kind {
        match self {
            Self::Next | Self::Send(_) => Kind::Next,
            Self::Throw(_) => Kind::Throw,
            Self::Close => Kind::Close,
        }
    }
}

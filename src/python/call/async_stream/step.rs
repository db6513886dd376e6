//! One step of a guarded async generator: the awaitable of its `__anext__`, `asend`, `athrow` and `aclose`.
//!
//! ```text
//!            the lane is open
//!   fresh ─────────────────────▶ passing ── the item comes, and goes on as it is ──▶ spent
//!     │                             │ the user's iterator ends or fails, a clock       ▲
//!     └─ another request, or        ▼ must be set, or something is thrown in           │
//!        the lane is shut ──▶ machine ─────────────────────────────────────────────────┘
//! ```

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::lane::advance;
use super::state::{Outcome, StepState, Turn};
use super::{AsyncStream, Request, methods};
use crate::base::Time;
use crate::python::apart;
use crate::python::call::raw::{Body, Class, Raw, Slot, Stop, Visit, body, enter, raise_stop, take_back};
use crate::python::call::resume::unmistakable;

/// Asked for the next item, and not awaited yet.
pub(super) const FRESH: u8 = 0;
/// In the lane: the user's awaitable waits for something.
pub(super) const PASSING: u8 = 1;
/// Carried by the machine, or about to be.
const MACHINE: u8 = 2;
/// Over.
pub(super) const SPENT: u8 = 3;
/// It runs right now.
pub(super) const BUSY: u8 = 4;

/// The awaitable of one step.
#[derive(Debug)]
pub struct StreamStep {
    phase: AtomicU8,
    pub(super) kind: Kind,
    /// Its parts, which belong to whoever has made it busy.
    pub(super) inside: UnsafeCell<Inside>,
}

/// What was asked for, for the words of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Next,
    Throw,
    Close,
}

/// What a step holds: plain pointers, owned, null for nothing.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) stream: *mut ffi::PyObject,
    /// The user's awaitable, in the lane.
    pub(super) inner: *mut ffi::PyObject,
    /// The exception that carried the item out.
    stop: *mut ffi::PyObject,
    /// A boxed [`StepState`].
    machine: *mut StepState,
    /// Since when we wait, where a clock asks for that.
    pub(super) since: Time,
}

/// What a step gives to whoever makes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It waits for this.
    Waits,
    /// It ends with this.
    Returned,
    /// It ends with the value of a `StopIteration` that is set.
    Stopped,
    /// An exception is set.
    Raised,
}

#[expect(unsafe_code, reason = "plain pointers")]
// SAFETY: the pointers are owned references to Python objects and a box of what is `Send`; whoever follows them
// is attached and has made the step busy, or is the collector, for which everybody else stands still.
unsafe impl Send for StreamStep {}

/// The awaitable of the next item; null with an exception set.
///
/// # Safety
///
/// This thread is attached, and `stream` is a live object of [`AsyncStream`]'s type.
#[inline]
#[expect(unsafe_code, reason = "pointers for C")]
pub(super) unsafe fn next_of(stream: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract; the new reference belongs to the step, and is given up where there
    // is none.
    unsafe {
        ffi::Py_INCREF(stream);
        let py = Python::assume_attached();
        match Raw::new(py, StreamStep::holding(stream, FRESH, Kind::Next, ptr::null_mut()), None) {
            Ok(step) => step.into_any().into_ptr(),
            Err(error) => {
                ffi::Py_DECREF(stream);
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

impl StreamStep {
    /// A step of `stream`, not awaited yet.
    pub(super) fn new(stream: Raw<AsyncStream>, request: Request) -> Self {
        let kind = request.kind();
        let machine = Box::into_raw(Box::new(StepState::New(request)));
        Self::holding(stream.into_any().into_ptr(), MACHINE, kind, machine)
    }

    #[inline]
    const fn holding(stream: *mut ffi::PyObject, phase: u8, kind: Kind, machine: *mut StepState) -> Self {
        let (inner, stop) = (ptr::null_mut(), ptr::null_mut());
        let inside = Inside { stream, inner, stop, machine, since: Time::ZERO };
        Self { phase: AtomicU8::new(phase), kind, inside: UnsafeCell::new(inside) }
    }

    /// Makes it busy; what it was.
    #[inline]
    pub(super) fn claim(&self) -> u8 {
        if cfg!(Py_GIL_DISABLED) {
            return self.phase.swap(BUSY, Ordering::Acquire);
        }
        // Under the GIL nobody comes in between.
        let was = self.phase.load(Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
        was
    }

    /// Puts it into a phase; it is not busy any more.
    #[inline]
    pub(super) fn leave(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
    }

    /// Its stream.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub(super) fn stream(&self) -> &AsyncStream {
        // SAFETY: `stream` is an owned reference to an async stream, and never changes.
        unsafe { body((*self.inside.get()).stream) }
    }

    /// One step by the machine, or into it.
    ///
    /// # Safety
    ///
    /// This thread is attached and has made the step busy.
    #[cold]
    #[expect(unsafe_code, reason = "results for C")]
    pub(super) unsafe fn turn(
        &self,
        result: *mut *mut ffi::PyObject,
        act: impl FnOnce(Python<'_>, &AsyncStream, &mut Inside) -> Turn,
    ) -> Given {
        let inside = self.inside.get();
        let mut given = Given::Raised;
        // SAFETY: the inside belongs to whoever has made the step busy. `result` is where the answer is wanted.
        unsafe {
            *result = enter(|py| match act(py, self.stream(), &mut *inside) {
                Turn::Wait(state, on) => {
                    (*inside).machine = Box::into_raw(Box::new(state));
                    given = Given::Waits;
                    Ok(on)
                }
                Turn::Over(shared, outcome) => {
                    self.stream().put(shared);
                    match outcome {
                        Ok(Outcome::Item(item)) => {
                            given = Given::Returned;
                            Ok(item)
                        }
                        Ok(Outcome::End) => Err(PyStopAsyncIteration::new_err(())),
                        Err(error) => Err(unmistakable(py, error, "async generator")),
                    }
                }
                Turn::Refused(error) => Err(error),
            });
            self.leave(if (*inside).machine.is_null() { SPENT } else { MACHINE });
        }
        given
    }

    /// What the machine goes on with. The step is busy.
    #[expect(unsafe_code, reason = "a box comes back from its pointer")]
    pub(super) fn state(
        py: Python<'_>,
        phase: u8,
        stream: &AsyncStream,
        inside: &mut Inside,
    ) -> Option<StepState> {
        match phase {
            FRESH => Some(StepState::New(Request::Next)),
            PASSING => {
                let run = stream.take_passing()?;
                Some(StepState::Waiting { run, inner: taken(py, &mut inside.inner)?, alarm: None })
            }
            _ => {
                let machine = std::mem::replace(&mut inside.machine, ptr::null_mut());
                // SAFETY: it is null, or a box that `new` or `turn` made, and it has just been taken out.
                (!machine.is_null()).then(|| *unsafe { Box::from_raw(machine) })
            }
        }
    }
}

/// Takes an owned reference out.
#[expect(unsafe_code, reason = "a pointer becomes a reference")]
pub(super) fn taken(py: Python<'_>, place: &mut *mut ffi::PyObject) -> Option<Py<PyAny>> {
    let taken = std::mem::replace(place, ptr::null_mut());
    // SAFETY: what lies in a place is an owned reference or null, and it has just been taken out of it.
    unsafe { Bound::from_owned_ptr_or_opt(py, taken) }.map(Bound::unbind)
}

/// `am_send`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn send(
    this: *mut ffi::PyObject,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: Python resumes a live step attached, with a live argument.
    match unsafe { advance::<false>(body(this), arg, result) } {
        Given::Waits => ffi::PySendResult::PYGEN_NEXT,
        Given::Returned => ffi::PySendResult::PYGEN_RETURN,
        // Nobody who is asked so leaves it at a `StopIteration`.
        Given::Stopped | Given::Raised => ffi::PySendResult::PYGEN_ERROR,
    }
}

/// `tp_iternext`: the way of `await` from CPython 3.12 on. There the `StopIteration` that the user's generator makes
/// around its item goes on as it is: to take it apart and make another costs more than all the rest.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn iternext(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as for `send`; what it gives is a new reference. Nothing set with null is how iterators stop. The
    // place of the exception is ours: this is what has ended the step.
    unsafe {
        let step = body::<StreamStep>(this);
        let mut value = ptr::null_mut();
        match advance::<true>(step, ffi::Py_None(), &raw mut value) {
            Given::Waits => value,
            Given::Stopped | Given::Raised => ptr::null_mut(),
            Given::Returned => {
                if value == ffi::Py_None() {
                    ffi::Py_DECREF(value);
                } else {
                    (*step.inside.get()).stop = raise_stop(Python::assume_attached(), value);
                }
                ptr::null_mut()
            }
        }
    }
}

impl Body for StreamStep {
    const NAME: &'static CStr = c"holdfast._native.GuardedStep";
    const DOC: &'static CStr = c"One step of a guarded async generator.";
    const KEPT: bool = true;

    fn class() -> &'static Class {
        static CLASS: Class = Class::new(4);
        &CLASS
    }

    #[expect(unsafe_code, reason = "slots are pointers of any kind")]
    fn slots() -> Vec<Slot> {
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_am_await, ffi::PyObject_SelfIter as *mut c_void),
                Slot::new(ffi::Py_am_send, send as *mut c_void),
                Slot::new(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
                Slot::new(ffi::Py_tp_iternext, iternext as *mut c_void),
            ]
        };
        functions.into_iter().chain([Slot::methods(methods::methods())]).collect()
    }

    #[expect(unsafe_code, reason = "pointers are shown")]
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop> {
        let busy = self.phase.load(Ordering::Acquire) == BUSY;
        // SAFETY: the stream never changes. The rest belongs to whoever makes the step right now; if nobody does,
        // nobody changes it while the collector looks. A reference that is not shown is taken for one from outside.
        unsafe {
            let inside = self.inside.get();
            visit.pointer((*inside).stream)?;
            if busy {
                return Ok(());
            }
            visit.pointer((*inside).inner)?;
            (*inside).machine.as_ref().map_or(Ok(()), |state| state.traverse(visit))
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "references are given up")]
    fn release(&mut self, py: Python<'_>) {
        let passing = *self.phase.get_mut() == PASSING;
        let inside = self.inside.get_mut();
        if passing || !inside.machine.is_null() {
            dropped(inside, passing);
        }
        // SAFETY: these are owned references, given up once.
        unsafe {
            if !inside.stop.is_null() {
                take_back(py, inside.stop);
            }
            ffi::Py_XDECREF(inside.inner);
            ffi::Py_DECREF(inside.stream);
        }
    }
}

/// Nobody will go on with it: what it holds goes back.
#[cold]
#[expect(unsafe_code, reason = "a box comes back from its pointer")]
fn dropped(inside: &mut Inside, passing: bool) {
    // SAFETY: the stream is owned by what is being dropped.
    let stream = unsafe { body::<AsyncStream>(inside.stream) };
    let run = if passing { stream.take_passing() } else { None };
    let machine = std::mem::replace(&mut inside.machine, ptr::null_mut());
    // SAFETY: it is null, or a box of ours that nobody else has any more.
    let state = (!machine.is_null()).then(|| unsafe { Box::from_raw(machine) });
    // At interpreter shutdown what is dropped ends with the process.
    let _shutting_down = apart(|_| drop((run, state)));
}

pub(super) fn executing() -> PyErr {
    PyValueError::new_err("async generator already executing")
}

impl Kind {
    /// How a step that is over refuses to be made again.
    pub(super) const fn spent(self) -> &'static str {
        match self {
            Self::Next => "cannot reuse already awaited __anext__()/asend()",
            Self::Throw | Self::Close => "cannot reuse already awaited aclose()/athrow()",
        }
    }

    /// How one is refused while another is under way.
    pub(super) const fn meanwhile(self) -> &'static str {
        match self {
            Self::Next => "anext(): asynchronous generator is already running",
            Self::Throw => "athrow(): asynchronous generator is already running",
            Self::Close => "aclose(): asynchronous generator is already running",
        }
    }
}

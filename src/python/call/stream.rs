//! A guarded generator as Python has it.
//!
//! An item that none of our policies would look at passes through a *lane*: it is fetched from the user's
//! iterator by Python's own call, and the state of the machine in `generator` is not touched.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::generator::{Progress, State, Turn, advance, close, drive, judge};
use super::guard::{GuardRef, packed};
use super::raw::{Body, Class, Raw, Slot, Stop, Visit, Visitor as _, body, enter, method};
use super::resume::{Input, Resumed, stopped, unmistakable};
use super::under_way::Call;

/// The lane of a stream that needs the machine at each step, or is being stepped by it.
const SHUT: usize = 0;
/// Its item is being fetched right now.
const PASSING: usize = 1;

/// A guarded generator.
#[derive(Debug)]
pub struct Stream {
    /// The user's iterator, where the next item may pass through; else [`SHUT`] or [`PASSING`].
    lane: AtomicUsize,
    /// Empty while a step runs: a second one meanwhile is refused, as a generator refuses it.
    state: Mutex<Option<State>>,
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

/// Makes the guarded generator; nothing runs before its first step.
fn call(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let call = Call::new(guard.clone_ref(py), args.unbind(), kwargs.map(Bound::unbind));
    let stream = Stream { lane: AtomicUsize::new(SHUT), state: Mutex::new(Some(State::New(call))) };
    Ok(Raw::new(py, stream, None)?.into_any())
}

impl Stream {
    /// What the user's iterator gives, where nothing of ours would look at it. The iterator is borrowed from the
    /// state, which nobody touches while the lane says that an item is being fetched.
    #[inline]
    fn enter_lane(&self) -> Option<*mut ffi::PyObject> {
        let open = self.lane.load(Ordering::Relaxed);
        if open == SHUT || open == PASSING {
            return None;
        }
        // Under the GIL nobody can come between.
        #[cfg(not(Py_GIL_DISABLED))]
        self.lane.store(PASSING, Ordering::Relaxed);
        #[cfg(Py_GIL_DISABLED)]
        self.lane.compare_exchange(open, PASSING, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(ptr::with_exposed_provenance_mut(open))
    }

    /// The item has come: the next one may be fetched.
    #[inline]
    fn leave_lane(&self, inner: *mut ffi::PyObject) {
        self.lane.store(inner.expose_provenance(), Ordering::Release);
    }

    /// Takes the state, for a step by the machine. A step meanwhile is refused, as a generator refuses it.
    fn take(&self) -> PyResult<State> {
        let executing = || PyValueError::new_err("generator already executing");
        // Lane and state change together under the lock: a lane is never open without its state.
        let mut place = self.state.lock();
        let open = self.lane.load(Ordering::Relaxed);
        let free = open != PASSING
            && self.lane.compare_exchange(open, SHUT, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !free {
            return Err(executing());
        }
        place.take().ok_or_else(executing)
    }

    /// Puts the state back, and opens the lane where that will do for the next item.
    fn put(&self, state: State) {
        let open = match &state {
            State::Running(run) if run.passes() => run.inner.as_ptr().expose_provenance(),
            _ => SHUT,
        };
        let mut place = self.state.lock();
        *place = Some(state);
        self.lane.store(open, Ordering::Release);
    }

    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Py<PyAny>> {
        let state = self.take()?;
        self.outcome(py, advance(py, state, input))
    }

    /// The user's iterator has ended in the lane, well or not.
    fn ended(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let resumed = match PyErr::take(py) {
            None => Resumed::Returned(py.None().into_bound(py)),
            Some(error) => stopped(py, error),
        };
        let taken = self.state.lock().take();
        let Some(State::Running(run)) = taken else {
            // The lane is open while it runs only; without a stream there is nothing to end.
            self.lane.store(SHUT, Ordering::Release);
            return Err(PyStopIteration::new_err(()));
        };
        self.outcome(py, drive(py, judge(py, run, resumed)))
    }

    fn outcome(&self, py: Python<'_>, (state, result): Turn) -> PyResult<Py<PyAny>> {
        self.put(state);
        match result {
            Ok(Progress::Item(item)) => Ok(item),
            Ok(Progress::End(value)) => Err(PyStopIteration::new_err((value,))),
            Err(error) => Err(unmistakable(py, error, "generator")),
        }
    }

    /// Closes the generator: neutral for every policy.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let state = self.take()?;
        let closed = match &state {
            State::Running(run) => run.call.within(py, || close(run.inner.bind(py))).flatten(),
            State::Instead(inner) => close(inner.bind(py)),
            State::New(_) | State::Ending(..) | State::Done => Ok(()),
        };
        drop(state);
        self.put(State::Done);
        closed.map(|()| py.None())
    }
}

impl Body for Stream {
    const NAME: &'static CStr = c"holdfast._native.GuardedGenerator";
    const DOC: &'static CStr = c"A guarded generator.";
    const KEPT: bool = true;

    fn class() -> &'static Class {
        static CLASS: Class = Class::new(2);
        &CLASS
    }

    #[expect(unsafe_code, reason = "slots are pointers of any kind")]
    fn slots() -> Vec<Slot> {
        let methods = [
            method::<Self, _>(
                c"send",
                c"Sends a value into the generator, as `generator.send` does.",
                |this, stream, args| match args {
                    [value] => stream.get().step(this.py(), Input::Send(value.clone())),
                    _ => Err(PyTypeError::new_err("send() takes exactly one argument")),
                },
            ),
            method::<Self, _>(
                c"throw",
                c"Raises an exception inside the generator, as `generator.throw` does.",
                |this, stream, args| {
                    let [typ, rest @ ..] = args else {
                        return Err(PyTypeError::new_err("throw() takes one to three arguments"));
                    };
                    if rest.len() > 2 {
                        return Err(PyTypeError::new_err("throw() takes one to three arguments"));
                    }
                    let input = Input::thrown(typ.clone(), rest.first().cloned(), rest.get(1).cloned())?;
                    stream.get().step(this.py(), input)
                },
            ),
            method::<Self, _>(
                c"close",
                c"Closes the generator: neutral for every policy.",
                |this, stream, args| match args {
                    [] => stream.get().close(this.py()),
                    _ => Err(PyTypeError::new_err("close() takes no arguments")),
                },
            ),
        ];
        // SAFETY: each is a function with the signature that its slot asks for.
        let functions = unsafe {
            [
                Slot::new(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
                Slot::new(ffi::Py_tp_iternext, next as *mut c_void),
            ]
        };
        functions.into_iter().chain([Slot::methods(methods)]).collect()
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop> {
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &*state {
            Some(State::New(call)) => call.traverse(visit),
            Some(State::Running(run)) => {
                run.call.traverse(visit)?;
                run.flow.traverse(visit)?;
                visit.call(&run.inner)
            }
            Some(State::Ending(flow, _)) => flow.traverse(visit),
            Some(State::Instead(inner)) => visit.call(inner),
            Some(State::Done) | None => Ok(()),
        }
    }
}

/// `tp_iternext`.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn next(stream: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python asks for an item attached, and keeps the stream alive meanwhile. The lane gives the live
    // iterator of a running state, which stays where it is until the lane is left; `begin` has checked that it
    // is an iterator. What that gives is ours to give: an item, or null, with an exception set or at its end.
    unsafe {
        let body = body::<Stream>(stream);
        let Some(inner) = body.enter_lane() else {
            return enter(|py| body.step(py, Input::none(py)));
        };
        let item = match (*ffi::Py_TYPE(inner)).tp_iternext {
            Some(next) => next(inner),
            None => ptr::null_mut(),
        };
        if item.is_null() {
            return enter(|py| body.ended(py));
        }
        body.leave_lane(inner);
        item
    }
}

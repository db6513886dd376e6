//! A first attempt of a plain function past the inline doors of its limits and its breaker.
//!
//! ```text
//!   the doors ─▶ the call, in its scope ─┬─ answered in time ─ settled by the doors ─▶
//!      │ no                              └─ raised, or late ─▶ the machine, in the midst of the call
//!      └─▶ the machine, from the start
//! ```
//!
//! Most calls are answered at the first attempt, and need nothing of the machine. It is made when there is
//! something to decide, and is told what the attempt has taken.

use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::function::{BY_TICKS, EXACT, NO_TIME, machine, present, recorded, settle};
use super::guard::Guard;
use super::raised::Raised;
use super::raw::{Raw, arguments, body, enter, pass_on};
use super::scope::{self, Inherited, Scope};
use super::under_way::{Call, moment};
use super::{Callee, history};
use crate::base::{Time, Verdict};
use crate::pipeline::{Execution, Plan, Taken, Target};
use crate::policy::breaker::{Breaker, Permit, State};
use crate::policy::timeout::Phase;
use crate::runtime::clock;

/// How Python calls this guard, if a first attempt can do without the machine.
pub fn vectorcall(guard: &Guard) -> Option<ffi::vectorcallfunc> {
    let plan = &guard.wiring().plan;
    let simple = matches!(plan.target, Target::Bare | Target::Breaker(_));
    if !simple || !guard.wiring().hands_answers_on() || !matches!(guard.callee(), Callee::Function(_)) {
        return None;
    }
    let breaker = breaker(plan);
    let elapsed = plan.retry.as_ref().and_then(|retry| retry.max_elapsed);
    // A deadline is kept exactly. Of an attempt that fails it is told how long it took: to some milliseconds.
    let lags = !plan.timeout.is_on()
        && plan.limits.bear_lag()
        && breaker.is_none_or(|breaker| breaker.bears_lag())
        && elapsed.is_none_or(|span| span >= Duration::from_secs(1));
    let ends = plan.timeout.is_on() || breaker.is_some_and(|breaker| breaker.needs_now());
    let timed = ends || plan.retry.is_some() || !plan.limits.rates.is_empty();
    Some(match (timed, lags, ends) {
        (false, ..) => first::<NO_TIME, false>,
        (true, true, false) => first::<BY_TICKS, false>,
        (true, true, true) => first::<BY_TICKS, true>,
        (true, false, false) => first::<EXACT, false>,
        (true, false, true) => first::<EXACT, true>,
    })
}

/// The breaker, where there is one.
#[inline]
fn breaker(plan: &Plan) -> Option<&Arc<Breaker>> {
    match &plan.target {
        Target::Breaker(breaker) => Some(breaker),
        _ => None,
    }
}

/// What a first attempt holds.
struct Held {
    began: Time,
    permit: Option<Permit>,
    taken: Taken,
    /// Its scope, an owned reference, and the token by which that ends; null where it has none.
    scope: *mut ffi::PyObject,
    ticket: *mut ffi::PyObject,
    mark: u64,
}

impl Held {
    #[inline]
    const fn new(began: Time) -> Self {
        let (scope, ticket) = (ptr::null_mut(), ptr::null_mut());
        Self { began, permit: None, taken: Taken::NOTHING, scope, ticket, mark: 0 }
    }

    /// Goes through the doors. False if one of them is for the machine; then nothing is held.
    #[inline]
    fn take(&mut self, plan: &Plan) -> bool {
        let breaker = breaker(plan);
        // What is known to be refused costs no quota.
        let admits = |state| matches!(state, State::Closed | State::ForcedClosed | State::Disabled);
        if breaker.is_some_and(|breaker| !admits(breaker.state())) {
            return false;
        }
        let through = plan.limits.take(&mut self.taken, self.began, clock::now)
            && breaker.is_none_or(|breaker| {
                self.permit = breaker.admit_fast(self.began);
                self.permit.is_some()
            });
        if !through {
            give_back(plan, std::mem::take(&mut self.taken));
        }
        through
    }

    /// Makes its scope the current one: false with an exception set, and then nothing has changed.
    ///
    /// # Safety
    ///
    /// This thread is attached, and no exception is set.
    #[inline]
    #[expect(unsafe_code, reason = "owned pointers")]
    unsafe fn enter(&mut self, py: Python<'_>, plan: &Plan) -> bool {
        let deadline = plan.deadline(self.began);
        let inherited = Inherited { deadline, ..Inherited::default() };
        let scope = match Scope::new(scope::fresh_call_id(), 1, None, inherited).within_another(py) {
            Ok(scope) => scope,
            Err(error) => {
                error.restore(py);
                return false;
            }
        };
        if plan.timeout.is_on() {
            scope.wait_until(plan.timeout.binding(Phase::Answer, deadline, self.began, self.began));
        }
        self.mark = history::youngest_mark();
        match scope.within_another(py).and_then(|scope| Py::new(py, scope)) {
            Ok(scope) => self.scope = scope.into_ptr(),
            Err(error) => {
                error.restore(py);
                return false;
            }
        }
        // SAFETY: by the function's own contract; the scope is an owned reference to a live object.
        unsafe {
            self.ticket = scope::enter(py, self.scope);
        }
        !self.ticket.is_null()
    }

    /// Its scope is not the current one any more.
    ///
    /// # Safety
    ///
    /// This thread is attached, and no exception is set.
    #[inline]
    #[expect(unsafe_code, reason = "an owned pointer")]
    unsafe fn leave(&mut self, py: Python<'_>) {
        let ticket = std::mem::replace(&mut self.ticket, ptr::null_mut());
        if !ticket.is_null() {
            // SAFETY: by the function's own contract; the token is owned, and given away.
            unsafe { scope::leave(py, ticket) }
        }
    }

    /// The machine takes over in the midst of the attempt.
    fn convert(&mut self, py: Python<'_>, plan: &Arc<Plan>) -> (Execution, Option<Py<Scope>>) {
        let permit = breaker(plan).cloned().zip(self.permit.take());
        let execution =
            Execution::under_way(Arc::clone(plan), std::mem::take(&mut self.taken), permit, self.began);
        let scope = std::mem::replace(&mut self.scope, ptr::null_mut());
        #[expect(unsafe_code, reason = "a pointer becomes a reference")]
        // SAFETY: it is an owned reference or null, and has just been taken out.
        let scope = unsafe { Bound::from_owned_ptr_or_opt(py, scope) };
        (execution, scope.and_then(|scope| scope.cast_into().ok()).map(Bound::unbind))
    }
}

/// With the doors before the call and behind it. `WHEN`: the time that they want to be told. `ENDS`: also of its end.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn first<const WHEN: u8, const ENDS: bool>(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls a guard attached, and keeps it and the arguments alive meanwhile; the guard keeps its plan
    // and the user's function. The arguments are passed on as they came. What the call gives is a new reference, or
    // null with an exception set, and so is what we give. Of the Rust code on the way what may panic is shielded.
    unsafe {
        let py = Python::assume_attached();
        let Guard { callee: Callee::Function(function), .. } = body::<Guard>(guard) else {
            return machine(guard, args, nargsf, names);
        };
        let plan = &body::<Guard>(guard).wiring().plan;
        if !scope::is_free(py) {
            return machine(guard, args, nargsf, names);
        }
        let mut held = Held::new(present::<WHEN>());
        if !held.take(plan) {
            return machine(guard, args, nargsf, names);
        }
        let clocked = plan.timeout.is_on();
        if (clocked || plan.retry.is_some()) && !held.enter(py, plan) {
            return given_up(plan, &mut held);
        }
        let answer = pass_on(function.as_ptr(), args, nargsf, names);
        if answer.is_null() {
            return go_on((guard, args, nargsf, names), &mut held, answer);
        }
        held.leave(py);
        let now = if ENDS { present::<WHEN>() } else { Time::ZERO };
        if clocked && plan.missed(held.began, now).is_some() {
            return go_on((guard, args, nargsf, names), &mut held, answer);
        }
        served(plan, &mut held, now, answer)
    }
}

/// An answer in time goes out by the doors.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the answer is an owned reference.
#[inline]
#[expect(unsafe_code, reason = "an owned pointer")]
unsafe fn served(plan: &Plan, held: &mut Held, now: Time, answer: *mut ffi::PyObject) -> *mut ffi::PyObject {
    plan.deposit();
    let left = breaker(plan).zip(held.permit.take());
    let left = left.and_then(|(breaker, permit)| breaker.settle_ok(permit, now).err());
    let woken = plan.limits.served(&mut held.taken, clock::now);
    // SAFETY: by the function's own contract; the scope is owned, or null.
    unsafe {
        ffi::Py_XDECREF(held.scope);
        if left.is_none() && matches!(woken, Some(None)) {
            return answer;
        }
        held.permit = left;
        served_slowly(plan, held, woken.flatten(), answer)
    }
}

/// What the doors have left to be settled.
///
/// # Safety
///
/// As for [`served`].
#[cold]
#[expect(unsafe_code, reason = "an owned pointer")]
unsafe fn served_slowly(
    plan: &Plan,
    held: &mut Held,
    woken: Option<Waker>,
    answer: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract.
    unsafe {
        enter(|py| {
            let answer = Bound::from_owned_ptr(py, answer).unbind();
            if let Some((breaker, permit)) = breaker(plan).zip(held.permit.take()) {
                settle(breaker, permit, &Verdict::Ok);
            }
            if let Some(waker) = woken {
                waker.wake();
            }
            let taken = std::mem::take(&mut held.taken);
            moment(|at| plan.limits.land(taken, &Verdict::Ok, at.now, at.out));
            Ok(answer)
        })
    }
}

/// The machine goes on with an attempt that has raised, or has answered late.
///
/// # Safety
///
/// This thread is attached, and these are the arguments of a vectorcall of a guard. The answer is an owned reference,
/// or null, and then an exception is set.
#[cold]
#[expect(unsafe_code, reason = "raw pointers become references")]
unsafe fn go_on(
    (guard, args, nargsf, names): (*mut ffi::PyObject, *const *mut ffi::PyObject, usize, *mut ffi::PyObject),
    held: &mut Held,
    answer: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract. The exception is held up while the call is put together, and is set
    // again whatever comes of that.
    unsafe {
        enter(|py| {
            let raised = answer.is_null().then(|| Raised::take());
            let answer = Bound::from_owned_ptr_or_opt(py, answer).map(Bound::unbind);
            held.leave(py);
            let guard: Raw<Guard> = Raw::from_borrowed(py, guard);
            let mark = held.mark;
            let (execution, scope) = held.convert(py, &guard.get().wiring().plan);
            let given = arguments(py, args, nargsf, names);
            let (args, kwargs, broken) = match given {
                Ok((args, kwargs)) => (args, kwargs, None),
                Err(broken) => (PyTuple::empty(py), None, Some(broken)),
            };
            // From here on the call gives back what it holds.
            let call = Call::new(guard, args.unbind(), kwargs.map(Bound::unbind));
            let call = call.going_on(execution, scope, mark);
            let outcome = match (raised, answer) {
                (None, Some(answer)) => Ok(answer),
                (raised, _) => {
                    if let Some(raised) = raised {
                        raised.put_back(py);
                    }
                    Err(PyErr::fetch(py))
                }
            };
            match broken {
                Some(broken) => Err(broken),
                None => recorded(py, call, outcome),
            }
        })
    }
}

/// The attempt could not be equipped, and nobody is blamed.
///
/// # Safety
///
/// This thread is attached, and an exception is set.
#[cold]
#[expect(unsafe_code, reason = "the exception is held up")]
unsafe fn given_up(plan: &Arc<Plan>, held: &mut Held) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract; the exception is set again.
    unsafe {
        enter(|py| {
            let raised = Raised::take();
            let (mut execution, _scope) = held.convert(py, plan);
            moment(|at| execution.abandon(at));
            raised.put_back(py);
            Err(PyErr::fetch(py))
        })
    }
}

/// A gate behind these was shut.
#[cold]
fn give_back(plan: &Plan, taken: Taken) {
    moment(|at| plan.limits.give_back(taken, at.now, at.out));
}

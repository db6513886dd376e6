//! Switches for users' tests: guards that only pass calls on, and attempts that are few and do not wait.
//!
//! They hold for the whole process, and for guards that were made before. Production code never touches them,
//! so the drivers pay one relaxed load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use super::convert::count;
use crate::pipeline::{Plan, Target};

/// Calls go on as their policies say.
const AS_CONFIGURED: u64 = 0;
/// Guards pass calls on and do nothing else.
const INACTIVE: u64 = 1 << 63;

/// Both switches in one word: [`INACTIVE`], and below it the most attempts, 0 for as many as are configured.
static SWITCHES: AtomicU64 = AtomicU64::new(AS_CONFIGURED);

/// Has no switch been touched? Then policies rule as they are.
#[inline]
pub fn are_untouched() -> bool {
    SWITCHES.load(Ordering::Relaxed) == AS_CONFIGURED
}

/// Do guards only pass calls on?
#[inline]
pub fn is_inactive() -> bool {
    SWITCHES.load(Ordering::Relaxed) & INACTIVE != 0
}

/// The plan that is followed in place of `plan`, with the switches as they are now.
pub fn plan_for(plan: &Arc<Plan>) -> Arc<Plan> {
    let switches = SWITCHES.load(Ordering::Relaxed);
    if switches == AS_CONFIGURED {
        Arc::clone(plan)
    } else if switches & INACTIVE != 0 {
        Arc::new(Plan { target: Target::Bare, ..Plan::bare(plan.source.clone()) })
    } else {
        Arc::new(plan.for_tests(u32::try_from(switches).unwrap_or(u32::MAX)))
    }
}

/// Turns all guards of this process on or off; how they were.
#[pyfunction]
pub fn set_active(active: bool) -> bool {
    let before = if active {
        SWITCHES.fetch_and(!INACTIVE, Ordering::Relaxed)
    } else {
        SWITCHES.fetch_or(INACTIVE, Ordering::Relaxed)
    };
    before & INACTIVE == 0
}

/// Caps the attempts of every call and removes the waits between them, or, with `None`, does not any more;
/// what the cap was.
#[pyfunction]
#[pyo3(signature = (attempts))]
pub fn set_testing(attempts: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    let cap = attempts.map_or(Ok(0), |attempts| count("attempts", attempts, 1))?;
    let swap = |switches| Some(switches & INACTIVE | u64::from(cap));
    let before = SWITCHES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, swap);
    let before = before.unwrap_or_else(|untouched| untouched) & !INACTIVE;
    Ok((before > 0).then_some(before))
}

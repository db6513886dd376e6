//! The key of a call: which of a keyed breaker's breakers it asks, or which node it sticks to.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::guard::Guard;
use crate::pipeline::{Plan, Target};
use crate::python::convert::refuse;

const STICKY_RULE: &str = "answer a string or None: sticky_key(args, kwargs) -> str | None";

impl Guard {
    /// The call's key, where `plan` keeps breakers by key. A key function that raises ends the call with its
    /// error, and one that answers no string with ours, before anybody is asked.
    pub(super) fn key(
        &self,
        py: Python<'_>,
        plan: &Plan,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<Box<str>>> {
        let (Some(key), Target::Keyed(_) | Target::Roster(_)) = (&self.wiring().key, &plan.target) else {
            return Ok(None);
        };
        let none = PyDict::new(py);
        let answer = key.bind(py).call1((args, kwargs.unwrap_or(&none)))?;
        match answer.extract::<&str>() {
            Ok(name) => Ok(Some(name.into())),
            Err(_) if matches!(plan.target, Target::Roster(_)) => {
                if answer.is_none() {
                    Ok(None)
                } else {
                    Err(refuse("sticky_key", STICKY_RULE, &answer))
                }
            }
            Err(_) => Err(refuse("key", "answer a string: key(args, kwargs) -> str", &answer)),
        }
    }
}

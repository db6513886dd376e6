//! `Chaos`: what goes wrong on purpose, rolled here and carried out in Python.

use std::time::Duration;

use pyo3::prelude::*;

use crate::base::Dice as _;
use crate::policy::chaos::{Chaos as Policy, ChaosConfig, Fault};
use crate::python::convert::{real, span};
use crate::python::errors;
use crate::runtime::dice::ThreadDice;

/// A source of faults; the instance is the state of its dice.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Chaos {
    policy: Policy,
}

#[pymethods]
impl Chaos {
    #[new]
    fn new(
        error_rate: &Bound<'_, PyAny>,
        hang: &Bound<'_, PyAny>,
        cut_stream: &Bound<'_, PyAny>,
        bad_answer: &Bound<'_, PyAny>,
        latency: (Bound<'_, PyAny>, Bound<'_, PyAny>),
        latency_rate: &Bound<'_, PyAny>,
        seed: Option<u64>,
    ) -> PyResult<Self> {
        let config = ChaosConfig {
            error: real("error_rate", error_rate)?,
            hang: real("hang", hang)?,
            cut_stream: real("cut_stream", cut_stream)?,
            bad_answer: real("bad_answer", bad_answer)?,
            latency: (span("latency", &latency.0)?, span("latency", &latency.1)?),
            latency_share: real("latency_rate", latency_rate)?,
        };
        let config = config.validate().map_err(|error| errors::config(hang.py(), &error))?;
        Ok(Self { policy: Policy::new(config, seed.unwrap_or_else(|| ThreadDice.roll())) })
    }

    /// What happens to the call that begins now: seconds of latency, the fault, and after how many items.
    fn _roll(&self, stream: bool) -> (f64, &'static str, u32) {
        let mischief = self.policy.roll(stream);
        let latency: Duration = mischief.latency;
        let (fault, items) = match mischief.fault {
            Fault::Nothing => ("", 0),
            Fault::Error => ("error", 0),
            Fault::Hang => ("hang", 0),
            Fault::Cut(items) => ("cut", items),
            Fault::Bad => ("bad", 1),
        };
        (latency.as_secs_f64(), fault, items)
    }
}

//! Failure detectors for Python: each usable on its own, and as the template of a heartbeat's.

use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::convert::{count, given, positive_span, real, span};
use super::errors;
use crate::base::Time;
use crate::pool::{Deadline, DeadlineConfig, Detector, DetectorConfig, Opinion, Phi, PhiConfig, Threshold};
use crate::runtime::clock;

/// What a lone deadline detector waits for, if it is not told: three default intervals of a heartbeat.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A detector that hears beats and misses, and tells what it thinks.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct FailureDetector {
    config: DetectorConfig,
    detector: Mutex<Detector>,
}

/// The moment that `at` says, in seconds, else the present one.
fn moment(at: Option<&Bound<'_, PyAny>>) -> PyResult<Time> {
    given(at).map_or_else(|| Ok(clock::now()), |at| Ok(Time::ZERO.after(span("at", at)?)))
}

/// A detector that belongs to no heartbeat, whose numbers it could take over.
fn alone(config: &DetectorConfig) -> Detector {
    match config {
        DetectorConfig::Threshold { failure_threshold, recovery_threshold } => {
            Detector::Threshold(Threshold::new(*failure_threshold, *recovery_threshold))
        }
        DetectorConfig::Counting => {
            let config = DeadlineConfig { timeout: None, suspect_after: None };
            Detector::Deadline(Deadline::new(&config, USUAL_TIMEOUT, 1))
        }
        DetectorConfig::Deadline(config) => Detector::Deadline(Deadline::new(config, USUAL_TIMEOUT, 1)),
        DetectorConfig::Phi(config) => Detector::Phi(Box::new(Phi::new(config, 1))),
    }
}

fn optional<T>(
    value: &Bound<'_, PyAny>,
    read: impl Fn(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    given(Some(value)).map(read).transpose()
}

impl FailureDetector {
    /// What it was made with.
    pub const fn config(&self) -> &DetectorConfig {
        &self.config
    }

    fn hear(
        &self,
        at: Option<&Bound<'_, PyAny>>,
        hear: impl FnOnce(&mut Detector, Time) -> Opinion,
    ) -> PyResult<Opinion> {
        let now = moment(at)?;
        Ok(hear(&mut self.detector.lock(), now))
    }
}

#[pymethods]
impl FailureDetector {
    /// A detector of this kind: "threshold", "deadline" or "phi", with its fields in the order of its class.
    #[new]
    #[pyo3(signature = (kind, *fields))]
    fn new(kind: &str, fields: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let at = |i| fields.get_item(i);
        let config = match kind {
            "threshold" => DetectorConfig::Threshold {
                failure_threshold: count("failure_threshold", &at(0)?, 1)?,
                recovery_threshold: count("recovery_threshold", &at(1)?, 1)?,
            },
            "deadline" => DetectorConfig::Deadline(DeadlineConfig {
                timeout: optional(&at(0)?, |value| positive_span("timeout", value))?,
                suspect_after: optional(&at(1)?, |value| positive_span("suspect_after", value))?,
            }),
            _ => DetectorConfig::Phi(PhiConfig {
                threshold: real("threshold", &at(0)?)?,
                min_std: positive_span("min_std", &at(1)?)?,
                acceptable_pause: optional(&at(2)?, |value| span("acceptable_pause", value))?,
                first_interval: optional(&at(3)?, |value| positive_span("first_interval", value))?,
                max_samples: count("max_samples", &at(4)?, 1)?,
            }),
        };
        config.validate().map_err(|error| errors::config(fields.py(), &error))?;
        let detector = Mutex::new(alone(&config));
        Ok(Self { config, detector })
    }

    /// Hears a beat at `at`, in seconds of any clock that only moves on; without it, now.
    #[pyo3(signature = (at=None))]
    fn beat(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.hear(at, Detector::beat).map(drop)
    }

    /// Hears that a question was not answered.
    #[pyo3(signature = (at=None))]
    fn miss(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.hear(at, Detector::miss).map(drop)
    }

    /// What it thinks at `at`: "well", "suspect", "lost" or "reviving".
    #[pyo3(signature = (at=None))]
    fn opinion(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<&'static str> {
        self.hear(at, Detector::look).map(Opinion::as_str)
    }

    /// Is the node not given up?
    #[pyo3(signature = (at=None))]
    fn is_available(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let opinion = self.hear(at, Detector::look)?;
        Ok(matches!(opinion, Opinion::Well | Opinion::Suspect))
    }

    /// Is it under suspicion, or given up?
    #[pyo3(signature = (at=None))]
    fn is_suspect(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        Ok(self.hear(at, Detector::look)? != Opinion::Well)
    }

    /// Takes `seconds` off the silence: we ourselves were not there to hear.
    fn excuse(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let span = span("seconds", seconds)?;
        self.detector.lock().excuse(span);
        Ok(())
    }

    /// Misses in a row, up to now.
    #[getter]
    fn misses(&self) -> u32 {
        self.detector.lock().misses()
    }

    /// How suspicious the silence is, as φ.
    #[pyo3(signature = (at=None))]
    fn _phi(&self, at: Option<&Bound<'_, PyAny>>) -> PyResult<Option<f64>> {
        let now = moment(at)?;
        Ok(self.detector.lock().phi(now))
    }
}

//! What a call under way adds to itself where several of its attempts may be.

use pyo3::prelude::*;

use super::under_way::{Call, moment};
use crate::base::{Time, Verdict};
use crate::pipeline::{Attempt, Finish, Step};

impl Call {
    /// Reports what came of one of several attempts, which began after the mark `mark`; none while the race
    /// goes on without it (A11).
    pub fn record_one(
        &mut self,
        py: Python<'_>,
        number: u32,
        mark: u64,
        outcome: PyResult<Py<PyAny>>,
        ours: bool,
    ) -> Option<Step> {
        (self.mark, self.racing) = (mark, Some(number));
        let step = if ours { self.record_timeout(outcome) } else { self.record(py, outcome) };
        if self.racing.take().is_some() { None } else { Some(step) }
    }

    pub(super) fn report_one(&mut self, number: u32, verdict: &Verdict) -> Step {
        let Some(execution) = &mut self.execution else { return Step::Finish(Finish::Raise) };
        moment(|at| execution.record_one(number, verdict, at)).unwrap_or_else(|| {
            self.racing = Some(number);
            Step::Finish(Finish::Raise)
        })
    }

    /// One more attempt beside those under way, if one is due.
    pub fn hedge(&mut self) -> Option<Attempt> {
        self.execution.as_mut().and_then(|execution| moment(|at| execution.hedge(at)))
    }

    /// Up to `more` attempts at once beside the first.
    pub fn replicate(&mut self, more: u32) -> Vec<Attempt> {
        let execution = self.execution.as_mut();
        execution.map(|execution| moment(|at| execution.replicate(more, at))).unwrap_or_default()
    }

    /// When a clock of the attempts under way runs out, or a hedge is due, whichever is first.
    pub fn due(&self) -> Option<Time> {
        let execution = self.execution.as_ref()?;
        let under_way = execution.racers().into_iter();
        let clocks = under_way.filter_map(|number| execution.binding_of(number)).map(|expiry| expiry.at);
        clocks.chain(execution.hedge_due()).min()
    }

    /// The attempts whose clock has run out by `now`.
    pub fn expired(&self, now: Time) -> Vec<u32> {
        let Some(execution) = &self.execution else { return Vec::new() };
        let is_over = |number: &u32| execution.binding_of(*number).is_some_and(|expiry| expiry.at <= now);
        execution.racers().into_iter().filter(is_over).collect()
    }
}

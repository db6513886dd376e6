//! A stream that broke: what is raised, and whether it may go on.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::flow::Flow;
use super::under_way::Call;
use crate::base::Verdict;
use crate::pipeline::Step;
use crate::python::judge;

impl Call {
    /// Reports that a stream broke after something of it was handed out.
    pub fn record_broken(&mut self, py: Python<'_>, flow: &Flow, error: PyErr, ours: bool) -> Step {
        let judge = &self.guard.get().wiring().judge;
        let verdict = match if ours { Ok(judge::timed_out()) } else { judge.of_error(py, &error) } {
            Ok(verdict) => verdict,
            Err(interrupt) => return self.record_as(Err(interrupt), &Verdict::Ignore),
        };
        let error = if matches!(verdict, Verdict::Ignore) { error } else { flow.broken(py, error) };
        match self.resumed(py, &error, &verdict) {
            Ok(Some(step)) => step,
            Ok(None) => self.record_as(Err(error), &verdict),
            Err(interrupt) => self.record_as(Err(interrupt), &Verdict::Ignore),
        }
    }

    /// Reports that a stream broke before anything of it was handed out: nobody has seen any of it, so it may be asked
    /// again; but what had come is told of if it is the end.
    pub fn record_unseen(&mut self, py: Python<'_>, flow: &Flow, error: PyErr) -> Step {
        if !flow.heard() {
            return self.record_unchecked(py, Err(error));
        }
        let judge = &self.guard.get().wiring().judge;
        match judge.of_error(py, &error) {
            Ok(Verdict::Ignore) => self.record_as(Err(error), &Verdict::Ignore),
            Ok(mut verdict) => {
                self.heed_inner_layers(py, &error, &mut verdict);
                self.record_as(Err(flow.broken(py, error)), &verdict)
            }
            Err(interrupt) => self.record_as(Err(interrupt), &Verdict::Ignore),
        }
    }

    /// Asks the user's `resume` for arguments to go on with; a stream that may go on is not over.
    fn resumed(&mut self, py: Python<'_>, error: &PyErr, verdict: &Verdict) -> PyResult<Option<Step>> {
        let resume = self.guard.get().wiring().resume.as_ref().filter(|_| !self.passes);
        let Some(resume) = resume.filter(|_| verdict.failure().is_some()) else {
            return Ok(None);
        };
        let answer = resume.call1(py, (error.value(py),));
        match answer.and_then(|answer| answer.extract::<Option<(Py<PyTuple>, Py<PyDict>)>>(py)) {
            Ok(Some((args, kwargs))) => {
                (self.args, self.kwargs) = (args, Some(kwargs));
                self.interrupted = Some(error.value(py).clone().into_any().unbind());
                if let Some(execution) = &mut self.execution {
                    execution.uncommit();
                }
                Ok(Some(self.record_as(Err(error.clone_ref(py)), verdict)))
            }
            Ok(None) => Ok(None),
            Err(broken) => judge::report(broken, resume.bind(py)).map(|()| None),
        }
    }
}

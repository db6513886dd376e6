//! What the runtime says to `tracing`, on its way to Python's `logging`.
//!
//! A subscriber of our own, because the ready-made ones call Python on whatever thread speaks: ours only
//! queues, and the thread that runs listeners logs. Spans are not kept: ours say all in their events.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::runtime::dispatch::{self, Remark};

/// Python's numbers for the levels of `logging`.
const LEVELS: [(Level, u8); 5] =
    [(Level::ERROR, 40), (Level::WARN, 30), (Level::INFO, 20), (Level::DEBUG, 10), (Level::TRACE, 5)];

/// Does anybody want more than the changes of state?
static DETAILS: AtomicBool = AtomicBool::new(false);

struct ToPython;

impl Subscriber for ToPython {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("holdfast")
            && (*metadata.level() <= Level::INFO || DETAILS.load(Ordering::Relaxed))
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut words = Words::default();
        event.record(&mut words);
        let Words { message, rest, kind } = words;
        let text = message + &rest;
        dispatch::remark(Remark { level: *metadata.level(), target: metadata.target(), text, kind });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message of a `tracing` event, and its other fields behind it. Those of a change of state are in its
/// message already.
#[derive(Default)]
struct Words {
    message: String,
    rest: String,
    kind: Option<String>,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "kind" => self.kind = Some(value.to_owned()),
            "source" => {}
            name => self.add(name, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field.name(), value);
        }
    }
}

impl Words {
    fn add(&mut self, name: &str, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _infallible = write!(self.rest, " {name}={value:?}");
    }
}

/// From now on what the runtime says reaches Python. Somebody else's subscriber, set before, stays.
pub fn listen() {
    let _theirs = tracing::subscriber::set_global_default(ToPython);
}

/// A remark as Python logs it: level, logger, text, kind of event.
pub fn row(remark: Remark) -> (u8, String, String, Option<String>) {
    let level = LEVELS.iter().find(|(level, _)| *level == remark.level).map_or(20, |(_, number)| *number);
    (level, remark.target.replace("::", "."), remark.text, remark.kind)
}

/// Says whether more than the changes of state is wanted: what the runtime says at DEBUG and below.
#[pyfunction]
pub fn want_details(yes: bool) {
    if DETAILS.swap(yes, Ordering::Relaxed) != yes {
        tracing::callsite::rebuild_interest_cache();
    }
}

//! The pool as a whole: evidence, outages, picks, and the operator's will.

use std::time::Duration;

mod hearing;
mod laws;
mod outages;
mod picks;
mod traffic;

use super::*;
use crate::base::{Event, Failure, SplitMix};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

fn at(secs: u64) -> Time {
    Time::from_millis(secs * 1000)
}

fn heartbeat() -> HeartbeatConfig {
    HeartbeatConfig { interval: Duration::from_secs(1), jitter: 0.0, ..HeartbeatConfig::default() }
}

fn pool(names: &[&str]) -> Pool {
    let nodes = names.iter().map(|&n| NodeConfig::new(n)).collect();
    Pool::new(Source::new("pool"), nodes, Some(heartbeat())).unwrap()
}

/// What happened, one line per event: kind, node, and the field that matters.
fn told(out: &mut Outbox) -> Vec<String> {
    out.drain()
        .map(|event| {
            let fields = event.fields().into_iter().map(|(_, f)| match f {
                crate::base::Field::Text(t) => t.to_string(),
                crate::base::Field::Span(s) => format!("{}s", s.as_secs()),
                crate::base::Field::Count(n) => n.to_string(),
                other => format!("{other:?}"),
            });
            format!("{} {}", event.kind().as_str(), fields.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn out() -> Outbox {
    Outbox::new(0)
}

fn pick(pool: &Pool, exclude: &[NodeId]) -> Option<NodeId> {
    pool.pick(exclude, &mut |_| true, Time::ZERO, &mut SplitMix::new(1))
}

fn state(pool: &Pool, node: NodeId) -> &'static str {
    pool.views(Time::ZERO).into_iter().find(|v| v.id == node).unwrap().state.as_str()
}

//! How reliable the nodes have been: what is counted of each, and the figures made of it.
//!
//! The words are those of reliability engineering (MIL-STD-721C, IEC 60050-192):
//!
//! | figure | formula |
//! |---|---|
//! | MTBF | time up / failures |
//! | failure rate λ | failures / time up = 1 / MTBF; of the pool: the sum of its nodes' |
//! | MTTR | time down of the ended outages / their number |
//! | availability | time up / time watched |
//! | fault tolerance | recoverable nodes / all nodes |
//! | balance | least load / greatest load |
//! | handling efficiency | failed attempts that no caller saw / failed attempts |
//!
//! Five nodes at 0.1 failures a day each fail 0.5 times a day together; loads of 20 and 100 are a balance of
//! 0.2; 47 of 50 failures handled are an efficiency of 0.94:
//!
//! ```
//! use std::time::Duration;
//! use holdfast::pool::{Record, Reliability};
//!
//! let day = Duration::from_secs(24 * 60 * 60);
//! let mut nodes = vec![Record { watched: 100 * day, failures: 10, ..Record::default() }; 5];
//! nodes[0] = Record { calls: 20, failed: 50, handled: 47, ..nodes[0] };
//! for node in &mut nodes[1..] {
//!     node.calls = 100;
//! }
//! let pool = Reliability::of_pool(&nodes);
//! assert!((pool.failure_rate * day.as_secs_f64() - 0.5).abs() < 1e-9);
//! assert_eq!(pool.mtbf, Some(2 * day));
//! assert_eq!(pool.balance, Some(0.2));
//! assert_eq!(pool.handling_efficiency, Some(0.94));
//! ```

use std::time::Duration;

/// What is counted of one node, from when it joined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record {
    /// How long it has been a node of the pool.
    pub watched: Duration,
    /// How long of that it was out, the present outage included.
    pub down: Duration,
    /// How long its ended outages took together.
    pub repairs: Duration,
    /// Outages, the present one included.
    pub failures: u64,
    /// Outages that have ended.
    pub recoveries: u64,
    /// Attempts that went there: its load.
    pub calls: u64,
    /// Of those, the ones that failed.
    pub failed: u64,
    /// Of those, the ones whose call ended well elsewhere or later: no caller saw them.
    pub handled: u64,
    /// Is it up, or can it come back without anybody's help?
    pub recoverable: bool,
}

impl Record {
    fn up(&self) -> Duration {
        self.watched.saturating_sub(self.down)
    }

    fn rate(&self) -> f64 {
        ratio(self.failures as f64, self.up().as_secs_f64()).unwrap_or(0.0)
    }
}

/// The figures of one node, or of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reliability {
    /// λ, failures per second of time up.
    pub failure_rate: f64,
    /// Mean time between failures; none before the first.
    pub mtbf: Option<Duration>,
    /// Mean time to recovery; none before the first.
    pub mttr: Option<Duration>,
    /// The share of the time that it was up; of a pool: of its nodes' time. None at the first moment.
    pub availability: Option<f64>,
    /// The share of nodes that are up or can come back without help.
    pub fault_tolerance: f64,
    /// The least load over the greatest; none before the first call.
    pub balance: Option<f64>,
    /// The share of failed attempts that no caller saw; none before the first.
    pub handling_efficiency: Option<f64>,
}

impl Reliability {
    /// The figures of one node.
    #[must_use]
    pub fn of_node(node: &Record) -> Self {
        Self::of_pool(std::slice::from_ref(node))
    }

    /// The figures of a pool: any node's failure is a failure of the pool's.
    #[must_use]
    pub fn of_pool(nodes: &[Record]) -> Self {
        let sum = |of: fn(&Record) -> Duration| nodes.iter().map(of).sum::<Duration>();
        let count = |of: fn(&Record) -> u64| nodes.iter().map(of).sum::<u64>() as f64;
        let failure_rate: f64 = nodes.iter().map(Record::rate).sum();
        let loads = nodes.iter().map(|node| node.calls);
        let (least, greatest) = (loads.clone().min().unwrap_or(0), loads.max().unwrap_or(0));
        let recoverable = nodes.iter().filter(|node| node.recoverable).count();
        Self {
            failure_rate,
            mtbf: ratio(1.0, failure_rate).and_then(|span| Duration::try_from_secs_f64(span).ok()),
            mttr: ratio(sum(|node| node.repairs).as_secs_f64(), count(|node| node.recoveries))
                .map(Duration::from_secs_f64),
            availability: ratio(sum(Record::up).as_secs_f64(), sum(|node| node.watched).as_secs_f64()),
            fault_tolerance: ratio(recoverable as f64, nodes.len() as f64).unwrap_or(0.0),
            balance: ratio(least as f64, greatest as f64),
            handling_efficiency: ratio(count(|node| node.handled), count(|node| node.failed)),
        }
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_node_that_never_failed_has_no_mean_times() {
        let figures = Reliability::of_node(&Record { watched: HOUR, recoverable: true, ..Record::default() });
        assert_eq!((figures.mtbf, figures.mttr, figures.handling_efficiency), (None, None, None));
        assert_eq!((figures.availability, figures.fault_tolerance), (Some(1.0), 1.0));
        assert!(figures.failure_rate.abs() < f64::EPSILON);
    }

    #[test]
    fn mean_times_and_availability_of_one_node() {
        let node = Record {
            watched: 10 * HOUR,
            down: 2 * HOUR,
            repairs: HOUR,
            failures: 2,
            recoveries: 1,
            ..Record::default()
        };
        let figures = Reliability::of_node(&node);
        assert_eq!((figures.mtbf, figures.mttr), (Some(4 * HOUR), Some(HOUR)));
        assert_eq!((figures.availability, figures.fault_tolerance), (Some(0.8), 0.0));
    }

    #[test]
    fn an_empty_pool_has_nothing_to_tell() {
        let figures = Reliability::of_pool(&[]);
        assert_eq!((figures.availability, figures.balance, figures.mtbf), (None, None, None));
    }
}

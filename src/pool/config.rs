//! What a user may say about nodes and heartbeats, and the rules it must keep.

use std::sync::Arc;
use std::time::Duration;

use super::balancer::Strategy;
use super::detector::{Deadline, DeadlineConfig, Detector, DetectorConfig, Phi, PhiConfig, Threshold};
use crate::base::ConfigError;

/// One node, as the user describes it.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name: not empty, and no other node of the pool has it.
    pub name: Arc<str>,
    /// Its share of the traffic relative to its tier's other nodes: finite, above 0. Default 1.
    pub weight: f64,
    /// Lower tiers are used first; a higher one only while no node below it is ready. Default 0.
    pub tier: u32,
    /// Does the heartbeat ask it? False for a node that only sends beats of its own. Default true.
    pub heartbeat: bool,
    /// A heartbeat of its own, instead of the pool's. Default none.
    pub own_heartbeat: Option<HeartbeatConfig>,
    /// What it shares with other nodes, such as "key:prod-1" or "host:10.0.0.7": see the cool-downs.
    pub domains: Vec<Arc<str>>,
}

impl NodeConfig {
    /// A node called `name`, with the defaults.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            weight: 1.0,
            tier: 0,
            heartbeat: true,
            own_heartbeat: None,
            domains: Vec::new(),
        }
    }

    /// Checks every rule above except uniqueness, which is the pool's to check.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new("name", "not be empty", "''"));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(ConfigError::new("weight", "be a finite number greater than 0", self.weight));
        }
        self.own_heartbeat.as_ref().map_or(Ok(()), HeartbeatConfig::validate)
    }
}

/// How a pool spreads its calls and treats its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Who is asked next, within a tier. Default: everybody in turn.
    pub balancer: Strategy,
    /// How often the nodes' shares are computed anew: above 0; none: never. Default 300 s.
    pub rebalance_interval: Option<Duration>,
    /// Over this time a returning node's share grows. Default 0: at once.
    pub slow_start: Duration,
    /// For this long nothing is sent to a returning node, while others can take it. Default 0.
    pub failback_hold: Duration,
    /// The share of the nodes that may be out before an outlier is put out too: 0 (never) to 1. Default 0.5.
    pub max_ejected: f64,
    /// The share of healthy nodes below which all are used, healthy or not: 0 (never) to 1. Default 0.
    pub panic_below: f64,
    /// The longest a node or what it shares is kept waiting. Default 600 s.
    pub cooldown_cap: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            balancer: Strategy::default(),
            rebalance_interval: Some(Duration::from_mins(5)),
            slow_start: Duration::ZERO,
            failback_hold: Duration::ZERO,
            max_ejected: 0.5,
            panic_below: 0.0,
            cooldown_cap: super::cooldown::DEFAULT_CAP,
        }
    }
}

impl PoolConfig {
    /// Checks every rule above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(interval) = self.rebalance_interval {
            positive("rebalance_interval", interval)?;
        }
        for (field, share) in [("max_ejected", self.max_ejected), ("panic_below", self.panic_below)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::new(field, "be from 0 to 1", share));
            }
        }
        Ok(())
    }
}

/// How often nodes are asked for a sign of life, and how many answers decide.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatConfig {
    /// From one question to the next: above 0. Default 10 s, a compromise between noticing soon and
    /// asking a metered API too often.
    pub interval: Duration,
    /// Misses in a row that convict a node: at least 1. Default 3, so that one lost packet does not.
    pub failure_threshold: u32,
    /// Good beats in a row that acquit it: at least 1. Default 2, so that one lucky answer does not.
    pub recovery_threshold: u32,
    /// How long an answer may take: above 0. Default 5 s. A node whose answer is still awaited is not
    /// asked again, so a timeout longer than the interval stretches the interval.
    pub timeout: Duration,
    /// The share of the interval by which each question is moved at random, to either side: 0 up to,
    /// not including, 1. Default 0.1, so that many processes do not ask in step.
    pub jitter: f64,
    /// Who judges. Default: misses and beats in a row, by the two thresholds above.
    pub detector: DetectorConfig,
    /// Are the nodes asked? False: they are only heard, and silence is what convicts. Default true.
    pub asks: bool,
    /// Do `recovery_threshold` beats in a row also clear what traffic has said against a node? Default false:
    /// an answer to a ping does not show that calls go well (P8).
    pub clears_traffic: bool,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            failure_threshold: 3,
            recovery_threshold: 2,
            timeout: Duration::from_secs(5),
            jitter: 0.1,
            detector: DetectorConfig::Counting,
            asks: true,
            clears_traffic: false,
        }
    }
}

impl HeartbeatConfig {
    /// Checks every rule above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        positive("interval", self.interval)?;
        at_least_one("failure_threshold", self.failure_threshold)?;
        at_least_one("recovery_threshold", self.recovery_threshold)?;
        positive("timeout", self.timeout)?;
        if !(0.0..1.0).contains(&self.jitter) {
            return Err(ConfigError::new("jitter", "be at least 0 and less than 1", self.jitter));
        }
        if !self.asks && matches!(self.detector, DetectorConfig::Threshold { .. }) {
            let rule = "be given with a detector that counts answers";
            return Err(ConfigError::new("probe", rule, "None"));
        }
        self.detector.validate()
    }

    /// A new detector, with what `detector` leaves open filled in from the heartbeat's own numbers.
    pub(super) fn make_detector(&self) -> Detector {
        let patience = self.interval.saturating_mul(self.failure_threshold);
        match &self.detector {
            DetectorConfig::Counting if self.asks => {
                Detector::Threshold(Threshold::new(self.failure_threshold, self.recovery_threshold))
            }
            DetectorConfig::Threshold { failure_threshold, recovery_threshold } => {
                Detector::Threshold(Threshold::new(*failure_threshold, *recovery_threshold))
            }
            DetectorConfig::Counting => {
                let config = DeadlineConfig { timeout: None, suspect_after: None };
                Detector::Deadline(Deadline::new(&config, patience, self.recovery_threshold))
            }
            DetectorConfig::Deadline(config) => {
                Detector::Deadline(Deadline::new(config, patience, self.recovery_threshold))
            }
            DetectorConfig::Phi(config) => {
                let config = PhiConfig {
                    // One lost question is a gap of two intervals: it is no outage yet.
                    acceptable_pause: Some(
                        config.acceptable_pause.unwrap_or_else(|| patience.saturating_sub(self.interval)),
                    ),
                    first_interval: Some(config.first_interval.unwrap_or(self.interval)),
                    // The schedule's own jitter is no irregularity of the node.
                    min_std: config.min_std.max(self.interval.mul_f64(self.jitter)),
                    ..*config
                };
                Detector::Phi(Box::new(Phi::new(&config, self.recovery_threshold)))
            }
        }
    }
}

fn positive(field: &'static str, span: Duration) -> Result<(), ConfigError> {
    if span.is_zero() {
        return Err(ConfigError::new(field, "be greater than 0 seconds", span.as_secs_f64()));
    }
    Ok(())
}

fn at_least_one(field: &'static str, n: u32) -> Result<(), ConfigError> {
    if n == 0 {
        return Err(ConfigError::new(field, "be at least 1", n));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_names_its_field() {
        let broken = |field, change: fn(&mut HeartbeatConfig)| {
            let mut config = HeartbeatConfig::default();
            config.validate().unwrap();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        };
        broken("interval", |c| c.interval = Duration::ZERO);
        broken("failure_threshold", |c| c.failure_threshold = 0);
        broken("recovery_threshold", |c| c.recovery_threshold = 0);
        broken("timeout", |c| c.timeout = Duration::ZERO);
        broken("jitter", |c| c.jitter = 1.0);
        broken("jitter", |c| c.jitter = f64::NAN);
        broken("threshold", |c| {
            c.detector = DetectorConfig::Phi(PhiConfig { threshold: 0.0, ..PhiConfig::default() });
        });
        broken("probe", |c| {
            c.asks = false;
            c.detector = DetectorConfig::Threshold { failure_threshold: 1, recovery_threshold: 1 };
        });
    }

    #[test]
    fn each_rule_of_a_pool_names_its_field() {
        let broken = |field, change: fn(&mut PoolConfig)| {
            let mut config = PoolConfig::default();
            config.validate().unwrap();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        };
        broken("rebalance_interval", |c| c.rebalance_interval = Some(Duration::ZERO));
        broken("max_ejected", |c| c.max_ejected = 1.1);
        broken("panic_below", |c| c.panic_below = f64::NAN);
    }

    #[test]
    fn a_weight_is_a_positive_number() {
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let node = NodeConfig { weight, ..NodeConfig::new("a") };
            assert_eq!(node.validate().unwrap_err().field, "weight");
        }
        assert_eq!(NodeConfig::new("").validate().unwrap_err().field, "name");
    }
}

//! Recovery: when a node that is out is restarted, and how often at most.
//!
//! ```text
//!              outage                      due
//!   (well) ───────────▶ waiting ────────────────────▶ under treatment ──good──▶ discharged ──outage ends──▶ (well)
//!                          ▲  ▲   budget used up          │                        │
//!                          │  └── until it is free again  │ failed                 │ still ill after its patience
//!                          └────────── back-off ──────────┴────────────────────────┘
//! ```
//!
//! The budget is that of Erlang's supervisors ("intensity and period", OTP design principles): so many
//! restarts in a sliding window, over all outages of a node. Unlike there a budget that is used up is not
//! the end: when the oldest restart has left the window the node has another try, because what broke it
//! may be gone by then.
//!
//! What it deliberately does not do: it restarts nothing, and does not know how. A driver asks who is due,
//! does it, and tells what came of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::base::{ConfigError, NodeId, Time};

/// How often a node is restarted.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryConfig {
    /// Restarts of one node in any window: at least 1. Default 3.
    pub max_restarts: u32,
    /// The window: above 0. Default 60 s.
    pub within: Duration,
    /// How long a node may take to be acquitted after a restart that went well. Then it is restarted again.
    pub patience: Duration,
}

impl RecoveryConfig {
    /// Checks every rule above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.max_restarts == 0 {
            return Err(ConfigError::new("max_restarts", "be at least 1", 0));
        }
        if self.within.is_zero() {
            return Err(ConfigError::new("within", "be greater than 0 seconds", 0));
        }
        Ok(())
    }
}

/// A node that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ill {
    /// The node.
    pub node: NodeId,
    /// Since when: a later moment is another outage.
    pub since: Time,
    /// Does it look dead, and not merely refused by traffic or reported by somebody?
    pub dead: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Restart it; the attempt in this outage, counted from 1.
    Restart {
        /// The node.
        node: NodeId,
        /// The attempt.
        attempt: u32,
    },
    /// Nothing: its restarts are used up, until then.
    UsedUp {
        /// The node.
        node: NodeId,
        /// When it has another try.
        until: Time,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waiting { until: Time },
    UnderTreatment,
    Discharged { until: Time },
}

#[derive(Debug)]
struct Patient {
    since: Time,
    dead: bool,
    attempts: u32,
    stage: Stage,
}

/// Who is being restarted, and who was.
#[derive(Debug)]
pub struct Recovery {
    config: RecoveryConfig,
    patients: BTreeMap<NodeId, Patient>,
    /// When each node was restarted, in the window.
    past: HashMap<NodeId, VecDeque<Time>>,
}

impl Recovery {
    /// Nobody is ill so far.
    #[must_use]
    pub fn new(config: RecoveryConfig) -> Self {
        Self { config, patients: BTreeMap::new(), past: HashMap::new() }
    }

    /// Learns who is out at the moment. A node whose treatment is under way stays until that ends.
    pub fn look(&mut self, ill: &[Ill], now: Time) {
        self.patients.retain(|node, patient| {
            patient.stage == Stage::UnderTreatment || ill.iter().any(|i| i.node == *node)
        });
        for &Ill { node, since, dead } in ill {
            let fresh = || Patient { since, dead, attempts: 0, stage: Stage::Waiting { until: now } };
            let patient = self.patients.entry(node).or_insert_with(fresh);
            patient.dead = dead;
            if patient.since != since && patient.stage != Stage::UnderTreatment {
                *patient = fresh();
            }
        }
    }

    /// What is to be done now. Whoever is to be restarted is under treatment until [`Recovery::treated`].
    pub fn due(&mut self, now: Time) -> Vec<Treatment> {
        let Self { config, patients, past } = self;
        past.retain(|_, restarts| {
            restarts.retain(|at| at.after(config.within) > now);
            !restarts.is_empty()
        });
        let mut treatments = Vec::new();
        for (&node, patient) in patients.iter_mut().filter(|(_, patient)| patient.is_due(now)) {
            let restarts = past.entry(node).or_default();
            if restarts.len() < config.max_restarts as usize {
                restarts.push_back(now);
                patient.attempts += 1;
                patient.stage = Stage::UnderTreatment;
                treatments.push(Treatment::Restart { node, attempt: patient.attempts });
            } else {
                let until = restarts.front().map_or(now, |oldest| oldest.after(config.within));
                patient.stage = Stage::Waiting { until };
                treatments.push(Treatment::UsedUp { node, until });
            }
        }
        treatments
    }

    /// The treatment of `node` has ended. If it went wrong the next one is due after `backoff`.
    pub fn treated(&mut self, node: NodeId, went_well: bool, backoff: Duration, now: Time) {
        let until = now.after(if went_well { self.config.patience } else { backoff });
        if let Some(patient) = self.patients.get_mut(&node) {
            patient.stage = if went_well { Stage::Discharged { until } } else { Stage::Waiting { until } };
        }
    }

    /// When [`Recovery::due`] will have something next, if nothing else happens.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.patients.values().filter_map(Patient::due).min()
    }
}

impl Patient {
    const fn due(&self) -> Option<Time> {
        match self.stage {
            Stage::Waiting { until } => Some(until),
            // Restarted and found well: whether traffic takes it back is for traffic to say.
            Stage::Discharged { until } if self.dead => Some(until),
            Stage::Discharged { .. } | Stage::UnderTreatment => None,
        }
    }

    fn is_due(&self, now: Time) -> bool {
        self.due().is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);
    const WAIT: Duration = Duration::from_secs(5);

    fn at(secs: u64) -> Time {
        Time::from_millis(secs * 1000)
    }

    fn ill(node: NodeId, since: u64) -> Ill {
        Ill { node, since: at(since), dead: true }
    }

    fn recovery() -> Recovery {
        let (within, patience) = (Duration::from_mins(1), Duration::from_secs(10));
        Recovery::new(RecoveryConfig { max_restarts: 3, within, patience })
    }

    fn restart(node: NodeId, attempt: u32) -> Treatment {
        Treatment::Restart { node, attempt }
    }

    #[test]
    fn an_outage_is_treated_at_once_and_one_treatment_at_a_time() {
        let mut r = recovery();
        r.look(&[ill(A, 0), ill(B, 0)], at(0));
        assert_eq!(r.due(at(0)), [restart(A, 1), restart(B, 1)]);
        assert_eq!((r.due(at(50)), r.next_due()), (vec![], None));
    }

    #[test]
    fn failed_treatments_are_spaced_and_bounded_and_the_budget_frees_itself() {
        let mut r = recovery();
        r.look(&[ill(A, 0)], at(0));
        for n in 0..3 {
            let now = at(u64::from(n) * 5);
            assert_eq!(r.next_due(), Some(now));
            assert_eq!(r.due(now), [restart(A, n + 1)]);
            r.treated(A, false, WAIT, now);
        }
        assert_eq!(r.due(at(14)), []);
        assert_eq!(r.due(at(15)), [Treatment::UsedUp { node: A, until: at(60) }]);
        assert_eq!(r.due(at(59)), [], "told once");
        assert_eq!(r.due(at(60)), [restart(A, 4)], "the first restart has left the window");
    }

    #[test]
    fn the_budget_outlasts_the_outage() {
        let mut r = recovery();
        for n in 0..3 {
            r.look(&[ill(A, n * 10)], at(n * 10));
            assert_eq!(r.due(at(n * 10)), [restart(A, 1)], "each outage counts its own attempts");
            r.treated(A, true, WAIT, at(n * 10 + 1));
            r.look(&[], at(n * 10 + 2));
        }
        r.look(&[ill(A, 30)], at(30));
        assert_eq!(r.due(at(30)), [Treatment::UsedUp { node: A, until: at(60) }]);
    }

    #[test]
    fn a_node_that_stays_dead_after_a_good_restart_is_restarted_again() {
        let mut r = recovery();
        r.look(&[ill(A, 0)], at(0));
        r.due(at(0));
        r.treated(A, true, WAIT, at(1));
        assert_eq!((r.due(at(10)), r.next_due()), (vec![], Some(at(11))));
        assert_eq!(r.due(at(11)), [restart(A, 2)]);
    }

    #[test]
    fn a_node_that_only_traffic_refuses_is_restarted_once() {
        let mut r = recovery();
        let refused = Ill { dead: false, ..ill(A, 0) };
        r.look(&[refused], at(0));
        assert_eq!(r.due(at(0)), [restart(A, 1)]);
        r.treated(A, true, WAIT, at(1));
        r.look(&[refused], at(500));
        assert_eq!((r.due(at(500)), r.next_due()), (vec![], None));
        r.look(&[ill(A, 0)], at(501));
        assert_eq!(r.due(at(501)), [restart(A, 2)], "now it is dead as well");
    }

    #[test]
    fn an_outage_that_ends_by_itself_is_forgotten_also_under_treatment() {
        let mut r = recovery();
        r.look(&[ill(A, 0), ill(B, 0)], at(0));
        r.due(at(0));
        r.treated(B, false, WAIT, at(1));
        r.look(&[], at(2));
        assert_eq!(r.next_due(), None);
        r.look(&[ill(A, 3)], at(3));
        assert_eq!(r.due(at(3)), [], "its last treatment has not ended");
        r.treated(A, false, WAIT, at(4));
        r.look(&[ill(A, 3)], at(9));
        assert_eq!(r.due(at(9)), [restart(A, 1)], "another outage");
    }

    #[test]
    fn each_rule_names_its_field() {
        let good = recovery().config;
        let broken = [
            (RecoveryConfig { max_restarts: 0, ..good.clone() }, "max_restarts"),
            (RecoveryConfig { within: Duration::ZERO, ..good.clone() }, "within"),
        ];
        good.validate().unwrap();
        for (config, field) in broken {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}

//! The heartbeat's schedule: who is to be asked for a sign of life, and when.
//!
//! ```text
//!   waiting ──due──▶ asked ──beat or miss──▶ waiting, one (jittered) interval after it was due
//! ```
//!
//! A node whose answer is awaited is not asked again, so that answers never overtake each other.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::config::HeartbeatConfig;
use crate::base::{Dice, NodeId, Time};

/// A question or an answer this many intervals late was delayed on our side: our process was stopped
/// or starved. One interval of delay is common on a busy machine; two are not.
const LOCAL_PAUSE_INTERVALS: u32 = 2;

/// Who is due.
#[derive(Debug)]
pub(super) struct Schedule {
    config: HeartbeatConfig,
    entries: HashMap<NodeId, Entry>,
    /// Those not asked at the moment, by due time.
    queue: BTreeSet<(Time, NodeId)>,
}

#[derive(Debug)]
struct Entry {
    due: Time,
    /// When the question under way was asked.
    asked: Option<Time>,
    /// Has it been asked before? The first question cannot be late.
    known: bool,
    /// The question under way was asked after a pause of ours: its miss proves nothing (P6).
    pardoned: bool,
}

impl Schedule {
    pub(super) fn new(config: HeartbeatConfig) -> Self {
        Self { config, entries: HashMap::new(), queue: BTreeSet::new() }
    }

    pub(super) const fn config(&self) -> &HeartbeatConfig {
        &self.config
    }

    /// From now on `node` is asked, the first time at once.
    pub(super) fn enrol(&mut self, node: NodeId) {
        self.entries.insert(node, Entry { due: Time::ZERO, asked: None, known: false, pardoned: false });
        self.queue.insert((Time::ZERO, node));
    }

    /// From now on `node` is not asked.
    pub(super) fn dismiss(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.remove(&node) {
            self.queue.remove(&(entry.due, node));
        }
    }

    /// Everybody is due again at once, and nobody was asked: whoever asked before has stopped.
    pub(super) fn restart(&mut self) {
        let nodes: Vec<NodeId> = self.entries.keys().copied().collect();
        for node in nodes {
            self.dismiss(node);
            self.enrol(node);
        }
    }

    /// When somebody is due next, of those not asked at the moment.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.queue.first().map(|&(due, _)| due)
    }

    /// When `node` is due, or was when it was asked last.
    pub(super) fn due_of(&self, node: NodeId) -> Option<Time> {
        self.entries.get(&node).map(|entry| entry.due)
    }

    /// Takes out everybody who is due, as asked at `now`, and schedules their next question.
    pub(super) fn take_due(&mut self, now: Time, dice: &mut dyn Dice) -> Vec<NodeId> {
        let (mut taken, pause) = (Vec::new(), self.pause());
        while let Some(&(due, node)) = self.queue.first()
            && due <= now
        {
            self.queue.pop_first();
            let Some(entry) = self.entries.get_mut(&node) else { continue };
            entry.asked = Some(now);
            entry.pardoned = entry.known && now > due.after(pause);
            // From when it was due, not from now: a cadence that does not drift.
            let from = if entry.known && !entry.pardoned { due } else { now };
            entry.known = true;
            entry.due = from.after(jittered(&self.config, dice));
            taken.push(node);
        }
        taken
    }

    /// `node` has answered, or not, at `now`. Says whether a miss may count against it: not if either
    /// the question or the judgment was delayed by ourselves (P6).
    pub(super) fn answered(&mut self, node: NodeId, now: Time) -> bool {
        let patience = self.config.timeout.saturating_add(self.pause());
        let Some(entry) = self.entries.get_mut(&node) else { return true };
        let Some(asked) = entry.asked.take() else { return true };
        entry.due = entry.due.max(now);
        self.queue.insert((entry.due, node));
        !entry.pardoned && now <= asked.after(patience)
    }

    const fn pause(&self) -> Duration {
        self.config.interval.saturating_mul(LOCAL_PAUSE_INTERVALS)
    }
}

/// One interval, moved by up to `jitter` of itself to either side.
fn jittered(config: &HeartbeatConfig, dice: &mut dyn Dice) -> Duration {
    if config.jitter == 0.0 {
        return config.interval;
    }
    let share = config.jitter.mul_add(2.0f64.mul_add(dice.unit(), -1.0), 1.0);
    Duration::try_from_secs_f64(config.interval.as_secs_f64() * share).unwrap_or(config.interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SplitMix;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn schedule(jitter: f64) -> Schedule {
        let config =
            HeartbeatConfig { interval: Duration::from_secs(1), jitter, ..HeartbeatConfig::default() };
        let mut s = Schedule::new(config);
        s.enrol(A);
        s
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn asks_at_once_then_once_per_interval_without_drift() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        assert_eq!(s.take_due(at(5000), dice), [A]);
        for round in 1..100 {
            s.answered(A, at(5000 + round * 1000 - 500));
            assert_eq!(s.next_due(), Some(at(5000 + round * 1000)));
            // Each tick is 3 ms late; the next one is due on the beat all the same.
            assert_eq!(s.take_due(at(5000 + round * 1000 + 3), dice), [A]);
        }
    }

    #[test]
    fn a_node_whose_answer_is_awaited_is_not_asked_again() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        s.enrol(B);
        assert_eq!(s.take_due(at(0), dice), [A, B]);
        s.answered(B, at(10));
        assert_eq!(s.take_due(at(1000), dice), [B]);
        assert!(s.answered(A, at(4000)), "a slow answer is no pause of ours");
        assert_eq!(s.take_due(at(4000), dice), [A]);
        s.dismiss(A);
        assert!(s.answered(A, at(4001)));
        assert_eq!(s.next_due(), None);
    }

    #[test]
    fn jitter_spreads_to_both_sides_and_no_further() {
        let seed = 42;
        let (s, dice) = (schedule(0.1), &mut SplitMix::new(seed));
        let draws: Vec<f64> = (0..1000).map(|_| jittered(&s.config, dice).as_secs_f64()).collect();
        assert!(draws.iter().all(|d| (0.9..1.1).contains(d)), "seed {seed}");
        assert!(draws.iter().any(|&d| d < 0.92) && draws.iter().any(|&d| d > 1.08), "seed {seed}");
    }

    #[test]
    fn p6_after_a_pause_of_ours_a_miss_proves_nothing_for_one_round() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        s.take_due(at(0), dice);
        assert!(s.answered(A, at(10)));
        // Due at 1000; two intervals late is still on time, more is a pause.
        assert_eq!(s.take_due(at(3001), dice), [A]);
        assert!(!s.answered(A, at(3002)));
        assert_eq!(s.take_due(at(4001), dice), [A]);
        assert!(s.answered(A, at(4002)), "the next round counts again");
    }

    #[test]
    fn p6_a_judgment_that_comes_long_after_its_timeout_proves_nothing() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        s.take_due(at(0), dice);
        assert!(!s.answered(A, at(7001)), "timeout 5 s and two intervals of 1 s are over");
    }

    #[test]
    fn a_restart_makes_everybody_due_and_nobody_late() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        s.take_due(at(0), dice);
        s.restart();
        assert_eq!(s.take_due(at(60_000), dice), [A]);
        assert!(s.answered(A, at(60_001)));
    }
}

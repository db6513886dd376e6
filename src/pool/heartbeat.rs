//! The heartbeat's schedule: who is to be asked for a sign of life, and when.
//!
//! ```text
//!   waiting ──due──▶ asked ──beat or miss──▶ waiting, one (jittered) interval after it was due
//! ```
//!
//! A node whose answer is awaited is not asked again, so that answers never overtake each other.
//!
//! Beside the questions it keeps when each node's silence will next mean something to its detector. Whoever
//! runs the schedule says when it looks; a look that comes late is our own pause (P6).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::config::HeartbeatConfig;
use crate::base::{Dice, NodeId, Time};

/// A question or an answer this many intervals late was delayed on our side: our process was stopped
/// or starved. One interval of delay is common on a busy machine; two are not.
const LOCAL_PAUSE_INTERVALS: u32 = 2;

/// Who is due.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The pool's own heartbeat, if it has one.
    usual: Option<Arc<HeartbeatConfig>>,
    entries: HashMap<NodeId, Entry>,
    /// Those not asked at the moment, by due time.
    queue: BTreeSet<(Time, NodeId)>,
    /// Those whose silence counts, by when it will mean something.
    silent: BTreeSet<(Time, NodeId)>,
}

#[derive(Debug)]
struct Entry {
    config: Arc<HeartbeatConfig>,
    /// Is it asked at all?
    asks: bool,
    due: Time,
    /// When its silence will mean something.
    look: Option<Time>,
    /// When the question under way was asked.
    asked: Option<Time>,
    /// Has it been asked before? The first question cannot be late.
    known: bool,
    /// The question under way was asked after a pause of ours: its miss proves nothing (P6).
    pardoned: bool,
}

impl Schedule {
    pub(super) fn new(usual: Option<HeartbeatConfig>) -> Self {
        let usual = usual.map(Arc::new);
        Self { usual, entries: HashMap::new(), queue: BTreeSet::new(), silent: BTreeSet::new() }
    }

    /// Is there anybody to ask or to hear?
    pub(super) fn is_idle(&self) -> bool {
        self.usual.is_none() && self.entries.is_empty()
    }

    /// The heartbeat that `own` and the pool's make for a node.
    pub(super) fn config_for(&self, own: Option<HeartbeatConfig>) -> Option<Arc<HeartbeatConfig>> {
        own.map(Arc::new).or_else(|| self.usual.clone())
    }

    /// From now on `node` is heard, and asked too if it `asks`: the first time at once.
    pub(super) fn enrol(&mut self, node: NodeId, config: Arc<HeartbeatConfig>, asks: bool) {
        let new =
            Entry { config, asks, due: Time::ZERO, look: None, asked: None, known: false, pardoned: false };
        self.entries.insert(node, new);
        if asks {
            self.queue.insert((Time::ZERO, node));
        }
    }

    /// From now on `node` is neither asked nor heard.
    pub(super) fn dismiss(&mut self, node: NodeId) {
        self.look_at(node, None);
        if let Some(entry) = self.entries.remove(&node) {
            self.queue.remove(&(entry.due, node));
        }
    }

    /// Everybody is due again at once, and nobody was asked: whoever asked before has stopped.
    pub(super) fn restart(&mut self) {
        let nodes: Vec<NodeId> = self.entries.keys().copied().collect();
        for node in nodes {
            let Some(Entry { config, asks, .. }) = self.entries.get(&node) else { continue };
            let (config, asks) = (Arc::clone(config), *asks);
            self.dismiss(node);
            self.enrol(node, config, asks);
        }
    }

    /// When somebody is due next, of those not asked at the moment, or somebody's silence means something.
    pub(super) fn next_due(&self) -> Option<Time> {
        let first = |set: &BTreeSet<(Time, NodeId)>| set.first().map(|&(time, _)| time);
        [first(&self.queue), first(&self.silent)].into_iter().flatten().min()
    }

    /// When `node` is due, or was when it was asked last.
    pub(super) fn due_of(&self, node: NodeId) -> Option<Time> {
        self.entries.get(&node).filter(|entry| entry.asks).map(|entry| entry.due)
    }

    /// The heartbeat of `node`.
    pub(super) fn config_of(&self, node: NodeId) -> Option<&HeartbeatConfig> {
        self.entries.get(&node).map(|entry| &*entry.config)
    }

    /// The silence of `node` will mean something at `then`, and not before.
    pub(super) fn look_at(&mut self, node: NodeId, then: Option<Time>) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        if let Some(before) = std::mem::replace(&mut entry.look, then) {
            self.silent.remove(&(before, node));
        }
        if let Some(then) = then {
            self.silent.insert((then, node));
        }
    }

    /// Takes out everybody whose silence is to be looked at.
    pub(super) fn take_silent(&mut self, now: Time) -> Vec<NodeId> {
        let mut taken = Vec::new();
        while let Some(&(then, node)) = self.silent.first()
            && then <= now
        {
            self.look_at(node, None);
            taken.push(node);
        }
        taken
    }

    /// By how much we are late at `now`, if by more than a busy machine explains: then our own process was
    /// stopped or starved, and what we did not hear meanwhile is no silence (P6). One interval is added, in
    /// which the beats that wait to be read are heard before anybody is judged.
    pub(super) fn lateness(&self, now: Time) -> Duration {
        // What was never due before cannot be late.
        let after_start = (Time::from_nanos(1), NodeId(0));
        let first = |set: &BTreeSet<(Time, NodeId)>| set.range(after_start..).next().copied();
        let planned = [first(&self.queue), first(&self.silent)].into_iter().flatten().min();
        let Some((planned, node)) = planned else { return Duration::ZERO };
        let Some(config) = self.config_of(node) else { return Duration::ZERO };
        let late = now > planned.after(pause(config));
        if late { now.since(planned).saturating_add(config.interval) } else { Duration::ZERO }
    }

    /// Takes out everybody who is due, as asked at `now`, and schedules their next question.
    pub(super) fn take_due(&mut self, now: Time, dice: &mut dyn Dice) -> Vec<NodeId> {
        let mut taken = Vec::new();
        while let Some(&(due, node)) = self.queue.first()
            && due <= now
        {
            self.queue.pop_first();
            let Some(entry) = self.entries.get_mut(&node) else { continue };
            entry.asked = Some(now);
            entry.pardoned = entry.known && now > due.after(pause(&entry.config));
            // From when it was due, not from now: a cadence that does not drift.
            let from = if entry.known && !entry.pardoned { due } else { now };
            entry.known = true;
            entry.due = from.after(jittered(&entry.config, dice));
            taken.push(node);
        }
        taken
    }

    /// `node` has answered, or not, at `now`. Says whether a miss may count against it: not if either
    /// the question or the judgment was delayed by ourselves (P6).
    pub(super) fn answered(&mut self, node: NodeId, now: Time) -> bool {
        let Some(entry) = self.entries.get_mut(&node) else { return true };
        let patience = entry.config.timeout.saturating_add(pause(&entry.config));
        let Some(asked) = entry.asked.take() else { return true };
        entry.due = entry.due.max(now);
        self.queue.insert((entry.due, node));
        !entry.pardoned && now <= asked.after(patience)
    }
}

const fn pause(config: &HeartbeatConfig) -> Duration {
    config.interval.saturating_mul(LOCAL_PAUSE_INTERVALS)
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

    fn config(jitter: f64) -> HeartbeatConfig {
        HeartbeatConfig { interval: Duration::from_secs(1), jitter, ..HeartbeatConfig::default() }
    }

    fn enrol(s: &mut Schedule, node: NodeId) {
        let config = s.config_for(None).unwrap();
        s.enrol(node, config, true);
    }

    fn schedule(jitter: f64) -> Schedule {
        let mut s = Schedule::new(Some(config(jitter)));
        enrol(&mut s, A);
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
        enrol(&mut s, B);
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
        let (config, dice) = (config(0.1), &mut SplitMix::new(seed));
        let draws: Vec<f64> = (0..1000).map(|_| jittered(&config, dice).as_secs_f64()).collect();
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

    #[test]
    fn nodes_have_their_own_rhythms() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        let slow = HeartbeatConfig { interval: Duration::from_secs(3), jitter: 0.0, ..config(0.0) };
        let slow = s.config_for(Some(slow)).unwrap();
        s.enrol(B, slow, true);
        let mut asked = Vec::new();
        for second in 0..7 {
            for node in s.take_due(at(second * 1000), dice) {
                s.answered(node, at(second * 1000 + 1));
                asked.push((second, node));
            }
        }
        let of = |node| asked.iter().filter(|(_, n)| *n == node).map(|(t, _)| *t).collect::<Vec<_>>();
        assert_eq!((of(A), of(B)), (vec![0, 1, 2, 3, 4, 5, 6], vec![0, 3, 6]));
    }

    #[test]
    fn silence_is_looked_at_when_it_means_something() {
        let mut s = Schedule::new(Some(config(0.0)));
        let heard = s.config_for(None).unwrap();
        s.enrol(A, Arc::clone(&heard), false);
        assert_eq!((s.next_due(), s.due_of(A)), (None, None));
        s.look_at(A, Some(at(500)));
        s.look_at(A, Some(at(900)));
        assert_eq!((s.next_due(), s.take_silent(at(899))), (Some(at(900)), vec![]));
        assert_eq!((s.take_silent(at(900)), s.next_due()), (vec![A], None));
        s.look_at(A, Some(at(1000)));
        s.dismiss(A);
        assert_eq!(s.take_silent(at(5000)), []);
    }

    #[test]
    fn p6_a_look_that_comes_late_is_a_pause_of_ours() {
        let (mut s, dice) = (schedule(0.0), &mut SplitMix::new(1));
        assert_eq!(s.lateness(at(60_000)), Duration::ZERO, "the first look cannot be late");
        s.take_due(at(0), dice);
        s.answered(A, at(1));
        assert_eq!(s.lateness(at(3000)), Duration::ZERO);
        assert_eq!(s.lateness(at(3001)), Duration::from_millis(2001 + 1000));
    }
}

//! L5 against a callee that lets calls wait: a simulated server, whose capacity and speed change under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use holdfast::base::{Dice, Outbox, Source, SplitMix, Time};
use holdfast::policy::limit::adaptive::{Aimd, AimdConfig, Change};
use holdfast::policy::limit::{Concurrency, ConcurrencyConfig, Outcome, Slot};

const MS: u64 = 1_000_000;

/// What the server is like for a while.
#[derive(Clone, Copy, Debug)]
struct Phase {
    workers: usize,
    /// The mean time that a worker is busy with a call.
    service_ms: u64,
    seconds: u64,
}

/// How a server answers.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// The share of a call's service before its first token.
    first: f64,
    /// How much service times differ: each is the mean times 1 - spread to 1 + spread.
    spread: f64,
}

/// What was seen in a phase.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The mean limit in the second half, weighted by time.
    limit: f64,
    /// What was served of what the workers could serve, from the phase's first moment on.
    goodput: f64,
    /// The mean time in the server's queue in the second half, in service times.
    queue: f64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    FirstToken,
    End,
}

struct World {
    limit: Concurrency,
    manner: Manner,
    dice: SplitMix,
    now: u64,
    calls: Vec<Option<(Slot, u64)>>,
    waiting: VecDeque<usize>,
    busy: usize,
    events: BinaryHeap<Reverse<(u64, usize, What)>>,
}

impl World {
    fn new(adaptive: bool, initial: u32, manner: Manner) -> Self {
        let adaptive = adaptive.then_some(AimdConfig { initial, minimum: 1, maximum: 200 });
        let config = ConcurrencyConfig { limit: initial, max_queue: 0, queue_timeout: None, adaptive };
        let limit = Concurrency::new(Source::new("c"), config.validate().unwrap());
        let dice = SplitMix::new(7);
        let (calls, waiting, events) = (Vec::new(), VecDeque::new(), BinaryHeap::new());
        Self { limit, manner, dice, now: 0, calls, waiting, busy: 0, events }
    }

    /// There is always more to do: whatever slot is free is taken, whatever worker is free works.
    fn fill(&mut self, phase: Phase, queued: &mut (f64, u64)) {
        let now = Time::from_nanos(self.now);
        while let Some(slot) = self.limit.take(|| now) {
            self.waiting.push_back(self.calls.len());
            self.calls.push(Some((slot, self.now)));
        }
        while self.busy < phase.workers
            && let Some(call) = self.waiting.pop_front()
        {
            self.busy += 1;
            let (_, began) = self.calls[call].as_ref().unwrap();
            *queued = (queued.0 + (self.now - began) as f64, queued.1 + 1);
            let share = 1.0 + self.manner.spread * (2.0 * self.dice.unit() - 1.0);
            let service = Duration::from_millis(phase.service_ms).mul_f64(share);
            let first = now.after(service.mul_f64(self.manner.first));
            self.events.push(Reverse((first.as_nanos(), call, What::FirstToken)));
            self.events.push(Reverse((now.after(service).as_nanos(), call, What::End)));
        }
    }

    fn run(&mut self, phase: Phase) -> Seen {
        let mut out = Outbox::new(0);
        let (began, end) = (self.now, self.now + phase.seconds * 1000 * MS);
        let half = began.midpoint(end);
        let (mut served, mut area, mut early, mut late) = (0u64, 0.0, (0.0, 0), (0.0, 0));
        loop {
            self.fill(phase, if self.now < half { &mut early } else { &mut late });
            let Reverse((at, call, what)) = self.events.pop().unwrap();
            if at >= end {
                self.events.push(Reverse((at, call, what)));
                area += f64::from(self.limit.load().limit) * (end - self.now.max(half)) as f64;
                self.now = end;
                break;
            }
            area +=
                f64::from(self.limit.load().limit) * at.max(half).saturating_sub(self.now.max(half)) as f64;
            self.now = at;
            let now = Time::from_nanos(at);
            match what {
                What::FirstToken => {
                    let (slot, since) = self.calls[call].as_ref().unwrap();
                    self.limit.first_item(slot, Duration::from_nanos(at - since), now, &mut out);
                }
                What::End => {
                    let (slot, _) = self.calls[call].take().unwrap();
                    self.limit.release(slot, Outcome::Served, now, &mut out);
                    self.busy -= 1;
                    served += 1;
                }
            }
        }
        let most = phase.workers as f64 * (phase.seconds * 1000) as f64 / phase.service_ms as f64;
        Seen {
            limit: area / (end - half) as f64,
            goodput: served as f64 / most,
            queue: late.0 / late.1.max(1) as f64 / (phase.service_ms * MS) as f64,
        }
    }
}

/// Most of an answer comes after its first token, or nothing; workers are alike, or not.
const MANNERS: [Manner; 4] = [
    Manner { first: 0.05, spread: 0.0 },
    Manner { first: 0.05, spread: 0.5 },
    Manner { first: 1.0, spread: 0.0 },
    Manner { first: 0.3, spread: 0.9 },
];

/// 20, 6 and 30 workers; then each of the thirty takes twice as long, and is as quick as before again. From each
/// phase's first moment on nine tenths of what its workers can serve are served, which no fixed limit exceeds; the
/// limit ends between nine tenths of the workers and 2.2 times as many, and the queue at no more than 1.25 services.
#[test]
fn l5_it_follows_a_callee_that_lets_calls_wait() {
    for manner in MANNERS {
        for service in [20, 500, 10_000] {
            let mut world = World::new(true, 8, manner);
            for (workers, service_ms) in
                [(20, service), (6, service), (30, service), (30, 2 * service), (30, service)]
            {
                let phase = Phase { workers, service_ms, seconds: 1 + service * 2 / 5 };
                let seen = world.run(phase);
                let per_worker = seen.limit / workers as f64;
                let told = format!("{manner:?}, {phase:?}: {seen:?}");
                assert!((0.9..=2.2).contains(&per_worker), "{told}");
                assert!(seen.goodput >= 0.9, "{told}");
                assert!(seen.queue <= 1.25, "{told}");
            }
        }
    }
}

/// The comparison means something: a fixed limit at the top of the band serves all that can be served, one that is
/// too low does not, and one that is too high makes calls wait.
#[test]
fn fixed_limits_show_what_a_wrong_number_costs() {
    let phase = Phase { workers: 20, service_ms: 20, seconds: 9 };
    let seen = |limit| World::new(false, limit, MANNERS[0]).run(phase);
    assert!(seen(44).goodput > 0.98);
    assert!(seen(6).goodput < 0.31);
    assert!(seen(200).queue > 8.0);
}

/// It begins with ten times too many, so that all it has ever seen is its own queue. Each probe finds a shorter one.
#[test]
fn l5_a_base_learned_in_our_own_queue_is_learned_anew() {
    let mut world = World::new(true, 100, MANNERS[2]);
    let phase = Phase { workers: 10, service_ms: 20, seconds: 12 };
    let seen: Vec<_> = (0..4).map(|_| world.run(phase)).collect();
    assert!(seen[0].queue > 5.0, "{seen:?}");
    assert!(seen[3].queue <= 1.25 && seen[3].limit <= 22.0, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.goodput >= 0.95), "{seen:?}");
}

fn law(initial: u32) -> Aimd {
    Aimd::new(AimdConfig { initial, minimum: 1, maximum: 64 })
}

/// A round of first tokens, at `now` seconds; what the last of them changed.
fn round(law: &Aimd, wait: Duration, now: u64, used: bool) -> Change {
    let mut change = Change::None;
    for _ in 0..law.limit().max(10) {
        change = law.first_token(law.epoch(), wait, Time::from_nanos(now * 1000 * MS), used);
    }
    change
}

#[test]
fn l5_a_probe_is_one_round_of_a_quarter_and_only_of_a_limit_in_use() {
    let (quick, law) = (Duration::from_millis(300), law(20));
    for now in 0..200 {
        assert_eq!(round(&law, quick, now, false), Change::None);
    }
    assert_eq!(round(&law, quick, 200, true), Change::Probe);
    assert_eq!(law.limit(), 5);
    assert_eq!(round(&law, quick, 201, true), Change::Back);
    assert_eq!(law.limit(), 20);
    for now in 202..251 {
        assert_eq!(round(&law, quick, now, true), Change::None, "fifty rounds between two");
    }
    assert_eq!(round(&law, quick, 251, true), Change::Probe);
    // Nobody comes; the first who does, much later, ends it.
    assert_eq!(law.first_token(law.epoch(), quick, Time::from_nanos(400_000 * MS), false), Change::Back);
    assert_eq!(law.limit(), 20);
}

#[test]
fn l5_fifty_rounds_within_ten_seconds_are_no_reason_to_probe() {
    let law = law(20);
    for _ in 0..500 {
        assert_eq!(round(&law, Duration::from_millis(20), 9, true), Change::None);
    }
}

#[test]
fn l5_a_complaint_during_a_probe_ends_it() {
    let (quick, law) = (Duration::from_millis(300), law(20));
    let probe = (0..100).find(|&now| round(&law, quick, now, true) == Change::Probe);
    assert!(probe.is_some());
    assert!(law.overloaded(law.epoch()));
    assert_eq!(law.limit(), 3);
    assert_eq!(round(&law, quick, 101, true), Change::None);
    assert_eq!(law.limit(), 3, "what is refused is not tried again at once");
}

/// The callee is four times slower, whatever we do: three cuts, and then it is known to be so.
#[test]
fn l5_cuts_in_vain_end() {
    let law = law(40);
    assert_eq!(round(&law, Duration::from_millis(300), 0, false), Change::None);
    let slow = |now| round(&law, Duration::from_millis(1200), now, false);
    let changes: Vec<_> = (1..20).map(slow).collect();
    assert_eq!(changes[..3], [Change::Cut; 3]);
    assert_eq!(changes[3..], [Change::None; 16]);
    assert_eq!(law.limit(), 13);
}

/// Prompts differ: first tokens take from 0.1 to 3 seconds at random, and nothing queues. Of a thousand
/// rounds no more than one in fifty is taken for a queue.
#[test]
fn l5_differing_prompts_are_no_queue() {
    let (law, mut dice) = (law(20), SplitMix::new(3));
    let mut cuts = 0;
    for n in 0..20_000 {
        let wait = Duration::from_secs_f64(0.1 * 30f64.powf(dice.unit()));
        let change = law.first_token(law.epoch(), wait, Time::from_millis(n * 100), false);
        cuts += u32::from(change == Change::Cut);
    }
    assert!(cuts <= 20, "{cuts}");
}

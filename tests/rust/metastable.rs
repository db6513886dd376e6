//! P10: no metastable failure. Overload strikes and goes away; does the system come back by itself?
//!
//! The world: one server with ten workers of 100 ms each (100 answers a second) and a first-come line without
//! end, that answers even those who have long gone; clients who ask 70 times a second, wait one second for an
//! answer, and make up to four attempts. From second 20 to 30 three times as many ask. What then keeps the
//! line long is the retries: each call that waits too long asks again (Bronson et al., "Metastable Failures in
//! Distributed Systems", 2021). Time and arrivals are simulated, the machine is the real one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use holdfast::base::{Dice, Failure, FailureKind, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::pipeline::{Execution, Finish, Limits, Moment, Plan, Step};
use holdfast::policy::limit::{Concurrency, ConcurrencyConfig};
use holdfast::policy::retry::{Backoff, Budget, RetryConfig};

const SEED: u64 = 7;
const WORKERS: usize = 10;
const SERVICE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const CALLS_PER_SECOND: f64 = 70.0;
const TRIGGER: std::ops::Range<usize> = 20..30;
const SECONDS: usize = 90;
/// Within that many seconds after the trigger, goodput must be back (P10).
const BOUND: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival,
    /// A worker is done with the attempt of a call.
    Served(u64, u32),
    /// A client will not wait any longer for this attempt.
    GaveUp(u64, u32),
    Wake(u64),
}

/// One server, its clients, and what became of the calls, second by second.
struct World {
    now: Time,
    dice: SplitMix,
    plan: Arc<Plan>,
    agenda: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    numbered: u64,
    calls: BTreeMap<u64, (Execution, u32)>,
    busy: usize,
    line: VecDeque<(u64, u32)>,
    goodput: Vec<u32>,
    load: Vec<u32>,
}

impl World {
    fn new(plan: Plan) -> Self {
        Self {
            now: Time::ZERO,
            dice: SplitMix::new(SEED),
            plan: Arc::new(plan),
            agenda: BinaryHeap::new(),
            numbered: 0,
            calls: BTreeMap::new(),
            busy: 0,
            line: VecDeque::new(),
            goodput: vec![0; SECONDS + 1],
            load: vec![0; SECONDS + 1],
        }
    }

    /// Runs the scenario; good answers per second.
    fn run(mut self) -> Self {
        self.then(Duration::ZERO, Happening::Arrival);
        while let Some(Reverse((at, _, happening))) = self.agenda.pop() {
            if at >= Time::ZERO.after(Duration::from_secs(SECONDS as u64)) {
                break;
            }
            self.now = at;
            match happening {
                Happening::Arrival => self.arrive(),
                Happening::Served(call, attempt) => self.served(call, attempt),
                Happening::GaveUp(call, attempt) => self.record(call, attempt, &timed_out()),
                Happening::Wake(call) => {
                    let Some((mut execution, attempt)) = self.calls.remove(&call) else { continue };
                    let step = self.at(|at| execution.wake(at));
                    self.follow(call, execution, attempt, step);
                }
            }
        }
        for (mut execution, _) in std::mem::take(&mut self.calls).into_values() {
            self.at(|at| execution.abandon(at));
        }
        self
    }

    fn arrive(&mut self) {
        let rate = if TRIGGER.contains(&self.second()) { 3.0 * CALLS_PER_SECOND } else { CALLS_PER_SECOND };
        let gap = -(1.0 - self.dice.unit()).ln() / rate;
        self.then(Duration::from_secs_f64(gap), Happening::Arrival);
        let plan = Arc::clone(&self.plan);
        let (execution, step) = self.at(|at| Execution::start(plan, None, None, at));
        self.numbered += 1;
        self.follow(self.numbered, execution, 0, step);
    }

    fn follow(&mut self, call: u64, execution: Execution, attempt: u32, step: Step) {
        match step {
            Step::Attempt(made) => {
                self.calls.insert(call, (execution, made.number));
                let second = self.second();
                self.load[second] += 1;
                self.line.push_back((call, made.number));
                self.serve();
                self.then(PATIENCE, Happening::GaveUp(call, made.number));
            }
            Step::Sleep { until } => {
                self.calls.insert(call, (execution, attempt));
                self.then(until.at.since(self.now), Happening::Wake(call));
            }
            Step::Finish(Finish::Return) => {
                let second = self.second();
                self.goodput[second] += 1;
            }
            Step::Finish(_) | Step::AskBackoff { .. } | Step::AskBalancer { .. } => {}
        }
    }

    /// A free worker takes the next in line, whether or not anybody still waits for the answer.
    fn serve(&mut self) {
        while self.busy < WORKERS
            && let Some((call, attempt)) = self.line.pop_front()
        {
            self.busy += 1;
            self.then(SERVICE, Happening::Served(call, attempt));
        }
    }

    fn served(&mut self, call: u64, attempt: u32) {
        self.busy -= 1;
        self.record(call, attempt, &Verdict::Ok);
        self.serve();
    }

    /// What came of an attempt, if its client still waits for it.
    fn record(&mut self, call: u64, attempt: u32, verdict: &Verdict) {
        if self.calls.get(&call).is_none_or(|(_, current)| *current != attempt) {
            return;
        }
        let Some((mut execution, _)) = self.calls.remove(&call) else { return };
        let step = self.at(|at| execution.record(verdict, at));
        // From now on nobody waits for this attempt.
        self.follow(call, execution, 0, step);
    }

    fn at<R>(&mut self, act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
        let mut out = Outbox::new(0);
        act(&mut Moment { now: self.now, dice: &mut self.dice, out: &mut out })
    }

    fn then(&mut self, after: Duration, happening: Happening) {
        self.numbered += 1;
        self.agenda.push(Reverse((self.now.after(after), self.numbered, happening)));
    }

    fn second(&self) -> usize {
        usize::try_from(self.now.since(Time::ZERO).as_secs()).unwrap().min(SECONDS)
    }

    /// Seconds from the end of the trigger till nine tenths of the calls succeed again, for good; none if never.
    fn recovery(&self) -> Option<usize> {
        // A moving mean over five seconds, for arrivals are random.
        let good = |second: usize| f64::from(self.goodput[second..second + 5].iter().sum::<u32>()) / 5.0;
        let well = |second: usize| good(second) >= 0.9 * CALLS_PER_SECOND;
        let last_bad = (TRIGGER.end..SECONDS - 5).rev().find(|second| !well(*second));
        match last_bad {
            None => Some(0),
            Some(second) if second + 10 >= SECONDS => None,
            Some(second) => Some(second + 1 - TRIGGER.end),
        }
    }

    fn told(&self, name: &str) -> String {
        let mut text = format!("{name:>24}");
        for second in [10, 19, 22, 26, 29, 31, 35, 40, 50, 80] {
            let (good, asked) = (self.goodput[second], self.load[second]);
            write!(text, " {good:>4}/{asked:<4}").unwrap();
        }
        write!(text, "  back after: {:?}", self.recovery()).unwrap();
        text
    }
}

const fn timed_out() -> Verdict {
    Verdict::Fail(Failure { kind: FailureKind::Timeout, ..Failure::plain() })
}

fn plan(budget: bool, limits: bool) -> Plan {
    let budget = budget.then(|| Arc::new(Budget::new(20.0, 0.1).unwrap()));
    let backoff = Backoff::Constant(Duration::from_millis(50));
    let retry = RetryConfig { attempts: 4, backoff, budget, ..RetryConfig::default() };
    let config = ConcurrencyConfig { limit: 40, max_queue: 0, queue_timeout: None, adaptive: None };
    let concurrency = limits.then(|| Arc::new(Concurrency::new(Source::new("bulkhead"), config)));
    let limits = Limits { concurrency, ..Limits::default() };
    Plan { retry: Some(retry), limits, ..Plan::bare(Source::new("clients")) }
}

#[test]
fn p10_with_budgets_and_limits_goodput_is_back_within_ten_seconds_and_with_naive_retries_never() {
    let naive = World::new(plan(false, false)).run();
    let budget = World::new(plan(true, false)).run();
    let both = World::new(plan(true, true)).run();
    println!(
        "seed {SEED}; good answers / attempts in seconds 10 19 22 26 29 31 35 40 50 80; the trigger is 20 to 30"
    );
    println!("{}", naive.told("naive retries"));
    println!("{}", budget.told("budget"));
    println!("{}", both.told("budget and limit"));
    for world in [&naive, &budget, &both] {
        assert!(world.goodput[5..20].iter().sum::<u32>() >= 900, "all is well before the trigger");
    }
    assert_eq!(naive.recovery(), None, "naive retries keep the line long for ever");
    assert!(naive.goodput[60..80].iter().sum::<u32>() < 200, "{}", naive.told("naive"));
    assert!(both.recovery().is_some_and(|seconds| seconds <= BOUND), "{}", both.told("both"));
    let during: u32 = both.goodput[TRIGGER].iter().sum();
    assert!(during >= 900, "even under overload the server does useful work: {during}");
}

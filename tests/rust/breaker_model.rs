//! The breaker against a naive model of itself: any history of admissions, settlements of every verdict,
//! clock jumps and orders leads both to the same answers, states and counts.
//!
//! The model keeps everything in plain lists and decides by looking at all of them. It knows nothing of
//! words, eras, buckets or compare-and-swap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::base::{Blame, Dice, Failure, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::policy::breaker::{Breaker, BreakerConfig, Permit, State, WindowKind};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const MILLI: u64 = 1_000_000;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Admit { fast: bool },
    Settle { which: usize, verdict: Kind, delay_ms: Option<u64>, fast: bool },
    Renew { which: usize },
    FirstItem { which: usize },
    Jump { nanos: u64 },
    Order { order: usize },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ok,
    Fail,
    Throttled,
    Ignore,
    NotMine,
}

fn verdict(kind: Kind, delay_ms: Option<u64>) -> Verdict {
    let delay = delay_ms.map(Duration::from_millis);
    let failure = Failure { delay, ..Failure::plain() };
    match kind {
        Kind::Ok => Verdict::Ok,
        Kind::Fail => Verdict::Fail(failure),
        Kind::Throttled => Verdict::Throttled(failure),
        Kind::Ignore => Verdict::Ignore,
        Kind::NotMine => Verdict::Fail(Failure { blame: Blame::Credential, ..failure }),
    }
}

/// A call under way, as the model sees it.
#[derive(Clone, Debug)]
struct Call {
    /// How many changes of state came before it.
    life: u64,
    admitted: u64,
    /// When its lease ends, of a probe: in milliseconds.
    lease: Option<u64>,
    first_item: Option<bool>,
    /// Its end has been counted already: nobody waits for it.
    counted: bool,
}

/// A judged call: life, when, failed, slow.
type Judged = (u64, u64, bool, bool);

#[derive(Debug)]
struct Model {
    rules: BreakerConfig,
    state: State,
    life: u64,
    since: Option<u64>,
    closed_at: u64,
    ends: u64,
    good: u32,
    row: u32,
    level: u32,
    down_since: Option<u64>,
    recoveries: Vec<u64>,
    judged: Vec<Judged>,
    calls: Vec<Option<Call>>,
    /// Who was given which probe slot.
    slots: [Option<usize>; 16],
    /// Starts of calls that were followed, ended or not: life, when.
    starts: Vec<(u64, u64)>,
    terms: Terms,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Terms {
    successes: u64,
    failures: u64,
    throttled: u64,
    ignored: u64,
    late: u64,
    lost: u64,
    rejected: u64,
    in_flight: u64,
    slow: u64,
    opened: u64,
}

impl Model {
    fn new(rules: BreakerConfig) -> Self {
        Self {
            rules,
            state: State::Closed,
            life: 0,
            since: None,
            closed_at: 0,
            ends: 0,
            good: 0,
            row: 0,
            level: 0,
            down_since: None,
            recoveries: Vec::new(),
            judged: Vec::new(),
            calls: Vec::new(),
            slots: [None; 16],
            starts: Vec::new(),
            terms: Terms::default(),
        }
    }

    fn turn(&mut self, state: State, now: u64) {
        if state != self.state {
            self.since = Some(now);
        }
        if !self.state_refuses() && matches!(state, State::Open | State::ForcedOpen) {
            self.down_since = Some(now);
        }
        self.state = state;
        self.life += 1;
        (self.good, self.row) = (0, 0);
    }

    fn state_refuses(&self) -> bool {
        matches!(self.state, State::Open | State::HalfOpen | State::ForcedOpen)
    }

    fn judges(&self, now: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Shadow => now / MILLI >= self.ends / MILLI,
            _ => false,
        }
    }

    /// Calls in the window: whole sixteenths of it, or the last N.
    fn window(&self, now: u64) -> Vec<Judged> {
        let mine = self.judged.iter().filter(|judged| judged.0 == self.life).copied();
        match self.rules.window {
            WindowKind::Time(window) => {
                let width = (nanos(window) / 16).max(1);
                mine.filter(|judged| judged.1 / width + 16 > now / width).collect()
            }
            WindowKind::Count(n) => {
                let all: Vec<_> = mine.collect();
                all[all.len().saturating_sub(n as usize)..].to_vec()
            }
        }
    }

    /// Calls under way that are slow already. Of calls that started within a fourteenth of the limit, all
    /// are as young as the youngest of them.
    fn stuck(&self, now: u64) -> u64 {
        let (Some(_), Some(limit)) = (self.rules.slow_call_rate, self.rules.slow_call) else { return 0 };
        let width = nanos(limit).div_ceil(14);
        let followed = self
            .calls
            .iter()
            .flatten()
            .filter(|call| call.life == self.life && call.lease.is_none() && call.first_item.is_none());
        let is_stuck = |call: &&Call| {
            let together = self.starts.iter().filter(|start| start.1 / width == call.admitted / width);
            let youngest = together.map(|start| start.1).max().unwrap_or(0);
            now - youngest >= nanos(limit)
        };
        followed.filter(is_stuck).count() as u64
    }

    fn rule(&self, now: u64) -> bool {
        if !self.judges(now) {
            return false;
        }
        let window = self.window(now);
        let (calls, stuck) = (window.len() as u64, self.stuck(now));
        let failed = window.iter().filter(|judged| judged.2).count() as u64;
        let slow = window.iter().filter(|judged| judged.3).count() as u64;
        let share = |rate: Option<f64>, part: u64, whole: u64| {
            let enough = whole >= u64::from(self.rules.minimum_calls);
            rate.is_some_and(|rate| enough && part as f64 / whole as f64 >= rate)
        };
        self.rules.failure_threshold.is_some_and(|n| self.row >= n)
            || share(self.rules.failure_rate, failed, calls)
            || share(self.rules.slow_call_rate, slow + stuck, calls + stuck)
    }

    /// Opens, if it is in a state to.
    fn open(&mut self, now: u64, asked: Option<u64>, is_failure: bool) {
        let mut level = self.level;
        if self.state == State::Closed {
            let mut healthy = now.saturating_sub(self.closed_at / MILLI * MILLI);
            while level > 0 && healthy >= self.own_time(level - 1) {
                healthy -= self.own_time(level - 1);
                level -= 1;
            }
        }
        let asked = asked.map(|asked| asked.min(nanos(self.rules.cooldown_cap)));
        let open_for = match asked {
            Some(asked) if !is_failure => asked,
            asked => self.own_time(level).max(asked.unwrap_or(0)),
        };
        if self.state == State::Shadow {
            self.turn(State::Shadow, now);
            self.ends = now + open_for;
            return;
        }
        let grows = is_failure && self.rules.open_timeout_factor > 1.0;
        self.level = level + u32::from(grows);
        self.turn(State::Open, now);
        self.ends = now + open_for;
        self.terms.opened += 1;
    }

    fn own_time(&self, level: u32) -> u64 {
        let grown = nanos(self.rules.open_timeout) * 2u64.pow(level.min(20));
        if self.rules.open_timeout_factor > 1.0 {
            self.rules.open_timeout_max.map_or(grown, |max| grown.min(nanos(max)))
        } else {
            nanos(self.rules.open_timeout)
        }
    }

    /// Leases that have run out are lost, whoever notices.
    fn lose(&mut self, now: u64) {
        for call in self.calls.iter_mut().flatten() {
            if !call.counted && call.lease.is_some_and(|lease| lease <= now / MILLI) {
                call.counted = true;
                self.terms.lost += 1;
            }
        }
    }

    fn admit(&mut self, now: u64) -> Result<(), &'static str> {
        // Rates are judged when a call ends; at an admission only what calls under way have caused is new.
        if self.stuck(now) > 0 && self.rule(now) {
            self.open(now, None, true);
        }
        if self.state == State::Open && now >= self.ends {
            self.turn(State::HalfOpen, now);
        }
        let probes = self.probes();
        let full = self.state == State::HalfOpen && probes >= self.rules.half_open_max_calls as usize;
        if full || matches!(self.state, State::Open | State::ForcedOpen) {
            self.terms.rejected += 1;
            return Err(self.state.as_str());
        }
        let lease = (self.state == State::HalfOpen)
            .then(|| now / MILLI + nanos(self.rules.probe_lease).div_ceil(MILLI));
        if lease.is_some() {
            self.take_slot();
        }
        if lease.is_none() && matches!(self.state, State::Closed | State::Shadow) {
            self.starts.push((self.life, now));
        }
        let call = Call { life: self.life, admitted: now, lease, first_item: None, counted: false };
        self.calls.push(Some(call));
        Ok(())
    }

    /// The first slot that no probe of this round holds. If a probe of an earlier round still runs in it,
    /// that one is late from now on: it can be nothing else any more.
    fn take_slot(&mut self) {
        let newcomer = self.calls.len();
        for slot in &mut self.slots {
            let holder = slot.and_then(|holder| self.calls[holder].as_mut()).filter(|call| !call.counted);
            match holder {
                Some(call) if call.life == self.life => continue,
                Some(call) => {
                    call.counted = true;
                    self.terms.late += 1;
                }
                None => {}
            }
            *slot = Some(newcomer);
            return;
        }
    }

    /// Probes of this round that hold a slot.
    fn probes(&self) -> usize {
        let mine = |call: &&Call| call.life == self.life && !call.counted && call.lease.is_some();
        self.calls.iter().flatten().filter(mine).count()
    }

    fn settle(&mut self, which: usize, kind: Kind, delay: Option<u64>, now: u64) {
        let call = self.calls[which].take().expect("under way");
        if call.counted {
            return;
        }
        let asks = matches!(kind, Kind::Fail | Kind::Throttled);
        let asked = delay.filter(|&delay| delay > 0 && asks).map(|delay| delay * MILLI);
        if call.life != self.life {
            self.terms.late += 1;
            let later = asked.map(|asked| now + asked.min(nanos(self.rules.cooldown_cap)));
            if self.state == State::Open && call.life + 1 == self.life {
                self.ends = self.ends.max(later.unwrap_or(0));
            }
            return;
        }
        let slow = self
            .rules
            .slow_call
            .is_some_and(|limit| call.first_item.unwrap_or(now - call.admitted >= nanos(limit)));
        let term = match kind {
            Kind::Ok => &mut self.terms.successes,
            Kind::Fail => &mut self.terms.failures,
            Kind::Throttled => &mut self.terms.throttled,
            Kind::Ignore | Kind::NotMine => &mut self.terms.ignored,
        };
        *term += 1;
        self.terms.slow += u64::from(slow && matches!(kind, Kind::Ok | Kind::Fail));
        if self.state == State::HalfOpen {
            self.settle_probe(kind, asked, slow, now);
        } else if self.judges(now) {
            self.settle_judged(kind, asked, slow, now);
        }
    }

    fn settle_probe(&mut self, kind: Kind, asked: Option<u64>, slow: bool, now: u64) {
        match kind {
            Kind::Ok if slow && self.rules.slow_call_rate.is_some() => self.open(now, None, true),
            Kind::Ok => {
                self.good += 1;
                if self.good == self.rules.success_threshold {
                    self.recoveries.extend(self.down_since.take().map(|down| now - down));
                    self.turn(State::Closed, now);
                    self.closed_at = now;
                }
            }
            Kind::Fail => self.open(now, asked, true),
            Kind::Throttled if asked.is_some() => self.open(now, asked, false),
            _ => {}
        }
    }

    fn settle_judged(&mut self, kind: Kind, asked: Option<u64>, slow: bool, now: u64) {
        if let Kind::Ok | Kind::Fail = kind {
            self.judged.push((self.life, now, kind == Kind::Fail, slow));
            self.row = if kind == Kind::Fail { self.row + 1 } else { 0 };
        }
        if kind == Kind::Throttled && asked.is_some() {
            self.open(now, asked, false);
        } else if self.rule(now) {
            self.open(now, asked, true);
        }
    }

    fn order(&mut self, order: usize, now: u64) {
        let orders = [State::ForcedOpen, State::ForcedClosed, State::Disabled, State::Shadow, State::Closed];
        let state = orders[order];
        if state == State::Closed {
            self.level = 0;
        } else if state == self.state {
            return;
        }
        self.terms.opened += u64::from(state == State::ForcedOpen);
        self.turn(state, now);
        if state != State::ForcedOpen {
            self.down_since = None;
        }
        (self.ends, self.closed_at) = (0, now);
    }

    fn terms(&self) -> Terms {
        let under_way = self.calls.iter().flatten().filter(|call| !call.counted).count() as u64;
        Terms { in_flight: under_way, ..self.terms.clone() }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("small")
}

/// Drives both through one history and compares them after every step. Returns the states it saw.
fn run(rules: &BreakerConfig, start: u64, steps: &[Step]) -> [u64; 7] {
    let breaker = Breaker::new(Source::new("b"), rules.clone());
    let mut model = Model::new(rules.clone());
    let (mut dice, mut out) = (SplitMix::new(0), Outbox::new(0));
    let mut permits: Vec<Option<Permit>> = Vec::new();
    let mut now = start;
    let mut seen = [0; 7];
    for step in steps {
        let at = Time::from_nanos(now);
        model.lose(now);
        let pick = |which: usize| {
            let held: Vec<_> = (0..permits.len()).filter(|&n| permits[n].is_some()).collect();
            (!held.is_empty()).then(|| held[which % held.len()])
        };
        match *step {
            Step::Admit { fast } => {
                let would = breaker.would_admit(at);
                let quick = fast.then(|| breaker.admit_fast(at)).flatten();
                let answer = quick.map_or_else(|| breaker.admit(at, &mut dice, &mut out), Ok);
                let expected = model.admit(now);
                assert_eq!(answer.as_ref().map(|_| ()).map_err(|refused| refused.reason), expected);
                // A look cannot foresee that the calls under way trip the breaker at this admission.
                assert!(would == answer.is_ok() || would && rules.slow_call_rate.is_some());
                permits.extend(answer.ok().map(Some));
            }
            Step::Settle { which, verdict: kind, delay_ms, fast } => {
                let Some(which) = pick(which) else { continue };
                let mut permit = permits[which].take();
                if fast && kind == Kind::Ok {
                    permit = permit.and_then(|permit| breaker.settle_ok(permit, at).err());
                }
                if let Some(permit) = permit {
                    breaker.settle(permit, &verdict(kind, delay_ms), at, &mut dice, &mut out);
                }
                model.settle(which, kind, delay_ms, now);
            }
            Step::Renew { which } => {
                let Some(which) = pick(which) else { continue };
                breaker.renew(permits[which].as_mut().expect("held"), at);
                renew(&mut model, which, now);
            }
            Step::FirstItem { which } => {
                let Some(which) = pick(which) else { continue };
                breaker.first_item(permits[which].as_mut().expect("held"), at);
                first_item(&mut model, which, now);
            }
            Step::Jump { nanos } => now += nanos,
            Step::Order { order } => {
                let orders = [
                    Breaker::force_open,
                    Breaker::force_closed,
                    Breaker::disable,
                    Breaker::shadow,
                    Breaker::reset,
                ];
                orders[order](&breaker, at, &mut out);
                model.order(order, now);
            }
        }
        model.lose(now);
        compare(&breaker, &model, now);
        seen[breaker.state() as usize] += 1;
    }
    let opened = out.events().iter().filter(|event| event.kind().as_str() == "circuit_opened").count();
    assert_eq!(opened as u64, model.terms.opened, "one event for each opening");
    seen
}

fn renew(model: &mut Model, which: usize, now: u64) {
    let term = nanos(model.rules.probe_lease).div_ceil(MILLI);
    let call = model.calls[which].as_mut().expect("under way");
    if let (Some(lease), false) = (&mut call.lease, call.counted) {
        *lease = now / MILLI + term;
    }
}

fn first_item(model: &mut Model, which: usize, now: u64) {
    renew(model, which, now);
    let limit = model.rules.slow_call;
    let call = model.calls[which].as_mut().expect("under way");
    if let (Some(limit), None) = (limit, call.first_item) {
        call.first_item = Some(now - call.admitted >= nanos(limit));
    }
}

fn compare(breaker: &Breaker, model: &Model, now: u64) {
    let at = Time::from_nanos(now);
    let m = breaker.metrics(at);
    let terms = Terms {
        successes: m.successes,
        failures: m.failures,
        throttled: m.throttled,
        ignored: m.ignored,
        late: m.late,
        lost: m.lost,
        rejected: m.rejected,
        in_flight: m.in_flight,
        slow: m.slow,
        opened: m.opened,
    };
    assert_eq!((breaker.state(), terms), (model.state, model.terms()));
    let settled = m.successes + m.failures + m.throttled + m.ignored + m.late + m.lost;
    assert_eq!(m.calls, settled + m.rejected + m.in_flight);
    assert_eq!(m.state_since, model.since.map(Time::from_nanos));
    let times = &model.recoveries;
    let mean = (!times.is_empty()).then(|| times.iter().sum::<u64>() / times.len() as u64);
    assert_eq!(m.mean_recovery_time, mean.map(Duration::from_nanos));
    let wait = breaker.retry_after(at);
    match model.state {
        State::Open => assert_eq!(wait, Some(Duration::from_nanos(model.ends.saturating_sub(now)))),
        State::HalfOpen => {
            let free = model.probes() < model.rules.half_open_max_calls as usize;
            assert_eq!(wait.map(|wait| wait.is_zero()), Some(free));
        }
        _ => assert_eq!(wait, None),
    }
    if model.judges(now) && model.rules.failure_rate.is_some() {
        let window = model.window(now);
        let failed = window.iter().filter(|judged| judged.2).count();
        let rate = if window.is_empty() { 0.0 } else { failed as f64 / window.len() as f64 };
        assert!((m.failure_rate - rate).abs() < 1e-9, "{} for {rate}", m.failure_rate);
    }
}

fn rules() -> impl Strategy<Value = BreakerConfig> {
    let rates = prop_oneof![Just(None), Just(Some(0.5)), Just(Some(0.3)), Just(Some(1.0))];
    let windows = prop_oneof![
        Just(WindowKind::Time(Duration::from_secs(8))),
        Just(WindowKind::Count(8)),
        Just(WindowKind::Count(20))
    ];
    let thresholds = prop_oneof![Just(None), (1..6u32).prop_map(Some)];
    let growth =
        prop_oneof![Just((1.0, None)), Just((2.0, None)), Just((2.0, Some(Duration::from_secs(20))))];
    (thresholds, 1..4u32, 1..5u32, (rates.clone(), rates), windows, growth, 1..9u32).prop_map(
        |(
            failure_threshold,
            success_threshold,
            half_open_max_calls,
            rates,
            window,
            growth,
            minimum_calls,
        )| {
            BreakerConfig {
                failure_threshold,
                success_threshold,
                half_open_max_calls,
                failure_rate: rates.0,
                slow_call_rate: rates.1,
                slow_call: Some(Duration::from_millis(1400)),
                minimum_calls,
                window,
                open_timeout: Duration::from_secs(5),
                open_timeout_factor: growth.0,
                open_timeout_max: growth.1,
                probe_lease: Duration::from_secs(7),
                cooldown_cap: Duration::from_secs(15),
                ..BreakerConfig::default()
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kinds = prop_oneof![
        5 => Just(Kind::Ok),
        5 => Just(Kind::Fail),
        1 => Just(Kind::Throttled),
        1 => Just(Kind::Ignore),
        1 => Just(Kind::NotMine)
    ];
    let delays = prop_oneof![6 => Just(None), 1 => Just(Some(0)), 2 => (1..20_000u64).prop_map(Some)];
    let jumps = prop_oneof![
        4 => 0..50 * MILLI,
        3 => 0..3000 * MILLI,
        2 => (0..12u64).prop_map(|s| s * 1000 * MILLI),
        1 => Just(10_000_000_000 * MILLI)
    ];
    let step = prop_oneof![
        12 => any::<bool>().prop_map(|fast| Step::Admit { fast }),
        12 => (any::<usize>(), kinds, delays, any::<bool>())
            .prop_map(|(which, verdict, delay_ms, fast)| Step::Settle { which, verdict, delay_ms, fast }),
        1 => any::<usize>().prop_map(|which| Step::Renew { which }),
        1 => any::<usize>().prop_map(|which| Step::FirstItem { which }),
        8 => jumps.prop_map(|nanos| Step::Jump { nanos }),
        1 => prop_oneof![1 => 0..4usize, 3 => Just(4)].prop_map(|order| Step::Order { order }),
    ];
    proptest::collection::vec(step, 1..150)
}

/// A number that whoever runs the tests may choose.
fn from_env(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

/// Whatever happens to it, the breaker agrees with the naive model; and the histories reach every state.
#[test]
fn the_breaker_agrees_with_a_naive_model() {
    let reached: [AtomicU64; 7] = Default::default();
    let (seed, cases) = (from_env("HOLDFAST_SEED", 1), from_env("HOLDFAST_CASES", 400));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let history = (rules(), 0..100_000 * MILLI, steps());
    let outcome = runner.run(&history, |(rules, start, steps)| {
        for (total, seen) in reached.iter().zip(run(&rules, start, &steps)) {
            total.fetch_add(seen, Ordering::Relaxed);
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("HOLDFAST_SEED={seed}: {failure}");
    }
    for state in State::ALL {
        let times = reached[state as usize].load(Ordering::Relaxed);
        println!("{:>14}: {times} steps", state.as_str());
        assert!(times > 100, "{} was hardly reached", state.as_str());
    }
}

/// The model is worth its name only if it can disagree: a history it was not told of is noticed.
#[test]
fn the_model_notices_a_difference() {
    let mut model = Model::new(BreakerConfig::default());
    let breaker = Breaker::new(Source::new("b"), BreakerConfig::default());
    let (mut dice, mut out) = (SplitMix::new(dice_seed()), Outbox::new(0));
    for _ in 0..5 {
        model.admit(0).expect("closed");
        let permit = breaker.admit(Time::ZERO, &mut dice, &mut out).expect("closed");
        let failed = verdict(Kind::Fail, None);
        breaker.settle(permit, &failed, Time::ZERO, &mut dice, &mut out);
    }
    assert_ne!(breaker.state(), model.state);
}

fn dice_seed() -> u64 {
    SplitMix::new(3).roll()
}

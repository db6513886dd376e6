//! Life of a call: `pipeline/execution` → `pool/failover` + `balancer` → `policy/breaker` → the user's function
//! → its verdict → `policy/breaker` + `retry` → return, sleep, another node, or raise.
//!
//! Each test is a trace: what the machine tells its driver to do, and what it tells the world, moment by
//! moment. The driver here is a few lines, the time is a number and the dice are fixed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use holdfast::base::{Blame, Failure, FailureKind, NodeId, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::pipeline::{Attempt, Execution, Exhausted, Finish, Moment, Plan, Roster, Step, Target};
use holdfast::policy::breaker::{Breaker, BreakerConfig};
use holdfast::policy::retry::{Backoff, Budget, Jitter, RetryConfig};
use holdfast::policy::timeout::{Expiry, Phase, TimeoutConfig, Which};
use holdfast::pool::{NodeConfig, Pool, PoolConfig, Strategy};
use holdfast::runtime::dispatch::Line;

const S: Duration = Duration::from_secs(1);
/// Every attempt takes this long.
const WORK: Duration = Duration::from_millis(100);
const SEED: u64 = 7;

/// A world with one clock, and the trace of what happens in it.
struct Stage {
    now: Time,
    dice: SplitMix,
    roster: Option<Arc<Roster>>,
    trace: String,
}

impl Stage {
    fn new(roster: Option<Arc<Roster>>) -> Self {
        Self { now: Time::ZERO, dice: SplitMix::new(SEED), roster, trace: String::new() }
    }

    /// Makes one call to its end. The script says what comes of each attempt, the last line for all further.
    fn call(&mut self, plan: &Arc<Plan>, script: &[Verdict]) -> Execution {
        let plan = Arc::clone(plan);
        let (mut call, mut step) = self.step(|at| Execution::start(plan, None, None, at));
        let mut made = 0;
        loop {
            step = match step {
                Step::Attempt(attempt) => {
                    self.say(&format!("attempt {}{}", attempt.number, self.place(attempt)));
                    self.now = self.now.after(WORK);
                    let verdict = script[made.min(script.len() - 1)];
                    made += 1;
                    self.step(|at| call.record(&verdict, at))
                }
                Step::AskBalancer { candidates } => {
                    let names = candidates.iter().map(|id| self.roster.as_ref().unwrap().pool().name_of(*id));
                    self.say(&format!("ask the balancer among {}", names.collect::<Vec<_>>().join(", ")));
                    let chosen = candidates.last().copied().ok_or_else(|| "nobody".into());
                    self.step(|at| call.answer_balancer(chosen, at))
                }
                Step::AskBackoff { retry } => {
                    self.say(&format!("ask the back-off for retry {retry}"));
                    self.step(|at| call.answer_backoff(Some(S), at))
                }
                Step::Sleep { until } => {
                    self.say(&format!("sleep {:?}", until.at.since(self.now)));
                    self.now = until.at;
                    self.step(|at| call.wake(at))
                }
                Step::Finish(finish) => {
                    self.finish(&finish);
                    return call;
                }
            };
        }
    }

    /// One step of the machine; what it tells the world goes into the trace.
    fn step<R>(&mut self, act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
        let mut out = Outbox::new(Outbox::EVERYTHING);
        let result = act(&mut Moment { now: self.now, dice: &mut self.dice, out: &mut out });
        for event in out.events() {
            self.say(&format!("  {}", Line(event)));
        }
        result
    }

    fn finish(&mut self, finish: &Finish) {
        let line = match finish {
            Finish::Return => "return".to_owned(),
            Finish::Raise => "raise".to_owned(),
            Finish::Late(expiry) => format!("late by its {} clock", expiry.which.as_str()),
            Finish::Reject(rejection) => {
                let detail = rejection.detail.as_deref().unwrap_or_default();
                format!("reject: {} ({detail})", rejection.reason)
            }
            Finish::FallBack(_) => "fall back".to_owned(),
        };
        self.say(&line);
    }

    fn place(&self, attempt: Attempt) -> String {
        match (attempt.node, &self.roster) {
            (Some(node), Some(roster)) => format!(" on {}", roster.pool().name_of(node)),
            _ => String::new(),
        }
    }

    fn say(&mut self, line: &str) {
        let at = self.now.as_nanos() as f64 / 1e9;
        writeln!(self.trace, "{at:4.1}  {line}").unwrap();
    }

    /// The trace since the last time.
    #[track_caller]
    fn expect(&mut self, lines: &[&str]) {
        let told = std::mem::take(&mut self.trace);
        assert_eq!(told.lines().collect::<Vec<_>>(), lines, "seed {SEED}\n{told}");
    }
}

const OK: Verdict = Verdict::Ok;

const fn fails(kind: FailureKind) -> Verdict {
    Verdict::Fail(Failure { kind, ..Failure::plain() })
}

const fn asks_for(delay: Duration) -> Verdict {
    Verdict::Throttled(Failure { kind: FailureKind::RateLimit, delay: Some(delay), ..Failure::plain() })
}

/// The caller's own fault.
const WRONG: Verdict = Verdict::Fail(Failure {
    kind: FailureKind::Request,
    retry: false,
    fail_over: false,
    blame: Blame::Nobody,
    delay: None,
});
const DOWN: Verdict = fails(FailureKind::Connect);

fn retry(attempts: u32) -> RetryConfig {
    RetryConfig { attempts, backoff: Backoff::Constant(S), ..RetryConfig::default() }
}

fn breaker(name: &str, failure_threshold: u32) -> Breaker {
    let config = BreakerConfig {
        failure_threshold: Some(failure_threshold),
        success_threshold: 1,
        open_timeout: 30 * S,
        ..BreakerConfig::default()
    };
    Breaker::new(Source::new(name), config)
}

fn roster(names: &[&str], failure_threshold: u32) -> Arc<Roster> {
    let nodes = names.iter().map(|&name| NodeConfig::new(name)).collect();
    let source = Source::new("chain");
    let pool = Arc::new(Pool::new(source.clone(), nodes, None).unwrap());
    Arc::new(Roster::new(pool, source, Some(breaker("node", failure_threshold))))
}

fn pooled(roster: &Arc<Roster>, retry: Option<RetryConfig>) -> Plan {
    let target = Target::Roster(Arc::clone(roster));
    Plan { retry, target, exhausted: Exhausted::FailFast, ..Plan::bare(Source::new("chain")) }
}

/// Somebody outside chooses: asked before each attempt, among those that have not failed the call.
#[test]
fn life_of_a_call_with_a_balancer_of_the_users_own() {
    let nodes = ["a", "b", "c"].map(NodeConfig::new).into();
    let source = Source::new("chain");
    let config = PoolConfig { balancer: Strategy::Outside, ..PoolConfig::default() };
    let pool = Arc::new(Pool::with_config(source.clone(), nodes, None, &config).unwrap());
    let roster = Arc::new(Roster::new(pool, source, None));
    let plan = Arc::new(pooled(&roster, None));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    stage.call(&plan, &[DOWN, OK]);
    stage.expect(&[
        " 0.0  ask the balancer among a, b, c",
        " 0.0  attempt 1 on c",
        " 0.1  ask the balancer among a, b",
        " 0.1    chain: call_failed_over from_node=c to_node=b attempt=2 error=connect",
        " 0.1  attempt 2 on b",
        " 0.2  return",
    ]);
}

#[test]
fn life_of_a_call() {
    let roster = roster(&["gpt", "claude"], 3);
    let plan = Arc::new(pooled(&roster, Some(retry(4))));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));

    // Success: the first node in turn is asked, and there is nothing to tell.
    stage.call(&plan, &[OK]);
    stage.expect(&[" 0.0  attempt 1 on gpt", " 0.1  return"]);

    // Failover: the node that failed is left at once, without a wait and without a token.
    stage.call(&plan, &[DOWN, OK]);
    stage.expect(&[
        " 0.1  attempt 1 on claude",
        " 0.2    chain: call_failed_over from_node=claude to_node=gpt attempt=2 error=connect",
        " 0.2  attempt 2 on gpt",
        " 0.3  return",
    ]);

    // Exhaustion: when both have failed, a second passes before the one that failed first is asked again.
    let call = stage.call(&plan, &[DOWN]);
    stage.expect(&[
        " 0.3  attempt 1 on claude",
        " 0.4    chain: call_failed_over from_node=claude to_node=gpt attempt=2 error=connect",
        " 0.4  attempt 2 on gpt",
        " 0.5    chain: retry_scheduled attempt=3 delay=1.000s error=connect node=gpt",
        " 0.5  sleep 1s",
        " 1.5    chain: call_failed_over from_node=gpt to_node=claude attempt=3 error=connect",
        " 1.5  attempt 3 on claude",
        // The third failure in a row opens claude's breaker, and claude is marked failed.
        " 1.6    node/claude: circuit_opened reason=consecutive_failures open_for=30.000s failures=3",
        " 1.6    chain: node_marked_failed node=claude reason=breaker",
        " 1.6    chain: failover_started node=claude",
        " 1.6    chain: failover_completed node=claude to_node=gpt",
        " 1.6    chain: retry_scheduled attempt=4 delay=1.000s error=connect node=claude",
        " 1.6  sleep 1s",
        " 2.6    chain: call_failed_over from_node=claude to_node=gpt attempt=4 error=connect",
        " 2.6  attempt 4 on gpt",
        " 2.7    chain: attempts_exhausted attempts=4 error=connect",
        " 2.7  raise",
    ]);
    let told: Vec<_> =
        call.history().iter().map(|t| (t.number, t.node.as_deref().unwrap(), t.took)).collect();
    assert_eq!(told, [(1, "claude", WORK), (2, "gpt", WORK), (3, "claude", WORK), (4, "gpt", WORK)]);

    // A1: the open breaker costs no attempt, and when the last one opens there is nothing to wait for.
    stage.call(&plan, &[DOWN]);
    stage.expect(&[
        " 2.7  attempt 1 on gpt",
        " 2.8    node/gpt: circuit_opened reason=consecutive_failures open_for=30.000s failures=3",
        " 2.8    chain: node_marked_failed node=gpt reason=breaker",
        " 2.8    chain: failover_started node=gpt",
        " 2.8    chain: attempts_exhausted attempts=1 error=connect",
        " 2.8  raise",
    ]);

    // Rejection: nobody may be asked, so nobody is, and the refusal explains each node.
    stage.call(&plan, &[OK]);
    stage.expect(&[
        " 2.8    chain: call_rejected reason=no_node_ready retry_after=28.800s",
        " 2.8  reject: no_node_ready (gpt: breaker open for 30.000 s; claude: breaker open for 28.800 s)",
    ]);

    // Recovery: after the open time the first call is a probe, and one good answer brings claude back.
    stage.now = Time::from_millis(31_600);
    stage.call(&plan, &[OK]);
    stage.expect(&[
        "31.6    node/claude: circuit_half_opened",
        "31.6    chain: recovery_started node=claude",
        "31.6  attempt 1 on claude",
        "31.7    node/claude: circuit_closed reason=recovered",
        "31.7    chain: recovery_completed node=claude downtime=30.100s",
        "31.7    chain: failover_completed node=gpt to_node=claude",
        "31.7  return",
    ]);

    let tally = roster.tally();
    assert_eq!((tally.calls, tally.rejected, tally.failovers), (6, 1, 4));
    assert_eq!(roster.pool().metrics().in_flight, 0);
}

#[test]
fn a_call_without_policies_is_passed_on() {
    let plan = Arc::new(Plan::bare(Source::new("bare")));
    let mut stage = Stage::new(None);
    stage.call(&plan, &[OK]);
    stage.call(&plan, &[DOWN]);
    stage.expect(&[" 0.0  attempt 1", " 0.1  return", " 0.1  attempt 1", " 0.2  raise"]);
}

#[test]
fn a1_a_breaker_that_opens_ends_the_loop_and_then_refuses() {
    let target = Target::Breaker(Arc::new(breaker("b", 2)));
    let plan = Arc::new(Plan { retry: Some(retry(9)), target, ..Plan::bare(Source::new("p")) });
    let mut stage = Stage::new(None);
    stage.call(&plan, &[DOWN]);
    stage.expect(&[
        " 0.0  attempt 1",
        " 0.1    p: retry_scheduled attempt=2 delay=1.000s error=connect node=none",
        " 0.1  sleep 1s",
        " 1.1  attempt 2",
        " 1.2    b: circuit_opened reason=consecutive_failures open_for=30.000s failures=2",
        " 1.2    p: attempts_exhausted attempts=2 error=connect",
        " 1.2  raise",
    ]);
    stage.call(&plan, &[OK]);
    stage.expect(&[" 1.2    b: call_rejected reason=open retry_after=30.000s", " 1.2  reject: open ()"]);
}

#[test]
fn a5_the_deadline_ends_a_call_that_would_sleep_past_it() {
    let timeout = TimeoutConfig { total: Some(2 * S), ..TimeoutConfig::default() };
    let plan = Arc::new(Plan { retry: Some(retry(9)), timeout, ..Plan::bare(Source::new("p")) });
    let mut stage = Stage::new(None);
    let call = stage.call(&plan, &[DOWN]);
    stage.expect(&[
        " 0.0  attempt 1",
        " 0.1    p: retry_scheduled attempt=2 delay=1.000s error=connect node=none",
        " 0.1  sleep 1s",
        " 1.1  attempt 2",
        " 1.2    p: attempts_exhausted attempts=2 error=connect",
        " 1.2  raise",
    ]);
    assert_eq!(
        call.deadline(),
        Some(Expiry { at: Time::from_millis(2000), which: Which::Total, limit: 2 * S })
    );
}

#[test]
fn a5_an_outer_deadline_that_is_nearer_binds() {
    let timeout = TimeoutConfig { total: Some(9 * S), attempt: Some(5 * S), ..TimeoutConfig::default() };
    let plan = Arc::new(Plan { timeout, ..Plan::bare(Source::new("p")) });
    let mut stage = Stage::new(None);
    let outer = Expiry { at: Time::from_millis(3000), which: Which::Total, limit: 3 * S };
    let (call, _) = stage.step(|at| Execution::start(Arc::clone(&plan), None, Some(outer), at));
    assert_eq!(call.binding(Phase::Answer, Time::ZERO), Some(outer));
    let (call, _) = stage.step(|at| Execution::start(Arc::clone(&plan), None, None, at));
    assert_eq!(call.binding(Phase::Answer, Time::ZERO).unwrap().which, Which::Attempt);
}

#[test]
fn a5_a_value_after_the_deadline_is_told_and_returned_or_refused() {
    for (late_raises, end) in [(false, " 0.1  return"), (true, " 0.1  late by its total clock")] {
        let timeout = TimeoutConfig { total: Some(WORK / 2), late_raises, ..TimeoutConfig::default() };
        let plan = Arc::new(Plan { timeout, ..Plan::bare(Source::new("p")) });
        let mut stage = Stage::new(None);
        stage.call(&plan, &[OK]);
        stage.expect(&[" 0.0  attempt 1", " 0.1    p: call_timed_out which=total limit=0.050s", end]);
    }
}

/// A value that comes after its deadline is good, and counts as slow even where the breaker knows no slow calls.
#[test]
fn a5_a_value_after_its_deadline_is_slow() {
    let (total, attempt) = (Some(WORK / 2), Some(WORK / 2));
    let clocks = [
        ("total", TimeoutConfig { total, ..TimeoutConfig::default() }),
        ("attempt", TimeoutConfig { attempt, ..TimeoutConfig::default() }),
    ];
    for (which, timeout) in clocks {
        let breaker = Arc::new(breaker("b", 2));
        let target = Target::Breaker(Arc::clone(&breaker));
        let plan = Arc::new(Plan { timeout, target, ..Plan::bare(Source::new("p")) });
        let mut stage = Stage::new(None);
        stage.call(&plan, &[OK]);
        let told = format!(" 0.1    p: call_timed_out which={which} limit=0.050s");
        stage.expect(&[" 0.0  attempt 1", &told, " 0.1  return"]);
        let metrics = breaker.metrics(stage.now);
        assert_eq!((metrics.successes, metrics.slow), (1, 1), "{which}");
    }
}

/// While users test their own code, attempts are capped and come at once, whatever the policies say.
#[test]
fn a_plan_for_tests_does_not_wait() {
    let plan = Plan { retry: Some(retry(9)), ..Plan::bare(Source::new("p")) };
    let mut stage = Stage::new(None);
    stage.call(&Arc::new(plan.for_tests(2)), &[asks_for(600 * S)]);
    stage.expect(&[
        " 0.0  attempt 1",
        " 0.1    p: retry_scheduled attempt=2 delay=0.000s error=rate_limit node=none",
        " 0.1  sleep 0ns",
        " 0.1  attempt 2",
        " 0.2    p: attempts_exhausted attempts=2 error=rate_limit",
        " 0.2  raise",
    ]);
    stage.call(&Arc::new(plan.for_tests(1)), &[DOWN]);
    stage.expect(&[" 0.2  attempt 1", " 0.3  raise"]);
}

#[test]
fn a14_the_latest_outcome_decides_whether_and_how_long() {
    let plan = Arc::new(Plan { retry: Some(retry(9)), ..Plan::bare(Source::new("p")) });
    let mut stage = Stage::new(None);
    stage.call(&plan, &[asks_for(9 * S), asks_for(2 * S), DOWN, WRONG]);
    stage.expect(&[
        " 0.0  attempt 1",
        " 0.1    p: retry_scheduled attempt=2 delay=9.000s error=rate_limit node=none",
        " 0.1  sleep 9s",
        " 9.1  attempt 2",
        " 9.2    p: retry_scheduled attempt=3 delay=2.000s error=rate_limit node=none",
        " 9.2  sleep 2s",
        "11.2  attempt 3",
        "11.3    p: retry_scheduled attempt=4 delay=1.000s error=connect node=none",
        "11.3  sleep 1s",
        "12.3  attempt 4",
        "12.4    p: attempts_exhausted attempts=4 error=request",
        "12.4  raise",
    ]);
}

#[test]
fn b19_a_wish_above_the_cap_ends_the_call_and_the_users_back_off_hears_one_below() {
    let asked = RetryConfig { backoff: Backoff::Asked, retry_after_cap: 5 * S, ..retry(2) };
    let plan = Arc::new(Plan { retry: Some(asked), ..Plan::bare(Source::new("p")) });
    let mut stage = Stage::new(None);
    stage.call(&plan, &[asks_for(5 * S), OK]);
    stage.expect(&[
        " 0.0  attempt 1",
        " 0.1  ask the back-off for retry 1",
        " 0.1    p: retry_scheduled attempt=2 delay=5.000s error=rate_limit node=none",
        " 0.1  sleep 5s",
        " 5.1  attempt 2",
        " 5.2  return",
    ]);
    stage.call(&plan, &[asks_for(6 * S)]);
    stage.expect(&[
        " 5.2  attempt 1",
        " 5.3    p: attempts_exhausted attempts=1 error=rate_limit",
        " 5.3  raise",
    ]);
}

#[test]
fn a3_an_empty_budget_ends_the_retries_but_not_the_failover() {
    let roster = roster(&["a", "b"], 99);
    let budget = Some(Arc::new(Budget::new(0.0, 0.0).unwrap()));
    let plan = Arc::new(pooled(&roster, Some(RetryConfig { budget, ..retry(9) })));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    stage.call(&plan, &[DOWN]);
    stage.expect(&[
        " 0.0  attempt 1 on a",
        " 0.1    chain: call_failed_over from_node=a to_node=b attempt=2 error=connect",
        " 0.1  attempt 2 on b",
        " 0.2    chain: budget_exhausted attempts=2",
        " 0.2    chain: attempts_exhausted attempts=2 error=connect",
        " 0.2  raise",
    ]);
}

#[test]
fn a4_the_waits_are_rolled_after_the_cap_by_the_dice_that_were_brought() {
    let law = Backoff::Exponential { first: S, factor: 2.0, cap: 2 * S, jitter: Jitter::Full };
    let plan = RetryConfig { backoff: law, ..retry(4) };
    let plan = Arc::new(Plan { retry: Some(plan), ..Plan::bare(Source::new("p")) });
    let run = || {
        let mut stage = Stage::new(None);
        stage.call(&plan, &[DOWN]);
        stage.trace
    };
    let told = run();
    assert_eq!(told, run(), "the same dice roll the same waits; seed {SEED}");
    let sleeps: Vec<&str> =
        told.lines().filter_map(|line| line.split_once("sleep ")).map(|(_, t)| t).collect();
    assert_eq!(sleeps.len(), 3);
    assert!(sleeps[0] != sleeps[1] && sleeps[1] != sleeps[2], "{sleeps:?}, seed {SEED}");
}

#[test]
fn a7_after_the_first_item_nothing_is_tried_again() {
    let roster = roster(&["a", "b"], 99);
    let plan = Arc::new(pooled(&roster, Some(retry(9))));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    let (mut call, step) = stage.step(|at| Execution::start(Arc::clone(&plan), None, None, at));
    assert!(matches!(step, Step::Attempt(Attempt { number: 1, node: Some(NodeId(0)) })));
    stage.step(|at| call.commit(at));
    let step = stage.step(|at| call.record(&DOWN, at));
    assert!(matches!(step, Step::Finish(Finish::Raise)), "{step:?}");
    assert_eq!(roster.tally().failovers, 0);
}

#[test]
fn a15_a_node_that_failed_this_call_is_asked_last() {
    let roster = roster(&["a", "b", "c"], 99);
    let plan = Arc::new(pooled(&roster, Some(retry(7))));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    stage.call(&plan, &[DOWN]);
    let asked: Vec<char> = stage.trace.lines().filter(|l| l.contains("attempt ")).map(last).collect();
    assert_eq!(asked[..3], ['a', 'b', 'c']);
    assert!(asked.windows(2).all(|pair| pair[0] != pair[1]), "{asked:?}");
    assert_eq!(asked.len(), 7);
}

fn last(line: &str) -> char {
    line.chars().last().unwrap()
}

#[test]
fn b7_a_call_that_is_given_up_blames_nobody() {
    let roster = roster(&["a"], 1);
    let plan = Arc::new(pooled(&roster, None));
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    let (mut call, _) = stage.step(|at| Execution::start(Arc::clone(&plan), None, None, at));
    assert_eq!(roster.pool().metrics().in_flight, 1);
    stage.step(|at| call.abandon(at));
    stage.step(|at| call.abandon(at));
    stage.expect(&[]);
    assert_eq!(roster.pool().metrics().in_flight, 0);
    let breaker = roster.breaker(NodeId(0)).unwrap();
    let metrics = breaker.metrics(stage.now);
    assert_eq!((metrics.ignored, metrics.failures, metrics.in_flight), (1, 0, 0));
}

#[test]
fn when_nobody_is_ready_the_call_waits_within_its_deadline_or_asks_anyway() {
    let roster = roster(&["only"], 1);
    let mut stage = Stage::new(Some(Arc::clone(&roster)));
    stage.call(&Arc::new(pooled(&roster, None)), &[DOWN]);
    stage.trace.clear();

    // It looks again twice a second: an operator, a report or a newcomer may bring a node back earlier.
    let timeout = TimeoutConfig { total: Some(60 * S), ..TimeoutConfig::default() };
    let waiting = Arc::new(Plan { exhausted: Exhausted::Wait, timeout, ..pooled(&roster, None) });
    stage.now = Time::from_millis(29_300);
    stage.call(&waiting, &[DOWN]);
    stage.expect(&[
        "29.3  sleep 500ms",
        "29.8  sleep 300ms",
        "30.1    node/only: circuit_half_opened",
        "30.1    chain: failover_completed node=only to_node=none",
        "30.1    chain: recovery_started node=only",
        "30.1  attempt 1 on only",
        "30.2    node/only: circuit_opened reason=probe_failed open_for=30.000s failures=0",
        "30.2    chain: attempts_exhausted attempts=1 error=connect",
        "30.2  raise",
    ]);

    let anyway = Arc::new(Plan { exhausted: Exhausted::TryAnyway, ..pooled(&roster, None) });
    stage.call(&anyway, &[OK]);
    stage.expect(&["30.2  attempt 1 on only", "30.3  return"]);
}

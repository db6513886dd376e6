//! Hedges and replicas: several attempts of one call at once, as the machine decides them.

use std::sync::Arc;
use std::time::Duration;

use holdfast::base::{Failure, FailureKind, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::pipeline::{Attempt, Execution, Exhausted, Finish, Moment, Plan, Roster, Step, Target};
use holdfast::policy::breaker::{Breaker, BreakerConfig};
use holdfast::policy::hedge::{After, Hedge, HedgeConfig};
use holdfast::policy::retry::{Backoff, Budget, RetryConfig};
use holdfast::pool::{NodeConfig, Pool};

const MS: Duration = Duration::from_millis(1);

struct World {
    now: Time,
    dice: SplitMix,
    kinds: Vec<&'static str>,
    roster: Arc<Roster>,
}

impl World {
    fn new(nodes: &[&str]) -> Self {
        let source = Source::new("pool");
        let configs = nodes.iter().map(|name| NodeConfig::new((*name).to_owned())).collect();
        let pool = Arc::new(Pool::new(source.clone(), configs, None).unwrap());
        let template = Breaker::new(Source::new("pool"), BreakerConfig::default());
        let roster = Arc::new(Roster::new(pool, source, Some(template)));
        Self { now: Time::ZERO, dice: SplitMix::new(7), kinds: Vec::new(), roster }
    }

    fn plan(&self, retry: Option<RetryConfig>, hedge: HedgeConfig) -> Arc<Plan> {
        Arc::new(Plan {
            retry,
            target: Target::Roster(Arc::clone(&self.roster)),
            exhausted: Exhausted::FailFast,
            hedge: Some(Arc::new(Hedge::new(hedge))),
            ..Plan::bare(Source::new("pool"))
        })
    }

    fn at<R>(&mut self, act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
        let mut out = Outbox::new(Outbox::EVERYTHING);
        let result = act(&mut Moment { now: self.now, dice: &mut self.dice, out: &mut out });
        self.kinds.extend(out.events().iter().map(|event| event.kind().as_str()));
        result
    }

    fn start(&mut self, plan: &Arc<Plan>) -> (Execution, Attempt) {
        let plan = Arc::clone(plan);
        let (call, step) = self.at(|at| Execution::start(plan, None, None, at));
        let Step::Attempt(attempt) = step else { panic!("{step:?}") };
        (call, attempt)
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// How many calls each node has under way, and what its breaker has counted as failures.
    fn in_flight(&self) -> u64 {
        self.roster.pool().views(self.now).iter().map(|view| u64::from(view.in_flight)).sum()
    }

    fn failures(&self) -> u64 {
        let views = self.roster.pool().views(self.now);
        views.iter().map(|view| self.roster.breaker(view.id).unwrap().metrics(self.now).failures).sum()
    }
}

fn fixed(after: Duration, max_hedges: u32) -> HedgeConfig {
    HedgeConfig { after: After::Fixed(after), max_hedges }
}

const fn fails(kind: FailureKind) -> Verdict {
    Verdict::Fail(Failure { kind, ..Failure::plain() })
}

fn returns(step: Option<&Step>) -> bool {
    matches!(step, Some(Step::Finish(Finish::Return)))
}

#[test]
fn a11_the_first_success_wins_and_the_loser_is_neutral() {
    let mut world = World::new(&["a", "b"]);
    let plan = world.plan(None, fixed(50 * MS, 1));
    let (mut call, first) = world.start(&plan);
    assert_eq!(call.hedge_due(), Some(Time::from_millis(50)));
    assert_eq!(world.at(|at| call.hedge(at)), None, "it is not time yet");
    world.pass(50 * MS);
    let second = world.at(|at| call.hedge(at)).expect("a hedge");
    assert_ne!(first.node, second.node, "A10: on another node");
    assert_eq!((second.number, world.in_flight()), (2, 2));
    assert_eq!(call.hedge_due(), None, "one hedge is all");
    world.pass(10 * MS);
    assert!(returns(world.at(|at| call.record_one(2, &Verdict::Ok, at)).as_ref()));
    assert_eq!((world.in_flight(), world.failures()), (0, 0));
    assert_eq!(world.kinds, ["hedge_started"]);
}

#[test]
fn a11_a_fast_failure_does_not_end_the_race() {
    let mut world = World::new(&["a", "b", "c"]);
    let plan = world.plan(None, fixed(50 * MS, 2));
    let (mut call, _) = world.start(&plan);
    world.pass(50 * MS);
    assert!(world.at(|at| call.hedge(at)).is_some());
    assert!(world.at(|at| call.record_one(2, &fails(FailureKind::Server), at)).is_none());
    world.pass(50 * MS);
    let third = world.at(|at| call.hedge(at)).expect("the race goes on, and so do its hedges");
    assert_eq!(third.number, 3);
    assert!(returns(world.at(|at| call.record_one(1, &Verdict::Ok, at)).as_ref()));
    assert_eq!((world.in_flight(), world.failures()), (0, 1));
    assert_eq!(call.history()[0].number, 2);
}

#[test]
fn a11_when_all_have_failed_the_last_one_decides() {
    let mut world = World::new(&["a", "b", "c"]);
    let plan = world.plan(None, fixed(50 * MS, 1));
    let (mut call, first) = world.start(&plan);
    world.pass(50 * MS);
    let second = world.at(|at| call.hedge(at)).unwrap();
    assert!(world.at(|at| call.record_one(1, &fails(FailureKind::Server), at)).is_none());
    let step = world.at(|at| call.record_one(2, &fails(FailureKind::Server), at));
    let Some(Step::Attempt(third)) = step else { panic!("{step:?}") };
    assert!(![first.node, second.node].contains(&third.node), "A15: the untried node");
    assert!(returns(world.at(|at| call.record_one(3, &Verdict::Ok, at)).as_ref()));
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn a10_hedges_draw_on_the_shared_budget() {
    let mut world = World::new(&["a", "b"]);
    let budget = Arc::new(Budget::new(1.0, 0.0).unwrap());
    let retry = RetryConfig {
        budget: Some(budget),
        backoff: Backoff::Constant(Duration::ZERO),
        ..RetryConfig::default()
    };
    let plan = world.plan(Some(retry), fixed(50 * MS, 1));
    let mut hedged = 0;
    for _ in 0..5 {
        let (mut call, _) = world.start(&plan);
        world.pass(60 * MS);
        hedged += u32::from(world.at(|at| call.hedge(at)).is_some());
        assert_eq!(call.hedge_due(), None, "nobody asks again and again");
        let number = call.racers()[0];
        assert!(returns(world.at(|at| call.record_one(number, &Verdict::Ok, at)).as_ref()));
    }
    assert_eq!((hedged, world.in_flight()), (1, 0));
}

#[test]
fn a10_no_hedge_without_another_node_nor_beyond_the_attempts_nor_past_the_commit_point() {
    let mut world = World::new(&["a"]);
    let plan = world.plan(None, fixed(Duration::ZERO, 1));
    let (mut call, _) = world.start(&plan);
    assert_eq!(world.at(|at| call.hedge(at)), None);
    world.at(|at| call.abandon(at));

    let mut world = World::new(&["a", "b"]);
    let plan =
        world.plan(Some(RetryConfig { attempts: 1, ..RetryConfig::default() }), fixed(Duration::ZERO, 1));
    let (mut call, _) = world.start(&plan);
    assert_eq!(call.hedge_due(), None, "an attempt is an attempt");
    world.at(|at| call.abandon(at));

    let plan = world.plan(None, fixed(Duration::ZERO, 1));
    let (mut call, _) = world.start(&plan);
    world.at(|at| call.commit(at));
    assert_eq!(call.hedge_due(), None, "A7");
    world.at(|at| call.abandon(at));
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn a12_losers_count_as_at_least_that_long() {
    let mut world = World::new(&["a", "b"]);
    let plan = world.plan(None, HedgeConfig::default());
    let answer = |world: &mut World, took: Duration| {
        let (mut call, _) = world.start(&plan);
        world.pass(took);
        assert!(returns(world.at(|at| call.record_one(1, &Verdict::Ok, at)).as_ref()));
    };
    assert_eq!(plan.hedge.as_ref().unwrap().delay(), None, "nothing is known yet");
    for _ in 0..20 {
        answer(&mut world, 10 * MS);
    }
    let delay = || plan.hedge.as_ref().unwrap().delay().unwrap();
    assert_eq!(delay(), 10 * MS);
    // From now on the first attempt always hangs, and the hedge answers at once.
    for _ in 0..8 {
        let (mut call, _) = world.start(&plan);
        world.pass(40 * MS);
        assert!(world.at(|at| call.hedge(at)).is_some());
        assert!(returns(world.at(|at| call.record_one(2, &Verdict::Ok, at)).as_ref()));
    }
    assert_eq!(delay(), 40 * MS, "what was cut at 40 ms took at least 40 ms");
}

#[test]
fn replicas_run_on_as_many_nodes_as_there_are_at_once() {
    let mut world = World::new(&["a", "b", "c"]);
    let plan = Arc::new(Plan {
        target: Target::Roster(Arc::clone(&world.roster)),
        ..Plan::bare(Source::new("pool"))
    });
    let (mut call, first) = world.start(&plan);
    let more = world.at(|at| call.replicate(7, at));
    let mut nodes: Vec<_> = more.iter().map(|attempt| attempt.node).chain([first.node]).collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!((nodes.len(), world.in_flight()), (3, 3));
    assert!(world.at(|at| call.record_one(2, &fails(FailureKind::Server), at)).is_none());
    assert!(returns(world.at(|at| call.record_one(3, &Verdict::Ok, at)).as_ref()));
    assert_eq!((world.in_flight(), world.failures()), (0, 1));
    assert!(world.kinds.is_empty(), "{:?}", world.kinds);
}

#[test]
fn b7_a_race_that_is_given_up_gives_everything_back() {
    let mut world = World::new(&["a", "b"]);
    let plan = world.plan(None, fixed(Duration::ZERO, 1));
    let (mut call, _) = world.start(&plan);
    assert!(world.at(|at| call.hedge(at)).is_some());
    world.at(|at| call.abandon(at));
    assert_eq!((world.in_flight(), world.failures()), (0, 0));
}

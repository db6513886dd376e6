//! The medic: restarts the nodes of one pool that are out, as one task in the background.
//!
//! ```text
//!   the pool changes, or somebody is due ─▶ recovery.due ─▶ restart ─▶ sync_state ─▶ probe × n ─▶ discharged
//! ```
//!
//! When and how often is `pool::Recovery`'s to decide; restarts themselves are errands. Each step is an
//! event. Nodes that an operator has drained or disabled are left alone.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{Id, JoinError, JoinSet};

use super::background::{Background, Work, labour};
use super::clock::{self, Busy};
use super::dice::ThreadDice;
use super::dispatch;
use super::errands::{self, Job, Outcome};
use super::probe::{Heard, Probe};
use super::process::quiet;
use crate::base::{Event, EventKind, NodeId, Outbox, Source, Time};
use crate::policy::retry::Backoff;
use crate::pool::{Evidence, Ill, NodeState, NodeView, Pool, Recovery, RecoveryConfig, Treatment};

/// How often the nodes are looked at while one is out, whatever happens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How nodes are restarted.
#[derive(Clone, Debug)]
pub struct MedicConfig {
    /// How often.
    pub recovery: RecoveryConfig,
    /// The waits between attempts that failed.
    pub backoff: Backoff,
    /// How long a restart, and how long bringing the state up to date, may take.
    pub timeout: Duration,
}

/// What is done for one node.
#[derive(Clone)]
pub struct Care {
    /// Restarts it.
    pub restart: Job,
    /// Brings its state up to date.
    pub sync_state: Option<Job>,
}

/// The cares of all nodes that have one.
pub type Cares = RwLock<HashMap<NodeId, Care>>;

/// The medic of a pool. Dropping it ends it.
pub struct Medic {
    pool: Weak<Pool>,
    kit: Arc<Kit>,
    task: Background<dispatch::Watch>,
}

struct Kit {
    config: MedicConfig,
    probes: Arc<dyn Probe>,
    cares: Arc<Cares>,
}

impl Medic {
    /// A medic that does not work yet.
    #[must_use]
    pub fn new(pool: &Arc<Pool>, config: MedicConfig, probes: Arc<dyn Probe>, cares: Arc<Cares>) -> Self {
        let kit = Arc::new(Kit { config, probes, cares });
        Self { pool: Arc::downgrade(pool), kit, task: Background::default() }
    }

    /// Begins to work, unless it works in this process. Cheap if it does. Errors if the system gives us no
    /// thread.
    pub fn revive(&self) -> io::Result<()> {
        self.task.ensure(|| {
            let (wake, calls) = unbounded_channel();
            let watch = dispatch::watch(self.pool.upgrade()?.source().id(), wake);
            let recovery = Recovery::new(self.kit.config.recovery.clone());
            let rounds = Rounds { pool: self.pool.clone(), kit: self.kit.clone(), recovery };
            Some((watch, labour(rounds, calls, Busy::begin())))
        })
    }

    /// Ends its work. A restart under way is called off where that is possible.
    pub fn stop(&self) {
        self.task.stop();
    }
}

impl fmt::Debug for Medic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medic").field("working", &self.task.is_running()).finish_non_exhaustive()
    }
}

/// What came of a treatment.
struct Ended {
    node: NodeId,
    attempt: u32,
    well: bool,
    /// Of the clock that ended it.
    woken: Busy,
}

struct Rounds {
    pool: Weak<Pool>,
    kit: Arc<Kit>,
    recovery: Recovery,
}

impl Work for Rounds {
    type Piece = Ended;

    /// Looks who is out, begins what is due, and tells when something is due next.
    fn look(&mut self, treatments: &mut JoinSet<Ended>, busy: &Busy) -> Option<Time> {
        let (pool, kit, recovery) = (self.pool.upgrade()?, &self.kit, &mut self.recovery);
        let now = clock::now();
        let views = {
            let _quiet = quiet();
            pool.views(now)
        };
        let cares = kit.cares.read();
        let ill: Vec<Ill> =
            views.iter().filter(|view| cares.contains_key(&view.id)).filter_map(illness).collect();
        recovery.look(&ill, now);
        let due = recovery.due(now);
        // Told before it begins, so that what it tells comes after.
        tell(|out| due.iter().for_each(|&treatment| announce(&pool, kit, treatment, now, out)));
        for treatment in due {
            if let Treatment::Restart { node, attempt } = treatment
                && let Some(care) = cares.get(&node).cloned()
            {
                let course = Course { pool: self.pool.clone(), kit: kit.clone(), node, attempt };
                let busy = busy.clone();
                treatments.spawn(async move {
                    let (well, woken) = course.run(care, busy).await;
                    Ended { node, attempt, well, woken }
                });
            }
        }
        drop(cares);
        let next = recovery.next_due().unwrap_or(Time::NEVER);
        // An operator who enables a node that is out tells nobody.
        let anyone_out = views.iter().any(|view| view.down_since.is_some());
        Some(if anyone_out { next.min(now.after(LOOK_AGAIN)) } else { next })
    }

    fn ended(&mut self, treatment: Result<(Id, Ended), JoinError>) -> Busy {
        // A treatment does not panic: errands and probes answer for those who do.
        let Ok((_, Ended { node, attempt, well, woken })) = treatment else { return Busy::idle() };
        let wait = self.kit.config.backoff.wait(attempt, Duration::ZERO, &mut ThreadDice);
        self.recovery.treated(node, well, wait.unwrap_or_default(), clock::now());
        woken
    }
}

/// Is it out, and not by an operator's will?
fn illness(view: &NodeView) -> Option<Ill> {
    let since = view.down_since.filter(|_| view.enabled && view.state != NodeState::Draining)?;
    let dead = view.convicted_by.iter().any(|by| matches!(by, Evidence::Heartbeat | Evidence::Process));
    Some(Ill { node: view.id, since, dead })
}

fn announce(pool: &Pool, kit: &Kit, treatment: Treatment, now: Time, out: &mut Outbox) {
    let (source, name) = (pool.source().clone(), |node| pool.name_of(node));
    let RecoveryConfig { max_restarts: of, within, .. } = kit.config.recovery;
    match treatment {
        Treatment::Restart { node, attempt } => {
            pool.give_up(node, None);
            pool.recovering(node, now, out);
            let node = name(node);
            out.emit(EventKind::RestartAttempted, || Event::RestartAttempted { source, node, attempt });
        }
        Treatment::UsedUp { node, until } => {
            pool.give_up(node, Some(until));
            let (node, retry_after) = (name(node), until.since(now));
            out.emit(EventKind::RestartsExhausted, || Event::RestartsExhausted {
                source,
                node,
                restarts: of,
                within,
                retry_after,
            });
        }
    }
}

/// Puts events in the queue and sends them off. No fork catches the pool locked meanwhile.
fn tell(act: impl FnOnce(&mut Outbox)) {
    let mut out = dispatch::outbox();
    {
        let _quiet = quiet();
        act(&mut out);
    }
    dispatch::post(&mut out);
}

/// One treatment of one node, step by step.
struct Course {
    pool: Weak<Pool>,
    kit: Arc<Kit>,
    node: NodeId,
    attempt: u32,
}

impl Course {
    /// Runs to its end, or to the first step that fails. Says whether it went well.
    async fn run(&self, care: Care, busy: Busy) -> (bool, Busy) {
        if !self.step("restart", care.restart).await {
            return (false, busy);
        }
        self.say(EventKind::RestartCompleted, |source, node| Event::RestartCompleted {
            source,
            node,
            attempt: self.attempt,
        });
        if let Some(job) = care.sync_state {
            if !self.step("sync_state", job).await {
                return (false, busy);
            }
            self.say(EventKind::StateSynced, |source, node| Event::StateSynced { source, node });
        }
        self.convalesce(busy).await
    }

    async fn step(&self, step: &'static str, job: Job) -> bool {
        let (outcome, _woken) = errands::run(job, self.kit.config.timeout).await;
        let error: Arc<str> = match outcome {
            Outcome::Done(Ok(())) => return true,
            Outcome::Done(Err(error)) => error,
            Outcome::TimedOut => "timeout".into(),
            Outcome::Unheard => "it was not begun in time".into(),
        };
        self.failed(step, error);
        false
    }

    fn failed(&self, step: &'static str, error: Arc<str>) {
        self.say(EventKind::RestartFailed, |source, node| Event::RestartFailed {
            source,
            node,
            attempt: self.attempt,
            step,
            error,
        });
    }

    /// Asks the node as often in a row as its heartbeat would, then takes back that its process had ended.
    async fn convalesce(&self, mut busy: Busy) -> (bool, Busy) {
        let Some(pool) = self.pool.upgrade() else { return (false, busy) };
        if let Some(heartbeat) = pool.asked_by(self.node) {
            let (interval, patience) = (heartbeat.interval, heartbeat.timeout);
            for beat in 0..heartbeat.recovery_threshold {
                if beat > 0 {
                    busy = clock::sleep_until(clock::now().after(interval), busy).await;
                }
                let answer = self.kit.probes.ask(self.node, patience).await;
                let reason = match answer.heard {
                    Heard::Beat => continue,
                    Heard::Miss(reason) => reason,
                    Heard::Nothing => "it could not be asked".into(),
                };
                self.failed("probe", reason);
                return (false, busy);
            }
        }
        tell(|out| pool.acquit(self.node, Evidence::Process, clock::now(), out));
        (true, busy)
    }

    fn say(&self, kind: EventKind, event: impl FnOnce(Source, Arc<str>) -> Event) {
        let Some(pool) = self.pool.upgrade() else { return };
        let node = pool.name_of(self.node);
        tell(|out| out.emit(kind, || event(pool.source().clone(), node)));
    }
}

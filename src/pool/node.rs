//! One node: the one place where its state changes.
//!
//! ```text
//!                 miss                    convicted (heartbeat | breaker | report)
//!        up ─────────────▶ suspect ──────────────┐
//!        ▲ ◀───────────── │                      ▼
//!        │      beat      └───────────────────▶ down ◀───────────┐
//!        │                                        │ sign of life │ convicted again
//!        │        acquitted by all                ▼              │
//!        └────────────────────────────────── recovering ─────────┘
//!
//!        draining: asked by the operator, whatever the judgment
//! ```
//!
//! Each kind of evidence has a flag of its own and clears only that one (P8): a ping alone does not
//! acquit a node that real traffic convicted. An *outage* lasts from the first flag set to the last
//! flag cleared, however often the evidence changes its mind in between.

mod looks;

use std::sync::Arc;
use std::time::Duration;

use super::config::NodeConfig;
use super::detector::{Detector, Opinion};
use super::load::Load;
use super::outlier::Conduct;
use super::rebalance::Round;
use super::view::{Evidence, NodeState};
use crate::base::{Blame, NodeId, Time, Verdict};

/// The share of a new sample in the mean latency: about the last ten calls matter.
const LATENCY_SHARE: f64 = 0.2;
/// Why a node that is only heard fell under suspicion.
const SILENCE: &str = "silence";

/// What a judgment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody needs to hear of.
    None,
    /// It came under suspicion.
    Suspected,
    /// An outage began.
    Failed,
    /// An outage saw its first sign of life.
    Reviving,
    /// An outage ended.
    Recovered {
        /// How long it lasted.
        downtime: Duration,
        /// Had it shown a sign of life before?
        announced: bool,
        /// Had its traffic found a new home?
        rehoused: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Time,
    /// Shows signs of life at the moment.
    reviving: bool,
    /// Has shown a sign of life before: that is told once per outage.
    announced: bool,
    /// Its traffic has found a new home, and that was told.
    rehoused: bool,
}

/// One node and all that is known about it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) config: NodeConfig,
    detector: Option<Detector>,
    enabled: bool,
    draining: bool,
    suspect: bool,
    convictions: u8,
    outage: Option<Outage>,
    /// When its breaker will let a call pass, while that speaks against it.
    asked_again: Option<Time>,
    /// Since when it is back, if it ever was away.
    pub(super) back_since: Option<Time>,
    pub(super) load: Load,
    pub(super) conduct: Conduct,
    pub(super) round: Round,
    /// What rebalancing multiplies its weight by.
    pub(super) factor: f64,
    latency: Option<f64>,
    last_error: Option<Arc<str>>,
    /// Beats in a row since the last miss, and since its breaker spoke against it.
    beats: u32,
    /// Until when its restarts are used up.
    given_up: Option<Time>,
    failures: u64,
    recoveries: u64,
    ledger: Ledger,
}

/// What the figures of its reliability are made of, beside its outages.
#[derive(Clone, Copy, Debug)]
struct Ledger {
    /// None: nobody has said so far what time it is.
    since: Option<Time>,
    /// How long its ended outages took together.
    repairs: Duration,
    calls: u64,
    failed: u64,
    handled: u64,
}

impl Node {
    pub(super) fn new(id: NodeId, config: NodeConfig, detector: Option<Detector>) -> Self {
        Self {
            id,
            config,
            detector,
            enabled: true,
            draining: false,
            suspect: false,
            convictions: 0,
            outage: None,
            asked_again: None,
            back_since: None,
            load: Load::new(),
            conduct: Conduct::default(),
            round: Round::default(),
            factor: 1.0,
            latency: None,
            last_error: None,
            beats: 0,
            given_up: None,
            failures: 0,
            recoveries: 0,
            ledger: Ledger { since: None, repairs: Duration::ZERO, calls: 0, failed: 0, handled: 0 },
        }
    }

    // ---- evidence ----

    /// `by` speaks against it, because of `why`.
    pub(super) fn convict(&mut self, by: Evidence, why: &str, now: Time) -> Change {
        if by == Evidence::Breaker && (!self.convicted_by(by) || self.state() == NodeState::Recovering) {
            // What its heartbeat said before traffic failed, or failed again, tells nothing.
            self.beats = 0;
        }
        self.convictions |= by.flag();
        self.blame(why);
        if let Some(outage) = &mut self.outage {
            outage.reviving = false;
            return Change::None;
        }
        self.outage = Some(Outage { since: now, reviving: false, announced: false, rehoused: false });
        self.failures += 1;
        Change::Failed
    }

    /// `by` takes back what it said. The outage ends when nobody speaks against the node any more.
    pub(super) fn acquit(&mut self, by: Evidence, now: Time) -> Change {
        self.convictions &= !by.flag();
        if self.convictions != 0 {
            return Change::None;
        }
        let Some(outage) = self.outage.take() else { return Change::None };
        self.given_up = None;
        self.recoveries += 1;
        self.back_since = Some(now);
        let Outage { since, announced, rehoused, .. } = outage;
        self.ledger.repairs += now.since(since);
        Change::Recovered { downtime: now.since(since), announced, rehoused }
    }

    /// It showed a sign of life.
    pub(super) fn revive(&mut self) -> Change {
        let Some(outage) = &mut self.outage else { return Change::None };
        outage.reviving = true;
        if std::mem::replace(&mut outage.announced, true) { Change::None } else { Change::Reviving }
    }

    /// Its heartbeat came.
    pub(super) fn beat(&mut self, now: Time) -> Change {
        let Some(detector) = &mut self.detector else { return Change::None };
        self.beats = self.beats.saturating_add(1);
        match detector.beat(now) {
            Opinion::Reviving => self.revive(),
            Opinion::Well | Opinion::Suspect | Opinion::Lost => {
                self.suspect = false;
                // Only what the heartbeat itself said is taken back, and only if it had said it.
                if self.convicted_by(Evidence::Heartbeat) {
                    self.acquit(Evidence::Heartbeat, now)
                } else {
                    Change::None
                }
            }
        }
    }

    /// Its heartbeat stayed away, because of `why`.
    pub(super) fn miss(&mut self, why: &str, now: Time) -> Change {
        let Some(detector) = &mut self.detector else { return Change::None };
        let opinion = detector.miss(now);
        self.doubt(opinion, why, now)
    }

    /// Nothing was heard of it.
    pub(super) fn look(&mut self, now: Time) -> Change {
        let Some(detector) = &mut self.detector else { return Change::None };
        match detector.look(now) {
            Opinion::Well | Opinion::Reviving => Change::None,
            opinion => self.doubt(opinion, SILENCE, now),
        }
    }

    /// We were not there for `span` (P6), or, with none, for nobody knows how long.
    pub(super) fn excuse(&mut self, span: Option<Duration>) {
        if let Some(detector) = &mut self.detector {
            match span {
                Some(span) => detector.excuse(span),
                None => detector.listen_anew(),
            }
        }
    }

    /// Its traffic has found a new home. Says whether that is news.
    pub(super) fn rehouse(&mut self) -> bool {
        self.outage.as_mut().is_some_and(|outage| !std::mem::replace(&mut outage.rehoused, true))
    }

    fn doubt(&mut self, opinion: Opinion, why: &str, now: Time) -> Change {
        self.beats = 0;
        match opinion {
            Opinion::Lost => {
                self.suspect = false;
                self.convict(Evidence::Heartbeat, why, now)
            }
            Opinion::Well | Opinion::Suspect | Opinion::Reviving => {
                self.blame(why);
                let news = !std::mem::replace(&mut self.suspect, true);
                if news && self.outage.is_none() { Change::Suspected } else { Change::None }
            }
        }
    }

    // ---- the operator's will ----

    /// Calls go there again.
    pub(super) const fn enable(&mut self, now: Time) {
        if !self.open_to_traffic() {
            self.back_since = Some(now);
        }
        self.enabled = true;
        self.draining = false;
    }

    /// No calls go there.
    pub(super) const fn disable(&mut self) {
        self.enabled = false;
    }

    /// From now on it gets no new call. Says whether it has none left already.
    pub(super) const fn drain(&mut self) -> bool {
        let news = !self.draining;
        self.draining = true;
        news && self.load.in_flight() == 0
    }

    // ---- traffic ----

    /// A call goes there.
    pub(super) const fn enter(&mut self) {
        self.load.enter();
        self.ledger.calls += 1;
    }

    /// A call comes back. Says whether it was the last one of a draining node.
    pub(super) fn leave(&mut self, verdict: &Verdict, elapsed: Duration, now: Time) -> bool {
        self.load.leave();
        match verdict {
            Verdict::Ok => {
                let sample = elapsed.as_secs_f64();
                let mean = self.latency.unwrap_or(sample);
                self.latency = Some(LATENCY_SHARE.mul_add(sample - mean, mean));
                self.load.answered(elapsed, now);
                self.conduct.note(true, now);
                self.round.note(true, elapsed);
            }
            Verdict::Fail(failure) => {
                self.ledger.failed += 1;
                self.blame(failure.kind.as_str());
                if failure.blame != Blame::Nobody {
                    self.conduct.note(false, now);
                    self.round.note(false, elapsed);
                }
            }
            Verdict::Throttled(failure) => {
                self.ledger.failed += 1;
                self.blame(failure.kind.as_str());
            }
            Verdict::Ignore => {}
        }
        self.draining && self.load.in_flight() == 0
    }

    /// Its breaker will let a call pass at `then`.
    pub(super) const fn expect_back(&mut self, then: Option<Time>) {
        self.asked_again = then;
    }

    /// A call that it failed has ended well all the same.
    pub(super) const fn handled(&mut self) {
        self.ledger.handled += 1;
    }

    /// Its restarts are used up until then; none: it is being restarted.
    pub(super) const fn give_up(&mut self, until: Option<Time>) {
        self.given_up = until;
    }

    /// Its reliability is watched from now on, if it is not yet.
    pub(super) fn watch(&mut self, now: Time) {
        self.ledger.since.get_or_insert(now);
    }

    fn blame(&mut self, why: &str) {
        if self.last_error.as_deref() != Some(why) {
            self.last_error = Some(why.into());
        }
    }
}

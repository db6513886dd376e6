//! Cool-downs: failures that belong to what several nodes share, not to one endpoint (P12, P15, B18).
//!
//! A dead key or an empty quota takes out every node of that key at once, a full rate limit lets them all
//! wait, a host that refuses connections is not asked again through its other names; a 5xx stays with its
//! endpoint. What nodes share they say themselves, as domains such as "key:prod-1" or "host:10.0.0.7"; a
//! node is always a domain of its own too.
//!
//! A cool-down only grows: a later end wins, an earlier one never shortens it (P12), and all are capped.
//! Once it is over, one call asks first (the *probe*); if it succeeds the cool-down is forgotten, if it
//! fails alike it begins anew, and only a probe that says nothing for a while makes room for another.
//!
//! ```text
//!   cooling ──until passes──▶ due ──one call enters──▶ probing ──ok──▶ forgotten
//!      ▲                                                 │ fails alike
//!      └─────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Blame, Failure, FailureKind, NodeId, Time};

/// The longest a node is kept waiting, whatever it asked for: after it one probe may ask earlier than told.
pub const DEFAULT_CAP: Duration = Duration::from_mins(10);
/// Money and hard quotas come back by somebody's hand: looked at again after this, without a better hint.
const QUOTA: Duration = Duration::from_mins(15);
/// A refused credential or a missing model likewise.
const REFUSED: Duration = Duration::from_mins(10);
/// A rate limit that names no wait, or a wait of zero: the first step of the default back-off, doubled.
const RATE: Duration = Duration::from_secs(1);
/// A host that takes no connection: long enough to spare its other nodes the same wait, short enough to
/// notice its return.
const HOST: Duration = Duration::from_secs(2);
/// A probe that says nothing for this long makes room for another.
const PROBE_LEASE: Duration = Duration::from_secs(30);

/// The domains a blame falls on: the prefixes of those that share it.
const fn prefixes(blame: Blame, kind: FailureKind) -> &'static [&'static str] {
    match (blame, kind) {
        (Blame::Credential | Blame::Rate, _) => &["key:", "credential:", "account:"],
        (Blame::Endpoint, FailureKind::Connect) => &["host:"],
        _ => &[],
    }
}

/// How long a failure lets its domain cool; none if it is no such failure.
fn length(failure: &Failure) -> Option<Duration> {
    let hint = failure.delay;
    match (failure.blame, failure.kind) {
        (Blame::Credential, FailureKind::Quota) => Some(hint.unwrap_or(QUOTA)),
        (Blame::Credential, _) => Some(hint.unwrap_or(REFUSED).max(RATE)),
        (Blame::Model, _) => Some(hint.unwrap_or(REFUSED)),
        (Blame::Rate, _) => Some(hint.unwrap_or(RATE).max(RATE)),
        (Blame::Endpoint, FailureKind::Connect) => Some(HOST),
        (Blame::Endpoint | Blame::Nobody, _) => None,
    }
}

#[derive(Clone, Copy, Debug)]
struct Cooldown {
    until: Time,
    kind: FailureKind,
    /// Who asks first, and until when nobody else may.
    probe: Option<(NodeId, Time)>,
}

/// The cool-downs of a pool, by domain.
#[derive(Debug)]
pub(super) struct Cooldowns {
    cap: Duration,
    by_domain: HashMap<Arc<str>, Cooldown>,
}

impl Default for Cooldowns {
    fn default() -> Self {
        Self { cap: DEFAULT_CAP, by_domain: HashMap::new() }
    }
}

impl Cooldowns {
    pub(super) const fn set_cap(&mut self, cap: Duration) {
        self.cap = cap;
    }

    /// May a node of these domains be asked?
    pub(super) fn admits(&self, domains: &[Arc<str>], now: Time) -> bool {
        self.of(domains).all(|(_, cooldown)| cooldown.asks_now(now))
    }

    /// Does nothing cool, or wait for its probe?
    pub(super) fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// Is a cool-down of these domains over, and does it wait for the call that shows whether all is well?
    pub(super) fn await_probe(&self, domains: &[Arc<str>], now: Time) -> bool {
        let mut waiting = false;
        self.of(domains).all(|(_, cooldown)| {
            waiting = true;
            cooldown.asks_now(now)
        }) && waiting
    }

    /// A call to `node` begins: of the cool-downs that are over, it is the probe.
    pub(super) fn enter(&mut self, node: NodeId, domains: &[Arc<str>], now: Time) {
        for domain in domains {
            if let Some(cooldown) = self.by_domain.get_mut(domain) {
                cooldown.probe = Some((node, now.after(PROBE_LEASE)));
            }
        }
    }

    /// It went well: nothing of its domains cools any more.
    pub(super) fn forget(&mut self, domains: &[Arc<str>]) {
        if !self.by_domain.is_empty() {
            self.by_domain.retain(|domain, _| !domains.contains(domain));
        }
    }

    /// The call said nothing about them: somebody else may probe.
    pub(super) fn release(&mut self, node: NodeId, domains: &[Arc<str>]) {
        for domain in domains {
            if let Some(cooldown) = self.by_domain.get_mut(domain)
                && cooldown.probe.is_some_and(|(prober, _)| prober == node)
            {
                cooldown.probe = None;
            }
        }
    }

    /// It failed: what it blames cools. `own` is the node's own domain, which stands in where it names no
    /// other that shares the blame.
    pub(super) fn note(&mut self, failure: &Failure, own: &Arc<str>, domains: &[Arc<str>], now: Time) {
        let Some(length) = length(failure) else { return };
        let shared = prefixes(failure.blame, failure.kind);
        let named = domains.iter().filter(|domain| shared.iter().any(|prefix| domain.starts_with(prefix)));
        let mut blamed: Vec<Arc<str>> = named.cloned().collect();
        if blamed.is_empty() {
            if failure.blame == Blame::Endpoint {
                // Its own breaker counts that; without a shared host there is nothing to share.
                return;
            }
            blamed.push(Arc::clone(own));
        }
        let until = now.after(length.min(self.cap));
        for domain in blamed {
            let cooldown = Cooldown { until, kind: failure.kind, probe: None };
            let kept = self.by_domain.entry(domain).or_insert(cooldown);
            kept.probe = None;
            if kept.until < until {
                *kept = cooldown;
            }
        }
    }

    /// When the last of these domains' cool-downs is over, and what began it; none if nothing cools.
    pub(super) fn until<'a>(
        &'a self,
        domains: &'a [Arc<str>],
        now: Time,
    ) -> Option<(Time, FailureKind, &'a str)> {
        let cooling = self.of(domains).filter(|(_, cooldown)| !cooldown.asks_now(now));
        let last = cooling.max_by_key(|(_, cooldown)| cooldown.until)?;
        Some((last.1.opens(now), last.1.kind, last.0))
    }

    fn of<'a>(&'a self, domains: &'a [Arc<str>]) -> impl Iterator<Item = (&'a str, &'a Cooldown)> {
        let known = if self.by_domain.is_empty() { &[] } else { domains };
        known.iter().filter_map(|domain| Some((&**domain, self.by_domain.get(domain)?)))
    }
}

impl Cooldown {
    fn asks_now(&self, now: Time) -> bool {
        self.until <= now && self.probe.is_none_or(|(_, lease)| lease <= now)
    }

    /// When it lets the next call pass, as far as is known.
    fn opens(&self, now: Time) -> Time {
        self.probe.filter(|_| self.until <= now).map_or(self.until, |(_, lease)| lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(S * u32::try_from(seconds).unwrap())
    }

    fn failure(kind: FailureKind, blame: Blame, delay: Option<Duration>) -> Failure {
        Failure { kind, blame, delay, ..Failure::plain() }
    }

    fn domains(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn p15_one_quota_is_one_cooldown() {
        let mut all = Cooldowns::default();
        let (a, b) = (domains(&["node:a", "key:1"]), domains(&["node:b", "key:1"]));
        let other = domains(&["node:c", "key:2"]);
        all.note(&failure(FailureKind::Quota, Blame::Credential, None), &a[0], &a, at(0));
        assert!(!all.admits(&a, at(1)) && !all.admits(&b, at(1)) && all.admits(&other, at(1)));
    }

    #[test]
    fn b18_a_server_error_stays_with_its_endpoint() {
        let mut all = Cooldowns::default();
        let a = domains(&["node:a", "key:1", "host:h"]);
        all.note(&failure(FailureKind::Server, Blame::Endpoint, Some(S)), &a[0], &a, at(0));
        assert!(all.admits(&a, at(0)));
    }

    #[test]
    fn a_refused_connection_spares_the_hosts_other_nodes() {
        let mut all = Cooldowns::default();
        let (a, b) = (domains(&["node:a", "host:h"]), domains(&["node:b", "host:h"]));
        all.note(&failure(FailureKind::Connect, Blame::Endpoint, None), &a[0], &a, at(0));
        assert!(!all.admits(&b, at(1)) && all.admits(&b, at(2)));
    }

    #[test]
    fn p12_a_cooldown_only_grows_and_is_capped() {
        let mut all = Cooldowns::default();
        let a = domains(&["node:a"]);
        let rate = |seconds| failure(FailureKind::RateLimit, Blame::Rate, Some(S * seconds));
        all.note(&rate(50), &a[0], &a, at(0));
        all.note(&rate(5), &a[0], &a, at(1));
        assert!(!all.admits(&a, at(49)) && all.admits(&a, at(50)));
        all.note(&rate(80), &a[0], &a, at(2));
        assert!(!all.admits(&a, at(81)));
        all.note(&rate(7200), &a[0], &a, at(3));
        assert!(all.admits(&a, at(603)));
    }

    #[test]
    fn p12_a_wait_of_zero_still_cools() {
        let mut all = Cooldowns::default();
        let a = domains(&["node:a"]);
        let zero = failure(FailureKind::RateLimit, Blame::Rate, Some(Duration::ZERO));
        all.note(&zero, &a[0], &a, at(0));
        assert!(!all.admits(&a, Time::from_millis(999)) && all.admits(&a, at(1)));
    }

    #[test]
    fn after_a_cooldown_one_call_asks_first() {
        let mut all = Cooldowns::default();
        let (a, b) = (domains(&["node:a", "key:1"]), domains(&["node:b", "key:1"]));
        let quota = failure(FailureKind::Quota, Blame::Credential, Some(S * 10));
        all.note(&quota, &a[0], &a, at(0));
        assert!(all.admits(&a, at(10)));
        all.enter(NodeId(0), &a, at(10));
        assert!(!all.admits(&b, at(11)), "the probe is under way");
        all.release(NodeId(0), &a);
        assert!(all.admits(&b, at(11)), "a probe that says nothing gives its place back");
        all.enter(NodeId(1), &b, at(11));
        assert!(all.admits(&a, at(41)), "a silent probe makes room in the end");
        all.note(&quota, &b[0], &b, at(41));
        assert!(!all.admits(&a, at(50)));
        all.forget(&b);
        assert!(all.admits(&a, at(50)));
    }
}

//! A key's own node: consistent hashing with bounded loads.
//!
//! Each node has points on a ring, as many as it weighs; a key's node is that of the first point behind the
//! key's hash. A node that leaves hands its keys to the others, and every other key stays where it was. A
//! node with more than [`SLACK`] times its fair share of the calls in flight is passed over, which bounds
//! every load (Mirrokni, Thorup, Zadimoghaddam 2018), and so is one that may not be asked: exclusion comes
//! before affinity (P13).

use super::Field;
use crate::base::Dice;

/// How far above its fair share a node may be loaded.
const SLACK: f64 = 1.25;
/// As many calls are never too many: an idle pool does not tear a conversation apart.
const ALWAYS: u32 = 4;
/// Points of a node of mean weight: the shares of the ring vary by a tenth or so.
const POINTS: f64 = 128.0;
/// Points of a node at most, in multiples of that.
const HEAVIEST: f64 = 16.0;

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct Sticky {
    /// By place: the hash of the name, and the weight.
    nodes: Vec<(u64, f64)>,
    /// Sorted points with their places; empty while it is out of date.
    ring: Vec<(u64, usize)>,
}

impl Sticky {
    pub(super) fn pick(&mut self, field: &dyn Field, dice: &mut dyn Dice) -> Option<usize> {
        if self.ring.is_empty() {
            self.lay();
        }
        // A call without a key has no node of its own: any will do.
        let key = field.key().unwrap_or_else(|| dice.roll());
        let bound = |place: usize| {
            let (calls, weights) = field.totals();
            let fair = (calls + 1) as f64 * self.nodes[place].1 / weights.max(f64::MIN_POSITIVE);
            (SLACK * fair).ceil()
        };
        let room = |place: usize| {
            let busy = field.busy(place);
            busy < ALWAYS || f64::from(busy) < bound(place)
        };
        let keeps = |place: usize| unit(mix(key ^ self.nodes[place].0)) < field.share(place);
        let mut fallback = None;
        for place in self.from(key) {
            if !field.eligible(place) {
                continue;
            }
            if room(place) && keeps(place) {
                return Some(place);
            }
            fallback = fallback.or(Some(place));
        }
        fallback
    }

    pub(super) fn joined(&mut self, name: &str, weight: f64) {
        self.nodes.push((hash_key(name), weight));
        self.ring.clear();
    }

    pub(super) fn left(&mut self, place: usize) {
        self.nodes.remove(place);
        self.ring.clear();
    }

    fn lay(&mut self) {
        let mean = self.nodes.iter().map(|node| node.1).sum::<f64>() / self.nodes.len().max(1) as f64;
        for (place, (hash, weight)) in self.nodes.iter().enumerate() {
            let points = (POINTS * (weight / mean).min(HEAVIEST)).ceil();
            let mut point = *hash;
            let mut laid = 0.0;
            while laid < points {
                point = mix(point);
                self.ring.push((point, place));
                laid += 1.0;
            }
        }
        self.ring.sort_unstable();
    }

    /// The places in the order of the ring from `key` on, each once.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.ring.partition_point(|&(point, _)| point < key);
        let (before, behind) = self.ring.split_at(start);
        let mut first = None;
        // Mostly the first one is taken: who has been seen is only noted from the second on.
        let mut seen = Vec::new();
        behind.iter().chain(before).map(|&(_, place)| place).filter(move |&place| {
            let Some(first) = first else {
                first = Some(place);
                return true;
            };
            if seen.is_empty() {
                seen.resize(self.nodes.len(), false);
                seen[first] = true;
            }
            !std::mem::replace(&mut seen[place], true)
        })
    }
}

/// A hash of a key or a name that is the same in every process and release, so that they agree on a key's
/// node: FNV-1a (Fowler, Noll, Vo) and a finisher, because its high bits are weak.
#[must_use]
pub fn hash_key(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    mix(text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// The finisher of `SplitMix64`: a bijection that spreads every bit over all.
const fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A word as a number in `[0, 1)`.
fn unit(word: u64) -> f64 {
    const TWO_POW_53: f64 = 9_007_199_254_740_992.0;
    (word >> 11) as f64 / TWO_POW_53
}

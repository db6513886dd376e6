//! The dice for everybody who has none of their own: one set per thread, seeded by the system.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

use super::process;
use crate::base::{Dice, SplitMix};

thread_local! {
    static DICE: RefCell<Option<(usize, SplitMix)>> = const { RefCell::new(None) };
}

/// This thread's dice. Random enough to spread load and delays; not for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadDice;

impl Dice for ThreadDice {
    fn roll(&mut self) -> u64 {
        let generation = process::generation();
        DICE.with_borrow_mut(|dice| match dice {
            Some((seeded_in, dice)) if *seeded_in == generation => dice.roll(),
            _ => dice.insert((generation, SplitMix::new(seed()))).1.roll(),
        })
    }
}

/// A word from the system. The keys of `RandomState` survive a fork, so that alone a child would roll
/// what its parent rolls (R2); the process id makes the difference.
#[expect(clippy::disallowed_methods, reason = "this is the one door for unseeded randomness")]
fn seed() -> u64 {
    RandomState::new().hash_one((std::process::id(), process::generation(), std::thread::current().id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_no_two_threads_roll_the_same() {
        let roll = || (ThreadDice.roll(), ThreadDice.roll());
        let here = roll();
        let there = std::thread::scope(|s| s.spawn(roll).join().unwrap());
        assert_ne!(here, there);
        assert_ne!(here.0, here.1);
    }
}

//! The slots of probes, one by one.

use super::*;
use crate::policy::breaker::lease::{Claim, Lease, Leases, Ousted, Take};
use crate::window::Era;

const NOW: Time = Time::from_millis(1000);
const FIRST: Era = Era::new(1);
const SECOND_ROUND: Era = Era::new(2);

fn take(leases: &Leases, era: Era, now: Time) -> (Lease, Ousted) {
    match leases.take(era, now, SECOND, 1) {
        Take::Taken(lease, ousted) => (lease, ousted),
        other => panic!("{other:?}"),
    }
}

/// A slot in use is full for its round; a later round, or the end of its lease, takes it over and says which.
#[test]
fn b3_who_takes_over_knows_from_whom() {
    let leases = Leases::new();
    assert_eq!(take(&leases, FIRST, NOW).1, Ousted::Nobody);
    assert_eq!(leases.take(FIRST, NOW, SECOND, 1), Take::Full);
    assert_eq!(take(&leases, SECOND_ROUND, NOW).1, Ousted::Late);
    assert_eq!(leases.take(FIRST, NOW, SECOND, 1), Take::Stale);
    assert_eq!(take(&leases, SECOND_ROUND, NOW.after(SECOND)).1, Ousted::Lost);
}

/// While its own probe is being settled a slot is in use in that round, and free in the next; giving it back then
/// does not touch its new owner.
#[test]
fn a_slot_that_is_being_settled_is_in_use() {
    let leases = Leases::new();
    let (lease, _) = take(&leases, FIRST, NOW);
    assert_eq!(leases.claim(lease, NOW), Claim::Held);
    assert_eq!(leases.take(FIRST, NOW, SECOND, 1), Take::Full);
    assert_eq!(leases.take(FIRST, NOW.after(SECOND * 9), SECOND, 1), Take::Full, "it cannot expire");
    let (later, ousted) = take(&leases, SECOND_ROUND, NOW);
    assert_eq!(ousted, Ousted::Nobody, "the one before has been counted");
    leases.free(lease);
    assert_eq!(leases.take(SECOND_ROUND, NOW, SECOND, 1), Take::Full);
    assert_eq!(leases.claim(later, NOW), Claim::Held);
    leases.free(later);
    assert!(leases.vacancy(SECOND_ROUND, NOW, 1).is_ok());
}

/// A right to probe that was not used goes back, once, unless somebody has taken it over.
#[test]
fn l2_giving_up_says_whether_it_was_still_ours() {
    let leases = Leases::new();
    let (lease, _) = take(&leases, FIRST, NOW);
    assert!(leases.give_up(lease));
    assert!(!leases.give_up(lease));
    assert_eq!(take(&leases, FIRST, NOW).1, Ousted::Nobody);
    let (lost, _) = take(&leases, SECOND_ROUND, NOW);
    let _ = take(&leases, SECOND_ROUND, NOW.after(SECOND));
    assert!(!leases.give_up(lost));
}

/// There is room where nobody is, where somebody of another round is, and where a lease has run out.
#[test]
fn vacancy_is_any_of_three() {
    let leases = Leases::new();
    assert_eq!(leases.vacancy(FIRST, NOW, 1), Ok(()));
    let _ = take(&leases, FIRST, NOW);
    assert_eq!(leases.vacancy(FIRST, NOW, 1), Err(NOW.after(SECOND)));
    assert_eq!(leases.vacancy(FIRST, NOW, 2), Ok(()), "the second slot");
    assert_eq!(leases.vacancy(SECOND_ROUND, NOW, 1), Ok(()));
    assert_eq!(leases.vacancy(FIRST, NOW.after(SECOND), 1), Ok(()));
}

/// The longest lease is a moment less than the mark of a slot that is being settled, and does not spill into its era.
#[test]
fn the_longest_lease_fits() {
    let leases = Leases::new();
    let longest = Time::from_millis((1 << 43) - 2);
    assert!(matches!(leases.take(FIRST, NOW, Duration::MAX, 1), Take::Taken(_, Ousted::Nobody)));
    assert_eq!(leases.vacancy(FIRST, NOW, 1), Err(longest));
}

//! Everybody in turn, starting with the first.

/// Remembers whose turn is next.
///
/// The turn moves to the place behind the one that was picked, not by one per call. Counting calls
/// modulo the number of nodes would give the node behind a failed one a double share.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    pub(super) fn pick(&mut self, count: usize, eligible: &mut dyn FnMut(usize) -> bool) -> Option<usize> {
        let start = if self.next < count { self.next } else { 0 };
        let place = (start..count).chain(0..start).find(|&place| eligible(place))?;
        self.next = place + 1;
        Some(place)
    }

    pub(super) const fn left(&mut self, place: usize) {
        if place < self.next {
            self.next -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(b: &mut RoundRobin, count: usize, n: usize, down: &[usize]) -> Vec<usize> {
        (0..n).map(|_| b.pick(count, &mut |i| !down.contains(&i)).unwrap()).collect()
    }

    #[test]
    fn the_first_pick_is_the_first_node_and_each_has_its_turn() {
        assert_eq!(picks(&mut RoundRobin::default(), 3, 7, &[]), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn the_share_of_a_failed_node_is_spread_evenly() {
        let all = picks(&mut RoundRobin::default(), 4, 300, &[1]);
        for node in [0, 2, 3] {
            assert_eq!(all.iter().filter(|&&n| n == node).count(), 100);
        }
    }

    #[test]
    fn nobody_loses_a_turn_when_a_node_leaves() {
        let mut b = RoundRobin::default();
        assert_eq!(picks(&mut b, 4, 2, &[]), [0, 1]);
        b.left(0); // 1, 2, 3 are now 0, 1, 2, and it is 2's turn.
        assert_eq!(picks(&mut b, 3, 3, &[]), [1, 2, 0]);
    }

    #[test]
    fn nobody_eligible_means_no_pick_and_no_lost_turn() {
        let mut b = RoundRobin::default();
        assert_eq!(b.pick(2, &mut |_| false), None);
        assert_eq!(picks(&mut b, 2, 1, &[]), [0]);
    }
}

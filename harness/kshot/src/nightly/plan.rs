//! The order in which pairs run, and how they are packed into units for other hosts. Pure.

use std::time::Duration;

/// The expected duration of a pair that never ran: a cold boot, its steps and the collection.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// A pair that waits to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedPair {
    /// The pair's index in the night's list.
    pub pair: usize,
    /// The pair's kernel.
    pub kernel: String,
    /// The expected duration.
    pub expected: Duration,
}

/// The work that a host is sent: one kernel and some scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkUnit {
    /// The unit's kernel.
    pub kernel: String,
    /// The numbers of its pairs, the longest first.
    pub pairs: Vec<usize>,
    /// The expected duration of all its pairs.
    pub expected: Duration,
}

/// Sorts the pairs, the longest first, so that none of them is left for the end; pairs of equal duration keep
/// their order.
pub fn longest_first(mut waiting: Vec<QueuedPair>) -> Vec<QueuedPair> {
    waiting.sort_by_key(|one| std::cmp::Reverse(one.expected));
    waiting
}

/// Packs pairs into units for `slots` places: at most a third of a place's fair share each, so that a place
/// that is done early finds more, and the longest first.
pub fn pack(waiting: Vec<QueuedPair>, slots: usize) -> Vec<WorkUnit> {
    let total: Duration = waiting.iter().map(|one| one.expected).sum();
    let share = total / u32::try_from(slots.max(1) * 3).unwrap_or(u32::MAX);
    let mut units: Vec<WorkUnit> = Vec::new();
    for one in longest_first(waiting) {
        let room = |unit: &&mut WorkUnit| unit.kernel == one.kernel && unit.expected + one.expected <= share;
        match units.iter_mut().find(room) {
            Some(unit) => {
                unit.pairs.push(one.pair);
                unit.expected += one.expected;
            }
            None => {
                units.push(WorkUnit { kernel: one.kernel, pairs: vec![one.pair], expected: one.expected })
            }
        }
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.expected));
    units
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(seconds: &[(u64, &str)]) -> Vec<QueuedPair> {
        let one = |(pair, (seconds, kernel)): (usize, &(u64, &str))| QueuedPair {
            pair,
            kernel: (*kernel).into(),
            expected: Duration::from_secs(*seconds),
        };
        seconds.iter().enumerate().map(one).collect()
    }

    #[test]
    fn the_longest_comes_first() {
        let queue = longest_first(waiting(&[(3, "a"), (20, "a"), (8, "b"), (3, "b")]));
        assert_eq!(queue.iter().map(|one| one.pair).collect::<Vec<_>>(), [1, 2, 0, 3]);
    }

    #[test]
    fn a_unit_is_of_one_kernel_and_a_long_pair_has_one_of_its_own() {
        let units = pack(waiting(&[(60, "a"), (5, "a"), (5, "b"), (5, "a"), (5, "a")]), 2);
        let shape: Vec<_> = units.iter().map(|unit| (unit.kernel.as_str(), unit.pairs.clone())).collect();
        assert_eq!(shape, [("a", vec![0]), ("a", vec![1, 3]), ("b", vec![2]), ("a", vec![4])]);
    }

    proptest! {
        #[test]
        fn packing_loses_nothing_and_doubles_nothing(
            seconds in proptest::collection::vec((1..100_u64, 0..4_usize), 0..60), slots in 0..9_usize,
        ) {
            let kernels = ["a", "b", "c", "d"];
            let all: Vec<_> = seconds.iter().map(|(s, kernel)| (*s, kernels[*kernel])).collect();
            let units = pack(waiting(&all), slots);
            let mut pairs: Vec<usize> = units.iter().flat_map(|unit| unit.pairs.clone()).collect();
            pairs.sort_unstable();
            prop_assert_eq!(pairs, (0..all.len()).collect::<Vec<_>>());
            for unit in &units {
                prop_assert!(unit.pairs.iter().all(|pair| all[*pair].1 == unit.kernel));
            }
        }
    }
}

//! Properties of every search, over thousands of random histories.

use proptest::prelude::*;

use super::fake_history::{FakeHistory, Random};
use super::*;

/// A random graph: every node has a parent, some have more, and all lead to the last one.
fn graph(random: &mut Random, length: usize) -> Vec<Vec<usize>> {
    let mut parents: Vec<Vec<usize>> = vec![vec![]];
    let mut heads = vec![0];
    for node in 1..length {
        let from = if random.below(6) == 0 { random.below(node) } else { heads[random.below(heads.len())] };
        let of = match heads.len() {
            _ if node + 1 == length => heads.clone(),
            2.. if random.below(4) == 0 => heads[..2].to_vec(),
            _ => vec![from],
        };
        heads.retain(|head| !of.contains(head));
        heads.push(node);
        parents.push(of);
    }
    parents
}

/// A random history with one change, and the changed node.
fn random_world(seed: u64, rate: f64) -> (FakeHistory, usize) {
    let random = &mut Random(seed);
    let length = 2 + random.below(80);
    let culprit = 1 + random.below(length - 1);
    let mut world = match random.below(3) {
        0 => FakeHistory::row(length, culprit),
        1 => FakeHistory::fixed(length, culprit),
        _ => FakeHistory::graph(graph(random, length), culprit),
    };
    let breaks = [0.0, 0.1, 0.4][random.below(3)];
    world.broken = (1..length - 1).filter(|_| random.chance(breaks)).collect();
    if random.below(3) == 0 && culprit > 2 && world.plan.bad != 0 {
        let from = random.below(culprit - 1);
        let same =
            (from..culprit).filter(|node| !world.faulty.contains_key(node)).take(5).collect::<Vec<_>>();
        world = world.same_image(same);
    }
    world.host = [0.0, 0.02, 0.05][random.below(3)];
    world.plan.accepted_error = 0.05;
    world.plan.patience = 100;
    (world.rate(rate).seed(seed ^ 0x5eed), culprit)
}

/// The number of finished searches among `count`, and how many of them ended at the wrong node.
fn wrong(count: u64, rate: f64) -> (u32, u32) {
    let (mut decided, mut wrong) = (0, 0);
    for seed in 0..count {
        let (world, culprit) = random_world(seed, rate);
        match world.search().outcome {
            BisectionResult::Found { changes, error_bound: stated } => {
                assert!(stated <= 0.05, "{stated}");
                decided += 1;
                wrong += u32::from(changes.len() != 1 || !changes[0].suspects.contains(&culprit));
            }
            BisectionResult::TooManyHostErrors { .. } => {}
            other => panic!("seed {seed}, rate {rate}: {other:?}"),
        }
    }
    (decided, wrong)
}

#[test]
fn a_fault_that_always_shows_is_never_missed() {
    let (decided, wrong) = wrong(3000, 1.0);
    assert!(decided > 2500, "{decided}");
    assert_eq!(wrong, 0, "of {decided}");
}

#[test]
fn a_flaky_fault_is_missed_no_more_often_than_the_error_allows() {
    for rate in [0.9, 0.7, 0.5, 0.3] {
        let (decided, wrong) = wrong(300, rate);
        assert!(decided > 240, "{decided}");
        assert!(f64::from(wrong) <= 0.05 * f64::from(decided), "rate {rate}: {wrong} of {decided}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_search_ends_and_asks_nothing_that_it_knows(seed: u64, rate in 0.3..=1.0_f64) {
        // `World::search` fails on a question whose answer is known, and on a search that does not end.
        let (world, culprit) = random_world(seed, rate);
        match world.search().outcome {
            BisectionResult::Found { changes, .. } => {
                for change in &changes {
                    prop_assert!(!change.suspects.is_empty() && !change.parents.is_empty());
                }
                if rate == 1.0 {
                    prop_assert!(changes[0].suspects.contains(&culprit));
                }
            }
            BisectionResult::TooManyHostErrors { .. } => {}
            // A fault that does not always show may be missed in a commit whose ancestor has shown it.
            BisectionResult::NotMonotonic { .. } if rate < 1.0 => {}
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_fault_that_always_shows_costs_a_boot_for_each_halving(length in 2_usize..500, culprit_at: prop::sample::Index) {
        let culprit = 1 + culprit_at.index(length - 1);
        let summary = FakeHistory::row(length, culprit).search();
        prop_assert_eq!(summary.suspects(), [[culprit]]);
        prop_assert!(summary.boots() <= (length - 1).next_power_of_two().ilog2() as usize + 22);
    }
}

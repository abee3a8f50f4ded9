use super::*;
use crate::bisect::fake_history::{FakeBisection, FakeHistory};

/// Boots that a fault that always shows takes besides halving: 6 at the bad end, 5 at the good end, 5 more at
/// the culprit, 6 at its parent.
const CONFIRMATIONS: usize = 22;

fn found(summary: &FakeBisection, culprit: usize) {
    assert_eq!(summary.suspects(), [[culprit]]);
    let BisectionResult::Found { error_bound: wrong, .. } = &summary.outcome else { unreachable!() };
    assert!((0.0..=0.01).contains(wrong), "{wrong}");
}

macro_rules! finds_in_a_row {
    ($($name:ident: $world:expr => $culprit:expr;)*) => {
        $(#[test]
        fn $name() {
            let world: FakeHistory = $world;
            let candidates = world.plan.graph.len() - 1;
            let summary = world.search();
            found(&summary, $culprit);
            let halvings = candidates.next_power_of_two().ilog2() as usize;
            assert!(summary.boots() <= halvings + summary.skipped() + CONFIRMATIONS, "{} boots", summary.boots());
        })*
    };
}

finds_in_a_row! {
    a_fault_in_the_middle: FakeHistory::row(64, 31) => 31;
    a_fault_right_after_the_good_end: FakeHistory::row(64, 1) => 1;
    a_fault_at_the_bad_end_itself: FakeHistory::row(64, 63) => 63;
    a_fault_between_two_neighbours: FakeHistory::row(2, 1) => 1;
    a_fault_in_three: FakeHistory::row(3, 2) => 2;
    a_fault_in_a_thousand: FakeHistory::row(1000, 777) => 777;
    a_fix_in_the_middle: FakeHistory::fixed(64, 40) => 40;
    a_fix_right_after_the_bad_end: FakeHistory::fixed(64, 1) => 1;
    a_fix_at_the_good_end_itself: FakeHistory::fixed(64, 63) => 63;
    a_fix_between_two_neighbours: FakeHistory::fixed(2, 1) => 1;
    a_broken_node_in_the_middle: FakeHistory::row(64, 20).broken([31, 32]) => 20;
    broken_nodes_on_the_good_side_alone: FakeHistory::row(64, 40).broken(1..30) => 40;
    broken_nodes_on_the_bad_side_alone: FakeHistory::row(64, 20).broken(30..60) => 20;
    every_third_node_broken: FakeHistory::row(61, 31).broken((2..60).step_by(3).filter(|node| ![29, 30, 31].contains(node))) => 31;
    a_fix_among_broken_nodes: FakeHistory::fixed(64, 10).broken(20..50) => 10;
    nodes_with_the_same_image: FakeHistory::row(64, 40).same_image(10..39) => 40;
}

#[test]
fn a_broken_range_around_the_culprit_is_left_as_suspects() {
    let summary = FakeHistory::row(64, 32).broken(30..35).search();
    assert_eq!(summary.suspects(), [[30, 31, 32, 33, 34, 35]]);
    assert_eq!(summary.change().parents, [29]);
    assert!(summary.change().unproven.is_empty());
}

#[test]
fn a_broken_culprit_is_named_with_the_first_that_works() {
    assert_eq!(FakeHistory::row(64, 32).broken([32]).search().suspects(), [[32, 33]]);
}

#[test]
fn nothing_but_broken_nodes_leaves_them_all() {
    let summary = FakeHistory::row(10, 5).broken(1..9).search();
    assert_eq!(summary.suspects(), [(1..10).collect::<Vec<_>>()]);
    assert_eq!(summary.skipped(), 8);
}

#[test]
fn a_broken_range_is_left_in_ever_longer_steps() {
    let summary = FakeHistory::row(1024, 100).broken(450..570).search();
    found(&summary, 100);
    assert!(summary.skipped() < 16, "{} skipped", summary.skipped());
}

#[test]
fn a_fix_behind_broken_nodes_is_left_as_suspects() {
    assert_eq!(FakeHistory::fixed(32, 16).broken(14..18).search().suspects(), [[14, 15, 16, 17, 18]]);
}

/// Two branches of 10 from node 1, merged in node 22, and 5 nodes after it.
fn merge() -> Vec<Vec<usize>> {
    let mut parents = vec![vec![], vec![0]];
    parents.extend((2..12).map(|node| vec![if node == 2 { 1 } else { node - 1 }]));
    parents.extend((12..22).map(|node| vec![if node == 12 { 1 } else { node - 1 }]));
    parents.push(vec![11, 21]);
    parents.extend((23..28).map(|node| vec![node - 1]));
    parents
}

#[test]
fn a_culprit_on_either_side_of_a_merge_or_around_it_is_found() {
    for culprit in 1..28 {
        let summary = FakeHistory::graph(merge(), culprit).search();
        found(&summary, culprit);
        assert!(summary.marked() <= 6, "{culprit}: {} marked", summary.marked());
    }
}

#[test]
fn a_merge_that_is_the_culprit_has_all_its_parents_proven() {
    let summary = FakeHistory::graph(merge(), 22).search();
    assert_eq!(summary.change().parents, [11, 21]);
    let proven = |node| {
        summary.events.iter().any(|event| {
            matches!(event, SearchEvent::Ran { candidate: Candidate::Node(at), purpose: Purpose::ProveGood, .. } if *at == node)
        })
    };
    assert!(proven(11) && proven(21));
}

#[test]
fn a_culprit_behind_an_octopus_merge_is_found() {
    let mut parents = vec![vec![]];
    parents.extend((1..13).map(|node| vec![if node % 4 == 1 { 0 } else { node - 1 }]));
    parents.push(vec![4, 8, 12]);
    for culprit in 1..14 {
        found(&FakeHistory::graph(parents.clone(), culprit).search(), culprit);
    }
}

#[test]
fn a_flaky_fault_on_a_branch_of_a_merge_is_found() {
    for seed in 0..50 {
        found(&FakeHistory::graph(merge(), 15).rate(0.5).seed(seed).search(), 15);
    }
}

#[test]
fn the_rate_of_a_flaky_fault_decides_how_often_the_parent_must_be_quiet() {
    let quiet = |rate| {
        let summary = FakeHistory::row(16, 8).rate(rate).seed(3).search();
        let proof = |event: &&SearchEvent| {
            matches!(
                event,
                SearchEvent::Ran { candidate: Candidate::Node(7), purpose: Purpose::ProveGood, .. }
            )
        };
        summary.events.iter().filter(proof).count()
    };
    assert_eq!(quiet(1.0), 6);
    assert!(quiet(0.3) > 20, "{}", quiet(0.3));
}

#[test]
fn a_mark_that_a_proof_overturns_sends_the_search_on() {
    // Some seed makes a faulty node good often enough for an evaluation, and its proof shows that it is
    // faulty.
    let overturned = (0..200).filter(|&seed| {
        let mut world = FakeHistory::row(32, 9).rate(0.3).seed(seed);
        world.plan.patience = 100;
        let summary = world.search();
        summary.suspects() == [[9]]
            && summary.events.iter().any(|event| {
                matches!(event, SearchEvent::Ran { candidate: Candidate::Node(10..), purpose: Purpose::ProveGood, answer } if answer == "quiet")
            })
    });
    assert!(overturned.count() > 0);
}

#[test]
fn a_smaller_error_costs_more_runs() {
    let boots = |error| {
        let mut world = FakeHistory::row(64, 20).rate(0.5).seed(5);
        world.plan.accepted_error = error;
        world.search().boots()
    };
    assert!(boots(0.1) < boots(0.01) && boots(0.01) < boots(0.0001));
}

#[test]
fn a_bad_end_that_never_shows_is_no_change() {
    let mut world = FakeHistory::row(64, 63);
    world.faulty.clear();
    assert_eq!(world.search().outcome, BisectionResult::NoChange { runs: 20 });
}

#[test]
fn two_ends_that_say_the_same_unasked_thing_are_no_change() {
    let mut world = FakeHistory::row(8, 0);
    world.plan.good_answers.clear();
    assert_eq!(world.search().outcome, BisectionResult::NoChange { runs: 20 });
}

#[test]
fn a_good_end_that_shows_is_a_wrong_end() {
    let mut world = FakeHistory::row(64, 1);
    world.faulty.insert(0, "fault".into());
    let summary = world.search();
    assert_eq!(summary.outcome, BisectionResult::GoodEndIsBad { end: 0, answer: "fault".into() });
    assert!(summary.boots() <= 2, "{}", summary.boots());
}

#[test]
fn ends_that_are_exchanged_are_a_wrong_end_at_once() {
    let mut world = FakeHistory::row(64, 30);
    (world.plan.good, world.plan.bad) = (vec![63], 0);
    let summary = world.search();
    assert_eq!(summary.outcome, BisectionResult::GoodEndIsBad { end: 63, answer: "fault".into() });
    assert!(summary.boots() <= 2);
}

#[test]
fn a_good_end_that_shows_now_and_then_is_a_wrong_end() {
    let mut world = FakeHistory::row(64, 30).rate(0.5);
    world.faulty.insert(0, "fault".into());
    assert!(matches!(world.search().outcome, BisectionResult::GoodEndIsBad { end: 0, .. }));
}

#[test]
fn an_end_that_does_not_build_is_unusable() {
    for end in [0, 63] {
        let summary = FakeHistory::row(64, 30).broken([end]).search();
        assert_eq!(summary.outcome, BisectionResult::UnusableEnd { end, why: "it does not build".into() });
    }
}

#[test]
fn a_fault_that_is_rarer_than_the_patience_is_said_to_be() {
    let mut world = FakeHistory::row(8, 4).rate(0.05).seed(5);
    world.plan.patience = 10;
    assert!(matches!(
        world.search().outcome,
        BisectionResult::TooRare { .. } | BisectionResult::NoChange { .. }
    ));
}

#[test]
fn more_patience_finds_a_rare_fault() {
    let mut world = FakeHistory::row(8, 4).rate(0.05).seed(2);
    world.plan.patience = 200;
    found(&world.search(), 4);
}

#[test]
fn a_host_that_fails_now_and_then_marks_nothing() {
    for seed in 0..20 {
        let mut world = FakeHistory::row(64, 23).seed(seed);
        world.host = 0.05;
        found(&world.search(), 23);
    }
}

#[test]
fn a_host_that_fails_more_often_than_not_stops_the_search() {
    let mut world = FakeHistory::row(64, 23);
    world.host = 1.0;
    let summary = world.search();
    assert_eq!(summary.outcome, BisectionResult::TooManyHostErrors { why: "no space left".into() });
    assert_eq!(summary.events.len(), 6);
}

#[test]
fn a_node_with_the_image_of_another_is_not_booted() {
    let summary = FakeHistory::row(64, 40).same_image(20..40).search();
    found(&summary, 40);
    let booted: BTreeSet<Candidate> = summary
        .events
        .iter()
        .filter_map(|event| match event {
            SearchEvent::Ran { candidate: candidate @ Candidate::Node(20..40), .. } => Some(*candidate),
            _ => None,
        })
        .collect();
    assert!(booted.contains(&Candidate::Node(31)));
    let built: BTreeSet<Candidate> = summary
        .events
        .iter()
        .filter_map(|event| match event {
            SearchEvent::Built { candidate, .. } => Some(*candidate),
            _ => None,
        })
        .collect();
    assert!(built.len() > 1, "{built:?}");
    let marks = summary.events.iter().filter(|event| {
        matches!(event, SearchEvent::Ran { candidate: Candidate::Node(20..40), purpose: Purpose::Halve, .. })
    });
    assert_eq!(marks.count(), 1, "one boot marks them all");
}

#[test]
fn two_changes_are_both_found() {
    let mut world = FakeHistory::row(64, 20);
    world.plan.good_answers.clear();
    for node in 45..64 {
        world.faulty.insert(node, "another".into());
    }
    assert_eq!(world.search().suspects(), [[20], [45]]);
}

#[test]
fn two_changes_on_the_way_to_a_fix_are_both_found() {
    let mut world = FakeHistory::fixed(64, 50);
    world.plan.good_answers.clear();
    for node in 0..13 {
        world.faulty.insert(node, "another".into());
    }
    assert_eq!(world.search().suspects(), [[50], [13]]);
}

#[test]
fn three_changes_are_all_found() {
    let mut world = FakeHistory::row(100, 10);
    for (from, answer) in [(40, "second"), (77, "third")] {
        world.faulty.extend((from..100).map(|node| (node, answer.to_owned())));
    }
    assert_eq!(world.search().suspects(), [[10], [40], [77]]);
}

#[test]
fn a_fault_that_went_and_came_back_is_not_monotonic_where_checks_see_it() {
    let mut world = FakeHistory::row(64, 50);
    world.plan.spot_checks = 7;
    world.faulty.extend((5..20).map(|node| (node, "fault".to_owned())));
    let outcome = world.search().outcome;
    assert!(
        matches!(outcome, BisectionResult::NotMonotonic { with_change: 5..20, without_change: 20..50 }),
        "{outcome:?}"
    );
}

#[test]
fn a_fault_that_left_again_is_not_monotonic_where_checks_see_it() {
    let mut world = FakeHistory::fixed(64, 10);
    world.plan.spot_checks = 7;
    world.faulty.extend((30..45).map(|node| (node, "fault".to_owned())));
    let outcome = world.search().outcome;
    assert!(
        matches!(outcome, BisectionResult::NotMonotonic { with_change: 10..30, without_change: 30..45 }),
        "{outcome:?}"
    );
}

#[test]
fn checks_of_a_history_that_changed_once_change_nothing() {
    let mut world = FakeHistory::row(64, 33);
    world.plan.spot_checks = 5;
    found(&world.search(), 33);
}

#[test]
fn a_side_of_a_merge_that_mended_it_is_not_monotonic() {
    // The fault is older than the fork; one side mended it, and the merge took that side's code.
    let mut world = FakeHistory::graph(merge(), 1);
    world.faulty.retain(|node, _| *node == 1 || (2..12).contains(node) || *node >= 24);
    world.plan.spot_checks = 12;
    let outcome = world.search().outcome;
    assert!(matches!(outcome, BisectionResult::NotMonotonic { .. }), "{outcome:?}");
}

#[test]
fn the_culprit_taken_back_flips_the_verdict() {
    for world in [FakeHistory::row(64, 20), FakeHistory::fixed(64, 20)] {
        let mut world = world;
        world.plan.can_verify_culprit = true;
        let summary = world.search();
        assert_eq!(
            summary.change().verification,
            Some(CulpritVerification { candidate: Candidate::Reverted(20), confirmed: true })
        );
    }
}

#[test]
fn a_culprit_that_cannot_be_taken_back_is_put_on_the_older_end() {
    for world in [FakeHistory::row(64, 20), FakeHistory::fixed(64, 20)] {
        let mut world = world;
        (world.plan.can_verify_culprit, world.reverts) = (true, false);
        let summary = world.search();
        assert_eq!(
            summary.change().verification,
            Some(CulpritVerification { candidate: Candidate::Applied(20), confirmed: true })
        );
    }
}

#[test]
fn a_culprit_that_can_neither_be_taken_back_nor_put_on_has_no_flip() {
    let mut world = FakeHistory::row(64, 20);
    (world.plan.can_verify_culprit, world.reverts, world.applies) = (true, false, false);
    assert_eq!(world.search().change().verification, None);
}

#[test]
fn a_good_end_that_nobody_knows_is_walked_to_in_growing_strides() {
    let mut world = FakeHistory::row(1000, 960);
    world.plan.good.clear();
    let plan = world.plan.clone();
    world.plan.good = vec![0];
    let mut search = Bisector::new(plan);
    let mut walked = Vec::new();
    let outcome = loop {
        match search.next_step() {
            NextStep::Done(outcome) => break outcome,
            NextStep::Run { candidate: candidate @ Candidate::Node(node), purpose, .. } => {
                if purpose == Purpose::FindGoodEnd {
                    walked.push(node);
                }
                let answer = world.faulty.get(&node).cloned().unwrap_or("quiet".into());
                search.add_event(SearchEvent::Ran { candidate, purpose, answer });
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(walked, [998, 997, 995, 991, 983, 967, 935]);
    assert_eq!(FakeBisection { outcome, events: vec![] }.suspects(), [[960]]);
}

#[test]
fn a_node_that_was_good_once_and_then_bad_is_no_good_end() {
    let mut search = Bisector::new(SearchPlan { good: vec![], ..FakeHistory::row(20, 10).plan });
    let mut runs_of_18 = 0;
    let outcome = loop {
        match search.next_step() {
            NextStep::Done(outcome) => break outcome,
            NextStep::Run { candidate: candidate @ Candidate::Node(node), purpose, .. } => {
                // The neighbour of the bad end shows the fault, though not in its first run.
                runs_of_18 += usize::from(node == 18);
                let is_bad = node >= 10 && !(node == 18 && runs_of_18 == 1);
                let answer = if is_bad { "fault" } else { "quiet" }.into();
                search.add_event(SearchEvent::Ran { candidate, purpose, answer });
            }
            NextStep::Run { candidate, purpose, .. } => {
                let answer =
                    if matches!(candidate, Candidate::Reverted(_)) { "quiet" } else { "fault" }.into();
                search.add_event(SearchEvent::Ran { candidate, purpose, answer });
            }
        }
    };
    assert_eq!(FakeBisection { outcome, events: vec![] }.suspects(), [[10]]);
    assert_eq!(runs_of_18, 2);
}

#[test]
fn a_walk_without_an_end_finds_no_good() {
    let mut search = Bisector::new(SearchPlan { good: vec![], ..FakeHistory::row(20, 0).plan });
    let outcome = loop {
        match search.next_step() {
            NextStep::Done(outcome) => break outcome,
            NextStep::Run { candidate, purpose, .. } => {
                search.add_event(SearchEvent::Ran { candidate, purpose, answer: "fault".into() });
            }
        }
    };
    assert_eq!(outcome, BisectionResult::NoGoodFound);
}

#[test]
fn a_good_end_that_says_another_thing_each_time_is_unstable() {
    let mut plan = FakeHistory::row(8, 4).plan;
    plan.good_answers.clear();
    let mut search = Bisector::new(plan);
    for number in 0.. {
        match search.next_step() {
            NextStep::Done(outcome) => {
                assert_eq!(outcome, BisectionResult::Unstable { end: 0, answers: 4 });
                return;
            }
            NextStep::Run { candidate, purpose, .. } => {
                let answer =
                    if candidate == Candidate::Node(0) { number.to_string() } else { "fault".into() };
                search.add_event(SearchEvent::Ran { candidate, purpose, answer });
            }
        }
    }
}

#[test]
fn a_culprit_that_shows_once_and_never_again_is_a_fluke() {
    let mut search = Bisector::new(FakeHistory::row(16, 15).plan);
    let outcome = loop {
        match search.next_step() {
            NextStep::Done(outcome) => break outcome,
            NextStep::Run { candidate, purpose, .. } => {
                let once = candidate == Candidate::Node(7) && purpose == Purpose::Halve;
                let answer = if once || candidate == Candidate::Node(15) { "fault" } else { "quiet" };
                search.add_event(SearchEvent::Ran { candidate, purpose, answer: answer.into() });
            }
        }
    };
    assert_eq!(outcome, BisectionResult::NotReproducible { at: 7, bad_runs: 1, runs: 21 });
}

#[test]
fn what_a_search_wants_follows_from_its_events_alone() {
    let summary = FakeHistory::row(200, 123).rate(0.4).broken([60, 61, 99]).search();
    let mut again = Bisector::new(FakeHistory::row(200, 123).plan);
    for event in &summary.events {
        let wanted = again.next_step();
        let (
            NextStep::Run { candidate, .. },
            SearchEvent::Ran { candidate: ran, .. } | SearchEvent::Skip { candidate: ran, .. },
        ) = (wanted, event)
        else {
            panic!("{event:?}");
        };
        assert_eq!(candidate, *ran);
        again.add_event(event.clone());
    }
    assert_eq!(again.next_step(), NextStep::Done(summary.outcome));
}

#[test]
fn what_may_be_wanted_after_the_next_run_is_foreseen() {
    let mut search = Bisector::new(FakeHistory::row(64, 20).plan);
    loop {
        let ahead = search.likely_next();
        let NextStep::Run { candidate, purpose, .. } = search.next_step() else { break };
        let Candidate::Node(node) = candidate else { unreachable!() };
        let answer = if node >= 20 { "fault" } else { "quiet" };
        search.add_event(SearchEvent::Ran { candidate, purpose, answer: answer.into() });
        if let NextStep::Run { candidate: Candidate::Node(next), purpose: Purpose::Halve, .. } =
            search.next_step()
            && purpose == Purpose::Halve
        {
            assert!(ahead.contains(&next), "{next} is not in {ahead:?}");
        }
    }
}

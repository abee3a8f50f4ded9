//! Made-up histories that a search is tried on.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A made-up history with one change, in place of a driver.
#[derive(Clone, Debug)]
pub(super) struct FakeHistory {
    pub(super) plan: SearchPlan,
    /// The answer of each bad node; other nodes are good.
    pub(super) faulty: BTreeMap<usize, String>,
    /// The probability that a bad node shows its answer.
    pub(super) rate: f64,
    /// Nodes that do not build or boot.
    pub(super) broken: BTreeSet<usize>,
    /// The images that several nodes share.
    pub(super) images: BTreeMap<usize, String>,
    /// The probability that the host fails.
    pub(super) host: f64,
    /// Whether the culprit can be reverted, and applied alone.
    pub(super) reverts: bool,
    pub(super) applies: bool,
    random: Random,
}

/// The result of a search, with its events.
#[derive(Clone, Debug)]
pub(super) struct FakeBisection {
    pub(super) outcome: BisectionResult,
    pub(super) events: Vec<SearchEvent>,
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        (self.below(1 << 30) as f64) < probability * f64::from(1 << 30)
    }
}

impl FakeHistory {
    /// `length` nodes in a row with the fault from `culprit` on.
    pub(super) fn row(length: usize, culprit: usize) -> Self {
        let mut world = Self::of(CandidateGraph::linear(length), 0, length - 1);
        world.faulty = (culprit..length).map(|node| (node, "fault".into())).collect();
        world
    }

    /// `length` nodes in a row with the fault before `fix`.
    pub(super) fn fixed(length: usize, fix: usize) -> Self {
        let mut world = Self::of(CandidateGraph::linear(length), length - 1, 0);
        world.faulty = (0..fix).map(|node| (node, "fault".into())).collect();
        world
    }

    /// A graph in which the fault begins at `culprit` and is in all its descendants.
    pub(super) fn graph(parents: Vec<Vec<usize>>, culprit: usize) -> Self {
        let history = CandidateGraph::new(parents).unwrap();
        let last = history.len() - 1;
        let mut world = Self::of(history, 0, last);
        world.faulty = (culprit..=last)
            .filter(|&node| world.plan.graph.is_ancestor(culprit, node))
            .map(|node| (node, "fault".into()))
            .collect();
        world
    }

    fn of(history: CandidateGraph, good: usize, bad: usize) -> Self {
        let quiet = BTreeSet::from(["quiet".to_owned()]);
        let plan = SearchPlan {
            graph: history,
            good: vec![good],
            bad,
            good_answers: quiet,
            accepted_error: 0.01,
            patience: 20,
            can_verify_culprit: false,
            spot_checks: 0,
        };
        Self {
            plan,
            faulty: BTreeMap::new(),
            rate: 1.0,
            broken: BTreeSet::new(),
            images: BTreeMap::new(),
            host: 0.0,
            reverts: true,
            applies: true,
            random: Random(1),
        }
    }

    pub(super) fn seed(mut self, seed: u64) -> Self {
        self.random = Random(seed);
        self
    }

    pub(super) fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    pub(super) fn broken(mut self, nodes: impl IntoIterator<Item = usize>) -> Self {
        self.broken.extend(nodes);
        self
    }

    /// Gives several nodes the same image.
    pub(super) fn same_image(mut self, nodes: impl IntoIterator<Item = usize>) -> Self {
        self.images.extend(nodes.into_iter().map(|node| (node, "shared".into())));
        self
    }

    /// Runs the search to its end.
    pub(super) fn search(mut self) -> FakeBisection {
        let mut search = Bisector::new(self.plan.clone());
        let mut built = BTreeSet::new();
        for _ in 0..100_000 {
            match search.next_step() {
                NextStep::Done(outcome) => {
                    return FakeBisection { outcome, events: search.events().to_vec() };
                }
                NextStep::Run { candidate, purpose, .. } => {
                    assert!(
                        !self.known(&search, candidate, purpose),
                        "{candidate:?} is known, and asked for {purpose:?}"
                    );
                    let event = self.answer(candidate, purpose, &mut built);
                    search.add_event(event);
                }
            }
        }
        panic!("the search does not end");
    }

    /// Whether a halving step asks for a node whose evaluation is already known.
    fn known(&self, search: &Bisector, candidate: Candidate, purpose: Purpose) -> bool {
        let (Candidate::Node(node), Purpose::Halve) = (candidate, purpose) else { return false };
        search.events().iter().any(|event| match event {
            SearchEvent::Ran { candidate: Candidate::Node(ran), answer, .. } => {
                *ran == node && !self.plan.good_answers.is_empty() && !self.plan.good_answers.contains(answer)
            }
            SearchEvent::Skip { candidate: Candidate::Node(ran), .. } => *ran == node,
            _ => false,
        })
    }

    fn answer(
        &mut self,
        candidate: Candidate,
        purpose: Purpose,
        built: &mut BTreeSet<Candidate>,
    ) -> SearchEvent {
        if self.random.chance(self.host) {
            return SearchEvent::HostError { why: "no space left".into() };
        }
        let works = match candidate {
            Candidate::Node(node) => !self.broken.contains(&node),
            Candidate::Reverted(_) => self.reverts,
            Candidate::Applied(_) => self.applies,
        };
        if !works {
            return SearchEvent::Skip { candidate, why: "it does not build".into() };
        }
        if let Candidate::Node(node) = candidate
            && let Some(image) = self.images.get(&node)
            && built.insert(candidate)
        {
            return SearchEvent::Built { candidate, image: image.clone() };
        }
        let (older, newer) = (self.plan.good[0].min(self.plan.bad), self.plan.good[0].max(self.plan.bad));
        let fault = match candidate {
            Candidate::Node(node) => self.faulty.get(&node),
            // The change alone makes the difference.
            Candidate::Reverted(_) => self.faulty.get(&older),
            Candidate::Applied(_) => self.faulty.get(&newer),
        };
        let shows = fault.filter(|_| self.random.chance(self.rate)).cloned();
        SearchEvent::Ran { candidate, purpose, answer: shows.unwrap_or_else(|| "quiet".into()) }
    }
}

impl FakeBisection {
    /// The number of boots.
    pub(super) fn boots(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, SearchEvent::Ran { .. } | SearchEvent::Skip { .. }))
            .count()
    }

    /// The number of different nodes that were evaluated while halving.
    pub(super) fn marked(&self) -> usize {
        let marked = self.events.iter().filter_map(|event| match event {
            SearchEvent::Ran { candidate, purpose: Purpose::Halve, .. } => Some(*candidate),
            _ => None,
        });
        marked.collect::<BTreeSet<_>>().len()
    }

    pub(super) fn skipped(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, SearchEvent::Skip { .. })).count()
    }

    /// The suspects of each change.
    pub(super) fn suspects(&self) -> Vec<Vec<usize>> {
        match &self.outcome {
            BisectionResult::Found { changes, .. } => {
                changes.iter().map(|change| change.suspects.clone()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn change(&self) -> &ChangePoint {
        match &self.outcome {
            BisectionResult::Found { changes, .. } if changes.len() == 1 => &changes[0],
            other => panic!("{other:?}"),
        }
    }
}

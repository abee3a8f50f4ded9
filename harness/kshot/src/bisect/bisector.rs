//! The bisection's state machine: its plan and the events so far determine the next step. No clock, no files.
//!
//! Every step is worked out anew from the events, so a search that was cut off goes on from a list of them. A
//! run is *bad* (it shows the fault) or *good*. One bad run settles a node; good ones settle it only in
//! numbers ([`super::statistics`]), so the search evaluates a node by a few of them, and proves its result
//! with fresh runs. An evaluation that a proof overturns is turned around, and the search goes on from there.

mod ends; // confirming and finding the good and bad ends
mod findings; // the events, sorted by what they are about

use std::collections::BTreeSet;

use super::image_runs::RunClassifier;
use super::plan::{
    BisectionResult, Candidate, ChangePoint, CulpritVerification, NextStep, Purpose, RemainingWork,
    SearchEvent, SearchPlan,
};
use super::statistics;
use findings::Findings;

/// The number of recent attempts that decide whether the host fails too often.
const HOST_ERROR_WINDOW: usize = 10;

/// The state machine of a bisection.
#[derive(Clone, Debug)]
pub struct Bisector {
    plan: SearchPlan,
    events: Vec<SearchEvent>,
}

/// The interval that is searched for one change: nodes without it and one node with it.
#[derive(Clone, Debug)]
struct Interval {
    old: Vec<usize>,
    new: usize,
}

/// What a search for one change goes by.
#[derive(Clone, Copy, Debug)]
struct SearchScope<'a> {
    interval: &'a Interval,
    classifier: &'a RunClassifier,
    /// Whether the fault is in the older end, so that the change is its fix.
    finds_fix: bool,
}

/// The evaluation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evaluation {
    /// The node is without the change.
    Old,
    /// The node has the change.
    New,
    /// The node does not build, boot or answer.
    Skip,
    /// There are not enough runs yet.
    Undecided,
}

/// The result of a part of the search: a value, or the step that is needed first.
type StepResult<T> = Result<T, NextStep>;

impl Bisector {
    /// A search without events.
    pub fn new(plan: SearchPlan) -> Self {
        Self { plan, events: Vec::new() }
    }

    /// The search plan.
    pub fn plan(&self) -> &SearchPlan {
        &self.plan
    }

    /// The events so far.
    pub fn events(&self) -> &[SearchEvent] {
        &self.events
    }

    /// Adds an event.
    pub fn add_event(&mut self, event: SearchEvent) {
        self.events.push(event);
    }

    /// The number of runs of this candidate or of others with the same image.
    pub fn run_count(&self, candidate: Candidate) -> usize {
        Findings::of(&self.plan, &self.events).runs(candidate).observations.len()
    }

    /// The next step.
    pub fn next_step(&self) -> NextStep {
        if let Some(why) = self.too_many_host_errors() {
            return NextStep::Done(BisectionResult::TooManyHostErrors { why });
        }
        let known = Findings::of(&self.plan, &self.events);
        known.search().unwrap_or_else(|next| next)
    }

    /// The nodes that may be tested after the current run: one if it turns out good, another if bad.
    pub fn likely_next(&self) -> Vec<usize> {
        let NextStep::Run { candidate: candidate @ Candidate::Node(now), purpose: Purpose::Halve, .. } =
            self.next_step()
        else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        let known = Findings::of(&self.plan, &self.events);
        let good = known.good_answers_of_ends().into_iter().next().unwrap_or_default();
        for answer in [good, "\u{0}".into()] {
            let mut search = self.clone();
            while let NextStep::Run { candidate: next, purpose, .. } = search.next_step() {
                if next != candidate {
                    if let (Candidate::Node(node), Purpose::Halve) = (next, purpose)
                        && !nodes.contains(&node)
                        && node != now
                    {
                        nodes.push(node);
                    }
                    break;
                }
                search.add_event(SearchEvent::Ran { candidate, purpose, answer: answer.clone() });
            }
        }
        nodes
    }

    /// The last host error, if most of the recent attempts were host errors.
    fn too_many_host_errors(&self) -> Option<String> {
        let tries = self.events.iter().rev().filter(|event| !matches!(event, SearchEvent::Built { .. }));
        let errors = tries.take(HOST_ERROR_WINDOW).filter_map(|event| match event {
            SearchEvent::HostError { why } => Some(why),
            _ => None,
        });
        let errors: Vec<_> = errors.collect();
        (errors.len() * 2 > HOST_ERROR_WINDOW).then(|| errors[0].clone())
    }
}

impl Findings<'_> {
    /// The whole search, from confirming the ends to the result.
    fn search(&self) -> StepResult<NextStep> {
        let (good, classifier) = self.confirm_ends()?;
        let finds_fix = self.plan.graph.is_ancestor(self.plan.bad, good[0]);
        let mut range = if finds_fix {
            Interval { old: vec![self.plan.bad], new: good[0] }
        } else {
            Interval { old: good, new: self.plan.bad }
        };
        let mut classifier = classifier;
        let mut changes = Vec::new();
        loop {
            let change =
                self.find_change(SearchScope { interval: &range, classifier: &classifier, finds_fix })?;
            // If the node at the change shows another answer than the bad end, there is a further change
            // beyond it.
            let side = if finds_fix { change.parents.clone() } else { vec![change.culprit()] };
            let there: BTreeSet<String> =
                side.iter().flat_map(|&node| self.runs_of_node(node).answers()).collect();
            let rest: BTreeSet<String> = self
                .runs_of_node(self.plan.bad)
                .answers()
                .filter(|answer| !classifier.good_answers.contains(answer) && !there.contains(answer))
                .collect();
            changes.push(change);
            if rest.is_empty() || side.len() != 1 {
                break;
            }
            classifier.good_answers.extend(there);
            classifier.failure_rate = match self.failure_rate(&classifier.good_answers) {
                Ok(rate) => rate,
                Err(NextStep::Done(_)) => break,
                Err(next) => return Err(next),
            };
            range =
                if finds_fix { Interval { new: side[0], ..range } } else { Interval { old: side, ..range } };
        }
        if let [change] = changes.as_slice() {
            self.spot_checks(change, SearchScope { interval: &range, classifier: &classifier, finds_fix })?;
        }
        let level = |(attempt, candidate): (usize, &Candidate)| {
            let share = statistics::error_share(self.plan.accepted_error, attempt);
            self.runs(*candidate)
                .proof_runs(&classifier.good_answers)
                .map_or(share, |good_runs| classifier.failure_rate.miss_probability(good_runs).min(share))
        };
        let error_bound = self.proofs.iter().enumerate().map(level).sum();
        Ok(NextStep::Done(BisectionResult::Found { changes, error_bound }))
    }

    /// Finds one change in an interval, and proves it.
    fn find_change(&self, scope: SearchScope<'_>) -> StepResult<ChangePoint> {
        let graph = &self.plan.graph;
        self.resolve_contradictions(scope)?;
        let (old, tip) = self.bounds(scope);
        let suspects = graph.between(&old, tip);
        let open: Vec<usize> = suspects
            .iter()
            .copied()
            .filter(|&node| node != tip && self.evaluate(node, scope) == Evaluation::Undecided)
            .collect();
        if let Some(node) = self.choose_node(&suspects, &open, scope) {
            let evaluations = suspects.len().next_power_of_two().ilog2();
            let proof = scope.classifier.failure_rate.bad_runs
                + scope.classifier.failure_rate.good_runs_for_proof(self.plan.accepted_error);
            let left = RemainingWork {
                suspects: suspects.len(),
                evaluations,
                runs: evaluations * scope.classifier.failure_rate.good_runs_for_evaluation() + proof,
            };
            return Err(NextStep::Run { candidate: Candidate::Node(node), purpose: Purpose::Halve, left });
        }
        let parents = self.parents_outside(&suspects);
        let mut unproven = Vec::new();
        for &node in parents.iter().chain([&tip]) {
            let is_bad = scope.finds_fix == (node != tip);
            let purpose = if is_bad { Purpose::Reproduce } else { Purpose::ProveGood };
            if !self.prove(Candidate::Node(node), purpose, is_bad, scope.classifier)? {
                unproven.push(node);
            }
        }
        let verification = if self.plan.can_verify_culprit && suspects.len() == 1 && parents.len() == 1 {
            self.verify_culprit(tip, scope)?
        } else {
            None
        };
        Ok(ChangePoint { suspects, parents, unproven, verification })
    }

    /// The nodes without the change, and the oldest node that is known to have it.
    fn bounds(&self, scope: SearchScope<'_>) -> (Vec<usize>, usize) {
        let (mut old, mut tip) = (scope.interval.old.clone(), scope.interval.new);
        for node in self.tested_nodes() {
            match self.evaluate(node, scope) {
                Evaluation::Old => old.push(node),
                Evaluation::New if self.plan.graph.is_ancestor(node, tip) => tip = node,
                _ => {}
            }
        }
        (old, tip)
    }

    /// Resolves a node without the change that has an ancestor with it: whichever of the two was only good a
    /// few times is run until it is bad or proven good.
    fn resolve_contradictions(&self, scope: SearchScope<'_>) -> StepResult<()> {
        let evaluated = |wanted| {
            self.tested_nodes().into_iter().filter(move |&node| self.evaluate(node, scope) == wanted)
        };
        let inside = self.plan.graph.ancestry(&[scope.interval.new]);
        for with_change in evaluated(Evaluation::New).filter(|&node| inside[node]) {
            for without_change in
                evaluated(Evaluation::Old).filter(|&node| inside[node] && node != with_change)
            {
                if self.plan.graph.is_ancestor(with_change, without_change) {
                    let doubtful = if scope.finds_fix { with_change } else { without_change };
                    if self.prove(Candidate::Node(doubtful), Purpose::ProveGood, false, scope.classifier)? {
                        return Err(NextStep::Done(BisectionResult::NotMonotonic {
                            with_change,
                            without_change,
                        }));
                    }
                }
            }
        }
        Ok(())
    }

    fn evaluate(&self, node: usize, scope: SearchScope<'_>) -> Evaluation {
        let (bad, good) = if scope.finds_fix {
            (Evaluation::Old, Evaluation::New)
        } else {
            (Evaluation::New, Evaluation::Old)
        };
        if scope.interval.old.contains(&node) {
            return Evaluation::Old;
        }
        if node == scope.interval.new {
            return Evaluation::New;
        }
        let runs = self.runs_of_node(node);
        if runs.bad_count(&scope.classifier.good_answers) > 0 {
            bad
        } else if runs.count() >= scope.classifier.failure_rate.good_runs_for_evaluation() {
            good
        } else if runs.is_skipped() {
            Evaluation::Skip
        } else {
            Evaluation::Undecided
        }
    }

    /// The open node that halves the suspects best, as git's `find_bisection` does. After skipped nodes the
    /// choice moves away from the middle in steps of 1, 2, 4, ...: broken nodes come in clusters.
    fn choose_node(&self, suspects: &[usize], open: &[usize], scope: SearchScope<'_>) -> Option<usize> {
        let started = |node: &&usize| self.runs_of_node(**node).count() > 0;
        if let Some(node) = open.iter().find(started) {
            return Some(*node);
        }
        let weights = self.plan.graph.weights(suspects);
        let mut by_value: Vec<(usize, usize)> = suspects
            .iter()
            .zip(weights)
            .filter(|(node, _)| open.contains(node))
            .map(|(&node, weight)| (weight.min(suspects.len() - weight), node))
            .collect();
        by_value.sort_by_key(|&(value, node)| (std::cmp::Reverse(value), node));
        let skipped = suspects.iter().filter(|&&node| self.evaluate(node, scope) == Evaluation::Skip).count();
        let far = 1_usize.checked_shl(u32::try_from(skipped).unwrap_or(u32::MAX)).unwrap_or(usize::MAX) - 1;
        by_value.get(far).or(by_value.last()).map(|&(_, node)| node)
    }

    /// The parents of the suspects that are none.
    fn parents_outside(&self, suspects: &[usize]) -> Vec<usize> {
        let parents = suspects.iter().flat_map(|&node| self.plan.graph.parents(node)).copied();
        let before: BTreeSet<usize> = parents.filter(|parent| !suspects.contains(parent)).collect();
        before.into_iter().collect()
    }

    /// Requires runs until a candidate is proven bad or good; `false` if it has to be skipped. A bad run
    /// where good was to be proven changes the node's evaluation, and the search goes on from there.
    fn prove(
        &self,
        candidate: Candidate,
        purpose: Purpose,
        is_bad: bool,
        classifier: &RunClassifier,
    ) -> StepResult<bool> {
        let runs = self.runs(candidate);
        if runs.is_skipped() {
            return Ok(false);
        }
        let bad_runs = runs.bad_count(&classifier.good_answers);
        if !is_bad {
            let fresh = runs.proof_runs(&classifier.good_answers).unwrap_or(0);
            let needed = classifier.failure_rate.good_runs_for_proof(self.error_share(candidate));
            return if bad_runs > 0 {
                Ok(false)
            } else if fresh < needed {
                Err(run_step(candidate, purpose, 1, needed - fresh))
            } else {
                Ok(true)
            };
        }
        let good = |(_, answer): &&(Purpose, String)| classifier.good_answers.contains(answer);
        let good_streak = runs.observations.iter().rev().take_while(good).count();
        if bad_runs >= classifier.failure_rate.bad_runs {
            Ok(true)
        } else if good_streak >= self.plan.patience as usize {
            match candidate {
                Candidate::Node(at) => {
                    Err(NextStep::Done(BisectionResult::NotReproducible { at, bad_runs, runs: runs.count() }))
                }
                _ => Ok(false),
            }
        } else {
            Err(run_step(candidate, purpose, 1, classifier.failure_rate.bad_runs - bad_runs))
        }
    }

    /// Verifies the culprit: reverts it on the newer end or, if that fails, applies it to the older one.
    fn verify_culprit(
        &self,
        culprit: usize,
        scope: SearchScope<'_>,
    ) -> StepResult<Option<CulpritVerification>> {
        for (candidate, is_bad) in
            [(Candidate::Reverted(culprit), scope.finds_fix), (Candidate::Applied(culprit), !scope.finds_fix)]
        {
            let runs = self.runs(candidate);
            if !runs.is_skipped() {
                let confirmed = self.prove(candidate, Purpose::VerifyCulprit, is_bad, scope.classifier)?;
                return Ok(Some(CulpritVerification { candidate, confirmed }));
            }
        }
        Ok(None)
    }

    /// Tries nodes on both sides of a change, to see that it changed nowhere else.
    fn spot_checks(&self, change: &ChangePoint, scope: SearchScope<'_>) -> StepResult<()> {
        let nodes = self.plan.graph.between(&scope.interval.old, scope.interval.new);
        for number in 1..=self.plan.spot_checks {
            let node = nodes[(nodes.len() * number / (self.plan.spot_checks + 1)).min(nodes.len() - 1)];
            if change.suspects.contains(&node) {
                continue;
            }
            if self.evaluate(node, scope) == Evaluation::Undecided {
                return Err(run_step(Candidate::Node(node), Purpose::SpotCheck, 1, 1));
            }
        }
        self.resolve_contradictions(scope)
    }
}

fn run_step(candidate: Candidate, purpose: Purpose, suspects: usize, runs: u32) -> NextStep {
    NextStep::Run { candidate, purpose, left: RemainingWork { suspects, evaluations: 0, runs } }
}

#[cfg(test)]
mod tests;

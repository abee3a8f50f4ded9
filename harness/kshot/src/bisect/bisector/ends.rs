//! The ends of a search: confirms that they are good and bad, and looks for a good one where none is given.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::{StepResult, run_step};
use crate::bisect::image_runs::RunClassifier;
use crate::bisect::plan::{BisectionResult, Candidate, NextStep, Purpose, SearchPlan};
use crate::bisect::statistics::{self, BadEndRuns};

/// The maximum number of different answers of a good end; with more, the question has no stable answer there.
const MAX_GOOD_ANSWERS: usize = 3;

impl Findings<'_> {
    /// Confirms both ends; looks for a good one first if none is given.
    pub(super) fn confirm_ends(&self) -> StepResult<(Vec<usize>, RunClassifier)> {
        let SearchPlan { bad, .. } = *self.plan;
        let good =
            if self.plan.good.is_empty() { vec![self.find_good_end()?] } else { self.plan.good.clone() };
        // One run of each shows whether more runs are worthwhile.
        for &end in &good {
            self.require_runs(end, 1, Purpose::ConfirmEnd)?;
        }
        self.require_runs(bad, 1, Purpose::ConfirmEnd)?;
        let good_answers = self.find_good_answers(&good);
        self.check_good_ends(&good, &good_answers)?;
        let rate = self.failure_rate(&good_answers)?;
        for &end in &good {
            let needed = rate.good_runs_for_proof(self.error_share(Candidate::Node(end)));
            self.require_runs(end, needed, Purpose::ConfirmEnd)?;
        }
        let good_answers = self.find_good_answers(&good);
        self.check_good_ends(&good, &good_answers)?;
        Ok((good, RunClassifier { failure_rate: self.failure_rate(&good_answers)?, good_answers }))
    }

    /// The good answers: those of the plan, otherwise those of the good ends.
    fn find_good_answers(&self, good: &[usize]) -> BTreeSet<String> {
        if self.plan.good_answers.is_empty() {
            good.iter().flat_map(|&end| self.runs_of_node(end).answers()).collect()
        } else {
            self.plan.good_answers.clone()
        }
    }

    pub(super) fn good_answers_of_ends(&self) -> BTreeSet<String> {
        self.find_good_answers(&self.plan.good)
    }

    fn check_good_ends(&self, good: &[usize], good_answers: &BTreeSet<String>) -> StepResult<()> {
        for &end in good {
            let mut answers = self.runs_of_node(end).answers();
            if let Some(answer) = answers.find(|answer| !good_answers.contains(answer)) {
                return Err(NextStep::Done(BisectionResult::GoodEndIsBad { end, answer }));
            }
            let answers: BTreeSet<_> = self.runs_of_node(end).answers().collect();
            if answers.len() > MAX_GOOD_ANSWERS {
                return Err(NextStep::Done(BisectionResult::Unstable { end, answers: answers.len() }));
            }
        }
        Ok(())
    }

    /// The number of runs until the bad end was bad as often as the accepted error requires.
    pub(super) fn failure_rate(&self, good_answers: &BTreeSet<String>) -> StepResult<BadEndRuns> {
        let wanted = statistics::bad_runs_needed(statistics::error_share(self.plan.accepted_error, 0));
        let candidate = Candidate::Node(self.plan.bad);
        let (mut bad_runs, mut runs, mut good_streak) = (0, 0, 0);
        for (_, answer) in &self.runs(candidate).observations {
            runs += 1;
            good_streak += 1;
            if !good_answers.contains(answer) {
                (bad_runs, good_streak) = (bad_runs + 1, 0);
            }
            if bad_runs == wanted {
                return Ok(BadEndRuns { bad_runs, runs });
            }
            if good_streak == self.plan.patience {
                return Err(NextStep::Done(match bad_runs {
                    0 => BisectionResult::NoChange { runs },
                    _ => BisectionResult::TooRare { bad_runs, runs },
                }));
            }
        }
        Err(run_step(candidate, Purpose::ConfirmEnd, self.plan.graph.len(), wanted - bad_runs))
    }

    /// Requires that an end has run `times` times.
    fn require_runs(&self, end: usize, times: u32, purpose: Purpose) -> StepResult<()> {
        let candidate = Candidate::Node(end);
        let runs = self.runs(candidate);
        if runs.is_skipped() {
            let why = runs.skip_reasons.last().cloned().unwrap_or_default();
            return Err(NextStep::Done(BisectionResult::UnusableEnd { end, why }));
        }
        let done = runs.count();
        if done < times {
            return Err(run_step(candidate, purpose, self.plan.graph.len(), times - done));
        }
        Ok(())
    }

    /// Looks for a good end at a distance of 1, 2, 4, ... nodes from the bad one, then at the last node.
    fn find_good_end(&self) -> StepResult<usize> {
        let SearchPlan { bad, .. } = *self.plan;
        let last = self.plan.graph.len() - 1;
        self.require_runs(bad, 1, Purpose::ConfirmEnd)?;
        let bad_answers: BTreeSet<String> = self.runs_of_node(bad).answers().collect();
        let (room, older) = if bad == 0 { (last, false) } else { (bad, true) };
        let strides =
            (0..usize::BITS).map(|power| 1_usize << power).take_while(|stride| *stride < room).chain([room]);
        for stride in strides {
            let node = if older { bad - stride } else { bad + stride };
            let runs = self.runs_of_node(node);
            let is_good = |answer: &String| {
                if self.plan.good_answers.is_empty() {
                    !bad_answers.contains(answer)
                } else {
                    self.plan.good_answers.contains(answer)
                }
            };
            if runs.is_skipped() {
                continue;
            }
            if runs.observations.is_empty() {
                let suspects = self.plan.graph.len();
                return Err(run_step(Candidate::Node(node), Purpose::FindGoodEnd, suspects, 1));
            }
            // One that was good once and bad later is no good end: the search for one goes on.
            if runs.answers().all(|answer| is_good(&answer)) {
                return Ok(node);
            }
        }
        Err(NextStep::Done(BisectionResult::NoGoodFound))
    }
}

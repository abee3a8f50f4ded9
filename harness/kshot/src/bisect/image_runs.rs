//! The runs of one image, and their classification as good or bad.

use std::collections::BTreeSet;

use super::plan::Purpose;
use super::statistics::BadEndRuns;

/// All runs of one kernel image.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageRuns {
    pub(super) observations: Vec<(Purpose, String)>,
    pub(super) skip_reasons: Vec<String>,
}

/// Decides whether a run is good or bad: the good answers, and how often a bad kernel shows the fault.
#[derive(Clone, Debug)]
pub(super) struct RunClassifier {
    pub(super) good_answers: BTreeSet<String>,
    pub(super) failure_rate: BadEndRuns,
}

impl ImageRuns {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.observations.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = String> {
        self.observations.iter().map(|(_, answer)| answer.clone())
    }

    pub(super) fn bad_count(&self, good_answers: &BTreeSet<String>) -> u32 {
        u32::try_from(self.observations.iter().filter(|(_, answer)| !good_answers.contains(answer)).count())
            .unwrap_or(u32::MAX)
    }

    /// The number of good runs that count as proof; runs that chose what is to be proven do not. `None` if a
    /// run was bad.
    pub(super) fn proof_runs(&self, good_answers: &BTreeSet<String>) -> Option<u32> {
        let fresh = self.observations.iter().filter(|(purpose, _)| {
            matches!(purpose, Purpose::ConfirmEnd | Purpose::ProveGood | Purpose::VerifyCulprit)
        });
        (self.bad_count(good_answers) == 0).then(|| u32::try_from(fresh.count()).unwrap_or(u32::MAX))
    }

    /// Whether there are more skipped runs than runs with a result.
    pub(super) fn is_skipped(&self) -> bool {
        self.skip_reasons.len() > self.observations.len()
    }
}

//! The runs of one image, and their classification as good or bad.

use std::collections::BTreeSet;

use super::odds::Rate;
use super::plan::Purpose;

/// All runs of one kernel image.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) seen: Vec<(Purpose, String)>,
    pub(super) cannot_tell: Vec<String>,
}

/// Decides whether a run is good or bad: the good states, and how often a bad kernel shows the fault.
#[derive(Clone, Debug)]
pub(super) struct Lens {
    pub(super) quiet: BTreeSet<String>,
    pub(super) rate: Rate,
}

impl Runs {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.seen.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = String> {
        self.seen.iter().map(|(_, state)| state.clone())
    }

    pub(super) fn shows(&self, quiet: &BTreeSet<String>) -> u32 {
        u32::try_from(self.seen.iter().filter(|(_, state)| !quiet.contains(state)).count())
            .unwrap_or(u32::MAX)
    }

    /// The number of good runs that count as proof; runs that chose what is to be proven do not. `None` if a run was
    /// bad.
    pub(super) fn proof(&self, quiet: &BTreeSet<String>) -> Option<u32> {
        let fresh = self
            .seen
            .iter()
            .filter(|(purpose, _)| matches!(purpose, Purpose::End | Purpose::Proof | Purpose::Flip));
        (self.shows(quiet) == 0).then(|| u32::try_from(fresh.count()).unwrap_or(u32::MAX))
    }

    /// Whether there are more skipped runs than runs with a result.
    pub(super) fn is_skipped(&self) -> bool {
        self.cannot_tell.len() > self.seen.len()
    }
}

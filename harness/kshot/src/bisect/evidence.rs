//! The runs of one image, and how they are read.

use std::collections::BTreeSet;

use super::odds::Rate;
use super::plan::Purpose;

/// All runs of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) seen: Vec<(Purpose, String)>,
    pub(super) cannot_tell: Vec<String>,
}

/// How runs are read in one range: which states are quiet, and how often the rest shows where it must.
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

    /// How many quiet runs count as proof: those that did not choose what is to be proven. `None` if it showed.
    pub(super) fn proof(&self, quiet: &BTreeSet<String>) -> Option<u32> {
        let fresh = self
            .seen
            .iter()
            .filter(|(purpose, _)| matches!(purpose, Purpose::End | Purpose::Proof | Purpose::Flip));
        (self.shows(quiet) == 0).then(|| u32::try_from(fresh.count()).unwrap_or(u32::MAX))
    }

    /// Whether the runs that cannot tell outnumber those that can.
    pub(super) fn is_skipped(&self) -> bool {
        self.cannot_tell.len() > self.seen.len()
    }
}

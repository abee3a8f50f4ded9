//! A night with all that a report of it tells: its runs' documents and the nights before.

use std::collections::HashMap;

use super::changes::{self, PastResult};
use super::results::{ChangeKind, Night, Pair, PairChange, PairStatus};
use crate::document::RunDocument;

/// The data that the reports of a night are made from.
#[derive(Clone, Debug)]
pub struct NightReport {
    /// The night's results.
    pub night: Night,
    /// The documents of the runs that count, by [`Pair::anchor`].
    pub documents: HashMap<String, RunDocument>,
    /// The results of each pair in earlier nights, the latest first, by [`Pair::anchor`].
    pub past: HashMap<String, Vec<PastResult>>,
}

impl NightReport {
    /// The document of a pair's run, where it came to a verdict.
    pub fn document(&self, pair: &Pair) -> Option<&RunDocument> {
        self.documents.get(&pair.anchor())
    }

    /// The results of a pair in earlier nights, the latest first.
    pub fn past(&self, pair: &Pair) -> &[PastResult] {
        self.past.get(&pair.anchor()).map_or(&[], Vec::as_slice)
    }

    /// The change of a pair, if there is one.
    pub fn change(&self, pair: &Pair) -> Option<&PairChange> {
        self.night.changes.iter().find(|one| one.scenario == pair.scenario && one.kernel == pair.kernel)
    }

    /// Finds what changed since the nights before, the most pressing first.
    pub fn compare(&mut self) {
        let of_pair =
            |pair: &Pair| changes::classify_pair(&self.night, pair, self.document(pair), self.past(pair));
        let mut found: Vec<PairChange> = self.night.pairs.iter().filter_map(of_pair).collect();
        found.sort_by_key(|change| change.kind);
        self.night.changes = found;
    }

    /// The changes of one kind.
    pub fn changes_of_kind(&self, kind: ChangeKind) -> impl Iterator<Item = &PairChange> {
        self.night.changes.iter().filter(move |change| change.kind == kind)
    }

    /// The night's summary in one line: `2 new drifts, 1 mended, 130 of 132 match`.
    pub fn headline(&self) -> String {
        let kinds = ChangeKind::ALL.iter().filter_map(|kind| {
            let number = self.changes_of_kind(*kind).count();
            let plural = if *kind == ChangeKind::NewDrift && number > 1 { "s" } else { "" };
            (number > 0).then(|| format!("{number} {}{plural}", kind.name()))
        });
        let matching = self.night.count(PairStatus::Match);
        let of = match self.night.pairs.len() {
            1 if matching == 1 => "the one pair matches".into(),
            all if all == matching => format!("all {all} match"),
            all => format!("{matching} of {all} match"),
        };
        kinds.chain([of]).collect::<Vec<_>>().join(", ")
    }
}

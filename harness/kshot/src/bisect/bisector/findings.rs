//! The events of a search, sorted by what they are about.

use std::collections::{BTreeMap, BTreeSet};

use crate::bisect::image_runs::ImageRuns;
use crate::bisect::plan::{Candidate, Purpose, SearchEvent, SearchPlan};
use crate::bisect::statistics;

/// The events, sorted by what they are about.
pub(super) struct Findings<'a> {
    pub(super) plan: &'a SearchPlan,
    images: BTreeMap<Candidate, &'a str>,
    representatives: BTreeMap<&'a str, Candidate>,
    runs: BTreeMap<Candidate, ImageRuns>,
    /// The candidates that were to be proven good, in order: the good ends and the candidates of proofs.
    pub(super) proofs: Vec<Candidate>,
}

impl<'a> Findings<'a> {
    pub(super) fn of(plan: &'a SearchPlan, events: &'a [SearchEvent]) -> Self {
        let mut known = Self {
            plan,
            images: BTreeMap::new(),
            representatives: BTreeMap::new(),
            runs: BTreeMap::new(),
            proofs: Vec::new(),
        };
        for event in events {
            match event {
                SearchEvent::Built { candidate, image } => {
                    known.images.insert(*candidate, image);
                    known.representatives.entry(image).or_insert(*candidate);
                }
                SearchEvent::Ran { candidate, purpose, answer } => {
                    let class = known.representative(*candidate);
                    let attempt = matches!(purpose, Purpose::ConfirmEnd | Purpose::ProveGood)
                        && *candidate != Candidate::Node(plan.bad);
                    if attempt && !known.proofs.contains(&class) {
                        known.proofs.push(class);
                    }
                    known.runs.entry(class).or_default().observations.push((*purpose, answer.clone()));
                }
                SearchEvent::Skip { candidate, why } => {
                    let class = known.representative(*candidate);
                    known.runs.entry(class).or_default().skip_reasons.push(why.clone());
                }
                SearchEvent::HostError { .. } => {}
            }
        }
        known
    }

    /// The candidate that represents all candidates with the same image.
    fn representative(&self, candidate: Candidate) -> Candidate {
        let same = self.images.get(&candidate).and_then(|image| self.representatives.get(image));
        same.copied().unwrap_or(candidate)
    }

    pub(super) fn runs(&self, candidate: Candidate) -> &ImageRuns {
        static NONE: ImageRuns = ImageRuns { observations: Vec::new(), skip_reasons: Vec::new() };
        self.runs.get(&self.representative(candidate)).unwrap_or(&NONE)
    }

    pub(super) fn runs_of_node(&self, node: usize) -> &ImageRuns {
        self.runs(Candidate::Node(node))
    }

    /// The nodes that were tested, or that have the image of a tested one.
    pub(super) fn tested_nodes(&self) -> Vec<usize> {
        let candidates: BTreeSet<Candidate> = self.images.keys().chain(self.runs.keys()).copied().collect();
        let is_tested = |candidate: &Candidate| self.runs(*candidate).count() > 0;
        candidates.into_iter().filter(is_tested).filter_map(node).collect()
    }

    /// The part of the accepted error that the proof of a candidate may use.
    pub(super) fn error_share(&self, candidate: Candidate) -> f64 {
        statistics::error_share(self.plan.accepted_error, self.proof_number(candidate))
    }

    /// The number of this proof. Each proof may use less of the accepted error than the one before.
    fn proof_number(&self, candidate: Candidate) -> usize {
        let class = self.representative(candidate);
        self.proofs.iter().position(|one| *one == class).unwrap_or(self.proofs.len())
    }
}

fn node(candidate: Candidate) -> Option<usize> {
    match candidate {
        Candidate::Node(node) => Some(node),
        _ => None,
    }
}

//! Judges a run: claims, known faults, snapshots and repeats become one verdict.

use crate::claim::{Claim, ConsoleClaim, KnownFault};
use crate::document::{
    ClaimFailure, ConsoleReport, EndCount, NearestStack, ProbeResult, Reason, StackResult, Verdict,
    VerdictCount,
};
use crate::snapshot::Comparison;
use crate::stack::lines::Kind;
use crate::stack::{State, fold_suffix};

/// The evidence that a verdict is based on. A failure that ends a run early is an error, not evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// The claims about the probes' stacks.
    pub claims: &'a [Claim],
    /// The claims about the console.
    pub console_claims: &'a [ConsoleClaim],
    /// The known faults of this kernel.
    pub known_faults: &'a [KnownFault],
    /// The results of the probes.
    pub probes: &'a [ProbeResult],
    /// The problems that the kernel reported on its console.
    pub console: &'a [ConsoleReport],
    /// The comparison of each probe with its snapshot, by the probe's name.
    pub comparisons: &'a [(String, Comparison)],
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons, and what else is worth knowing.
    pub reasons: Vec<Reason>,
}

/// Judges one run: drift if a claim or a snapshot disagrees, otherwise inconclusive if one of them cannot be
/// judged, otherwise match.
pub fn judge(evidence: Evidence<'_>) -> Judgement {
    let claims = evidence.claims.iter().filter_map(|claim| judge_claim(claim, &evidence));
    let console_claims = evidence.console_claims.iter().filter_map(|claim| {
        apply_known_faults(&claim.name, check_console_claim(claim, evidence.console), evidence.known_faults)
    });
    let lost = |name: &str| evidence.probes.iter().any(|probe| probe.name == name && probe.lost > 0);
    let snapshots = evidence
        .comparisons
        .iter()
        .filter_map(|(probe, comparison)| judge_snapshot(probe, comparison, lost(probe)));
    let reasons: Vec<Reason> = claims
        .chain(console_claims)
        .chain(snapshots)
        .chain(evidence.probes.iter().flat_map(remarks))
        .collect();
    let verdict = [Verdict::Drift, Verdict::Inconclusive]
        .into_iter()
        .find(|verdict| reasons.iter().any(|reason| verdict_of(reason) == *verdict));
    Judgement { verdict: verdict.unwrap_or(Verdict::Match), reasons }
}

/// The verdict that a reason alone gives; a match for what is only worth knowing.
fn verdict_of(reason: &Reason) -> Verdict {
    match reason {
        Reason::SnapshotDiffers { .. } | Reason::KnownFaultGone { .. } | Reason::ClaimFails { .. } => {
            Verdict::Drift
        }
        Reason::NoSnapshot { .. }
        | Reason::NoProbe { .. }
        | Reason::NoReference { .. }
        | Reason::ClaimUndecided { .. }
        | Reason::SnapshotUndecided { .. } => Verdict::Inconclusive,
        _ => Verdict::Match,
    }
}

/// Combines the verdicts of repeats: the common verdict if they agree, otherwise unstable. `disagreements`
/// lists the probes whose stacks differ between the runs. Without any repeat the verdict is inconclusive.
pub fn combine_repeats(judgements: &[Judgement], disagreements: Vec<Reason>) -> Judgement {
    let Some(first) = judgements.first() else {
        return Judgement { verdict: Verdict::Inconclusive, reasons: vec![Reason::NoRun {}] };
    };
    let agree = judgements.iter().all(|judgement| judgement.verdict == first.verdict);
    let verdict = if agree && disagreements.is_empty() { first.verdict } else { Verdict::Unstable };
    let mut reasons = disagreements;
    if !agree {
        let all = [Verdict::Match, Verdict::Drift, Verdict::Unstable, Verdict::Inconclusive].into_iter();
        let runs =
            |verdict| judgements.iter().filter(|judgement| judgement.verdict == verdict).count() as u64;
        let counts = all.map(|verdict| VerdictCount { verdict, runs: runs(verdict) });
        let verdicts = counts.filter(|count| count.runs > 0).collect();
        reasons.insert(0, Reason::RunsDisagree { verdicts });
    }
    for reason in judgements.iter().flat_map(|judgement| &judgement.reasons) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    Judgement { verdict, reasons }
}

/// The names of all claims that fail, including known faults.
pub fn failing_claims(evidence: &Evidence<'_>) -> Vec<String> {
    let unknown = Evidence { known_faults: &[], ..*evidence };
    let claims =
        unknown.claims.iter().filter(|claim| judge_claim(claim, &unknown).is_some()).map(|claim| &claim.name);
    let console_claims = unknown
        .console_claims
        .iter()
        .filter(|claim| check_console_claim(claim, unknown.console).is_err())
        .map(|claim| &claim.name);
    claims.chain(console_claims).cloned().collect()
}

fn judge_claim(claim: &Claim, evidence: &Evidence<'_>) -> Option<Reason> {
    let Some(probe) = evidence.probes.iter().find(|probe| probe.name == claim.probe) else {
        return Some(Reason::NoProbe { claim: claim.name.clone(), probe: claim.probe.clone() });
    };
    // A probe that was left out cannot fail a claim. `remarks` reports the missing probe once.
    if probe.left_out_because.is_some() {
        return None;
    }
    let outcome = check_claim(claim, probe);
    let is_known = evidence.known_faults.iter().any(|known| known.claim == claim.name);
    if probe.lost > 0 && !is_known && outcome.as_ref().is_err_and(ClaimFailure::is_lack) {
        return Some(Reason::ClaimUndecided { claim: claim.name.clone(), probe: probe.name.clone() });
    }
    let measured = claim.exact || claim.whole;
    if outcome.is_ok() && measured && witnesses(claim, probe).any(|stack| stack.fidelity.is_none()) {
        // Without the truth, where a run has to do without it, there may be nothing to compare with. Then
        // nobody can say whether a known fault is gone.
        let can_measure = evidence.probes.iter().all(ProbeResult::was_recorded);
        return can_measure.then(|| Reason::NoReference { claim: claim.name.clone() });
    }
    apply_known_faults(&claim.name, outcome, evidence.known_faults)
}

/// The verdict and the reason that follow from a claim's outcome and the known faults; `None` if the claim
/// holds and no fault is known.
fn apply_known_faults(
    claim: &str,
    outcome: Result<(), ClaimFailure>,
    known: &[KnownFault],
) -> Option<Reason> {
    let known = known.iter().find(|known| known.claim == claim).map(|known| known.because.clone());
    let claim = claim.to_owned();
    match (outcome, known) {
        (Ok(()), None) => None,
        (Ok(()), Some(because)) => Some(Reason::KnownFaultGone { claim, because }),
        (Err(_), Some(because)) => Some(Reason::KnownFault { claim, because }),
        (Err(failure), None) => Some(Reason::ClaimFails { claim, failure }),
    }
}

fn check_console_claim(claim: &ConsoleClaim, console: &[ConsoleReport]) -> Result<(), ClaimFailure> {
    match console.iter().find(|event| event.line.contains(&claim.forbidden_text)) {
        Some(event) => Err(ClaimFailure::Console { report: event.kind.clone(), line: event.line.clone() }),
        None => Ok(()),
    }
}

fn check_claim(claim: &Claim, probe: &ProbeResult) -> Result<(), ClaimFailure> {
    let witnesses: Vec<&StackResult> = witnesses(claim, probe).collect();
    let found: u64 = witnesses.iter().map(|stack| stack.count).sum();
    let through = claim.through.clone();
    match claim.witness_count {
        None if found == 0 => Err(ClaimFailure::NoWitness {
            probe: probe.name.clone(),
            stacks: probe.stacks.iter().map(|stack| stack.count).sum(),
            nearest: nearest_stack(probe, &through),
            through,
            ends: stack_ends(probe),
        }),
        Some(wanted) if found != wanted => {
            Err(ClaimFailure::WrongCount { found, wanted, through, ends: stack_ends(probe) })
        }
        _ => {
            if let Some(stack) =
                witnesses.iter().find(|stack| claim.complete && stack.state != State::Complete)
            {
                return Err(match (&stack.ends_at, stack.state) {
                    (Some(at), State::Corrupt) => ClaimFailure::Corrupt { through, ends_at: at.clone() },
                    (ends_at, _) => ClaimFailure::Incomplete { through, ends_at: ends_at.clone() },
                });
            }
            if let Some(excess) = witnesses.iter().filter(|_| claim.exact).find_map(|stack| stack.excess()) {
                return Err(ClaimFailure::NotExact { through, excess });
            }
            match witnesses.iter().filter(|_| claim.whole).find_map(|stack| stack.gaps()) {
                Some(gaps) => Err(ClaimFailure::NotWhole { through, gaps }),
                None => Ok(()),
            }
        }
    }
}

/// The stacks that a claim speaks of.
fn witnesses<'a>(claim: &'a Claim, probe: &'a ProbeResult) -> impl Iterator<Item = &'a StackResult> {
    probe.stacks.iter().filter(|stack| passes_through(stack, &claim.through))
}

/// Whether the stack contains the functions in this order, with other frames allowed in between.
fn passes_through(stack: &StackResult, functions: &[String]) -> bool {
    matched_functions(stack, functions) == functions.len()
}

/// The number of leading `functions` that the stack contains in this order.
fn matched_functions(stack: &StackResult, functions: &[String]) -> usize {
    let mut frames = stack.frames.iter();
    let is_there =
        |names: &&String| frames.any(|frame| names.split('|').any(|function| frame == fold_suffix(function)));
    functions.iter().take_while(is_there).count()
}

/// The stack that passes through most of the functions, where one passes through some.
fn nearest_stack(probe: &ProbeResult, functions: &[String]) -> Option<Box<NearestStack>> {
    /// How many frames are shown.
    const SHOWN: usize = 8;
    let stacks = probe.stacks.iter().map(|stack| (matched_functions(stack, functions), stack));
    let (reached @ 1.., stack) = stacks.max_by_key(|(reached, _)| *reached)? else { return None };
    Some(Box::new(NearestStack {
        last: functions[reached - 1].clone(),
        next: functions[reached].clone(),
        frames: stack.frames.iter().take(SHOWN).cloned().collect(),
        more: stack.frames.len() > SHOWN,
    }))
}

/// Where the stacks of a probe end, the first five.
fn stack_ends(probe: &ProbeResult) -> Vec<EndCount> {
    let ends = crate::stack::count(probe.stacks.iter().map(|stack| (stack.ends_at.clone(), stack.count)));
    ends.into_iter().take(5).map(|(at, count)| EndCount { at, count }).collect()
}

fn judge_snapshot(probe: &str, comparison: &Comparison, lost: bool) -> Option<Reason> {
    let probe = probe.to_owned();
    match comparison {
        Comparison::Same => None,
        Comparison::Drift { .. } if lost => Some(Reason::SnapshotUndecided { probe }),
        Comparison::Drift { diff } => Some(Reason::SnapshotDiffers { probe, diff: diff.trim_end().into() }),
        Comparison::Missing => Some(Reason::NoSnapshot { probe }),
    }
}

/// Remarks that do not change the verdict: probes left out, lost events, unreadable lines.
fn remarks(result: &ProbeResult) -> Vec<Reason> {
    let probe = || result.name.clone();
    let absent =
        result.left_out_because.iter().cloned().map(|because| Reason::LeftOut { probe: probe(), because });
    let lost = (result.lost > 0).then(|| Reason::Lost { probe: probe(), entries: result.lost });
    let unread =
        result.warnings.iter().filter(|warning| warning.kind != Kind::LostEvents.word()).map(|warning| {
            Reason::Unreadable {
                probe: probe(),
                warning: warning.kind.clone(),
                count: warning.count,
                example: warning.example.clone(),
            }
        });
    absent.chain(lost).chain(unread).collect()
}

#[cfg(test)]
mod tests;

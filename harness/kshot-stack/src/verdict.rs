//! Claims, known faults, snapshots and repeats, folded into one word.

use crate::claim::{Claim, Known, Silence};
use crate::document::{ConsoleEvent, ProbeResult, StackResult, Word};
use crate::snapshot::Comparison;
use crate::stack::{State, fold_suffix};

/// All that a verdict rests on. Anything that kept a run from its end is a fault, not evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// What must hold.
    pub claims: &'a [Claim],
    /// What the console must not report.
    pub silences: &'a [Silence],
    /// What is known not to hold on this kernel.
    pub known: &'a [Known],
    /// What the probes recorded.
    pub probes: &'a [ProbeResult],
    /// What the console reported.
    pub console: &'a [ConsoleEvent],
    /// How each probe compares with its snapshot, by the probe's name.
    pub comparisons: &'a [(String, Comparison)],
}

/// What the reasons say of a claim that fails and is known to.
const AS_KNOWN: &str = "fails, as known";
const NO_SNAPSHOT: &str = "no snapshot on file";

/// Whether a reason is that there is nothing to compare with yet.
pub fn tells_of_no_snapshot(why: &str) -> bool {
    why.starts_with(NO_SNAPSHOT)
}

/// Whether any of a verdict's reasons is a fault that is known.
pub fn tells_of_known(why: &[String]) -> bool {
    why.iter().any(|why| why.starts_with("claim `") && why.contains(AS_KNOWN))
}

/// The word and its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The word.
    pub word: Word,
    /// The reasons, and what else is worth knowing, one sentence each.
    pub why: Vec<String>,
}

/// Judges one run: drift if a claim or a snapshot says so, else inconclusive if one cannot be told, else match.
pub fn judge(evidence: Evidence<'_>) -> Verdict {
    let claims = evidence.claims.iter().filter_map(|claim| of_claim(claim, &evidence));
    let silences = evidence
        .silences
        .iter()
        .filter_map(|silence| judged(&silence.name, kept(silence, evidence.console), evidence.known));
    let snapshots =
        evidence.comparisons.iter().filter_map(|(probe, comparison)| of_snapshot(probe, comparison));
    let findings: Vec<(Word, String)> =
        claims.chain(silences).chain(snapshots).chain(evidence.probes.iter().flat_map(doubts)).collect();
    let word =
        [Word::Drift, Word::Inconclusive].into_iter().find(|word| findings.iter().any(|(w, _)| w == word));
    Verdict { word: word.unwrap_or(Word::Match), why: findings.into_iter().map(|(_, why)| why).collect() }
}

/// Folds the verdicts of repeats: one word if they agree, else unstable; `disagreements` says in which stacks the runs
/// differ, whatever was made of them. No repeat at all is inconclusive.
pub fn fold(verdicts: &[Verdict], disagreements: &[String]) -> Verdict {
    let Some(first) = verdicts.first() else {
        return Verdict { word: Word::Inconclusive, why: vec!["there was no run".into()] };
    };
    let mut why: Vec<String> = Vec::new();
    for reason in verdicts.iter().flat_map(|verdict| &verdict.why) {
        if !why.contains(reason) {
            why.push(reason.clone());
        }
    }
    let agree = verdicts.iter().all(|verdict| verdict.word == first.word);
    if !disagreements.is_empty() {
        why.splice(0..0, disagreements.iter().cloned());
        if agree {
            return Verdict { word: Word::Unstable, why };
        }
    }
    if agree {
        return Verdict { word: first.word, why };
    }
    let words =
        [Word::Match, Word::Drift, Word::Unstable, Word::Inconclusive].into_iter().filter_map(|word| {
            let count = verdicts.iter().filter(|verdict| verdict.word == word).count();
            (count > 0).then(|| format!("{} in {count}", word.name()))
        });
    why.insert(0, format!("{} runs disagree: {}", verdicts.len(), words.collect::<Vec<_>>().join(", ")));
    Verdict { word: Word::Unstable, why }
}

/// The names of the claims and silences that do not hold, whatever is known of them.
pub fn failing(evidence: &Evidence<'_>) -> Vec<String> {
    let unknown = Evidence { known: &[], ..*evidence };
    let claims =
        unknown.claims.iter().filter(|claim| of_claim(claim, &unknown).is_some()).map(|claim| &claim.name);
    let silences = unknown
        .silences
        .iter()
        .filter(|silence| kept(silence, unknown.console).is_err())
        .map(|silence| &silence.name);
    claims.chain(silences).cloned().collect()
}

fn of_claim(claim: &Claim, evidence: &Evidence<'_>) -> Option<(Word, String)> {
    let name = &claim.name;
    let Some(probe) = evidence.probes.iter().find(|probe| probe.name == claim.probe) else {
        return Some((
            Word::Inconclusive,
            format!("claim `{name}`: the probe `{}` brought nothing", claim.probe),
        ));
    };
    // Nothing to judge, and no fault of the kernel's: that the truth is missing is said once, by `doubts`.
    if probe.absent.is_some() {
        return None;
    }
    let outcome = holds(claim, probe);
    // Without the truth, where a run has to do without it, there may be nothing to compare with.
    let can_measure = evidence.probes.iter().all(|probe| probe.absent.is_none());
    if outcome.is_ok()
        && claim.exact
        && can_measure
        && witnesses(claim, probe).any(|stack| stack.fidelity.is_none())
    {
        return Some((
            Word::Inconclusive,
            format!("claim `{name}`: a stack has no reference to be exact by"),
        ));
    }
    judged(name, outcome, evidence.known)
}

/// What a claim that holds or not says, given what is known.
fn judged(name: &str, outcome: Result<(), String>, known: &[Known]) -> Option<(Word, String)> {
    let known = known.iter().find(|known| known.claim == name);
    match (outcome, known) {
        (Ok(()), None) => None,
        (Ok(()), Some(known)) => Some((
            Word::Drift,
            format!(
                "claim `{name}` holds: mended what was known ({}); remove it from `known`",
                known.because
            ),
        )),
        (Err(_), Some(known)) => Some((Word::Match, format!("claim `{name}` {AS_KNOWN}: {}", known.because))),
        (Err(fault), None) => Some((Word::Drift, format!("claim `{name}` fails: {fault}"))),
    }
}

fn kept(silence: &Silence, console: &[ConsoleEvent]) -> Result<(), String> {
    match console.iter().find(|event| event.line.contains(&silence.never)) {
        Some(event) => Err(format!("the console reports ({}): {}", event.kind, event.line)),
        None => Ok(()),
    }
}

fn holds(claim: &Claim, probe: &ProbeResult) -> Result<(), String> {
    let witnesses: Vec<&StackResult> = witnesses(claim, probe).collect();
    let found: u64 = witnesses.iter().map(|stack| stack.count).sum();
    let all: u64 = probe.stacks.iter().map(|stack| stack.count).sum();
    let through = match claim.through.as_slice() {
        [] => String::new(),
        functions => format!(" through {}", functions.join(", ")),
    };
    match claim.stacks {
        None if found == 0 => {
            let nearest = nearest(probe, &claim.through);
            Err(format!(
                "none of the {all} stacks of `{}` passes{through}{}{nearest}",
                probe.name,
                endings(probe)
            ))
        }
        Some(wanted) if found != wanted => {
            Err(format!("{found} instead of {wanted} stacks{through}{}", endings(probe)))
        }
        _ => {
            if let Some(stack) =
                witnesses.iter().find(|stack| claim.complete && stack.state != State::Complete)
            {
                return Err(format!("a stack{through} {}", unfinished(stack)));
            }
            match witnesses.iter().filter(|_| claim.exact).find_map(|stack| stack.excess()) {
                Some(excess) => Err(format!("a stack{through} has frames that are not there: {excess}")),
                None => Ok(()),
            }
        }
    }
}

/// The stacks that a claim speaks of.
fn witnesses<'a>(claim: &'a Claim, probe: &'a ProbeResult) -> impl Iterator<Item = &'a StackResult> {
    probe.stacks.iter().filter(|stack| passes_through(stack, &claim.through))
}

/// Why a stack is not complete.
fn unfinished(stack: &StackResult) -> String {
    match (&stack.ends_at, stack.state) {
        (Some(at), State::Corrupt) => format!("is corrupt; its last frame is {at}"),
        (Some(at), _) => format!("ends at {at}, before any entry"),
        (None, _) => "is empty, before any entry".into(),
    }
}

/// Whether the functions are frames of the stack in this order, others between them allowed.
fn passes_through(stack: &StackResult, functions: &[String]) -> bool {
    reached(stack, functions) == functions.len()
}

/// How many of the functions are found in this order before one is not.
fn reached(stack: &StackResult, functions: &[String]) -> usize {
    let mut frames = stack.frames.iter();
    let is_there =
        |names: &&String| frames.any(|frame| names.split('|').any(|function| frame == fold_suffix(function)));
    functions.iter().take_while(is_there).count()
}

/// `; the nearest has no c behind b: a, b, d`
fn nearest(probe: &ProbeResult, functions: &[String]) -> String {
    /// Frames that are shown.
    const SHOWN: usize = 8;
    let stacks = probe.stacks.iter().map(|stack| (reached(stack, functions), stack));
    let Some((reached @ 1.., stack)) = stacks.max_by_key(|(reached, _)| *reached) else {
        return String::new();
    };
    let frames: Vec<&str> = stack.frames.iter().take(SHOWN).map(String::as_str).collect();
    let more = if stack.frames.len() > SHOWN { ", ..." } else { "" };
    let (last, next) = (&functions[reached - 1], &functions[reached]);
    format!("; the nearest has no {next} behind {last}: {}{more}", frames.join(", "))
}

/// `; they end at ftrace_graph_call (5), syscall_common (1)`
fn endings(probe: &ProbeResult) -> String {
    let ends = probe.stacks.iter().map(|stack| (stack.ends_at.as_deref().unwrap_or("nothing"), stack.count));
    let ends = crate::stack::count(ends);
    let ends: Vec<String> = ends.iter().take(5).map(|(at, count)| format!("{at} ({count})")).collect();
    if ends.is_empty() { String::new() } else { format!("; they end at {}", ends.join(", ")) }
}

fn of_snapshot(probe: &str, comparison: &Comparison) -> Option<(Word, String)> {
    match comparison {
        Comparison::Same => None,
        Comparison::Drift { diff, .. } => Some((
            Word::Drift,
            format!("the stacks of `{probe}` are not its snapshot's:\n{}", diff.trim_end()),
        )),
        Comparison::Missing => Some((
            Word::Inconclusive,
            format!("{NO_SNAPSHOT} for `{probe}`: run the tests, then `cargo insta review`"),
        )),
    }
}

/// What does not change the word but sheds doubt on a count.
fn doubts(probe: &ProbeResult) -> Vec<(Word, String)> {
    let absent = probe
        .absent
        .iter()
        .map(|why| format!("`{}` was left out, and what is claimed of it is not judged: {why}", probe.name));
    let lost = (probe.lost > 0)
        .then(|| format!("`{}` lost {} entries, so its counts are too low", probe.name, probe.lost));
    let unread = probe.warnings.iter().filter(|warning| warning.kind != "lost-events").map(|warning| {
        let (kind, count, example) = (&warning.kind, warning.count, &warning.example);
        format!("`{}`: {count} x {kind}, first: {example}", probe.name)
    });
    absent.chain(lost).chain(unread).map(|why| (Word::Match, why)).collect()
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

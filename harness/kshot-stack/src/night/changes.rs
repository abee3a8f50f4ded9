//! Compares a night with earlier nights. Pure.

use super::results::{
    ChangeKind, GitCommit, Night, Pair, PairChange, PairStatus, PreviousVerdict, RunSummary,
};
use crate::document::{ProbeResult, RunDocument, StackResult, Start};
use crate::text::quote;

/// The result of a scenario and kernel in an earlier night, as the history stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastResult {
    /// The name of the earlier night.
    pub night: String,
    /// The status of the pair in that night.
    pub status: PairStatus,
    /// The run, if there was a verdict.
    pub run: Option<RunSummary>,
    /// The version of kshot in that night.
    pub harness: String,
    /// The origin of the kernel in that night.
    pub origin: String,
    /// The commit that it was built from, where it was one and no patch was put on it.
    pub git: Option<GitCommit>,
    /// The hash of the scenario and its snapshots in that night, see [`Pair::inputs_hash`].
    pub inputs_hash: String,
    /// The results of the probes, if there was a run.
    pub probes: Vec<ProbeResult>,
}

/// How a run's stacks compare with those of the run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trend {
    Same,
    Better,
    Other,
}

impl PastResult {
    /// The result document of the earlier run, as far as the history stores it.
    pub fn document(&self, scenario: &str) -> Option<RunDocument> {
        let run = self.run.as_ref()?;
        Some(RunDocument {
            schema: crate::document::SCHEMA,
            scenario: scenario.into(),
            kernel: run.kernel.clone(),
            qemu: run.qemu.clone(),
            verdict: run.verdict,
            reasons: run.reasons.clone(),
            start: run.start,
            cold_because: None,
            timings_ms: run.timings_ms,
            probes: self.probes.clone(),
            repeats: Vec::new(),
            console: Vec::new(),
            artifacts: Default::default(),
        })
    }
}

/// Classifies the change of a pair. `document` is the result document of its run, `past` its results of
/// earlier nights, the latest first. `None` if nothing changed and the pair matches.
pub fn classify_pair(
    night: &Night,
    pair: &Pair,
    document: Option<&RunDocument>,
    past: &[PastResult],
) -> Option<PairChange> {
    let judged: Vec<&PastResult> = past
        .iter()
        .filter(|past| matches!(past.status, PairStatus::Match | PairStatus::Drift | PairStatus::Unstable))
        .collect();
    let last = judged.first().copied();
    let trend = match (document, last) {
        (Some(document), Some(last)) => trend(&last.probes, &document.probes),
        _ => Trend::Same,
    };
    let kind = change_kind(pair.status(), last.map(|last| last.status), trend)?;
    let since = (kind == ChangeKind::StillBroken).then(|| {
        let row = judged.iter().take_while(|past| past.status == PairStatus::Drift);
        row.last().map(|past| past.night.clone())
    });
    let before = last.and_then(|last| {
        let run = last.run.as_ref()?;
        Some(PreviousVerdict {
            night: last.night.clone(),
            verdict: run.verdict,
            kernel: run.kernel.clone(),
            origin: last.origin.clone(),
            git: last.git.clone(),
        })
    });
    let kernel = night.kernels.iter().find(|kernel| kernel.name == pair.kernel);
    let origin = kernel.map_or("", |kernel| kernel.origin.as_str());
    let command = match (&before, pair.run(), document, last) {
        (Some(before), Some(run), Some(document), Some(last)) if kind == ChangeKind::NewDrift => {
            let probes = changed_probes(&last.probes, &document.probes);
            let good = BisectEnd { git: before.git.as_ref(), release: &before.kernel.release };
            let git = kernel.and_then(|kernel| kernel.git.as_ref());
            bisect_command(pair, good, BisectEnd { git, release: &run.kernel.release }, &probes)
        }
        _ => None,
    };
    let turned = matches!(
        kind,
        ChangeKind::NewDrift | ChangeKind::Mended | ChangeKind::Unstable | ChangeKind::Accepted
    );
    let suspects = match (last, pair.run()) {
        (Some(last), Some(run)) if turned => {
            possible_causes(last, run, &night.harness, origin, &pair.inputs_hash)
        }
        _ => Vec::new(),
    };
    Some(PairChange {
        scenario: pair.scenario.clone(),
        kernel: pair.kernel.clone(),
        kind,
        since: since.flatten(),
        previous: before,
        possible_causes: suspects,
        bisect_command: command,
    })
}

/// What a status is beside the last night's that was judged; `None` where nothing changed and the pair
/// matches.
fn change_kind(status: PairStatus, last: Option<PairStatus>, trend: Trend) -> Option<ChangeKind> {
    let drifted = last == Some(PairStatus::Drift);
    Some(match status {
        PairStatus::Inconclusive | PairStatus::HostError | PairStatus::NotRun => ChangeKind::CannotTell,
        PairStatus::Unstable => ChangeKind::Unstable,
        PairStatus::Drift if last.is_some() && trend == Trend::Better => ChangeKind::Mended,
        PairStatus::Drift if drifted => ChangeKind::StillBroken,
        PairStatus::Drift => ChangeKind::NewDrift,
        PairStatus::Match if drifted => ChangeKind::Mended,
        PairStatus::Match if trend != Trend::Same => ChangeKind::Accepted,
        PairStatus::Match => return None,
    })
}

/// A kernel at one end of a bisection.
struct BisectEnd<'a> {
    /// The commit that it is built from, where it is one.
    git: Option<&'a GitCommit>,
    /// Its release, `uname -r`.
    release: &'a str,
}

/// The command that searches between two kernels for what changed `probes`.
fn bisect_command(pair: &Pair, good: BisectEnd<'_>, bad: BisectEnd<'_>, probes: &[&str]) -> Option<String> {
    let range = match (good.git, bad.git) {
        (Some(old), Some(new)) if old.tree == new.tree && old.commit != new.commit => {
            format!("--git {} --good {} --bad {}", quote(&old.tree), old.commit, new.commit)
        }
        _ => {
            let (old, new) = (upstream_version(good.release)?, upstream_version(bad.release)?);
            if old == new {
                return None;
            }
            format!("--versions {old}..{new} --good {old} --bad {new}")
        }
    };
    let question = match probes {
        [probe] => format!("--drift {}", quote(probe)),
        _ => "--drift".into(),
    };
    Some(format!("kshot bisect {} {range} --like {} {question}", pair.scenario, pair.kernel))
}

/// The upstream version in the release of a kernel that kshot built: `6.1.192` in `6.1.192-kshot`. Debian's
/// releases do not contain it: `6.1.0-50-5kc-malta` is 6.1.176.
fn upstream_version(release: &str) -> Option<&str> {
    release
        .strip_suffix("-kshot")
        .filter(|version| version.split('.').all(|part| part.parse::<u32>().is_ok()))
}

/// The names of the probes whose stacks changed.
fn changed_probes<'a>(before: &[ProbeResult], now: &'a [ProbeResult]) -> Vec<&'a str> {
    let same = |probe: &ProbeResult| {
        before.iter().any(|then| then.name == probe.name && then.stacks == probe.stacks)
    };
    now.iter().filter(|probe| !same(probe)).map(|probe| probe.name.as_str()).collect()
}

/// Lists everything that changed between two runs, one sentence each.
fn possible_causes(
    last: &PastResult,
    run: &RunSummary,
    harness: &str,
    origin: &str,
    inputs: &str,
) -> Vec<String> {
    let Some(then) = &last.run else { return Vec::new() };
    let mut found = Vec::new();
    if then.kernel.image_sha256 != run.kernel.image_sha256 {
        let short = |sha: &str| sha.chars().take(12).collect::<String>();
        let (old, new) = (&then.kernel, &run.kernel);
        found.push(if old.release == new.release {
            format!(
                "the kernel: {} was built anew ({} before, {} now)",
                new.release,
                short(&old.image_sha256),
                short(&new.image_sha256)
            )
        } else {
            format!("the kernel: {} before, {} now", old.release, new.release)
        });
    }
    if last.origin != origin {
        found.push(format!("where the kernel comes from: {} before, {origin} now", last.origin));
    }
    for (what, old, new) in
        [("QEMU", then.qemu.as_str(), run.qemu.as_str()), ("kshot", last.harness.as_str(), harness)]
    {
        // Older documents have QEMU's version without the blank behind its number.
        let plain = |version: &str| version.split_whitespace().collect::<String>();
        if plain(old) != plain(new) {
            found.push(format!("{what}: {old} before, {new} now"));
        }
    }
    if last.inputs_hash != inputs {
        found.push("the scenario, or its snapshots for this kernel".into());
    }
    if then.start != run.start {
        let word = |start| if start == Start::Cold { "booted" } else { "restored from a saved state" };
        found.push(format!("the start: {} before, {} now", word(then.start), word(run.start)));
    }
    if found.is_empty() {
        found.push("nothing that kshot records: the same kernel, QEMU, kshot and scenario as before".into());
    }
    found
}

fn trend(before: &[ProbeResult], now: &[ProbeResult]) -> Trend {
    if stacks_by_probe(before) == stacks_by_probe(now) {
        return Trend::Same;
    }
    let (was, is) = (missing_thousandths(before), missing_thousandths(now));
    // If the reference itself changed, neither result can be called better.
    let compares = was.iter().map(|(probe, _)| probe).eq(is.iter().map(|(probe, _)| probe));
    let pairs = || was.iter().zip(&is).map(|((_, was), (_, is))| (was, is));
    // A partial improvement does not count as a fix.
    if compares && pairs().all(|(was, is)| is == was || *is == 0) && pairs().any(|(was, is)| is < was) {
        Trend::Better
    } else {
        Trend::Other
    }
}

/// The stacks of each probe, without the values that differ between equal runs.
fn stacks_by_probe(probes: &[ProbeResult]) -> Vec<(&str, &Vec<StackResult>)> {
    probes.iter().map(|probe| (probe.name.as_str(), &probe.stacks)).collect()
}

/// For each probe with a reference: the share of the reference's frames that its stacks lack, in thousandths.
fn missing_thousandths(probes: &[ProbeResult]) -> Vec<(&str, u128)> {
    let measured = probes.iter().filter_map(|probe| {
        let stacks = probe.stacks.iter().filter_map(|stack| Some((stack.count, stack.fidelity?)));
        // Of another's document: the product of two of its numbers needs more bits than they have.
        let (mut count, mut lacking) = (0, 0);
        for (number, fidelity) in stacks {
            let (number, of) = (u128::from(number), u128::from(fidelity.reference_frames));
            count += number * of;
            lacking += number * of.saturating_sub(u128::from(fidelity.matched_frames));
        }
        // A share and not a sum, because the number of stacks may differ between nights.
        (count > 0).then(|| (probe.name.as_str(), lacking * 1000 / count))
    });
    measured.collect()
}

#[cfg(test)]
mod tests;

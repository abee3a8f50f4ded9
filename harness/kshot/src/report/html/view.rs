//! The data that the templates show of a pair: its matrix cell, its change, its details.

use super::stacks::{self, ProbeStacks, StackTable as Beside};
use super::{duration_text, href};
use crate::report::flame::FlameGraph;
use kshot_stack::document::{Fidelity, Reason, RunDocument, Start, Timings};
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{ChangeKind, PairChange};
use kshot_stack::night::results::{Pair, PairStatus};

/// The number of console lines that the page quotes; the full log is linked.
const EXCERPT_LINES: usize = 60;

/// A cell of the matrix.
pub(super) struct MatrixCell {
    pub(super) anchor: String,
    pub(super) kernel: String,
    pub(super) look: StatusStyle,
    /// The least faithful stack: `0/4`.
    pub(super) fidelity: Option<String>,
    /// The change since the night before.
    pub(super) change: Option<&'static str>,
}

/// The appearance of a status: a class, a sign and a word, so that colour alone carries no meaning.
#[derive(Clone, Copy)]
pub(super) struct StatusStyle {
    pub(super) class: &'static str,
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
}

/// A change, with everything that is needed to act on it.
pub(super) struct ChangeCard {
    pub(super) anchor: String,
    pub(super) scenario: String,
    pub(super) kernel: String,
    pub(super) look: StatusStyle,
    /// `match on 20261124T020000Z, drift now`
    pub(super) turn: String,
    /// Whether the pair only continues to drift.
    pub(super) since: bool,
    pub(super) why: Vec<String>,
    pub(super) suspects: Vec<String>,
    pub(super) bisect: Option<String>,
    pub(super) beside: Vec<Beside>,
    /// Stacks that changed too, and that nothing measures.
    pub(super) others: Vec<Beside>,
    pub(super) flames: Vec<(String, FlameGraph)>,
}

/// A group of pairs with the same reason.
pub(super) struct ReasonGroup {
    pub(super) look: StatusStyle,
    pub(super) reason: String,
    /// The pairs: anchor, scenario, kernel.
    pub(super) pairs: Vec<(String, String, String)>,
}

/// The details of a pair.
pub(super) struct PairDetails {
    pub(super) anchor: String,
    pub(super) scenario: String,
    pub(super) kernel: String,
    pub(super) look: StatusStyle,
    pub(super) open: bool,
    pub(super) why: Vec<String>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) phases: Vec<PhaseShare>,
    pub(super) probes: Vec<ProbeStacks>,
    pub(super) console: Vec<(String, String)>,
    pub(super) tries: Vec<AttemptRow>,
    pub(super) nights: Vec<(String, StatusStyle)>,
    pub(super) files: Vec<(String, String)>,
}

/// A phase of a run.
pub(super) struct PhaseShare {
    pub(super) name: &'static str,
    pub(super) took: String,
    /// The phase's share of the whole duration, in percent.
    pub(super) share: u64,
}

/// An attempt of a pair, as a table row.
pub(super) struct AttemptRow {
    pub(super) number: usize,
    pub(super) started: String,
    pub(super) host: String,
    pub(super) took: String,
    pub(super) outcome: String,
}

impl StatusStyle {
    pub(super) fn of(standing: PairStatus) -> Self {
        let (class, sign) = match standing {
            PairStatus::Match => ("match", "✓"),
            PairStatus::Drift => ("drift", "✗"),
            PairStatus::Unstable => ("unstable", "≈"),
            PairStatus::Inconclusive => ("inconclusive", "?"),
            PairStatus::HostError => ("fault", "!"),
            PairStatus::NotRun => ("not-reached", "…"),
        };
        Self { class, sign, word: standing.name() }
    }

    /// The appearance of a pair; a match with a known fault differs from a plain match.
    fn of_pair(pair: &Pair) -> Self {
        match (pair.status(), pair.run()) {
            (PairStatus::Match, Some(run)) if run.reasons.iter().any(Reason::is_known_fault) => {
                Self { class: "known", sign: "◐", word: "match, known fault" }
            }
            (standing, _) => Self::of(standing),
        }
    }
}

impl MatrixCell {
    pub(super) fn of(report: &NightReport, pair: &Pair) -> Self {
        let worst = report.document(pair).and_then(lowest_fidelity);
        let change = report.change(pair).map(|change| change.kind);
        Self {
            anchor: pair.anchor(),
            kernel: pair.kernel.clone(),
            look: StatusStyle::of_pair(pair),
            fidelity: worst.map(|worst| {
                let excess = worst.excess();
                let excess = if excess > 0 { format!("+{excess}") } else { String::new() };
                format!("{}{excess}/{}", worst.matched_frames, worst.reference_frames)
            }),
            change: change
                .filter(|kind| {
                    matches!(kind, ChangeKind::NewDrift | ChangeKind::Mended | ChangeKind::Accepted)
                })
                .map(ChangeKind::name),
        }
    }
}

/// The fidelity of the least faithful stack.
fn lowest_fidelity(document: &RunDocument) -> Option<Fidelity> {
    let stacks = document.probes.iter().flat_map(|probe| &probe.stacks);
    stacks.filter_map(|stack| stack.fidelity).min_by(|one, other| {
        let product = |one, other| u128::from(one) * u128::from(other);
        product(one.matched_frames, other.reference_frames)
            .cmp(&product(other.matched_frames, one.reference_frames))
            .then_with(|| other.excess().cmp(&one.excess()))
    })
}

impl ChangeCard {
    pub(super) fn of(report: &NightReport, change: &PairChange) -> Option<Self> {
        let pair = report.night.pair(&change.scenario, &change.kernel)?;
        let now = report.document(pair);
        let past = report.past(pair);
        let before = change.previous.as_ref().and_then(|before| {
            past.iter().find(|past| past.night == before.night)?.document(&change.scenario)
        });
        let turned = !matches!(change.kind, ChangeKind::StillBroken | ChangeKind::CannotTell);
        let (beside, flames) = match (before, now) {
            (Some(before), Some(now)) if turned => stacks::changed_stacks(before, now.clone()),
            _ => Default::default(),
        };
        let (mut beside, mut others): (Vec<Beside>, Vec<Beside>) =
            beside.into_iter().partition(|pair| pair.measured);
        if beside.is_empty() {
            std::mem::swap(&mut beside, &mut others);
        }
        let standing = pair.status();
        let turn = match (&change.since, &change.previous) {
            (Some(since), _) => format!("drift since the night {since}"),
            (None, Some(before)) => {
                format!("{} in the night {}, {} now", before.verdict.name(), before.night, standing.name())
            }
            (None, None) => format!("{}; no verdict of an earlier night", standing.name()),
        };
        Some(Self {
            anchor: pair.anchor(),
            scenario: change.scenario.clone(),
            kernel: change.kernel.clone(),
            look: StatusStyle::of(standing),
            turn,
            since: change.since.is_some(),
            why: why(report, pair),
            suspects: change.possible_causes.clone(),
            bisect: change.bisect_command.clone(),
            beside,
            others,
            flames,
        })
    }
}

impl ReasonGroup {
    /// Groups changes by reason, in order of first appearance.
    pub(super) fn of(cards: Vec<ChangeCard>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for card in cards {
            let why = card.why.first().and_then(|why| why.lines().next()).unwrap_or_default();
            let reason = if card.since { card.turn } else { why.to_owned() };
            let pair = (card.anchor, card.scenario, card.kernel);
            match groups.iter_mut().find(|group| group.reason == reason) {
                Some(group) => group.pairs.push(pair),
                None => groups.push(Self { look: card.look, reason, pairs: vec![pair] }),
            }
        }
        groups
    }
}

impl PairDetails {
    pub(super) fn of(report: &NightReport, pair: &Pair) -> Self {
        let document = report.document(pair);
        let look = StatusStyle::of_pair(pair);
        let past = report.past(pair).iter().rev();
        let nights = past.map(|past| (past.night.clone(), StatusStyle::of(past.status)));
        let folder = pair.run().map(|run| run.folder.as_str()).unwrap_or_default();
        let file = |path: &String| (path.clone(), href(&format!("{folder}/{path}")));
        Self {
            anchor: pair.anchor(),
            scenario: pair.scenario.clone(),
            kernel: pair.kernel.clone(),
            look,
            open: pair.status() == PairStatus::Drift,
            why: why(report, pair),
            facts: properties(pair),
            phases: pair.run().map_or(Vec::new(), |run| phases(&run.timings_ms)),
            probes: document.map_or(Vec::new(), stacks::probes),
            console: document.map_or(Vec::new(), console),
            tries: if pair.attempts.len() > 1 { attempts(pair) } else { Vec::new() },
            nights: nights.collect(),
            files: document.map_or(Vec::new(), |document| document.artifacts.values().map(file).collect()),
        }
    }
}

/// The reasons for a pair's verdict, or what kept it from one.
fn why(report: &NightReport, pair: &Pair) -> Vec<String> {
    let obstacle = report.night.why_no_verdict(pair).map(ToOwned::to_owned);
    pair.run()
        .map_or(obstacle.into_iter().collect(), |run| run.reasons.iter().map(ToString::to_string).collect())
}

fn properties(pair: &Pair) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(run) = pair.run() {
        let image: String = run.kernel.image_sha256.chars().take(16).collect();
        facts.push(("release", format!("{} ({})", run.kernel.release, run.kernel.arch)));
        facts.push(("image", image));
        facts.push(("QEMU", run.qemu.clone()));
        let start = if run.start == Start::Cold { "booted" } else { "restored from a saved state" };
        facts.push(("start", start.into()));
    }
    if let Some(attempt) = pair.deciding_attempt() {
        facts.push(("host", attempt.host.clone()));
        facts.push(("took", duration_text(attempt.wall_ms)));
    }
    facts
}

fn phases(timings: &Timings) -> Vec<PhaseShare> {
    let Timings { boot, ssh, steps, collect, total } = *timings;
    let rest = total.saturating_sub(boot + ssh + steps + collect);
    let all = [("boot", boot), ("ssh", ssh), ("steps", steps), ("collect", collect), ("rest", rest)];
    let phase = |(name, ms)| PhaseShare { name, took: duration_text(ms), share: ms * 100 / total.max(1) };
    all.into_iter().map(phase).collect()
}

fn console(document: &RunDocument) -> Vec<(String, String)> {
    let event = |event: &kshot_stack::document::ConsoleReport| {
        let lines: Vec<&str> = event.excerpt.iter().take(EXCERPT_LINES).map(String::as_str).collect();
        (format!("{}: {}", event.kind, event.line), lines.join("\n"))
    };
    document.console.iter().map(event).collect()
}

fn attempts(pair: &Pair) -> Vec<AttemptRow> {
    let attempt = |(index, one): (usize, &kshot_stack::night::results::Attempt)| AttemptRow {
        number: index + 1,
        started: one.started.clone(),
        host: one.host.clone(),
        took: duration_text(one.wall_ms),
        outcome: match (&one.run, &one.error) {
            (Some(run), _) => run.verdict.name().into(),
            (None, Some(error)) => error.error_chain.clone(),
            (None, None) => String::new(),
        },
    };
    pair.attempts.iter().enumerate().map(attempt).collect()
}

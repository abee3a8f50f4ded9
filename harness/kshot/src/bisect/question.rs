//! The question that a bisection asks of each run, and how a run's evidence becomes an answer.

use kshot_stack::snapshot;
use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, Step};
use kshot_guest::host::cache;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::document::{Reason, RunDocument, Verdict};
use kshot_stack::verdict::{self, Evidence};

/// The marker before the predicate's exit status, in the output of the step that `add_step` adds.
const STATUS_MARKER: &str = "kshot-answer:";

/// The question that each run answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Whether these claims of the scenario hold; all claims if the list is empty. Known faults count as
    /// failures here: they are what the bisection looks for.
    Claims(Vec<String>),
    /// The stacks as a snapshot holds them, of this probe or of all. Any difference is a change.
    Drift(Option<String>),
    /// Whether each stack of the probe holds at least this share of its reference.
    Fidelity {
        /// The probe's name.
        probe: String,
        /// The least, in per cent.
        percent: u32,
    },
    /// Whether a capture's raw text matches a regular expression; `^` and `$` match at lines.
    Text(String),
    /// Whether the console log matches a regular expression.
    Console(String),
    /// The exit status of a shell script that runs in the guest after the scenario's steps: 0 is good, 125
    /// means skip, anything else is bad.
    Shell(String),
    /// Whether the verdict is a match, with the snapshots and known faults of this catalogue kernel.
    Verdict(String),
}

/// The evidence of a run that a question is evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct RunEvidence<'a> {
    /// The replayed scenario.
    pub scenario: &'a Scenario,
    /// The run's result document.
    pub document: &'a RunDocument,
    /// The text of each capture.
    pub captures: &'a [String],
    /// The text of the console log.
    pub console: &'a str,
    /// The output of the last step.
    pub last_step: &'a str,
}

/// Why a question cannot be evaluated on a scenario.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The text is not a valid regular expression.
    #[error("`{text}` is not a regular expression")]
    Regex {
        /// The given text.
        text: String,
        /// The parse error.
        source: Box<regex::Error>,
    },
    /// The scenario has no claim or probe of this name.
    #[error("{scenario} has no {what} `{name}`; it has {known}")]
    Unknown {
        /// The scenario's id.
        scenario: String,
        /// The kind of the missing thing: "claim" or "probe".
        what: &'static str,
        /// The given name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// The scenario has no claims.
    #[error("{scenario} has no claims to judge by")]
    NoClaims {
        /// The scenario's id.
        scenario: String,
    },
}

impl Blamed for QuestionError {
    fn blame(&self) -> Blame {
        Blame::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoClaims { .. } => Some(
                "say what is judged: --text REGEX, --drift, --shell COMMAND, or a claim in the scenario"
                    .into(),
            ),
            _ => None,
        }
    }
}

impl Question {
    /// The answers that count as good; empty if they depend on the good end.
    pub fn good_answers(&self) -> BTreeSet<String> {
        let good: &[&str] = match self {
            Self::Claims(_) | Self::Fidelity { .. } | Self::Shell(_) => &["holds"],
            Self::Verdict(_) => &["match"],
            Self::Drift(_) | Self::Text(_) | Self::Console(_) => &[],
        };
        good.iter().map(|answer| (*answer).to_owned()).collect()
    }

    /// Checks that the question can be evaluated on this scenario.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn check(&self, scenario: &Scenario) -> Result<(), QuestionError> {
        let probe = |name: &String| {
            let known: Vec<&str> = scenario.probes.iter().map(|probe| probe.name.as_str()).collect();
            require_known(scenario, "probe", name, &known)
        };
        match self {
            Self::Claims(names) => {
                let claims = scenario.claims.iter().map(|claim| claim.name.as_str());
                let known: Vec<&str> =
                    claims.chain(scenario.console_claims.iter().map(|one| one.name.as_str())).collect();
                if known.is_empty() {
                    return Err(QuestionError::NoClaims { scenario: scenario.id.clone() });
                }
                names.iter().try_for_each(|name| require_known(scenario, "claim", name, &known))
            }
            Self::Drift(name) => name.iter().try_for_each(probe),
            Self::Fidelity { probe: name, .. } => probe(name),
            Self::Text(text) | Self::Console(text) => regex(text).map(|_| ()),
            Self::Shell(_) | Self::Verdict(_) => Ok(()),
        }
    }

    /// Adds the step that the question needs in the guest.
    pub fn add_step(&self, mut scenario: Scenario) -> Scenario {
        if let Self::Shell(predicate) = self {
            let run = format!("(\n{predicate}\n)\necho \"{STATUS_MARKER} $?\"");
            let limit = std::time::Duration::from_secs(60);
            scenario.steps.push(Step {
                script: run,
                repeat: 1,
                timeout: limit,
                expected_status: 0,
                nmi: false,
            });
        }
        scenario
    }

    /// The answer that a run shows.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn evaluate(&self, seen: &RunEvidence<'_>) -> Result<String, String> {
        let is_match = |text: &str, within: &[&str]| {
            let regex = regex(text).map_err(|error| error.to_string())?;
            Ok::<_, String>(within.iter().any(|text| regex.is_match(text)))
        };
        let found = match self {
            Self::Console(text) => is_match(text, &[seen.console])?,
            _ => false,
        };
        // A guest that crashed may show the text that is looked for; it says nothing about anything else.
        if !found {
            self.require_conclusive(seen.document)?;
        }
        match self {
            Self::Claims(names) => Ok(claims(names, seen)),
            Self::Drift(probe) => drift(probe.as_deref(), seen.document),
            Self::Fidelity { probe, percent } => fidelity(probe, *percent, seen.document),
            Self::Text(_) if seen.captures.is_empty() => Err("no probe recorded a text".into()),
            Self::Text(text) => is_match(text, &seen.captures.iter().map(String::as_str).collect::<Vec<_>>())
                .map(match_answer),
            Self::Shell(_) => predicate_answer(seen.last_step),
            Self::Verdict(_) => match seen.document.verdict {
                Verdict::Match => Ok("match".into()),
                Verdict::Drift => Ok("drift".into()),
                Verdict::Unstable | Verdict::Inconclusive => Err(Reason::join(&seen.document.reasons, "; ")),
            },
            Self::Console(_) => Ok(match_answer(found)),
        }
    }

    /// Refuses a run that tells nothing. One whose claims have no reference to be measured by went all the
    /// way: its texts and stacks are there.
    fn require_conclusive(&self, document: &RunDocument) -> Result<(), String> {
        let asks_for_claims = matches!(self, Self::Claims(_) | Self::Verdict(_));
        let unmeasured = |reason: &Reason| matches!(reason, Reason::NoReference { .. });
        if document.verdict != Verdict::Inconclusive
            || (!asks_for_claims && document.reasons.iter().any(unmeasured))
        {
            return Ok(());
        }
        Err(Reason::join(&document.reasons, "; "))
    }

    /// The fault in words, for the subject of a mail.
    pub fn fault_description(&self) -> String {
        match self {
            Self::Claims(names) if names.is_empty() => "the claims fail".into(),
            Self::Claims(names) => format!("the claim {} fails", names.join(", ")),
            Self::Drift(None) => "the stacks changed".into(),
            Self::Drift(Some(probe)) => format!("the stacks of {probe} changed"),
            Self::Fidelity { probe, percent } => {
                format!("the stacks of {probe} hold less than {percent} % of their reference")
            }
            Self::Text(text) => format!("captures changed in whether they match `{text}`"),
            Self::Console(text) => format!("the console changed in whether it matches `{text}`"),
            Self::Shell(text) => format!("`{text}` fails in the guest"),
            Self::Verdict(kernel) => format!("the verdict no longer matches {kernel}'s snapshots"),
        }
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claims(names) if names.is_empty() => write!(f, "do the scenario's claims hold?"),
            Self::Claims(names) => write!(f, "does the claim {} hold?", names.join(", ")),
            Self::Drift(None) => write!(f, "are the stacks those of the good end?"),
            Self::Drift(Some(probe)) => write!(f, "are the stacks of {probe} those of the good end?"),
            Self::Fidelity { probe, percent } => {
                write!(f, "do the stacks of {probe} hold {percent} % of their reference?")
            }
            Self::Text(text) => write!(f, "does a capture match `{text}`?"),
            Self::Console(text) => write!(f, "does the console match `{text}`?"),
            Self::Shell(text) => write!(f, "does `{text}` succeed in the guest?"),
            Self::Verdict(kernel) => write!(f, "is the verdict a match, as for {kernel}?"),
        }
    }
}

fn match_answer(found: bool) -> String {
    if found { "matches" } else { "does not match" }.to_owned()
}

fn require_known(
    scenario: &Scenario,
    what: &'static str,
    name: &str,
    known: &[&str],
) -> Result<(), QuestionError> {
    if known.contains(&name) {
        return Ok(());
    }
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Err(QuestionError::Unknown { scenario: scenario.id.clone(), what, name: name.into(), known })
}

fn regex(text: &str) -> Result<Regex, QuestionError> {
    let regex = RegexBuilder::new(text).multi_line(true).build();
    regex.map_err(|source| QuestionError::Regex { text: text.into(), source: Box::new(source) })
}

fn claims(names: &[String], seen: &RunEvidence<'_>) -> String {
    let evidence = Evidence {
        claims: &seen.scenario.claims,
        console_claims: &seen.scenario.console_claims,
        probes: &seen.document.probes,
        console: &seen.document.console,
        ..Evidence::default()
    };
    let failing = verdict::failing_claims(&evidence);
    let failing: Vec<String> =
        failing.into_iter().filter(|name| names.is_empty() || names.contains(name)).collect();
    if failing.is_empty() { "holds".into() } else { format!("fails: {}", failing.join(", ")) }
}

fn drift(probe: Option<&str>, document: &RunDocument) -> Result<String, String> {
    let probes =
        document.probes.iter().filter(|one| probe.is_none_or(|name| name == one.name) && one.was_recorded());
    let texts: Vec<String> =
        probes.map(|probe| format!("{}\n{}", probe.name, snapshot::snapshot_text(probe))).collect();
    if texts.is_empty() {
        return Err("no probe recorded a stack".into());
    }
    Ok(format!("stacks {}", cache::key(texts.iter().map(String::as_bytes))))
}

fn fidelity(probe: &str, percent: u32, document: &RunDocument) -> Result<String, String> {
    let Some(probe) = document.probes.iter().find(|one| one.name == probe) else {
        return Err(format!("there is no result of the probe `{probe}`"));
    };
    let measured: Vec<_> = probe.stacks.iter().filter_map(|stack| stack.fidelity).collect();
    if measured.is_empty() {
        return Err(format!("nothing to measure the stacks of `{}` against", probe.name));
    }
    let enough = measured
        .iter()
        .all(|fidelity| fidelity.matched_frames * 100 >= fidelity.reference_frames * u64::from(percent));
    Ok(if enough { "holds" } else { "fails" }.into())
}

fn predicate_answer(output: &str) -> Result<String, String> {
    let said = output
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(STATUS_MARKER))
        .map(|rest| rest.trim().parse());
    match said {
        Some(Ok(0)) => Ok("holds".into()),
        Some(Ok(1..=124 | 126 | 127)) => Ok("fails".into()),
        Some(Ok(status)) => Err(format!("the predicate ended with status {status}")),
        _ => Err("the predicate did not end".into()),
    }
}

#[cfg(test)]
mod tests;

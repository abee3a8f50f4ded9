//! The survey: every reporter of stacks in every situation, each beside the truth.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::run::{self, RunError, RunOptions};
use crate::scenario::{Scenario, ScenarioError};
use crate::workspace::Workspace;
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::kernel::{Kernel, KernelError};
use kshot_guest::probe::{ProbeError, TruthError};
use kshot_guest::progress::Progress;
use kshot_guest::yaml;
use kshot_stack::fault::{Blame, Fault, error_chain};
use kshot_stack::survey::{Finding, SurveyCell};
use kshot_stack::text::quote;

/// The largest `images/survey.yaml`, in bytes.
const BYTES_MOST: u64 = 1 << 20;
/// The name of the truth's probe.
const TRUTH: &str = "gdb";

/// A situation in which stacks are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Situation {
    /// The name.
    pub name: String,
    /// The function whose stack is taken.
    pub function: String,
    /// What calls the function, a shell command in the guest.
    #[serde(rename = "while")]
    pub command: String,
    /// How often the command runs.
    #[serde(default = "once")]
    pub repeat: u32,
    /// What is done before, a shell script in the guest.
    #[serde(default)]
    pub setup: Option<String>,
    /// Kernel options that it needs, without `CONFIG_`.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The reporters that would end it.
    #[serde(default)]
    pub without: Vec<String>,
}

/// A reporter of stacks: a way in which the kernel tells them.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    /// The name, also of its probe.
    pub name: &'static str,
    /// What it is, in words that follow the function's name.
    pub summary: &'static str,
    /// The script that arms it, with the function's name, and its probe.
    arm: fn(&str) -> (Option<String>, Value),
}

/// Every reporter.
pub const REPORTERS: &[Reporter] = &[
    Reporter {
        name: "func_stack_trace",
        summary: "by the function tracer with options/func_stack_trace",
        // Armed by a step and not by boot options: nothing of the boot is recorded, and all share a saved guest.
        arm: |function| {
            let script = format!(
                "cd /sys/kernel/tracing && echo {} > set_ftrace_filter && echo 1 > options/func_stack_trace && \
                 echo function > current_tracer",
                quote(function)
            );
            (Some(script), json!({ "ftrace": { "only": [function] } }))
        },
    },
    Reporter {
        name: "function-command",
        summary: "by the function command FUNCTION:stacktrace",
        arm: |function| {
            let filter = quote(&format!("{function}:stacktrace"));
            (Some(format!("echo {filter} > /sys/kernel/tracing/set_ftrace_filter")), json!({ "ftrace": {} }))
        },
    },
    Reporter {
        name: "kprobe-trigger",
        summary: "by a kprobe event's `stacktrace` trigger",
        arm: |function| (None, kprobe(function, "trigger")),
    },
    Reporter {
        name: "kprobe-option",
        summary: "by a kprobe event under options/stacktrace",
        arm: |function| (None, kprobe(function, "option")),
    },
    Reporter {
        name: "perf",
        summary: "by perf record -g on a kprobe",
        arm: |function| (None, json!({ "perf": { "probe": function, "call-graph": "fp" } })),
    },
];

fn kprobe(function: &str, stacktrace: &str) -> Value {
    json!({ "kprobe": { "event": format!("p:kshot/hit {function}"), "stacktrace": stacktrace } })
}

fn once() -> u32 {
    1
}

/// The situations of `images/survey.yaml`.
///
/// # Errors
/// [`KernelError::File`] or [`KernelError::Yaml`].
pub fn situations(workspace: &Workspace) -> Result<Vec<Situation>, KernelError> {
    let path = workspace.images().survey_yaml();
    let text = bounded::read_text(&path, BYTES_MOST).map_err(FileError::on("read", &path))?;
    Ok(yaml::from_str("images/survey.yaml", &text)?)
}

/// One reporter in one situation, with the truth beside it. One reporter a scenario, so that none is on the others'
/// stacks.
#[derive(Debug)]
pub struct Question<'a> {
    situation: &'a Situation,
    reporter: &'static Reporter,
    /// What is run to answer it.
    pub scenario: Scenario,
}

/// What a question came to.
#[derive(Debug)]
pub struct Answer {
    /// The cell of the survey.
    pub cell: SurveyCell,
    /// QEMU's version, where a machine was run.
    pub qemu: Option<String>,
}

/// Every reporter in each of the situations. `kernels` are the names of the catalogue.
///
/// # Errors
/// [`ScenarioError::Yaml`]: a name that cannot be a function's.
pub fn questions<'a>(
    situations: &'a [Situation],
    kernels: &[&str],
) -> Result<Vec<Question<'a>>, ScenarioError> {
    let pairs =
        situations.iter().flat_map(|situation| REPORTERS.iter().map(move |reporter| (situation, reporter)));
    let pairs =
        pairs.filter(|(situation, reporter)| !situation.without.iter().any(|name| name == reporter.name));
    let question = |(situation, reporter)| {
        Ok(Question { situation, reporter, scenario: scenario(situation, reporter, kernels)? })
    };
    pairs.map(question).collect()
}

impl Question<'_> {
    /// Runs the scenario on a kernel.
    ///
    /// # Errors
    /// [`RunError`], where it is the host's or the user's. What a probe or the kernel's options fail with is a finding, and
    /// costs the other cells nothing.
    pub fn ask(
        &self,
        workspace: &Workspace,
        kernel: &Kernel,
        progress: &Progress,
    ) -> Result<Answer, RunError> {
        let (situation, reporter) = (self.situation, self.reporter.name);
        let outcome = match run::run(workspace, &self.scenario, kernel, &RunOptions::default(), progress) {
            Ok(outcome) => Ok(outcome),
            Err(error) if is_of_cell(&error) => Err(error_chain(&error)),
            Err(error) => return Err(error),
        };
        let (finding, folder, qemu) = match outcome {
            Ok(outcome) => {
                let finding = Finding::of(&outcome.document, reporter, TRUTH);
                let folder = outcome.folder.file_name().map(|name| name.to_string_lossy().into_owned());
                (finding, folder, Some(outcome.document.qemu))
            }
            Err(because) => (Finding::NotMeasured { because }, None, None),
        };
        let (situation, function) = (situation.name.clone(), situation.function.clone());
        let cell = SurveyCell { situation, function, reporter: reporter.into(), finding, folder };
        Ok(Answer { cell, qemu })
    }
}

/// Whether an error is of one cell alone, and not of the host or the user, which would spoil all of them.
fn is_of_cell(error: &RunError) -> bool {
    match error {
        _ if error.blame() == Blame::Interrupted => false,
        RunError::Probe(ProbeError::File(_) | ProbeError::Guest(_)) => false,
        RunError::Probe(ProbeError::Truth(TruthError::File(_) | TruthError::Start(_))) => false,
        RunError::Probe(_) | RunError::Kernel(KernelError::MissingOptions { .. }) => true,
        error => error.blame() == Blame::Input,
    }
}

fn scenario(situation: &Situation, reporter: &Reporter, kernels: &[&str]) -> Result<Scenario, ScenarioError> {
    let function = &situation.function;
    let (script, mut probe) = (reporter.arm)(function);
    probe["name"] = json!(reporter.name);
    let mut steps: Vec<Value> = situation.setup.iter().map(|script| json!({ "run": script })).collect();
    steps.extend(script.map(|script| json!({ "run": script })));
    steps.push(json!({ "run": situation.command, "repeat": situation.repeat }));
    let text = json!({
        "summary": format!("{function} {}", reporter.summary),
        "kernels": ["*"],
        "requires": situation.requires,
        "steps": steps,
        "probes": [{ "gdb": { "break": function }, "name": TRUTH }, probe],
    });
    // JSON is YAML, and so the names meet the same rules as in a scenario's file.
    let id = format!("survey/{}", reporter.name);
    Scenario::parse(&id, "the survey", &text.to_string(), kernels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_guest::machine::MachineError;

    #[test]
    fn a_probe_that_fails_is_a_finding_and_a_host_that_fails_is_none() {
        let failed = ProbeError::ToolFailed {
            probe: "perf".into(),
            doing: "making the kprobe of probe:f".into(),
            status: 254,
            said: "no symbol".into(),
        };
        assert!(is_of_cell(&failed.into()));
        assert!(is_of_cell(&ProbeError::from(TruthError::Silent).into()));
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unwritten = FileError { action: "write", path: "perf.data".into(), source: full() };
        assert!(!is_of_cell(&ProbeError::from(unwritten).into()));
        assert!(!is_of_cell(&ProbeError::from(TruthError::Start(full())).into()));
        assert!(!is_of_cell(&MachineError::Folder(full()).into()));
    }
}

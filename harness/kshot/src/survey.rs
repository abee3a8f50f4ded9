//! The survey: every reporter of stacks in every situation, each beside the truth. The reporters of a
//! situation are asked one after the other in one guest, which is put back in between.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::run::{self, RunContext, RunError, RunOptions, RunOutcome, SharedGuest};
use crate::scenario::{Scenario, ScenarioError};
use crate::workspace::Workspace;
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::kernel::KernelError;
use kshot_guest::probe::{ProbeError, TruthError};
use kshot_guest::yaml;
use kshot_stack::blame::{Blame, Blamed, error_chain};
use kshot_stack::stack::kallsyms::Kallsyms;
use kshot_stack::survey::{Finding, SurveyCell};
use kshot_stack::text::quote;

/// The largest `images/survey.yaml`, in bytes.
const BYTES_MOST: u64 = 1 << 20;
/// The name of the truth's probe.
const TRUTH: &str = "gdb";
/// What the run folders of shared guests are called.
const GUEST: &str = "survey/guest";

/// A situation in which stacks are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Situation {
    /// The name.
    pub name: String,
    /// The function whose stack is taken.
    pub function: String,
    /// A shell command in the guest that calls the function.
    #[serde(rename = "while")]
    pub command: String,
    /// How often the command runs.
    #[serde(default = "once")]
    pub repeat: u32,
    /// A shell script that runs in the guest before the command.
    #[serde(default)]
    pub setup: Option<String>,
    /// A shell script that undoes `setup` for the next reporter.
    #[serde(default)]
    pub undo: Option<String>,
    /// Kernel options that it needs, without `CONFIG_`.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The reporters that would destroy the situation.
    #[serde(default)]
    pub without: Vec<String>,
    /// The gdb probe's `hits`: more than the number of calls by other tasks before the command's.
    #[serde(default = "hits")]
    pub hits: u32,
    /// The tracepoint below the function, as `GROUP:NAME`.
    #[serde(default)]
    pub tracepoint: Option<String>,
    /// The file in which the command leaves the process id of a task that sleeps below the function.
    #[serde(default)]
    pub sleeper: Option<String>,
    /// Whether the function makes the kernel print its stack on the console.
    #[serde(default)]
    pub console: bool,
    /// Whether the guest gets a non-maskable interrupt before the command.
    #[serde(default)]
    pub nmi: bool,
}

/// A reporter of stacks: a way in which the kernel tells them.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    /// The name, also of its probe.
    pub name: &'static str,
    /// What it is, in words that follow the function's name.
    pub summary: &'static str,
    /// How it is asked in a situation; `None` where the situation has nothing for it.
    ask: fn(&Situation) -> Option<Request>,
}

/// How a reporter is asked.
struct Request {
    /// The script that arms it, a step.
    script: Option<String>,
    /// The reporter's probe, as in a scenario.
    probe: Value,
    /// Kernel options that it needs, without `CONFIG_`.
    requires: &'static [&'static str],
}

/// Every reporter. What a probe does not arm itself is armed by a step and not by boot options: nothing of
/// the boot is recorded, and all share a saved guest.
pub const REPORTERS: &[Reporter] = &[
    Reporter {
        name: "func_stack_trace",
        summary: "by the function tracer with options/func_stack_trace",
        ask: |situation| {
            let script = format!(
                "cd /sys/kernel/tracing && echo {} > set_ftrace_filter && echo 1 > options/func_stack_trace && \
                 echo function > current_tracer",
                quote(&situation.function)
            );
            Some(Request::of(json!({ "ftrace": { "only": [situation.function] } })).armed_by(script))
        },
    },
    Reporter {
        name: "function-command",
        summary: "by the function command FUNCTION:stacktrace",
        ask: |situation| {
            let filter = quote(&format!("{}:stacktrace", situation.function));
            let script = format!("echo {filter} > /sys/kernel/tracing/set_ftrace_filter");
            Some(Request::of(json!({ "ftrace": {} })).armed_by(script))
        },
    },
    Reporter {
        name: "kprobe-trigger",
        summary: "by a kprobe event's `stacktrace` trigger",
        ask: |situation| Some(kprobe(&situation.function, "trigger")),
    },
    Reporter {
        name: "kprobe-option",
        summary: "by a kprobe event under options/stacktrace",
        ask: |situation| Some(kprobe(&situation.function, "option")),
    },
    Reporter {
        name: "event-trigger",
        summary: "by the `stacktrace` trigger of a tracepoint below it",
        ask: |situation| {
            let event = situation.tracepoint.as_ref()?.replacen(':', "/", 1);
            let script = format!(
                "cd /sys/kernel/tracing/events/{} && echo stacktrace > trigger && echo 1 > enable",
                quote(&event)
            );
            // The event has another name than the function.
            let read = "cd /sys/kernel/tracing && echo 1 > options/sym-addr && echo 1 > options/sym-offset && cat trace";
            let text = json!({ "run": read, "format": "ftrace", "function": situation.function });
            Some(Request::of(json!({ "text": text })).armed_by(script))
        },
    },
    Reporter {
        name: "perf",
        summary: "by perf record -g on a kprobe",
        ask: |situation| {
            Some(Request::of(json!({ "perf": { "probe": situation.function, "call-graph": "fp" } })))
        },
    },
    Reporter {
        name: "bpf-kprobe",
        summary: "by bpf_get_stack() of a BPF program on a kprobe",
        ask: |situation| Some(Request::of(json!({ "bpf": { "kprobe": situation.function } }))),
    },
    Reporter {
        name: "bpf-fentry",
        summary: "by bpf_get_stack() of a BPF program on BPF's own trampoline",
        ask: |situation| Some(Request::of(json!({ "bpf": { "fentry": situation.function } }))),
    },
    Reporter {
        name: "stack-tracer",
        summary: "by the stack tracer",
        ask: |situation| {
            let script = format!(
                "cd /sys/kernel/tracing && echo {} > stack_trace_filter && echo 0 > stack_max_size && \
                 echo 1 > /proc/sys/kernel/stack_tracer_enabled",
                quote(&situation.function)
            );
            // The stack tracer is switched off before its file is read, because the file must not change
            // meanwhile.
            let read = "echo 0 > /proc/sys/kernel/stack_tracer_enabled; cat /sys/kernel/tracing/stack_trace";
            let request = Request::of(json!({ "text": { "run": read, "format": "stack-tracer" } }));
            Some(Request { requires: &["STACK_TRACER"], ..request }.armed_by(script))
        },
    },
    Reporter {
        name: "proc-stack",
        summary: "by /proc/PID/stack of the task that sleeps below it",
        ask: |situation| {
            let read = format!("cat /proc/$(cat {})/stack", quote(situation.sleeper.as_ref()?));
            Some(Request::of(json!({ "text": { "run": read, "format": "proc-stack" } })))
        },
    },
    Reporter {
        name: "console",
        summary: "by a call trace on the console",
        ask: |situation| {
            let text = json!({ "from": "console", "format": "call-trace", "function": situation.function });
            situation.console.then(|| Request::of(json!({ "text": text })))
        },
    },
];

impl Request {
    fn of(probe: Value) -> Self {
        Self { script: None, probe, requires: &[] }
    }

    fn armed_by(self, script: String) -> Self {
        Self { script: Some(script), ..self }
    }
}

fn kprobe(function: &str, stacktrace: &str) -> Request {
    let event = format!("p:kshot/hit {function}");
    Request::of(json!({ "kprobe": { "event": event, "stacktrace": stacktrace } }))
}

fn once() -> u32 {
    1
}

fn hits() -> u32 {
    100
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

/// One cell to be measured: a reporter in a situation, beside the truth. Each scenario has one reporter, so
/// that no reporter shows up in another's stacks.
#[derive(Debug)]
pub struct Question<'a> {
    situation: &'a Situation,
    reporter: &'static Reporter,
    /// What is run to answer it.
    pub scenario: Scenario,
}

/// The result of one measurement.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The cell of the survey.
    pub cell: SurveyCell,
    /// QEMU's version, where a machine was run.
    pub qemu: Option<String>,
    /// Whether the host kept it from being measured.
    pub host_failed: bool,
}

/// Every reporter in each of the situations that have something for it, situation by situation. `area` is
/// what the ids of their scenarios begin with; `kernels` are the names of the catalogue.
///
/// # Errors
/// [`ScenarioError::Yaml`]: a name that cannot be a function's.
pub fn questions<'a>(
    area: &str,
    situations: &'a [Situation],
    kernels: &[&str],
) -> Result<Vec<Question<'a>>, ScenarioError> {
    let mut questions = Vec::new();
    for situation in situations {
        for reporter in
            REPORTERS.iter().filter(|reporter| !situation.without.iter().any(|name| name == reporter.name))
        {
            if let Some(request) = (reporter.ask)(situation) {
                let scenario = scenario(area, situation, reporter, request, kernels)?;
                questions.push(Question { situation, reporter, scenario });
            }
        }
    }
    Ok(questions)
}

/// `None` if a kernel has a situation's function. Otherwise some functions with similar names. The command
/// runs first, because it may load a module.
///
/// # Errors
/// [`RunError`]: there is no guest to ask.
pub fn without_function(
    context: RunContext<'_>,
    situation: &Situation,
) -> Result<Option<Vec<String>>, RunError> {
    const SHOWN: usize = 5;
    let Situation { function, command, .. } = situation;
    let script = format!(
        "sh -c {} < /dev/null > /dev/null 2>&1
         grep -w -F -e {function} /proc/kallsyms
         grep -F -e {function} /proc/kallsyms | head -n 100",
        quote(command),
        function = quote(function)
    );
    let mut guest = SharedGuest::start(context, GUEST)?;
    let symbols = guest.output(&script)?;
    guest.end(context.progress);
    // Reading from memory does not fail.
    let symbols = Kallsyms::read(&symbols[..]).unwrap_or_default();
    let mut names: Vec<String> = symbols.functions().map(|(name, _)| name.to_owned()).collect();
    if names.contains(function) {
        return Ok(None);
    }
    names.sort_by_key(|name| name.len());
    names.dedup();
    names.truncate(SHOWN);
    Ok(Some(names))
}

/// The questions of each situation, which share a guest.
pub fn by_situation<'a, 'b>(questions: &'b [Question<'a>]) -> Vec<&'b [Question<'a>]> {
    questions.chunk_by(|one, other| std::ptr::eq(one.situation, other.situation)).collect()
}

/// Asks the questions of one situation on a kernel.
///
/// # Errors
/// [`RunError`] if the user is to blame, or after Ctrl-C. Any other error is the finding of its cell and does
/// not affect the others.
pub fn ask(questions: &[Question<'_>], context: RunContext<'_>) -> Result<Vec<Answer>, RunError> {
    let mut guest = None;
    let answers = questions.iter().map(|question| question.ask(&mut guest, context));
    let answers = answers.collect::<Result<_, _>>()?;
    if let Some(guest) = guest {
        guest.end(context.progress);
    }
    Ok(answers)
}

impl Question<'_> {
    /// Asks in the shared guest, or in a new one, which is left there for the next if it could be put back.
    fn ask(&self, guest: &mut Option<SharedGuest>, context: RunContext<'_>) -> Result<Answer, RunError> {
        let RunContext { workspace, kernel, .. } = context;
        let (situation, reporter) = (self.situation, self.reporter.name);
        let mut host_failed = false;
        let outcome = match kernel.check_options(&workspace.images(), &self.scenario.option_users()) {
            Err(missing @ KernelError::MissingOptions { .. }) => Err(error_chain(&missing)),
            checked => {
                checked?;
                match self.run(guest, context) {
                    Ok(outcome) => Ok(outcome),
                    Err(error) if is_of_cell(&error) => Err(error_chain(&error)),
                    Err(error) if error.blame() == Blame::Host => {
                        host_failed = true;
                        Err(error_chain(&error))
                    }
                    Err(error) => return Err(error),
                }
            }
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
        Ok(Answer { cell, qemu, host_failed })
    }

    fn run(&self, guest: &mut Option<SharedGuest>, context: RunContext<'_>) -> Result<RunOutcome, RunError> {
        let progress = context.progress;
        let shared = match guest.take() {
            Some(shared) => Ok(shared),
            None => SharedGuest::start(context, GUEST),
        };
        let asked = shared.and_then(|shared| {
            let shared = shared.run(context, &self.scenario)?;
            *guest = shared.guest.reset(&self.reset_script(), progress)?;
            Ok((shared.outcome, shared.refused))
        });
        match asked {
            Ok((outcome, refused)) if refused || !outcome.document.probes.is_empty() => return Ok(outcome),
            Err(error) if error.blame() == Blame::Interrupted => return Err(error),
            Err(error) => {
                let (name, why) = (&self.scenario.summary, error_chain(&error));
                progress.print_line(&format!("{name}: repeating in a fresh guest: {why}"));
            }
            Ok(_) => {}
        }
        // Earlier reporters in this guest may have caused the failure: repeat the measurement in a fresh
        // guest, which gets the slot of this one.
        if let Some(guest) = guest.take() {
            guest.end(progress);
        }
        run::run(context, &self.scenario, &RunOptions::default())
    }

    /// The script that undoes what any reporter has done, and fails where something is left.
    fn reset_script(&self) -> String {
        let Situation { undo, tracepoint, .. } = self.situation;
        let undo = undo.as_deref().unwrap_or(":");
        let event = tracepoint.as_ref().map_or_else(
            || ":".into(),
            |tracepoint| {
                let event = quote(&tracepoint.replacen(':', "/", 1));
                format!("echo 0 > events/{event}/enable; echo '!stacktrace' > events/{event}/trigger")
            },
        );
        format!("{undo}\n{RESET}\n{event}\n{IS_RESET}")
    }
}

/// Undoes the steps of all reporters, and removes what a failed one left and perf's kprobes.
const RESET: &str = r#"cd /sys/kernel/tracing || exit
exec 2> /dev/null
echo nop > current_tracer
echo 0 > options/func_stack_trace
echo 0 > options/stacktrace
echo 0 > options/sym-addr
echo 0 > options/sym-offset
sed -n 's/^\([^#:]*\):stacktrace:.*/!\1:stacktrace/p' set_ftrace_filter > /tmp/commands
while read -r command; do echo "$command" >> set_ftrace_filter; done < /tmp/commands
echo > set_ftrace_filter
if [ -e stack_trace_filter ]; then
    echo 0 > /proc/sys/kernel/stack_tracer_enabled
    echo > stack_trace_filter
fi
echo > kprobe_events
echo > trace
echo 1 > tracing_on
rm -rf /tmp/kshot-*"#;

/// Succeeds where no function is traced, no kprobe is left and nothing was recorded.
const IS_RESET: &str = r#"[ "$(cat current_tracer)" = nop ] && [ -z "$(cat kprobe_events enabled_functions)" ] && ! grep -qv '^#' trace"#;

/// Whether an error concerns one cell only. An error of the host or the user would spoil all cells.
fn is_of_cell(error: &RunError) -> bool {
    match error {
        _ if error.blame() == Blame::Interrupted => false,
        RunError::Probe(ProbeError::File(_) | ProbeError::Guest(_)) => false,
        RunError::Probe(ProbeError::Truth(TruthError::File(_) | TruthError::Start(_))) => false,
        RunError::Probe(_) | RunError::Kernel(KernelError::MissingOptions { .. }) => true,
        error => error.blame() == Blame::Input,
    }
}

fn scenario(
    area: &str,
    situation: &Situation,
    reporter: &Reporter,
    request: Request,
    kernels: &[&str],
) -> Result<Scenario, ScenarioError> {
    let function = &situation.function;
    let Request { script, mut probe, requires } = request;
    probe["name"] = json!(reporter.name);
    let mut steps: Vec<Value> = situation.setup.iter().map(|script| json!({ "run": script })).collect();
    steps.extend(script.map(|script| json!({ "run": script })));
    steps.push(json!({ "run": situation.command, "repeat": situation.repeat, "nmi": situation.nmi }));
    let requires: Vec<&str> =
        situation.requires.iter().map(String::as_str).chain(requires.iter().copied()).collect();
    let text = json!({
        "summary": format!("{function} {}", reporter.summary),
        "kernels": ["*"],
        "requires": requires,
        "steps": steps,
        "probes": [{ "gdb": { "break": function, "hits": situation.hits }, "name": TRUTH }, probe],
    });
    // JSON is YAML, and so the names meet the same rules as in a scenario's file.
    let id = format!("{area}/{}", reporter.name);
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
        assert!(is_of_cell(&ProbeError::from(TruthError::EndedEarly).into()));
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unwritten = FileError { action: "write", path: "perf.data".into(), source: full() };
        assert!(!is_of_cell(&ProbeError::from(unwritten).into()));
        assert!(!is_of_cell(&ProbeError::from(TruthError::Start(full())).into()));
        assert!(!is_of_cell(&MachineError::Folder(full()).into()));
    }
}

//! `kshot stack`: the stacks of one function, by every reporter beside the truth, without a scenario's file.

use serde_json::{Value, json};

use super::{CommandError, Format, RunArgs, Streams, select, workspace};
use crate::report;
use crate::run::{self, RunOptions};
use crate::scenario::Scenario;
use kshot_stack::document::Verdict;
use kshot_stack::exit::ExitCode;
use kshot_stack::text::quote;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The function
    function: String,
    /// The kernel: a name of the catalogue, a build folder (../linux) or a file (./vmlinux)
    #[arg(long, value_name = "KERNEL")]
    kernel: String,
    /// What calls the function: a shell command in the guest
    #[arg(long = "while", value_name = "COMMAND")]
    command: String,
    /// Run the command N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    #[command(flatten)]
    common: RunArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(self.common.out.as_ref())?;
        let catalogue = workspace.catalogue()?;
        let scenarios = self.scenarios(&catalogue.names())?;
        let mut kernel = select::single_kernel(&workspace, &catalogue, &self.kernel, &streams.progress)?;
        // There is nothing that its stacks could have drifted from.
        kernel.in_catalogue = false;
        let options = RunOptions { start_policy: self.common.starts(), ..RunOptions::default() };
        let mut exits = Vec::new();
        for scenario in scenarios {
            let outcome = run::run(&workspace, &scenario, &kernel, &options, &streams.progress)?;
            let document = &outcome.document;
            match self.common.format {
                Format::Json => writeln!(streams.out, "{}", document.to_json_line())?,
                Format::Table => {
                    writeln!(streams.out, "{}: {} ({})", scenario.summary, kernel.name, kernel.release)?;
                    write!(streams.out, "{}", report::stacks_table(document))?;
                    if document.verdict != Verdict::Match {
                        document.reasons.iter().try_for_each(|why| writeln!(streams.out, "  {why}"))?;
                    }
                    writeln!(streams.out, "artifacts: {}\n", outcome.folder.display())?;
                }
            }
            streams.out.flush()?;
            exits.push(ExitCode::from(document.verdict));
        }
        Ok(ExitCode::worst(exits))
    }

    /// A scenario a mechanism, so that none is on the others' stacks.
    fn scenarios(&self, kernels: &[&str]) -> Result<Vec<Scenario>, CommandError> {
        let function = &self.function;
        let truth = json!({ "gdb": { "break": function } });
        let kprobe = |stacktrace: &str| json!({ "kprobe": { "event": format!("p:kshot/hit {function}"), "stacktrace": stacktrace } });
        // Armed by a step and not by boot options: nothing of the boot is recorded, and all share a saved guest.
        let tracer = format!(
            "cd /sys/kernel/tracing && echo {} > set_ftrace_filter && echo 1 > options/func_stack_trace && \
             echo function > current_tracer",
            quote(function)
        );
        let mechanisms = [
            (
                "ftrace",
                "by the function tracer (func_stack_trace)",
                vec![json!({ "run": tracer })],
                json!({ "ftrace": { "only": [function] } }),
            ),
            (
                "perf",
                "by perf on a kprobe",
                Vec::new(),
                json!({ "perf": { "probe": function, "call-graph": "fp" } }),
            ),
            ("trigger", "by a kprobe event's `stacktrace` trigger", Vec::new(), kprobe("trigger")),
            ("option", "by a kprobe event under options/stacktrace", Vec::new(), kprobe("option")),
        ];
        let scenario = |(name, summary, mut steps, probe): (_, _, Vec<Value>, _)| {
            steps.push(json!({ "run": self.command, "repeat": self.repeat }));
            let text = json!({
                "summary": format!("{function} {summary}"), "kernels": ["*"], "probes": [truth, probe], "steps": steps,
            });
            // JSON is YAML, and so the function's name meets the same rules as in a scenario's file.
            let id = format!("stack/{name}");
            Scenario::parse(&id, "the command line", &text.to_string(), kernels).map_err(CommandError::from)
        };
        mechanisms.into_iter().map(scenario).collect()
    }
}

//! `kshot stack`: the stacks of one function, by every reporter beside the truth, without a scenario's file.

use super::select::Selector;
use super::{Accel, CommandError, Format, OutputArgs, Streams, prune_runs, start_policy};
use crate::artifacts::RunTime;
use crate::report;
use crate::run::{self, RunContext, RunError, RunOptions};
use crate::survey::{self, Question, Situation};
use kshot_guest::kernel::KernelError;
use kshot_stack::document::{Reason, Verdict};
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The function
    function: String,
    /// The kernel: a name of the catalogue, a build folder (../linux) or a file (./vmlinux)
    #[arg(long, value_name = "KERNEL")]
    kernel: String,
    /// A shell command in the guest that calls the function
    #[arg(long = "while", value_name = "COMMAND")]
    command: String,
    /// Run the command N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// What runs the guest's code
    #[arg(long, value_enum, default_value_t)]
    accel: Accel,
    /// Always boot, even if there is a saved state
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.output.out.as_ref())?;
        check_words(&self.function, &self.command)?;
        let began = RunTime::now();
        let situation = Situation {
            name: "stack".into(),
            function: self.function,
            command: self.command,
            repeat: self.repeat,
            setup: None,
            requires: Vec::new(),
            without: Vec::new(),
            undo: None,
            hits: 100,
            tracepoint: None,
            sleeper: None,
            console: false,
            nmi: false,
        };
        let questions =
            survey::questions("stack", std::slice::from_ref(&situation), &select.catalogue.names())?;
        let kernel = select.single_kernel(&self.kernel, &streams.progress)?;
        let kernel = kernel.without_snapshots();
        let options = RunOptions {
            start_policy: start_policy(self.cold),
            accelerator: self.accel.into(),
            ..RunOptions::default()
        };
        let context = select.context(&kernel, &streams.progress);
        let (mut exits, mut refused, mut called) = (Vec::new(), None, true);
        for Question { scenario, .. } in questions {
            let outcome = match run::run(context, &scenario, &options) {
                // A kernel need not have every reporter.
                Err(RunError::Kernel(error @ KernelError::MissingOptions { .. })) => {
                    streams.progress.print_line(&format!("left out: {}: {error}", scenario.summary));
                    refused = Some(error);
                    continue;
                }
                outcome => outcome?,
            };
            let document = &outcome.document;
            let is_silent = document.probes.iter().all(|probe| probe.stacks.is_empty());
            let has_failed = document.reasons.iter().any(|why| matches!(why, Reason::GuestFailed { .. }));
            if exits.is_empty() && is_silent && !has_failed {
                check_function(context, &situation)?;
                streams.progress.print_line(&format!("the command did not call `{}`", situation.function));
                called = false;
            }
            match self.output.format {
                Format::Json => writeln!(streams.out, "{}", document.to_json_line())?,
                Format::Table => {
                    writeln!(streams.out, "{}: {} ({})", scenario.summary, kernel.name, kernel.release)?;
                    write!(streams.out, "{}", report::stacks_table(document))?;
                    if document.verdict != Verdict::Match {
                        document
                            .reasons
                            .iter()
                            .try_for_each(|why| writeln!(streams.out, "{}", why.indented()))?;
                    }
                    writeln!(streams.out, "artifacts: {}\n", outcome.folder.display())?;
                }
            }
            streams.out.flush()?;
            exits.push(ExitCode::from(document.verdict));
        }
        prune_runs(&select.workspace, &began, &streams.progress);
        match refused {
            Some(error) if exits.is_empty() => Err(RunError::from(error).into()),
            _ if !called => Ok(ExitCode::worst([ExitCode::CannotTell].into_iter().chain(exits))),
            _ => Ok(ExitCode::worst(exits)),
        }
    }
}

/// Checks that the arguments are a function name and a command, before they become part of a scenario.
fn check_words(function: &str, command: &str) -> Result<(), CommandError> {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || "_.$".contains(char);
    if function.is_empty() || !function.chars().all(is_of_name) {
        let message = format!("`{}` cannot be the name of a function", function.escape_debug());
        return Err(CommandError::usage(message, "use letters, digits and `_.$` only, as in /proc/kallsyms"));
    }
    if command.trim().is_empty() {
        return Err(CommandError::usage("--while is empty", "give the command that calls the function"));
    }
    Ok(())
}

/// Checks that a kernel from which no stack came has the function at all.
fn check_function(context: RunContext<'_>, situation: &Situation) -> Result<(), CommandError> {
    let kernel = context.kernel;
    let Some(similar) = survey::without_function(context, situation)? else {
        return Ok(());
    };
    let hint = match &similar[..] {
        [] => format!("/proc/kallsyms lists the kernel's functions: kshot shell {}", kernel.name),
        names => format!("it has {}", names.join(", ")),
    };
    Err(CommandError::usage(format!("kernel {} has no function `{}`", kernel.name, situation.function), hint))
}

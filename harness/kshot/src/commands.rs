//! The command line: one file a command. Commands write to the streams they are given and return an exit
//! code.

mod bisect; // find where a stack changed, over versions or over commits
mod bisect_step; // test one kernel and report the result by the exit code
mod cache; // shows and prunes the cache
mod check; // judges every scenario on every provisioned kernel against the snapshots, without a test runner
mod compare; // shows the stacks of one scenario on two kernels, side by side
mod config; // what a kernel's configuration lacks, as a Kconfig fragment
mod doctor; // what this host lacks, and the command that mends it
mod error; // the one error at the edge
mod export; // pack a run into an archive, and unpack it
mod history; // what became of a scenario, night by night
mod init; // a workspace of one's own, so that scenarios live beside the code that they guard
mod list; // lists the scenarios, the kernels, and which kernels are provisioned
mod nightly; // judges every scenario on every kernel, into one result folder
mod output; // standard output that survives a closed pipe
mod pairs; // what `run` and `check` have in common
mod paths; // the command line's paths, checked
mod panics; // kshot's own panics
mod provision; // downloads or builds kernels and the guest's userland
mod question; // the options that the bisecting commands share
mod record; // claims and snapshots out of a run, for a person to look at and to accept
mod report; // shows an earlier run as a table, a document, or a mail to a kernel list
mod run; // boots, replays and judges
mod schema; // the JSON Schemas of scenarios and documents
mod select; // words of a command line to scenarios and kernels
mod shell; // boots a kernel and logs in
mod stack; // the stacks of one function, by every reporter beside the truth, without a scenario's file
mod stacks; // the stacks in texts that somebody else has recorded
mod survey; // every reporter of stacks in every situation, against the truth, as a table
mod sweep; // measures how many stacks of whole kernels func_stack_trace records correctly
mod test; // the workspace's scenarios as tests, with the words and formats of `cargo test`
mod validate; // checks scenarios for errors
mod version; // --version

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::artifacts::{self, RunTime};
use crate::run::StartPolicy;
use crate::workspace::Workspace;
use kshot_guest::host::slots::Slots;
use kshot_guest::machine::AcceleratorChoice;
use kshot_guest::progress::Progress;
use kshot_stack::blame::error_chain;
use kshot_stack::exit::ExitCode;
use kshot_stack::text::count_noun;
use kshot_stack::text::escape_hidden;
use output::Output;

use error::CommandError;
pub use schema::SchemaKind;

/// Reproduces Linux kernel call stacks in QEMU and compares them with the truth.
#[derive(Debug, Parser)]
#[command(name = "kshot", version, long_version = version::OWN, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    match, or done; compare: equal; sweep: all stacks are true
  1    drift: the stacks are not what the snapshot or the claims say; compare: the
       stacks differ; sweep: a stack differs from the truth; verdict and bisect-step:
       bad; config: options are missing
  125  cannot tell: no build, no boot, unstable, no snapshot
  128  command line or environment   129  scenario or catalogue
  130  interrupted                   131  the host
  132  kshot itself: please report it";

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot kernels, replay scenarios, and judge the stacks
    Run(run::Args),
    /// Run every scenario on every provisioned kernel, compare with the snapshots, and show what drifted
    Check(check::Args),
    /// Show the stacks of one scenario on two kernels, side by side
    Compare(compare::Args),
    /// Judge every scenario on every kernel, and show what changed since earlier nights
    Nightly(nightly::Args),
    /// Show the results of a scenario, night by night
    History(history::Args),
    /// Show an earlier run as a table, as JSON, or as a mail to a kernel mailing list
    Report(report::Args),
    /// Pack a run into one archive that repeats it with QEMU alone
    Export(export::ExportArgs),
    /// Unpack an archive of `kshot export` and judge its run again
    Import(export::ImportArgs),
    /// Trace with func_stack_trace every function that a workload reaches, and compare each stack with the
    /// truth
    Sweep(sweep::Args),
    /// List the scenarios and the kernels, and which kernels are provisioned
    List(list::Args),
    /// Find where a stack changed, over versions or commits
    Bisect(Box<bisect::Args>),
    /// Build the kernel tree in the current folder and test it: for `git bisect run`
    BisectStep(bisect_step::StepArgs),
    /// Test your own kernel, and report the result by the exit code
    Verdict(bisect_step::VerdictArgs),
    /// Download or build kernels and the guest's userland
    Provision(provision::Args),
    /// Check scenarios for errors without booting
    Validate(validate::Args),
    /// Show one function's stacks as each tracing mechanism reports them, beside the truth
    Stack(stack::Args),
    /// Record stacks with each tracing mechanism in many situations, and compare them with the truth
    Survey(survey::Args),
    /// Create a workspace for a kernel of your own
    Init(init::Args),
    /// Run a scenario, and propose snapshots and claims from what it records
    Record(record::Args),
    /// Run the workspace's scenarios as tests
    Test(test::Args),
    /// Show what a kernel's configuration lacks for scenarios, as a Kconfig fragment
    Config(config::Args),
    /// Boot a kernel and log in
    Shell(shell::Args),
    /// Show what is in the cache, or prune it
    Cache(cache::Args),
    /// Check what this host is missing, and print the commands that fix it
    Doctor(doctor::Args),
    /// Show the stacks in console logs, traces, and other texts of your own
    Stacks(stacks::Args),
    /// Print a JSON Schema
    Schema(schema::Args),
}

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for a terminal.
    #[default]
    Table,
    /// JSON, one document a line.
    Json,
}

/// What runs a guest's code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Accel {
    /// QEMU translates it, so any guest runs on any host; snapshots are recorded this way
    #[default]
    Tcg,
    /// The host's processor runs it: guests of the host's own architecture
    Kvm,
    /// kvm where the host has it, else tcg
    Auto,
}

impl From<Accel> for AcceleratorChoice {
    fn from(accel: Accel) -> Self {
        match accel {
            Accel::Tcg => Self::Tcg,
            Accel::Kvm => Self::Kvm,
            Accel::Auto => Self::Auto,
        }
    }
}

/// Where the results of runs go.
#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Create run folders below DIR instead of ~/.local/state/kshot/runs
    #[arg(long, value_name = "DIR", value_parser = paths::folder())]
    out: Option<PathBuf>,
}

/// The arguments of the commands that run pairs of a scenario and a kernel.
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Always boot, even if there is a saved state
    #[arg(long)]
    cold: bool,
    /// Run N pairs in parallel; default: as many as this host has slots for
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl RunArgs {
    fn starts(&self) -> StartPolicy {
        start_policy(self.cold)
    }

    fn jobs(&self, workspace: &Workspace) -> usize {
        at_once(self.jobs, workspace)
    }
}

fn start_policy(cold: bool) -> StartPolicy {
    if cold { StartPolicy::Cold } else { StartPolicy::Warm }
}

/// How many machines run at once: as asked for, or as many as this host carries.
fn at_once(asked: Option<u16>, workspace: &Workspace) -> usize {
    asked.map_or_else(|| Slots::of_this_host(&workspace.cache).count(), usize::from)
}

/// The output streams of a command, and how it was called.
struct Streams<'a> {
    out: &'a mut dyn Write,
    progress: Progress,
    /// The words of the command line, behind the program's name.
    words: Vec<String>,
}

/// The command line as clap knows it: every command with its arguments and help.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the command line `args` (the program's name first): results go to `out`, errors to `err`.
pub fn main(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    panics::catch(out, err, |out, err| execute(args, out, err))
}

fn execute(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let words = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results. Everything else is an error, with our exit code instead of clap's
            // 2, which git bisect would read as bad.
            if error.use_stderr() {
                drop(write!(err, "{}", escape_hidden(&error.render().to_string())));
                return ExitCode::Usage;
            }
            let text = error.render().to_string();
            drop(write!(out, "{text}"));
            if text.contains(version::OWN) {
                drop(write!(out, "{}", version::of_tools()));
            }
            return ExitCode::Match;
        }
    };
    let mut out = Output::new(out);
    let mut streams = Streams { out: &mut out, progress: Progress::detect(), words };
    let result = match cli.verb {
        Command::Run(args) => args.execute(&mut streams),
        Command::Check(args) => args.execute(&mut streams),
        Command::Compare(args) => args.execute(&mut streams),
        Command::Nightly(args) => args.execute(&mut streams),
        Command::History(args) => args.execute(&mut streams),
        Command::Report(args) => args.execute(&mut streams),
        Command::Export(args) => args.execute(&mut streams),
        Command::Import(args) => args.execute(&mut streams),
        Command::Sweep(args) => args.execute(&mut streams),
        Command::List(args) => args.execute(&mut streams),
        Command::Bisect(args) => args.execute(&mut streams),
        Command::BisectStep(args) => args.execute(&mut streams),
        Command::Verdict(args) => args.execute(&mut streams),
        Command::Provision(args) => args.execute(&mut streams),
        Command::Validate(args) => args.execute(&mut streams),
        Command::Stack(args) => args.execute(&mut streams),
        Command::Survey(args) => args.execute(&mut streams),
        Command::Init(args) => args.execute(&mut streams),
        Command::Record(args) => args.execute(&mut streams),
        Command::Test(args) => args.execute(&mut streams),
        Command::Config(args) => args.execute(&mut streams),
        Command::Shell(args) => args.execute(&mut streams),
        Command::Cache(args) => args.execute(&mut streams),
        Command::Doctor(args) => args.execute(&mut streams),
        Command::Stacks(args) => args.execute(&mut streams),
        Command::Schema(args) => args.execute(&mut streams),
    };
    let result = result.and_then(|exit| streams.out.flush().map(|()| exit).map_err(Into::into));
    result.unwrap_or_else(|error| {
        drop(err.write_all(escape_hidden(&error.render()).as_bytes()));
        error.exit()
    })
}

/// Removes what old runs left, and says so. What cannot be removed is told, and changes no result.
fn prune_runs(workspace: &Workspace, began: &RunTime, progress: &Progress) {
    match artifacts::prune(&workspace.runs_folder, began) {
        Ok(0) => {}
        Ok(removed) => {
            let folders = count_noun(removed as u64, "old run folder");
            progress.print_line(&format!("removed {folders}; `kshot run --keep` protects a run's folder"));
        }
        Err(error) => {
            progress.print_line(&format!("old run folders could not be removed: {}", error_chain(&error)))
        }
    }
}

/// Finds the workspace; run folders go to `out` if it is given.
fn workspace(out: Option<&PathBuf>) -> Result<Workspace, CommandError> {
    if let Some(file) = out.filter(|out| out.exists() && !out.is_dir()) {
        return Err(CommandError::usage(
            format!("--out is {}, which is not a folder", file.display()),
            "give a folder; it is created if necessary",
        ));
    }
    Ok(Workspace::find(out.map(PathBuf::as_path))?)
}

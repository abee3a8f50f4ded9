//! `kshot bisect-step` and `kshot verdict`: test one kernel and report the result by the exit code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::question::{BuildArgs, QuestionArgs, template};
use super::select::Selector;
use super::{CommandError, Format, Streams, paths};
use crate::artifacts;
use crate::bisect::{self, AskedScenario, Question, TestResult};
use crate::run::RunContext;
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::host::{FileError, ScratchFolder};
use kshot_guest::kernel::{BuildPaths, Kernel};
use kshot_stack::exit::ExitCode;

/// The arguments that both commands share.
#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The scenario's id
    scenario: String,
    #[command(flatten)]
    question: QuestionArgs,
    /// With --text or --console: a match is good, and no match is bad
    #[arg(long, requires = "matched")]
    match_is_good: bool,
    /// Use only these probes of the scenario; can be given more than once
    #[arg(long, value_name = "PROBE")]
    only: Vec<String>,
    /// Run up to N times: one bad run is bad, N good runs are good
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..10_000))]
    runs: u32,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Create run folders below DIR instead of ~/.local/state/kshot/runs
    #[arg(long, value_name = "DIR", value_parser = paths::folder())]
    out: Option<PathBuf>,
}

/// Arguments of `kshot bisect-step`.
#[derive(Debug, clap::Args)]
pub(super) struct StepArgs {
    #[command(flatten)]
    test: TestArgs,
    #[command(flatten)]
    template: BuildArgs,
    /// The kernel's source tree, without build results in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    tree: PathBuf,
}

/// Arguments of `kshot verdict`.
#[derive(Debug, clap::Args)]
pub(super) struct VerdictArgs {
    #[command(flatten)]
    ask: TestArgs,
    /// The kernel to test: a folder that it was built in, or a vmlinux
    #[arg(long, visible_alias = "kernel", value_name = "PATH")]
    image: PathBuf,
}

/// What is asked of a kernel, checked before anything is built.
struct PreparedTest {
    workspace: Workspace,
    id: String,
    scenario: Scenario,
    question: Question,
    /// The answers that count as good.
    good_answers: BTreeSet<String>,
    runs: u32,
    format: Format,
}

impl StepArgs {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.test.out.as_ref())?;
        let test = self.test.prepare(&select)?;
        let choice = self.template.resolve(&select, &test.scenario)?;
        let template = template(&select, &choice.configuration_of, &choice.config, &choice.require)?;
        let into =
            ScratchFolder::create().map_err(FileError::on("create a folder in", &std::env::temp_dir()))?;
        let paths = BuildPaths { tree: &self.tree, into: into.path() };
        match bisect::build_tree(&select.workspace, &template, paths, &streams.progress) {
            Ok(kernel) => test.run(&kernel, streams),
            Err(error) => test.report_skip(error, streams),
        }
    }
}

impl VerdictArgs {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(self.ask.out.as_ref())?;
        let test = self.ask.prepare(&select)?;
        let kernel = Kernel::from_path(&self.image, &select.workspace.images(), &select.workspace.cache)?;
        test.run(&kernel, streams)
    }
}

impl TestArgs {
    fn prepare(self, select: &Selector) -> Result<PreparedTest, CommandError> {
        let id = select.single_scenario_id(&self.scenario)?;
        let scenario = select.scenario(&id)?.with_probes(&self.only)?;
        let question = self.question.question(select)?;
        question.check(&scenario)?;
        let good_answers = match &question {
            Question::Drift(_) => {
                return Err(CommandError::usage(
                    "--drift compares two kernels, but there is only one",
                    "compare with a catalogue kernel's snapshots (--as KERNEL), or judge a claim",
                ));
            }
            Question::Text(_) | Question::Console(_) if self.match_is_good => ["matches".to_owned()].into(),
            Question::Text(_) | Question::Console(_) => ["does not match".to_owned()].into(),
            other => other.good_answers(),
        };
        let (runs, format) = (self.runs, self.format);
        Ok(PreparedTest {
            workspace: select.workspace.clone(),
            id,
            scenario,
            question,
            good_answers,
            runs,
            format,
        })
    }
}

impl PreparedTest {
    fn run(self, kernel: &Kernel, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let Self { workspace, id, scenario, question, good_answers, runs, format } = self;
        for number in 1..=runs {
            let asked = AskedScenario { scenario: &scenario, question: &question };
            let context = RunContext { workspace: &workspace, kernel, progress: &streams.progress };
            let result = bisect::test_once(context, asked)?;
            let (word, exit) = match &result {
                TestResult::Ran { answer, .. } if good_answers.contains(answer) => ("good", ExitCode::Match),
                TestResult::Ran { .. } => ("bad", ExitCode::Drift),
                TestResult::Skip(_) => ("cannot tell", ExitCode::CannotTell),
            };
            if exit == ExitCode::Match && number < runs {
                continue;
            }
            let (answer, folder) = match result {
                TestResult::Ran { answer, folder } => (answer, folder),
                TestResult::Skip(why) => (why, None),
            };
            match format {
                Format::Table => {
                    writeln!(streams.out, "{word}: {} ({answer}), run {number} of {runs}", kernel.release)?;
                    if let Some(folder) = folder.map(|folder| workspace.runs_folder.join(folder)) {
                        let reasons = artifacts::read_document(&folder)?.reasons;
                        for reason in reasons {
                            writeln!(streams.out, "  {}", reason.headline())?;
                        }
                        writeln!(streams.out, "artifacts: {}", folder.display())?;
                    }
                }
                Format::Json => {
                    let document = serde_json::json!({
                        "scenario": id, "release": kernel.release, "image_sha256": kernel.sha256, "answer": word,
                        "state": answer, "runs": number, "folder": folder,
                    });
                    writeln!(streams.out, "{document}")?;
                }
            }
            return Ok(exit);
        }
        unreachable!("the last run returns")
    }

    /// Reports a tree that does not build, so that git skips it.
    fn report_skip(
        &self,
        error: bisect::TreeBuildError,
        streams: &mut Streams<'_>,
    ) -> Result<ExitCode, CommandError> {
        match error {
            bisect::TreeBuildError::Skip(why) => {
                match self.format {
                    Format::Table => writeln!(streams.out, "cannot tell: {why}")?,
                    Format::Json => {
                        let document =
                            serde_json::json!({ "scenario": self.id, "answer": "cannot tell", "state": why });
                        writeln!(streams.out, "{document}")?;
                    }
                }
                Ok(ExitCode::CannotTell)
            }
            bisect::TreeBuildError::Abort(error) => Err((*error).into()),
        }
    }
}

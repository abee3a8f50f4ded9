//! `kshot survey`: every reporter of stacks in every situation, against the truth, as a table.

use std::path::PathBuf;

use clap::ValueEnum;

use super::select::{KernelChoice, Selector};
use super::{CommandError, Streams, at_once, paths, prune_runs};
use crate::artifacts::{ArtifactsError, RunTime};
use crate::pool;
use crate::report::{survey_markdown, survey_table};
use crate::run::{self, RunError};
use crate::scenario::Scenario;
use crate::survey::{self, Answer, Question, Situation};
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_stack::exit::ExitCode;
use kshot_stack::foreign;
use kshot_stack::survey::{SCHEMA, SurveyDocument};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernels, by name, glob, build folder or file; provisioned if necessary
    #[arg(required_unless_present = "from")]
    kernels: Vec<String>,
    /// Boot nothing: print the results of an earlier survey from its JSON; can be given more than once
    #[arg(long, value_name = "FILE", value_parser = paths::existing_file(), conflicts_with_all = ["kernels", "situations", "jobs"])]
    from: Vec<PathBuf>,
    /// Survey only these situations of images/survey.yaml, by name; can be given more than once
    #[arg(long = "situation", value_name = "NAME")]
    situations: Vec<String>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: SurveyFormat,
    /// Run N machines at once; default: as many as this host has room for
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// How a survey is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SurveyFormat {
    /// One table per kernel, for a terminal.
    #[default]
    Table,
    /// Markdown, with a table of all kernels first.
    Markdown,
    /// One JSON document per kernel, one per line.
    Json,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let situations = self.situations(survey::situations(&select.workspace)?)?;
        // All kernels are there before the first boot.
        let choices = select.kernels(&Scenario::empty("survey"), &self.kernels)?;
        let provision = |choice: KernelChoice| choice.provision(&select, &streams.progress);
        let kernels = choices.into_iter().map(provision).collect::<Result<Vec<_>, _>>()?;
        let jobs = at_once(self.jobs, &select.workspace);
        let names = select.catalogue.names();
        let questions = survey::questions("survey", &situations, &names)?;
        let began = RunTime::now();
        let mut documents = Vec::new();
        let mut exit = ExitCode::Match;
        for path in &self.from {
            let text =
                bounded::read_text(path, foreign::SIZE_MOST as u64).map_err(FileError::on("read", path))?;
            for line in text.lines() {
                let document = foreign::read(line.as_bytes())
                    .map_err(|source| ArtifactsError::Refused { path: path.clone(), source })?;
                self.add(document, &mut documents, streams)?;
            }
        }
        for kernel in kernels {
            let kernel = kernel.without_snapshots();
            let progress = &streams.progress;
            let task = progress.task(format!("survey {}", kernel.name), questions.len() as u64);
            let groups = survey::by_situation(&questions);
            let (mut answers, mut done) = (vec![Vec::new(); groups.len()], 0);
            let context = select.context(&kernel, progress);
            let ask = |group: &&[Question<'_>]| survey::ask(group, context);
            pool::each(&groups, jobs, ask, |number, answered| {
                answers[number] = answered?;
                done += answers[number].len() as u64;
                task.update(done, answers[number].first().map_or("", |answer| &answer.cell.situation));
                Ok::<_, RunError>(())
            })?;
            drop(task);
            if answers.iter().flatten().any(|answer| answer.host_failed) {
                exit = ExitCode::Host;
            }
            let qemu = answers.iter().flatten().find_map(|answer: &Answer| answer.qemu.clone());
            let cells = answers.into_iter().flatten().map(|answer| answer.cell).collect();
            let kernel = run::kernel_info(&kernel);
            let document = SurveyDocument { schema: SCHEMA, kernel, qemu: qemu.unwrap_or_default(), cells };
            self.add(document, &mut documents, streams)?;
        }
        if !self.kernels.is_empty() {
            prune_runs(&select.workspace, &began, &streams.progress);
        }
        if self.format == SurveyFormat::Markdown {
            write!(streams.out, "{}", survey_markdown(&documents))?;
        }
        Ok(exit)
    }

    /// Adds a document and prints it at once, but for Markdown, which begins with all of them.
    fn add(
        &self,
        document: SurveyDocument,
        documents: &mut Vec<SurveyDocument>,
        streams: &mut Streams<'_>,
    ) -> Result<(), CommandError> {
        match self.format {
            SurveyFormat::Json => writeln!(streams.out, "{}", document.to_json_line())?,
            SurveyFormat::Table => writeln!(streams.out, "{}", survey_table(&document))?,
            SurveyFormat::Markdown => {}
        }
        streams.out.flush()?;
        documents.push(document);
        Ok(())
    }

    /// The situations that are asked for.
    fn situations(&self, all: Vec<Situation>) -> Result<Vec<Situation>, CommandError> {
        if let Some(unknown) = self.situations.iter().find(|name| !all.iter().any(|one| one.name == **name)) {
            let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
            return Err(CommandError::usage(
                format!("there is no situation `{unknown}`"),
                format!("images/survey.yaml has {}", names.join(", ")),
            ));
        }
        let is_asked = |one: &Situation| self.situations.is_empty() || self.situations.contains(&one.name);
        Ok(all.into_iter().filter(is_asked).collect())
    }
}

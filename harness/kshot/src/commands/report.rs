//! `kshot report`: shows an earlier run as a table, a document, or a mail to a kernel list.

use std::path::PathBuf;

use super::select::Selector;
use super::{CommandError, Streams, paths};
use crate::artifacts;
use crate::report::{self, MailContext, MailFormat};
use crate::run;
use kshot_guest::bounded;
use kshot_stack::exit::ExitCode;
use kshot_stack::foreign;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The run folder, or its run.json
    #[arg(value_parser = paths::existing())]
    run: PathBuf,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// A table, as `kshot run` prints it
    #[default]
    Table,
    /// The result document
    Json,
    /// Plain mail for a kernel list, with decoded stacks
    Mail,
    /// The same in Markdown, for an issue tracker
    Markdown,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let document = artifacts::read_document(&self.run)?;
        let style = match self.format {
            ReportFormat::Table => {
                write!(streams.out, "{}", report::run_table(&document))?;
                return Ok(ExitCode::Match);
            }
            ReportFormat::Json => {
                writeln!(streams.out, "{}", document.to_json_line())?;
                return Ok(ExitCode::Match);
            }
            ReportFormat::Mail => MailFormat::Mail,
            ReportFormat::Markdown => MailFormat::Markdown,
        };
        let select = Selector::open(None)?;
        let scenario = select.scenario(&document.scenario)?;
        let steps: Vec<String> = scenario.steps.iter().map(|step| step.script.trim().to_owned()).collect();
        let folder = if self.run.is_dir() { Some(self.run.as_path()) } else { self.run.parent() };
        // The folder may be untrusted: read only files that its document lists, because those were checked.
        let listed = folder.filter(|_| document.artifacts.contains_key(run::DECODED_STACKS));
        let decoded = listed.and_then(|folder| {
            bounded::read_text(&folder.join(run::DECODED_STACKS), foreign::SIZE_MOST as u64).ok()
        });
        let enclosed = MailContext {
            summary: &scenario.summary,
            cmdline: &scenario.boot.cmdline,
            steps: &steps,
            decoded_stacks: decoded.as_deref(),
        };
        write!(streams.out, "{}", report::mail(&document, enclosed, style))?;
        Ok(ExitCode::Match)
    }
}

//! `kshot export` and `kshot import`: pack a run into an archive, and unpack it.

use std::path::PathBuf;

use super::{CommandError, Format, Streams, paths, workspace};
use crate::artifacts::RUN_JSON;
use crate::bundle;
use crate::report;
use kshot_guest::host::FileError;
use kshot_stack::exit::ExitCode;

/// Arguments of `kshot export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The run folder, or its run.json
    #[arg(value_parser = paths::existing())]
    run: PathBuf,
    /// The kernel file or build folder that the run booted, if it is not in the catalogue
    #[arg(long, value_name = "PATH")]
    kernel: Option<PathBuf>,
    /// The archive, instead of NAME.tar.gz in the current folder
    #[arg(long, value_name = "FILE", value_parser = paths::file_to_replace())]
    out: Option<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `kshot import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The archive that `kshot export` wrote
    #[arg(value_parser = paths::existing_file())]
    bundle: PathBuf,
    /// The folder to unpack into
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = paths::folder())]
    out: PathBuf,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl ExportArgs {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(None)?;
        let catalogue = workspace.catalogue()?;
        let run = self.run.canonicalize().map_err(FileError::on("find", &self.run))?;
        let run = match run.parent() {
            Some(folder) if run.ends_with(RUN_JSON) => folder.to_owned(),
            _ => run,
        };
        let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = self.out.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
        bundle::interruptible(|| {
            bundle::export(&workspace, &catalogue, &run, self.kernel.as_deref(), &to, &streams.progress)
        })?;
        match self.format {
            Format::Json => {
                let document = serde_json::json!({ "archive": to.display().to_string(), "reproduce": format!("{name}/reproduce.sh") });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => {
                writeln!(streams.out, "{}: unpack it anywhere and run {name}/reproduce.sh", to.display())?;
            }
        }
        Ok(ExitCode::Match)
    }
}

impl ImportArgs {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let imported = bundle::interruptible(|| bundle::import(&self.bundle, &self.out))?;
        let (then, now) = (&imported.original, &imported.rejudged);
        match self.format {
            Format::Json => writeln!(streams.out, "{}", now.to_json_line())?,
            Format::Table => {
                write!(streams.out, "{}", report::run_table(now))?;
                let said = if then.verdict == now.verdict {
                    format!("judged again: {}, as before the export", now.verdict.name())
                } else {
                    format!(
                        "judged again: {}; before the export: {}",
                        now.verdict.name(),
                        then.verdict.name()
                    )
                };
                writeln!(streams.out, "{said}\nunpacked to {}", imported.folder.display())?;
            }
        }
        Ok(ExitCode::from(now.verdict))
    }
}

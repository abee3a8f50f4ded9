//! `kshot history`: what became of a scenario, night by night.

use std::path::PathBuf;

use super::nightly::history_file;
use super::select::names_among;
use super::{CommandError, Format, Streams, paths, workspace};
use crate::nightly::history::History;
use crate::report::{HistoryTable, new_table};
use kshot_stack::exit::ExitCode;
use kshot_stack::night::changes::PastResult;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario's id
    scenario: String,
    /// Kernels, by name or glob; default: all that the scenario ever ran on
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// The number of nights to show
    #[arg(long, value_name = "N", default_value_t = 30)]
    nights: usize,
    /// The history file, instead of ~/.local/state/kshot/history.sqlite
    #[arg(long, value_name = "FILE", value_parser = paths::file_to_replace())]
    history: Option<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        if let Some(missing) = self.history.as_ref().filter(|file| !file.exists()) {
            return Err(CommandError::usage(
                format!("the history file {} does not exist", missing.display()),
                "name the file that `kshot nightly --history` wrote",
            ));
        }
        let history = History::open(&history_file(self.history.as_ref())?)?;
        let mut kernels = history.kernels(&self.scenario)?;
        if kernels.is_empty() {
            let workspace = workspace(None)?;
            // A scenario that does not exist has no history either: the error lists the existing ones.
            let id = crate::scenario::Scenario::resolve_id(&workspace.scenarios(), &self.scenario)?;
            return Err(CommandError::usage(
                format!("no night has run {id} yet"),
                "kshot nightly --out DIR runs all scenarios and records their results",
            ));
        }
        if !self.kernels.is_empty() {
            // Some kernels of the history may no longer be in the catalogue.
            let catalogue = workspace(None)?.catalogue()?;
            let all = catalogue.names().into_iter().chain(kernels.iter().map(String::as_str)).collect();
            let chosen = names_among(all, &self.kernels)?;
            kernels.retain(|kernel| chosen.contains(kernel));
        }
        let mut nights = Vec::new();
        for kernel in kernels {
            // No night has a greater name.
            let past = history.past_results(&self.scenario, &kernel, "\u{10ffff}", self.nights)?;
            nights.push((kernel, past));
        }
        match self.format {
            Format::Json => {
                for (kernel, past) in &nights {
                    for one in past.iter().rev() {
                        writeln!(streams.out, "{}", line(&self.scenario, kernel, one))?;
                    }
                }
            }
            Format::Table => {
                let rows = HistoryTable::of(&nights);
                write!(streams.out, "{}", rows.text(new_table()))?;
            }
        }
        Ok(ExitCode::Match)
    }
}

fn line(scenario: &str, kernel: &str, past: &PastResult) -> serde_json::Value {
    serde_json::json!({
        "scenario": scenario,
        "kernel": kernel,
        "night": past.night,
        "standing": past.status.name(),
        "harness": past.harness,
        "origin": past.origin,
        "inputs": past.inputs_hash,
        "run": past.run,
        "probes": past.probes,
    })
}

//! `kshot validate`: checks scenarios for errors.

use super::select::Selector;
use super::{CommandError, Format, Streams};
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenarios, by id or glob; default: all
    scenarios: Vec<String>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let mut exits = Vec::new();
        for id in select.scenario_ids(&self.scenarios)? {
            let read = select.scenario(&id);
            match (&read, self.format) {
                (Ok(scenario), Format::Table) => writeln!(streams.out, "ok: {id}: {}", scenario.summary)?,
                (Err(error), Format::Table) => writeln!(streams.out, "invalid: {id}\n{}", error.render())?,
                (read, Format::Json) => {
                    let error = read.as_ref().err();
                    let document = serde_json::json!({
                        "scenario": id,
                        "ok": error.is_none(),
                        "fault": error.map(CommandError::chain),
                        "hint": error.and_then(|error| error.hints.first()),
                    });
                    writeln!(streams.out, "{document}")?;
                }
            }
            exits.push(read.map_or_else(|error| error.exit(), |_| ExitCode::Match));
        }
        Ok(ExitCode::worst(exits))
    }
}

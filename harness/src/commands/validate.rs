//! `kshot validate`: read scenarios and report their faults.

use super::{CommandError, Streams, select, workspace};
use crate::exit::Exit;
use crate::kernel::Catalogue;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scenarios, by id or glob; all unless said
    scenarios: Vec<String>,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<Exit, CommandError> {
        let workspace = workspace(None)?;
        let catalogue = Catalogue::load(&workspace.images().kernels_yaml())?;
        let mut exits = Vec::new();
        for id in select::ids(&workspace, &self.scenarios)? {
            match select::scenario(&workspace, &catalogue, &id) {
                Ok(scenario) => {
                    writeln!(streams.out, "ok    {id}: {}", scenario.summary)?;
                    exits.push(Exit::Match);
                }
                Err(error) => {
                    writeln!(streams.out, "fault {id}\n{}", super::render(&error))?;
                    exits.push(Exit::from(crate::fault::Fault::blame(&error)));
                }
            }
        }
        Ok(Exit::worst(exits))
    }
}

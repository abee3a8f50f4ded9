//! `kshot shell`: boots a kernel and logs in.

use std::io::IsTerminal;

use super::select::Selector;
use super::{CommandError, Streams};
use crate::run;
use crate::scenario::Scenario;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A kernel of the catalogue, or a file (./vmlinux)
    kernel: String,
    /// Boot with this scenario's options and arm its probes
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<String>,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        if !std::io::stdin().is_terminal() {
            return Err(CommandError::usage(
                "kshot shell needs a terminal on standard input",
                "for commands without a terminal write a scenario: its steps are commands",
            ));
        }
        let select = Selector::open(None)?;
        let scenario = match &self.scenario {
            Some(word) => {
                let id = select.single_scenario_id(word)?;
                select.scenario(&id)?
            }
            None => Scenario::empty("shell"),
        };
        let kernel = select.single_kernel(&self.kernel, &streams.progress)?;
        let context = select.context(&kernel, &streams.progress);
        run::shell(context, &scenario)?;
        Ok(ExitCode::Match)
    }
}

//! `kshot list`: scenarios, kernels, and what is provisioned.

use super::{CommandError, Format, Streams, select, workspace};
use crate::exit::Exit;
use crate::kernel::{Catalogue, Kernel};
use crate::report::new_table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<Exit, CommandError> {
        let workspace = workspace(None)?;
        let catalogue = Catalogue::load(&workspace.images().kernels_yaml())?;
        let mut kernels = Vec::new();
        for name in catalogue.names() {
            let entry = catalogue.get(name).expect("the name is from the catalogue");
            let release =
                Kernel::find(entry, &workspace.images(), &workspace.cache)?.map(|found| found.release);
            kernels.push((name, entry, release));
        }
        let mut scenarios = Vec::new();
        for id in select::ids(&workspace, &[])? {
            // One that is broken does not hide the others.
            let kernels = select::scenario(&workspace, &catalogue, &id).and_then(|scenario| {
                Ok((select::kernel_names(&catalogue, &scenario.kernels)?, scenario.summary))
            });
            scenarios.push((id, kernels));
        }
        match self.format {
            Format::Json => {
                let kernels: Vec<_> = kernels
                    .iter()
                    .map(|(name, entry, release)| {
                        serde_json::json!({ "name": name, "arch": entry.arch, "provisioned": release })
                    })
                    .collect();
                let scenarios: Vec<_> = scenarios
                    .iter()
                    .map(|(id, scenario)| match scenario {
                        Ok((kernels, summary)) => {
                            serde_json::json!({ "id": id, "summary": summary, "kernels": kernels })
                        }
                        Err(fault) => serde_json::json!({ "id": id, "fault": fault.to_string() }),
                    })
                    .collect();
                let document = serde_json::json!({ "kernels": kernels, "scenarios": scenarios });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => {
                let mut table = new_table();
                table.set_header(["kernel", "architecture", "provisioned"]);
                for (name, entry, release) in kernels {
                    let release = release
                        .map_or_else(|| format!("no: kshot provision {name}"), |r| format!("Linux {r}"));
                    table.add_row([name.to_owned(), entry.arch.to_string(), release]);
                }
                writeln!(streams.out, "{table}")?;
                let mut table = new_table();
                table.set_header(["scenario", "kernels", "what it shows"]);
                for (id, scenario) in scenarios {
                    let (kernels, summary) = match scenario {
                        Ok((kernels, summary)) => (kernels.join("\n"), summary),
                        Err(_) => (String::new(), format!("broken: kshot validate {id}")),
                    };
                    table.add_row([id, kernels, summary]);
                }
                writeln!(streams.out, "{table}")?;
            }
        }
        Ok(Exit::Match)
    }
}

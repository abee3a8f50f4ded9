//! `kshot list`: lists the scenarios, the kernels, and which kernels are provisioned.

use super::{CommandError, Format, Streams, select, workspace};
use crate::report::new_table;
use crate::workspace::Workspace;
use kshot_guest::kernel::{DwarfAvailability, Kernel, KernelError, OptionUsers};
use kshot_guest::probe;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(None)?;
        let catalogue = workspace.catalogue()?;
        let mut kernels = Vec::new();
        for name in catalogue.names() {
            let entry = catalogue.get(name).expect("the name is from the catalogue");
            let kernel = Kernel::find(entry, &workspace.images(), &workspace.cache)?;
            let lacking = kernel.as_ref().map(|kernel| lacking(&workspace, kernel)).transpose()?;
            kernels.push((name, entry, kernel, lacking.unwrap_or_default()));
        }
        let mut scenarios = Vec::new();
        for id in select::scenario_ids(&workspace, &[])? {
            // A broken scenario must not hide the others.
            let kernels = select::scenario(&workspace, &catalogue, &id).and_then(|scenario| {
                Ok((select::kernel_names(&catalogue, &scenario.kernels)?, scenario.summary))
            });
            scenarios.push((id, kernels));
        }
        match self.format {
            Format::Json => {
                let kernels: Vec<_> = kernels
                    .iter()
                    .map(|(name, entry, kernel, lacking)| {
                        let release = kernel.as_ref().map(|kernel| &kernel.release);
                        let dwarf = kernel.as_ref().is_some_and(|kernel| kernel.dwarf.is_ok());
                        serde_json::json!({
                            "name": name, "arch": entry.arch, "provisioned": release, "dwarf": dwarf,
                            "without": lacking.iter().map(|one| one.probe).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                let scenarios: Vec<_> = scenarios
                    .iter()
                    .map(|(id, scenario)| match scenario {
                        Ok((kernels, summary)) => {
                            serde_json::json!({ "id": id, "summary": summary, "kernels": kernels })
                        }
                        Err(refused) => serde_json::json!({ "id": id, "fault": refused.error.to_string() }),
                    })
                    .collect();
                let document = serde_json::json!({ "kernels": kernels, "scenarios": scenarios });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => {
                let mut table = new_table();
                table.set_header(["kernel", "architecture", "provisioned"]);
                for (name, entry, kernel, lacking) in kernels {
                    let mut provisioned = match kernel {
                        None => format!("no: kshot provision {name}"),
                        Some(Kernel { dwarf: Err(_), release, .. })
                            if entry.dwarf_availability() == DwarfAvailability::OnRequest =>
                        {
                            format!("Linux {release}\nno DWARF: kshot provision {name} --dwarf")
                        }
                        Some(kernel) => format!("Linux {}", kernel.release),
                    };
                    for LackingProbe { probe, options } in lacking {
                        provisioned.push_str(&format!("\nno probe {probe}: without {}", options.join(", ")));
                    }
                    table.add_row([name.to_owned(), entry.arch.to_string(), provisioned]);
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
        Ok(ExitCode::Match)
    }
}

/// A kind of probe that a kernel's options do not allow.
struct LackingProbe {
    probe: &'static str,
    /// The options that are off, without `CONFIG_`.
    options: Vec<String>,
}

/// The kinds of probes that a kernel's options do not allow.
fn lacking(workspace: &Workspace, kernel: &Kernel) -> Result<Vec<LackingProbe>, KernelError> {
    let mut lacking = Vec::new();
    for &probe in probe::kinds() {
        let users = OptionUsers { words: [probe.to_owned()].into(), ..OptionUsers::default() };
        match kernel.check_options(&workspace.images(), &users) {
            Ok(()) => {}
            Err(KernelError::MissingOptions { missing, .. }) => {
                let options = missing.into_iter().map(|option| option.name).collect();
                lacking.push(LackingProbe { probe, options });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(lacking)
}

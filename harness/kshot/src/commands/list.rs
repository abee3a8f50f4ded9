//! `kshot list`: lists the scenarios, the kernels, and which kernels are provisioned.

use super::select::Selector;
use super::{CommandError, Format, Streams};
use crate::report::new_table;
use crate::workspace::Workspace;
use kshot_guest::kernel::{DwarfAvailability, Kernel, KernelError, KernelSpec, OptionUsers};
use kshot_guest::probe;
use kshot_stack::blame::error_chain;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let mut kernels = Vec::new();
        for spec in select.catalogue.kernels() {
            // A broken kernel must not hide the others.
            let found =
                Kernel::find(spec, &select.workspace.images(), &select.workspace.cache).and_then(|kernel| {
                    let lacking =
                        kernel.as_ref().map(|kernel| lacking(&select.workspace, kernel)).transpose()?;
                    Ok((kernel, lacking.unwrap_or_default()))
                });
            kernels.push(match found {
                Ok((kernel, lacking)) => ListedKernel { spec, kernel, lacking, error: None },
                Err(error) => {
                    let error = Some(error_chain(&error));
                    ListedKernel { spec, kernel: None, lacking: Vec::new(), error }
                }
            });
        }
        let mut scenarios = Vec::new();
        for id in select.scenario_ids(&[])? {
            // A broken scenario must not hide the others.
            let found = select
                .scenario(&id)
                .and_then(|scenario| Ok((select.kernel_names(&scenario.kernels)?, scenario.summary)));
            scenarios.push(match found {
                Ok((kernels, summary)) => ListedScenario { id, kernels, summary, error: None },
                Err(refused) => {
                    let error = Some(refused.error.to_string());
                    ListedScenario { id, kernels: Vec::new(), summary: String::new(), error }
                }
            });
        }
        match self.format {
            Format::Json => {
                let kernels: Vec<_> = kernels.iter().map(ListedKernel::as_json).collect();
                let scenarios: Vec<_> = scenarios.iter().map(ListedScenario::as_json).collect();
                let document = serde_json::json!({ "kernels": kernels, "scenarios": scenarios });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => {
                let mut table = new_table();
                table.set_header(["kernel", "architecture", "provisioned"]);
                table.add_rows(kernels.iter().map(ListedKernel::as_row));
                writeln!(streams.out, "{table}")?;
                let mut table = new_table();
                table.set_header(["scenario", "kernels", "what it shows"]);
                table.add_rows(scenarios.iter().map(ListedScenario::as_row));
                writeln!(streams.out, "{table}")?;
            }
        }
        Ok(ExitCode::Match)
    }
}

/// A kernel of the catalogue, and what is there of it.
struct ListedKernel<'a> {
    spec: &'a KernelSpec,
    /// `None` where it is not provisioned.
    kernel: Option<Kernel>,
    lacking: Vec<LackingProbe>,
    error: Option<String>,
}

impl ListedKernel<'_> {
    fn as_json(&self) -> serde_json::Value {
        let kernel = self.kernel.as_ref();
        serde_json::json!({
            "name": self.spec.name,
            "arch": self.spec.arch,
            "provisioned": kernel.map(|kernel| &kernel.release),
            "dwarf": kernel.is_some_and(|kernel| kernel.dwarf.is_ok()),
            "fault": self.error,
            "without": self.lacking.iter().map(|lacking| lacking.probe).collect::<Vec<_>>(),
        })
    }

    fn as_row(&self) -> [String; 3] {
        let KernelSpec { name, arch, .. } = self.spec;
        let mut provisioned = match &self.kernel {
            None => match &self.error {
                Some(error) => format!("error: {error}"),
                None => format!("no: {}", self.spec.how_to_get()),
            },
            Some(Kernel { dwarf: Err(_), release, .. })
                if self.spec.dwarf_availability() == DwarfAvailability::OnRequest =>
            {
                format!("Linux {release}\nno DWARF: kshot provision {name} --dwarf")
            }
            Some(kernel) => format!("Linux {}", kernel.release),
        };
        for LackingProbe { probe, options } in &self.lacking {
            let are = if options.len() == 1 { "is" } else { "are" };
            let options = options.join(", CONFIG_");
            provisioned.push_str(&format!("\nprobe {probe} unavailable: CONFIG_{options} {are} off"));
        }
        [name.clone(), arch.to_string(), provisioned]
    }
}

/// A scenario, or what is wrong with its file.
struct ListedScenario {
    id: String,
    kernels: Vec<String>,
    summary: String,
    error: Option<String>,
}

impl ListedScenario {
    fn as_json(&self) -> serde_json::Value {
        let Self { id, kernels, summary, error } = self;
        match error {
            None => serde_json::json!({ "id": id, "summary": summary, "kernels": kernels }),
            Some(error) => serde_json::json!({ "id": id, "fault": error }),
        }
    }

    fn as_row(&self) -> [String; 3] {
        let Self { id, kernels, summary, error } = self;
        match error {
            None => [id.clone(), kernels.join("\n"), summary.clone()],
            Some(_) => [id.clone(), String::new(), format!("invalid: kshot validate {id}")],
        }
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

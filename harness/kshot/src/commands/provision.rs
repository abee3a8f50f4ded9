//! `kshot provision`: downloads or builds kernels and the guest's userland.

use std::collections::BTreeSet;

use super::select::Selector;
use super::{CommandError, Format, Streams};
use crate::run::RunError;
use kshot_guest::userland::Userland;
use kshot_stack::exit::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kernels of the catalogue, by name or glob; default: all
    kernels: Vec<String>,
    /// Also download the DWARF of prebuilt kernels, for the truth: some hundred megabytes each
    #[arg(long)]
    dwarf: bool,
    /// Also build perf for the guests; otherwise the first scenario that uses perf has it built
    #[arg(long)]
    perf: bool,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let mut arches = BTreeSet::new();
        for name in select.kernel_names(&self.kernels)? {
            let kernel = match self.dwarf {
                true => select.provision_dwarf(&name, &streams.progress)?,
                false => select.provision(&name, &streams.progress)?,
            };
            if arches.insert(kernel.arch) {
                Userland::provision(
                    kernel.arch,
                    self.perf,
                    &select.workspace.provisioning(&streams.progress),
                )
                .map_err(RunError::from)?;
            }
            match self.format {
                Format::Json => {
                    let document = serde_json::json!({
                        "kernel": name,
                        "arch": kernel.arch,
                        "release": kernel.release,
                        "image": kernel.boot,
                        "dwarf": kernel.dwarf.ok().map(|dwarf| dwarf.vmlinux),
                    });
                    writeln!(streams.out, "{document}")?;
                }
                Format::Table => {
                    writeln!(streams.out, "{name}: Linux {}, {}", kernel.release, kernel.boot.display())?;
                    if let Some(dwarf) = kernel.dwarf.ok().filter(|_| self.dwarf) {
                        writeln!(streams.out, "{name}: DWARF, {}", dwarf.vmlinux.display())?;
                    }
                }
            }
        }
        Ok(ExitCode::Match)
    }
}

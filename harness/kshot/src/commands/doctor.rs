//! `kshot doctor`: what this host lacks, and the command that mends it.

use std::collections::BTreeSet;
use std::fs;

use super::select::names_among;
use super::{CommandError, Format, Streams, workspace};
use crate::report::new_table;
use crate::workspace::Workspace;
use kshot_guest::host;
use kshot_guest::host::MissingTool;
use kshot_stack::arch::Arch;
use kshot_stack::exit::ExitCode;

/// The disk space for kernels, userland and a few hundred run folders.
const FREE_GIB: u64 = 8;
/// The disk space for initramfs images and the runs of a night.
const RUNS_GIB: u64 = 1;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernels to check for, by name or glob; by default every architecture is shown, and one complete
    /// one is enough
    kernels: Vec<String>,
    /// Check only what running needs; assumes that kernels and userland are already provisioned
    #[arg(long)]
    to_run: bool,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result of one check.
#[derive(serde::Serialize)]
struct DoctorCheck {
    what: String,
    /// The problem, `null` if there is none.
    fault: Option<String>,
    remedy: Option<String>,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let workspace = workspace(None)?;
        let (arches, enough) = match self.kernels[..] {
            [] => (Arch::all().collect(), 1),
            _ => {
                let arches = architectures(&workspace, &self.kernels)?;
                let enough = arches.len();
                (arches, enough)
            }
        };
        let (mut findings, mut complete) = (Vec::new(), 0);
        for arch in arches {
            let first = findings.len();
            findings.push(tools(format!("run {arch} kernels"), &host::missing_run_tools(arch)));
            if !self.to_run {
                findings.push(tools(format!("provision {arch} kernels"), &host::missing_build_tools(arch)));
            }
            complete += usize::from(findings[first..].iter().all(|finding| finding.fault.is_none()));
        }
        let cached = findings.len();
        findings.push(cache(&workspace, if self.to_run { RUNS_GIB } else { FREE_GIB }));
        match self.format {
            Format::Json => writeln!(streams.out, "{}", serde_json::json!({ "findings": findings }))?,
            Format::Table => {
                let mut table = new_table();
                table.set_header(["what", "state", "remedy"]);
                for finding in &findings {
                    table.add_row([
                        &finding.what,
                        finding.fault.as_deref().unwrap_or("ok"),
                        finding.remedy.as_deref().unwrap_or(""),
                    ]);
                }
                writeln!(streams.out, "{table}")?;
            }
        }
        let sound = complete >= enough && findings[cached..].iter().all(|finding| finding.fault.is_none());
        Ok(if sound { ExitCode::Match } else { ExitCode::Host })
    }
}

/// The architectures of kernels of the catalogue.
fn architectures(workspace: &Workspace, kernels: &[String]) -> Result<BTreeSet<Arch>, CommandError> {
    let catalogue = workspace.catalogue()?;
    let names = names_among(catalogue.names(), kernels)?;
    Ok(names.iter().filter_map(|name| catalogue.get(name)).map(|kernel| kernel.arch).collect())
}

fn tools(what: String, missing: &[MissingTool]) -> DoctorCheck {
    let names: Vec<_> = missing.iter().map(|missing| missing.tool.as_str()).collect();
    let fault = (!names.is_empty()).then(|| format!("missing: {}", names.join(", ")));
    let remedy = fault.is_some().then(|| host::install_missing(missing));
    DoctorCheck { what, fault, remedy }
}

fn cache(workspace: &Workspace, wanted: u64) -> DoctorCheck {
    let root = workspace.cache.root();
    let what = format!("cache in {}", root.display());
    if let Err(error) = fs::create_dir_all(root).and_then(|()| tempfile::tempfile_in(root).map(drop)) {
        let remedy = Some("set XDG_CACHE_HOME to a folder that you can write".into());
        return DoctorCheck { what, fault: Some(error.to_string()), remedy };
    }
    let free = rustix::fs::statvfs(root).map(|stat| stat.f_bavail * stat.f_frsize / (1 << 30));
    match free {
        Ok(free) if free < wanted => DoctorCheck {
            what,
            fault: Some(format!("{free} GiB free, {wanted} GiB needed")),
            remedy: Some("free some space, or set XDG_CACHE_HOME to another disk".into()),
        },
        _ => DoctorCheck { what, fault: None, remedy: None },
    }
}

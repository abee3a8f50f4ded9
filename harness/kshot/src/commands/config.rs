//! `kshot config`: what a kernel's configuration lacks, as a Kconfig fragment.

use std::path::PathBuf;

use super::select::Selector;
use super::{CommandError, Format, Streams};
use kshot_guest::kernel::{
    KernelConfig, MissingOption, OptionUsers, config_arch, fragment, merge_config, missing_options,
};
use kshot_stack::arch::Arch;
use kshot_stack::exit::ExitCode;

/// The hint for a folder in which no kernel is built.
const WHICH_FOLDER: &str = "name the folder that the kernel is built in: a source tree, or what O= named";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder that the kernel is built in
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// What the kernel is to run, by id, glob or file; default: nothing but the guest itself
    #[arg(long = "scenario", value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Add the fragment to the folder's .config and run `make olddefconfig`
    #[arg(long)]
    merge: bool,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        let select = Selector::open(None)?;
        let mut users = OptionUsers::default();
        // Without --scenario, no scenario is asked for; other commands would then take all of them.
        if !self.scenarios.is_empty() {
            for id in select.scenario_ids(&self.scenarios)? {
                let more = select.scenario(&id)?.option_users();
                users.words.extend(more.words);
                users.required.extend(more.required);
            }
        }
        let path = self.folder.join(".config");
        if !path.is_file() {
            return Err(CommandError::usage(
                format!("no .config in {}", self.folder.display()),
                WHICH_FOLDER,
            ));
        }
        let arch = config_arch(&path)?.ok_or_else(|| {
            let options =
                Arch::all().map(|arch| format!("{arch}: CONFIG_{}", arch.row().config.join(", CONFIG_")));
            CommandError::usage(
                format!("{} is for an architecture that kshot cannot boot", path.display()),
                format!("kshot boots kernels with {}", options.collect::<Vec<_>>().join("; ")),
            )
        })?;
        // A folder in which modules are built, or are going to be: kbuild lists them.
        let has_modules =
            !self.folder.join("vmlinux").is_file() || self.folder.join("modules.order").is_file();
        let look = || {
            let config = KernelConfig { arch, path: &path, has_modules };
            missing_options(config, &select.workspace.images(), &users)
        };
        let mut missing = look()?;
        if self.merge && !missing.is_empty() {
            if !self.folder.join("Makefile").is_file() {
                return Err(CommandError::usage(
                    format!(
                        "{} has no Makefile, so `make olddefconfig` cannot complete its .config",
                        self.folder.display()
                    ),
                    WHICH_FOLDER,
                ));
            }
            merge_config(&self.folder, arch, &fragment(&missing), &select.workspace.cache)?;
            let asked = std::mem::replace(&mut missing, look()?);
            for option in asked.iter().filter(|option| !missing.contains(option)) {
                streams.progress.print_line(&format!("CONFIG_{} is on now", option.name));
            }
        }
        match self.format {
            Format::Json => {
                let list: Vec<_> = missing.iter().map(json).collect();
                let document = serde_json::json!({ "config": path.display().to_string(), "arch": arch, "missing": list });
                writeln!(streams.out, "{document}")?;
            }
            Format::Table => write!(streams.out, "{}", fragment(&missing))?,
        }
        match missing.first() {
            Some(option) if self.merge => Err(CommandError::usage(
                format!(
                    "CONFIG_{} is still off: it depends on options that kshot does not know",
                    option.name
                ),
                format!("make -C {} menuconfig, and search for {}", self.folder.display(), option.name),
            )),
            Some(_) => {
                streams.progress.print_line("kshot config --merge adds it; then build the kernel again");
                Ok(ExitCode::Drift)
            }
            None => {
                streams.progress.print_line(&format!("{}: no options missing", path.display()));
                Ok(ExitCode::Match)
            }
        }
    }
}

fn json(option: &MissingOption) -> serde_json::Value {
    serde_json::json!({ "option": option.name, "with": option.with, "because": option.because })
}

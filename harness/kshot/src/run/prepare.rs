//! What has to be there before a machine can start: userland, keys, initramfs, and what the machine is to be.

use std::path::PathBuf;

use super::{RunContext, RunError};
use crate::scenario::Scenario;
use kshot_guest::host::cache::{self, Cache};
use kshot_guest::kernel::Kernel;
use kshot_guest::machine::{AcceleratorChoice, MachineSpec, Memory};
use kshot_guest::probe::{self, ProbeSpec, TruthThread};
use kshot_guest::symbols::Dwarf;
use kshot_guest::userland::{self, SshKeys, Userland};
use kshot_stack::arch::ArchRow;
use kshot_stack::blame::{Blame, Blamed};

/// The file of the run folder that lists what was asked of the guest ([`kshot_guest::session::Request`]).
pub const REQUEST_LOG: &str = "guest.jsonl";

/// What a machine is started from.
pub(crate) struct PreparedRun {
    pub(super) spec: MachineSpec,
    pub(super) keys: SshKeys,
    pub(super) cache: Cache,
    /// The cache key of the saved state that a machine of this spec may start from.
    pub(super) state_key: String,
    /// The files that the machine boots.
    pub(super) boot_files: [BootFile; 2],
    /// What the initramfs is packed from, and what the truth is read from.
    pub(super) parts: Vec<PathBuf>,
    /// The probes that this kernel allows.
    pub(super) probes: Vec<ProbeSpec>,
    pub(super) dwarf: Option<Dwarf>,
    /// The options that the scenario requires, without `CONFIG_`, where they could not be looked for.
    pub(super) unchecked: Vec<String>,
}

/// A file that a machine boots: the kernel or the initramfs.
pub(super) struct BootFile {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
}

/// The probes of a run, and what they need to record.
#[derive(Clone, Copy)]
pub(super) struct Recorders<'a> {
    pub(super) probes: &'a [ProbeSpec],
    pub(super) dwarf: Option<&'a Dwarf>,
    pub(super) row: &'static ArchRow,
    /// The thread that records the truth, where the guest has one.
    pub(super) truth_thread: Option<&'a TruthThread>,
    /// The required options that could not be checked: a step that fails may be failing for lack of one.
    pub(super) unchecked: &'a [String],
}

impl PreparedRun {
    /// The cause of a failed run: a damaged file, if there is one.
    pub(crate) fn cause(&self, error: RunError) -> RunError {
        match error.blame() {
            Blame::Guest | Blame::Host => self.damaged_file().unwrap_or(error),
            _ => error,
        }
    }

    /// The error of a run whose stacks are not what they should be, where a file that the guest boots is
    /// damaged, one that its initramfs was packed from, or one that the truth is read from.
    pub(crate) fn damaged_file(&self) -> Option<RunError> {
        let damaged = damaged_file(&self.boot_files, &self.parts, &self.cache)?;
        // It may hold the damaged file, and is soon packed again.
        drop(self.cache.remove_entry_of(&self.spec.initrd));
        Some(damaged)
    }

    pub(super) fn recorders(&self) -> Recorders<'_> {
        Recorders {
            probes: &self.probes,
            dwarf: self.dwarf.as_ref(),
            row: self.spec.arch.row(),
            truth_thread: None,
            unchecked: &self.unchecked,
        }
    }
}

/// The first file that is not what it was when it was made or found. Its entry in the cache, if it is of one, is
/// removed, so that it is made again.
fn damaged_file(files: &[BootFile], parts: &[PathBuf], cache: &Cache) -> Option<RunError> {
    let is_whole = |file: &&BootFile| cache::sha256_file(&file.path).is_ok_and(|sum| sum == file.sha256);
    let damaged = files.iter().find(|file| !is_whole(file)).map(|file| file.path.clone());
    let path = damaged.or_else(|| cache.damaged_file(parts))?;
    let is_removed = cache.remove_entry_of(&path).unwrap_or(false);
    Some(RunError::DamagedFile { path, is_removed })
}

/// The probes of a scenario that a kernel allows.
pub(super) fn present_probes(scenario: &Scenario, kernel: &Kernel) -> Vec<ProbeSpec> {
    let present = |probe: &&ProbeSpec| probe.left_out_because(kernel).is_none();
    scenario.probes.iter().filter(present).cloned().collect()
}

/// Refuses a probe at a function that is not one alone, where the kernel's symbol table is at hand.
pub(super) fn check_functions(probes: &[ProbeSpec], kernel: &Kernel) -> Result<(), RunError> {
    match &kernel.dwarf {
        Ok(dwarf) => Ok(probe::check_functions(probes, &dwarf.vmlinux)?),
        Err(_) => Ok(()),
    }
}

/// Everything that has to be there before a machine can start.
pub(crate) fn prepare(
    context: RunContext<'_>,
    scenario: &Scenario,
    accelerator: AcceleratorChoice,
) -> Result<PreparedRun, RunError> {
    let RunContext { workspace, kernel, progress } = context;
    let accelerator = accelerator.resolve(kernel.arch, scenario.boot.icount)?;
    let images = workspace.images();
    kernel.check_options(&images, &scenario.option_users()).map_err(|error| {
        damaged_file(&[], std::slice::from_ref(&kernel.boot), &workspace.cache)
            .unwrap_or_else(|| error.into())
    })?;
    let perf = probe::need_perf(&scenario.probes);
    let userland = Userland::provision(kernel.arch, perf, &workspace.provisioning(progress))?;
    let keys = SshKeys::provision(&workspace.cache)?;
    let initramfs = userland::initramfs(kernel, &userland, &keys, &images, &workspace.cache)?;
    let probes = present_probes(scenario, kernel);
    check_functions(&probes, kernel)?;
    let spec = MachineSpec {
        arch: kernel.arch,
        kernel: kernel.boot.clone(),
        initrd: initramfs.path,
        cmdline: scenario.boot.cmdline.clone(),
        memory_mib: scenario.boot.memory_mib,
        icount: scenario.boot.icount,
        accelerator,
    };
    let state_key = spec.state_key(&kernel.sha256, &initramfs.sha256, &probe::preparation(&probes));
    let boot_files = [
        BootFile { path: spec.kernel.clone(), sha256: kernel.sha256.clone() },
        BootFile { path: spec.initrd.clone(), sha256: initramfs.sha256 },
    ];
    let dwarf = kernel.dwarf.iter().flat_map(|dwarf| dwarf.modules.values().chain([&dwarf.vmlinux]));
    let parts = kernel.modules.iter().chain([&kernel.boot]).chain(&userland.roots).chain(dwarf);
    let parts = parts.cloned().collect();
    Ok(PreparedRun {
        spec,
        parts,
        boot_files,
        keys,
        cache: workspace.cache.clone(),
        state_key,
        probes,
        dwarf: kernel.dwarf.clone().ok(),
        unchecked: match kernel.config {
            Some(_) => Vec::new(),
            None => scenario.option_users().required.into_iter().collect(),
        },
    })
}

/// What the machines of a run have in common: kernel, guest, QEMU and both command lines, by their content.
///
/// # Errors
/// [`RunError::Initramfs`].
pub(crate) fn state_key(context: RunContext<'_>, scenario: &Scenario) -> Result<String, RunError> {
    Ok(prepare(context, scenario, AcceleratorChoice::Tcg)?.state_key)
}

/// The exact QEMU command line of a run, word by word. Nothing is downloaded for it; an initramfs may
/// be packed.
///
/// # Errors
/// [`RunError::NoUserland`], [`RunError::Initramfs`].
pub fn command_line(
    context: RunContext<'_>,
    scenario: &Scenario,
    accelerator: AcceleratorChoice,
) -> Result<Vec<String>, RunError> {
    let RunContext { workspace, kernel, .. } = context;
    // Check this first, as a run does, so that both report the same error.
    accelerator.resolve(kernel.arch, scenario.boot.icount)?;
    let perf = probe::need_perf(&scenario.probes);
    if Userland::find(kernel.arch, perf, &workspace.images(), &workspace.cache)?.is_none() {
        return Err(RunError::NoUserland { arch: kernel.arch, kernel: kernel.name.clone() });
    }
    let prepared = prepare(context, scenario, accelerator)?;
    let words = prepared.spec.argv(Memory::Anonymous);
    Ok(words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use kshot_guest::host::cache::Lookup;

    #[test]
    fn a_damaged_kernel_is_the_hosts_fault_and_goes_if_it_is_the_caches() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            BootFile { sha256: cache::sha256_file(&path).unwrap(), path }
        };
        let files = [file("cache/kernels/k/Image"), file("own/Image")];
        assert!(damaged_file(&files, &[], &cache).is_none());
        for (damaged, is_gone) in [(&files[1], false), (&files[0], true)] {
            fs::write(&damaged.path, "cut").unwrap();
            let error = damaged_file(&files, &[], &cache).unwrap();
            assert!(matches!(&error, RunError::DamagedFile { path, is_removed }
                if path == &damaged.path && *is_removed == is_gone));
            assert_eq!((error.blame(), damaged.path.exists()), (Blame::Host, !is_gone));
        }
    }

    #[test]
    fn a_damaged_module_and_a_damaged_program_are_the_hosts_fault_and_their_entry_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let entry = |kind: &str, name: &str| {
            let Lookup::Missing(draft) = cache.find_or_draft(kind, "key", || ()).unwrap() else {
                panic!("new")
            };
            let file = draft.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "whole").unwrap();
            draft.commit_with_sums().unwrap()
        };
        let parts = [entry("kernels", "modules/lib/modules/6.1/tun.ko"), entry("userland", "bin/busybox")];
        let roots = [parts[0].join("modules"), parts[1].clone()];
        assert!(damaged_file(&[], &roots, &cache).is_none());
        for (entry, file) in [(&parts[1], "bin/busybox"), (&parts[0], "modules/lib/modules/6.1/tun.ko")] {
            fs::write(entry.join(file), "cut").unwrap();
            let error = damaged_file(&[], &roots, &cache).unwrap();
            assert!(
                matches!(&error, RunError::DamagedFile { path, is_removed: true } if path == &entry.join(file))
            );
            assert_eq!((error.blame(), entry.exists()), (Blame::Host, false));
            assert!(damaged_file(&[], &roots, &cache).is_none(), "it is made again");
        }
    }
}

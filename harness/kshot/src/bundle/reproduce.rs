//! The files that repeat a run without kshot: `reproduce.sh`, and an overlay for the initramfs with the
//! guest's request log.

use std::io;
use std::path::Path;

use super::BundleError;
use crate::run;
use crate::scenario::Scenario;
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::kernel::Kernel;
use kshot_guest::machine::{Accelerator, MachineSpec, Memory};
use kshot_guest::probe::TextForm;
use kshot_guest::session::Request;
use kshot_guest::userland;
use kshot_stack::foreign;
use kshot_stack::text::quote;

/// The script that runs on the host.
const REPRODUCE: &str = include_str!("reproduce.sh");
/// The script that runs in the guest, started by `init=`.
const GUEST: &str = include_str!("guest.sh");
/// The time limit of a reproduction, in seconds: a boot, the steps, and printing the captures.
const TIMEOUT_SECONDS: u32 = 300;

/// The files of a bundle that repeat the run.
pub(super) struct ReproduceFiles {
    pub(super) argv: Vec<String>,
    pub(super) overlay: Vec<u8>,
    pub(super) script: String,
}

/// A capture that the reproduction makes as well.
struct FetchedCapture {
    /// The name of the capture's file.
    name: String,
    /// The guest's file that it is fetched from.
    source: Option<String>,
}

impl ReproduceFiles {
    /// Creates the files from the run in `folder`.
    ///
    /// # Errors
    /// [`BundleError::Nmi`], [`BundleError::NoRequestLog`], [`BundleError::File`].
    pub(super) fn of(scenario: &Scenario, kernel: &Kernel, folder: &Path) -> Result<Self, BundleError> {
        // In a reproduction the guest replays its requests by itself; an NMI would have to come from outside.
        if let Some(at) = scenario.steps.iter().position(|step| step.nmi) {
            return Err(BundleError::Nmi { number: at + 1 });
        }
        let no_list = || BundleError::NoRequestLog { path: folder.into() };
        let path = folder.join(run::REQUEST_LOG);
        let list = match bounded::read_text(&path, foreign::SIZE_MOST as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_list()),
            list => list.map_err(FileError::on("read", &path))?,
        };
        let asked: Result<Vec<Request>, _> = list.lines().map(serde_json::from_str).collect();
        let asked = asked.map_err(|_| no_list())?;

        let (mut asked, mut captures) = (asked, Vec::new());
        // The truth is recorded from outside, with kshot.
        for spec in scenario.probes.iter().filter(|spec| !spec.records_truth()) {
            let Some(capture) = spec.find_capture(folder) else { continue };
            // What the run decoded, the reproduction lets the guest print.
            let (path, source) = match spec.printed(&capture) {
                Some(TextForm { path, script, output }) => {
                    asked.extend([Request::Run(script), Request::Fetch(output.clone())]);
                    (path, Some(output))
                }
                None => (capture.path, spec.guest_file()),
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            captures.push(FetchedCapture { name, source });
        }
        let mut files = vec![("reproduce".to_owned(), 0o755, GUEST.as_bytes().to_vec())];
        for (number, one) in asked.iter().enumerate() {
            match one {
                Request::Run(script) => {
                    files.push((format!("reproduce.d/{number:04}.run"), 0o644, script.clone().into_bytes()));
                }
                Request::Fetch(from) => {
                    let of = |capture: &&FetchedCapture| capture.source.as_ref() == Some(from);
                    let Some(capture) = captures.iter().find(of) else { continue };
                    let lines = format!("{}\n{from}\n", capture.name);
                    files.push((format!("reproduce.d/{number:04}.fetch"), 0o644, lines.into_bytes()));
                }
            }
        }
        let overlay = userland::overlay(files).map_err(FileError::on("pack", folder))?;
        let mut cmdline = scenario.boot.cmdline.clone();
        cmdline.push("init=/reproduce".into());
        let spec = MachineSpec {
            arch: kernel.arch,
            kernel: "vmlinux".into(),
            initrd: "again/initrd".into(),
            cmdline,
            memory_mib: scenario.boot.memory_mib,
            icount: scenario.boot.icount,
            accelerator: Accelerator::Tcg,
        };
        let argv = standalone_argv(&spec);
        let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
        let row = kernel.arch.row();
        let script = REPRODUCE
            .replace("@QEMU@", &words.join(" "))
            .replace("@PROGRAM@", row.qemu)
            .replace("@PACKAGE@", row.qemu_package)
            .replace("@RELEASE@", &quote(&kernel.release).replace('\'', ""))
            .replace("@SECONDS@", &TIMEOUT_SECONDS.to_string())
            .replace(
                "@FILES@",
                &captures.iter().map(|capture| quote(&capture.name)).collect::<Vec<_>>().join(" "),
            );
        Ok(Self { argv, overlay, script })
    }
}

/// QEMU's command line without the sockets that kshot listens on.
fn standalone_argv(spec: &MachineSpec) -> Vec<String> {
    let words = spec.argv(Memory::Anonymous).into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut words = words.peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "-qmp" || word == "-gdb" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_guest::symbols::NoDwarf;
    use kshot_stack::arch::Arch;

    #[test]
    fn a_run_that_got_an_interrupt_from_outside_cannot_be_repeated() {
        let text =
            "summary: s\nkernels: [k]\nsteps: [{ run: x }, { run: x, nmi: true }]\nprobes: [{ ftrace: {} }]";
        let scenario = Scenario::parse("a/b", "b.yaml", text, &["k"]).unwrap();
        let kernel = Kernel {
            name: "k".into(),
            arch: Arch::all().next().unwrap(),
            release: "6.1".into(),
            version: None,
            sha256: String::new(),
            dwarf: Err(NoDwarf::Unknown),
            modules: None,
            config: None,
            in_catalogue: true,
            lost: Vec::new(),
            boot: "vmlinux".into(),
        };
        let refused = ReproduceFiles::of(&scenario, &kernel, Path::new("/nowhere"));
        assert!(matches!(refused, Err(BundleError::Nmi { number: 2 })));
    }
}

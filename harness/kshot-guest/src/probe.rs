//! Probes: the mechanisms that record stacks, one file each. A probe's file says what a scenario may ask of
//! it, what it does in the guest, which files it leaves and how they are parsed. A new one is a file with a
//! `Probe`, its `mod`, and its line in `probes!`.

mod error; // what goes wrong with a probe
mod capture; // the files that probes leave in a run folder
mod guest; // the guest as a probe uses it
mod kernel_symbols; // saves and fetches the guest's /proc/kallsyms
mod bpf; // a BPF program that reads the stack
mod ftrace; // the ring buffer
mod kernel_memory; // what the truth reads of the running kernel
mod truth_thread; // the thread that stops the guest at breakpoints and unwinds
mod gdb; // the gdb probe of a scenario: the truth
mod kprobe; // kprobe events with a stack
mod perf; // perf record
mod text; // any text that holds stacks

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bpf::{BPF_KALLSYMS, BpfHelper, BpfHook, BpfProbe, STACKS as BPF_STACKS};
use capture::ProbeFiles;
pub use capture::{Capture, CaptureContent, TextForm};
pub use error::{ConsolePartError, ProbeError, TruthError};
pub use ftrace::FtraceProbe;
pub use gdb::StartedTruth;
use guest::{CaptureFetcher, ProbeGuest};
pub use kernel_symbols::KALLSYMS;
pub use kprobe::{KprobeEvent, KprobeProbe, Stacktrace};
pub use perf::{PerfEvent, PerfProbe};
pub use text::{Stream, TextProbe, TextSource};
pub use truth_thread::{TruthProbe, TruthThread};

use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::session::Guest;
use crate::symbols::{self, Dwarf, LoadedKernel};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::ParsedCapture;

/// Makes [`ProbeKind`] and [`RawProbe`] out of the table: the key in a scenario, the probe, and its YAML.
macro_rules! probes {
    ($($(#[$attribute:meta])* $key:ident: $kind:ident($probe:ty) from $raw:ty,)*) => {
        /// The mechanisms that record stacks.
        #[derive(Clone, Debug, Serialize)]
        pub enum ProbeKind {
            $($(#[$attribute])* $kind($probe),)*
        }

        /// A probe: exactly one of the keys below, and a name if a kind is used twice.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct RawProbe {
            /// The name in results, snapshots and claims; default: the kind.
            #[serde(default)]
            pub name: Option<String>,
            $($(#[$attribute])* #[serde(default)] pub $key: Option<$raw>,)*
        }

        impl ProbeKind {
            /// The mechanism's word, its key in a scenario: `ftrace`, `perf`, `kprobe`, `gdb`, `bpf`, `text`.
            pub fn word(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($key),)*
                }
            }

            fn probe(&self) -> &dyn Probe {
                match self {
                    $(Self::$kind(probe) => probe,)*
                }
            }
        }

        impl RawProbe {
            /// The keys of a scenario's probes.
            const KEYS: &[&str] = &[$(stringify!($key),)*];

            /// The probe of the one key that is given.
            fn check_kind(self, source: &YamlSource<'_>) -> Result<ProbeKind, Box<YamlError>> {
                let kinds =
                    [$((stringify!($key), self.$key.map(|raw| raw.check(source).map(ProbeKind::$kind))),)*];
                source.exactly_one("probes", "a probe", kinds)?
            }
        }
    };
}

probes! {
    /// The ftrace ring buffer, whatever armed it: boot options or steps.
    ftrace: Ftrace(FtraceProbe) from ftrace::RawFtrace,
    /// `perf record` on one event, with call chains.
    perf: Perf(PerfProbe) from perf::RawPerf,
    /// A kprobe event that records a stack.
    kprobe: Kprobe(KprobeProbe) from kprobe::RawKprobe,
    /// A breakpoint through QEMU's gdb stub, unwound from outside with the kernel's DWARF: the truth. At most
    /// one.
    gdb: Gdb(TruthProbe) from gdb::RawGdb,
    /// A BPF program that asks for the stack.
    bpf: Bpf(BpfProbe) from bpf::RawBpf,
    /// Any text that holds stacks, read after the steps: of a command, a file, or the console.
    text: Text(TextProbe) from text::RawText,
}

/// What each mechanism implements. Everything that changes the guest goes through [`ProbeGuest`].
trait Probe {
    /// Further keys of `images/needs.yaml` whose kernel options this probe needs, besides its own key.
    fn further_needs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether this probe needs perf in the guest's userland.
    fn needs_perf(&self) -> bool {
        false
    }

    /// Whether it records the truth, from outside of the guest, and is armed with a [`TruthContext`].
    fn records_truth(&self) -> bool {
        false
    }

    /// The function that this probe is attached to, if any; of `a|b`, the first that the kernel has.
    fn function(&self) -> Option<&str> {
        None
    }

    /// Why it is left out on a kernel; `None` if it is not.
    fn left_out_because(&self, _kernel: &Kernel) -> Option<String> {
        None
    }

    /// Prepares it in the guest, as far as that can be done long before it records.
    fn prepare(&self, _fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        Ok(())
    }

    /// The scripts that [`Self::prepare`] runs for the probe of this name, as text.
    fn preparation(&self, _probe: &str) -> Option<String> {
        None
    }

    /// The suffixes of the files that [`Self::prepare`] writes to the run folder.
    fn prepared_files(&self) -> &'static [&'static str] {
        &[]
    }

    /// Lets the truth thread start reading the kernel before the machine is up. Only the truth probe does.
    fn start_truth(
        &self,
        _kernel: &KernelFile<'_>,
        _thread: &TruthThread,
        _files: ProbeFiles<'_>,
    ) -> Result<Option<StartedTruth>, TruthError> {
        Ok(None)
    }

    /// Arms it, after it was prepared. It records when this returns.
    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        truth: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError>;

    /// The suffix of the file with stacks that it left in a run folder, if it left any.
    fn capture_suffix(&self, files: ProbeFiles<'_>) -> &'static str;

    /// The guest's file that its capture is fetched from, if it is a file of the guest.
    fn guest_file(&self, _probe: &str) -> Option<String> {
        None
    }

    /// Parses the stacks in one of this probe's captures.
    fn parse(&self, capture: &Capture, row: &ArchRow) -> io::Result<ParsedCapture>;

    /// The text that a capture is printed as, if it is binary.
    fn printed(&self, _capture: &Capture) -> Option<TextForm> {
        None
    }

    /// Prints a binary capture.
    fn print(&self, _capture: &Capture, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A mechanism that is recording.
trait Armed: Debug {
    /// Stops recording; the recorded data stays in the guest.
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError>;

    /// Fetches what was recorded.
    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError>;

    /// The error that ended it before it was stopped, if any is known.
    fn fault(&self) -> Option<TruthError> {
        None
    }
}

/// A probe and its name.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeSpec {
    /// The name in results, snapshots and claims; the kind unless the scenario gives one.
    pub name: String,
    /// The kind, with what the scenario asks of it.
    pub kind: ProbeKind,
}

/// The kernel that will run.
#[derive(Clone, Copy, Debug)]
pub struct KernelFile<'a> {
    /// The kernel's architecture.
    pub row: &'static ArchRow,
    /// Its DWARF.
    pub dwarf: &'a Dwarf,
}

/// What the truth is recorded with, from outside of the guest.
#[derive(Debug)]
pub struct TruthContext<'a> {
    /// The machine, whose gdb stub no one else uses.
    pub machine: &'a Machine,
    /// The guest's kernel with its DWARF and load addresses.
    pub loaded: &'a LoadedKernel,
    /// The thread that was started before the machine.
    pub started: StartedTruth,
}

/// A probe that is recording.
#[derive(Debug)]
pub struct ArmedProbe {
    name: String,
    armed: Box<dyn Armed>,
}

/// The names of the files that [`ProbeSpec::prepare`] writes to the run folder. A machine that starts from a
/// saved state needs them, too.
pub fn prepared_files(specs: &[ProbeSpec]) -> Vec<String> {
    let names = specs.iter().flat_map(|spec| {
        spec.probe().prepared_files().iter().map(|suffix| capture::file_name(&spec.name, suffix))
    });
    names.collect()
}

/// The scripts that [`ProbeSpec::prepare`] runs for these probes, as text. Guests with equal text can share a
/// saved state.
pub fn preparation(specs: &[ProbeSpec]) -> String {
    let scripts = specs.iter().filter_map(|spec| spec.probe().preparation(&spec.name));
    scripts.collect::<Vec<_>>().join("\n")
}

/// Checks that the function name of each probe names only one function in this `vmlinux`. A module may still
/// have another function of that name.
///
/// # Errors
/// [`ProbeError::Ambiguous`], or the file cannot be read.
pub fn check_functions(specs: &[ProbeSpec], vmlinux: &Path) -> Result<(), ProbeError> {
    let probed: Vec<(&str, &str)> =
        specs.iter().filter_map(|spec| Some((&*spec.name, spec.probe().function()?))).collect();
    if probed.is_empty() {
        return Ok(());
    }
    let functions: Vec<&str> = probed.iter().map(|(_, function)| *function).collect();
    let ambiguous = symbols::ambiguous_function(vmlinux, &functions).map_err(TruthError::from)?;
    let Some(source) = ambiguous else { return Ok(()) };
    let of = |function: &str| function.split('|').any(|name| name == source.function);
    let probe = probed.iter().find(|(_, function)| of(function)).map_or("", |(probe, _)| probe);
    Err(ProbeError::Ambiguous { probe: probe.into(), source })
}

/// Lets a thread start reading the kernel for the truth probe, if there is one, before the machine is up: the
/// given thread, or a new one. `folder` is the run folder.
///
/// # Errors
/// [`TruthError::Start`]; what is wrong with the DWARF, [`ProbeSpec::arm`] reports.
pub fn start_truth(
    specs: &[ProbeSpec],
    kernel: &KernelFile<'_>,
    thread: Option<&TruthThread>,
    folder: &Path,
) -> Result<Option<StartedTruth>, TruthError> {
    let Some(spec) = specs.iter().find(|spec| spec.records_truth()) else { return Ok(None) };
    let files = ProbeFiles { probe: &spec.name, folder };
    match thread {
        Some(thread) => spec.probe().start_truth(kernel, thread, files),
        None => spec.probe().start_truth(kernel, &TruthThread::start()?, files),
    }
}

/// The words of all kinds of probes, which are their keys in scenarios and in `images/needs.yaml`.
pub fn kinds() -> &'static [&'static str] {
    RawProbe::KEYS
}

/// Whether a guest needs perf for these probes. A guest without probes is for `kshot shell`, whose user may
/// want perf.
pub fn need_perf(specs: &[ProbeSpec]) -> bool {
    specs.is_empty() || specs.iter().any(|spec| spec.probe().needs_perf())
}

impl RawProbe {
    /// The probe, after all checks.
    ///
    /// # Errors
    /// There is not exactly one key, or what a key holds breaks one of its probe's rules.
    pub fn check(mut self, source: &YamlSource<'_>) -> Result<ProbeSpec, Box<YamlError>> {
        let name = self.name.take();
        let kind = self.check_kind(source)?;
        let name = name.unwrap_or_else(|| kind.word().into());
        // It becomes a file name in snapshots and run folders.
        source.check_characters("probes", "a probe's name", &name, "_-")?;
        Ok(ProbeSpec { name, kind })
    }
}

impl ProbeSpec {
    fn probe(&self) -> &dyn Probe {
        self.kind.probe()
    }

    /// What it needs of a kernel's options, as words of `images/needs.yaml`.
    pub fn needs(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.kind.word()).chain(self.probe().further_needs().iter().copied())
    }

    /// Whether it records the truth, and needs a [`TruthContext`] to be armed.
    pub fn records_truth(&self) -> bool {
        self.probe().records_truth()
    }

    /// Why it is left out on a kernel; `None` if it is not.
    pub fn left_out_because(&self, kernel: &Kernel) -> Option<String> {
        self.probe().left_out_because(kernel)
    }

    /// Prepares it in the guest, as far as that can be done long before it records: the machine's state may
    /// be saved afterwards. `folder` is the run folder.
    ///
    /// # Errors
    /// The errors of [`Self::arm`], and of writing to `folder`.
    pub fn prepare(&self, guest: &mut dyn Guest, folder: &Path) -> Result<(), ProbeError> {
        self.probe().prepare(&mut CaptureFetcher::new(&self.name, guest, folder))
    }

    /// Arms it, after it was prepared. It records when this returns.
    ///
    /// # Errors
    /// [`ProbeError::ToolFailed`] with the tool's message, or the guest's error.
    pub fn arm(
        &self,
        guest: &mut dyn Guest,
        truth: Option<TruthContext<'_>>,
    ) -> Result<ArmedProbe, ProbeError> {
        let armed = self.probe().arm(&mut ProbeGuest::new(&self.name, guest), truth)?;
        Ok(ArmedProbe { name: self.name.clone(), armed })
    }

    /// The probe's capture with stacks in a run folder, if there is one.
    pub fn find_capture(&self, folder: &Path) -> Option<Capture> {
        let files = ProbeFiles { probe: &self.name, folder };
        let path = files.path(self.probe().capture_suffix(files));
        path.is_file().then(|| Capture { probe: self.name.clone(), content: CaptureContent::Stacks, path })
    }

    /// The text of the probe's capture in a run folder, to match a regular expression against: the capture
    /// itself, or its printed form if it is binary. `None` for the truth.
    pub fn find_text(&self, folder: &Path) -> Option<PathBuf> {
        let capture = self.find_capture(folder).filter(|_| !self.records_truth())?;
        let printed = self.printed(&capture).map(|text| text.path);
        Some(printed.unwrap_or(capture.path)).filter(|path| path.is_file())
    }

    /// The guest's file that its capture is fetched from, if it is a file of the guest.
    pub fn guest_file(&self) -> Option<String> {
        self.probe().guest_file(&self.name)
    }

    /// Parses the stacks of one of the probe's captures; `None` for a supplement.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn parse(&self, capture: &Capture, row: &ArchRow) -> io::Result<Option<ParsedCapture>> {
        match capture.content {
            CaptureContent::Stacks => self.probe().parse(capture, row).map(Some),
            CaptureContent::Supplement => Ok(None),
        }
    }

    /// The text that a capture of its is printed as, if it is binary.
    pub fn printed(&self, capture: &Capture) -> Option<TextForm> {
        self.probe().printed(capture)
    }

    /// Prints a binary capture of its.
    ///
    /// # Errors
    /// The capture cannot be read, or `out` not be written.
    pub fn print(&self, capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
        self.probe().print(capture, out)
    }
}

impl ArmedProbe {
    /// Stops recording; the recorded data stays in the guest.
    ///
    /// # Errors
    /// The errors of [`ProbeSpec::arm`].
    pub fn stop(&self, guest: &mut dyn Guest) -> Result<(), ProbeError> {
        self.armed.stop(&mut ProbeGuest::new(&self.name, guest))
    }

    /// Fetches the recorded data into `folder`, after [`Self::stop`].
    ///
    /// # Errors
    /// The errors of [`ProbeSpec::arm`], and of writing to `folder`.
    pub fn fetch(&self, guest: &mut dyn Guest, folder: &Path) -> Result<Vec<Capture>, ProbeError> {
        let mut fetcher = CaptureFetcher::new(&self.name, guest, folder);
        self.armed.fetch(&mut fetcher)?;
        Ok(fetcher.captures)
    }

    /// The error that ended the probe before it was stopped, if any is known; a stopped guest may be its
    /// consequence.
    pub fn fault(&self) -> Option<TruthError> {
        self.armed.fault()
    }
}

#[cfg(test)]
mod tests;

//! Probes: how each tracing mechanism is armed, stopped and fetched. All work through [`Guest`], except the
//! truth, which is recorded from the host.

mod error;
mod ftrace;
mod gdb;
mod kprobe;
mod perf;
mod spec;
mod text;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

pub use error::{ProbeError, TruthError};
use ftrace::FtraceProbe;
pub use gdb::StartedTruth;
use gdb::{TruthProbe, Wanted};
use kprobe::Kprobe;
use perf::PerfProbe;
pub use perf::PerfScript;
pub use spec::{KprobeEvent, PerfEvent, ProbeKind, ProbeSpec, Stacktrace};
use text::TextProbe;
pub use text::{ConsoleError, Stream, TextSource};

use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::session::Guest;
use crate::symbols::LoadedKernel;
use kshot_stack::arch::ArchRow;
use kshot_stack::format::TextFormat;

/// The time that one command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// The time that fetching or rendering one capture may take.
const CAPTURE_LIMIT: Duration = Duration::from_secs(300);

/// The file name suffixes of the captures that are parsed, after the probe's name.
const TRACE: &str = "trace.txt";
const PERF_DATA: &str = "perf.data";
const PERF_SCRIPT: &str = "perf-script.txt";
/// The file name suffix of the kernel's symbols that belong to a `perf.data`.
const KALLSYMS: &str = "kallsyms.gz";
const GDB_STACKS: &str = "jsonl";
const TEXT: &str = "text.txt";

/// The format of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// The text of tracefs's `trace`, each symbol with its offset and address.
    FtraceText,
    /// The raw `perf.data`; the kernel's symbols are in another file ([`Capture::open_symbols`]).
    PerfData,
    /// The output of `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso`, including lost events; of runs that
    /// have no symbols file.
    PerfScript,
    /// The truth, JSON lines ([`kshot_stack::stack::gdb_json`]).
    GdbJson,
    /// A text probe's.
    Text(TextFormat),
    /// Supplementary text for people: buffer statistics, perf's messages.
    Supplement,
}

/// One raw file that a probe recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The probe's name.
    pub probe: String,
    /// The format of the file.
    pub format: CaptureFormat,
    /// The path of the file.
    pub path: PathBuf,
}

/// A probe that is recording.
#[derive(Debug)]
pub struct ArmedProbe {
    name: String,
    mechanism: Mechanism,
}

#[derive(Debug)]
enum Mechanism {
    Ftrace(FtraceProbe),
    Kprobe(Kprobe),
    Gdb(Box<TruthProbe>),
    Perf(PerfProbe),
    Text(TextProbe),
}

/// The context of the gdb probe, which records from outside of the guest.
#[derive(Debug)]
pub struct TruthContext<'a> {
    /// The machine, whose gdb stub no one else uses.
    pub machine: &'a Machine,
    /// The guest's kernel with its DWARF and load addresses.
    pub loaded: &'a LoadedKernel,
    /// The thread that was started before the machine.
    pub ahead: StartedTruth,
}

/// Why a probe is left out on a kernel, `None` if it is not: without DWARF there is no truth.
pub fn left_out_because(kind: &ProbeKind, kernel: &Kernel) -> Option<String> {
    let reason = match kind {
        ProbeKind::Gdb { .. } if kernel.dwarf.is_none() => format!("no DWARF of {}", kernel.name),
        ProbeKind::Gdb { .. } if kernel.arch.row().task.is_none() => format!("no truth on {}", kernel.arch),
        _ => return None,
    };
    let instead = if kernel.arch.row().perf_finds_callers { "perf" } else { "nothing" };
    Some(format!("{reason}: {instead} stands in for the truth"))
}

/// The captures of a probe in a run folder that are parsed.
pub fn find_captures(spec: &ProbeSpec, folder: &Path) -> Vec<Capture> {
    let file = |suffix: &str| Some(capture_path(&spec.name, suffix, folder)).filter(|path| path.is_file());
    let perf = match file(KALLSYMS) {
        Some(_) => (PERF_DATA, CaptureFormat::PerfData),
        None => (PERF_SCRIPT, CaptureFormat::PerfScript),
    };
    let kinds = [(TRACE, CaptureFormat::FtraceText), perf, (GDB_STACKS, CaptureFormat::GdbJson)];
    let capture = |(suffix, format): (&str, CaptureFormat)| {
        file(suffix).map(|path| Capture { probe: spec.name.clone(), format, path })
    };
    let text = match &spec.kind {
        ProbeKind::Text { format, .. } => Some((TEXT, CaptureFormat::Text(*format))),
        _ => None,
    };
    kinds.into_iter().chain(text).filter_map(capture).collect()
}

/// The names of the files that [`prepare`] writes to the run folder. A machine that starts from a saved state needs
/// them, too.
pub fn prepared_files(specs: &[ProbeSpec]) -> Vec<String> {
    let of_perf = specs.iter().filter(|spec| matches!(spec.kind, ProbeKind::Perf { .. }));
    of_perf.map(|spec| format!("{}.{KALLSYMS}", file_stem(&spec.name))).collect()
}

impl Capture {
    /// Opens the symbols of the kernel that a `perf.data` was recorded on, the text of `/proc/kallsyms`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open_symbols(&self) -> io::Result<impl io::BufRead + use<>> {
        let path = capture_path(&self.probe, KALLSYMS, self.folder());
        Ok(BufReader::new(GzDecoder::new(BufReader::new(File::open(path)?))))
    }

    /// The path of the text that a `perf.data` is printed to.
    pub fn script_path(&self) -> PathBuf {
        capture_path(&self.probe, PERF_SCRIPT, self.folder())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

fn capture_path(probe: &str, suffix: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{}.{suffix}", file_stem(probe)))
}

/// A probe's name encoded for a file name, unambiguously.
fn file_stem(probe: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let encode = |c: char| if plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    probe.chars().map(encode).collect()
}

/// Starts the thread that records the truth, for the probe that asks for it, if any, before the machine is up.
/// `row` is the guest's architecture, `vmlinux` its kernel with DWARF, `folder` the run folder.
///
/// # Errors
/// [`TruthError::Start`]; what is wrong with the DWARF, [`arm`] reports.
pub fn start_truth(
    probes: &[ProbeSpec],
    row: &'static ArchRow,
    vmlinux: &Path,
    folder: &Path,
) -> Result<Option<StartedTruth>, TruthError> {
    let wanted = |probe: &ProbeSpec| match &probe.kind {
        ProbeKind::Gdb { function, hits, traced } => {
            let wanted = Wanted { function: function.clone(), hits: *hits, traced: *traced };
            Some((probe.name.clone(), wanted))
        }
        _ => None,
    };
    let outside = probes.iter().find_map(wanted);
    outside.map(|(probe, wanted)| StartedTruth::start(&probe, wanted, row, vmlinux, folder)).transpose()
}

/// Whether a guest needs perf for these probes. Without any probe it is a person's, who may want it.
pub fn need_perf(probes: &[ProbeSpec]) -> bool {
    probes.is_empty() || probes.iter().any(|probe| matches!(probe.kind, ProbeKind::Perf { .. }))
}

/// Whether a probe needs a [`TruthContext`] to be armed.
pub fn records_truth(probe: &ProbeSpec) -> bool {
    matches!(probe.kind, ProbeKind::Gdb { .. })
}

/// Prepares a probe in the guest, as far as that can be done long before it records: the machine's state may be saved
/// afterwards. `folder` is the run folder.
///
/// # Errors
/// The errors of [`arm`], and of writing to `folder`.
pub fn prepare<G: Guest>(spec: &ProbeSpec, guest: &mut G, folder: &Path) -> Result<(), ProbeError<G::Error>> {
    match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            let mut fetcher = CaptureFetcher::new(&spec.name, guest, folder);
            PerfProbe::of(&spec.name).prepare(&mut fetcher, event, call_graph)
        }
        ProbeKind::Ftrace { .. }
        | ProbeKind::Kprobe { .. }
        | ProbeKind::Gdb { .. }
        | ProbeKind::Text { .. } => Ok(()),
    }
}

/// The scripts that [`prepare`] runs for these probes, as text. Guests with equal text can share a saved state.
pub fn preparation(specs: &[ProbeSpec]) -> String {
    let of = |spec: &ProbeSpec| match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            Some(PerfProbe::of(&spec.name).preparation(event, call_graph))
        }
        ProbeKind::Ftrace { .. }
        | ProbeKind::Kprobe { .. }
        | ProbeKind::Gdb { .. }
        | ProbeKind::Text { .. } => None,
    };
    specs.iter().filter_map(of).collect::<Vec<_>>().join("\n")
}

/// Arms a probe that was prepared. It records when this returns.
///
/// # Errors
/// [`ProbeError::ToolFailed`] with the tool's message, or the guest's error.
pub fn arm<G: Guest>(
    spec: &ProbeSpec,
    guest: &mut G,
    outside: Option<TruthContext<'_>>,
) -> Result<ArmedProbe, ProbeError<G::Error>> {
    let guest = &mut ProbeGuest::new(&spec.name, guest);
    let mechanism = match &spec.kind {
        ProbeKind::Ftrace { instance, .. } => Mechanism::Ftrace(FtraceProbe::of(instance.as_deref())),
        ProbeKind::Perf { .. } => {
            let recording = PerfProbe::of(&spec.name);
            recording.start(guest)?;
            Mechanism::Perf(recording)
        }
        ProbeKind::Kprobe { event, stacktrace } => {
            Mechanism::Kprobe(Kprobe::start(guest, event, *stacktrace)?)
        }
        ProbeKind::Gdb { .. } => {
            let outside = outside.ok_or_else(|| ProbeError::NoDwarf { probe: spec.name.clone() })?;
            Mechanism::Gdb(Box::new(TruthProbe::start(guest, outside)?))
        }
        ProbeKind::Text { source, format } => Mechanism::Text(TextProbe::start(guest, source, *format)?),
    };
    Ok(ArmedProbe { name: spec.name.clone(), mechanism })
}

impl ArmedProbe {
    /// Stops recording; the recorded data stays in the guest.
    ///
    /// # Errors
    /// The errors of [`arm`].
    pub fn stop<G: Guest>(&self, guest: &mut G) -> Result<(), ProbeError<G::Error>> {
        let guest = &mut ProbeGuest::new(&self.name, guest);
        match &self.mechanism {
            Mechanism::Ftrace(ftrace) => ftrace.stop(guest),
            Mechanism::Kprobe(kprobe) => kprobe.stop(guest),
            Mechanism::Gdb(truth) => Ok(truth.stop()?),
            Mechanism::Perf(recording) => recording.stop(guest),
            Mechanism::Text(_) => Ok(()),
        }
    }

    /// Fetches the recorded data into `folder`, after [`Self::stop`].
    ///
    /// # Errors
    /// The errors of [`arm`], and of writing to `folder`.
    pub fn fetch<G: Guest>(
        &self,
        guest: &mut G,
        folder: &Path,
    ) -> Result<Vec<Capture>, ProbeError<G::Error>> {
        let mut fetcher = CaptureFetcher::new(&self.name, guest, folder);
        match &self.mechanism {
            Mechanism::Ftrace(ftrace) => ftrace.fetch(&mut fetcher)?,
            Mechanism::Kprobe(kprobe) => kprobe.fetch(&mut fetcher)?,
            Mechanism::Gdb(truth) => fetcher.captures.extend(truth.captures(&self.name)),
            Mechanism::Perf(recording) => recording.fetch(&mut fetcher)?,
            Mechanism::Text(text) => text.fetch(&mut fetcher)?,
        }
        Ok(fetcher.captures)
    }

    /// The error that ended the probe before it was stopped, if any is known; a stopped guest may be its consequence.
    pub fn fault(&self) -> Option<TruthError> {
        match &self.mechanism {
            Mechanism::Gdb(truth) => truth.fault(),
            Mechanism::Ftrace(_) | Mechanism::Kprobe(_) | Mechanism::Perf(_) | Mechanism::Text(_) => None,
        }
    }
}

/// The guest, as a probe runs its scripts in it.
struct ProbeGuest<'a, G> {
    probe: &'a str,
    guest: &'a mut G,
}

impl<'a, G: Guest> ProbeGuest<'a, G> {
    fn new(probe: &'a str, guest: &'a mut G) -> Self {
        Self { probe, guest }
    }

    /// Runs a script that must exit with 0 and returns its output. `doing` describes it in errors.
    fn run(&mut self, doing: &str, script: &str, limit: Duration) -> Result<Vec<u8>, ProbeError<G::Error>> {
        let output = self.guest.run(script, limit).map_err(ProbeError::Guest)?;
        if output.status == 0 {
            return Ok(output.text);
        }
        Err(ProbeError::ToolFailed {
            probe: self.probe.to_owned(),
            doing: doing.to_owned(),
            status: output.status,
            said: error::said(&output.text),
        })
    }

    /// The [`file_stem`] of the probe's name.
    fn file_stem(&self) -> String {
        file_stem(self.probe)
    }
}

/// The destination of a probe's captures.
struct CaptureFetcher<'a, G> {
    guest: ProbeGuest<'a, G>,
    folder: &'a Path,
    captures: Vec<Capture>,
}

impl<'a, G: Guest> CaptureFetcher<'a, G> {
    fn new(probe: &'a str, guest: &'a mut G, folder: &'a Path) -> Self {
        Self { guest: ProbeGuest::new(probe, guest), folder, captures: Vec::new() }
    }

    /// Fetches a file of the guest as the capture `<probe>.<suffix>`.
    fn fetch_as(
        &mut self,
        from: &str,
        suffix: &str,
        format: CaptureFormat,
    ) -> Result<(), ProbeError<G::Error>> {
        let path = capture_path(self.guest.probe, suffix, self.folder);
        self.guest.guest.fetch(from, &path, CAPTURE_LIMIT).map_err(ProbeError::Guest)?;
        self.captures.push(Capture { probe: self.guest.probe.to_owned(), format, path });
        Ok(())
    }

    /// Fetches a file of the guest that belongs to a capture as `<probe>.<suffix>`, and compresses it.
    fn fetch_gzipped(&mut self, from: &str, suffix: &str) -> Result<(), ProbeError<G::Error>> {
        let path = capture_path(self.guest.probe, suffix, self.folder);
        let plain = path.with_extension("new");
        self.guest.guest.fetch(from, &plain, CAPTURE_LIMIT).map_err(ProbeError::Guest)?;
        let gzip = || {
            let mut gzip = GzEncoder::new(BufWriter::new(File::create(&path)?), Compression::fast());
            io::copy(&mut File::open(&plain)?, &mut gzip)?;
            gzip.finish()?.flush()?;
            fs::remove_file(&plain)
        };
        gzip().map_err(|source| ProbeError::Write { path: path.clone(), source })
    }

    /// Writes output of the guest as the capture `<probe>.<suffix>`.
    fn write(
        &mut self,
        bytes: &[u8],
        suffix: &str,
        format: CaptureFormat,
    ) -> Result<(), ProbeError<G::Error>> {
        let path = capture_path(self.guest.probe, suffix, self.folder);
        fs::write(&path, bytes).map_err(|source| ProbeError::Write { path: path.clone(), source })?;
        self.captures.push(Capture { probe: self.guest.probe.to_owned(), format, path });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::probe::{KprobeEvent, PerfEvent, Stacktrace};
    use crate::session::fake::FakeGuest;
    use kshot_stack::fault::{Blame, Fault};

    const ADDED: &str = "Added new event:\n  probe:register_netdevice (on register_netdevice)\n\nYou can now use it in all perf tools, such as:\n\n\tperf record -e probe:register_netdevice -aR sleep 1\n\n";

    fn perf(function: &str) -> ProbeSpec {
        let event = PerfEvent::Probe(function.into());
        ProbeSpec { name: "perf".into(), kind: ProbeKind::Perf { event, call_graph: "dwarf".into() } }
    }

    fn walk(spec: &ProbeSpec, guest: &mut FakeGuest) -> Vec<(String, CaptureFormat)> {
        let folder = tempfile::tempdir().unwrap();
        prepare(spec, guest, folder.path()).unwrap();
        let armed = arm(spec, guest, None).unwrap();
        armed.stop(guest).unwrap();
        let captures = armed.fetch(guest, folder.path()).unwrap();
        assert!(captures.iter().all(|capture| capture.probe == spec.name && capture.path.exists()));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        captures.iter().map(|capture| (name(&capture.path), capture.format)).collect()
    }

    #[test]
    fn ftrace_is_only_read_and_its_options_are_put_back() {
        let kind = ProbeKind::Ftrace { only: Vec::new(), instance: Some("it's".into()) };
        let mut guest = FakeGuest::answering(&[(0, ""), (0, ""), (0, "trace"), (0, "stats")]);
        let captures = walk(&ProbeSpec { name: "a/b".into(), kind }, &mut guest);
        assert_eq!(
            captures,
            [
                ("a%2fb.trace.txt".into(), CaptureFormat::FtraceText),
                ("a%2fb.trace-stats.txt".into(), CaptureFormat::Supplement)
            ]
        );
        insta::assert_snapshot!("ftrace_scripts", guest.requests.join("\n----\n"));
    }

    #[test]
    fn perf_is_got_ready_first_and_records_from_its_arming_on() {
        let mut guest = FakeGuest::answering(&[
            (0, ADDED),
            (0, ""),
            (0, "symbols"),
            (0, ""),
            (0, ""),
            (0, "data"),
            (0, "log"),
        ]);
        let captures = walk(&perf("register_netdevice"), &mut guest);
        let formats: Vec<_> = captures.iter().map(|(_, format)| *format).collect();
        assert_eq!(formats, [CaptureFormat::PerfData, CaptureFormat::Supplement]);
        insta::assert_snapshot!("perf_scripts", guest.requests.join("\n----\n"));
    }

    #[test]
    fn symbols_are_brought_again_where_a_step_loaded_a_module() {
        let log = "log\n# other modules are loaded now\n";
        let mut guest = FakeGuest::answering(&[
            (0, ADDED),
            (0, ""),
            (0, "before"),
            (0, ""),
            (0, "data"),
            (0, log),
            (0, "after"),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let spec = perf("register_netdevice");
        prepare(&spec, &mut guest, folder.path()).unwrap();
        assert_eq!(prepared_files(std::slice::from_ref(&spec)), ["perf.kallsyms.gz"]);
        let armed = arm(&spec, &mut guest, None).unwrap();
        let captures = armed.fetch(&mut guest, folder.path()).unwrap();
        let mut text = String::new();
        captures[0].open_symbols().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "after");
        assert_eq!(find_captures(&spec, folder.path()), captures[..1]);
    }

    #[test]
    fn what_is_done_in_the_guest_before_is_known_beforehand() {
        let preparation = |spec: &ProbeSpec| preparation(std::slice::from_ref(spec));
        let mut guest = FakeGuest::answering(&[(0, ADDED), (0, ""), (0, "symbols")]);
        let folder = tempfile::tempdir().unwrap();
        prepare(&perf("register_netdevice"), &mut guest, folder.path()).unwrap();
        assert_eq!(guest.requests.pop().unwrap(), "fetch /tmp/kshot-perf/kallsyms");
        let done = guest.requests.join("\n").replace("--event='probe:register_netdevice' ", "");
        assert_eq!(preparation(&perf("register_netdevice")), done);
        assert_ne!(preparation(&perf("register_netdevice")), preparation(&perf("tun_chr_ioctl")));
        let kind = ProbeKind::Ftrace { only: Vec::new(), instance: None };
        assert_eq!(preparation(&ProbeSpec { name: "ftrace".into(), kind }), "");
    }

    #[test]
    fn a_function_name_cannot_leave_its_quotes() {
        let mut guest = FakeGuest::answering(&[(1, "")]);
        prepare(&perf("x'; reboot; '"), &mut guest, Path::new("")).unwrap_err();
        assert_eq!(guest.requests, [r"perf probe --add='x'\''; reboot; '\'''"]);
    }

    #[test]
    fn what_perf_says_against_a_function_is_quoted_without_its_escape_codes() {
        let said =
            "\x1b[31mProbe point 'no_such_function' not found.\x1b[0m\n  Error: Failed to add events.\n";
        let mut guest = FakeGuest::answering(&[(254, said)]);
        let error = prepare(&perf("no_such_function"), &mut guest, Path::new("")).unwrap_err();
        assert_eq!(error.blame(), Blame::Guest);
        assert_eq!(
            error.to_string(),
            "probe perf: `perf probe no_such_function` failed with status 254: \
             Probe point 'no_such_function' not found.; Error: Failed to add events."
        );
    }

    #[test]
    fn a_guest_without_perf_says_so() {
        let mut guest = FakeGuest::answering(&[(127, "sh: perf: not found\n")]);
        let error = prepare(&perf("register_netdevice"), &mut guest, Path::new("")).unwrap_err();
        assert!(error.to_string().ends_with("failed with status 127: sh: perf: not found"), "{error}");
        assert!(error.hint().unwrap().contains("provision"));
    }

    #[test]
    fn a_perf_probe_that_names_no_event_is_no_success() {
        let mut guest = FakeGuest::answering(&[(0, "all fine\n")]);
        let error = prepare(&perf("f"), &mut guest, Path::new("")).unwrap_err();
        assert!(error.to_string().contains("names no event"), "{error}");
    }

    #[test]
    fn a_kprobe_is_removed_only_after_its_records_were_read() {
        let event = KprobeEvent {
            definition: "p:probe/rn register_netdevice".into(),
            group: "probe".into(),
            name: "rn".into(),
        };
        for (stacktrace, name) in [(Stacktrace::Trigger, "trigger"), (Stacktrace::Option, "option")] {
            let kind = ProbeKind::Kprobe { event: event.clone(), stacktrace };
            let mut guest = FakeGuest::answering(&[
                (0, ""),
                (0, ""),
                (0, ""),
                (0, "trace"),
                (0, "stats"),
                (0, ""),
                (0, ""),
            ]);
            walk(&ProbeSpec { name: "kprobe".into(), kind }, &mut guest);
            let ours = [&guest.requests[0], guest.requests.last().unwrap()].map(String::as_str);
            insta::assert_snapshot!(format!("kprobe_{name}_scripts"), ours.join("\n----\n"));
        }
    }

    #[test]
    fn without_dwarf_the_truth_is_refused_and_says_why() {
        let kind = ProbeKind::Gdb { function: "f".into(), hits: 1, traced: false };
        let mut guest = FakeGuest::default();
        let error = arm(&ProbeSpec { name: "gdb".into(), kind }, &mut guest, None).unwrap_err();
        assert_eq!(error.to_string(), "probe gdb: there is no DWARF of this kernel to unwind with");
        assert!(guest.requests.is_empty());
    }
}

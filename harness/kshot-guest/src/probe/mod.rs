//! Probes: how each tracing mechanism is armed, stopped and fetched. All work through [`Guest`], except gdb, which
//! attaches to the machine from the host.

mod error;
mod ftrace;
mod gdb;
mod kprobe;
mod perf;
mod spec;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ProbeError;
use ftrace::Ftrace;
pub use gdb::Ahead;
use gdb::Truth;
use kprobe::Kprobe;
use perf::Recording;
pub use spec::{KprobeEvent, PerfEvent, ProbeKind, ProbeSpec, Stacktrace};

use crate::kernel::{Kernel, Loaded};
use crate::machine::{GdbError, Machine};
use crate::session::Guest;

/// The time that one command in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// The time that fetching or rendering one capture may take.
const CAPTURE_LIMIT: Duration = Duration::from_secs(300);

/// The file name suffixes of the captures that are parsed, after the probe's name.
const TRACE: &str = "trace.txt";
const PERF_SCRIPT: &str = "perf-script.txt";
const GDB_STACKS: &str = "jsonl";

/// The format of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text of tracefs's `trace`, each symbol with its offset and address.
    FtraceText,
    /// The output of `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso`, including lost events.
    PerfScript,
    /// Stacks as gdb saw them, JSON lines ([`kshot_stack::stack::gdb_json`]).
    GdbJson,
    /// The raw `perf.data`, which is kept as evidence and not parsed.
    PerfData,
    /// Supplementary text for people: buffer statistics, perf's and gdb's messages.
    Notes,
}

/// One raw file that a probe recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The probe's name.
    pub probe: String,
    /// The format of the file.
    pub format: Format,
    /// The path of the file.
    pub path: PathBuf,
}

/// A probe that is recording.
#[derive(Debug)]
pub struct Armed {
    name: String,
    mechanism: Mechanism,
}

#[derive(Debug)]
enum Mechanism {
    Ftrace(Ftrace),
    Kprobe(Kprobe),
    Gdb(Box<Truth>),
    Perf(Recording),
}

/// The context of the gdb probe, which records from outside of the guest.
#[derive(Debug)]
pub struct Outside<'a> {
    /// The machine, whose gdb stub no one else uses.
    pub machine: &'a Machine,
    /// The guest's kernel with its DWARF and load addresses.
    pub loaded: &'a Loaded,
    /// The gdb that was started before the machine.
    pub ahead: Ahead,
}

/// Why a probe is left out on a kernel, `None` if it is not: without DWARF there is no truth.
pub fn absence(kind: &ProbeKind, kernel: &Kernel) -> Option<String> {
    let truthless = matches!(kind, ProbeKind::Gdb { .. }) && kernel.dwarf.is_none();
    truthless.then(|| format!("no DWARF of {}: perf stands in for the truth", kernel.name))
}

/// The captures of a probe in a run folder that are parsed.
pub fn captures(spec: &ProbeSpec, folder: &Path) -> Vec<Capture> {
    let kinds =
        [(TRACE, Format::FtraceText), (PERF_SCRIPT, Format::PerfScript), (GDB_STACKS, Format::GdbJson)];
    let capture = |(suffix, format): (&str, Format)| {
        let path = folder.join(format!("{}.{suffix}", file_stem(&spec.name)));
        path.is_file().then(|| Capture { probe: spec.name.clone(), format, path })
    };
    kinds.into_iter().filter_map(capture).collect()
}

/// A probe's name encoded for a file name, unambiguously.
fn file_stem(probe: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let encode = |c: char| if plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    probe.chars().map(encode).collect()
}

/// Starts gdb for the probe that uses it, if any, before the machine is up. `vmlinux` is the guest's kernel with DWARF,
/// `folder` the run folder, `index` the folder of gdb's DWARF indices.
///
/// # Errors
/// [`GdbError::Start`], [`GdbError::Write`].
pub fn ahead(
    probes: &[ProbeSpec],
    vmlinux: &Path,
    folder: &Path,
    index: &Path,
) -> Result<Option<Ahead>, GdbError> {
    let outside = probes.iter().find(|probe| looks_from_outside(probe));
    outside.map(|probe| Ahead::start(&probe.name, vmlinux, folder, index)).transpose()
}

/// Whether a probe needs an [`Outside`] context to be armed.
pub fn looks_from_outside(probe: &ProbeSpec) -> bool {
    matches!(probe.kind, ProbeKind::Gdb { .. })
}

/// Prepares a probe in the guest, as far as that can be done long before it records: the machine's state may be saved
/// afterwards.
///
/// # Errors
/// The errors of [`arm`].
pub fn prepare<G: Guest>(spec: &ProbeSpec, guest: &mut G) -> Result<(), ProbeError<G::Error>> {
    match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            Recording::of(&spec.name).prepare(&mut Asker::new(&spec.name, guest), event, call_graph)
        }
        ProbeKind::Ftrace { .. } | ProbeKind::Kprobe { .. } | ProbeKind::Gdb { .. } => Ok(()),
    }
}

/// The scripts that [`prepare`] runs for these probes, as text. Guests with equal text can share a saved state.
pub fn preparation(specs: &[ProbeSpec]) -> String {
    let of = |spec: &ProbeSpec| match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            Some(Recording::of(&spec.name).preparation(event, call_graph))
        }
        ProbeKind::Ftrace { .. } | ProbeKind::Kprobe { .. } | ProbeKind::Gdb { .. } => None,
    };
    specs.iter().filter_map(of).collect::<Vec<_>>().join("\n")
}

/// Arms a probe that was prepared. It records when this returns.
///
/// # Errors
/// [`ProbeError::Refused`] with the tool's message, or the guest's error.
pub fn arm<G: Guest>(
    spec: &ProbeSpec,
    guest: &mut G,
    outside: Option<Outside<'_>>,
) -> Result<Armed, ProbeError<G::Error>> {
    let asker = &mut Asker::new(&spec.name, guest);
    let mechanism = match &spec.kind {
        ProbeKind::Ftrace { instance, .. } => Mechanism::Ftrace(Ftrace::of(instance.as_deref())),
        ProbeKind::Perf { .. } => {
            let recording = Recording::of(&spec.name);
            recording.start(asker)?;
            Mechanism::Perf(recording)
        }
        ProbeKind::Kprobe { event, stacktrace } => {
            Mechanism::Kprobe(Kprobe::start(asker, event, *stacktrace)?)
        }
        ProbeKind::Gdb { function, hits, traced } => {
            let outside = outside.ok_or_else(|| ProbeError::NoDwarf { probe: spec.name.clone() })?;
            Mechanism::Gdb(Box::new(Truth::start(asker, (function, *hits, *traced), outside)?))
        }
    };
    Ok(Armed { name: spec.name.clone(), mechanism })
}

impl Armed {
    /// Stops recording; the recorded data stays in the guest.
    ///
    /// # Errors
    /// The errors of [`arm`].
    pub fn stop<G: Guest>(&self, guest: &mut G) -> Result<(), ProbeError<G::Error>> {
        let asker = &mut Asker::new(&self.name, guest);
        match &self.mechanism {
            Mechanism::Ftrace(ftrace) => ftrace.stop(asker),
            Mechanism::Kprobe(kprobe) => kprobe.stop(asker),
            Mechanism::Gdb(truth) => Ok(truth.stop()?),
            Mechanism::Perf(recording) => recording.stop(asker),
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
        let mut home = Home { asker: Asker::new(&self.name, guest), folder, captures: Vec::new() };
        match &self.mechanism {
            Mechanism::Ftrace(ftrace) => ftrace.fetch(&mut home)?,
            Mechanism::Kprobe(kprobe) => kprobe.fetch(&mut home)?,
            Mechanism::Gdb(truth) => home.captures.extend(truth.captures(&self.name)),
            Mechanism::Perf(recording) => recording.fetch(&mut home)?,
        }
        Ok(home.captures)
    }

    /// The error that ended the probe before it was stopped, if any is known; a stopped guest may be its consequence.
    pub fn fault(&self) -> Option<GdbError> {
        match &self.mechanism {
            Mechanism::Gdb(truth) => truth.fault(),
            Mechanism::Ftrace(_) | Mechanism::Kprobe(_) | Mechanism::Perf(_) => None,
        }
    }
}

/// The guest, as a probe runs its scripts in it.
struct Asker<'a, G> {
    probe: &'a str,
    guest: &'a mut G,
}

impl<'a, G: Guest> Asker<'a, G> {
    fn new(probe: &'a str, guest: &'a mut G) -> Self {
        Self { probe, guest }
    }

    /// Runs a script that must exit with 0 and returns its output. `doing` describes it in errors.
    fn ask(&mut self, doing: &str, script: &str, limit: Duration) -> Result<Vec<u8>, ProbeError<G::Error>> {
        let output = self.guest.run(script, limit).map_err(ProbeError::Guest)?;
        if output.status == 0 {
            return Ok(output.text);
        }
        Err(ProbeError::Refused {
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
struct Home<'a, G> {
    asker: Asker<'a, G>,
    folder: &'a Path,
    captures: Vec<Capture>,
}

impl<G: Guest> Home<'_, G> {
    /// Fetches a file of the guest as the capture `<probe>.<suffix>`.
    fn bring(&mut self, from: &str, suffix: &str, format: Format) -> Result<(), ProbeError<G::Error>> {
        let path = self.folder.join(format!("{}.{suffix}", self.asker.file_stem()));
        self.asker.guest.fetch(from, &path, CAPTURE_LIMIT).map_err(ProbeError::Guest)?;
        self.captures.push(Capture { probe: self.asker.probe.to_owned(), format, path });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{KprobeEvent, PerfEvent, Stacktrace};
    use crate::session::scripted::ScriptedGuest;
    use kshot_stack::fault::{Blame, Fault};

    const ADDED: &str = "Added new event:\n  probe:register_netdevice (on register_netdevice)\n\nYou can now use it in all perf tools, such as:\n\n\tperf record -e probe:register_netdevice -aR sleep 1\n\n";

    fn perf(function: &str) -> ProbeSpec {
        let event = PerfEvent::Probe(function.into());
        ProbeSpec { name: "perf".into(), kind: ProbeKind::Perf { event, call_graph: "dwarf".into() } }
    }

    fn walk(spec: &ProbeSpec, guest: &mut ScriptedGuest) -> Vec<(String, Format)> {
        let folder = tempfile::tempdir().unwrap();
        prepare(spec, guest).unwrap();
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
        let mut guest = ScriptedGuest::answering(&[(0, ""), (0, ""), (0, "trace"), (0, "stats")]);
        let captures = walk(&ProbeSpec { name: "a/b".into(), kind }, &mut guest);
        assert_eq!(
            captures,
            [("a%2fb.trace.txt".into(), Format::FtraceText), ("a%2fb.trace-stats.txt".into(), Format::Notes)]
        );
        insta::assert_snapshot!("ftrace_scripts", guest.asked.join("\n----\n"));
    }

    #[test]
    fn perf_is_got_ready_first_and_records_from_its_arming_on() {
        let mut guest = ScriptedGuest::answering(&[
            (0, ADDED),
            (0, ""),
            (0, ""),
            (0, ""),
            (0, "data"),
            (0, "log"),
            (0, ""),
            (0, "script"),
        ]);
        let captures = walk(&perf("register_netdevice"), &mut guest);
        let formats: Vec<_> = captures.iter().map(|(_, format)| *format).collect();
        assert_eq!(formats, [Format::PerfData, Format::Notes, Format::PerfScript]);
        insta::assert_snapshot!("perf_scripts", guest.asked.join("\n----\n"));
    }

    #[test]
    fn what_is_done_in_the_guest_before_is_known_beforehand() {
        let preparation = |spec: &ProbeSpec| preparation(std::slice::from_ref(spec));
        let mut guest = ScriptedGuest::answering(&[(0, ADDED), (0, "")]);
        prepare(&perf("register_netdevice"), &mut guest).unwrap();
        let done = guest.asked.join("\n").replace("--event='probe:register_netdevice' ", "");
        assert_eq!(preparation(&perf("register_netdevice")), done);
        assert_ne!(preparation(&perf("register_netdevice")), preparation(&perf("tun_chr_ioctl")));
        let kind = ProbeKind::Ftrace { only: Vec::new(), instance: None };
        assert_eq!(preparation(&ProbeSpec { name: "ftrace".into(), kind }), "");
    }

    #[test]
    fn a_function_name_cannot_leave_its_quotes() {
        let mut guest = ScriptedGuest::answering(&[(1, "")]);
        prepare(&perf("x'; reboot; '"), &mut guest).unwrap_err();
        assert_eq!(guest.asked, [r"perf probe --add='x'\''; reboot; '\'''"]);
    }

    #[test]
    fn what_perf_says_against_a_function_is_quoted_without_its_escape_codes() {
        let said =
            "\x1b[31mProbe point 'no_such_function' not found.\x1b[0m\n  Error: Failed to add events.\n";
        let mut guest = ScriptedGuest::answering(&[(254, said)]);
        let error = prepare(&perf("no_such_function"), &mut guest).unwrap_err();
        assert_eq!(error.blame(), Blame::Guest);
        assert_eq!(
            error.to_string(),
            "probe perf: `perf probe no_such_function` failed with status 254: \
             Probe point 'no_such_function' not found.; Error: Failed to add events."
        );
    }

    #[test]
    fn a_guest_without_perf_says_so() {
        let mut guest = ScriptedGuest::answering(&[(127, "sh: perf: not found\n")]);
        let error = prepare(&perf("register_netdevice"), &mut guest).unwrap_err();
        assert!(error.to_string().ends_with("failed with status 127: sh: perf: not found"), "{error}");
        assert!(error.hint().unwrap().contains("provision"));
    }

    #[test]
    fn a_perf_probe_that_names_no_event_is_no_success() {
        let mut guest = ScriptedGuest::answering(&[(0, "all fine\n")]);
        let error = prepare(&perf("f"), &mut guest).unwrap_err();
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
            let mut guest = ScriptedGuest::answering(&[
                (0, ""),
                (0, ""),
                (0, ""),
                (0, "trace"),
                (0, "stats"),
                (0, ""),
                (0, ""),
            ]);
            walk(&ProbeSpec { name: "kprobe".into(), kind }, &mut guest);
            let ours = [&guest.asked[0], guest.asked.last().unwrap()].map(String::as_str);
            insta::assert_snapshot!(format!("kprobe_{name}_scripts"), ours.join("\n----\n"));
        }
    }

    #[test]
    fn without_dwarf_the_truth_is_refused_and_says_why() {
        let kind = ProbeKind::Gdb { function: "f".into(), hits: 1, traced: false };
        let mut guest = ScriptedGuest::default();
        let error = arm(&ProbeSpec { name: "gdb".into(), kind }, &mut guest, None).unwrap_err();
        assert_eq!(error.to_string(), "probe gdb: there is no DWARF of this kernel to unwind with");
        assert!(guest.asked.is_empty());
    }
}

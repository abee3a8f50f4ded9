//! The probes: how each tracing mechanism is armed, stopped and fetched. All through [`Guest`], but for gdb, which
//! looks from outside.

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

/// How long one command of ours in the guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long the transfer or rendering of one capture may take.
const CAPTURE_LIMIT: Duration = Duration::from_secs(300);

/// What the files that are parsed are called, behind the probe's name.
const TRACE: &str = "trace.txt";
const PERF_SCRIPT: &str = "perf-script.txt";
const GDB_STACKS: &str = "jsonl";

/// What a file of the run folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text of tracefs's `trace`, each symbol with its offset and address.
    FtraceText,
    /// `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso`, with the events of loss.
    PerfScript,
    /// Stacks as gdb saw them, JSON lines ([`kshot_stack::stack::gdb_json`]).
    GdbJson,
    /// `perf.data`: evidence, not parsed.
    PerfData,
    /// What goes with a capture and is for people: statistics of the buffers, perf's own messages.
    Notes,
}

/// One file that a probe brought home, raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The probe's name.
    pub probe: String,
    /// What it holds.
    pub format: Format,
    /// The file.
    pub path: PathBuf,
}

/// A probe that records.
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

/// What is at hand outside of the guest, for the one probe that records from there.
#[derive(Debug)]
pub struct Outside<'a> {
    /// The machine, whose gdb stub nobody else talks to.
    pub machine: &'a Machine,
    /// The DWARF of the kernel that runs, and where it is.
    pub loaded: &'a Loaded,
    /// What was begun before the machine was up.
    pub ahead: Ahead,
}

/// Why a probe is left out on a kernel, where it is: a kernel without DWARF has no truth.
pub fn absence(kind: &ProbeKind, kernel: &Kernel) -> Option<String> {
    let truthless = matches!(kind, ProbeKind::Gdb { .. }) && kernel.dwarf.is_none();
    truthless.then(|| format!("no DWARF of {}: perf stands in for the truth", kernel.name))
}

/// What a probe left in a run folder to be parsed.
pub fn captures(spec: &ProbeSpec, folder: &Path) -> Vec<Capture> {
    let kinds =
        [(TRACE, Format::FtraceText), (PERF_SCRIPT, Format::PerfScript), (GDB_STACKS, Format::GdbJson)];
    let capture = |(suffix, format): (&str, Format)| {
        let path = folder.join(format!("{}.{suffix}", file_stem(&spec.name)));
        path.is_file().then(|| Capture { probe: spec.name.clone(), format, path })
    };
    kinds.into_iter().filter_map(capture).collect()
}

/// A probe's name as part of a file name: no other name gives the same.
fn file_stem(probe: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let encode = |c: char| if plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) };
    probe.chars().map(encode).collect()
}

/// Begins what takes time and wants no guest yet: one of the probes may look from outside, through gdb. `vmlinux` is the
/// kernel that will run, with DWARF; `folder` the run folder; `index` where gdb keeps its indices of DWARF.
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

/// Whether a probe is armed with [`Outside`].
pub fn looks_from_outside(probe: &ProbeSpec) -> bool {
    matches!(probe.kind, ProbeKind::Gdb { .. })
}

/// Gets a probe ready in the guest, as far as that can be long before it records: a machine's state may be saved after
/// it.
///
/// # Errors
/// As for [`arm`].
pub fn prepare<G: Guest>(spec: &ProbeSpec, guest: &mut G) -> Result<(), ProbeError<G::Error>> {
    match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            Recording::of(&spec.name).prepare(&mut Asker::new(&spec.name, guest), event, call_graph)
        }
        ProbeKind::Ftrace { .. } | ProbeKind::Kprobe { .. } | ProbeKind::Gdb { .. } => Ok(()),
    }
}

/// All that [`prepare`] does for these probes, as text: guests for which it is the same are alike.
pub fn preparation(specs: &[ProbeSpec]) -> String {
    let of = |spec: &ProbeSpec| match &spec.kind {
        ProbeKind::Perf { event, call_graph } => {
            Some(Recording::of(&spec.name).preparation(event, call_graph))
        }
        ProbeKind::Ftrace { .. } | ProbeKind::Kprobe { .. } | ProbeKind::Gdb { .. } => None,
    };
    specs.iter().filter_map(of).collect::<Vec<_>>().join("\n")
}

/// Arms a probe that [`prepare`] has got ready. When this returns, it records.
///
/// # Errors
/// [`ProbeError::Refused`] with what the guest's tool said, or the guest is lost.
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
    /// Stops recording; what was recorded stays in the guest.
    ///
    /// # Errors
    /// As for [`arm`].
    pub fn stop<G: Guest>(&self, guest: &mut G) -> Result<(), ProbeError<G::Error>> {
        let asker = &mut Asker::new(&self.name, guest);
        match &self.mechanism {
            Mechanism::Ftrace(ftrace) => ftrace.stop(asker),
            Mechanism::Kprobe(kprobe) => kprobe.stop(asker),
            Mechanism::Gdb(truth) => Ok(truth.stop()?),
            Mechanism::Perf(recording) => recording.stop(asker),
        }
    }

    /// Brings what was recorded to `folder`, once [`Self::stop`] was called.
    ///
    /// # Errors
    /// As for [`arm`]; also when `folder` cannot be written.
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

    /// What ended the probe before it was stopped, if anything did and it can be told from here: a guest that
    /// stands still may be due to it.
    pub fn fault(&self) -> Option<GdbError> {
        match &self.mechanism {
            Mechanism::Gdb(truth) => truth.fault(),
            Mechanism::Ftrace(_) | Mechanism::Kprobe(_) | Mechanism::Perf(_) => None,
        }
    }
}

/// Runs a probe's scripts.
struct Asker<'a, G> {
    probe: &'a str,
    guest: &'a mut G,
}

impl<'a, G: Guest> Asker<'a, G> {
    fn new(probe: &'a str, guest: &'a mut G) -> Self {
        Self { probe, guest }
    }

    /// Runs a script that has to end with status 0; returns its output. `doing` says what it is for.
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

    /// [`file_stem`] of its probe.
    fn file_stem(&self) -> String {
        file_stem(self.probe)
    }
}

/// Where a probe's captures go.
struct Home<'a, G> {
    asker: Asker<'a, G>,
    folder: &'a Path,
    captures: Vec<Capture>,
}

impl<G: Guest> Home<'_, G> {
    /// Fetches a file of the guest as `<probe>.<suffix>`.
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

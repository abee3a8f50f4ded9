//! The perf probe: `perf record` on one event, controlled through its control pipe (perf-record(1), `--control`), so
//! that it is recording for certain when the first step runs. `perf.data` is decoded on the host
//! ([`kshot_stack::stack::perf_data`]), with the symbols of the guest's kernel.

use std::fs::File;
use std::io::{self, BufReader, Write};

use flate2::bufread::GzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, CaptureContent, PrintedText, ProbeFiles, file_stem};
use super::guest::{CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, ProbeGuest};
use super::{Armed, Probe, ProbeError, TruthContext};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::kallsyms::Kallsyms;
use kshot_stack::stack::{Parsed, perf_data, perf_script};
use kshot_stack::text::quote;

/// The suffix of the raw `perf.data`.
const PERF_DATA: &str = "perf.data";
/// The suffix of the kernel's symbols that belong to a `perf.data`, the text of `/proc/kallsyms`.
const KALLSYMS: &str = "kallsyms.gz";
/// The suffix of the output of `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso`, including lost events. Runs
/// without a symbols file have it from the guest.
const PERF_SCRIPT: &str = "perf-script.txt";

/// The command that lists the loaded modules and their addresses (proc(5)).
const LIST_MODULES: &str = "cut -d ' ' -f 1,6 /proc/modules";

/// The last line of perf's messages if the loaded modules changed while perf ran.
const MODULES_CHANGED: &str = "# other modules are loaded now";

/// The shell commands that report a perf that ended too early.
const REPORT_EARLY_END: &str = "echo \"it ended with status $(cat status)\"; cat log; exit 1";

/// `perf record` on one event with call chains.
#[derive(Clone, Debug, Serialize)]
pub struct PerfProbe {
    /// The event.
    pub event: PerfEvent,
    /// The argument of `--call-graph`.
    pub call_graph: String,
}

/// What perf records.
#[derive(Clone, Debug, Serialize)]
pub enum PerfEvent {
    /// `perf probe FUNCTION`, then its event `probe:FUNCTION`.
    Probe(String),
    /// An event that exists: `sched:sched_process_fork`.
    Event(String),
}

/// `perf record` on one event: exactly one of `probe` and `event`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPerf {
    /// A function to probe, with `perf probe FUNCTION` and its event `probe:FUNCTION`.
    #[serde(default)]
    pub probe: Option<String>,
    /// An existing event: `sched:sched_process_fork`.
    #[serde(default)]
    pub event: Option<String>,
    /// The argument of `--call-graph` (perf-record(1)); default: `dwarf`.
    #[serde(default = "default_call_graph")]
    pub call_graph: String,
}

fn default_call_graph() -> String {
    "dwarf".into()
}

/// A `perf record` in the background of the guest.
#[derive(Debug)]
struct PerfRecord {
    /// The probe's folder in the guest: control pipes `ctl` and `ack`; `perf.data` and `log`, written by perf;
    /// `status`, its exit status; `kallsyms` and `modules`, the kernel's symbols and modules at the start.
    folder: String,
}

impl RawPerf {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<PerfProbe, Box<YamlError>> {
        source.check_characters("probes", "call-graph", &self.call_graph, ",_-")?;
        let event = match (self.probe, self.event) {
            (Some(function), None) => {
                source.check_characters("probes", "a function", &function, "_.$")?;
                PerfEvent::Probe(function)
            }
            (None, Some(event)) => {
                source.check_characters("probes", "an event", &event, "_:-.*")?;
                PerfEvent::Event(event)
            }
            _ => {
                let message = "`perf` has exactly one of the keys `probe`, `event`".into();
                return Err(source.error("probes", "perf", message));
            }
        };
        Ok(PerfProbe { event, call_graph: self.call_graph })
    }
}

impl Probe for PerfProbe {
    fn further_needs(&self) -> &'static [&'static str] {
        match self.event {
            PerfEvent::Probe(_) => &["perf probe"],
            PerfEvent::Event(_) => &[],
        }
    }

    fn needs_perf(&self) -> bool {
        true
    }

    /// Starts perf with recording disabled, and fetches the kernel's symbols.
    fn prepare(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        let events = match &self.event {
            PerfEvent::Event(name) => vec![name.clone()],
            PerfEvent::Probe(function) => add_probe_points(&mut fetcher.guest, function)?,
        };
        let record = PerfRecord::of(fetcher.guest.probe);
        let script = record.start_script(&events, &self.call_graph);
        fetcher.guest.run("`perf record`", &script, COMMAND_LIMIT)?;
        record.fetch_symbols(fetcher)
    }

    /// The function's name stands in place of the events that perf creates for it.
    fn preparation(&self, probe: &str) -> Option<String> {
        let record = PerfRecord::of(probe);
        Some(match &self.event {
            PerfEvent::Event(name) => record.start_script(std::slice::from_ref(name), &self.call_graph),
            PerfEvent::Probe(function) => {
                format!("{}\n{}", perf_probe_command(function), record.start_script(&[], &self.call_graph))
            }
        })
    }

    fn prepared_files(&self) -> &'static [&'static str] {
        &[KALLSYMS]
    }

    /// Enables recording.
    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        _: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError> {
        let record = PerfRecord::of(guest.probe);
        let wait_script = "read -r answer < ack
                 if [ \"$answer\" = ack ]; then exit; fi";
        let script = record.control_script("enable", wait_script, REPORT_EARLY_END);
        guest.run("`perf record`", &script, COMMAND_LIMIT)?;
        Ok(Box::new(record))
    }

    fn capture_suffix(&self, files: ProbeFiles<'_>) -> &'static str {
        if files.path(KALLSYMS).is_file() { PERF_DATA } else { PERF_SCRIPT }
    }

    /// Of a run without a symbols file.
    fn guest_file(&self, probe: &str) -> Option<String> {
        Some(PerfRecord::of(probe).path("script"))
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<Parsed> {
        if is_binary(capture) {
            perf_data::parse(capture.open()?, &symbols(capture)?)
        } else {
            perf_script::parse(capture.open()?)
        }
    }

    /// perf itself prints explicit fields, so that the output does not depend on its defaults.
    fn printed(&self, capture: &Capture) -> Option<PrintedText> {
        let record = PerfRecord::of(&capture.probe);
        let script = format!(
            "cd {folder} || exit
             perf script --kallsyms=kallsyms -i perf.data --show-lost-events \
                 -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}",
            folder = quote(&record.folder),
        );
        let path = capture.beside(PERF_SCRIPT);
        is_binary(capture).then(|| PrintedText { path, script, output: record.path("script") })
    }

    fn print(&self, capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
        perf_data::print_script(|| capture.open(), &symbols(capture)?, out)
    }
}

fn is_binary(capture: &Capture) -> bool {
    capture.content == CaptureContent::Stacks && capture.path == capture.beside(PERF_DATA)
}

/// The symbols of the kernel that a `perf.data` was recorded on.
fn symbols(capture: &Capture) -> io::Result<Kallsyms> {
    let file = File::open(capture.beside(KALLSYMS))?;
    Kallsyms::read(BufReader::new(GzDecoder::new(BufReader::new(file))))
}

impl PerfRecord {
    fn of(probe: &str) -> Self {
        Self { folder: format!("/tmp/kshot-{}", file_stem(probe)) }
    }

    /// The script that starts perf on `events`.
    fn start_script(&self, events: &[String], call_graph: &str) -> String {
        let events: String = events.iter().map(|event| format!("--event={} ", quote(event))).collect();
        // Both pipes are opened for reading and writing, so neither side blocks in open. perf starts disabled (-D -1)
        // and answers `ping` with `ack`; if it ends instead, the surrounding shell answers, so one blocking read tells
        // which. -N, -B: at its end perf need not copy the kernel's symbols to its cache nor scan the whole recording
        // for build ids.
        format!(
            "mkdir -p {folder} && cd {folder} && rm -f * && mkfifo ctl ack || exit
             {LIST_MODULES} > modules; cat /proc/kallsyms > kallsyms || exit
             exec 3<>ctl 4<>ack
             {{
                 perf record {events}-aRNB -g --call-graph={call_graph} \
                     -D -1 --control fifo:ctl,ack -o perf.data > log 2>&1
                 echo $? > status.new; mv status.new status; echo ended >&4
             }} < /dev/null > /dev/null 2>&1 &
             echo ping >&3
             read -r answer <&4
             [ \"$answer\" = ack ] && exit
             {REPORT_EARLY_END}",
            folder = quote(&self.folder),
            call_graph = quote(call_graph),
        )
    }

    /// The script that sends `command` to a running perf, waits for its answer with `heard`, and then runs `then`.
    /// `status` is written before `ended` is sent, and the pipes are open before `status` is checked, so the end of
    /// perf is never missed. The script contains no `&`, so it needs no channel of its own.
    fn control_script(&self, command: &str, wait_script: &str, then: &str) -> String {
        format!(
            "cd {folder} || exit
             exec 3<>ctl 4<>ack
             if [ ! -e status ]; then
                 echo {command} > ctl
                 {wait_script}
             fi
             {then}",
            folder = quote(&self.folder),
        )
    }

    fn fetch_symbols(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        fetcher.fetch_gzipped(&self.path("kallsyms"), KALLSYMS)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

impl Armed for PerfRecord {
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        // perf acknowledges `stop`, too, before it ends.
        let wait_script = "while read -r answer < ack; do if [ \"$answer\" = ended ]; then break; fi; done";
        let then = "status=$(cat status)
             [ \"$status\" = 0 ] || cat log
             exit $status";
        guest.run("`perf record`", &self.control_script("stop", wait_script, then), CAPTURE_LIMIT).map(drop)
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        fetcher.fetch_as(&self.path("perf.data"), PERF_DATA, CaptureContent::Stacks)?;
        // The fetched symbols are valid as long as the same modules are loaded.
        let script = format!(
            "cd {folder} || exit
             cat log
             [ \"$({LIST_MODULES})\" = \"$(cat modules)\" ] && exit
             cat /proc/kallsyms > kallsyms && echo '{MODULES_CHANGED}'",
            folder = quote(&self.folder),
        );
        let messages = fetcher.guest.run("reading perf's messages", &script, COMMAND_LIMIT)?;
        fetcher.write(&messages, "perf-log.txt", CaptureContent::Supplement)?;
        if messages.ends_with(format!("{MODULES_CHANGED}\n").as_bytes()) {
            self.fetch_symbols(fetcher)
        } else {
            Ok(())
        }
    }
}

/// Adds probe points at a function and returns their events. They are never removed: nothing else records them.
fn add_probe_points(guest: &mut ProbeGuest<'_>, function: &str) -> Result<Vec<String>, ProbeError> {
    let doing = format!("`perf probe {function}`");
    let said = guest.run(&doing, &perf_probe_command(function), COMMAND_LIMIT)?;
    let made = parse_added_events(&said);
    if made.is_empty() {
        let (probe, doing) = (guest.probe.to_owned(), format!("{doing}, which names no event,"));
        return Err(ProbeError::ToolFailed { probe, doing, status: 0, said: super::error::said(&said) });
    }
    Ok(made)
}

/// The script that adds probe points at a function. Without the name of its module `perf probe` finds none outside of the
/// kernel's own code.
fn perf_probe_command(function: &str) -> String {
    format!(
        r#"function={}
           module=$(grep -F -m 1 "$(printf ' %s\t[' "$function")" /proc/kallsyms)
           module=${{module##*[}}
           perf probe ${{module:+"--module=${{module%]}}"}} --add="$function""#,
        quote(function)
    )
}

/// The events in the output of `perf probe --add`:
///
/// ```text
/// Added new event:
///   probe:register_netdevice (on register_netdevice)
///
/// You can now use it in all perf tools, such as:
///
///     perf record -e probe:register_netdevice -aR sleep 1
/// ```
fn parse_added_events(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    let event = |line: &str| {
        let (event, _) = line.trim().split_once(" (on ")?;
        let event = event.trim_end();
        (event.contains(':') && !event.contains(char::is_whitespace)).then(|| event.to_owned())
    };
    said.lines().filter_map(event).collect()
}

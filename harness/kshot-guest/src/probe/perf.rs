//! The perf probe: `perf record` on one event, controlled through its control pipe (perf-record(1),
//! `--control`), so that it is recording for certain when the first step runs. `perf.data` is decoded on the
//! host ([`kshot_stack::stack::perf_data`]), with the symbols of the guest's kernel.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, CaptureContent, ProbeFiles, TextForm};
use super::ftrace::TRACEFS;
use super::guest::{
    CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, END_AS_IT_ENDED, GuestFolder, ProbeGuest, Wanted,
    in_background,
};
use super::kernel_symbols::{self, KALLSYMS};
use super::{Armed, Probe, ProbeError, TruthContext};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::{ParsedCapture, perf_data, perf_script};
use kshot_stack::text::quote;

/// The suffix of the raw `perf.data`.
const PERF_DATA: &str = "perf.data";
/// The suffix of the output of `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso`, including lost
/// events. Runs without a symbols file have it from the guest.
const PERF_SCRIPT: &str = "perf-script.txt";

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
    /// A kprobe at this function, with the event `probe:FUNCTION`, as `perf probe FUNCTION` makes it.
    Probe(String),
    /// An existing event, such as `sched:sched_process_fork`.
    Event(String),
}

/// `perf record` on one event: exactly one of `probe` and `event`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPerf {
    /// A function to probe, with the event `probe:FUNCTION`, as `perf probe FUNCTION` makes it.
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
    /// The probe's folder in the guest: control pipes `ctl` and `ack`; `perf.data` and `log`, written by
    /// perf; `status`, its exit status; `kallsyms` and `modules`, the kernel's symbols and modules at the
    /// start.
    folder: GuestFolder,
}

impl RawPerf {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<PerfProbe, Box<YamlError>> {
        source.check_characters("probes", "call-graph", &self.call_graph, ",_-")?;
        let keys = [("probe", self.probe.map(PerfEvent::Probe)), ("event", self.event.map(PerfEvent::Event))];
        let event = source.exactly_one("probes", "`perf`", keys)?;
        match &event {
            PerfEvent::Probe(function) => source.check_characters("probes", "a function", function, "_.$")?,
            PerfEvent::Event(event) => source.check_characters("probes", "an event", event, "_:-.*")?,
        }
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

    fn function(&self) -> Option<&str> {
        match &self.event {
            PerfEvent::Probe(function) => Some(function),
            PerfEvent::Event(_) => None,
        }
    }

    /// Starts perf with recording disabled, and fetches the kernel's symbols.
    fn prepare(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        let record = PerfRecord::of(fetcher.guest.probe);
        if let Some(script) = self.kprobe_script() {
            fetcher.guest.run(
                &format!("making the kprobe of {}", self.event_name()),
                &script,
                COMMAND_LIMIT,
            )?;
        }
        fetcher.guest.run("`perf record`", &record.start_script(self), COMMAND_LIMIT)?;
        kernel_symbols::fetch(fetcher, &record.folder)?;
        kernel_symbols::check_function(fetcher, self.function())
    }

    fn preparation(&self, probe: &str) -> Option<String> {
        let start = PerfRecord::of(probe).start_script(self);
        Some(self.kprobe_script().into_iter().chain([start]).collect::<Vec<_>>().join("\n"))
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
        if kernel_symbols::are_in(files) { PERF_DATA } else { PERF_SCRIPT }
    }

    /// Only for a run without a symbols file.
    fn guest_file(&self, probe: &str) -> Option<String> {
        Some(PerfRecord::of(probe).folder.path("script"))
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<ParsedCapture> {
        if is_binary(capture) {
            perf_data::parse(capture.open()?, &kernel_symbols::of(capture, io::empty())?)
        } else {
            perf_script::parse(capture.open()?)
        }
    }

    /// perf itself prints explicit fields, so that the output does not depend on its defaults.
    fn printed(&self, capture: &Capture) -> Option<TextForm> {
        let record = PerfRecord::of(&capture.probe);
        let script = format!(
            "cd {folder} || exit
             perf script --kallsyms=kallsyms -i perf.data --show-lost-events \
                 -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}",
            folder = record.folder.quoted(),
        );
        let path = capture.beside(PERF_SCRIPT);
        is_binary(capture).then(|| TextForm { path, script, output: record.folder.path("script") })
    }

    fn print(&self, capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
        perf_data::print_script(|| capture.open(), &kernel_symbols::of(capture, io::empty())?, out)
    }
}

fn is_binary(capture: &Capture) -> bool {
    capture.content == CaptureContent::Stacks && capture.path == capture.beside(PERF_DATA)
}

impl PerfProbe {
    /// The script that makes the kprobe of a function, which is never removed: nothing else records it. `perf
    /// probe` takes a second in an emulated guest. Another perf probe may have the same function: then both
    /// record the same event.
    fn kprobe_script(&self) -> Option<String> {
        let PerfEvent::Probe(function) = &self.event else { return None };
        let event = kprobe_name(function);
        Some(format!(
            "cd {TRACEFS} || exit
             kprobe={kprobe}
             if [ -e events/probe/{event} ]; then
                 grep -qxF \"$kprobe\" kprobe_events && exit
                 echo 'another kprobe has the name:'; grep -F probe/{event} kprobe_events; exit 1
             fi
             echo \"$kprobe\" >> kprobe_events && exit
             tail -n 3 error_log; exit 1",
            kprobe = quote(&format!("p:probe/{event} {function}")),
        ))
    }

    /// The event as perf knows it.
    fn event_name(&self) -> String {
        match &self.event {
            PerfEvent::Event(name) => name.clone(),
            PerfEvent::Probe(function) => format!("probe:{}", kprobe_name(function)),
        }
    }
}

/// The name of the event of a function's kprobe: the function's, without the compiler's suffix (`.isra.0`),
/// as `perf probe` has it.
pub(super) fn kprobe_name(function: &str) -> String {
    let name = function.trim_start_matches('.');
    name.split('.').next().unwrap_or_default().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

impl PerfRecord {
    fn of(probe: &str) -> Self {
        Self { folder: GuestFolder::of(probe) }
    }

    /// The script that starts perf on the event of `probe`.
    fn start_script(&self, probe: &PerfProbe) -> String {
        // Both pipes are opened for reading and writing, so neither side blocks in open. perf starts disabled
        // (-D -1) and answers `ping` with `ack`; if it ends instead, the surrounding shell answers, so one
        // blocking read tells which. -N, -B: at its end perf need not copy the kernel's symbols to its cache
        // nor scan the whole recording for build ids.
        let perf = format!(
            "perf record --event={event} -aRNB -g --call-graph={call_graph} \
                 -D -1 --control fifo:ctl,ack -o perf.data > log 2>&1",
            event = quote(&probe.event_name()),
            call_graph = quote(&probe.call_graph),
        );
        format!(
            "mkdir -p {folder} && cd {folder} && rm -f * && mkfifo ctl ack || exit
             {save_symbols} || exit
             exec 3<>ctl 4<>ack
             {perf}
             echo ping >&3
             read -r answer <&4
             [ \"$answer\" = ack ] && exit
             {REPORT_EARLY_END}",
            folder = self.folder.quoted(),
            save_symbols = kernel_symbols::save(),
            perf = in_background(&perf, 4),
        )
    }

    /// The script that sends `command` to a running perf, waits for its answer with `wait_script`, and then
    /// runs `then`. The pipes are open before `status` is looked for, so the end of perf is never missed. The
    /// script contains no `&`, so it needs no channel of its own.
    fn control_script(&self, command: &str, wait_script: &str, then: &str) -> String {
        format!(
            "cd {folder} || exit
             exec 3<>ctl 4<>ack
             if [ ! -e status ]; then
                 echo {command} > ctl
                 {wait_script}
             fi
             {then}",
            folder = self.folder.quoted(),
        )
    }
}

impl Armed for PerfRecord {
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        // perf acknowledges `stop`, too, before it ends.
        let wait_script = "while read -r answer < ack; do if [ \"$answer\" = ended ]; then break; fi; done";
        let script = self.control_script("stop", wait_script, END_AS_IT_ENDED);
        guest.run("`perf record`", &script, CAPTURE_LIMIT).map(drop)
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        kernel_symbols::refresh(fetcher, &self.folder)?;
        fetcher.fetch_as(&[
            Wanted {
                from: &self.folder.path("perf.data"),
                suffix: PERF_DATA,
                content: CaptureContent::Stacks,
            },
            Wanted {
                from: &self.folder.path("log"),
                suffix: "perf-log.txt",
                content: CaptureContent::Supplement,
            },
        ])
    }
}

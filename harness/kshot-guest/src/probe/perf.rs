//! The perf probe: `perf record` on one event, controlled through its control pipe (perf-record(1), `--control`), so
//! that it is recording for certain when the first step runs. `perf.data` is decoded on the host
//! ([`kshot_stack::stack::perf_data`]), with the symbols of the guest's kernel.

use super::spec::PerfEvent;
use super::{
    CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, CaptureFormat, KALLSYMS, PERF_DATA, ProbeError, ProbeGuest,
    file_stem,
};
use crate::session::Guest;
use kshot_stack::text::quote;

/// The command that lists the loaded modules and their addresses (proc(5)).
const LIST_MODULES: &str = "cut -d ' ' -f 1,6 /proc/modules";

/// The last line of perf's messages if the loaded modules changed while perf ran.
const MODULES_CHANGED: &str = "# other modules are loaded now";

/// The shell commands that report a perf that ended too early.
const REPORT_EARLY_END: &str = "echo \"it ended with status $(cat status)\"; cat log; exit 1";

/// A `perf record` in the background of the guest.
#[derive(Debug)]
pub(super) struct PerfProbe {
    /// The probe's folder in the guest: control pipes `ctl` and `ack`; `perf.data` and `log`, written by perf;
    /// `status`, its exit status; `kallsyms` and `modules`, the kernel's symbols and modules at the start.
    folder: String,
}

impl PerfProbe {
    pub(super) fn of(probe: &str) -> Self {
        Self { folder: format!("/tmp/kshot-{}", file_stem(probe)) }
    }

    /// The scripts of [`Self::prepare`] as text, with the function's name in place of the events that perf creates for
    /// it.
    pub(super) fn preparation(&self, event: &PerfEvent, call_graph: &str) -> String {
        match event {
            PerfEvent::Event(name) => self.start_script(std::slice::from_ref(name), call_graph),
            PerfEvent::Probe(function) => {
                format!("{}\n{}", perf_probe_command(function), self.start_script(&[], call_graph))
            }
        }
    }

    /// Starts perf with recording disabled, and fetches the kernel's symbols.
    pub(super) fn prepare<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
        event: &PerfEvent,
        call_graph: &str,
    ) -> Result<(), ProbeError<G::Error>> {
        let events = match event {
            PerfEvent::Event(name) => vec![name.clone()],
            PerfEvent::Probe(function) => add_probe_points(&mut fetcher.guest, function)?,
        };
        fetcher.guest.run("`perf record`", &self.start_script(&events, call_graph), COMMAND_LIMIT)?;
        self.fetch_symbols(fetcher)
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

    /// Enables recording.
    pub(super) fn start<G: Guest>(&self, guest: &mut ProbeGuest<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let wait_script = "read -r answer < ack
                 if [ \"$answer\" = ack ]; then exit; fi";
        guest
            .run(
                "`perf record`",
                &self.control_script("enable", wait_script, REPORT_EARLY_END),
                COMMAND_LIMIT,
            )
            .map(drop)
    }

    pub(super) fn stop<G: Guest>(&self, guest: &mut ProbeGuest<'_, G>) -> Result<(), ProbeError<G::Error>> {
        // perf acknowledges `stop`, too, before it ends.
        let wait_script = "while read -r answer < ack; do if [ \"$answer\" = ended ]; then break; fi; done";
        let then = "status=$(cat status)
             [ \"$status\" = 0 ] || cat log
             exit $status";
        guest.run("`perf record`", &self.control_script("stop", wait_script, then), CAPTURE_LIMIT).map(drop)
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

    pub(super) fn fetch<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        fetcher.fetch_as(&self.path("perf.data"), PERF_DATA, CaptureFormat::PerfData)?;
        // The fetched symbols are valid as long as the same modules are loaded.
        let script = format!(
            "cd {folder} || exit
             cat log
             [ \"$({LIST_MODULES})\" = \"$(cat modules)\" ] && exit
             cat /proc/kallsyms > kallsyms && echo '{MODULES_CHANGED}'",
            folder = quote(&self.folder),
        );
        let messages = fetcher.guest.run("reading perf's messages", &script, COMMAND_LIMIT)?;
        fetcher.write(&messages, "perf-log.txt", CaptureFormat::Supplement)?;
        if messages.ends_with(format!("{MODULES_CHANGED}\n").as_bytes()) {
            self.fetch_symbols(fetcher)
        } else {
            Ok(())
        }
    }

    fn fetch_symbols<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        fetcher.fetch_gzipped(&self.path("kallsyms"), KALLSYMS)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

/// How perf itself prints a recording in the guest.
#[derive(Debug)]
pub struct PerfScript {
    /// The script that runs `perf script`, with explicit fields, so that the output does not depend on perf's defaults.
    pub script: String,
    /// The path of its output in the guest.
    pub output: String,
}

impl PerfScript {
    /// For the recording of the probe of this name, after it was stopped.
    pub fn of(probe: &str) -> Self {
        let recording = PerfProbe::of(probe);
        let script = format!(
            "cd {folder} || exit
             perf script --kallsyms=kallsyms -i perf.data --show-lost-events \
                 -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}",
            folder = quote(&recording.folder),
        );
        Self { script, output: recording.path("script") }
    }
}

/// Adds probe points at a function and returns their events. They are never removed: nothing else records them.
fn add_probe_points<G: Guest>(
    guest: &mut ProbeGuest<'_, G>,
    function: &str,
) -> Result<Vec<String>, ProbeError<G::Error>> {
    let doing = format!("`perf probe {function}`");
    let said = guest.run(&doing, &perf_probe_command(function), COMMAND_LIMIT)?;
    let made = parse_added_events(&said);
    if made.is_empty() {
        let (probe, doing) = (guest.probe.to_owned(), format!("{doing}, which names no event,"));
        return Err(ProbeError::ToolFailed { probe, doing, status: 0, said: super::error::said(&said) });
    }
    Ok(made)
}

/// The `perf probe` command that adds probe points at a function.
fn perf_probe_command(function: &str) -> String {
    format!("perf probe --add={}", quote(function))
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

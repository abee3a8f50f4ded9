//! The perf probe: `perf record` on one event, controlled through its control pipe (perf-record(1), `--control`), so
//! that it is recording for certain when the first step runs.

use super::spec::PerfEvent;
use super::{
    CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, CaptureFormat, PERF_SCRIPT, ProbeError, ProbeGuest,
    file_stem,
};
use crate::session::Guest;
use kshot_stack::text::quote;

/// The command that lists the loaded modules and their addresses (proc(5)).
const LIST_MODULES: &str = "cut -d ' ' -f 1,6 /proc/modules";

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

    /// Starts perf with recording disabled.
    pub(super) fn prepare<G: Guest>(
        &self,
        guest: &mut ProbeGuest<'_, G>,
        event: &PerfEvent,
        call_graph: &str,
    ) -> Result<(), ProbeError<G::Error>> {
        let events = match event {
            PerfEvent::Event(name) => vec![name.clone()],
            PerfEvent::Probe(function) => add_probe_points(guest, function)?,
        };
        guest.run("`perf record`", &self.start_script(&events, call_graph), COMMAND_LIMIT).map(drop)
    }

    /// The script that starts perf on `events`.
    fn start_script(&self, events: &[String], call_graph: &str) -> String {
        let events: String = events.iter().map(|event| format!("--event={} ", quote(event))).collect();
        // Both pipes are opened for reading and writing, so neither side blocks in open. perf starts disabled (-D -1)
        // and answers `ping` with `ack`; if it ends instead, the surrounding shell answers, so one blocking read tells
        // which. -N, -B: at its end perf need not copy the kernel's symbols to its cache nor scan the whole recording
        // for build ids.
        //
        // Printing kallsyms is slow, so `perf script` gets it from a file, as long as the same modules are loaded.
        format!(
            "mkdir -p {folder} && cd {folder} && rm -f * && mkfifo ctl ack || exit
             cat /proc/kallsyms > kallsyms; {LIST_MODULES} > modules
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
        let (inside, folder) = (|name: &str| format!("{}/{name}", self.folder), quote(&self.folder));
        // Raw data first: the rendering may fail.
        fetcher.fetch_as(&inside("perf.data"), "perf.data", CaptureFormat::PerfData)?;
        fetcher.fetch_as(&inside("log"), "perf-log.txt", CaptureFormat::Supplement)?;
        // Explicit fields, so that the output does not depend on perf's defaults; every symbol with offset and address.
        let render = format!(
            "cd {folder} || exit
             if [ \"$({LIST_MODULES})\" = \"$(cat modules)\" ]; then symbols=--kallsyms=kallsyms; else symbols=; fi
             perf script $symbols -i perf.data --show-lost-events -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}"
        );
        fetcher.guest.run("`perf script`", &render, CAPTURE_LIMIT)?;
        fetcher.fetch_as(&inside("script"), PERF_SCRIPT, CaptureFormat::PerfScript)
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

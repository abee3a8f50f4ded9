//! The perf probe: `perf record` on one event, controlled through its control pipe (perf-record(1), `--control`), so
//! that it is recording for certain when the first step runs.

use super::spec::PerfEvent;
use super::{Asker, CAPTURE_LIMIT, COMMAND_LIMIT, Format, Home, PERF_SCRIPT, ProbeError, file_stem};
use crate::session::Guest;
use kshot_stack::text::quote;

/// The command that lists the loaded modules and their addresses (proc(5)).
const MODULES: &str = "cut -d ' ' -f 1,6 /proc/modules";

/// The shell commands that report a perf that ended too early.
const ENDED: &str = "echo \"it ended with status $(cat status)\"; cat log; exit 1";

/// A `perf record` in the background of the guest.
#[derive(Debug)]
pub(super) struct Recording {
    /// The probe's folder in the guest: control pipes `ctl` and `ack`; `perf.data` and `log`, written by perf;
    /// `status`, its exit status; `kallsyms` and `modules`, the kernel's symbols and modules at the start.
    folder: String,
}

impl Recording {
    pub(super) fn of(probe: &str) -> Self {
        Self { folder: format!("/tmp/kshot-{}", file_stem(probe)) }
    }

    /// The scripts of [`Self::prepare`] as text, with the function's name in place of the events that perf creates for
    /// it.
    pub(super) fn preparation(&self, event: &PerfEvent, call_graph: &str) -> String {
        match event {
            PerfEvent::Event(name) => self.begin(std::slice::from_ref(name), call_graph),
            PerfEvent::Probe(function) => format!("{}\n{}", add(function), self.begin(&[], call_graph)),
        }
    }

    /// Starts perf with recording disabled.
    pub(super) fn prepare<G: Guest>(
        &self,
        asker: &mut Asker<'_, G>,
        event: &PerfEvent,
        call_graph: &str,
    ) -> Result<(), ProbeError<G::Error>> {
        let events = match event {
            PerfEvent::Event(name) => vec![name.clone()],
            PerfEvent::Probe(function) => probe(asker, function)?,
        };
        asker.ask("`perf record`", &self.begin(&events, call_graph), COMMAND_LIMIT).map(drop)
    }

    /// The script that starts perf on `events`.
    fn begin(&self, events: &[String], call_graph: &str) -> String {
        let events: String = events.iter().map(|event| format!("--event={} ", quote(event))).collect();
        // Both pipes are opened for reading and writing, so neither side blocks in open. perf starts disabled (-D -1)
        // and answers `ping` with `ack`; if it ends instead, the surrounding shell answers, so one blocking read tells
        // which. -N, -B: at its end perf need not copy the kernel's symbols to its cache nor scan the whole recording
        // for build ids.
        //
        // Printing kallsyms is slow, so `perf script` gets it from a file, as long as the same modules are loaded.
        format!(
            "mkdir -p {folder} && cd {folder} && rm -f * && mkfifo ctl ack || exit
             cat /proc/kallsyms > kallsyms; {MODULES} > modules
             exec 3<>ctl 4<>ack
             {{
                 perf record {events}-aRNB -g --call-graph={call_graph} \
                     -D -1 --control fifo:ctl,ack -o perf.data > log 2>&1
                 echo $? > status.new; mv status.new status; echo ended >&4
             }} < /dev/null > /dev/null 2>&1 &
             echo ping >&3
             read -r answer <&4
             [ \"$answer\" = ack ] && exit
             {ENDED}",
            folder = quote(&self.folder),
            call_graph = quote(call_graph),
        )
    }

    /// Enables recording.
    pub(super) fn start<G: Guest>(&self, asker: &mut Asker<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let heard = "read -r answer < ack
                 if [ \"$answer\" = ack ]; then exit; fi";
        asker.ask("`perf record`", &self.steer("enable", heard, ENDED), COMMAND_LIMIT).map(drop)
    }

    pub(super) fn stop<G: Guest>(&self, asker: &mut Asker<'_, G>) -> Result<(), ProbeError<G::Error>> {
        // perf acknowledges `stop`, too, before it ends.
        let heard = "while read -r answer < ack; do if [ \"$answer\" = ended ]; then break; fi; done";
        let then = "status=$(cat status)
             [ \"$status\" = 0 ] || cat log
             exit $status";
        asker.ask("`perf record`", &self.steer("stop", heard, then), CAPTURE_LIMIT).map(drop)
    }

    /// The script that sends `command` to a running perf, waits for its answer with `heard`, and then runs `then`.
    /// `status` is written before `ended` is sent, and the pipes are open before `status` is checked, so the end of
    /// perf is never missed. The script contains no `&`, so it needs no channel of its own.
    fn steer(&self, command: &str, heard: &str, then: &str) -> String {
        format!(
            "cd {folder} || exit
             exec 3<>ctl 4<>ack
             if [ ! -e status ]; then
                 echo {command} > ctl
                 {heard}
             fi
             {then}",
            folder = quote(&self.folder),
        )
    }

    pub(super) fn fetch<G: Guest>(&self, home: &mut Home<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let (inside, folder) = (|name: &str| format!("{}/{name}", self.folder), quote(&self.folder));
        // Raw data first: the rendering may fail.
        home.bring(&inside("perf.data"), "perf.data", Format::PerfData)?;
        home.bring(&inside("log"), "perf-log.txt", Format::Notes)?;
        // Explicit fields, so that the output does not depend on perf's defaults; every symbol with offset and address.
        let render = format!(
            "cd {folder} || exit
             if [ \"$({MODULES})\" = \"$(cat modules)\" ]; then symbols=--kallsyms=kallsyms; else symbols=; fi
             perf script $symbols -i perf.data --show-lost-events -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}"
        );
        home.asker.ask("`perf script`", &render, CAPTURE_LIMIT)?;
        home.bring(&inside("script"), PERF_SCRIPT, Format::PerfScript)
    }
}

/// Adds probe points at a function and returns their events. They are never removed: nothing else records them.
fn probe<G: Guest>(asker: &mut Asker<'_, G>, function: &str) -> Result<Vec<String>, ProbeError<G::Error>> {
    let doing = format!("`perf probe {function}`");
    let said = asker.ask(&doing, &add(function), COMMAND_LIMIT)?;
    let made = added(&said);
    if made.is_empty() {
        let (probe, doing) = (asker.probe.to_owned(), format!("{doing}, which names no event,"));
        return Err(ProbeError::Refused { probe, doing, status: 0, said: super::error::said(&said) });
    }
    Ok(made)
}

/// The `perf probe` command that adds probe points at a function.
fn add(function: &str) -> String {
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
fn added(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    let event = |line: &str| {
        let (event, _) = line.trim().split_once(" (on ")?;
        let event = event.trim_end();
        (event.contains(':') && !event.contains(char::is_whitespace)).then(|| event.to_owned())
    };
    said.lines().filter_map(event).collect()
}

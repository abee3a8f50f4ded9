//! `perf record` on one event, as an engineer would call it, steered through its control pipe (perf-record(1),
//! `--control`), so that it is known to record when the first step runs.

use super::{Asker, CAPTURE_LIMIT, COMMAND_LIMIT, Format, Home, PERF_SCRIPT, ProbeError};
use crate::scenario::PerfEvent;
use crate::session::{Guest, quote};

/// A `perf record` in the background of the guest.
#[derive(Debug)]
pub(super) struct Recording {
    /// Its folder in the guest: `ctl` and `ack` are its control pipes, `perf.data` and `log` what it writes,
    /// `status` how it ended.
    folder: String,
    /// Events that `perf probe` made and that go with it.
    made: Vec<String>,
}

impl Recording {
    pub(super) fn start<G: Guest>(
        asker: &mut Asker<'_, G>,
        event: &PerfEvent,
        call_graph: &str,
    ) -> Result<Self, ProbeError<G::Error>> {
        let folder = format!("/tmp/kshot-{}", asker.file_stem());
        let (made, events) = match event {
            PerfEvent::Event(name) => (Vec::new(), vec![name.clone()]),
            PerfEvent::Probe(function) => {
                let doing = format!("`perf probe {function}`");
                let said =
                    asker.ask(&doing, &format!("perf probe --add={}", quote(function)), COMMAND_LIMIT)?;
                let made = added(&said);
                if made.is_empty() {
                    let probe = asker.probe.to_owned();
                    let doing = format!("{doing}, which names no event,");
                    return Err(ProbeError::Refused {
                        probe,
                        doing,
                        status: 0,
                        said: super::error::said(&said),
                    });
                }
                (made.clone(), made)
            }
        };
        let events: String = events.iter().map(|event| format!("--event={} ", quote(event))).collect();
        // Both pipes are held open for reading and writing, so that neither side waits for the other to open them.
        // perf starts disabled (-D -1) and answers `enable` with `ack`; if it ends instead, the shell around it answers.
        // One blocking read tells which. -N, -B: perf need not copy the kernel's symbols to a cache of its own when it
        // ends, nor go through all that it recorded to note the build ids of what is in it.
        let script = format!(
            "mkdir -p {folder} && cd {folder} && rm -f * && mkfifo ctl ack || exit
             exec 3<>ctl 4<>ack
             {{
                 perf record {events}-aRNB -g --call-graph={call_graph} \
                     -D -1 --control fifo:ctl,ack -o perf.data > log 2>&1
                 echo $? > status.new; mv status.new status; echo ended >&4
             }} < /dev/null > /dev/null 2>&1 &
             echo enable >&3
             read -r answer <&4
             [ \"$answer\" = ack ] && exit
             echo \"it ended with status $(cat status)\"; cat log; exit 1",
            folder = quote(&folder),
            call_graph = quote(call_graph),
        );
        asker.ask("`perf record`", &script, COMMAND_LIMIT)?;
        Ok(Self { folder, made })
    }

    pub(super) fn stop<G: Guest>(&self, asker: &mut Asker<'_, G>) -> Result<(), ProbeError<G::Error>> {
        // `status` is written before `ended` is said, and we listen before we look for it: whether perf has
        // ended before, ends now or ends when told, nothing is missed. `stop` is acknowledged, too.
        let script = format!(
            "cd {folder} || exit
             exec 3<>ctl 4<>ack
             if [ ! -e status ]; then
                 echo stop >&3
                 while read -r answer <&4 && [ \"$answer\" != ended ]; do :; done
             fi
             status=$(cat status)
             [ \"$status\" = 0 ] || cat log
             exit $status",
            folder = quote(&self.folder),
        );
        asker.ask("`perf record`", &script, CAPTURE_LIMIT)?;
        for event in &self.made {
            let script = format!("perf probe --del={}", quote(event));
            asker.ask(&format!("`perf probe --del {event}`"), &script, COMMAND_LIMIT)?;
        }
        Ok(())
    }

    pub(super) fn fetch<G: Guest>(&self, home: &mut Home<'_, G>) -> Result<(), ProbeError<G::Error>> {
        let (inside, folder) = (|name: &str| format!("{}/{name}", self.folder), quote(&self.folder));
        // The evidence first: what renders it may fail.
        home.bring(&inside("perf.data"), "perf.data", Format::PerfData)?;
        home.bring(&inside("log"), "perf-log.txt", Format::Notes)?;
        // Fields named one by one, so that the text does not depend on perf's taste; every symbol with offset
        // and address.
        let render = format!(
            "cd {folder} || exit
             perf script -i perf.data --show-lost-events -F comm,tid,cpu,time,event,ip,sym,symoff,dso \
                 > script 2> script.log < /dev/null || {{ status=$?; cat script.log; exit $status; }}"
        );
        home.asker.ask("`perf script`", &render, CAPTURE_LIMIT)?;
        home.bring(&inside("script"), PERF_SCRIPT, Format::PerfScript)
    }
}

/// The events that `perf probe --add` says it made:
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

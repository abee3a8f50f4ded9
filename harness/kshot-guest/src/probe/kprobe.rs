//! The kprobe probe: a kprobe event with a stack trace (Documentation/trace/kprobetrace.rst,
//! Documentation/trace/events.rst). Its records go to the top-level ring buffer, which the ftrace probe's code reads.

use super::ftrace::{FtraceProbe, TRACEFS};
use super::spec::{KprobeEvent, Stacktrace};
use super::{COMMAND_LIMIT, CaptureFetcher, ProbeError, ProbeGuest};
use crate::session::Guest;
use kshot_stack::text::quote;

/// An armed kprobe event.
#[derive(Debug)]
pub(super) struct Kprobe {
    event: KprobeEvent,
    stacktrace: Stacktrace,
    buffer: FtraceProbe,
}

impl Kprobe {
    pub(super) fn start<G: Guest>(
        guest: &mut ProbeGuest<'_, G>,
        event: &KprobeEvent,
        stacktrace: Stacktrace,
    ) -> Result<Self, ProbeError<G::Error>> {
        let kprobe = Self { event: event.clone(), stacktrace, buffer: FtraceProbe::of(None) };
        let (make, stack) = match stacktrace {
            Stacktrace::Trigger => ("echo stacktrace > $event/trigger", "a `stacktrace` trigger"),
            Stacktrace::Option => ("echo 1 > options/stacktrace", "`options/stacktrace`"),
        };
        let script = format!(
            "cd {TRACEFS} && echo {definition} >> kprobe_events || exit
             event={folder}
             {make} && echo 1 > $event/enable",
            definition = quote(&event.definition),
            folder = quote(&kprobe.folder()),
        );
        guest.run(&format!("arming `{}` with {stack}", event.definition), &script, COMMAND_LIMIT)?;
        Ok(kprobe)
    }

    pub(super) fn stop<G: Guest>(&self, guest: &mut ProbeGuest<'_, G>) -> Result<(), ProbeError<G::Error>> {
        self.buffer.stop(guest)
    }

    pub(super) fn fetch<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        self.buffer.fetch(fetcher)?;
        // The event is removed last: the kernel cannot print the records of a removed event.
        let undo = match self.stacktrace {
            Stacktrace::Trigger => "echo '!stacktrace' > $event/trigger",
            Stacktrace::Option => "echo 0 > options/stacktrace",
        };
        let script = format!(
            "cd {TRACEFS} || exit
             event={folder}
             echo 0 > $event/enable && {undo} && echo {removal} >> kprobe_events",
            folder = quote(&self.folder()),
            removal = quote(&format!("-:{}/{}", self.event.group, self.event.name)),
        );
        fetcher.guest.run("removing the kprobe", &script, COMMAND_LIMIT).map(drop)
    }

    fn folder(&self) -> String {
        format!("events/{}/{}", self.event.group, self.event.name)
    }
}

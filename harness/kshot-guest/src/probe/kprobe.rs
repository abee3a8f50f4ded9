//! The kprobe probe: a kprobe event with a stack trace (Documentation/trace/kprobetrace.rst,
//! Documentation/trace/events.rst). Its records go to the top-level ring buffer, which the ftrace probe's
//! code reads.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, ProbeFiles};
use super::ftrace::{self, RingBuffer, TRACE, TRACEFS};
use super::guest::{COMMAND_LIMIT, CaptureFetcher, ProbeGuest};
use super::{Armed, Probe, ProbeError, TruthContext};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::{ParsedCapture, ftrace_text};
use kshot_stack::text::quote;

/// A kprobe event with a stack.
#[derive(Clone, Debug, Serialize)]
pub struct KprobeProbe {
    /// The event.
    pub event: KprobeEvent,
    /// What makes the kernel record the stack.
    pub stacktrace: Stacktrace,
}

/// A kprobe event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KprobeEvent {
    /// The line for `kprobe_events`.
    pub definition: String,
    /// The event's group, a folder in tracefs' `events`.
    pub group: String,
    /// The event's name, a folder in the group's.
    pub name: String,
}

/// What makes the kernel record the stack of a kprobe event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stacktrace {
    /// The event's `stacktrace` trigger.
    #[default]
    Trigger,
    /// `options/stacktrace`.
    Option,
}

/// A kprobe event (Documentation/trace/kprobetrace.rst) that records a stack.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawKprobe {
    /// The line for `kprobe_events`, with group and name: `p:probe/rn register_netdevice`.
    pub event: String,
    /// How the kernel is told to record the stack.
    #[serde(default)]
    pub stacktrace: Stacktrace,
}

/// An armed kprobe event, and the ring buffer that it records in.
#[derive(Debug)]
struct ArmedKprobe {
    kprobe: KprobeProbe,
    buffer: RingBuffer,
}

impl RawKprobe {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<KprobeProbe, Box<YamlError>> {
        let event = KprobeEvent::parse(source, self.event)?;
        Ok(KprobeProbe { event, stacktrace: self.stacktrace })
    }
}

impl KprobeEvent {
    /// `p:GROUP/NAME PLACE ...`, or `r` for a return, with its number of instances: group and name are what
    /// the probe is found by.
    fn parse(source: &YamlSource<'_>, definition: String) -> Result<Self, Box<YamlError>> {
        let names = definition.split_once(' ').and_then(|(head, place)| {
            let (kind, names) = head.split_once(':')?;
            let returns = kind.strip_prefix('r').is_some_and(|most| most.chars().all(|c| c.is_ascii_digit()));
            let (group, name) = names.split_once('/')?;
            let known = (kind == "p" || returns) && !place.trim().is_empty();
            known.then(|| (group.to_owned(), name.to_owned()))
        });
        let printable = definition.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        let Some((group, name)) = names.filter(|_| printable) else {
            let message =
                format!("`{}` is not a kprobe event with group and name", definition.escape_debug());
            let hint = "write it as in kprobe_events: p:probe/rn register_netdevice".into();
            return Err(source.error("probes", &definition, message).with_hint(Some(hint)));
        };
        source.check_characters("probes", "an event's group", &group, "_")?;
        source.check_characters("probes", "an event's name", &name, "_")?;
        Ok(Self { definition, group, name })
    }

    /// The function that the event is in; `None` if the definition gives no plain name.
    fn function(&self) -> Option<&str> {
        let place = self.definition.split(' ').filter(|word| !word.is_empty()).nth(1)?;
        let name = place.split(['+', '%']).next()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
        (name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
    }

    fn folder(&self) -> String {
        format!("events/{}/{}", self.group, self.name)
    }
}

impl Probe for KprobeProbe {
    fn function(&self) -> Option<&str> {
        self.event.function()
    }

    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        _: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError> {
        let (make, stack) = match self.stacktrace {
            Stacktrace::Trigger => ("echo stacktrace > $event/trigger", "a `stacktrace` trigger"),
            Stacktrace::Option => ("echo 1 > options/stacktrace", "`options/stacktrace`"),
        };
        let script = format!(
            "cd {TRACEFS} || exit
             echo {definition} >> kprobe_events || {{ status=$?; tail -n 3 error_log; exit $status; }}
             event={folder}
             {make} && echo 1 > $event/enable",
            definition = quote(&self.event.definition),
            folder = quote(&self.event.folder()),
        );
        guest.run(&format!("arming `{}` with {stack}", self.event.definition), &script, COMMAND_LIMIT)?;
        Ok(Box::new(ArmedKprobe { kprobe: self.clone(), buffer: RingBuffer::of(None) }))
    }

    fn capture_suffix(&self, _: ProbeFiles<'_>) -> &'static str {
        TRACE
    }

    fn guest_file(&self, probe: &str) -> Option<String> {
        Some(ftrace::text_file(probe))
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<ParsedCapture> {
        // Others may record in the same buffer.
        ftrace_text::parse_only(capture.open()?, std::slice::from_ref(&self.event.name))
    }
}

impl Armed for ArmedKprobe {
    fn stop(&self, guest: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        self.buffer.stop(guest)
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        self.buffer.fetch(fetcher)?;
        // The event is removed last: the kernel cannot print the records of a removed event.
        let KprobeProbe { event, stacktrace } = &self.kprobe;
        let undo = match stacktrace {
            Stacktrace::Trigger => "echo '!stacktrace' > $event/trigger",
            Stacktrace::Option => "echo 0 > options/stacktrace",
        };
        let script = format!(
            "cd {TRACEFS} || exit
             event={folder}
             echo 0 > $event/enable && {undo} && echo {removal} >> kprobe_events",
            folder = quote(&event.folder()),
            removal = quote(&format!("-:{}/{}", event.group, event.name)),
        );
        fetcher.guest.run("removing the kprobe", &script, COMMAND_LIMIT).map(drop)
    }
}

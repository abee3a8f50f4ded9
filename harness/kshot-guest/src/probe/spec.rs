//! What a probe is asked to record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TextSource;
use kshot_stack::format::TextFormat;

/// A probe and its name.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeSpec {
    /// The name in results, snapshots and claims; the kind unless the scenario gives one.
    pub name: String,
    /// What it is.
    pub kind: ProbeKind,
}

/// The mechanisms that record stacks.
#[derive(Clone, Debug, Serialize)]
pub enum ProbeKind {
    /// What the ftrace ring buffer holds, as text; armed by boot options or by steps.
    Ftrace {
        /// The tracefs instance, `None` for the top one.
        instance: Option<String>,
        /// The events that count; all where there are none.
        only: Vec<String>,
    },
    /// `perf record` on one event with call chains.
    Perf {
        /// The event.
        event: PerfEvent,
        /// The argument of `--call-graph`.
        call_graph: String,
    },
    /// A kprobe event with a stack.
    Kprobe {
        /// The event.
        event: KprobeEvent,
        /// What makes the kernel record the stack.
        stacktrace: Stacktrace,
    },
    /// A breakpoint through QEMU's gdb stub, unwound from outside with the kernel's DWARF: the truth.
    Gdb {
        /// The function to break at.
        function: String,
        /// After how many hits it lets go of the guest.
        hits: u32,
        /// Whether the function is one of the function tracer, and the stacks those of what it traces
        /// ([`kshot_stack::stack::gdb_raw`]). Only a sweep asks for that.
        traced: bool,
    },
    /// Any text that holds stacks, read after the steps.
    Text {
        /// Where it comes from.
        source: TextSource,
        /// The format of the text.
        format: TextFormat,
    },
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

/// A kprobe event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KprobeEvent {
    /// The line for `kprobe_events`.
    pub definition: String,
    /// Its folder in tracefs' `events`.
    pub group: String,
    /// Its folder in the group's.
    pub name: String,
}

/// What perf records.
#[derive(Clone, Debug, Serialize)]
pub enum PerfEvent {
    /// `perf probe FUNCTION`, then its event `probe:FUNCTION`.
    Probe(String),
    /// An event that exists: `sched:sched_process_fork`.
    Event(String),
}

impl ProbeKind {
    /// The mechanism's word: `ftrace`, `perf`, `kprobe`, `gdb`, `text`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ftrace { .. } => "ftrace",
            Self::Perf { .. } => "perf",
            Self::Kprobe { .. } => "kprobe",
            Self::Gdb { .. } => "gdb",
            Self::Text { .. } => "text",
        }
    }
}

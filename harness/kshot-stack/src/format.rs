//! The texts that hold stacks: which one a capture is, and its parser.

mod listing; // what `kshot stacks --format json` prints

use std::io::{self, BufRead};

pub use listing::{ListedFrame, ListedStack, Listing, SCHEMA};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::console::call_traces;
use crate::stack::{Parsed, ftrace_text, hist, perf_script, proc_stack, stack_tracer};

/// How much of a capture is looked at to guess its format, in bytes.
pub const HEAD: usize = 64 << 10;

/// A text that the kernel or a tool prints stacks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextFormat {
    /// `/proc/PID/stack`.
    ProcStack,
    /// tracefs's `stack_trace`: the deepest stack, with the bytes of each frame.
    StackTracer,
    /// tracefs's `events/*/*/hist` of a trigger with a stack among its keys.
    Hist,
    /// tracefs's `trace` and `trace_pipe`.
    Ftrace,
    /// What `perf script` prints.
    PerfScript,
    /// A console or kernel log: the call traces of WARN, BUG, oops, `dump_stack()`, sysrq, hung tasks, lockups, RCU stalls,
    /// KASAN and others.
    CallTrace,
}

impl TextFormat {
    /// Every format, in the order in which a line is held against them.
    pub const ALL: [Self; 6] =
        [Self::StackTracer, Self::Hist, Self::Ftrace, Self::PerfScript, Self::ProcStack, Self::CallTrace];

    /// The name in scenarios, in documents and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcStack => "proc-stack",
            Self::StackTracer => "stack-tracer",
            Self::Hist => "hist",
            Self::Ftrace => "ftrace",
            Self::PerfScript => "perf-script",
            Self::CallTrace => "call-trace",
        }
    }

    /// The format of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a capture that begins with `head`, by the first line that only one format has. What has none in its
    /// first [`HEAD`] bytes is taken for a console, whose text is free.
    pub fn guess(head: &[u8]) -> Self {
        let lines = head[..head.len().min(HEAD)].split(|&byte| byte == b'\n');
        let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let next = lines.iter().skip(1).copied().chain([&b""[..]]);
        let mut formats = lines.iter().zip(next).filter_map(|(line, next)| Self::of_line(line, next));
        formats.next().unwrap_or(Self::CallTrace)
    }

    /// Reads a capture of this format.
    ///
    /// # Errors
    /// What `input` fails with; never because of what a line holds.
    pub fn parse(self, input: impl BufRead) -> io::Result<Parsed> {
        match self {
            Self::ProcStack => proc_stack::parse(input),
            Self::StackTracer => stack_tracer::parse(input),
            Self::Hist => hist::parse(input),
            Self::Ftrace => ftrace_text::parse(input),
            Self::PerfScript => perf_script::parse(input),
            Self::CallTrace => call_traces::parse(input),
        }
    }

    fn of_line(line: &[u8], next: &[u8]) -> Option<Self> {
        let is_of = |format: &Self| match format {
            Self::ProcStack => proc_stack::is_of(line),
            Self::StackTracer => stack_tracer::is_of(line),
            Self::Hist => hist::is_of(line),
            Self::Ftrace => ftrace_text::is_of(line),
            Self::PerfScript => perf_script::is_of(line, next),
            Self::CallTrace => call_traces::is_of(line),
        };
        Self::ALL.into_iter().find(is_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::show;

    #[test]
    fn every_capture_is_known_by_its_text() {
        let folders = [
            ("ftrace", TextFormat::Ftrace),
            ("perf", TextFormat::PerfScript),
            ("console", TextFormat::CallTrace),
            ("proc_stack", TextFormat::ProcStack),
            ("stack_tracer", TextFormat::StackTracer),
            ("hist", TextFormat::Hist),
        ];
        for (folder, format) in folders {
            for (name, bytes) in show::captures(folder) {
                assert_eq!(TextFormat::guess(&bytes), format, "{folder}/{name}");
            }
        }
        assert_eq!(TextFormat::guess(b""), TextFormat::CallTrace);
        assert_eq!(TextFormat::guess(b"executor 5 failed 11 times:\n"), TextFormat::CallTrace);
        assert_eq!(TextFormat::guess(b"a 5 cycles:\n\t1234 f (/bin/a)\n"), TextFormat::PerfScript);
    }

    #[test]
    fn a_name_is_that_of_yaml_and_of_the_schema() {
        for format in TextFormat::ALL {
            assert_eq!(TextFormat::of_name(format.name()), Some(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        assert_eq!(TextFormat::of_name("procstack"), None);
    }
}

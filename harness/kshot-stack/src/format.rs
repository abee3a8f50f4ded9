//! The texts that hold stacks: which one a capture is, and its parser.

mod listing; // what `kshot stacks --format json` prints
mod mail; // a mail as it was sent
mod margin; // what mails put in front of lines
mod sections; // texts that mix formats

use std::io::{self, BufRead, Read};

pub use listing::{ListedFrame, ListedStack, Listing, SCHEMA};
pub use sections::Section;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::console::call_traces;
use crate::stack::lines::{self, LineParser, Warnings};
use crate::stack::{
    ParsedCapture, bpf_stacks, bpftrace, ftrace_text, hist, perf_script, proc_stack, stack_tracer,
};
use margin::Margin;
use sections::Sections;

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
    /// tracefs's `trace` and `trace_pipe`, and what `trace-cmd report` prints.
    Ftrace,
    /// What `perf script` prints, and `perf trace` with call graphs.
    PerfScript,
    /// What the `bpf` probe records: a stack of addresses for each hit.
    BpfStacks,
    /// What bpftrace prints of `kstack` and `ustack`, and bcc's tools, `perf lock contention` and rtla of stacks.
    Bpftrace,
    /// A console or kernel log: the call traces of WARN, BUG, oops, `dump_stack()`, sysrq, hung tasks,
    /// lockups, RCU stalls, KASAN and others; and any other text with a stack in it: of ftrace without its
    /// header, of gdb, crash, drgn, xmon and SystemTap.
    CallTrace,
}

/// How a capture is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectedFormat {
    /// The format of its text.
    pub format: TextFormat,
    /// What stands in front of each of its lines.
    margin: Margin,
    /// Whether it is a mail as it was sent.
    is_encoded: bool,
}

impl TextFormat {
    /// Every format, in the order in which a line is held against them.
    pub const ALL: [Self; 8] = [
        Self::StackTracer,
        Self::Hist,
        Self::Ftrace,
        Self::BpfStacks,
        Self::PerfScript,
        Self::ProcStack,
        Self::Bpftrace,
        Self::CallTrace,
    ];

    /// The name in scenarios, in documents and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcStack => "proc-stack",
            Self::StackTracer => "stack-tracer",
            Self::Hist => "hist",
            Self::Ftrace => "ftrace",
            Self::PerfScript => "perf-script",
            Self::BpfStacks => "bpf-stacks",
            Self::Bpftrace => "bpftrace",
            Self::CallTrace => "call-trace",
        }
    }

    /// The format of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Reads a capture of this format.
    ///
    /// # Errors
    /// What `input` fails with; never because of what a line holds.
    pub fn parse(self, input: impl BufRead) -> io::Result<ParsedCapture> {
        match self {
            Self::ProcStack => proc_stack::parse(input),
            Self::StackTracer => stack_tracer::parse(input),
            Self::Hist => hist::parse(input),
            Self::Ftrace => ftrace_text::parse(input),
            Self::PerfScript => perf_script::parse(input),
            Self::BpfStacks => bpf_stacks::parse_unnamed(input),
            Self::Bpftrace => bpftrace::parse(input),
            Self::CallTrace => call_traces::parse(input),
        }
    }

    /// The line parser of this format.
    fn parser(self) -> Box<dyn LineParser> {
        match self {
            Self::ProcStack => Box::new(proc_stack::parser()),
            Self::StackTracer => Box::new(stack_tracer::parser()),
            Self::Hist => Box::new(hist::parser()),
            Self::Ftrace => Box::new(ftrace_text::parser()),
            Self::PerfScript => Box::new(perf_script::parser()),
            Self::BpfStacks => Box::new(bpf_stacks::parser_unnamed()),
            Self::Bpftrace => Box::new(bpftrace::parser()),
            Self::CallTrace => Box::new(call_traces::parser()),
        }
    }

    /// Whether a line, with the one behind it, is one that only this format has.
    fn has(self, line: &[u8], next: &[u8]) -> bool {
        match self {
            Self::ProcStack => proc_stack::is_of(line),
            Self::StackTracer => stack_tracer::is_of(line),
            Self::Hist => hist::is_of(line),
            Self::Ftrace => ftrace_text::is_of(line),
            Self::PerfScript => perf_script::is_of(line, next),
            Self::BpfStacks => bpf_stacks::is_of(line, next),
            Self::Bpftrace => bpftrace::is_of(line, next),
            Self::CallTrace => call_traces::is_of(line),
        }
    }

    /// Whether a line that is not of the format of those before it, with the one behind it, begins a section
    /// of this one.
    fn begins(self, line: &[u8], next: &[u8]) -> bool {
        self.has(line, next) || self == Self::CallTrace && call_traces::is_frame(line)
    }
}

impl DetectedFormat {
    /// How to read a capture that begins with `head`, by the first line that only one format has. What has
    /// none in its first [`HEAD`] bytes is taken for a console, whose text is free.
    pub fn guess(head: &[u8]) -> Self {
        Self::first(head, &TextFormat::ALL).unwrap_or_else(|| Self::new(TextFormat::CallTrace, head))
    }

    /// How to read a capture of this format that begins with `head`.
    pub fn of(format: TextFormat, head: &[u8]) -> Self {
        Self::first(head, &[format]).unwrap_or_else(|| Self::new(format, head))
    }

    fn new(format: TextFormat, head: &[u8]) -> Self {
        Self { format, margin: Margin::default(), is_encoded: mail::is_encoded(head) }
    }

    /// Reads the capture.
    ///
    /// # Errors
    /// What `input` fails with; never because of what a line holds.
    pub fn parse(self, input: impl BufRead) -> io::Result<ParsedCapture> {
        if self.is_encoded {
            return self.decoded().parse_text(mail::Decoded::new(input));
        }
        self.parse_text(input)
    }

    /// The same of a text that is decoded.
    fn decoded(self) -> Self {
        Self { is_encoded: false, ..self }
    }

    fn parse_text(self, input: impl BufRead) -> io::Result<ParsedCapture> {
        if self.margin == Margin::default() {
            return self.format.parse(input);
        }
        let (mut parser, mut warnings) = (self.format.parser(), Warnings::default());
        lines::each(input, &mut warnings, |line, warnings| {
            if !self.is_gap(line) {
                lines::take(&mut *parser, self.margin.strip(line), warnings);
            }
        })?;
        let parsed = parser.finish(&mut warnings);
        Ok(ParsedCapture { warnings: warnings.into_inner(), ..parsed })
    }

    /// Whether a line is an empty one around what somebody wrote between quoted lines: behind it a quoted call
    /// trace goes on.
    fn is_gap(self, line: &[u8]) -> bool {
        self.format == TextFormat::CallTrace && self.margin.is_quoted() && line.trim_ascii().is_empty()
    }

    /// Reads a capture that may go on in other formats than it begins with: what there is of each, in the
    /// order in which they first come; of a text of one format that one, with or without a stack in it.
    ///
    /// # Errors
    /// As [`DetectedFormat::parse`].
    pub fn sections(self, input: impl BufRead) -> io::Result<Vec<Section>> {
        if self.is_encoded {
            return self.decoded().sections_of_text(mail::Decoded::new(input));
        }
        self.sections_of_text(input)
    }

    fn sections_of_text(self, input: impl BufRead) -> io::Result<Vec<Section>> {
        let (mut sections, mut warnings) = (Sections::new(self), Warnings::default());
        lines::each(input, &mut warnings, |line, warnings| sections.line(line, warnings))?;
        Ok(sections.finish(warnings))
    }

    fn first(head: &[u8], formats: &[TextFormat]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD)];
        if mail::is_encoded(head) {
            let mut text = Vec::new();
            mail::Decoded::new(head).read_to_end(&mut text).ok()?;
            let reading = Self::first_of_text(&text, formats)?;
            return Some(Self { is_encoded: true, ..reading });
        }
        Self::first_of_text(head, formats)
    }

    fn first_of_text(head: &[u8], formats: &[TextFormat]) -> Option<Self> {
        let lines = head.split(|&byte| byte == b'\n');
        let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let next = lines.iter().skip(1).copied().chain([&b""[..]]);
        lines.iter().zip(next).find_map(|(line, next)| Self::of_line(line, next, formats, TextFormat::has))
    }

    /// How to read a text from a line on, by the first of the formats that the line, with the one behind it,
    /// `fits`.
    fn of_line(
        line: &[u8],
        next: &[u8],
        formats: &[TextFormat],
        fits: impl Fn(TextFormat, &[u8], &[u8]) -> bool,
    ) -> Option<Self> {
        Margin::candidates(line).find_map(|margin| {
            let (line, next) = (margin.strip(line), margin.strip(next));
            // A console's parser tells apart who says what.
            let may_be = |format: TextFormat| !(margin.is_said() && format == TextFormat::CallTrace);
            let format =
                formats.iter().copied().find(|format| may_be(*format) && fits(*format, line, next))?;
            Some(Self { format, margin, is_encoded: false })
        })
    }
}

#[cfg(test)]
mod tests;

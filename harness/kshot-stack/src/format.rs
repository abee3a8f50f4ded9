//! The texts that hold stacks: which one a capture is, and its parser.

mod column; // what stands in front of every line: its number, or the same word
mod copied; // what copying does to all lines of a text
mod listing; // what `kshot stacks --format json` prints
mod mail; // a mail as it was sent
mod margin; // what mails put in front of lines
mod sections; // texts that mix formats
mod written_ends; // lines in one, their ends written out

use std::borrow::Cow;
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
use column::Column;
use copied::Copied;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedFormat {
    /// The format of its text.
    pub format: TextFormat,
    /// What stands in front of each of its lines.
    margin: Margin,
    /// What copying did to it.
    copied: Copied,
    /// Whether it is a mail as it was sent.
    is_encoded: bool,
}

/// How lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    format: TextFormat,
    margin: Margin,
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
            Self::Hist => hist::is_of(line, next),
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
        Self::detect(head, &TextFormat::ALL, TextFormat::CallTrace)
    }

    /// How to read a capture of this format that begins with `head`.
    pub fn of(format: TextFormat, head: &[u8]) -> Self {
        Self::detect(head, &[format], format)
    }

    /// How to read it in one of these formats, or else in that one.
    fn detect(head: &[u8], formats: &[TextFormat], otherwise: TextFormat) -> Self {
        let head = &head[..head.len().min(HEAD)];
        let is_encoded = mail::is_encoded(head);
        let mut text = Cow::Borrowed(head);
        if is_encoded {
            let mut decoded = Vec::new();
            // From memory it cannot fail.
            if mail::Decoded::new(head).read_to_end(&mut decoded).is_ok() {
                text = Cow::Owned(decoded);
            }
        }
        let (copied, reading) = Self::detect_copy(&text, formats);
        let Reading { format, margin } = reading.unwrap_or(Reading::plain(otherwise));
        Self { format, margin, copied, is_encoded }
    }

    /// What copying did to a text that begins so, and how to read it, if a line of it tells.
    fn detect_copy(head: &[u8], formats: &[TextFormat]) -> (Copied, Option<Reading>) {
        let lines = head.split(|&byte| byte == b'\n');
        let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let mut copied = Copied::of(&lines);
        let written: Vec<_> = lines.iter().filter_map(|line| written_ends::parts(line)).flatten().collect();
        if let Some(reading) = Reading::first(&written, formats, TextFormat::has) {
            return (copied.with_written_ends(), Some(reading));
        }
        let lines: Vec<_> = lines.iter().map(|line| copied.line(line)).collect();
        let has_frames = || Reading::first(&lines, formats, TextFormat::begins).is_some();
        for column in Column::candidates(&lines) {
            let behind: Vec<_> = lines.iter().map(|line| column.strip(line)).collect();
            // A console's parser knows the words of loggers, and what they tell.
            let may_be = |reading: &Reading| reading.format != TextFormat::CallTrace || column.is_number();
            let reading = Reading::first(&behind, formats, TextFormat::has).filter(may_be);
            let frames = || Reading::first(&behind, formats, TextFormat::begins).filter(|_| !has_frames());
            if let Some(reading) = reading.or_else(frames) {
                copied.column = column;
                return (copied, Some(reading));
            }
        }
        let reading = Reading::first(&lines, formats, TextFormat::has);
        (copied, reading)
    }

    fn reading(&self) -> Reading {
        Reading { format: self.format, margin: self.margin }
    }

    /// Reads the capture.
    ///
    /// # Errors
    /// What `input` fails with; never because of what a line holds.
    pub fn parse(&self, input: impl BufRead) -> io::Result<ParsedCapture> {
        if self.is_encoded {
            return self.parse_text(mail::Decoded::new(input));
        }
        self.parse_text(input)
    }

    fn parse_text(&self, input: impl BufRead) -> io::Result<ParsedCapture> {
        let (mut parser, mut warnings) = (self.format.parser(), Warnings::default());
        let reading = self.reading();
        self.copied.each(input, &mut warnings, |line, warnings| {
            if !reading.is_gap(line) {
                lines::take(&mut *parser, reading.text(line), warnings);
            }
        })?;
        let parsed = parser.finish(&mut warnings);
        Ok(ParsedCapture { warnings: warnings.into_inner(), ..parsed })
    }

    /// Reads a capture that may go on in other formats than it begins with: what there is of each, in the
    /// order in which they first come; of a text of one format that one, with or without a stack in it.
    ///
    /// # Errors
    /// As [`DetectedFormat::parse`].
    pub fn sections(&self, input: impl BufRead) -> io::Result<Vec<Section>> {
        if self.is_encoded {
            return self.sections_of_text(mail::Decoded::new(input));
        }
        self.sections_of_text(input)
    }

    fn sections_of_text(&self, input: impl BufRead) -> io::Result<Vec<Section>> {
        let (mut sections, mut warnings) = (Sections::new(self.reading()), Warnings::default());
        self.copied.each(input, &mut warnings, |line, warnings| sections.line(line, warnings))?;
        Ok(sections.finish(warnings))
    }
}

impl Reading {
    /// In this format, with nothing in front of lines.
    fn plain(format: TextFormat) -> Self {
        Self { format, margin: Margin::default() }
    }

    /// How to read a text that begins with these lines, by the first that `fits` one of the formats.
    fn first(
        lines: &[impl AsRef<[u8]>],
        formats: &[TextFormat],
        fits: impl Fn(TextFormat, &[u8], &[u8]) -> bool,
    ) -> Option<Self> {
        let next = lines.iter().skip(1).map(AsRef::as_ref).chain([&b""[..]]);
        let mut pairs = lines.iter().map(AsRef::as_ref).zip(next);
        pairs.find_map(|(line, next)| Self::of_line(line, next, formats, &fits))
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
            Some(Self { format, margin })
        })
    }

    /// What a line says.
    fn text(self, line: &[u8]) -> &[u8] {
        copied::unfenced(self.margin.strip(line))
    }

    /// Whether a line is an empty one around what somebody wrote between quoted lines: behind it a quoted call
    /// trace goes on.
    fn is_gap(self, line: &[u8]) -> bool {
        self.format == TextFormat::CallTrace && self.margin.is_quoted() && line.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests;

//! The deepest stack that the stack tracer saw: tracefs's `stack_trace` (`kernel/trace/trace_stack.c`).
//!
//! ```text
//!         Depth    Size   Location    (18 entries)
//!         -----    ----   --------
//!   0)     2928     224   update_sd_lb_stats+0xbc/0x4ac
//!   1)     2704     160   tun_chr_ioctl+0x31/0xa0 [tun]
//! #
//! #  Stack tracer disabled
//! #
//! ```
//!
//! Depth is the bytes from there to where the stack begins, size the bytes of the frame.

use std::io::{self, BufRead};

use super::anonymous::AnonymousStacks;
use super::ftrace_frame::frame;
use super::lines::{self, Kind, LineParser, Warnings, decimal};
use super::{Frame, ParsedCapture, StackUsage};

/// The event of these stacks.
pub(super) const EVENT: &str = "stack-tracer";
/// What the heading holds.
const HEADING: [&[u8]; 3] = [b"Depth", b"Size", b"Location"];
/// What `stack_trace` prints while the tracer is off.
const DISABLED: &[u8] = b"Stack tracer disabled";

/// Reads a capture. Each stack counts as one event.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<ParsedCapture> {
    lines::parse(input, Parser::new())
}

/// What reads a capture line by line.
pub(crate) fn parser() -> impl LineParser {
    Parser::new()
}

/// Whether a line is one of this format.
pub(crate) fn is_of(line: &[u8]) -> bool {
    announced(line).is_some()
}

struct Parser {
    /// How many entries the heading announced of those that have not come yet.
    missing: u64,
    /// The number of the next.
    next: u64,
    stacks: AnonymousStacks,
}

impl Parser {
    fn new() -> Self {
        Self { missing: 0, next: 0, stacks: AnonymousStacks::new(EVENT) }
    }

    fn entry(&mut self, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        let number = self.stacks.number(text, line, warnings, entry);
        if self.stacks.push(number, line, warnings) {
            self.missing = self.missing.saturating_sub(1);
            self.next += 1;
        }
    }

    /// Whether a text is an entry, readable or not: one that was announced begins with its number.
    fn is_entry(&self, text: &[u8]) -> bool {
        let is_next = || {
            let numbered = decimal(text).filter(|(_, rest)| rest.starts_with(b")"));
            self.missing > 0 && numbered.is_some_and(|(number, _)| number == self.next)
        };
        text.first().is_some_and(u8::is_ascii_digit) && (is_next() || entry(text).is_some())
    }

    fn end(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.missing > 0 {
            warnings.note(Kind::CutCapture, line);
        }
        (self.missing, self.next) = (0, 0);
        self.stacks.end(false);
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        let text = line.trim_ascii_start();
        if let Some(entries) = announced(text) {
            self.end(line, warnings);
            self.missing = entries;
            return true;
        }
        if self.is_entry(text) {
            self.entry(text, line, warnings);
            return true;
        }
        let remark = text.strip_prefix(b"#").map(<[u8]>::trim_ascii);
        if remark == Some(DISABLED) {
            warnings.note(Kind::Disabled, DISABLED);
        }
        text.is_empty()
            || text.starts_with(b"-----")
            || remark.is_some_and(|text| text.is_empty() || text == DISABLED)
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        if !line.trim_ascii_start().starts_with(b"#") {
            warnings.note(Kind::OtherLine, line);
        }
    }

    fn finish(mut self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.end(b"", warnings);
        self.stacks.finish()
    }
}

/// The number of entries in `Depth    Size   Location    (18 entries)`.
fn announced(line: &[u8]) -> Option<u64> {
    let mut rest = line;
    for word in HEADING {
        rest = rest.trim_ascii_start().strip_prefix(word)?;
    }
    let (entries, _) = decimal(rest.trim_ascii().strip_prefix(b"(")?)?;
    Some(entries)
}

/// `0)     2928     224   update_sd_lb_stats+0xbc/0x4ac`.
fn entry(text: &[u8]) -> Option<Frame> {
    let (_, rest) = decimal(text)?;
    let (depth, rest) = decimal(rest.strip_prefix(b")")?.trim_ascii_start())?;
    let rest = rest.trim_ascii_start();
    let unsigned = rest.strip_prefix(b"-");
    let (size, rest) = decimal(unsigned.unwrap_or(rest))?;
    let size = i64::try_from(size).ok()?;
    let usage = Some(StackUsage { depth, size: if unsigned.is_some() { -size } else { size } });
    Some(Frame { usage, ..frame(rest.trim_ascii_start())? })
}

#[cfg(test)]
mod tests;

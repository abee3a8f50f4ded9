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
use super::lines::{self, Kind, Warnings, decimal};
use super::{Frame, Parsed, StackUsage};

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
pub fn parse(input: impl BufRead) -> io::Result<Parsed> {
    lines::parse(input, Parser::new(), Parser::line, Parser::finish)
}

/// Whether a line is one of this format.
pub(crate) fn is_of(line: &[u8]) -> bool {
    announced(line).is_some()
}

struct Parser {
    /// How many entries the heading announced of those that have not come yet.
    missing: u64,
    stacks: AnonymousStacks,
}

impl Parser {
    fn new() -> Self {
        Self { missing: 0, stacks: AnonymousStacks::new(EVENT) }
    }

    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        let text = line.trim_ascii_start();
        if let Some(entries) = announced(text) {
            self.end(line, warnings);
            self.missing = entries;
            return;
        }
        if text.first().is_some_and(u8::is_ascii_digit) {
            let number = self.stacks.number(text, line, warnings, entry);
            if self.stacks.push(number, line, warnings) {
                self.missing = self.missing.saturating_sub(1);
            }
            return;
        }
        if let Some(remark) = text.strip_prefix(b"#") {
            if remark.trim_ascii() == DISABLED {
                warnings.note(Kind::Disabled, remark.trim_ascii());
            }
            return;
        }
        if !text.is_empty() && !text.starts_with(b"-----") {
            warnings.note(Kind::UnreadableLine, line);
        }
    }

    fn end(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.missing > 0 {
            warnings.note(Kind::CutCapture, line);
        }
        self.missing = 0;
        self.stacks.end(false);
    }

    fn finish(mut self, mut warnings: Warnings) -> Parsed {
        self.end(b"", &mut warnings);
        self.stacks.finish(warnings)
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

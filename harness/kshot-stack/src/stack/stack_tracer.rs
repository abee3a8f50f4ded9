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
use std::sync::Arc;

use super::fold::{Fold, Numbers, Texts};
use super::ftrace_frame::{frame, unreadable_frame};
use super::lines::{self, DEEPEST_STACK, Kind, Warnings, decimal};
use super::{Frame, NAMELESS, Parsed, StackUsage};

/// The event of these stacks.
pub(super) const EVENT: &str = "stack-tracer";
/// What the heading holds.
const HEADING: [&[u8]; 3] = [b"Depth", b"Size", b"Location"];
/// The tracer's own word for being off.
const DISABLED: &[u8] = b"Stack tracer disabled";

/// Reads a capture. Each stack counts as one event.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<Parsed> {
    let mut parser = Parser::new();
    let mut warnings = Warnings::default();
    lines::each(input, &mut warnings, |line, warnings| parser.line(line, warnings))?;
    Ok(parser.finish(warnings))
}

/// Whether a line is one of this format.
pub(crate) fn is_of(line: &[u8]) -> bool {
    announced(line).is_some()
}

struct Parser {
    /// How many entries the heading announced of those that have not come yet.
    missing: u64,
    stack: Numbers,
    begun: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

impl Parser {
    fn new() -> Self {
        let mut words = Texts::default();
        let stack = Numbers {
            task: words.word(NAMELESS.as_bytes()),
            event: words.word(EVENT.as_bytes()),
            frames: Vec::new(),
        };
        Self { missing: 0, stack, begun: 0, stacks: Fold::default(), words, frames: Texts::default() }
    }

    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        let text = line.trim_ascii_start();
        if let Some(entries) = announced(text) {
            self.end(line, warnings);
            self.missing = entries;
            return;
        }
        if text.first().is_some_and(u8::is_ascii_digit) {
            let known = self.frames.number(text, |text| entry(text).map(Arc::new));
            let frame = known.or_else(|| {
                warnings.note(Kind::UnreadableLine, line);
                self.frames.number(text, |text| Some(Arc::new(unreadable_frame(text))))
            });
            if self.stack.frames.len() == DEEPEST_STACK {
                return warnings.note(Kind::DeepStack, line);
            }
            self.missing = self.missing.saturating_sub(1);
            return self.stack.frames.extend(frame);
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
        if !self.stack.frames.is_empty() {
            self.stacks.add(&self.stack, self.begun);
            self.begun += 1;
        }
        self.stack.frames.clear();
    }

    fn finish(mut self, mut warnings: Warnings) -> Parsed {
        self.end(b"", &mut warnings);
        let stacks = self.stacks.into_stacks(&self.words, &self.frames);
        Parsed { events: self.begun, stacks, warnings: warnings.into_inner(), ..Parsed::default() }
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
#[path = "stack_tracer_tests.rs"]
mod tests;

//! Histograms of stacks: the `hist` file of an event with a histogram trigger whose keys hold a stack
//! (`kernel/trace/trace_events_hist.c`, Documentation/trace/histogram.rst).
//!
//! ```text
//! # event histogram
//! #
//! # trigger info: hist:keys=common_pid.execname,common_stacktrace:vals=hitcount,bytes_req:sort=hitcount:size=2048 [active]
//! #
//!
//! { common_pid: eoe_filter      [       123], common_stacktrace:
//!          kmem_cache_alloc_trace+0x1a4/0x1b0
//!          tun_chr_ioctl+0x31/0xa0 [tun]
//! } hitcount:          2  bytes_req:       4096
//! { stacktrace:
//!          __schedule+0x448/0x7b8
//! , prev_prio:        120} hitcount:          1
//! , prev_prio:        120}  next_prio:        240                              nohitcount
//! { delta: ~ 2^12, stack.stacktrace         __schedule+0x448/0x7b8
//!          schedule+0x5c/0xc0
//! } hitcount:          3
//!
//! Totals:
//!     Hits: 6
//!     Entries: 3
//!     Dropped: 0
//! ```
//!
//! A stack counts as often as its entry was hit. The key is called `stacktrace` before 6.4.

use std::io::{self, BufRead};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::fold::{Fold, Numbers, Texts};
use super::ftrace_frame::frame;
use super::lines::{self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, split_at};
use super::{Frame, NAMELESS, ParsedCapture};

/// The event of these stacks; the file does not say whose it is.
pub(super) const EVENT: &str = "hist";
/// The first line of each histogram.
const HEADING: &[u8] = b"# event histogram";
/// The name of each key that is a stack ends in this.
const STACK_KEY: &[u8] = b"stacktrace";
/// What stands before the frames of a stack that have lines of their own.
const INDENT: &[u8] = b"         ";
/// The key with the name of the task, where it was asked for by name.
const TASK_KEY: &[u8] = b"common_pid: ";

/// Reads a capture. [`ParsedCapture::events`] are hits.
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

/// Whether a line, with the one behind it, is one of this format: the first of a histogram, or of an entry
/// that begins with a stack.
pub(crate) fn is_of(line: &[u8], next: &[u8]) -> bool {
    let begins_stack = |keys: &[u8]| keys.ends_with(b"stacktrace:") || keys.ends_with(b"stack:");
    let is_entry = || line.strip_prefix(b"{ ").is_some_and(|keys| begins_stack(keys.trim_ascii_end()));
    line == HEADING || is_entry() && is_place(next)
}

/// Whether a line is a frame with its place, `         tun_chr_ioctl+0x31/0xa0 [tun]`.
fn is_place(line: &[u8]) -> bool {
    frame(line).is_some_and(|frame| frame.size.is_some())
}

struct Parser {
    stack_key: Finder<'static>,
    hitcount: Finder<'static>,
    /// What stands before the values where `nohitcount` leaves that one out.
    value: Finder<'static>,
    /// Whether an entry has begun and not ended.
    inside: bool,
    task: usize,
    /// The stacks of the entry; each key that is a stack has its own.
    open: Vec<Numbers>,
    begun: u64,
    hits: u64,
    dropped: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

impl Parser {
    fn new() -> Self {
        Self {
            stack_key: Finder::new(STACK_KEY),
            hitcount: Finder::new(b"} hitcount:"),
            value: Finder::new(b"}  "),
            inside: false,
            task: 0,
            open: Vec::new(),
            begun: 0,
            hits: 0,
            dropped: 0,
            stacks: Fold::default(),
            words: Texts::default(),
            frames: Texts::default(),
        }
    }

    /// What stands before the frames of a stack, or behind them: further keys, and the number of hits.
    fn keys(&mut self, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        let end = if text.starts_with(b"} ") || text == b"}" { Some(0) } else { self.end_of_keys(text) };
        let keys = &text[..end.unwrap_or(text.len())];
        if let Some((_, name)) = split_at(keys, TASK_KEY)
            && let Some((name, _)) = split_at(name, b"[")
        {
            self.task = self.words.word(name.trim_ascii());
        }
        if let Some(at) = self.stack_key.find(keys) {
            self.open.push(Numbers { event: self.words.word(EVENT.as_bytes()), ..Numbers::default() });
            let first =
                keys[at + STACK_KEY.len()..].strip_prefix(b":").unwrap_or(&keys[at + STACK_KEY.len()..]);
            if !first.trim_ascii().is_empty() {
                self.frame(first.trim_ascii(), line, warnings);
            }
        }
        let Some(end) = end else { return };
        let hits =
            split_at(&text[end..], b"hitcount:").and_then(|(_, hits)| decimal(hits.trim_ascii_start()));
        // Without a number, as `nohitcount` has it, there was at least one.
        let hits = hits.map_or(1, |(hits, _)| hits);
        self.inside = false;
        if hits == 0 {
            return warnings.note(Kind::UnreadableLine, line);
        }
        self.hits = self.hits.saturating_add(hits);
        for stack in &mut self.open {
            stack.task = self.task;
            self.stacks.add_times(stack, self.begun, hits);
            self.begun += 1;
        }
    }

    /// Where the keys end: at the brace before the values.
    fn end_of_keys(&self, text: &[u8]) -> Option<usize> {
        let without_values = || text.ends_with(b"}").then(|| text.len() - 1);
        self.hitcount.find(text).or_else(without_values).or_else(|| self.value.find(text))
    }

    fn frame(&mut self, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        let Some(stack) = self.open.last_mut() else { return warnings.note(Kind::StrayFrame, line) };
        if stack.frames.len() == DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, line);
        }
        stack.frames.push(self.frames.frame(text, line, warnings, frame));
    }

    /// Lines that tell of the histogram itself, and of what its actions saved. Says whether it is one.
    fn remark(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        let text = line.trim_ascii_start();
        if let Some((dropped, _)) = text.strip_prefix(b"Dropped: ").and_then(decimal) {
            self.dropped = self.dropped.saturating_add(dropped);
            if dropped > 0 {
                warnings.note(Kind::LostEvents, line);
            }
            return true;
        }
        let totals: [&[u8]; 4] = [b"Totals:", b"Hits: ", b"Entries: ", b"Duplicates: "];
        text.is_empty()
            || text == b"#"
            || text.starts_with(b"# trigger info: ")
            || line.starts_with(b"\t")
            || text.starts_with(b"Snapshot taken")
            || totals.iter().any(|known| text.starts_with(known))
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        // Most lines are frames, and most of them have been seen before.
        if self.inside
            && let Some(text) = line.strip_prefix(INDENT)
        {
            self.frame(text, line, warnings);
        } else if let Some(keys) = line.strip_prefix(b"{ ") {
            if self.inside {
                warnings.note(Kind::UnreadableLine, line);
            }
            self.inside = true;
            self.open.clear();
            self.task = self.words.word(NAMELESS.as_bytes());
            self.keys(keys, line, warnings);
        } else if self.inside && (line.starts_with(b"}") || line.starts_with(b", ")) {
            self.keys(line, line, warnings);
        } else if self.inside && is_place(line) {
            // A mail's quotes and editors take blanks from it.
            self.frame(line.trim_ascii(), line, warnings);
        } else {
            return self.remark(line, warnings) || line == HEADING;
        }
        true
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        if !line.trim_ascii_start().starts_with(b"#") {
            warnings.note(Kind::OtherLine, line);
        }
    }

    fn finish(self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        if self.inside {
            warnings.note(Kind::CutCapture, b"");
        }
        ParsedCapture {
            events: self.hits,
            lost: self.dropped,
            stacks: self.stacks.into_stacks(&self.words, &self.frames),
            ..ParsedCapture::default()
        }
    }
}

#[cfg(test)]
mod tests;

//! `/proc/PID/stack`, of one task or of many (`proc_pid_stack` of `fs/proc/base.c`).
//!
//! ```text
//! [<0>] hrtimer_nanosleep+0xb0/0x120
//! [<0>] tun_chr_read_iter+0x58/0x90 [tun]
//! [<0>] 0xffffffffc0001234
//! [<ffffffff8012e4a8>] do_wait+0x1d0/0x398
//! [<ffffffffffffffff>] 0xffffffffffffffff
//! [<f80bc9ca>] ? dvb_usb_adapter_frontend_exit+0x3a/0x70
//! /proc/113/stack:[<0>] hrtimer_nanosleep+0xb0/0x120
//! ==> /proc/113/stack <==
//! === 113 (eoe_filter)
//! ```
//!
//! Kernels before 4.15 print the address. Before 5.2 some end a stack in a frame of all ones, which is none.
//! The file says nothing of its task, so stacks of many are told apart by what `grep . /proc/[0-9]*/stack`
//! and `tail -n +1 /proc/[0-9]*/stack` print beside them, by empty lines, and by what loops of the shell print
//! before each.

use std::io::{self, BufRead};

use memchr::memmem::Finder;

use super::anonymous::AnonymousStacks;
use super::ftrace_frame::frame;
use super::lines::{self, Kind, LineParser, Warnings, hexadecimal, split_at};
use super::{Frame, ParsedCapture};

/// The event of these stacks.
pub(crate) const EVENT: &str = "proc-stack";
/// The longest line that may be the heading of a stack.
const LONGEST_HEADING: usize = 100;

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
    let bracket = Finder::new(BRACKET);
    // `[<00000000d33eeed7>] vring_interrupt` is the handler of an interrupt (`__report_bad_irq`).
    let is_frame = |text: &[u8]| {
        let says_place = |frame: Frame| frame.offset.is_some() || frame.symbol.is_none();
        place(text).is_some_and(|frame| text.starts_with(b"[<0>] ") || says_place(frame))
    };
    parts(line, &bracket)
        .is_some_and(|(path, text)| (path.is_empty() || path.ends_with(b"/stack:")) && is_frame(text))
}

/// What each frame begins with.
const BRACKET: &[u8] = b"[<";

struct Parser {
    bracket: Finder<'static>,
    /// What `grep` prints before the frames of the open stack.
    path: Vec<u8>,
    /// Whether a heading announced the stack that is open, which may have no frames.
    announced: bool,
    /// A line that is the heading of a stack if one follows, and its number.
    heading: Option<(Vec<u8>, u64)>,
    stacks: AnonymousStacks,
}

impl Parser {
    fn new() -> Self {
        Self {
            bracket: Finder::new(BRACKET),
            path: Vec::new(),
            announced: false,
            heading: None,
            stacks: AnonymousStacks::new(EVENT),
        }
    }

    fn end(&mut self) {
        self.stacks.end(std::mem::take(&mut self.announced));
    }

    /// No stack follows what could have been a heading.
    fn note_heading(&mut self, warnings: &mut Warnings) {
        if let Some((line, number)) = self.heading.take() {
            let number = std::mem::replace(&mut warnings.line, number);
            warnings.note(Kind::OtherLine, &line);
            warnings.line = number;
        }
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if line.is_empty() {
            self.end();
            return true;
        }
        if line.starts_with(b"==> ") && line.ends_with(b" <==") {
            self.end();
            self.announced = true;
            return true;
        }
        let Some((path, text)) = parts(line, &self.bracket) else { return false };
        self.heading = None;
        if path != self.path {
            self.end();
            self.path.clear();
            self.path.extend_from_slice(path);
        }
        let number = self.stacks.number(text, line, warnings, place);
        if self.stacks.frame(number).ends_saved_stack() {
            self.end();
        } else {
            self.stacks.push(number, line, warnings);
        }
        true
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        self.end();
        if is_heading(line) {
            // A task that runs has no stack behind its heading.
            self.heading = Some((line.to_vec(), warnings.line));
        } else {
            self.note_heading(warnings);
            warnings.note(Kind::OtherLine, line);
        }
    }

    fn finish(mut self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.note_heading(warnings);
        self.end();
        self.stacks.finish()
    }
}

/// Whether a line may be what somebody prints before the stack of a task, whose pid is in it: `1234`,
/// `=== 12 (kworker/u8:1)`.
fn is_heading(line: &[u8]) -> bool {
    let is_number = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let mut words = line.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+')));
    line.len() <= LONGEST_HEADING && words.any(is_number) && memchr::memchr(b'+', line).is_none()
}

/// What stands before the first bracket, and the rest.
fn parts<'a>(line: &'a [u8], bracket: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    if line.starts_with(BRACKET) {
        return Some((b"", line));
    }
    let at = bracket.find(line)?;
    Some(line.split_at(at))
}

/// `[<0>] hrtimer_nanosleep+0xb0/0x120`. What is printed in the brackets may be a hash of the address.
fn place(text: &[u8]) -> Option<Frame> {
    let (address, text) = split_at(text.strip_prefix(BRACKET)?, b">] ")?;
    let address = hexadecimal(address)?;
    let guessed = text.strip_prefix(b"? ");
    // `:jbd:kjournald+0xc1/0x213` is of a call trace: kernels that print a module so have no such file.
    let frame = frame(guessed.unwrap_or(text)).filter(|_| !text.starts_with(b":"))?;
    let address = frame.address.or((address != 0).then_some(address));
    Some(Frame { address, guess: guessed.is_some(), ..frame })
}

#[cfg(test)]
mod tests;

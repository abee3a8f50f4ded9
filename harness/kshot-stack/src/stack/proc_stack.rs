//! `/proc/PID/stack`, of one task or of many (`proc_pid_stack` of `fs/proc/base.c`).
//!
//! ```text
//! [<0>] hrtimer_nanosleep+0xb0/0x120
//! [<0>] tun_chr_read_iter+0x58/0x90 [tun]
//! [<0>] 0xffffffffc0001234
//! [<ffffffff8012e4a8>] do_wait+0x1d0/0x398
//! [<ffffffffffffffff>] 0xffffffffffffffff
//! /proc/113/stack:[<0>] hrtimer_nanosleep+0xb0/0x120
//! ==> /proc/113/stack <==
//! ```
//!
//! Kernels before 4.15 print the address. Before 5.2 some end a stack in a frame of all ones, which is none. The file says
//! nothing of its task, so stacks of many are told apart by what `grep . /proc/[0-9]*/stack` and `tail -n +1
//! /proc/[0-9]*/stack` print beside them, and by empty lines.

use std::io::{self, BufRead};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::fold::{Fold, Numbers, Texts};
use super::ftrace_frame::{frame, unreadable_frame};
use super::lines::{self, DEEPEST_STACK, Kind, Warnings, hexadecimal, split_at};
use super::{Frame, NAMELESS, Parsed};

/// The event of these stacks.
pub(super) const EVENT: &str = "proc-stack";
/// What ends a stack in kernels before 5.2.
const END: u64 = u64::MAX;

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
    let bracket = Finder::new(BRACKET);
    parts(line, &bracket)
        .is_some_and(|(path, text)| (path.is_empty() || path.ends_with(b"/stack:")) && place(text).is_some())
}

/// What each frame begins with.
const BRACKET: &[u8] = b"[<";

struct Parser {
    bracket: Finder<'static>,
    /// What `grep` prints before the frames of the open stack.
    path: Vec<u8>,
    /// Whether a heading announced the stack that is open, which may have no frames.
    announced: bool,
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
        Self {
            bracket: Finder::new(BRACKET),
            path: Vec::new(),
            announced: false,
            stack,
            begun: 0,
            stacks: Fold::default(),
            words,
            frames: Texts::default(),
        }
    }

    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        if line.is_empty() {
            return self.end();
        }
        if line.starts_with(b"==> ") && line.ends_with(b" <==") {
            self.end();
            self.announced = true;
            return;
        }
        let Some((path, text)) = parts(line, &self.bracket) else {
            self.end();
            return warnings.note(Kind::UnreadableLine, line);
        };
        if path != self.path {
            self.end();
            self.path.clear();
            self.path.extend_from_slice(path);
        }
        let known = self.frames.number(text, |text| place(text).map(Arc::new));
        if known.is_some_and(|frame| self.frames.get(frame).address == Some(END)) {
            return self.end();
        }
        let frame = known.or_else(|| {
            warnings.note(Kind::UnreadableLine, line);
            self.frames.number(text, |text| Some(Arc::new(unreadable_frame(text))))
        });
        if self.stack.frames.len() == DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, line);
        }
        self.stack.frames.extend(frame);
    }

    fn end(&mut self) {
        if self.announced || !self.stack.frames.is_empty() {
            self.stacks.add(&self.stack, self.begun);
            self.begun += 1;
        }
        self.announced = false;
        self.stack.frames.clear();
    }

    fn finish(mut self, warnings: Warnings) -> Parsed {
        self.end();
        let stacks = self.stacks.into_stacks(&self.words, &self.frames);
        Parsed { events: self.begun, stacks, warnings: warnings.into_inner(), ..Parsed::default() }
    }
}

/// What stands before the first bracket, and the rest.
fn parts<'a>(line: &'a [u8], bracket: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    if line.starts_with(BRACKET) {
        return Some((b"", line));
    }
    let at = bracket.find(line)?;
    Some(line.split_at(at))
}

/// `[<0>] hrtimer_nanosleep+0xb0/0x120`.
fn place(text: &[u8]) -> Option<Frame> {
    let (address, text) = split_at(text.strip_prefix(BRACKET)?, b">] ")?;
    let address = hexadecimal(address)?;
    let frame = frame(text)?;
    let address = (address != 0).then_some(address).or(frame.address);
    Some(Frame { address, ..frame })
}

#[cfg(test)]
#[path = "proc_stack_tests.rs"]
mod tests;

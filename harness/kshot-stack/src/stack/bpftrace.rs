//! The stacks that bpftrace prints of `kstack` and `ustack`, and bcc's tools.
//!
//! ```text
//! Attaching 1 probe...
//! @[
//!     ip_output+1
//!     tcp_transmit_skb+1308
//! , sshd]: 1708
//! @ns[sshd,
//!     tun_chr_ioctl+0x31
//! ,
//!     __ioctl+11 (/lib/libc.so.6)
//! ]: 3
//!
//!         do_nanosleep+1
//!         hrtimer_nanosleep+178
//!
//!     ffffffff813d0af8 __clear_user+0x18
//!     read
//!     -                dd (25036)
//!         4
//! 9557    9557    a.out           do_sys_open      temp.1
//!         do_sys_open+0x1 [kernel]
//!         start_sw_timer+0x173 [kvm]
//!         __open_nocancel+0x7 [libc-2.17.so]
//! ```
//!
//! A key's first stack is taken for the kernel's, the next for user space's. Where a map counts, so often was
//! its stack there. Offsets are decimal unless they say otherwise. Names alone are frames in the output of
//! bcc's tools, which their first line tells, where a number ends them: how often, or for how long.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::fold::{Fold, Numbers, Texts};
use super::lines::{
    self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, hexadecimal, is_symbol, number, printable,
    split_at,
};
use super::{Frame, NAMELESS, ParsedCapture};

/// The event of these stacks, where no map names them.
pub(super) const EVENT: &str = "bpftrace";
/// The blanks before a frame, at least.
const INDENT: &[u8] = b"    ";
/// The digits of an address, at least.
const ADDRESS_DIGITS: usize = 8;

/// Reads what a tool printed.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<ParsedCapture> {
    lines::parse(input, Parser::default())
}

/// What reads such a text line by line.
pub(crate) fn parser() -> impl LineParser {
    Parser::default()
}

/// Whether a line, with the one behind it, is one of this format.
pub(crate) fn is_of(line: &[u8], next: &[u8]) -> bool {
    let attaches =
        line.starts_with(b"Attaching ") && (line.ends_with(b" probe...") || line.ends_with(b" probes..."));
    let frames = || line.starts_with(INDENT) && is_placed(line) && is_frame(next.trim_ascii());
    attaches || bcc(line).is_some() || begun_map(line).is_some() || frames()
}

#[derive(Default)]
struct Parser {
    /// The key of a map that has begun and not ended.
    key: Option<Key>,
    /// A stack outside of maps.
    open: Option<Stacks>,
    /// The tool of bcc's that prints, if it is one: names alone are frames then.
    bcc: Option<Bcc>,
    events: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
    user_frames: Texts<Arc<Frame>>,
}

/// A tool of bcc's, by the number below its stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bcc {
    /// How often a stack was there.
    Counts,
    /// For how long, all in all.
    Times,
}

/// What a key of a map holds besides numbers.
struct Key {
    event: usize,
    task: Option<usize>,
    stacks: Option<Stacks>,
}

/// A stack of the kernel, and one of user space behind it.
#[derive(Default)]
struct Stacks {
    frames: Vec<usize>,
    /// How many of the frames are the kernel's, where user space's have begun.
    of_kernel: Option<usize>,
    /// Whether no frame says its place: it may be any text.
    is_doubtful: bool,
    task: Option<usize>,
}

impl Parser {
    /// A line between the brackets of a map.
    fn line_of_map(&mut self, line: &[u8], warnings: &mut Warnings) {
        let Some(mut key) = self.key.take() else { return };
        if let Some(value) = line.strip_prefix(b"]:") {
            return self.end_key(key, value);
        }
        if let Some(behind) = line.strip_prefix(b",") {
            self.key = Some(key);
            return self.keys(behind.strip_prefix(b" ").unwrap_or(behind));
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            let mut stacks = key.stacks.take().unwrap_or_default();
            self.push(&mut stacks, text, line, warnings);
            key.stacks = Some(stacks);
        }
        self.key = Some(key);
    }

    /// What stands between two stacks of a key: words, up to the next stack or the end of the key.
    fn keys(&mut self, text: &[u8]) {
        let Some(mut key) = self.key.take() else { return };
        let (words, value) = match split_at(text, b"]:") {
            Some((words, value)) => (words, Some(value)),
            None => (text, None),
        };
        for word in words.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if key.task.is_none() && !word.is_empty() && !word.iter().all(u8::is_ascii_digit) {
                key.task = Some(self.words.word(word));
            }
        }
        match value {
            Some(value) => self.end_key(key, value),
            None => {
                // A stack follows.
                match &mut key.stacks {
                    Some(stacks) => stacks.of_kernel = stacks.of_kernel.or(Some(stacks.frames.len())),
                    None => key.stacks = Some(Stacks::default()),
                }
                self.key = Some(key);
            }
        }
    }

    /// Ends a key. What is counted stands behind it: `]: 1708`.
    fn end_key(&mut self, key: Key, value: &[u8]) {
        let value = value.trim_ascii();
        let count = decimal(value).filter(|(_, rest)| rest.is_empty()).map_or(1, |(count, _)| count);
        if let Some(stacks) = key.stacks {
            self.add(stacks, key.event, key.task, count.max(1));
        }
    }

    /// A line of bcc's tools below their frames. Says whether it is one.
    fn line_of_bcc(&mut self, bcc: Bcc, text: &[u8]) -> bool {
        let Some(open) = &mut self.open else { return false };
        if let Some((number, b"")) = decimal(text) {
            open.is_doubtful = false;
            self.end(if bcc == Bcc::Counts { number } else { 1 });
            return true;
        }
        if text == b"--" {
            open.of_kernel = open.of_kernel.or(Some(open.frames.len()));
            return true;
        }
        // `-                dd (25036)`, `'sshd'`
        let task = match text.strip_prefix(b"- ") {
            Some(task) => task.trim_ascii().rsplitn(2, |&byte| byte == b'(').nth(1).map(<[u8]>::trim_ascii),
            None => text.strip_prefix(b"'").and_then(|task| task.strip_suffix(b"'")),
        };
        let Some(task) = task else { return false };
        open.task = Some(self.words.word(task));
        true
    }

    fn push(&mut self, stacks: &mut Stacks, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        if stacks.frames.len() >= DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, line);
        }
        let behind_kernel = stacks.of_kernel.is_some();
        let frames = if behind_kernel { &mut self.user_frames } else { &mut self.frames };
        let number = frames.frame(text, line, warnings, |text| {
            frame(text).map(|frame| Frame { user: frame.user || behind_kernel, ..frame })
        });
        stacks.frames.push(number);
    }

    /// Counts the stack outside of maps, if one is open.
    fn end(&mut self, count: u64) {
        if let Some(stacks) = self.open.take().filter(|stacks| !stacks.is_doubtful) {
            let event = self.words.word(EVENT.as_bytes());
            let task = stacks.task;
            self.add(stacks, event, task, count.max(1));
        }
    }

    fn add(&mut self, stacks: Stacks, event: usize, task: Option<usize>, count: u64) {
        let task = task.unwrap_or_else(|| self.words.word(NAMELESS.as_bytes()));
        let Stacks { mut frames, of_kernel, .. } = stacks;
        // One number tells both kinds apart.
        let user = of_kernel.unwrap_or(frames.len());
        frames[user..].iter_mut().for_each(|number| *number = *number * 2 + 1);
        frames[..user].iter_mut().for_each(|number| *number *= 2);
        self.stacks.add_times(&Numbers { task, event, frames }, self.events, count);
        self.events = self.events.saturating_add(count);
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if self.key.is_some() {
            self.line_of_map(line, warnings);
            return true;
        }
        if let Some((name, behind)) = begun_map(line) {
            self.end(1);
            let event = self.words.word(if name == b"@" { EVENT.as_bytes() } else { name });
            self.key = Some(Key { event, task: None, stacks: None });
            self.keys(behind);
            return true;
        }
        let text = line.trim_ascii();
        // Some versions of bcc's tools print names as Python's bytes: `b'tcp_sendmsg'`.
        let of_python = text.strip_prefix(b"b'").and_then(|text| text.strip_suffix(b"'"));
        let text = of_python.filter(|_| self.bcc.is_some()).unwrap_or(text);
        if text.is_empty() {
            self.end(1);
            return true;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let Some(bcc) = self.bcc
                && self.line_of_bcc(bcc, text)
            {
                return true;
            }
            let has_place = is_placed(line) || self.open.is_some() && is_frame(text);
            if has_place || self.bcc.is_some() && is_bare(text) {
                let mut open = self.open.take().unwrap_or(Stacks { is_doubtful: true, ..Stacks::default() });
                open.is_doubtful &= !has_place;
                self.push(&mut open, text, line, warnings);
                self.open = Some(open);
                return true;
            }
        }
        false
    }

    fn other(&mut self, line: &[u8], _: &mut Warnings) {
        self.end(1);
        self.bcc = bcc(line).or(self.bcc);
    }

    fn finish(mut self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.end(1);
        if self.key.is_some() {
            warnings.note(Kind::CutCapture, b"");
        }
        let Self { words, frames, user_frames, stacks, events, .. } = *self;
        let frame = |number: usize| match number % 2 {
            0 => frames.get(number / 2).clone(),
            _ => user_frames.get(number / 2).clone(),
        };
        let (stacks, _) = stacks.finish(|stack| super::Stack {
            task: words.get(stack.task).clone(),
            event: words.get(stack.event).clone(),
            function: None,
            frames: stack.frames.into_iter().map(frame).collect(),
        });
        ParsedCapture { events, stacks, ..ParsedCapture::default() }
    }
}

/// The name of a map whose key has a line end in it, and what stands behind the bracket: `@ns[sshd, `.
fn begun_map(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, behind) = split_at(line, b"[").filter(|_| line.starts_with(b"@"))?;
    let is_name = name[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let begins = behind.is_empty() || behind.trim_ascii_end().ends_with(b",");
    (is_name && begins).then_some((name, behind))
}

/// The tool whose first line it is: `Sampling at 49 Hertz of all threads .. Hit Ctrl-C to end.`, `Tracing 1
/// functions for "f"..`, `Tracing off-CPU time (us) of all threads ..`.
fn bcc(line: &[u8]) -> Option<Bcc> {
    split_at(line, b"Hit Ctrl-C to end")?;
    let counts = line.starts_with(b"Sampling at ") || split_at(line, b" functions for ").is_some();
    let times = || line.starts_with(b"Tracing ") && split_at(line, b" time (us)").is_some();
    if counts { Some(Bcc::Counts) } else { times().then_some(Bcc::Times) }
}

/// Whether a text is a name alone, or one behind its address.
fn is_bare(text: &[u8]) -> bool {
    let (first, rest) = split_at(text, b" ").unwrap_or((text, b""));
    let is_word = |text: &[u8]| !text.is_empty() && !text.contains(&b' ');
    is_word(first) && rest.is_empty() || is_address(first) && is_word(rest.trim_ascii())
}

/// Whether a line is a frame with its place, without a size: `f+16`, `f+0x1 [kernel]`.
fn is_placed(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    let (first, rest) = split_at(text, b" ").unwrap_or((text, b""));
    let is_object = rest.is_empty() || matches!((rest[0], rest[rest.len() - 1]), (b'[', b']') | (b'(', b')'));
    let place = || {
        let (name, offset) = first.split_at(first.iter().rposition(|&byte| byte == b'+')?);
        number(&offset[1..]).filter(|_| is_name(name))
    };
    is_object && place().is_some()
}

/// Whether a text may be a frame among others that have a place. The names of C++ hold blanks.
fn is_frame(text: &[u8]) -> bool {
    let begins_with_address = || is_address(split_at(text, b" ").map_or(text, |(first, _)| first));
    is_placed(text) || begins_with_address() || text.ends_with(b"]") && split_at(text, b"+0x").is_some()
}

/// Whether it is an address. One of a program may be short, `0x4b5f00`.
fn is_address(text: &[u8]) -> bool {
    let is_long = text.starts_with(b"0x") || text.len() >= ADDRESS_DIGITS;
    is_long && hexadecimal(text).is_some()
}

/// Whether it begins as a function's name does.
fn is_name(text: &[u8]) -> bool {
    is_symbol(text) && (text[0].is_ascii_alphabetic() || matches!(text[0], b'_' | b'$' | b'.'))
}

/// `tcp_transmit_skb+1308`, `ffffffff813d0af8 __clear_user+0x18 [kernel]`, `main`, `[unknown]`.
fn frame(text: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    let mut rest = text;
    let first = split_at(text, b" ").map_or(text, |(first, _)| first);
    if is_address(first) {
        frame.address = hexadecimal(first);
        rest = text[first.len()..].trim_ascii_start();
    }
    let brackets = [(b'[', b']'), (b'(', b')')];
    for (open, close) in brackets {
        if rest.ends_with(&[close])
            && let Some(at) = rest.windows(2).rposition(|pair| pair == [b' ', open])
        {
            let object = &rest[at + 2..rest.len() - 1];
            frame.user = object.contains(&b'.') && !object.starts_with(b"[") || object.contains(&b'/');
            let is_module =
                !frame.user && object != b"kernel" && !object.starts_with(b"[kernel") && is_name(object);
            frame.module = is_module.then(|| printable(object));
            rest = rest[..at].trim_ascii_end();
        }
    }
    if rest.is_empty() || rest == b"[unknown]" {
        return (frame.address.is_some() || !rest.is_empty()).then_some(frame);
    }
    let place = rest.iter().rposition(|&byte| byte == b'+');
    frame.offset = place.and_then(|at| number(&rest[at + 1..]));
    let name = if frame.offset.is_some() { &rest[..place.unwrap_or(rest.len())] } else { rest };
    frame.symbol = Some(printable(name));
    // C++ names hold blanks.
    (is_name(name) || name.contains(&b'(') || name.contains(&b':')).then_some(frame)
}

#[cfg(test)]
mod tests;

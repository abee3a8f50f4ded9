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
//!         start_sw_timer+0x173 [kvm]
//!         do_sys_open+0x1 [kernel]
//!         __open_nocancel+0x7 [libc-2.17.so]
//!         7f6c72b6497a main+0x1a [allocs]
//! 14:46:49 0       4  39.156.66.10:80      > 10.211.55.10:33280   SYN_SENT (SYN|ACK)   NETFILTER_DROP (12)
//! \tb'sk_skb_reason_drop+0x1e4'
//!     #0  0xffffffff8110a3b0 __schedule+0x2d6                  of libbpf-tools
//!     #1  0x00007f6c72b6497a read+0x14 (/lib/libc.so+0xd9a4)
//! \t0 [<ffffffff8110a3b0>] kmalloc_trace+0x2a
//!     7f7d67091f70:printf_core+0x101 [libc.so]
//!          3     11.74 ms      9.54 ms      3.91 ms     spinlock   f+0x25      of perf lock contention -v
//!                           0xffffffff8117a3b5  f+0x25
//!   Blocking thread stack trace                                  of rtla timerlat
//!                 -> timerlat_irq
//! ```
//!
//! A key's first stack is taken for the kernel's, the next for user space's. Where a map counts, so often was
//! its stack there. What the words of a key are it does not say: one alone that may be the name of a task is
//! taken for it. Offsets are decimal unless they say otherwise. Names alone are frames in the output of bcc's
//! tools, which their first line tells, where a number ends them: how often, or for how long. What else they
//! print is in `tools.rs`.

mod tools; // what bcc's tools print around frames

use std::io::{self, BufRead};
use std::sync::Arc;

use super::fold::{Fold, Numbers, Texts};
use super::lines::{
    self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, hexadecimal, is_symbol, number, printable,
    split_at,
};
use super::{Frame, NAMELESS, ParsedCapture};
use tools::{Tool, ToolLine, contended, tool, without_pid};

/// The event of these stacks, where no map names them.
pub(super) const EVENT: &str = "bpftrace";
/// What stands before a frame, at least.
const INDENTS: [&[u8]; 2] = [b"    ", b"\t"];
/// What rtla prints before the frames of a stack (`tools/tracing/rtla/src/timerlat_aa.c`).
const RTLA_HEADING: &[u8] = b"Blocking thread stack trace";
/// The most bytes of a task's name (`TASK_COMM_LEN`).
const LONGEST_TASK: usize = 15;
/// What stands for a name that could not be told.
const UNKNOWN: &[u8] = b"[unknown]";
/// How a frame was read, which with its number is one number: as user space's, or as the kernel's though it is
/// user space's; else 0.
const OF_USER: usize = 1;
const READ_AS_KERNELS: usize = 2;
const READINGS: usize = 3;
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
    let is_indented = || INDENTS.iter().any(|indent| line.starts_with(indent));
    let frames = || is_indented() && is_placed(frame_text(line)) && is_frame(frame_text(next));
    let is_rtla = || line.trim_ascii() == RTLA_HEADING;
    attaches || tool(line).is_some() || begun_map(line).is_some() || frames() || is_rtla()
}

#[derive(Default)]
struct Parser {
    /// The key of a map that has begun and not ended.
    key: Option<Key>,
    /// A stack outside of maps.
    open: Option<Stacks>,
    /// The tool of bcc's that prints, if it is one: names alone are frames then.
    tool: Option<Tool>,
    /// Whether frames of rtla's follow.
    is_rtla: bool,
    /// How often the lock was contended that the next stack is of.
    contended: Option<u64>,
    events: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
    user_frames: Texts<Arc<Frame>>,
}

/// What a key of a map holds besides numbers.
struct Key {
    event: usize,
    /// A word that may be the name of a task.
    task: Option<usize>,
    /// Whether there is another.
    is_ambiguous: bool,
    stacks: Option<Stacks>,
}

/// A stack of the kernel, and one of user space behind it.
#[derive(Default)]
struct Stacks {
    frames: Vec<usize>,
    /// How many of the frames are the kernel's, where user space's have begun.
    of_kernel: Option<usize>,
    /// How many of the first frames are user space's, in the stack of a waker.
    of_user_first: usize,
    /// Whether no frame says its place: it may be any text.
    is_doubtful: bool,
    task: Option<usize>,
    /// Whether it is the stack of a waker, before that of who was woken: its outermost frame comes first.
    is_wakers: bool,
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
            if may_be_task(word) {
                key.is_ambiguous |= key.task.is_some();
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
            // bpftrace's `func` is where the probe sits.
            let is_function = |task: &usize| {
                let mut symbols = stacks.frames.iter().take(stacks.of_kernel.unwrap_or(usize::MAX));
                symbols.any(|&frame| self.frames.get(frame).symbol.as_ref() == Some(self.words.get(*task)))
            };
            let task = key.task.filter(|task| !key.is_ambiguous && !is_function(task));
            self.add(stacks, key.event, task, count.max(1));
        }
    }

    /// A line of bcc's tools around their frames. Says whether it is one.
    fn line_of_tool(&mut self, text: &[u8]) -> bool {
        // Behind frames with a place `-   dd (25036)` tells the tool, too.
        let Some(line) = ToolLine::read(text).filter(|line| match line {
            ToolLine::Task(_) => self.tool.is_some() || self.open.is_some() && text.starts_with(b"- "),
            _ => self.tool.is_some(),
        }) else {
            return false;
        };
        self.tool = self.tool.or(Some(Tool::Times));
        match (line, &mut self.open) {
            (ToolLine::Number(number), Some(open)) => {
                open.is_doubtful = false;
                self.end(if self.tool == Some(Tool::Counts) { number } else { 1 });
            }
            (ToolLine::Delimiter, Some(open)) if open.is_wakers => open.of_user_first = open.frames.len(),
            (ToolLine::Delimiter, Some(open)) => open.of_kernel = open.of_kernel.or(Some(open.frames.len())),
            (ToolLine::NoKernel, None) => {
                self.open = Some(Stacks { of_kernel: Some(0), ..Stacks::doubtful() })
            }
            (ToolLine::Task(task), Some(open)) => open.task = Some(self.words.word(task)),
            (ToolLine::Waker(task), Some(open)) if !open.is_wakers => open.task = Some(self.words.word(task)),
            (ToolLine::Target(task), Some(open)) => open.task = Some(self.words.word(without_pid(task))),
            (ToolLine::Waker(task), _) => {
                let task = Some(self.words.word(without_pid(task)));
                self.open = Some(Stacks { task, is_wakers: true, ..Stacks::doubtful() });
            }
            (ToolLine::EndOfWaker, Some(open)) => {
                open.is_doubtful = open.frames.is_empty();
                self.end(1);
            }
            _ => {}
        }
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
        self.is_rtla = false;
        if let Some(stacks) = self.open.take().filter(|stacks| !stacks.is_doubtful) {
            let event = self.words.word(EVENT.as_bytes());
            let (task, count) = (stacks.task, self.contended.take().unwrap_or(count));
            self.add(stacks, event, task, count.max(1));
        }
    }

    fn add(&mut self, stacks: Stacks, event: usize, task: Option<usize>, count: u64) {
        let task = task.unwrap_or_else(|| self.words.word(NAMELESS.as_bytes()));
        let Stacks { mut frames, of_kernel, of_user_first, is_wakers, .. } = stacks;
        // One number tells all kinds apart.
        let user = of_kernel.unwrap_or(frames.len());
        for (index, number) in frames.iter_mut().enumerate() {
            let kind =
                if index >= user { OF_USER } else { usize::from(index < of_user_first) * READ_AS_KERNELS };
            *number = *number * READINGS + kind;
        }
        if is_wakers {
            frames.reverse();
        }
        self.stacks.add_times(&Numbers { task, event, frames }, self.events, count);
        self.events = self.events.saturating_add(count);
    }
}

impl Stacks {
    /// One without frames, which may come to be any text.
    fn doubtful() -> Self {
        Self { is_doubtful: true, ..Self::default() }
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
            self.key = Some(Key { event, task: None, is_ambiguous: false, stacks: None });
            self.keys(behind);
            return true;
        }
        let text = frame_text(line);
        if text.is_empty() {
            self.end(1);
            return true;
        }
        if !matches!(line[0], b' ' | b'\t') {
            return false;
        }
        if self.line_of_tool(text) {
            return true;
        }
        if text == RTLA_HEADING {
            self.end(1);
            self.is_rtla = true;
            return true;
        }
        let arrow = text.strip_prefix(b"-> ").filter(|name| self.is_rtla && is_bare(name));
        let has_place = arrow.is_some() || is_placed(text) || self.open.is_some() && is_frame(text);
        if has_place || self.tool.is_some() && is_bare(text) {
            let mut open = self.open.take().unwrap_or_else(Stacks::doubtful);
            open.is_doubtful &= !has_place;
            self.push(&mut open, arrow.unwrap_or(text), line, warnings);
            self.open = Some(open);
            return true;
        }
        false
    }

    fn other(&mut self, line: &[u8], _: &mut Warnings) {
        self.end(1);
        self.tool = tool(line).or(self.tool);
        self.contended = contended(line);
    }

    fn finish(mut self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.end(1);
        if self.key.is_some() {
            warnings.note(Kind::CutCapture, b"");
        }
        let Self { words, frames, user_frames, stacks, events, .. } = *self;
        let frame = |number: usize| match number % READINGS {
            OF_USER => user_frames.get(number / READINGS).clone(),
            READ_AS_KERNELS => Arc::new(as_users(frames.get(number / READINGS))),
            _ => frames.get(number / READINGS).clone(),
        };
        let (stacks, _) = stacks.finish(|stack| super::Stack {
            task: words.get(stack.task).clone(),
            event: words.get(stack.event).clone(),
            function: None,
            frames: finished(stack.frames.into_iter().map(frame).collect()),
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

/// Tells a program's frames from a module's, which the name of an object alone could not: no stack of the
/// kernel ends in a module, and behind the first frame of user space all are.
fn finished(mut frames: Vec<Arc<Frame>>) -> Vec<Arc<Frame>> {
    let Some(first) = frames.iter().position(|frame| frame.user) else { return frames };
    let begin = frames[..first].iter().rposition(|frame| frame.module.is_none()).map_or(0, |last| last + 1);
    for frame in frames[begin..].iter_mut().filter(|frame| !frame.user) {
        *frame = Arc::new(as_users(frame));
    }
    frames
}

fn as_users(frame: &Frame) -> Frame {
    Frame { user: true, module: None, ..frame.clone() }
}

/// Whether a word of a key may be the name of a task, not a number nor a probe: `kprobe:vfs_read`.
fn may_be_task(word: &[u8]) -> bool {
    const PROVIDERS: [&[u8]; 8] =
        [b"profile", b"interval", b"software", b"hardware", b"usdt", b"iter", b"self", b"bench"];
    const ENDS: [&[u8]; 6] = [b"probe", b"func", b"tracepoint", b"watchpoint", b"entry", b"exit"];
    let is_provider = |name: &[u8]| PROVIDERS.contains(&name) || ENDS.iter().any(|end| name.ends_with(end));
    let is_probe = || split_at(word, b":").is_some_and(|(provider, _)| is_provider(provider));
    let is_number = || number(word.strip_prefix(b"-").unwrap_or(word)).is_some();
    !word.is_empty() && word.len() <= LONGEST_TASK && !is_number() && !is_probe()
}

/// What a line says of a frame. Some versions of bcc's tools print names as Python's bytes: `b'tcp_sendmsg'`.
fn frame_text(line: &[u8]) -> &[u8] {
    let text = line.trim_ascii();
    text.strip_prefix(b"b'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// A frame without the number that libbpf-tools print before it: `#0  0xffffffff8110a3b0 __schedule+0x2d6`,
/// `0 [<ffffffff8110a3b0>] f+0x2a`.
fn without_number(text: &[u8]) -> &[u8] {
    let rest = match text {
        [b'#', rest @ ..] => decimal(rest).map(|(_, rest)| rest).filter(|rest| rest.starts_with(b" ")),
        [b'0'..=b'9', ..] => decimal(text).map(|(_, rest)| rest).filter(|rest| rest.starts_with(b" [<")),
        _ => None,
    };
    rest.map_or(text, <[u8]>::trim_ascii_start)
}

/// The address that a frame begins with, and what stands behind it.
fn addressed(text: &[u8]) -> Option<(u64, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"[<") {
        let (address, rest) = split_at(rest, b">]")?;
        return Some((hexadecimal(address)?, rest.trim_ascii_start()));
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b'x').count();
    let (address, rest) = text.split_at(digits);
    let rest = match rest {
        [] | [b' ', ..] => rest,
        // `7f7d67091f70:printf_core+0x101 [libc.so]`
        [b':', rest @ ..] if rest.ends_with(b"]") => rest,
        _ => return None,
    };
    // One of a program may be short, `0x4b5f00`.
    let is_long = address.starts_with(b"0x") || address.len() >= ADDRESS_DIGITS;
    Some((hexadecimal(address).filter(|_| is_long)?, rest.trim_ascii_start()))
}

/// Whether a text is a name alone, or one behind its address.
fn is_bare(text: &[u8]) -> bool {
    match addressed(text) {
        Some((_, name)) => !name.contains(&b' '),
        None => is_name(text) || text == UNKNOWN,
    }
}

/// Whether a text is a frame with its place, without a size: `f+16`, `f+0x1 [kernel]`.
fn is_placed(text: &[u8]) -> bool {
    let text = without_number(text);
    let named = addressed(text).map_or(text, |(_, named)| named);
    let (first, rest) = split_at(named, b" ").unwrap_or((named, b""));
    let is_object = rest.is_empty() || matches!((rest[0], rest[rest.len() - 1]), (b'[', b']') | (b'(', b')'));
    let place = || {
        let (name, offset) = first.split_at(first.iter().rposition(|&byte| byte == b'+')?);
        number(&offset[1..]).filter(|_| is_name(name))
    };
    // `ffffffffaacb0c56:schedule [kernel]`
    let is_joined = || !rest.is_empty() && is_name(first) && text[..text.len() - named.len()].ends_with(b":");
    is_object && (place().is_some() || is_joined())
}

/// Whether a text may be a frame among others that have a place. The names of C++ hold blanks.
fn is_frame(text: &[u8]) -> bool {
    is_placed(text)
        || addressed(without_number(text)).is_some()
        || text.ends_with(b"]") && split_at(text, b"+0x").is_some()
}

/// Whether it begins as a function's name does.
fn is_name(text: &[u8]) -> bool {
    is_symbol(text) && (text[0].is_ascii_alphabetic() || matches!(text[0], b'_' | b'$' | b'.'))
}

/// `tcp_transmit_skb+1308`, `ffffffff813d0af8 __clear_user+0x18 [kernel]`, `main`, `[unknown]`.
fn frame(text: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    let mut rest = without_number(text);
    if let Some((address, named)) = addressed(rest) {
        (frame.address, rest) = (Some(address), named);
    }
    for (open, close) in [(b'[', b']'), (b'(', b')')] {
        if !rest.ends_with(&[close]) || rest == UNKNOWN {
            continue;
        }
        // Behind an address that has no name the object stands alone.
        let alone = (rest[0] == open && frame.address.is_some()).then_some(0);
        let at = rest.windows(2).rposition(|pair| pair == [b' ', open]).map(|blank| blank + 1).or(alone);
        if let Some(at) = at {
            let object = &rest[at + 1..rest.len() - 1];
            frame.user = object.contains(&b'.') && !object.starts_with(b"[") || object.contains(&b'/');
            let is_module =
                !frame.user && object != b"kernel" && !object.starts_with(b"[kernel") && is_name(object);
            frame.module = is_module.then(|| printable(object));
            rest = rest[..at].trim_ascii_end();
        }
    }
    if rest.is_empty() || rest == UNKNOWN || rest == b"<null sym>" {
        return (frame.address.is_some() || !rest.is_empty()).then_some(frame);
    }
    // `f+0x12 a.c:34`
    if let Some((placed, source)) = split_at(rest, b" ").filter(|(first, _)| is_placed(first))
        && split_at(source, b":").is_some()
    {
        rest = placed;
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

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
//!     stack:                                                     of nettrace
//!        __udp4_lib_rcv ([kernel.kallsyms])
//!               ext4`ext4_file_write_iter+0xb5                   of DTrace
//!                 5
//! @:                                                             of ply
//! { \n\tio_schedule+12
//! }: 3
//! 5 12345 4000 do_select sys_select                              of /proc/latency_stats
//! ```
//!
//! A key's first stack is taken for the kernel's, the next for user space's. Where a map counts, so often was
//! its stack there. What the words of a key are it does not say: one alone that may be the name of a task is
//! taken for it. Offsets are decimal unless they say otherwise. Names alone are frames in the output of bcc's
//! tools, which their first line tells, where a number ends them: how often, or for how long. What else they
//! print is in `tools.rs`.

mod frame; // one frame
mod maps; // where the key of a map begins and ends
mod tools; // what bcc's tools print around frames

use std::io::{self, BufRead};
use std::sync::Arc;

use super::fold::{Fold, Numbers, Texts};
use super::lines::{self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, number, split_at};
use super::{Frame, NAMELESS, ParsedCapture};
use frame::{frame, frame_text, is_bare, is_frame, is_placed, of_dtrace};
use maps::{begun_map, end_of_key, named_map};
use tools::{
    Latency, NETTRACE_HEADING, Tool, ToolLine, announced, announces_frames, contended, is_head_of_latencies,
    tool, without_pid,
};

/// The event of these stacks, where no map names them.
pub(super) const EVENT: &str = "bpftrace";
/// What stands before a frame, at least.
const INDENTS: [&[u8]; 2] = [b"    ", b"\t"];
/// The most bytes of a task's name (`TASK_COMM_LEN`).
const LONGEST_TASK: usize = 15;
/// How a frame was read, which with its number is one number: as user space's, or as the kernel's though it is
/// user space's; else 0.
const OF_USER: usize = 1;
const READ_AS_KERNELS: usize = 2;
const READINGS: usize = 3;

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
    let announced = || announces_frames(line.trim_ascii()) && announced(next.trim_ascii()).is_some();
    let is_of_ply = || named_map(line).is_some() && next.starts_with(b"{ ");
    let is_latency = || is_head_of_latencies(line) && Latency::read(next).is_some();
    attaches
        || tool(line).is_some()
        || begun_map(line).is_some()
        || frames()
        || announced()
        || is_of_ply()
        || is_latency()
}

#[derive(Default)]
struct Parser {
    /// The key of a map that has begun and not ended.
    key: Option<Box<Key>>,
    /// A stack outside of maps.
    open: Option<Stacks>,
    /// The tool of bcc's that prints, if it is one: names alone are frames then.
    tool: Option<Tool>,
    /// Whether a heading announced the frames that follow, which may be names alone.
    is_announced: bool,
    /// Whether lines of `/proc/latency_stats` follow.
    is_latency: bool,
    /// The event of the map of ply's whose keys follow.
    named: Option<usize>,
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
        if let Some((b"", value)) = end_of_key(line) {
            return self.end_key(*key, value);
        }
        if let Some(behind) = line.strip_prefix(b",") {
            self.key = Some(key);
            return self.keys(behind.strip_prefix(b" ").unwrap_or(behind));
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            self.push(key.stacks.get_or_insert_default(), text, line, warnings);
        }
        self.key = Some(key);
    }

    /// What stands between two stacks of a key: words, up to the next stack or the end of the key.
    fn keys(&mut self, text: &[u8]) {
        let Some(mut key) = self.key.take() else { return };
        let (words, value) = match end_of_key(text) {
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
            Some(value) => self.end_key(*key, value),
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
                if self.tool == Some(Tool::OffCpu) && open.task.is_none() && !open.is_wakers {
                    self.take_task();
                }
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

    /// Takes the last name below the frames for the task's: the first versions of offcputime print it there.
    fn take_task(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| open.frames.len() > 1) else { return };
        let frames = if open.of_kernel.is_some() { &self.user_frames } else { &self.frames };
        let last = open.frames.last().map(|&last| &**frames.get(last));
        let is_bare = |frame: &&Frame| frame.address.is_none() && frame.offset.is_none();
        if let Some(task) = last.filter(is_bare).and_then(|frame| frame.symbol.as_ref()) {
            open.task = Some(self.words.word(task.as_bytes()));
            open.frames.pop();
        }
    }

    /// The event of a map's stacks.
    fn event(&mut self, name: &[u8]) -> usize {
        self.words.word(if name == b"@" { EVENT.as_bytes() } else { name })
    }

    fn begin_key(&mut self, event: usize, text: &[u8]) {
        self.key = Some(Box::new(Key { event, task: None, is_ambiguous: false, stacks: None }));
        self.keys(text);
    }

    fn latency(&mut self, latency: &Latency<'_>, line: &[u8], warnings: &mut Warnings) {
        let mut stacks = Stacks::default();
        for name in latency.names() {
            self.push(&mut stacks, name, line, warnings);
        }
        let event = self.words.word(EVENT.as_bytes());
        self.add(stacks, event, None, latency.count.max(1));
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
        self.is_announced = false;
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
            let event = self.event(name);
            self.begin_key(event, behind);
            return true;
        }
        if let Some(name) = named_map(line) {
            self.end(1);
            self.named = Some(self.event(name));
            return true;
        }
        if let Some(event) = self.named
            && let Some(behind) = line.strip_prefix(b"{ ")
        {
            self.begin_key(event, behind);
            return true;
        }
        if self.is_latency
            && let Some(latency) = Latency::read(line)
        {
            self.latency(&latency, line, warnings);
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
        if announces_frames(text) {
            // In front of its stacks nettrace prints their first frame alone.
            self.open.take_if(|open| text == NETTRACE_HEADING && open.frames.len() == 1);
            self.end(1);
            self.is_announced = true;
            return true;
        }
        let announced = if self.is_announced { announced(text) } else { None };
        let has_place = announced.is_some() || is_placed(text) || self.open.is_some() && is_frame(text);
        if has_place || self.tool.is_some() && is_bare(text) {
            // What DTrace prints behind a stack is how often it was there.
            if self.open.is_none() && self.tool.is_none() && of_dtrace(text).is_some() {
                self.tool = Some(Tool::Counts);
            }
            let mut open = self.open.take().unwrap_or_else(Stacks::doubtful);
            open.is_doubtful &= !has_place;
            self.push(&mut open, announced.unwrap_or(text), line, warnings);
            self.open = Some(open);
            return true;
        }
        false
    }

    fn other(&mut self, line: &[u8], _: &mut Warnings) {
        self.end(1);
        self.tool = tool(line).or(self.tool);
        self.is_latency |= is_head_of_latencies(line);
        self.named = None;
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

#[cfg(test)]
mod tests;

//! What `perf script` prints (`tools/perf/builtin-script.c`, `process_event`).
//!
//! ```text
//! eoe_filter   123 [000]    12.345678: probe:register_netdevice: (ffffffff803fefe0)
//!         ffffffff803fefe0 register_netdevice+0x0 ([kernel.kallsyms])
//!         ffffffff803a68b4 tun_chr_ioctl+0xeec ([tun])
//!         ffffffff80114740 syscall_common+0x34 ([kernel.kallsyms])
//!                   10d2f4 __ioctl+0x14 (inlined)
//!                   10d2f4 [unknown] (/bin/eoe_filter)
//!                        0 [unknown] ([unknown])
//!
//! a b: 1.2: x  123/123   [000]    12.345678:     250000 sched:sched_process_fork: comm=sh pid=1
//! swapper     0 [000]     0.107356: cpu-clock:u:
//! sh     1 [000]     0.107356: PERF_RECORD_LOST lost 12
//! ```
//!
//! A header's fields are those of `-F`; the task and the time have to be among them. An empty line ends a
//! sample with a call chain, also an empty one. Frames are taken with and without symbol, offset and object.

use std::io::{self, BufRead};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::fold::{Fold, Texts};
use super::lines::{self, DEEPEST_STACK, Kind, Warnings, decimal, hexadecimal, printable, split_at, symbol};
use super::{Frame, Parsed, Stack, in_kernel};

/// Reads the output of `perf script`.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<Parsed> {
    let mut parser = Parser::new();
    let mut warnings = Warnings::default();
    lines::each(input, &mut warnings, |line, warnings| parser.line(line, warnings))?;
    Ok(parser.finish(warnings))
}

struct Parser {
    losses: [Finder<'static>; 2],
    events: u64,
    lost: u64,
    /// Whether the last sample may still get frames.
    open: bool,
    /// Its stack, in memory that the next one takes over.
    stack: Numbers,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

/// A stack as the numbers of its words and frames.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Numbers {
    task: usize,
    event: usize,
    frames: Vec<usize>,
}

impl Parser {
    fn new() -> Self {
        Self {
            losses: [" PERF_RECORD_LOST lost ", " events and lost "].map(Finder::new),
            events: 0,
            lost: 0,
            open: false,
            stack: Numbers::default(),
            stacks: Fold::default(),
            words: Texts::default(),
            frames: Texts::default(),
        }
    }

    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        if line.is_empty() {
            return self.end(true);
        }
        // Most lines are frames, and most of them have been seen before.
        if line[0].is_ascii_whitespace()
            && let Some(frame) = self.frames.number(line, |line| frame(line.trim_ascii()).map(Arc::new))
        {
            if !self.open {
                return warnings.note(Kind::StrayFrame, line);
            }
            if self.stack.frames.len() == DEEPEST_STACK {
                return warnings.note(Kind::DeepStack, line);
            }
            return self.stack.frames.push(frame);
        }
        if let Some(lost) = self.lost(line) {
            self.lost = self.lost.saturating_add(lost);
            return warnings.note(Kind::LostEvents, line);
        }
        let Some((task, event)) = header(line) else {
            if !line.starts_with(b"#") {
                warnings.note(Kind::UnreadableLine, line);
            }
            return;
        };
        self.end(false);
        if event.starts_with("PERF_RECORD_") {
            return;
        }
        self.events += 1;
        self.open = true;
        self.stack.task = self.words.word(task);
        self.stack.event = self.words.word(event.as_bytes());
        self.stack.frames.clear();
    }

    /// Ends a sample. One without a call chain has no empty line after it; one with frames may have lost it.
    fn end(&mut self, with_empty_line: bool) {
        if self.open && (with_empty_line || !self.stack.frames.is_empty()) {
            self.stacks.add(&self.stack, self.events);
        }
        self.open = false;
    }

    /// `PERF_RECORD_LOST lost 12`, and perf's own `Processed 100 events and lost 3 chunks!`.
    fn lost(&self, line: &[u8]) -> Option<u64> {
        let [record, summary] = &self.losses;
        let at = |mark: &Finder<'_>| mark.find(line).map(|at| at + mark.needle().len());
        let of_summary = || at(summary).filter(|&at| split_at(&line[..at], b"Processed ").is_some());
        let (count, _) = decimal(&line[at(record).or_else(of_summary)?..])?;
        Some(count)
    }

    fn finish(mut self, warnings: Warnings) -> Parsed {
        self.end(false);
        let Self { words, frames, .. } = self;
        let (stacks, _) = self.stacks.finish(|stack| {
            finished(Stack {
                task: words.get(stack.task).clone(),
                event: words.get(stack.event).clone(),
                function: None,
                frames: stack.frames.iter().map(|&frame| frames.get(frame).clone()).collect(),
            })
        });
        let warnings = warnings.into_inner();
        Parsed { events: self.events, lost: self.lost, stacks, arguments: Vec::new(), warnings }
    }
}

/// Tells kernel and user frames apart where an address alone could not: the kernel's come first, so a stray
/// address before the last of them is the kernel's fault, and one behind the first of user space is garbage of
/// the walk there. A sample of a probe was taken in the function of its first frame, unless it is of a return.
fn finished(mut stack: Stack) -> Stack {
    let frames = &mut stack.frames;
    let last_of_kernel = frames.iter().rposition(|frame| !frame.user && frame.symbol.is_some());
    let kernel = last_of_kernel
        .map_or_else(|| frames.iter().position(|frame| frame.user).unwrap_or(frames.len()), |last| last + 1);
    let first_of_user =
        frames.iter().skip(kernel).position(|frame| frame.user).map_or(frames.len(), |first| kernel + first);
    set_user(&mut frames[..kernel], false);
    set_user(&mut frames[first_of_user..], true);
    let of_probe = stack.event.starts_with("probe:") && !stack.event.ends_with("__return");
    let first = stack.frames.iter().find(|frame| !frame.inlined).filter(|frame| of_probe && !frame.user);
    stack.function = first.and_then(|frame| frame.symbol.clone());
    stack
}

fn set_user(frames: &mut [Arc<Frame>], user: bool) {
    for frame in frames.iter_mut().filter(|frame| frame.user != user) {
        Arc::make_mut(frame).user = user;
    }
}

/// The task and the event of `eoe_filter   123 [000]    12.345678: probe:register_netdevice: (...)`.
fn header(line: &[u8]) -> Option<(&[u8], &str)> {
    let mut words = words(line);
    let (mut last_but_one, mut last) = (None, None);
    // The time is the first word like one that stands where it can: behind the CPU or the pid, not in a name.
    let pid = loop {
        let (begin, word) = words.next()?;
        let pid = if last.is_some_and(|(_, word)| is_cpu(word)) { last_but_one } else { last };
        if let Some((begin, _)) = pid.filter(|(_, pid)| is_time(word) && is_pid(pid)) {
            break begin;
        }
        (last_but_one, last) = (last, Some((begin, word)));
    };
    let (_, mut event) = words.next()?;
    // The period, where it was asked for.
    if decimal(event).is_some_and(|(_, rest)| rest.is_empty()) {
        (_, event) = words.next()?;
    }
    let event = symbol(event.strip_suffix(b":").unwrap_or(event))?;
    Some((line[..pid].trim_ascii(), event))
}

/// The words of a line and where each begins.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    line.split(|&byte| byte == b' ' || byte == b'\t').filter_map(move |word| {
        let begin = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((begin, word))
    })
}

/// `[000]`
fn is_cpu(word: &[u8]) -> bool {
    let inner = word.strip_prefix(b"[").and_then(|word| word.strip_suffix(b"]"));
    inner.and_then(decimal).is_some_and(|(_, rest)| rest.is_empty())
}

/// `123`, `123/124` or `-1`
fn is_pid(word: &[u8]) -> bool {
    let Some((_, rest)) = decimal(word.strip_prefix(b"-").unwrap_or(word)) else { return false };
    rest.is_empty() || rest.strip_prefix(b"/").and_then(decimal).is_some_and(|(_, rest)| rest.is_empty())
}

/// `12.345678:`
fn is_time(word: &[u8]) -> bool {
    let Some((_, rest)) = decimal(word) else { return false };
    rest.strip_prefix(b".").and_then(decimal).is_some_and(|(_, rest)| rest == b":")
}

/// `ffffffff803a68b4 tun_chr_ioctl+0xeec ([tun])`, `10d2f4 __ioctl (inlined)`, `0 [unknown] ([unknown])`.
fn frame(text: &[u8]) -> Option<Frame> {
    let (address, text) = split_at(text, b" ").unwrap_or((text, b""));
    let address = hexadecimal(address).filter(|_| !address.starts_with(b"0x"))?;
    let mut frame = Frame { address: Some(address), ..Frame::default() };
    let mut text = text.trim_ascii();
    if let Some(outer) = text.strip_suffix(b"(inlined)") {
        frame.inlined = true;
        text = outer.trim_ascii_end();
    }
    // A C++ name holds blanks and brackets itself, so the object is what stands in the last ones.
    let mut object = None;
    if let Some(open) = text.windows(2).rposition(|window| window == b" (").map(|at| at + 1)
        && let Some(inner) = text[open..].strip_prefix(b"(").and_then(|object| object.strip_suffix(b")"))
    {
        object = Some(inner);
        text = text[..open].trim_ascii_end();
    }
    // A null address without an object may be either; the kernel's walk is what ends in one.
    let of_kernel = object.map_or(address == 0, is_kernel_object);
    frame.user = !in_kernel(address) && !of_kernel;
    frame.module = object.and_then(module);
    if !text.is_empty() && text != b"[unknown]" {
        let place = text.windows(3).rposition(|window| window == b"+0x");
        frame.offset = place.and_then(|place| hexadecimal(&text[place + 1..]));
        let name = if frame.offset.is_some() { &text[..place.unwrap_or(text.len())] } else { text };
        // A kernel's symbol has no blanks: such a line is not a frame.
        frame.symbol = Some(if frame.user { printable(name) } else { symbol(name)?.to_owned() });
    }
    Some(frame)
}

fn is_kernel_object(object: &[u8]) -> bool {
    object.starts_with(b"[kernel") || object.ends_with(b"/vmlinux") || module(object).is_some()
}

/// `[tun]` or `/lib/modules/6.1.0/kernel/drivers/net/tun.ko.xz`.
fn module(object: &[u8]) -> Option<String> {
    const NOT_MODULES: [&[u8]; 6] = [b"unknown", b"vdso", b"vsyscall", b"heap", b"stack", b"uprobes"];
    let name = match object.strip_prefix(b"[").and_then(|object| object.strip_suffix(b"]")) {
        Some(name)
            if name.starts_with(b"kernel") || name.starts_with(b"guest") || NOT_MODULES.contains(&name) =>
        {
            return None;
        }
        Some(name) => name,
        None => {
            let file = object.rsplit(|&byte| byte == b'/').next()?;
            split_at(file, b".ko")?.0
        }
    };
    symbol(name).map(str::to_owned)
}

#[cfg(test)]
#[path = "perf_script_tests.rs"]
mod tests;

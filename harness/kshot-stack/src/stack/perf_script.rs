//! What `perf script` prints (`tools/perf/builtin-script.c`, `process_event`).
//!
//! ```text
//! eoe_filter   123 [000]    12.345678: probe:register_netdevice: (ffffffff803fefe0)
//!         ffffffff803fefe0 register_netdevice+0x0 ([kernel.kallsyms])
//!         ffffffff803a68b4 tun_chr_ioctl+0xeec ([tun])
//!         ffffffff80114740 syscall_common+0x34 ([kernel.kallsyms])
//!                   10d2f4 __ioctl+0x14 (inlined)
//!                   10d2f4 [unknown] (/bin/eoe_filter)
//!             7f44000020 jit_stub+0x8 ([anon:v8])
//!             7f77001000 run+0x4 (/tmp/a b/prog (deleted))
//!                        0 [unknown] ([unknown])
//!
//! a b: 1.2: x  123/123   [000]    12.345678:     250000 sched:sched_process_fork: comm=sh pid=1
//! swapper     0 [000]     0.107356: cpu-clock:u:
//! sh     1 [000]     0.107356: PERF_RECORD_LOST lost 12
//! swapper     0 [-01]     0.107356: PERF_RECORD_LOST_SAMPLES lost 7
//! ```
//!
//! And `perf trace` with `--call-graph` (`tools/perf/builtin-trace.c`):
//!
//! ```text
//!      0.000 (1000.123 ms): sleep/12345 nanosleep(rqtp: 0x7ffd6e4b5c80) = 0
//!                                        __x64_sys_nanosleep ([kernel.kallsyms])
//!                                        [0x7f6c72b6497a] (/usr/lib64/libc-2.31.so)
//! ```
//!
//! A header's fields are those of `-F`; the task has to be among them, and the pid or the CPU and the time.
//! Where no line is one, frames alone are samples, behind the name of a task or nothing (`-F comm,ip,sym`,
//! `-F ip,sym`). Without a call chain it begins with blanks, as a frame does, and a task may have a frame's name. A name
//! may hold a line end. An empty line ends a sample with a call chain, also an empty one; others put one
//! behind its header, too. Frames are taken with and without address, symbol, offset and object.

mod header; // whose a sample is, and of which event
mod behind_frame; // source lines, branches and instructions behind a frame

use std::io::{self, BufRead};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::fold::{Fold, Numbers, Texts};
use super::lines::{
    self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, hexadecimal, printable, split_at, symbol,
};
use super::{Frame, NAMELESS, ParsedCapture, Stack, in_upper_half};
use behind_frame::{is_branches, is_instruction, is_source};
use header::{
    has_cpu, header, header_without_pid, may_hold_time, task_and_event, timed_header, timeless_header,
    trace_header,
};

/// Reads the output of `perf script`.
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

/// Whether a line, with the one behind it, is one of this format: the header of a sample.
pub(crate) fn is_of(line: &[u8], next: &[u8]) -> bool {
    let is_timeless =
        || timeless_header(line).is_some() && (has_cpu(line) || frame(next.trim_ascii()).is_some());
    let is_trace = || is_frame_of_trace(next) && trace_header(line).is_some();
    let is_headless = || is_in_columns(line) && is_in_columns(next);
    let is_timed = || timed_header(line).or_else(|| header_without_pid(line)).is_some();
    may_hold_time(line) && is_timed() || is_timeless() || is_trace() || is_headless()
}

/// The longest name of a task, without the final zero (`TASK_COMM_LEN`).
const LONGEST_TASK: usize = 15;
/// The most that stands in a line with the name of a task and perhaps its pid.
const LONGEST_HEADING: usize = 40;
/// The blanks before a frame of `perf trace`, at least.
const TRACE_INDENT: &[u8] = b"                                    ";

struct Parser {
    losses: [Finder<'static>; 3],
    events: u64,
    lost: u64,
    /// Whether the headers have a time.
    timed: bool,
    /// Whether there was a header: until then frames alone are samples.
    is_headed: bool,
    /// Whether the last header is of `perf trace`.
    is_trace: bool,
    /// How many samples without a header there were.
    headless: u64,
    /// The first of them, and its first line. Before a header it is the end of one whose begin is cut off.
    first: Option<(Numbers, Vec<u8>)>,
    /// A line that may be the name of the task of such a sample.
    heading: Vec<u8>,
    /// Lines that may be the first part of a task's name with line ends in it.
    name_begun: Vec<u8>,
    /// Whether the last sample may still get frames.
    open: bool,
    /// Whether an empty line stands behind its header.
    is_ended: bool,
    /// Whether its last frame stands behind a tab, as perf prints them.
    has_tab: bool,
    /// Whether the last record ends in text, which may have line ends: a tracepoint's, or the name of a task.
    in_text: bool,
    /// Its stack, in memory that the next one takes over.
    stack: Numbers,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

impl Parser {
    fn new() -> Self {
        Self {
            losses: [" PERF_RECORD_LOST lost ", " PERF_RECORD_LOST_SAMPLES lost ", " events and lost "]
                .map(Finder::new),
            name_begun: Vec::new(),
            events: 0,
            lost: 0,
            timed: false,
            is_headed: false,
            is_trace: false,
            headless: 0,
            first: None,
            heading: Vec::new(),
            open: false,
            is_ended: false,
            has_tab: false,
            in_text: false,
            stack: Numbers::default(),
            stacks: Fold::default(),
            words: Texts::default(),
            frames: Texts::default(),
        }
    }

    /// A line with no frame in it. Says whether it is one of perf's.
    fn record(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        let Some((task, event)) = self.header(line) else {
            let lost = self.lost(line);
            if let Some(lost) = lost {
                self.lost = self.lost.saturating_add(lost);
                warnings.note(Kind::LostEvents, line);
            }
            return lost.is_some();
        };
        self.end(warnings);
        self.is_headed = true;
        if let Some((stack, line)) = self.first.take() {
            stack.frames.iter().for_each(|_| warnings.note(Kind::StrayFrame, &line));
        }
        if event.starts_with("PERF_RECORD_") {
            // What stands before it may be the first part of its task's name.
            self.task(task, warnings);
            self.in_text = true;
            if let Some(lost) = self.lost(line) {
                self.lost = self.lost.saturating_add(lost);
                warnings.note(Kind::LostEvents, line);
            }
            return true;
        }
        self.events += 1;
        (self.open, self.has_tab) = (true, false);
        self.stack.task = self.task(task, warnings);
        self.in_text = event.contains(':');
        self.stack.event = self.words.word(event.as_bytes());
        self.stack.frames.clear();
        true
    }

    /// The task and the event of a header. Where headers have a time, one without needs a CPU.
    fn header<'l>(&mut self, line: &'l [u8]) -> Option<(&'l [u8], &'l str)> {
        if let Some(header) = timed_header(line) {
            (self.timed, self.is_trace) = (true, false);
            return Some(header);
        }
        let timeless = timeless_header(line).filter(|_| !self.timed || has_cpu(line));
        let header = timeless.or_else(|| header_without_pid(line));
        let of_trace = || trace_header(line);
        self.is_trace |= header.is_none() && of_trace().is_some();
        header.or_else(of_trace)
    }

    /// The number of a frame. Within a sample a line that begins with a tab is one, whatever it says.
    fn frame(&mut self, line: &[u8], warnings: &mut Warnings) -> Option<usize> {
        if self.is_trace && self.open && is_frame_of_trace(line) {
            return self.frames.number(line, |line| frame_of_trace(line.trim_ascii()).map(Arc::new));
        }
        let read = |line: &[u8]| frame(line.trim_ascii()).filter(|_| header(line).is_none()).map(Arc::new);
        let known = self.frames.number(line, read);
        if known.is_some() || !self.open || line[0] != b'\t' || header(line).is_some() {
            return known;
        }
        let text = line.trim_ascii();
        if let Some(frame) = self.frames.number(line, |_| frame_without_address(text).map(Arc::new)) {
            return Some(frame);
        }
        warnings.note(Kind::UnreadableLine, line);
        self.frames.number(line, |_| Some(Arc::new(Frame::default())))
    }

    /// A line of which nothing is known: if a header follows, the first part of its task's name.
    fn unreadable(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.name_begun.len() + line.trim_ascii_start().len() > LONGEST_TASK {
            self.forget_name(warnings);
        }
        let begun = line.trim_ascii_start();
        if begun.len() > LONGEST_TASK {
            if !self.in_text {
                warnings.note(Kind::OtherLine, line);
            }
            return;
        }
        self.name_begun.extend_from_slice(begun);
        self.name_begun.push(b'\n');
    }

    fn forget_name(&mut self, warnings: &mut Warnings) {
        let lines = self.name_begun.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for line in lines.filter(|_| !self.in_text) {
            warnings.note(Kind::OtherLine, line);
        }
        self.name_begun.clear();
        if !self.heading.is_empty() {
            warnings.note(Kind::OtherLine, &self.heading);
            self.heading.clear();
        }
    }

    /// Begins a sample that has no header but, at most, the name of its task.
    fn begin_headless(&mut self, line: &[u8]) {
        let begun = self.name_begun.trim_ascii();
        let last = begun.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        let heading = if self.heading.is_empty() { last } else { &self.heading };
        let (task, event) = task_and_event(heading);
        let task = if task.is_empty() { NAMELESS.as_bytes() } else { task };
        self.stack.task = self.words.word(task);
        self.stack.event = self.words.word(event.unwrap_or(NAMELESS.as_bytes()));
        self.stack.frames.clear();
        self.heading.clear();
        self.name_begun.clear();
        (self.open, self.is_ended) = (true, false);
        if self.headless == 0 {
            self.first = Some((Numbers::default(), line.to_vec()));
        }
    }

    /// Ends a sample without a header.
    fn end_headless(&mut self, warnings: &mut Warnings) {
        let first = self.first.take();
        if !self.is_ended && self.stack.frames.len() == 1 {
            let line = first.map(|(_, line)| line).unwrap_or_default();
            return warnings.note(Kind::StrayFrame, &line);
        }
        self.headless += 1;
        match first {
            Some((_, line)) if self.headless == 1 => self.first = Some((self.stack.clone(), line)),
            first => {
                self.count_first(first);
                self.events += 1;
                self.stacks.add(&self.stack, self.events);
            }
        }
    }

    fn count_first(&mut self, first: Option<(Numbers, Vec<u8>)>) {
        if let Some((stack, _)) = first {
            self.events += 1;
            self.stacks.add(&stack, self.events);
        }
    }

    /// The number of a task's name, with what stands of it in the lines before.
    fn task(&mut self, task: &[u8], warnings: &mut Warnings) -> usize {
        if self.name_begun.len() + task.len() > LONGEST_TASK {
            self.forget_name(warnings);
        }
        if self.name_begun.is_empty() {
            return self.words.word(task);
        }
        self.name_begun.extend_from_slice(task);
        self.words.word(&std::mem::take(&mut self.name_begun))
    }

    /// Ends a sample. One without a call chain has no empty line after it; one with frames may have lost it.
    fn end(&mut self, warnings: &mut Warnings) {
        match self.open && (self.is_ended || !self.stack.frames.is_empty()) {
            true if self.is_headed => self.stacks.add(&self.stack, self.events),
            true => self.end_headless(warnings),
            false => {}
        }
        (self.open, self.is_ended) = (false, false);
    }

    /// `PERF_RECORD_LOST lost 12`, `PERF_RECORD_LOST_SAMPLES lost 7`, and perf's own `Processed 100 events
    /// and lost 3 chunks!`.
    fn lost(&self, line: &[u8]) -> Option<u64> {
        // `Processed 100 samples and lost 3.50%!`: a share, so at least one.
        if line.starts_with(b"Processed ") && split_at(line, b" samples and lost ").is_some() {
            return Some(1);
        }
        let [record, samples, summary] = &self.losses;
        let at = |mark: &Finder<'_>| mark.find(line).map(|at| at + mark.needle().len());
        let of_summary = || at(summary).filter(|&at| split_at(&line[..at], b"Processed ").is_some());
        let (count, _) = decimal(&line[at(record).or_else(|| at(samples)).or_else(of_summary)?..])?;
        Some(count)
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if line.is_empty() {
            self.forget_name(warnings);
            self.in_text = false;
            self.is_ended |= self.open;
            if !self.stack.frames.is_empty() {
                self.end(warnings);
            }
            return true;
        }
        // An address behind the frames, of `-F phys_addr`, or branches.
        let is_behind = line[0] == b' ' && self.open && self.has_tab;
        if is_behind
            && (hexadecimal(line.trim_ascii()).is_some() || is_branches(line) || is_instruction(line))
        {
            return true;
        }
        // Most lines are frames, and most of them have been seen before.
        if line[0].is_ascii_whitespace()
            && let Some(frame) = self.frame(line, warnings)
        {
            self.has_tab = line[0] == b'\t';
            if !self.open && !self.is_headed && is_in_columns(line) {
                self.begin_headless(line);
            }
            if self.stack.frames.len() == DEEPEST_STACK {
                warnings.note(Kind::DeepStack, line);
            } else if self.open {
                self.in_text = false;
                self.stack.frames.push(frame);
            }
            return self.open;
        }
        if self.open && is_source(line) {
            return true;
        }
        if self.open
            && is_unindented(line)
            && let Some(frame) = self.frame(line, warnings)
        {
            self.stack.frames.push(frame);
            return true;
        }
        self.record(line, warnings)
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        // ` 1 file changed` is none.
        if is_in_columns(line) || line[0].is_ascii_whitespace() && is_unindented(line.trim_ascii()) {
            return warnings.note(Kind::StrayFrame, line);
        }
        let may_be_name = !self.is_headed && line.ends_with(b" ") && line.len() <= LONGEST_HEADING;
        if may_be_name && !line[0].is_ascii_whitespace() {
            self.forget_name(warnings);
            self.end(warnings);
            self.heading.extend_from_slice(line);
        } else if !line.starts_with(b"#") {
            self.unreadable(line, warnings);
        }
    }

    fn finish(mut self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.forget_name(warnings);
        self.end(warnings);
        let first = self.first.take();
        self.count_first(first);
        let Self { words, frames, stacks, events, lost, .. } = *self;
        let (stacks, _) = stacks.finish(|stack| {
            finished(Stack {
                task: words.get(stack.task).clone(),
                event: words.get(stack.event).clone(),
                function: None,
                frames: stack.frames.iter().map(|&frame| frames.get(frame).clone()).collect(),
            })
        });
        ParsedCapture { events, lost, stacks, ..ParsedCapture::default() }
    }
}

/// Tells kernel and user frames apart where an address alone could not: the kernel's come first, so a stray
/// address before the last of them is the kernel's fault, and one behind the first of user space is garbage
/// of the walk there. A sample of a probe was taken in the function of its first frame, unless it is of a
/// return.
pub(super) fn finished(mut stack: Stack) -> Stack {
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

/// `ffffffff8103d0ca native_write_msr_safe ([kernel.kallsyms])`: a frame that lost its indentation on its
/// way.
fn is_unindented(line: &[u8]) -> bool {
    const DIGITS: usize = 8;
    let address = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    address.len() >= DIGITS && address.iter().all(u8::is_ascii_hexdigit) && line.ends_with(b")")
}

/// Whether a line is a frame in the columns that perf prints, an address and a name: what needs no header.
fn is_in_columns(line: &[u8]) -> bool {
    const COLUMN: usize = 16;
    // A mail may have blanks in front of the tab.
    let Some((address, name)) = memchr::memchr(b'\t', line)
        .filter(|&tab| line[..tab].iter().all(|&byte| byte == b' '))
        .and_then(|tab| line[tab + 1..].split_at_checked(COLUMN))
    else {
        return false;
    };
    let Some(name) = name.strip_prefix(b" ").map(<[u8]>::trim_ascii_end) else { return false };
    let is_number = name.len() >= COLUMN / 2 && hexadecimal(name).is_some();
    let is_name = !name.contains(&b' ') && !is_number || name.ends_with(b")");
    let begins = name.first().is_some_and(|&first| first.is_ascii_alphabetic() || b"_.$[".contains(&first));
    is_name && begins && hexadecimal(address.trim_ascii_start()).is_some()
}

/// Whether a line stands where `perf trace` prints its frames.
fn is_frame_of_trace(line: &[u8]) -> bool {
    line.starts_with(TRACE_INDENT) && line.trim_ascii_end().ends_with(b")")
}

/// `__x64_sys_nanosleep ([kernel.kallsyms])`, `[0x7f6c72b6497a] (/usr/lib64/libc-2.31.so)`.
fn frame_of_trace(text: &[u8]) -> Option<Frame> {
    let address = text.strip_prefix(b"[").and_then(|text| split_at(text, b"]"));
    if let Some((address, object)) = address.and_then(|(address, rest)| Some((hexadecimal(address)?, rest))) {
        return Some(placed(Some(address), object.trim_ascii()));
    }
    frame_without_address(text)
}

/// `ffffffff803a68b4 tun_chr_ioctl+0xeec ([tun])`, `10d2f4 __ioctl (inlined)`, `0 [unknown] ([unknown])`.
fn frame(text: &[u8]) -> Option<Frame> {
    let (address, text) = split_at(text, b" ").unwrap_or((text, b""));
    let address = hexadecimal(address).filter(|_| !address.starts_with(b"0x"))?;
    Some(placed(Some(address), text.trim_ascii()))
}

/// `tun_chr_ioctl+0xeec ([tun])`, without `-F ip`.
fn frame_without_address(text: &[u8]) -> Option<Frame> {
    let known = text == b"[unknown]" || text.ends_with(b")") || symbol(text).is_some();
    known.then(|| placed(None, text))
}

/// A frame by what stands behind its address.
fn placed(address: Option<u64>, mut text: &[u8]) -> Frame {
    let mut frame = Frame { address, ..Frame::default() };
    if let Some(outer) = text.strip_suffix(b"(inlined)") {
        frame.inlined = true;
        text = outer.trim_ascii_end();
    }
    let object = object_at(text).map(|open| {
        let (before, object) = text.split_at(open);
        text = before.trim_ascii_end();
        without_offset(&object[1..object.len() - 1])
    });
    // A null address without an object may be either; the kernel's walk is what ends in one.
    let of_kernel = object.map_or(address.is_none_or(|address| address == 0), is_kernel_object);
    // `[vsyscall]` lies among the kernel's addresses.
    let is_mapping = || object.is_some_and(|object| is_mapping(object) && object != b"[unknown]");
    frame.user = !of_kernel && (is_mapping() || !address.is_some_and(in_upper_half));
    frame.module = object.and_then(module);
    if !text.is_empty() && text != b"[unknown]" {
        let place = text.windows(3).rposition(|window| window == b"+0x");
        frame.offset = place.and_then(|place| hexadecimal(&text[place + 1..]));
        let name = if frame.offset.is_some() { &text[..place.unwrap_or(text.len())] } else { text };
        frame.symbol = Some(printable(name));
    }
    frame
}

/// Where the brackets begin that hold the object. A C++ name holds blanks and brackets itself, and so does
/// `(/tmp/a b/prog (deleted))`: they are the last that are balanced or, where none are, the last.
fn object_at(text: &[u8]) -> Option<usize> {
    text.strip_suffix(b")")?;
    let mut depth = 0_usize;
    let opens = |at: &usize| text[*at] == b'(' && (*at == 0 || text[at - 1] == b' ');
    let balanced = (0..text.len()).rev().find(|at| {
        match text[*at] {
            b')' => depth += 1,
            b'(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    balanced.filter(opens).or_else(|| (0..text.len()).rev().find(opens))
}

/// The object without what `-F dsoff` appends: `[kernel.kallsyms]+0x3fefe0`.
fn without_offset(object: &[u8]) -> &[u8] {
    let place = object.windows(3).rposition(|window| window == b"+0x");
    place.filter(|place| hexadecimal(&object[place + 1..]).is_some()).map_or(object, |place| &object[..place])
}

/// Whether it is the kernel's own code, a module's or a BPF program's.
fn is_kernel_object(object: &[u8]) -> bool {
    const FILES: [&[u8]; 4] = [b"vmlinux", b"kcore", b"bpf_prog_", b"bpf_trampoline_"];
    let file = object.rsplit(|&byte| byte == b'/').next().unwrap_or(object);
    let kernel = object.starts_with(b"[kernel") || FILES.iter().any(|name| file.starts_with(name));
    kernel || module(object).is_some()
}

/// Whether it is a mapping of user space without a file, or what perf does not know: `[vdso]`, `[unknown]`.
fn is_mapping(object: &[u8]) -> bool {
    const MAPPINGS: [&[u8]; 14] = [
        b"unknown",
        b"vdso",
        b"vdso32",
        b"vdsox32",
        b"vvar",
        b"vvar_vclock",
        b"vsyscall",
        b"vectors",
        b"sigpage",
        b"heap",
        b"stack",
        b"anon",
        b"uprobes",
        b"JIT",
    ];
    let name = object.strip_prefix(b"[").and_then(|object| object.strip_suffix(b"]"));
    name.is_some_and(|name| MAPPINGS.contains(&name))
}

/// `[tun]` or `/lib/modules/6.1.0/kernel/drivers/net/tun.ko.xz`. Other names in brackets are mappings of user
/// space: `[anon:v8]`, `[JIT app cache]`, `[vdso]`.
fn module(object: &[u8]) -> Option<String> {
    let name = match object.strip_prefix(b"[").and_then(|object| object.strip_suffix(b"]")) {
        Some(name) if name.starts_with(b"kernel") || name.starts_with(b"guest") || is_mapping(object) => {
            return None;
        }
        Some(name) => name,
        None => {
            let file = object.rsplit(|&byte| byte == b'/').next()?;
            let (name, end) = split_at(file, b".ko")?;
            if !end.is_empty() && !end.starts_with(b".") {
                return None;
            }
            name
        }
    };
    let plausible =
        name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    symbol(name).filter(|_| plausible).map(str::to_owned)
}

#[cfg(test)]
mod tests;

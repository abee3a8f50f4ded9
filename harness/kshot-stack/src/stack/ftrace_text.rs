//! The text of tracefs's `trace` and `trace_pipe` (`kernel/trace/trace_output.c`).
//!
//! ```text
//! # entries-in-buffer/entries-written: 280/9551   #P:1
//!       eoe_filter-1       [000] .....     0.107356: register_netdevice <-register_netdev
//!       eoe_filter-1       [000] .....     0.107868: <stack trace>
//!  => ftrace_graph_call
//!  => 0
//!      ksoftirqd/0-9       [000] D.s..     0.251049: sched_wakeup: comm=kworker/0:1 pid=16 prio=120 target_cpu=000
//!           <idle>-0       [000] d.h.     0.249903: hrtimer_expire_entry: hrtimer=(____ptrval____)
//!            <...>-1       [000] .....     0.227540: register_netdevice <-tun_chr_ioctl
//!      a b-1 [000]-19      [000] .....     0.260907: register_netdevice+0x1c/0x798 <ffffffff803feffc> <-tun_chr_ioctl
//!  => aaaaaaaaaaaa-25      [000] .....     0.274600: <stack trace>
//!       eoe_filter-1       (-------) [000] .....     0.227540: register_netdevice <-tun_chr_ioctl
//!       eoe_filter-1       [000]      0.227540: register_netdevice <-tun_chr_ioctl
//! eoe_filt-1         0..... 2887us!: register_netdevice <-tun_chr_ioctl
//!  => tun_get+0x18/0x40 [tun] <ffffffffc0001234>
//! CPU:0 [LOST 8128 EVENTS]
//! ##### CPU 1 buffer started ####
//!  0)               |  tun_chr_ioctl() {
//!  0)   7.569 us    |    tun_get();
//!  0)      sh-1      | # 3979.574 us |  }
//!  0)      sh-1      |               |  /* sched_process_fork: comm=sh pid=1 child_comm=sh child_pid=19 */
//!  0)      sh-1      =>    child-19
//! ```
//!
//! The kernel prints the task as `%16s-%-7d`, right-aligned and at most 15 bytes long, so the dash before the
//! pid is always the 17th byte, whatever the task calls itself. Flags are 4 characters up to 5.10, 5 later.

use std::io::{self, BufRead};
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use memchr::memrchr_iter;

use super::fold::{Fold, Texts, count};
use super::lines::{
    self, DEEPEST_STACK, Kind, Warnings, decimal, hexadecimal, is_symbol, printable, split_at, symbol,
};
use super::{Arguments, Frame, Parsed, Stack};

/// The name of the event of a stack that no event was printed for: a trigger's, whose event is not recorded.
pub const UNNAMED: &str = "stacktrace";
/// The text of such an event.
const UNNAMED_EVENT: &[u8] = b"stacktrace:";
/// The name and function of an event that cannot be read.
const UNREADABLE: (&[u8], Option<&[u8]>) = (b"?", None);

/// Reads a capture. [`Parsed::lost`] counts ring-buffer entries: the kernel does not tell how many of them
/// were events and how many their stacks. In latency format the kernel cuts task names to 8 bytes.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<Parsed> {
    parse_only(input, &[])
}

/// [`parse`] for a buffer that records more than is of interest: only events of these names, or in these
/// functions, count, with their stacks. All where there are none.
///
/// # Errors
/// As [`parse`].
pub fn parse_only(input: impl BufRead, only: &[String]) -> io::Result<Parsed> {
    let (parsed, _) = Parser { only, ..Parser::default() }.read(input)?;
    Ok(parsed)
}

/// [`parse`], and of each stack of the capture the place that it has in [`Parsed::stacks`].
///
/// # Errors
/// As [`parse`].
pub fn parse_in_order(input: impl BufRead) -> io::Result<(Parsed, Vec<usize>)> {
    Parser { stacks: Fold::in_order(), ..Parser::default() }.read(input)
}

#[derive(Default)]
struct Parser<'a> {
    /// The events that count.
    only: &'a [String],
    events: u64,
    /// Entries lost by the header's account.
    overwritten: u64,
    /// Entries lost by the account of `LOST` lines.
    lost: u64,
    /// The last event of each CPU: a stack follows its event there, but not always directly.
    last: IndexMap<u64, Event, RandomState>,
    /// Where the next frames go.
    open: Open,
    /// How many stacks have begun.
    begun: u64,
    stacks: Fold<Numbers>,
    /// Event and text of what was fetched.
    arguments: IndexMap<(usize, usize), u64, RandomState>,
    words: Texts<String>,
    frames: Texts<Arc<Frame>>,
    user_frames: Texts<Arc<Frame>>,
}

/// Where frames go.
#[derive(Clone, Copy, Default)]
enum Open {
    /// There is no stack for them.
    #[default]
    Nowhere,
    /// They belong to an event that does not count.
    Ignored,
    /// To the stack of the event at this place of [`Parser::last`], as frames of user space or of the kernel.
    Stack { place: usize, user: bool },
}

/// The last event of a CPU, in memory that the next one takes over.
#[derive(Default)]
struct Event {
    /// Whether it counts.
    counts: bool,
    /// Unknown for an event among function-graph lines.
    pid: Option<u64>,
    /// What the line says of it, which is read again if a stack follows.
    text: Vec<u8>,
    /// The number of its stack, which is `stack`, if it has one.
    begun: Option<u64>,
    stack: Numbers,
}

/// A stack as the numbers of its words and frames.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Numbers {
    task: usize,
    event: usize,
    function: Option<usize>,
    /// How many of the frames are the kernel's; those of user space come behind them.
    of_kernel: usize,
    frames: Vec<usize>,
}

struct Context<'a> {
    task: &'a [u8],
    pid: u64,
    cpu: u64,
    rest: &'a [u8],
}

impl Parser<'_> {
    fn read(mut self, input: impl BufRead) -> io::Result<(Parsed, Vec<usize>)> {
        let mut warnings = Warnings::default();
        lines::each(input, &mut warnings, |line, warnings| self.line(line, warnings))?;
        Ok(self.finish(warnings))
    }

    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        // Most lines are frames, and most of them have been seen before.
        if let Some(text) = line.strip_prefix(b" => ")
            && let Some(frame) = self.frame(text, line)
        {
            return self.push(frame, line, warnings);
        }
        self.open = Open::Nowhere;
        if let Some(context) = context(line) {
            return match context.rest {
                b"<stack trace>" => self.stack(&context, false),
                b"<user stack trace>" => self.stack(&context, true),
                rest => self.event(&context, rest, line, warnings),
            };
        }
        if !self.remark(line, warnings) && !self.graph(line) {
            warnings.note(Kind::UnreadableLine, line);
        }
    }

    /// The number of a frame; in user space of a file too: ` => /bin/busybox[+0x1234]`.
    fn frame(&mut self, text: &[u8], line: &[u8]) -> Option<usize> {
        if let Open::Stack { user: true, .. } = self.open {
            let file = || Frame { symbol: Some(printable(text)), ..Frame::default() };
            let read = |text: &[u8]| frame(text).or_else(|| context(line).is_none().then(file));
            let user = |frame| Arc::new(Frame { user: true, ..frame });
            return self.user_frames.number(text, |text| read(text).map(user));
        }
        self.frames.number(text, |text| frame(text).map(Arc::new))
    }

    fn push(&mut self, frame: usize, line: &[u8], warnings: &mut Warnings) {
        let (place, user) = match self.open {
            Open::Stack { place, user } => (place, user),
            Open::Ignored => return,
            Open::Nowhere => return warnings.note(Kind::StrayFrame, line),
        };
        let stack = &mut self.last[place].stack;
        if stack.frames.len() == DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, line);
        }
        stack.frames.push(frame);
        stack.of_kernel += usize::from(!user);
    }

    fn stack(&mut self, context: &Context<'_>, user: bool) {
        let owner = self.last.get_full(&context.cpu);
        let owner = owner.filter(|(.., event)| event.pid.is_none_or(|pid| pid == context.pid));
        let place = match owner {
            Some((_, _, Event { counts: false, .. })) => {
                self.open = Open::Ignored;
                return;
            }
            Some((place, _, Event { begun: Some(_), .. })) if user => place,
            Some((place, _, Event { begun: None, .. })) => {
                self.begin_stack(place, context.task);
                place
            }
            _ if !self.only.is_empty() => {
                self.open = Open::Ignored;
                return;
            }
            _ => {
                self.events += 1;
                let place = self.begin_event(context.cpu, true, Some(context.pid), UNNAMED_EVENT);
                self.begin_stack(place, context.task);
                place
            }
        };
        self.open = Open::Stack { place, user };
    }

    fn event(&mut self, context: &Context<'_>, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        let read = event(text);
        if read.is_none() {
            warnings.note(Kind::UnreadableLine, line);
        }
        let (name, function) = read.unwrap_or(UNREADABLE);
        let counts = self.counts(name, function);
        self.events += u64::from(counts);
        if let Some(fetched) = arguments(text).filter(|_| counts) {
            let numbers = (self.words.word(name), self.words.word(fetched));
            *self.arguments.entry(numbers).or_default() += 1;
        }
        self.begin_event(context.cpu, counts, Some(context.pid), text);
    }

    fn counts(&self, name: &[u8], function: Option<&[u8]>) -> bool {
        let mut only = self.only.iter().map(String::as_bytes);
        self.only.is_empty() || only.any(|one| one == name || Some(one) == function)
    }

    /// Makes an event its CPU's last and counts the stack of the one before. Returns its place.
    fn begin_event(&mut self, cpu: u64, counts: bool, pid: Option<u64>, text: &[u8]) -> usize {
        let entry = self.last.entry(cpu);
        let place = entry.index();
        let event = entry.or_default();
        if let Some(number) = event.begun.take() {
            self.stacks.add(&event.stack, number);
        }
        (event.counts, event.pid) = (counts, pid);
        event.text.clear();
        event.text.extend_from_slice(text);
        place
    }

    fn begin_stack(&mut self, place: usize, task: &[u8]) {
        let Event { text, begun, stack, .. } = &mut self.last[place];
        let (name, function) = event(text).unwrap_or(UNREADABLE);
        stack.task = self.words.word(task);
        stack.event = self.words.word(name);
        stack.function = function.map(|function| self.words.word(function));
        stack.of_kernel = 0;
        stack.frames.clear();
        *begun = Some(self.begun);
        self.begun += 1;
    }

    /// Lines that tell of the capture itself.
    fn remark(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if let Some(text) = line.strip_prefix(b"# entries-in-buffer/entries-written: ") {
            if let Some((inside, text)) = decimal(text)
                && let Some((written, _)) = text.strip_prefix(b"/").and_then(decimal)
                && written > inside
            {
                self.overwritten = self.overwritten.saturating_add(written - inside);
                warnings.note(Kind::LostEvents, line);
            }
            return true;
        }
        if let Some((_, text)) = line.strip_prefix(b"CPU:").and_then(decimal)
            && let Some(count) = text.strip_prefix(b" [LOST ").and_then(|text| text.strip_suffix(b"EVENTS]"))
        {
            // Without a number the kernel itself does not know how many: at least one.
            self.lost = self.lost.saturating_add(decimal(count).map_or(1, |(count, _)| count));
            warnings.note(Kind::LostEvents, line);
            return true;
        }
        line.is_empty() || line.starts_with(b"#")
    }

    /// Lines of the function-graph tracer: each function that is entered is an event, and so is each comment.
    fn graph(&mut self, line: &[u8]) -> bool {
        let text = line.trim_ascii();
        if text.len() > 20 && text.iter().all(|&byte| byte == b'-') {
            return true;
        }
        let Some((cpu, text)) = decimal(text) else { return false };
        let Some(text) = text.strip_prefix(b")") else { return false };
        let column = memrchr_iter(b'|', text).find(|&bar| text[bar..].starts_with(b"| "));
        match column.map(|column| text[column + 1..].trim_ascii()) {
            Some(call) => {
                // A comment is looked for from the left: its text may hold anything.
                let comment = split_at(text, b" /* ").and_then(|(_, text)| text.strip_suffix(b" */"));
                let event = comment.map(event);
                let entered = call.strip_suffix(b"() {").or_else(|| call.strip_suffix(b"();"));
                let counts = match (event, entered) {
                    (Some(Some((name, function))), _) => self.counts(name, function),
                    (None, Some(function)) if !self.only.is_empty() => {
                        is_symbol(function) && self.counts(function, None)
                    }
                    (event, entered) => self.only.is_empty() && (event.is_some() || entered.is_some()),
                };
                self.events += u64::from(counts);
                if let Some((text, Some(_))) = comment.zip(event) {
                    self.begin_event(cpu, counts, None, text);
                }
                true
            }
            // ` 0)    child-19    =>    child-21`: another task.
            None => split_at(text, b" => ").is_some(),
        }
    }

    fn finish(self, warnings: Warnings) -> (Parsed, Vec<usize>) {
        let Self { words, frames, user_frames, mut stacks, .. } = self;
        for event in self.last.values() {
            if let Some(number) = event.begun {
                stacks.add(&event.stack, number);
            }
        }
        let (stacks, order) = stacks.finish(|stack| {
            let (kernel, user) = stack.frames.split_at(stack.of_kernel);
            let kernel = kernel.iter().map(|&frame| frames.get(frame).clone());
            let user = user.iter().map(|&frame| user_frames.get(frame).clone());
            Stack {
                task: words.get(stack.task).clone(),
                event: words.get(stack.event).clone(),
                function: stack.function.map(|function| words.get(function).clone()),
                frames: kernel.chain(user).collect(),
            }
        });
        let arguments = self.arguments.into_iter().map(|((event, text), number)| {
            (Arguments { event: words.get(event).clone(), text: words.get(text).clone() }, number)
        });
        let parsed = Parsed {
            events: self.events,
            lost: self.overwritten.max(self.lost),
            stacks,
            arguments: count(arguments),
            warnings: warnings.into_inner(),
        };
        (parsed, order)
    }
}

/// Task, pid, CPU and what follows the time.
fn context(line: &[u8]) -> Option<Context<'_>> {
    const DASH: usize = 16;
    const LATENCY_DASH: usize = 8;
    if line.get(DASH) == Some(&b'-')
        && let Some(context) = context_at(line, DASH, normal_columns)
    {
        return Some(context);
    }
    if line.get(LATENCY_DASH) == Some(&b'-')
        && let Some(context) = context_at(line, LATENCY_DASH, latency_columns)
    {
        return Some(context);
    }
    // A task name with a line end in it pushes its second half to the first column.
    let dashes = line.iter().enumerate().take(DASH).filter(|(_, byte)| **byte == b'-');
    dashes.into_iter().find_map(|(dash, _)| context_at(line, dash, normal_columns))
}

/// Reads the columns between the pid and the text: the CPU, and the text.
type Columns = fn(&[u8]) -> Option<(u64, &[u8])>;

fn context_at(line: &[u8], dash: usize, columns: Columns) -> Option<Context<'_>> {
    let (pid, text) = decimal(&line[dash + 1..])?;
    let (cpu, rest) = columns(text)?;
    Some(Context { task: line[..dash].trim_ascii_start(), pid, cpu, rest })
}

/// ` (-------) [000] .....     0.227540: `, with or without the thread group and the flags.
fn normal_columns(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut text = text.strip_prefix(b" ")?.trim_ascii_start();
    if text.starts_with(b"(") {
        text = split_at(text, b")")?.1.trim_ascii_start();
    }
    let (cpu, text) = decimal(text.strip_prefix(b"[")?)?;
    let text = text.strip_prefix(b"] ")?.trim_ascii_start();
    if let Some(rest) = after_time(text) {
        return Some((cpu, rest));
    }
    let (flags, text) = split_at(text, b" ")?;
    (flags.len() <= 8).then(|| after_time(text.trim_ascii_start()))?.map(|rest| (cpu, rest))
}

/// What follows `0.227540: `, or `227540: ` of a clock that counts.
fn after_time(text: &[u8]) -> Option<&[u8]> {
    let (_, text) = decimal(text)?;
    let text = text.strip_prefix(b".").map_or(Some(text), |text| decimal(text).map(|(_, text)| text))?;
    text.strip_prefix(b": ")
}

/// `   0..... 2887us!: `
fn latency_columns(text: &[u8]) -> Option<(u64, &[u8])> {
    let (cpu, text) = decimal(text.trim_ascii_start())?;
    let (flags, text) = split_at(text, b" ")?;
    let (_, text) = decimal(text.trim_ascii_start())?;
    let (mark, text) = split_at(text.strip_prefix(b"us")?, b": ")?;
    (flags.len() <= 8 && mark.len() <= 1).then_some((cpu, text))
}

/// The event's name and its function: `sched_wakeup: comm=..`, `register_netdevice+0x1c/0x798 <-tun_chr_ioctl`,
/// `rn: (register_netdevice+0x0/0x798)`; a return probe `(tun_chr_ioctl+0x8/0x10 <- register_netdevice)` is
/// taken in neither.
fn event(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b':' | b'+')).unwrap_or(text.len());
    let (name, text) = text.split_at(end);
    if !is_symbol(name) {
        return None;
    }
    let Some(text) = text.strip_prefix(b":") else {
        return split_at(text, b" <-").map(|_| (name, Some(name)));
    };
    let place = text.trim_ascii_start().strip_prefix(b"(").and_then(|text| split_at(text, b")"));
    let function = place.map(|(place, _)| place).filter(|place| split_at(place, b" <- ").is_none());
    let function = function.and_then(|place| split_at(place, b"+0x")).map(|(function, _)| function);
    Some((name, function.filter(|function| is_symbol(function))))
}

/// What a kprobe event fetched, which stands behind its place: `tsk: (save_stack_trace_tsk+0x28/0x188) skip=5`.
fn arguments(text: &[u8]) -> Option<&[u8]> {
    let (_, text) = split_at(text, b": (")?;
    let (_, text) = split_at(text, b") ")?;
    text.contains(&b'=').then_some(text)
}

/// `register_netdevice+0x1c/0x798 [tun] <ffffffff803feffc>`, each part but the first optional; `0` and
/// `0x1234` are addresses that kallsyms has no name for.
fn frame(text: &[u8]) -> Option<Frame> {
    let mut words = text.trim_ascii_end().split(|&byte| byte == b' ');
    let mut frame = Frame::default();
    let mut first = words.next()?;
    // ` => <ffffffff>`: a user frame without a file.
    if first.is_empty() {
        first = words.next()?;
    }
    if let Some(address) = bracketed(first, b'<', b'>').and_then(hexadecimal) {
        frame.address = Some(address);
        return words.next().is_none().then_some(frame);
    }
    if first == b"0" || first.starts_with(b"0x") {
        frame.address = Some(hexadecimal(first)?);
    } else {
        let (name, place) =
            split_at(first, b"+0x").map_or((first, None), |(name, place)| (name, Some(place)));
        frame.symbol = Some(symbol(name).filter(|name| !name.starts_with(['/', '<', '[', '?']))?.to_owned());
        if let Some((offset, size)) = place.and_then(|place| split_at(place, b"/")) {
            (frame.offset, frame.size) = (Some(hexadecimal(offset)?), Some(hexadecimal(size)?));
        } else if place.is_some() {
            return None;
        }
    }
    for word in words {
        if let Some(module) = bracketed(word, b'[', b']') {
            frame.module = Some(symbol(module)?.to_owned());
        } else {
            frame.address = Some(hexadecimal(bracketed(word, b'<', b'>')?)?);
        }
    }
    Some(frame)
}

fn bracketed(word: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    word.strip_prefix(&[open]).and_then(|word| word.strip_suffix(&[close]))
}

#[cfg(test)]
#[path = "ftrace_text_tests.rs"]
mod tests;

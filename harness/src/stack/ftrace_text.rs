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

use std::collections::HashMap;
use std::io::{self, BufRead};

use super::lines::{self, DEEPEST_STACK, Kind, Warnings, decimal, hexadecimal, printable, split_at, symbol};
use super::{Arguments, Frame, Parsed, Stack};

/// The name of the event of a stack that no event was printed for: a trigger's, whose event is not recorded.
pub const UNNAMED: &str = "stacktrace";

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
    let mut parser = Parser { only, ..Parser::default() };
    let mut warnings = Warnings::default();
    lines::each(input, &mut warnings, |line, warnings| parser.line(line, warnings))?;
    let mut parsed = parser.parsed;
    parsed.lost = parser.overwritten.max(parser.lost);
    parsed.warnings = warnings.into_inner();
    Ok(parsed)
}

#[derive(Default)]
struct Parser<'a> {
    /// The events that count.
    only: &'a [String],
    parsed: Parsed,
    /// The last event of each CPU: a stack follows its event there, but not always directly.
    last: HashMap<u64, Event>,
    /// Where the next frames go.
    open: Open,
    /// Entries lost by the header's account.
    overwritten: u64,
    /// Entries lost by the account of `LOST` lines.
    lost: u64,
}

/// Where frames go.
#[derive(Clone, Copy, Default)]
enum Open {
    /// There is no stack for them.
    #[default]
    Nowhere,
    /// They belong to an event that does not count.
    Ignored,
    /// To this stack, as frames of user space or of the kernel.
    Stack { index: usize, user: bool },
}

struct Event {
    /// Whether it counts.
    counts: bool,
    /// Unknown for an event among function-graph lines.
    pid: Option<u64>,
    name: String,
    function: Option<String>,
    stack: Option<usize>,
}

struct Context<'a> {
    task: &'a [u8],
    pid: u64,
    cpu: u64,
    rest: &'a [u8],
}

impl Parser<'_> {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) {
        if let Some(text) = line.strip_prefix(b" => ")
            && let Some(mut frame) = frame(text)
        {
            let (index, user) = match self.open {
                Open::Stack { index, user } => (index, user),
                Open::Ignored => return,
                Open::Nowhere => return warnings.note(Kind::StrayFrame, line),
            };
            let frames = &mut self.parsed.stacks[index].frames;
            if frames.len() == DEEPEST_STACK {
                return warnings.note(Kind::DeepStack, line);
            }
            frame.user = user;
            return frames.push(frame);
        }
        if let Some(context) = context(line) {
            self.open = Open::Nowhere;
            return match context.rest {
                b"<stack trace>" => self.stack(&context, false),
                b"<user stack trace>" => self.stack(&context, true),
                rest => self.event(&context, rest, line, warnings),
            };
        }
        // A file of user space: ` => /bin/busybox[+0x1234]`.
        if let (Open::Stack { index, user: true }, Some(text)) = (self.open, line.strip_prefix(b" => ")) {
            let frames = &mut self.parsed.stacks[index].frames;
            if frames.len() == DEEPEST_STACK {
                return warnings.note(Kind::DeepStack, line);
            }
            return frames.push(Frame { symbol: Some(printable(text)), user: true, ..Frame::default() });
        }
        self.open = Open::Nowhere;
        if !self.remark(line, warnings) && !self.graph(line) {
            warnings.note(Kind::UnreadableLine, line);
        }
    }

    fn stack(&mut self, context: &Context<'_>, user: bool) {
        let stacks = &mut self.parsed.stacks;
        let task = printable(context.task);
        let owner =
            self.last.get_mut(&context.cpu).filter(|event| event.pid.is_none_or(|pid| pid == context.pid));
        let index = match owner {
            Some(Event { counts: false, .. }) => {
                self.open = Open::Ignored;
                return;
            }
            Some(Event { stack: Some(index), .. }) if user => *index,
            Some(event) if event.stack.is_none() => {
                let (event_name, function) = (event.name.clone(), event.function.clone());
                stacks.push(Stack { task, event: event_name, function, frames: Vec::new() });
                *event.stack.insert(stacks.len() - 1)
            }
            _ if !self.only.is_empty() => {
                self.open = Open::Ignored;
                return;
            }
            _ => {
                self.parsed.events += 1;
                stacks.push(Stack { task, event: UNNAMED.into(), function: None, frames: Vec::new() });
                let stack = Some(stacks.len() - 1);
                let (pid, name) = (Some(context.pid), UNNAMED.into());
                self.last.insert(context.cpu, Event { counts: true, pid, name, function: None, stack });
                stacks.len() - 1
            }
        };
        self.open = Open::Stack { index, user };
    }

    fn event(&mut self, context: &Context<'_>, rest: &[u8], line: &[u8], warnings: &mut Warnings) {
        let (name, function) = event(rest).unwrap_or_else(|| {
            warnings.note(Kind::UnreadableLine, line);
            ("?".into(), None)
        });
        let counts = self.counts(&name, function.as_deref());
        self.parsed.events += u64::from(counts);
        if let Some(text) = arguments(rest).filter(|_| counts) {
            self.parsed.arguments.push(Arguments { event: name.clone(), text });
        }
        self.last.insert(context.cpu, Event { counts, pid: Some(context.pid), name, function, stack: None });
    }

    fn counts(&self, name: &str, function: Option<&str>) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == name || Some(one.as_str()) == function)
    }

    /// Lines that tell of the capture itself.
    fn remark(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if let Some(text) = line.strip_prefix(b"# entries-in-buffer/entries-written: ") {
            if let Some((inside, text)) = decimal(text)
                && let Some((written, _)) = text.strip_prefix(b"/").and_then(decimal)
                && written > inside
            {
                self.overwritten += written - inside;
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
        let column = text.windows(2).rposition(|window| window == b"| ");
        match column.map(|column| text[column + 1..].trim_ascii()) {
            Some(call) => {
                // A comment is looked for from the left: its text may hold anything.
                let comment = split_at(text, b" /* ").and_then(|(_, text)| text.strip_suffix(b" */"));
                let event = comment.map(event);
                let entered = call.strip_suffix(b"() {").or_else(|| call.strip_suffix(b"();"));
                let counts = match (&event, entered) {
                    (Some(Some((name, function))), _) => self.counts(name, function.as_deref()),
                    (None, Some(function)) if !self.only.is_empty() => {
                        symbol(function).is_some_and(|function| self.counts(function, None))
                    }
                    (event, entered) => self.only.is_empty() && (event.is_some() || entered.is_some()),
                };
                self.parsed.events += u64::from(counts);
                if let Some((name, function)) = event.flatten() {
                    self.last.insert(cpu, Event { counts, pid: None, name, function, stack: None });
                }
                true
            }
            // ` 0)    child-19    =>    child-21`: another task.
            None => split_at(text, b" => ").is_some(),
        }
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
fn event(rest: &[u8]) -> Option<(String, Option<String>)> {
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b':' | b'+')).unwrap_or(rest.len());
    let name = symbol(&rest[..end])?.to_owned();
    if rest.get(end) != Some(&b':') {
        split_at(rest, b" <-")?;
        return Some((name.clone(), Some(name)));
    }
    let place = rest[end + 1..].trim_ascii_start().strip_prefix(b"(").and_then(|text| split_at(text, b")"));
    let function = place.map(|(place, _)| place).filter(|place| split_at(place, b" <- ").is_none());
    let function =
        function.and_then(|place| split_at(place, b"+0x")).and_then(|(function, _)| symbol(function));
    Some((name, function.map(str::to_owned)))
}

/// What a kprobe event fetched, which stands behind its place: `tsk: (save_stack_trace_tsk+0x28/0x188) skip=5`.
fn arguments(rest: &[u8]) -> Option<String> {
    let (_, text) = split_at(rest, b": (")?;
    let (_, text) = split_at(text, b") ")?;
    text.contains(&b'=').then(|| printable(text))
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

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
//!  => [unknown/kretprobe'd] <ffffffff80113cb0>
//!  => [FTRACE TRAMPOLINE]
//!           <idle>-0       [000] d..4.    30.200001: block_lat: pid=93 stack=STACK:
//! => __schedule+0x448/0x7b8
//! CPU:0 [LOST 8128 EVENTS]
//! ##### CPU 1 buffer started ####
//! ```
//!
//! `trace-cmd report` prints the same in its own words:
//!
//! ```text
//! cpus=8
//!       eoe_filter-123   [007]  2626.438884: function:             move_page_tables
//!       eoe_filter-123   [007]  2626.438889: kernel_stack:         <stack trace >
//! => setup_arg_pages (ffffffff81282ac0)
//! CPU:3 [12 EVENTS DROPPED]
//! ```
//!
//! What an event's text says is read in `ftrace_event.rs`, the function-graph tracer's lines in
//! `ftrace_graph.rs`.
//!
//! The kernel prints the task as `%16s-%-7d`, right-aligned and at most 15 bytes long, so the dash before the
//! pid is always the 17th byte, whatever the task calls itself. Flags are 4 characters up to 5.10, 5 later.

use std::io::{self, BufRead};
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::fold::{Fold, Texts, count};
use super::ftrace_context::{Context, context};
use super::ftrace_event::{EventText, MARKER, NAMELESS, arguments, event, heading, is_stack_as_fields};
use super::ftrace_frame::{frame, unreadable_frame};
use super::lines::{
    self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, hexadecimal, printable, split_at,
};
use super::{FetchedArguments, Frame, ParsedCapture, Stack};
use profile::Profiled;
use short_lines::ShortLines;

mod profile; // what `trace-cmd report --profile` prints
mod short_lines; // what may begin the name of a task, which may have line ends
mod tracers; // the lines of other tracers, and those that tell of the capture itself

/// The name of the event of a stack that no event was printed for: a trigger's, whose event is not recorded.
pub const UNNAMED: &str = "stacktrace";
/// The text of such an event.
const UNNAMED_EVENT: &[u8] = b"stacktrace:";
/// What an event's text ends in when a field of it is a stack (`trace_events_synth.c`).
const STACK_FIELD: &[u8] = b"=STACK:";
/// The task of a stack that was taken in another one than its event's: a name that the kernel has forgotten.
const ANOTHER_TASK: &[u8] = b"<...>";
/// The length of the longest stack that a synthetic event carries, in bytes or frames
/// (`include/linux/trace.h`).
const LONGEST_FIELD: u64 = 4096;

/// Reads a capture. [`ParsedCapture::lost`] counts ring-buffer entries: the kernel does not tell how many of them
/// were events and how many their stacks. In latency format the kernel cuts task names to 8 bytes.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<ParsedCapture> {
    parse_only(input, &[])
}

/// [`parse`] for a buffer that records more than is of interest: only events of these names, or in these
/// functions, count, with their stacks. All where there are none.
///
/// # Errors
/// As [`parse`].
pub fn parse_only(input: impl BufRead, only: &[String]) -> io::Result<ParsedCapture> {
    let (parsed, _) = Parser { only, ..Parser::default() }.read(input)?;
    Ok(parsed)
}

/// [`parse`], and of each stack of the capture the index that it has in [`ParsedCapture::stacks`].
///
/// # Errors
/// As [`parse`].
pub fn parse_in_order(input: impl BufRead) -> io::Result<(ParsedCapture, Vec<usize>)> {
    Parser { stacks: Fold::in_order(), ..Parser::default() }.read(input)
}

/// What reads a capture line by line.
pub(crate) fn parser() -> impl LineParser {
    Parser::default()
}

/// Whether a line is one of this format.
pub(crate) fn is_of(line: &[u8]) -> bool {
    line.starts_with(b"# tracer: ")
        || is_remark_of_trace_cmd(line)
        || context(line).is_some()
        || profile::is_event(line)
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
    /// Whether the header names the function-graph tracer.
    graph: bool,
    /// The CPU of the last line of the function graph.
    graph_cpu: u64,
    /// Whether the header names the function tracer.
    function: bool,
    /// Whether the header names the tracer of memory-mapped IO.
    mmio: bool,
    /// Whether events have task, CPU and time in front of them, as they have but without `context-info`.
    context: Option<bool>,
    /// Whose stacks of a profile come, and of which event.
    profiled: Profiled,
    /// The last lines that nothing explains: they may begin a task's name.
    short_lines: ShortLines,
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
    /// They follow a line that is not ftrace's.
    Outside,
    /// They belong to an event that does not count.
    Ignored,
    /// They are an event's text, which may have line ends.
    Text,
    /// To the stack that is a field of the event at this index of [`Parser::last`].
    Field {
        /// The index.
        index: usize,
        /// Whether none has come yet.
        first: bool,
    },
    /// To the stack of the event at this index of [`Parser::last`], as frames of user space or of the kernel.
    Stack { index: usize, user: bool },
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
    /// For how many others like it it stands, too.
    more: u64,
    stack: Numbers,
}

impl Event {
    /// How often it was there.
    fn times(&self) -> u64 {
        self.more.saturating_add(1)
    }
}

/// A stack as the numbers of its words and frames.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Numbers {
    task: usize,
    event: usize,
    function: Option<usize>,
    /// How many of the frames are the kernel's; the frames of user space come behind them.
    of_kernel: usize,
    frames: Vec<usize>,
}

impl Parser<'_> {
    fn read(mut self, input: impl BufRead) -> io::Result<(ParsedCapture, Vec<usize>)> {
        let mut warnings = Warnings::default();
        lines::each(input, &mut warnings, |line, warnings| lines::take(&mut self, line, warnings))?;
        let (parsed, order) = self.into_parsed(&mut warnings);
        Ok((ParsedCapture { warnings: warnings.into_inner(), ..parsed }, order))
    }

    /// What a frame's line says. Below an event it may be indented as a mail has it, or as trace-cmd does.
    fn frame_text<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        line.strip_prefix(b" => ").or_else(|| match self.open {
            Open::Stack { .. } | Open::Ignored => line.trim_ascii_start().strip_prefix(b"=> "),
            _ => None,
        })
    }

    /// An event without anything in front of it.
    fn bare_event(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        let context = Context { task: ANOTHER_TASK, lacking: 0, pid: 0, cpu: 0, rest: line };
        let has_text = || split_at(line, b" <-").is_some() || split_at(line, b": ").is_some();
        // `sys_ioctl -> 0x0`; and, where callers are not printed, the name of a function alone, though not
        // behind a program's text, which may have line ends.
        let is_exit = || line.starts_with(b"sys_") && split_at(line, b" -> 0x").is_some();
        let behind_text = self.last.get(&context.cpu).is_some_and(|last| last.text.starts_with(MARKER));
        let address =
            || split_at(line.strip_suffix(b">")?, b" <").and_then(|(_, address)| hexadecimal(address));
        let has_place = || split_at(line, b"+0x").is_some() || address().is_some();
        let is_entry =
            |event: EventText<'_>| self.function && event.is_entry() && (!behind_text || has_place());
        match heading(line) {
            Some(user) => self.stack(&context, user),
            None if !line.starts_with(b"#")
                && !line.starts_with(b"[")
                && event(line).is_some_and(|event| has_text() || is_exit() || is_entry(event)) =>
            {
                self.event(&context, line, line, warnings);
            }
            None => return false,
        }
        true
    }

    /// The number of a frame; in user space of a file too: ` => /bin/busybox[+0x1234]`. What cannot be read
    /// is a frame without a name, unless it is a task's: ` => aaaaaaaaaaaa-25      [000] .....     0.274600:
    /// <stack trace>`.
    fn frame(&mut self, text: &[u8], line: &[u8], warnings: &mut Warnings) -> Option<usize> {
        // Among the lines of the function graph a stack is a comment.
        let text = text.strip_suffix(b" */").filter(|_| self.graph).unwrap_or(text);
        if let Open::Stack { user: true, .. } = self.open {
            let file = || Frame { symbol: Some(printable(text)), ..Frame::default() };
            let read = |text: &[u8]| frame(text).or_else(|| context(line).is_none().then(file));
            let user = |frame| Arc::new(Frame { user: true, ..frame });
            return self.user_frames.number(text, |text| read(text).map(user));
        }
        let known = self.frames.number(text, |text| frame(text).map(Arc::new));
        if known.is_some()
            || !matches!(self.open, Open::Stack { .. } | Open::Field { .. })
            || context(line).is_some()
        {
            return known;
        }
        warnings.note(Kind::UnreadableLine, line);
        self.frames.number(line, |_| Some(Arc::new(unreadable_frame(text))))
    }

    fn field_frame(&mut self, index: usize, first: bool, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        self.open = Open::Field { index, first: false };
        // Kernels before 6.5 print the length of the stack for its first frame.
        if first && hexadecimal(text).is_some_and(|length| length <= LONGEST_FIELD) {
            return;
        }
        if let Some(frame) = self.frame(text, line, warnings) {
            self.push(frame, line, warnings);
        }
    }

    fn begin_field(&mut self, index: usize) -> Open {
        if !self.last[index].counts {
            return Open::Text;
        }
        self.begin_stack(index, ANOTHER_TASK);
        Open::Field { index, first: true }
    }

    /// Counts the stack of a field, so that the event may still get its own.
    fn end_field(&mut self, index: usize) {
        let event = &mut self.last[index];
        if let Some(number) = event.begun.take() {
            self.stacks.add_times(&event.stack, number, event.times());
        }
    }

    fn push(&mut self, frame: usize, line: &[u8], warnings: &mut Warnings) {
        let (index, user) = match self.open {
            Open::Stack { index, user } => (index, user),
            Open::Field { index, .. } => (index, false),
            Open::Ignored | Open::Text => return,
            Open::Nowhere | Open::Outside => return warnings.note(Kind::StrayFrame, line),
        };
        let stack = &mut self.last[index].stack;
        if stack.frames.len() == DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, line);
        }
        stack.frames.push(frame);
        stack.of_kernel += usize::from(!user);
    }

    fn stack(&mut self, context: &Context<'_>, user: bool) {
        let owner = self.last.get_full(&context.cpu);
        let owner = owner.filter(|(.., event)| event.pid.is_none_or(|pid| pid == context.pid));
        let index = match owner {
            Some((_, _, Event { counts: false, .. })) => {
                self.open = Open::Ignored;
                return;
            }
            Some((index, _, Event { begun: Some(_), .. })) if user => index,
            Some((index, _, Event { begun: None, .. })) => {
                self.begin_stack(index, context.task);
                index
            }
            _ if !self.only.is_empty() => {
                self.open = Open::Ignored;
                return;
            }
            _ => {
                self.events += 1;
                let index = self.begin_event(context.cpu, true, Some(context.pid), UNNAMED_EVENT);
                self.begin_stack(index, context.task);
                index
            }
        };
        self.open = Open::Stack { index, user };
    }

    fn event(&mut self, context: &Context<'_>, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        if is_stack_as_fields(text) {
            self.open = Open::Ignored;
            return warnings.note(Kind::UnreadableLine, line);
        }
        let read = event(text);
        let counts = self.counts(read.as_ref());
        let entered = match &read {
            Some(read) => {
                let entered = read.is_entry();
                self.events += if counts { read.times } else { 0 };
                if counts
                    && !entered
                    && let Some(fetched) = arguments(text)
                {
                    let numbers = (self.words.word(&read.name), self.words.word(fetched));
                    *self.arguments.entry(numbers).or_default() += 1;
                }
                entered
            }
            None => {
                warnings.note(Kind::UnreadableLine, line);
                self.events += u64::from(counts);
                true
            }
        };
        let index = self.begin_event(context.cpu, counts, Some(context.pid), text);
        self.open = match entered {
            true => Open::Nowhere,
            false if text.ends_with(STACK_FIELD) => self.begin_field(index),
            false => Open::Text,
        };
    }

    fn counts(&self, event: Option<&EventText<'_>>) -> bool {
        let (name, function) = event.map_or((NAMELESS, None), |event| (event.name.as_ref(), event.function));
        let mut only = self.only.iter().map(String::as_bytes);
        self.only.is_empty() || only.any(|one| one == name || Some(one) == function)
    }

    /// Makes an event its CPU's last and counts the stack of the one before. Returns its index.
    fn begin_event(&mut self, cpu: u64, counts: bool, pid: Option<u64>, text: &[u8]) -> usize {
        let entry = self.last.entry(cpu);
        let index = entry.index();
        let event = entry.or_default();
        if let Some(number) = event.begun.take() {
            self.stacks.add_times(&event.stack, number, event.times());
        }
        (event.counts, event.pid, event.more) = (counts, pid, 0);
        event.text.clear();
        event.text.extend_from_slice(text);
        index
    }

    fn begin_stack(&mut self, index: usize, task: &[u8]) {
        let Event { text, begun, stack, .. } = &mut self.last[index];
        let read = event(text);
        let (name, function) =
            read.as_ref().map_or((NAMELESS, None), |event| (event.name.as_ref(), event.function));
        stack.task = self.words.word(task);
        stack.event = self.words.word(name);
        stack.function = function.map(|function| self.words.word(function));
        stack.of_kernel = 0;
        stack.frames.clear();
        *begun = Some(self.begun);
        self.begun += 1;
    }

    /// What was read, but for the warnings, and the index of each stack.
    fn into_parsed(mut self, warnings: &mut Warnings) -> (ParsedCapture, Vec<usize>) {
        self.short_lines.clear(warnings);
        let Self { words, frames, user_frames, mut stacks, .. } = self;
        for event in self.last.values() {
            if let Some(number) = event.begun {
                stacks.add_times(&event.stack, number, event.times());
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
            (FetchedArguments { event: words.get(event).clone(), text: words.get(text).clone() }, number)
        });
        let parsed = ParsedCapture {
            events: self.events,
            lost: self.overwritten.max(self.lost),
            stacks,
            arguments: count(arguments),
            warnings: Vec::new(),
        };
        (parsed, order)
    }
}

impl LineParser for Parser<'_> {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        // Most lines are frames, and most of them have been seen before.
        if let Some(text) = self.frame_text(line)
            && !matches!(self.open, Open::Outside)
            && let Some(frame) = self.frame(text, line, warnings)
        {
            self.push(frame, line, warnings);
            return true;
        }
        let context = context(line);
        if let Open::Field { index, first } = self.open {
            if let Some(text) = line.strip_prefix(b"=> ") {
                self.field_frame(index, first, text, line, warnings);
                return true;
            }
            // Further fields of the event stand behind the stack, in a line of their own.
            self.end_field(index);
            self.open = Open::Text;
            if context.is_none() && line.ends_with(STACK_FIELD) {
                self.open = self.begin_field(index);
                return true;
            }
        }
        if let Some(mut context) = context {
            let name = self.short_lines.take_name(&context, warnings);
            context.task = name.as_deref().unwrap_or(context.task);
            self.context = Some(true);
            match heading(context.rest) {
                Some(user) => self.stack(&context, user),
                None => self.event(&context, context.rest, line, warnings),
            }
            return true;
        }
        let is_own = self.mmio && self.mmio(line)
            || self.context == Some(false) && self.bare_event(line, warnings)
            || self.remark(line, warnings)
            || self.profile(line)
            || self.graph(line);
        if is_own {
            self.short_lines.clear(warnings);
        }
        is_own
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        if let Some(text) = self.frame_text(line)
            && let Some(frame) = self.frame(text, line, warnings)
        {
            return self.push(frame, line, warnings);
        }
        if line.starts_with(b"#") {
            return;
        }
        let in_text = matches!(self.open, Open::Text);
        if !in_text {
            self.open = Open::Outside;
        }
        self.short_lines.push(line, in_text, warnings);
    }

    fn finish(self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture {
        self.into_parsed(warnings).0
    }
}

/// `cpus=8`, `version = 6`, `CPU 0 is empty`.
fn is_remark_of_trace_cmd(line: &[u8]) -> bool {
    let numbered = |begin: &[u8], end: &[u8]| {
        let number = line.trim_ascii_end().strip_prefix(begin).and_then(decimal);
        number.is_some_and(|(_, rest)| rest == end)
    };
    numbered(b"cpus=", b"") || numbered(b"version = ", b"") || numbered(b"CPU ", b" is empty")
}

#[cfg(test)]
mod tests;

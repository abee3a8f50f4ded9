//! Every call trace of a console or a kernel log, as stacks (`call-trace`): of WARN, BUG and oops,
//! `dump_stack()`, sysrq, hung tasks, lockups, RCU stalls, and the stacks that KASAN, KMSAN, page_owner,
//! slub, lockdep and kmemleak keep.
//!
//! ```text
//! [    8.698201] sysrq: Show State
//! [    8.715884] task:init            state:S stack:0     pid:1     ppid:0      flags:0x00100000
//! [    8.743626] Call Trace:
//! [    8.743719] [<ffffffff8052d4a8>] __schedule+0x410/0x7c8
//!
//! [   21.063420][   T93] WARNING: CPU: 0 PID: 93 at net/core/dev.c:10083 register_netdevice+0x4f1/0x690
//! [   21.063424][   T93] CPU: 0 PID: 93 Comm: eoe_filter Not tainted 6.1.0 #1
//! [   21.063430][   T93] Call Trace:
//! [   21.063431][   T93]  <TASK>
//! [   21.063433][   T93]  ? __warn+0x81/0x130
//! [   21.063470][   T93]  tun_chr_ioctl+0x11/0x20 [tun]
//! [   21.063480][   T93]  </TASK>
//!
//! Allocated by task 93:
//!  kasan_save_stack+0x33/0x60
//! page last free pid 93 tgid 93 stack trace:
//!  free_unref_page+0x1d/0x40
//! ** 214 printk messages dropped **
//!
//! [   12.345678]     bash-93        0d..2. 12345us : <stack trace>
//! [   12.345678]  => vfs_write
//! ```
//!
//! Call Trace:
//!  mba_wrmsr
//!  update_domains
//!
//! What people paste of other tools is read too: frames of ftrace without their header (` => f`), and the
//! backtraces of gdb, crash(8), drgn and xmon (`debugger.rs`) and of SystemTap (`systemtap.rs`).
//!
//! A stack's event is the word of its report, with the heading of the stack where that is another than `Call
//! Trace`. Messages of CPUs that print at the same time are told apart where the kernel says who prints
//! (`CONFIG_PRINTK_CALLER`). Frames that the unwinder did not come by (`?`) are [`Frame::guess`].

mod caller; // what one caller has printed so far
mod reports; // what a report says of its stacks
mod spacing; // empty lines between all others
mod stacks; // where frames go
mod unfolded; // a trace in one line

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::sync::Arc;

use caller::{Awaited, Caller, FrameLine, Numbers, Open};
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry;
use memchr::memmem::Finder;
use spacing::Spacing;
use stacks::BACKTRACE;

use super::messages::{
    Printer, announces_place, announces_places, bare, begins_with_place, dropped, is_behind_task_of_parisc,
    is_cut_before_place, is_cut_frame, is_damaged, is_end_of_report, is_of_memory, is_of_program,
    is_register, last_function, may_be_frame, parts_backtraces, pasted, report, section, shown,
    wrapped_module,
};
use super::prefix::{Message, plain};
use super::tasks::{names_debugged_task, task};
use super::telling::is_telling;
use super::{TRACE_WITHIN, stamped};
use crate::stack::ftrace_context::context;
use crate::stack::lines::{self, Kind, LineParser, Warnings, printable, split_at};
use crate::stack::{
    Fold, Frame, NAMELESS, Needs, ParsedCapture, Stack, Texts, TraceLine, heading, is_own_heading,
    may_stand_alone, of_one_side, tells_of_frame, without_marker,
};

/// What ftrace prints before the frames of a stack.
const FTRACE_HEADING: &[u8] = b"<stack trace>";
/// How many messages of others may come after a stack's heading, and between two frames, at most.
const STACK_WITHIN: usize = 8;
/// Reports whose stacks have no heading.
const HEADLESS: [&str; 3] = ["slab", "sysrq: ", "refcount"];
/// Callers that print at the same time, at most; beyond that the one that began first is taken to be done.
const MOST_CALLERS: usize = 64;
/// Blanks before text that is no message but part of a table: words of a stack, registers.
const TABLE_INDENT: &[u8] = b"    ";

/// Reads a console or a kernel log. Each call trace counts as one event, even one without frames;
/// [`ParsedCapture::lost`] counts messages.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<ParsedCapture> {
    lines::parse(input, Parser::new())
}

/// The line parser of consoles.
pub(crate) fn parser() -> impl LineParser {
    Parser::new()
}

/// Whether a line is one of a console: a message with its time, the heading of a call trace or the first line
/// of a report.
pub(crate) fn is_of(line: &[u8]) -> bool {
    let line = &*plain(line);
    let message = Message::of(line);
    if message.is_stamped || !is_telling(message.text) {
        return message.is_stamped;
    }
    let text = printable(message.text);
    heading(&text).is_some() || !message.text.starts_with(TABLE_INDENT) && report(&text).is_some()
}

/// Whether a line is a frame that needs no heading before it.
pub(crate) fn is_frame(line: &[u8]) -> bool {
    // `f+0x1/0x2`, `#1  f (..)` and `[c5601fec] f at c806e303`, `=> f`: most lines hold none of these.
    if memchr::memchr3(b'+', b'[', b'>', line).is_none() && memchr::memchr(b'#', line).is_none() {
        return false;
    }
    let line = plain(line);
    let text = Message::of(&line).text;
    let is_whole = |line: TraceLine| match line {
        TraceLine::Frame { needs, .. } => needs == Needs::Nothing,
        TraceLine::From { .. } => true,
    };
    let may_be = || split_at(text, b"+0x").is_some() || may_stand_alone(text);
    let place = || may_be().then(|| TraceLine::read(&printable(text.trim_ascii())))?;
    pasted(text).is_some_and(|(.., needs)| needs == Needs::Nothing) || place().is_some_and(is_whole)
}

struct Parser {
    /// The number of the word for a task without a name.
    nameless: usize,
    place: Finder<'static>,
    heading: Finder<'static>,
    callers: IndexMap<Box<[u8]>, Caller, RandomState>,
    /// The place of the caller of the line before.
    last: usize,
    /// Whether the line before may tell something.
    is_telling: bool,
    /// The message of a line that waits, and its frame, where it is one.
    left: (Vec<u8>, Option<FrameLine>),
    spacing: Spacing,
    lost: u64,
    /// How many stacks were counted, and how many begun.
    events: u64,
    begun: u64,
    stacks: Fold<Numbers>,
    words: Texts<String>,
    frames: Vec<Arc<Frame>>,
    /// The frames of each different line.
    known: Texts<FrameLine>,
}

impl Parser {
    fn new() -> Self {
        let mut words = Texts::default();
        Self {
            nameless: words.word(NAMELESS.as_bytes()),
            place: Finder::new("+0x"),
            heading: Finder::new("race"),
            callers: IndexMap::default(),
            last: 0,
            is_telling: false,
            left: (Vec::new(), None),
            spacing: Spacing::default(),
            lost: 0,
            events: 0,
            begun: 0,
            stacks: Fold::default(),
            words,
            frames: Vec::new(),
            known: Texts::default(),
        }
    }

    /// Takes a line by its frame or, where it has none, by its text; and remembers whether the next may tell
    /// nothing.
    fn take(
        &mut self,
        caller: usize,
        text: &[u8],
        frame: Option<FrameLine>,
        line: &[u8],
        warnings: &mut Warnings,
    ) {
        self.callers[caller].is_idle = false;
        let awaited = std::mem::take(&mut self.callers[caller].awaited);
        match frame.filter(|&frame| !frame.is_bare || self.is_of_names(caller, frame)) {
            Some(_) if awaited == Awaited::Place => {}
            Some(frame) if awaited == Awaited::Counter => {
                let function = self.frames[frame.frame].symbol.as_deref();
                self.callers[caller].function = function.map(|name| self.words.word(name.as_bytes()));
            }
            Some(_) if awaited == Awaited::Places => self.callers[caller].awaited = awaited,
            _ if awaited == Awaited::Function && begins_with_place(text) => {
                let function = last_function(&shown(text)).map(|name| self.words.word(name.as_bytes()));
                self.callers[caller].function = function;
            }
            _ if awaited == Awaited::Rest && self.take_rest(caller, text, line, warnings) => {}
            Some(frame) => self.frame(caller, frame, line, warnings),
            None if wrapped_module(text).is_some_and(|module| self.add_module(caller, module)) => {}
            None => self.text(caller, text, line, warnings),
        }
        if is_cut_frame(text) {
            self.await_rest(caller, text, frame);
        }
        let is_at_rest = self.callers[caller].is_at_rest(self.nameless);
        self.callers[caller].is_idle = is_at_rest;
    }

    /// Whether a name alone is a frame of the stack that is open: of one that was announced, and that holds
    /// names alone.
    fn is_of_names(&self, caller: usize, frame: FrameLine) -> bool {
        let is_bare = |number: usize| {
            let Frame { address, offset, .. } = &*self.frames[number];
            address.is_none() && offset.is_none()
        };
        let Caller { open, stack, printer, .. } = &self.callers[caller];
        match open {
            // A debugger prints more of a frame below it.
            _ if *printer != Printer::Kernel => false,
            // Half a sentence may be one word.
            Open::Announced => {
                self.frames[frame.frame].symbol.as_ref().is_some_and(|name| name.contains('_'))
            }
            Open::Frames => stack.frames.first().is_some_and(|&first| is_bare(first)),
            Open::No | Open::Interrupted(_) => false,
        }
    }

    /// The text of a line that is no frame.
    fn text(&mut self, caller: usize, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        if text.trim_ascii().is_empty() {
            if self.spacing.is_blank_line() || self.callers[caller].printer != Printer::Kernel {
                self.blank(caller);
            }
            return;
        }
        if is_behind_task_of_parisc(text) {
            let task = self.callers[caller].task;
            return self.name(caller, Some(task));
        }
        if text.trim_ascii_end().ends_with(FTRACE_HEADING)
            && let Some(context) = context(text)
        {
            return self.announce_ftrace(caller, context.task);
        }
        if matches!(self.callers[caller].printer, Printer::Debugger(_)) && parts_backtraces(text) {
            return self.end(caller);
        }
        let announces = || self.heading.find(text).is_some() && heading(&shown(text)).is_some();
        let begins = || names_debugged_task(text) || announces();
        if self.callers[caller].open == Open::Announced && is_of_program(text) {
            self.callers[caller].is_prose = true;
            return;
        }
        if text.starts_with(TABLE_INDENT) && !begins() {
            // `    LR = f+0x34/0x80`, of POWER before 5.12, between the stacks of an exception.
            if self.callers[caller].open == Open::No || !is_register(&shown(text)) {
                self.text_in_stack(caller, text, line, warnings);
            }
            return;
        }
        let text = shown(text);
        // Messages may be mixed: each has its time or its caller in front of it.
        if !text.contains(']') || !(text.contains('.') || text.contains("][") || text.contains("] [")) {
            return self.message(caller, &text, line, warnings);
        }
        let (written, messages) = stamped(&text);
        // As it stands it was read, and is no frame.
        if messages.is_empty() && matches!(text, Cow::Borrowed(_)) {
            return self.message(caller, &text, line, warnings);
        }
        // `checking disk:[   12.3] BUG: ..`: what a program wrote in front of a message is the heading of
        // none.
        if !messages.is_empty() && section(written).is_some() {
            self.text_in_stack(caller, written.as_bytes(), line, warnings);
        } else {
            self.part(caller, written, line, warnings);
        }
        for (_, message) in messages {
            let Message { caller: name, text, .. } = Message::of(message.as_bytes());
            let text = &message[message.len() - text.len()..];
            let caller = if name.is_empty() { caller } else { self.caller(name) };
            self.callers[caller].is_idle = false;
            self.part(caller, text.trim_start_matches(' '), line, warnings);
        }
    }

    /// One of the messages that a line mixes.
    fn part(&mut self, caller: usize, text: &str, line: &[u8], warnings: &mut Warnings) {
        if text.trim().is_empty() {
            return;
        }
        match self.read_frame(caller, text.as_bytes()).filter(|frame| !frame.is_bare) {
            Some(frame) => self.frame(caller, frame, line, warnings),
            None => self.message(caller, text, line, warnings),
        }
    }

    /// A message that is no frame.
    fn message(&mut self, caller: usize, text: &str, line: &[u8], warnings: &mut Warnings) {
        if self.heading.find(text.as_bytes()).is_some()
            && let Some(heading) = heading(text)
        {
            let inside = without_marker(heading.behind);
            let frame = self.read_announced(caller, inside.as_bytes(), true);
            let has_words = heading.is_behind_words || frame.is_none() && !inside.trim().is_empty();
            self.announce(caller, has_words && !Message::of(line).is_stamped);
            if let Some(frame) = frame {
                self.push(caller, frame, line, warnings);
            }
            return;
        }
        if text.trim_start().starts_with(['<', '=']) {
            let inside = without_marker(text);
            if inside.is_empty() {
                // x86 comes to the task's own stack last.
                if text.trim_ascii() == "</TASK>" && self.callers[caller].open != Open::No {
                    self.close(caller);
                }
                if is_end_of_report(text) && self.callers[caller].has_told {
                    self.end(caller);
                    self.callers[caller].forget(self.nameless);
                }
                return;
            }
            if let Some(frame) = self.read_frame(caller, inside.as_bytes()) {
                return self.push(caller, frame, line, warnings);
            }
        }
        self.callers[caller].age += 1;
        if let Some(dropped) = dropped(text) {
            // What follows may be of any stack.
            self.end(caller);
            self.lost = self.lost.saturating_add(dropped);
            return warnings.note(Kind::LostEvents, line);
        }
        if text.starts_with("---[ end ") {
            self.close(caller);
            return self.callers[caller].forget(self.nameless);
        }
        if let Some(kind) = report(text) {
            return self.begin_report(caller, &kind, text);
        }
        if let Some(task) = task(text) {
            match self.callers[caller].open {
                Open::No => {}
                _ if self.callers[caller].is_cut => self.cut(caller),
                _ => self.close(caller),
            }
            let task = self.words.word(task.as_bytes());
            if self.callers[caller].names_task_last {
                self.name(caller, Some(task));
            }
            let Caller { task: name, section, age, .. } = &mut self.callers[caller];
            (*name, *section, *age) = (task, None, 0);
            // kdb before 2.6.35 prints no other heading.
            if text.trim_start().starts_with("0x") {
                self.announce(caller, true);
            }
            return;
        }
        if announces_place(text) {
            self.end(caller);
            self.callers[caller].awaited = Awaited::Place;
            return;
        }
        if announces_places(text) {
            self.end(caller);
            self.callers[caller].awaited = Awaited::Places;
            return;
        }
        if self.callers[caller].open != Open::No || self.callers[caller].report.is_some() {
            if is_register(text) {
                return self.register(caller, text);
            }
            if is_of_memory(text) {
                return;
            }
            if is_own_heading(text) && self.callers[caller].open == Open::No {
                self.end(caller);
            }
            if let Some(section) = section(text) {
                return self.begin_section(caller, &section);
            }
        }
        self.text_in_stack(caller, text.as_bytes(), line, warnings);
        if is_cut_before_place(text) {
            self.callers[caller].awaited = Awaited::Place;
        }
    }

    /// Text that tells nothing: of another in between, behind a stack, or a frame that cannot be read.
    fn text_in_stack(&mut self, caller: usize, text: &[u8], line: &[u8], warnings: &mut Warnings) {
        let holds_place = self.place.find(text).is_some();
        let is_damaged = match self.callers[caller].printer {
            Printer::Kernel => holds_place && is_damaged(text),
            Printer::Ftrace => !self.callers[caller].is_word && text.trim_ascii_start().starts_with(b"=> "),
            Printer::SystemTap | Printer::Debugger(_) => false,
        };
        let goes_on = !matches!(self.callers[caller].open, Open::No | Open::Interrupted(2..));
        if is_damaged && goes_on {
            warnings.note(Kind::UnreadableLine, line);
            self.frames.push(Arc::new(Frame::default()));
            let (frame, printer) = (self.frames.len() - 1, self.callers[caller].printer);
            let frame = FrameLine { inner: None, frame, needs: Needs::Stack, is_bare: false, printer };
            return self.push(caller, frame, line, warnings);
        }
        match (self.callers[caller].open, self.callers[caller].printer) {
            // Registers, words of the stack, lines of sources: the next number tells whether it goes on.
            (Open::Frames, Printer::Debugger(_)) => {}
            // What names a function may be the heading of the next stack.
            (Open::Frames, Printer::Kernel) if !holds_place => {
                self.callers[caller].open = Open::Interrupted(1);
            }
            (Open::Interrupted(_), Printer::Kernel) if self.callers[caller].is_cut => self.cut(caller),
            (Open::Interrupted(others), Printer::Kernel)
                if others < self.most_others(caller) && !holds_place && !self.is_complete(caller) =>
            {
                self.callers[caller].open = Open::Interrupted(others + 1);
            }
            (Open::Frames | Open::Interrupted(_), Printer::Kernel) => self.close(caller),
            (Open::Frames | Open::Interrupted(_), _) => self.end(caller),
            // A frame behind what nobody knows? Without a word it would be lost.
            (Open::Announced, Printer::Kernel) if holds_place && !self.callers[caller].is_prose => {
                warnings.note(Kind::UnreadableLine, line);
            }
            (Open::Announced | Open::No, _) => {}
        }
        if self.callers[caller].age > TRACE_WITHIN {
            self.end(caller);
            self.callers[caller].forget(self.nameless);
        }
    }

    /// The place of a caller.
    fn caller(&mut self, name: &[u8]) -> usize {
        if self.callers.get_index(self.last).is_some_and(|(last, _)| **last == *name) {
            return self.last;
        }
        if !self.callers.contains_key(name) && self.callers.len() == MOST_CALLERS {
            self.end(0);
            self.name(0, None);
            self.callers.shift_remove_index(0);
        }
        let entry = self.callers.entry(name.into());
        self.last = entry.index();
        if let Entry::Vacant(entry) = entry {
            entry.insert(Caller::new(self.nameless));
        }
        self.last
    }

    /// The frames of a line, if it has any.
    fn read_frame(&mut self, caller: usize, text: &[u8]) -> Option<FrameLine> {
        self.read_announced(caller, text, false)
    }

    /// The frames of a line, or of what stands behind a heading in its line: there an address may stand
    /// alone.
    fn read_announced(&mut self, caller: usize, text: &[u8], is_announced: bool) -> Option<FrameLine> {
        let Self { place, frames, known, callers, .. } = self;
        let (caller, nameless) = (&callers[caller], self.nameless);
        let number = known.number(text, |text| {
            let mut push = |frame: Frame| {
                frames.push(Arc::new(frame));
                frames.len() - 1
            };
            if let Some((frame, printer, needs)) = pasted(text) {
                let frame = push(frame);
                return Some(FrameLine { inner: None, frame, needs, is_bare: false, printer });
            }
            if caller.open != Open::No
                && let Some(frame) = bare(text)
            {
                let (frame, printer) = (push(frame), Printer::Kernel);
                return Some(FrameLine { inner: None, frame, needs: Needs::Stack, is_bare: true, printer });
            }
            let holds_place = place.find(text).is_some();
            let is_expected = is_announced || caller.expects(nameless);
            if !(holds_place || may_stand_alone(text) || is_expected && may_be_frame(text)) {
                return None;
            }
            let printer = Printer::Kernel;
            Some(match TraceLine::read(&printable(text.trim_ascii()))? {
                TraceLine::Frame { frame, needs } => {
                    FrameLine { inner: None, frame: push(frame), needs, is_bare: false, printer }
                }
                TraceLine::From { inner, outer } => {
                    let inner = Some(push(inner));
                    FrameLine { inner, frame: push(outer), needs: Needs::Nothing, is_bare: false, printer }
                }
            })
        })?;
        Some(*known.get(number))
    }
}

impl LineParser for Parser {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        let line = &*plain(line);
        if let Some(lines) = unfolded::lines(line) {
            lines.iter().for_each(|line| lines::take(self, line, warnings));
            return true;
        }
        let message = Message::of(line);
        let caller = self.caller(message.caller);
        let is_empty = message.text.trim_ascii().is_empty();
        self.spacing.line(is_empty);
        // Most messages of a boot are of no stack.
        self.is_telling = !self.callers[caller].is_idle || is_telling(message.text);
        if !self.is_telling {
            return message.is_stamped;
        }
        let frame = self.read_frame(caller, message.text);
        let belongs = |frame: FrameLine| match frame {
            FrameLine { is_bare: true, .. } => self.is_of_names(caller, frame),
            FrameLine { needs, .. } => {
                let caller = &self.callers[caller];
                caller.awaited != Awaited::Nothing || caller.has_what(needs)
            }
        };
        let is_of_debugger = || {
            let Caller { open, printer, .. } = self.callers[caller];
            open != Open::No && matches!(printer, Printer::Debugger(_)) && tells_of_frame(message.text)
        };
        let is_own = message.is_stamped || is_empty || frame.is_some_and(belongs) || is_of_debugger();
        if is_own {
            self.take(caller, message.text, frame, line, warnings);
        } else {
            self.left.0.clear();
            self.left.0.extend_from_slice(message.text);
            self.left.1 = frame;
        }
        is_own
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        if self.is_telling {
            let (text, frame) = std::mem::take(&mut self.left);
            self.take(self.last, &text, frame, &plain(line), warnings);
            self.left.0 = text;
        }
    }

    fn finish(mut self: Box<Self>, _: &mut Warnings) -> ParsedCapture {
        (0..self.callers.len()).for_each(|caller| {
            self.end(caller);
            self.name(caller, None);
        });
        let Self { words, frames, stacks, events, lost, .. } = *self;
        let (stacks, _) = stacks.finish(|stack| Stack {
            task: words.get(stack.task).clone(),
            event: words.get(stack.event).clone(),
            function: stack.function.map(|function| words.get(function).clone()),
            frames: match stack.frames.iter().map(|&frame| frames[frame].clone()).collect() {
                frames if words.get(stack.event) == BACKTRACE => of_one_side(frames),
                frames => frames,
            },
        });
        ParsedCapture { events, lost, stacks, ..ParsedCapture::default() }
    }
}

#[cfg(test)]
mod debugger_tests;
#[cfg(test)]
mod mail_tests;
#[cfg(test)]
mod older_tests;
#[cfg(test)]
mod report_tests;
#[cfg(test)]
mod tests;

//! Where frames go: how the stacks of a caller begin, are cut, go on and end.

use std::sync::Arc;

use super::caller::{Awaited, Caller, FrameLine, Open};
use super::{Parser, STACK_WITHIN};
use crate::console::messages::{Printer, is_entry};
use crate::stack::ftrace_text::UNNAMED;
use crate::stack::lines::{DEEPEST_STACK, Kind, Warnings, printable};
use crate::stack::{Frame, Needs};

/// The event of a trace that no report announced.
pub(super) const NO_REPORT: &str = "call trace";
/// The event's name of a stack out of a debugger's backtrace.
pub(super) const BACKTRACE: &str = "backtrace";
/// The event's name of a stack that SystemTap printed.
const SYSTEMTAP: &str = "systemtap";

impl Parser {
    /// Lays the open stack aside: frames that come before the heading of another are its.
    pub(super) fn cut(&mut self, caller: usize) {
        if self.callers[caller].is_word {
            return self.end(caller);
        }
        if let Some((stack, number)) = self.callers[caller].lay_aside() {
            self.stacks.add(&stack, number);
            self.events += 1;
        }
    }

    /// A heading. One that follows another without a frame between them is the same.
    pub(super) fn announce(&mut self, caller: usize, is_prose: bool) {
        if self.callers[caller].open != Open::Announced {
            // That of the report that cut a stack, which may go on behind this one.
            if self.callers[caller].is_cut {
                if self.callers[caller].open != Open::No && !self.is_complete(caller) {
                    self.cut(caller);
                }
                self.close(caller);
                self.callers[caller].is_cut = false;
            } else {
                self.end(caller);
            }
            // A heading of its own: what was taken for one before it was none.
            self.callers[caller].section = None;
            self.begin_stack(caller, Printer::Kernel);
            self.callers[caller].open = Open::Announced;
        }
        self.callers[caller].is_prose = is_prose;
    }

    /// The heading of a stack of ftrace's, whose buffer the kernel prints as it dies.
    pub(super) fn announce_ftrace(&mut self, caller: usize, task: &[u8]) {
        self.end(caller);
        self.begin_stack(caller, Printer::Ftrace);
        self.callers[caller].is_prose = false;
        self.callers[caller].stack.task = self.words.word(task);
        self.callers[caller].open = Open::Announced;
    }

    pub(super) fn begin_stack(&mut self, caller: usize, printer: Printer) {
        if !self.callers[caller].names_task_last {
            self.name(caller, None);
        }
        let event = match printer {
            Printer::Kernel => NO_REPORT,
            Printer::Ftrace => UNNAMED,
            Printer::SystemTap => SYSTEMTAP,
            Printer::Debugger(_) => BACKTRACE,
        };
        let event = self.words.word(event.as_bytes());
        let nameless = self.nameless;
        let Caller { stack, section, section_age, age, report, task, function, .. } =
            &mut self.callers[caller];
        let section = section.filter(|_| *age <= *section_age + STACK_WITHIN);
        stack.frames.clear();
        (stack.task, stack.event, stack.function) = match (section, printer) {
            (_, Printer::Ftrace | Printer::SystemTap) => (nameless, event, None),
            (_, Printer::Debugger(_)) => (*task, event, None),
            // It was not taken where the report was made.
            (Some(section), _) => (nameless, section, None),
            (None, _) => (*task, report.unwrap_or(event), *function),
        };
        (self.callers[caller].printer, self.callers[caller].number) = (printer, self.begun);
        self.begun += 1;
    }

    pub(super) fn frame(&mut self, caller: usize, frame: FrameLine, line: &[u8], warnings: &mut Warnings) {
        let is_over = self.callers[caller].aside.is_some() && self.is_complete(caller);
        if is_over && self.callers[caller].open != Open::Announced {
            self.close(caller);
        }
        let Caller { open, printer, .. } = self.callers[caller];
        let is_of_kernel = frame.printer == Printer::Kernel;
        if is_of_kernel && frame.inner.is_none() && self.frames[frame.frame].ends_saved_stack() {
            return self.close(caller);
        }
        // `    at kernel/cpu.c:192` and variables are more of the frame above.
        let is_of_debugger = open != Open::No && matches!(printer, Printer::Debugger(_));
        if is_of_debugger && is_of_kernel && frame.needs != Needs::Nothing {
            return;
        }
        // An address that SystemTap has no name for reads as one of the kernel's.
        let is_systemtaps = (printer, frame.printer) == (Printer::SystemTap, Printer::Kernel)
            && matches!(open, Open::Frames | Open::Interrupted(_))
            && self.frames[frame.frame].symbol.is_none();
        let goes_on = match (open, printer, frame.printer) {
            _ if is_systemtaps => true,
            (Open::No, ..) => false,
            (Open::Announced, ..) => true,
            (_, Printer::Debugger(last), Printer::Debugger(number)) => number.is_none() || number > last,
            (_, one, other) => one == other,
        };
        if !goes_on {
            if !self.callers[caller].has_what(frame.needs) {
                return;
            }
            let goes_on = is_of_kernel && frame.inner.is_none() && open == Open::No;
            match self.callers[caller].aside.take_if(|_| goes_on) {
                Some((stack, number)) => {
                    let caller = &mut self.callers[caller];
                    (caller.stack, caller.number, caller.is_cut) = (stack, number, true);
                }
                None => {
                    if open != Open::No {
                        self.end(caller);
                    }
                    self.begin_stack(caller, frame.printer);
                }
            }
        }
        if frame.printer != Printer::Debugger(None) && !is_systemtaps {
            self.callers[caller].printer = frame.printer;
        }
        self.push(caller, frame, line, warnings);
    }

    /// Takes the line behind the first part of a frame, where both are one. What the first part was taken for
    /// is forgotten.
    pub(super) fn take_rest(
        &mut self,
        caller: usize,
        text: &[u8],
        line: &[u8],
        warnings: &mut Warnings,
    ) -> bool {
        let (mut whole, frame) = std::mem::take(&mut self.callers[caller].cut_frame);
        if whole.ends_with(b"]") || whole.ends_with(b"?") {
            whole.push(b' ');
        }
        whole.extend_from_slice(text);
        // What begins as a frame does is no rest of one.
        let begins = text.first().is_some_and(|&first| first.is_ascii_graphic() && first != b'[');
        let Some(whole) = self.read_frame(caller, &whole).filter(|whole| begins && !whole.is_bare) else {
            return false;
        };
        if frame.is_some() && self.callers[caller].stack.frames.last().copied() == frame {
            self.callers[caller].stack.frames.pop();
        }
        self.frame(caller, whole, line, warnings);
        true
    }

    /// Waits for the rest of a frame, whose first part was taken for one where it reads as one.
    pub(super) fn await_rest(&mut self, caller: usize, text: &[u8], frame: Option<FrameLine>) {
        let frame = frame.map(|frame| frame.frame);
        let caller = &mut self.callers[caller];
        let frame =
            frame.filter(|frame| caller.open == Open::Frames && caller.stack.frames.last() == Some(frame));
        (caller.awaited, caller.cut_frame) = (Awaited::Rest, (text.trim_ascii().to_vec(), frame));
    }

    pub(super) fn push(&mut self, caller: usize, line: FrameLine, text: &[u8], warnings: &mut Warnings) {
        let is_word = line.printer == Printer::Ftrace && self.frames[line.frame].is_name_alone();
        let caller = &mut self.callers[caller];
        caller.is_word = is_word && caller.open == Open::No;
        if caller.stack.frames.len() >= DEEPEST_STACK {
            return warnings.note(Kind::DeepStack, text);
        }
        if caller.open != Open::Frames && caller.stack.frames.is_empty() {
            caller.stack.frames.extend(line.inner);
        }
        caller.stack.frames.push(line.frame);
        (caller.open, caller.age, caller.has_told) = (Open::Frames, 0, true);
    }

    /// The place of a frame that is as another, but for a `change`.
    pub(super) fn changed(&mut self, frame: usize, change: impl FnOnce(&mut Frame)) -> usize {
        let mut frame = Frame::clone(&self.frames[frame]);
        change(&mut frame);
        self.frames.push(Arc::new(frame));
        self.frames.len() - 1
    }

    /// The module of the last frame, from a line of its own.
    pub(super) fn add_module(&mut self, caller: usize, module: &[u8]) -> bool {
        let Some(&last) = self.callers[caller].stack.frames.last() else { return false };
        let takes = self.callers[caller].open == Open::Frames && self.frames[last].module.is_none();
        if takes {
            let frame = self.changed(last, |frame| frame.module = Some(printable(module)));
            self.callers[caller].stack.frames.pop();
            self.callers[caller].stack.frames.push(frame);
        }
        takes
    }

    /// Counts the stack that waits for its report to name its task.
    pub(super) fn name(&mut self, caller: usize, task: Option<usize>) {
        if let Some((mut stack, number)) = self.callers[caller].nameless.take() {
            stack.task = task.unwrap_or(stack.task);
            self.stacks.add(&stack, number);
            self.events += 1;
        }
    }

    /// An empty line, which may also stand between a heading and its first frame.
    pub(super) fn blank(&mut self, caller: usize) {
        if self.callers[caller].open != Open::Announced {
            self.close(caller);
        }
    }

    /// How many messages of others may stand between the frames of the stack that is open. Frames behind more
    /// than one are of the stack that was laid aside, where there is one.
    pub(super) fn most_others(&self, caller: usize) -> usize {
        if self.callers[caller].aside.is_some() { 1 } else { STACK_WITHIN }
    }

    /// Whether the stack that is open has come to an entry, behind which none goes on.
    pub(super) fn is_complete(&self, caller: usize) -> bool {
        let mut frames = self.callers[caller].stack.frames.iter().rev().map(|&frame| &*self.frames[frame]);
        frames.find(|frame| !frame.guess).and_then(|frame| frame.symbol.as_deref()).is_some_and(is_entry)
    }

    /// Counts the stack that is open. One that was laid aside may go on.
    pub(super) fn close(&mut self, caller: usize) {
        if self.callers[caller].aside.is_none() {
            return self.end(caller);
        }
        let nameless = self.nameless;
        if let Some((stack, number)) = self.callers[caller].close(nameless) {
            self.stacks.add(&stack, number);
            self.events += 1;
        }
    }

    /// Counts the stacks of a caller, the one that is open and the one that was laid aside.
    pub(super) fn end(&mut self, caller: usize) {
        let (stacks, events) = (&mut self.stacks, &mut self.events);
        self.callers[caller].end(self.nameless, |stack, number| {
            stacks.add(stack, number);
            *events += 1;
        });
    }
}

//! What a report says of its stacks: the task, the function it was made in, the heading of each stack that it
//! keeps.

use super::caller::{Awaited, Caller, Open};
use super::stacks::NO_REPORT;
use super::{HEADLESS, Parser};
use crate::console::messages::{
    announces_counter, is_cut_before_function, last_function, names_task_last, program_counter,
};
use crate::console::tasks::hung_task;
use crate::stack::NAMELESS;

impl Parser {
    pub(super) fn begin_report(&mut self, caller: usize, kind: &str, text: &str) {
        // Another CPU's trace may go on behind the first lines of a report, or behind all of it.
        let is_headed = !HEADLESS.iter().any(|report| kind.starts_with(report));
        let Caller { open, section, .. } = self.callers[caller];
        if is_headed && section.is_none() && open == Open::Frames && !self.is_complete(caller) {
            self.cut(caller);
        } else {
            self.end(caller);
        }
        let names_task_last = names_task_last(text);
        if names_task_last || self.callers[caller].names_task_last {
            self.name(caller, None);
        }
        let report = self.words.word(kind.as_bytes());
        let function = last_function(text).map(|function| self.words.word(function.as_bytes()));
        // xmon prints the first line of a report again right behind the name of its task.
        let is_again = self.callers[caller].age <= 1 && text.starts_with("kernel BUG at ");
        let task = match hung_task(text) {
            None if is_again => self.callers[caller].task,
            task => self.words.word(task.unwrap_or(NAMELESS).as_bytes()),
        };
        let caller = &mut self.callers[caller];
        (caller.report, caller.section, caller.age) = (Some(report), None, 0);
        (caller.function, caller.task, caller.has_told) = (function, task, false);
        caller.names_task_last = names_task_last;
        if function.is_none() && announces_counter(text) {
            caller.awaited = Awaited::Counter;
        } else if function.is_none() && is_cut_before_function(text) {
            caller.awaited = Awaited::Function;
        }
    }

    /// A stack that the report keeps of another time, and often of another task.
    pub(super) fn begin_section(&mut self, caller: usize, section: &str) {
        self.end(caller);
        let report = self.callers[caller].report.map_or(NO_REPORT, |report| self.words.get(report));
        let event = if section.is_empty() { report.to_owned() } else { format!("{report}: {section}") };
        let event = self.words.word(event.as_bytes());
        let caller = &mut self.callers[caller];
        (caller.section, caller.section_age) = (Some(event), caller.age);
    }

    /// The function that a report was made in, where its first line does not name it.
    pub(super) fn register(&mut self, caller: usize, text: &str) {
        if self.callers[caller].function.is_none()
            && self.callers[caller].open == Open::No
            && let Some(function) = program_counter(text)
        {
            self.callers[caller].function = Some(self.words.word(function.as_bytes()));
        }
    }
}

//! Short lines that nothing explains, kept until a line shows whether they begin the name of its task: the
//! kernel prints a name with its line ends, all parts together right-aligned.

use std::collections::VecDeque;

use crate::stack::ftrace_context::{Context, TASK_WIDTH};
use crate::stack::lines::{Kind, Warnings};

/// The last lines that may begin a name, as far as there is room in front of a task.
#[derive(Default)]
pub(super) struct ShortLines {
    lines: VecDeque<ShortLine>,
}

struct ShortLine {
    text: Vec<u8>,
    number: u64,
    /// Whether it is the text of an event if it is no part of a name.
    in_text: bool,
}

impl ShortLine {
    /// How many bytes it takes, with its end.
    fn width(&self) -> usize {
        self.text.len() + 1
    }

    /// Notes that it is no part of a name.
    fn drop(self, warnings: &mut Warnings) {
        if !self.in_text {
            let now = std::mem::replace(&mut warnings.line, self.number);
            warnings.note(Kind::OtherLine, &self.text);
            warnings.line = now;
        }
    }
}

impl ShortLines {
    /// Keeps a line if it is short, and drops those before it that leave no room for it.
    pub(super) fn push(&mut self, text: &[u8], in_text: bool, warnings: &mut Warnings) {
        if text.len() >= TASK_WIDTH {
            self.clear(warnings);
            if !in_text {
                warnings.note(Kind::OtherLine, text);
            }
            return;
        }
        self.lines.push_back(ShortLine { text: text.to_vec(), number: warnings.line, in_text });
        let mut width: usize = self.lines.iter().map(ShortLine::width).sum();
        while width > TASK_WIDTH
            && let Some(line) = self.lines.pop_front()
        {
            width -= line.width();
            line.drop(warnings);
        }
    }

    /// Drops all lines.
    pub(super) fn clear(&mut self, warnings: &mut Warnings) {
        self.lines.drain(..).for_each(|line| line.drop(warnings));
    }

    /// The whole name of a line's task, if the lines before it begin that; drops the others.
    pub(super) fn take_name(&mut self, context: &Context<'_>, warnings: &mut Warnings) -> Option<Vec<u8>> {
        let mut lacking = context.lacking;
        let mut first = self.lines.len();
        while lacking > 0 && first > 0 {
            let Some(rest) = lacking.checked_sub(self.lines[first - 1].width()) else { break };
            (lacking, first) = (rest, first - 1);
        }
        let begins = if lacking == 0 { self.lines.split_off(first) } else { VecDeque::new() };
        self.clear(warnings);
        if begins.is_empty() {
            return None;
        }
        let mut name = Vec::new();
        for line in begins {
            name.extend_from_slice(&line.text);
            name.push(b'\n');
        }
        name.extend_from_slice(context.task);
        Some(name.trim_ascii_start().to_vec())
    }
}

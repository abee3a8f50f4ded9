//! The lines of tracers that print no events of the common form, and those that tell of the capture itself.

use super::{ANOTHER_TASK, Open, Parser, STACK_FIELD, is_remark_of_trace_cmd};
use crate::stack::ftrace_context::Context;
use crate::stack::ftrace_event::{comment, heading, is_heading};
use crate::stack::ftrace_graph::{What, graph_line};
use crate::stack::ftrace_mmio;
use crate::stack::lines::{Kind, Warnings, decimal, split_at};

impl Parser<'_> {
    /// Lines that tell of the capture itself.
    pub(super) fn remark(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
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
            && let Some(text) = text.strip_prefix(b" [").and_then(|text| text.strip_suffix(b"]"))
            && let Some(count) = text
                .strip_prefix(b"LOST ")
                .and_then(|text| text.strip_suffix(b"EVENTS"))
                .or_else(|| text.strip_suffix(b"EVENTS DROPPED"))
        {
            // Without a number the kernel itself does not know how many: at least one.
            self.lost = self.lost.saturating_add(decimal(count).map_or(1, |(count, _)| count));
            warnings.note(Kind::LostEvents, line);
            return true;
        }
        if let Some(text) = line.strip_prefix(b"# latency: ")
            && let Some((_, text)) = split_at(text, b", #")
            && let Some((inside, text)) = decimal(text)
            && let Some((written, _)) = text.strip_prefix(b"/").and_then(decimal)
            && written > inside
        {
            self.overwritten = self.overwritten.saturating_add(written - inside);
            warnings.note(Kind::LostEvents, line);
        }
        if let Some(tracer) = line.strip_prefix(b"# tracer: ") {
            self.graph |= tracer == b"function_graph";
            self.function |= tracer == b"function";
            self.mmio |= tracer == b"mmiotrace";
            self.context.get_or_insert(false);
            return true;
        }
        // The end of a comment behind a text that ends with its line.
        let ends_comment = self.graph && line.trim_ascii() == b"*/";
        line.is_empty() || ends_comment || is_heading(line) || is_remark_of_trace_cmd(line)
    }

    /// Lines of the tracer of memory-mapped IO, whose markers may have line ends.
    pub(super) fn mmio(&mut self, line: &[u8]) -> bool {
        let is_event = ftrace_mmio::is_event(line);
        if is_event {
            self.events += u64::from(self.only.is_empty());
            self.open = Open::Text;
        }
        is_event || ftrace_mmio::is_heading(line)
    }

    /// Lines of the function-graph tracer: each function that is entered is an event, and so is each comment but
    /// the heading of a stack.
    pub(super) fn graph(&mut self, line: &[u8]) -> bool {
        let Some(read) = graph_line(line, self.graph) else { return false };
        let cpu = read.cpu.unwrap_or(self.graph_cpu);
        (self.graph_cpu, self.open) = (cpu, Open::Nowhere);
        match read.what {
            What::Entered(function) => {
                let only = |one: &String| one.as_bytes() == function;
                self.events += u64::from(self.only.is_empty() || self.only.iter().any(only));
            }
            What::Comment(text) => {
                if let Some(user) = heading(text) {
                    let pid = self.last.get(&cpu).and_then(|event| event.pid).unwrap_or_default();
                    self.stack(&Context { task: ANOTHER_TASK, lacking: 0, pid, cpu, rest: text }, user);
                    return true;
                }
                let event = comment(text);
                let counts = self.counts(event.as_ref());
                self.events += u64::from(counts);
                self.open = Open::Text;
                if event.is_some() {
                    let index = self.begin_event(cpu, counts, None, text);
                    if text.ends_with(STACK_FIELD) {
                        self.open = self.begin_field(index);
                    }
                }
            }
            What::Nothing => {}
        }
        true
    }
}

//! The stacks that `trace-cmd report --profile` prints, each once with how often it was there
//! (trace-cmd's `tracecmd/trace-profile.c`).
//!
//! ```text
//! task: sleep-21611
//!   Event: sched_switch:S (3) Total: 1000506680 Avg: 1000506680 Max: 1000506680 Min:1000506680
//!      <stack> 3 total:1000506680 min:1000506680 max:1000506680 avg=1000506680
//!        => ftrace_raw_event_sched_switch (0xffffffff8105f812)
//! ```

use super::{Open, Parser};
use crate::stack::lines::{decimal, split_at};

/// The CPU of such stacks, which their lines do not tell.
const NO_CPU: u64 = u64::MAX;

/// Whose the stacks are that come, and of which event.
#[derive(Default)]
pub(super) struct Profiled {
    task: Vec<u8>,
    /// The event as ftrace begins its text, `sched_switch:`.
    event: Vec<u8>,
}

/// Whether a line names an event and how often it was there.
pub(super) fn is_event(line: &[u8]) -> bool {
    event(line).is_some()
}

/// The name of an event, with the colon behind it.
fn event(line: &[u8]) -> Option<&[u8]> {
    let text = line.strip_prefix(b"  Event: ")?;
    let (named, rest) = split_at(text, b" (")?;
    let (_, rest) = decimal(rest)?;
    rest.starts_with(b") Total: ").then(|| split_at(named, b":").map_or(named, |(name, _)| name))
}

impl Parser<'_> {
    /// A line of a profile. Says whether it is one.
    pub(super) fn profile(&mut self, line: &[u8]) -> bool {
        let Some(first) = line.trim_ascii_start().first().filter(|first| b"tE<".contains(first)) else {
            return false;
        };
        match first {
            b't' => {
                let Some(task) = line.strip_prefix(b"task: ").and_then(task) else { return false };
                self.profiled = Profiled { task: task.to_vec(), event: Vec::new() };
            }
            b'E' => {
                let Some(event) = event(line) else { return false };
                self.profiled.event = [event, b":"].concat();
            }
            _ => {
                let times = line.trim_ascii_start().strip_prefix(b"<stack> ").and_then(decimal);
                let Some((times, _)) = times.filter(|_| !self.profiled.event.is_empty()) else {
                    return false;
                };
                self.profiled_stack(times.max(1));
                return true;
            }
        }
        self.open = Open::Outside;
        true
    }

    fn profiled_stack(&mut self, times: u64) {
        let Profiled { task, event } = std::mem::take(&mut self.profiled);
        self.events = self.events.saturating_add(times);
        let index = self.begin_event(NO_CPU, true, None, &event);
        self.last[index].more = times - 1;
        self.begin_stack(index, &task);
        self.open = Open::Stack { index, user: false };
        self.profiled = Profiled { task, event };
    }
}

/// The name in front of a pid: `sleep-21611`.
fn task(text: &[u8]) -> Option<&[u8]> {
    let dash = text.iter().rposition(|&byte| byte == b'-')?;
    decimal(&text[dash + 1..]).filter(|(_, rest)| rest.trim_ascii().is_empty()).map(|_| &text[..dash])
}

#[cfg(test)]
mod tests {
    use crate::format::DetectedFormat;
    use crate::stack::show;

    #[test]
    fn a_stack_of_a_profile_counts_as_often_as_it_was_there() {
        let stack =
            |times: u64, frames: &str| format!("     <stack> {times} total:5 min:5 max:5 avg=5\n{frames}");
        let (f, g) = ("       => f (0xffffffff8105f812)\n", "       => g (0xffffffff8150810a)\n");
        let head = "task: sleep-21611\n  Event: sched_switch:S (3) Total: 5 Avg: 5 Max: 5 Min:5\n";
        let other = "task: a b-1\n  Event: sys_enter: (1) Total: 5 Avg: 5 Max: 5 Min:5\n";
        let text = [head, &stack(2, f), &stack(1, g), "\n", other, &stack(4, &[f, g].concat())].concat();
        let parsed = DetectedFormat::guess(text.as_bytes()).parse(text.as_bytes()).unwrap();
        assert_eq!(
            show::lines(&parsed),
            ["2 sleep sched_switch: f", "1 sleep sched_switch: g", "4 a b sys_enter: f g"]
        );
        assert_eq!((parsed.events, parsed.warnings.len()), (7, 0));
    }

    #[test]
    fn a_task_and_an_event_that_others_name_begin_none() {
        for text in
            ["task: sleep-1\n  Event: a (b) Total: 5\n", "     <stack> 3 total:1\n       => f (0x1)\n"]
        {
            assert!(!text.lines().any(|line| super::is_event(line.as_bytes())), "{text}");
        }
    }
}

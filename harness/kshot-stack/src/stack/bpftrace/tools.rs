//! What bcc's tools print around the frames of a stack (bcc's `tools/*.py` and `libbpf-tools/*.c`).
//!
//! ```text
//! Sampling at 49 Hertz of all threads by user + kernel stack... Hit Ctrl-C to end.
//!     [Missed Kernel Stack]
//!     --                                  user space's frames follow
//!     -                dd (25036)         whose stack it was
//!     tar [15069]                         of stackcount -P
//!     'sshd'                              of older ones
//!         4
//!     waker:           swapper/1 0        of offwaketime, before the stack of who woke another, outermost frame
//!                                         first
//!     -
//!     --               --                 the stack of who was woken follows; `-` in older ones
//!     target:          vmstat 3211        behind it
//! ```
//!
//! In `wakeuptime` it is the other way round: `target:` stands before, `waker:` behind the one stack, which
//! is the waker's.

use super::frame::{is_bare, is_name, without_bytes};
use crate::stack::lines::{decimal, split_at};

/// What rtla prints before the frames of a stack (`tools/tracing/rtla/src/timerlat_aa.c`).
const RTLA_HEADING: &[u8] = b"Blocking thread stack trace";
/// What nettrace prints there.
pub(super) const NETTRACE_HEADING: &[u8] = b"stack:";

/// What the number below a stack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// How often a stack was there.
    Counts,
    /// For how long, all in all.
    Times,
    /// The same of offcputime: its first versions print the task's name below the frames, as one of them.
    OffCpu,
}

/// A line of a tool that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolLine<'a> {
    /// The number below a stack.
    Number(u64),
    /// User space's frames follow; in a waker's stack they stand before.
    Delimiter,
    /// The kernel's frames could not be had.
    NoKernel,
    /// User space's frames could not be had.
    NoUser,
    /// Whose stack it was.
    Task(&'a [u8]),
    /// Who woke another.
    Waker(&'a [u8]),
    /// Who was woken.
    Target(&'a [u8]),
    /// Behind the stack of who woke another.
    EndOfWaker,
}

/// The tool whose first line it is: `Sampling at 49 Hertz of all threads .. Hit Ctrl-C to end.`, `Tracing 1
/// functions for "f"..`, `Tracing off-CPU time (us) of all threads for 10 secs.`.
pub(super) fn tool(line: &[u8]) -> Option<Tool> {
    let line = line.trim_ascii_start();
    let holds = |words: &[u8]| split_at(line, words).is_some();
    let (samples, traces) = (line.starts_with(b"Sampling at "), line.starts_with(b"Tracing "));
    let counts = samples && holds(b" Hertz of ") || traces && holds(b" functions for ");
    let times = traces && holds(b" time (us)");
    match () {
        () if counts => Some(Tool::Counts),
        () if times && holds(b" off-CPU time ") => Some(Tool::OffCpu),
        () => times.then_some(Tool::Times),
    }
}

impl<'a> ToolLine<'a> {
    /// What a line says, without its indentation; `None` where it may be a frame.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let alike = |dashes: &[u8]| text.strip_prefix(dashes)?.trim_ascii_start().strip_prefix(dashes);
        match text {
            b"--" | b"-" => Some(Self::Delimiter),
            [b'-', rest @ ..] if alike(b"--").or_else(|| alike(b"-")) == Some(b"") => {
                rest.contains(&b' ').then_some(Self::EndOfWaker)
            }
            // `-                dd (25036)`
            [b'-', b' ', task @ ..] => with_pid(task, b'(', b')').map(Self::Task),
            [b'0'..=b'9', ..] => {
                decimal(text).filter(|(_, rest)| rest.is_empty()).map(|(it, _)| Self::Number(it))
            }
            [b'\'', task @ .., b'\''] => Some(Self::Task(task)),
            // With the number of the error behind it.
            [b'[', ..] if text.starts_with(b"[Missed Kernel Stack]") => Some(Self::NoKernel),
            [b'[', ..] if text.starts_with(b"[Missed User Stack]") => Some(Self::NoUser),
            [.., b']'] => with_pid(text, b'[', b']').map(Self::Task),
            [b'w' | b't', ..] => {
                let waker = text.strip_prefix(b"waker:").map(|task| Self::Waker(task.trim_ascii()));
                waker.or_else(|| text.strip_prefix(b"target:").map(|task| Self::Target(task.trim_ascii())))
            }
            _ => None,
        }
    }
}

/// A task's name before its number in brackets.
fn with_pid(text: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    let text = text.strip_suffix(&[close])?;
    let at = text.iter().rposition(|&byte| byte == open)?;
    let (task, pid) = (&text[..at], &text[at + 1..]);
    let is_pid = decimal(pid).is_some_and(|(_, rest)| rest.is_empty());
    (is_pid && task.ends_with(b" ")).then(|| without_bytes(task.trim_ascii()))
}

/// A task's name without the number that newer tools print behind it: `swapper/1 0`.
pub(super) fn without_pid(task: &[u8]) -> &[u8] {
    let at = task.iter().rposition(|&byte| byte == b' ');
    let is_pid = |at: &usize| decimal(&task[at + 1..]).is_some_and(|(_, rest)| rest.is_empty());
    without_bytes(at.filter(is_pid).map_or(task, |at| task[..at].trim_ascii_end()))
}

/// How often a lock was contended, in the row before its stack of `perf lock contention -v`:
/// `3     11.74 ms      9.54 ms      3.91 ms     spinlock   tick_do_update_jiffies64+0x25`.
pub(super) fn contended(line: &[u8]) -> Option<u64> {
    let (number, rest) = decimal(line.trim_ascii_start())?;
    let (_, rest) = decimal(rest.strip_prefix(b" ")?.trim_ascii_start())?;
    let (_, rest) = decimal(rest.strip_prefix(b".")?)?;
    let unit = split_at(rest.strip_prefix(b" ")?, b" ")?.0;
    [&b"ns"[..], b"us", b"ms", b"s", b"m", b"h"].contains(&unit).then_some(number)
}

/// Whether it announces frames that may be names alone.
pub(super) fn announces_frames(text: &[u8]) -> bool {
    text == RTLA_HEADING || text == NETTRACE_HEADING
}

/// A frame that a heading announced: `-> timerlat_irq` of rtla, `__udp4_lib_rcv ([kernel.kallsyms])` of
/// nettrace.
pub(super) fn announced(text: &[u8]) -> Option<&[u8]> {
    let of_nettrace = || {
        let (name, object) = split_at(text, b" (")?;
        (is_name(name) && object.ends_with(b")") && !object.contains(&b' ')).then_some(text)
    };
    text.strip_prefix(b"-> ").filter(|name| is_bare(name)).or_else(of_nettrace)
}

/// Whether it is the first line of `/proc/latency_stats` (`kernel/latencytop.c`).
pub(super) fn is_head_of_latencies(line: &[u8]) -> bool {
    line.starts_with(b"Latency Top version : ") || line == b"/proc/latency_stats:"
}

/// Where tasks slept, how often and for how long, in a line of `/proc/latency_stats`:
/// `5 12345 4000 do_select core_sys_select sys_select`.
pub(super) struct Latency<'a> {
    pub(super) count: u64,
    names: &'a [u8],
}

impl<'a> Latency<'a> {
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        let mut next = || {
            let (number, behind) = decimal(rest)?;
            rest = behind.strip_prefix(b" ")?;
            Some(number)
        };
        let [count, _total, _most] = [next()?, next()?, next()?];
        let latency = Self { count, names: rest };
        latency.names().all(is_bare).then_some(latency)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.names.split(|&byte| byte == b' ').filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_tells_itself_by_its_first_line() {
        for (line, expected) in [
            ("Sampling at 49 Hertz of all threads by kernel stack... Hit Ctrl-C to end.", Some(Tool::Counts)),
            ("Sampling at 99 Hertz of PID [12] by user + kernel stack for 10 secs.", Some(Tool::Counts)),
            ("Tracing 1 functions for \"f\"... Hit Ctrl-C to end.", Some(Tool::Counts)),
            ("Tracing off-CPU time (us) of all threads by kernel stack for 10 secs.", Some(Tool::OffCpu)),
            (
                "Tracing blocked time (us) by kernel off-CPU and waker stack... Hit Ctrl-C to end.",
                Some(Tool::Times),
            ),
            ("    Tracing blocked time (us) by kernel stack", Some(Tool::Times)),
            ("Tracing... Hit Ctrl-C to end.", None),
            ("Sampling at night", None),
        ] {
            assert_eq!(tool(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn each_line_around_frames_is_known() {
        for (text, expected) in [
            ("203075", Some(ToolLine::Number(203_075))),
            ("--", Some(ToolLine::Delimiter)),
            ("-", Some(ToolLine::Delimiter)),
            ("--               --", Some(ToolLine::EndOfWaker)),
            ("-                -", Some(ToolLine::EndOfWaker)),
            ("-                a b (25036)", Some(ToolLine::Task(b"a b"))),
            ("jbd2/xvda1-8 [405]", Some(ToolLine::Task(b"jbd2/xvda1-8"))),
            ("'sshd'", Some(ToolLine::Task(b"sshd"))),
            ("waker:           swapper/1 0", Some(ToolLine::Waker(b"swapper/1 0"))),
            ("target:          vmstat", Some(ToolLine::Target(b"vmstat"))),
            ("[Missed Kernel Stack]", Some(ToolLine::NoKernel)),
            ("[Missed User Stack] -14", Some(ToolLine::NoUser)),
            ("[unknown]", None),
            ("f+0x1 [kernel]", None),
            ("f [12]x", None),
            ("wake_up_process", None),
            ("7f6c72b6497a f", None),
        ] {
            assert_eq!(ToolLine::read(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(without_pid(b"swapper/1 0"), b"swapper/1");
        assert_eq!(without_pid(b"a b"), b"a b");
    }

    #[test]
    fn a_row_of_locks_says_how_often_each_was_contended() {
        let row = "         3     11.74 ms      9.54 ms      3.91 ms     spinlock   f+0x25";
        assert_eq!(contended(row.as_bytes()), Some(3));
        for line in [" contended   total wait     max wait", "     1234", "3 5 ms f", "  3  1.2.3 ms"] {
            assert_eq!(contended(line.as_bytes()), None, "{line}");
        }
    }
}

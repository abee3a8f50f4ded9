//! Stacks: what every parser returns, whatever the format.

mod anonymous; // the stacks of a text that names neither task nor event
pub mod bpf_stacks; // the stacks that a BPF program gets of bpf_get_stack() or bpf_get_stackid()
pub mod bpftrace; // what bpftrace, bcc's tools and others like them print
mod call_trace; // the call trace of a report on the console
mod debugger; // the frames of gdb, crash, drgn and xmon
#[cfg(test)]
pub(crate) mod damage_tests; // captures damaged at random
mod fold; // equal stacks counted as they come
pub(crate) mod ftrace_context; // task, CPU and time in front of an event
mod ftrace_event; // what the text of one event says
pub(crate) mod ftrace_frame; // one frame
mod ftrace_graph; // the lines of the function-graph tracer
mod ftrace_mmio; // the lines of the tracer of memory-mapped IO
pub mod ftrace_text; // the `trace` and `trace_pipe` files of tracefs
pub mod gdb_json; // the capture of the gdb probe: the truth, a stack for each hit of a breakpoint
pub mod gdb_raw; // the same of the function tracer: registers and raw stacks
pub mod hist; // the `hist` files of histogram triggers
pub mod kallsyms; // addresses to the kernel's own names
pub(crate) mod lines; // lines of bounded length and counted warnings, for all parsers
mod other_lines; // lines that nothing tells to be of a text's format
pub mod perf_data; // what `perf record` writes
pub mod perf_script; // what `perf script` prints
pub mod proc_stack; // `/proc/PID/stack`
#[cfg(test)]
pub(crate) mod show; // stacks as lines, for tests
pub mod stack_tracer; // the `stack_trace` file of tracefs
pub(crate) mod systemtap; // one frame of SystemTap's

pub(crate) use call_trace::{
    CallTrace, Needs, TraceLine, heading, is_own_heading, may_stand_alone, without_marker,
};
pub(crate) use debugger::{DebuggerLine, of_one_side, task as debugger_task, tells_of_frame};
pub use fold::count;
pub(crate) use fold::{Fold, Texts};
pub use lines::DEEPEST_STACK;

use std::sync::Arc;

use crate::arch::ArchRow;
use kallsyms::{Kallsyms, Place};
use serde::{Deserialize, Serialize};

/// The name of a task or an event that a capture does not name.
pub(crate) const NAMELESS: &str = "?";

/// What a parser made of a capture. It never fails on a line: what it cannot read becomes a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedCapture {
    /// How many events the capture holds, with or without a stack.
    pub events: u64,
    /// How many events the kernel says it lost.
    pub lost: u64,
    /// The different stacks with their count, in the order of their first appearance.
    pub stacks: Vec<(Stack, u64)>,
    /// What kprobe events fetched, likewise.
    pub arguments: Vec<(FetchedArguments, u64)>,
    /// What could not be read, counted by kind.
    pub warnings: Vec<Warning>,
}

/// One stack, frames from the innermost outwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// The name of the task (`comm`) it was taken in.
    pub task: String,
    /// The event it belongs to: a traced function, a probe or a trace event.
    pub event: String,
    /// The function it was taken in, where the capture says: a traced function, or the one that a kprobe
    /// sits in. Probes name their events freely, so this is what their stacks are matched by.
    pub function: Option<String>,
    /// The frames, innermost first. Stacks share them: many of a capture have most in common.
    pub frames: Vec<Arc<Frame>>,
}

/// What one kprobe event fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchedArguments {
    /// The event.
    pub event: String,
    /// Its fetched arguments as the kernel prints them: `nr_entries=0 skip=5`.
    pub text: String,
}

/// One line of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The address, where the capture gives one.
    pub address: Option<u64>,
    /// The symbol that the capture gives for it, or the words in brackets that stand for one; `None` where it
    /// could not tell.
    pub symbol: Option<String>,
    /// Bytes from the start of the symbol.
    pub offset: Option<u64>,
    /// The size of the symbol in bytes.
    pub size: Option<u64>,
    /// The module (`tun`), where it is in one.
    pub module: Option<String>,
    /// Whether it is a user-space frame.
    pub user: bool,
    /// Whether the compiler inlined it into the next frame of the same address.
    pub inlined: bool,
    /// Whether the unwinder did not come by it: a word on the stack that may be an address of code (`?
    /// f+0x1/0x2`).
    pub guess: bool,
    /// How much of the stack it takes, where the capture says.
    pub usage: Option<StackUsage>,
}

/// How much of a kernel stack a frame takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StackUsage {
    /// The bytes from the frame's end of the stack to where the stack begins.
    pub depth: u64,
    /// The bytes of the frame itself, as the kernel calculates it; it may come out negative.
    pub size: i64,
}

/// Something in a capture that a parser could not read, or that shows a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Warning {
    /// What it is, one word for each kind (`unreadable-line`, `lost-events`).
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first instance, escaped and cut to a line.
    pub example: String,
    /// The line of the capture that the first instance stands in, from 1; `null` where a capture has no
    /// lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// How a stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In a system-call entry, a kernel thread's entry or the boot path.
    Complete,
    /// Before that.
    Truncated,
    /// It has no frame besides the tracer's own.
    Empty,
    /// It holds what cannot be a stack: an address outside the kernel between two inside, or a frame behind
    /// its entry.
    Corrupt,
}

impl State {
    /// The word itself, as in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::Corrupt => "corrupt",
        }
    }
}

impl ParsedCapture {
    /// Names the kernel's frames that are addresses alone.
    pub fn name_frames(&mut self, symbols: &Kallsyms) {
        for frame in self.stacks.iter_mut().flat_map(|(stack, _)| &mut stack.frames) {
            if frame.symbol.is_none()
                && !frame.user
                && let Some(place) = frame.address.and_then(|address| symbols.place(address))
            {
                Arc::make_mut(frame).set_place(place);
            }
        }
    }
}

impl Stack {
    /// How the stack ends, and the name of its last kernel frame. Frames of user space and a trailing
    /// address outside the kernel (` => 0`) do not count as an end.
    pub fn state(&self, row: &ArchRow) -> (State, Option<String>) {
        let (mut last, mut strays, mut corrupt) = (None, false, false);
        // Of the entry that the stack has come to; one entry's code may carry several labels.
        let mut entered = false;
        let mut frames = self.frames.iter().filter(|frame| !frame.user && !frame.guess).peekable();
        while let Some(frame) = frames.next() {
            let inside = frame.in_kernel(row);
            let entry = frame.is_entry(frames.peek().map(|frame| &***frame), row);
            corrupt |= inside && strays && last.is_some();
            corrupt |= entered && frame.address != Some(0) && !(inside && entry);
            if inside {
                entered |= entry;
                last = Some(frame);
            }
            strays = last.is_some() && (strays || !inside);
        }
        let outside = || self.frames.iter().any(|frame| !frame.user && !frame.guess);
        let state = match last {
            _ if corrupt => State::Corrupt,
            None if outside() => State::Truncated,
            None => State::Empty,
            Some(_) if entered => State::Complete,
            Some(_) => State::Truncated,
        };
        (state, last.map(|frame| frame.name()))
    }

    /// Whether the capture does not say at which event it was taken.
    pub fn names_no_event(&self) -> bool {
        const NAMELESS_EVENTS: [&str; 6] = [
            ftrace_text::UNNAMED,
            proc_stack::EVENT,
            stack_tracer::EVENT,
            hist::EVENT,
            bpf_stacks::EVENT,
            bpftrace::EVENT,
        ];
        NAMELESS_EVENTS.contains(&self.event.as_str())
    }

    /// The function it was taken in or else the event without its group (`sched:`): what stacks of
    /// different probes have in common when they tell of the same thing.
    pub fn subject(&self) -> &str {
        match &self.function {
            Some(function) => fold_suffix(function),
            None => self.event.rsplit(':').next().unwrap_or(&self.event),
        }
    }
}

impl Frame {
    /// Whether it is a place in the kernel, named or not: not user space, and not an address that cannot be
    /// the kernel's.
    pub fn in_kernel(&self, row: &ArchRow) -> bool {
        !self.user && self.address.is_none_or(|address| row.in_kernel(address))
    }

    /// Whether the kernel names no function but what stands in its place: `[FTRACE TRAMPOLINE]`,
    /// `[unknown/kretprobe'd]`.
    pub fn is_marker(&self) -> bool {
        self.symbol.as_ref().is_some_and(|symbol| symbol.starts_with('['))
    }

    /// Whether the capture says no more of it than a name, which may be any word.
    pub(crate) fn is_name_alone(&self) -> bool {
        let Self { symbol, address: None, offset: None, module: None, .. } = self else { return false };
        symbol.is_some() && !self.is_marker()
    }

    /// Whether it is no frame but ends a stack that was saved, in kernels before 5.2: `[<ffffffffffffffff>]
    /// 0xffffffffffffffff`, `[<ffffffff>] 0xffffffff` of 32 bits (`ULONG_MAX` of `save_stack_trace()`).
    pub(crate) fn ends_saved_stack(&self) -> bool {
        const ENDS: [u64; 2] = [u64::MAX, u32::MAX as u64];
        self.symbol.is_none() && !self.guess && self.address.is_some_and(|address| ENDS.contains(&address))
    }

    /// Whether its symbol is in `names`.
    pub fn is_one_of(&self, names: &[&str]) -> bool {
        self.symbol.as_deref().is_some_and(|symbol| names.contains(&symbol))
    }

    /// Whether it ends stacks. `outer` is the next frame outwards: the entry of an exception or interrupt
    /// ends a stack only if no frame of the kernel follows, which it would have interrupted. Nor does an entry
    /// in C that the one in assembly calls, `ret_from_fork_asm` the function `ret_from_fork`.
    pub fn is_entry(&self, outer: Option<&Self>, row: &ArchRow) -> bool {
        let called_by = |outer: &Self| {
            let assembly = outer.symbol.as_deref().and_then(|symbol| symbol.strip_suffix("_asm"));
            assembly.is_some_and(|name| self.symbol.as_deref() == Some(name))
        };
        if outer.is_some_and(called_by) {
            return false;
        }
        let interrupts = |symbol: &String| row.is_exception(symbol);
        let inside =
            |outer: &Self| outer.in_kernel(row) && outer.address != Some(0) && !outer.is_one_of(row.entries);
        self.is_one_of(row.entries)
            && !(outer.is_some_and(inside) && self.symbol.as_ref().is_some_and(interrupts))
    }

    fn set_place(&mut self, place: Place<'_>) {
        self.symbol = Some(place.symbol.into());
        self.offset = Some(place.offset);
        self.module = place.module.map(Into::into);
    }

    /// What people call it: the function without the compiler's suffix; `0` for a null address, `?` for
    /// another that has no name, `[user]` for one of user space.
    pub fn name(&self) -> String {
        match (&self.symbol, self.address) {
            _ if self.user => "[user]".into(),
            (Some(symbol), _) => fold_suffix(symbol).into(),
            (None, Some(0)) => "0".into(),
            (None, _) => "?".into(),
        }
    }
}

/// Whether an address is in the upper half, which is the kernel's on 64-bit Linux, s390x aside.
fn in_upper_half(address: u64) -> bool {
    address >> 63 == 1
}

/// A function's name without what the compiler appended to a clone of it (`.isra.0`, `.constprop.0`,
/// `.part.0`, `.cold`, `.llvm.123`): the suffixes differ between builds of one source.
pub fn fold_suffix(symbol: &str) -> &str {
    const CLONES: [&str; 5] = ["isra", "constprop", "part", "cold", "llvm"];
    let is_clone = |dot: usize| {
        let word = symbol[dot + 1..].split('.').next().unwrap_or_default();
        dot > 0 && CLONES.contains(&word)
    };
    let dot = symbol.match_indices('.').map(|(dot, _)| dot).find(|&dot| is_clone(dot));
    dot.map_or(symbol, |dot| &symbol[..dot])
}

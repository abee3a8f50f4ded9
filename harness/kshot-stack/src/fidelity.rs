//! How much of the truth a stack tells, and what it tells besides.

mod align; // the longest common subsequence of two stacks
mod compared_frame; // frames, with what they are compared by
mod side_by_side; // aligns two stacks row by row, for tables

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use crate::arch::ArchRow;
use crate::document::{Deviation, Fidelity, FrameDifference, ReferenceKind};
use crate::stack::{Frame, NAMELESS, Stack, fold_suffix, proc_stack};
use align::align;
use compared_frame::{ComparedFrame, is_same};
pub use side_by_side::{AlignedRow, beside_reference, side_by_side};

/// References that one stack is compared with frame by frame, at most. The likeliest come first, by how many
/// frames they can have in common with it.
const MOST_COMPARED: usize = 32;
/// The names of a task that the kernel has forgotten, and of one that a capture does not tell: it may be any
/// task.
const ANY_TASK: [&str; 2] = ["<...>", NAMELESS];

/// The stacks that others are measured against, found by what they tell of.
#[derive(Debug)]
pub struct References<'a> {
    kind: ReferenceKind,
    row: &'a ArchRow,
    subjects: HashMap<&'a str, Subject<'a>, RandomState>,
}

/// What was measured of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeasuredStack {
    /// How many frames it shares with the reference, and how many it has besides.
    pub fidelity: Fidelity,
    /// The frames that are missing, extra or repeated, from the innermost outwards.
    pub differences: Vec<FrameDifference>,
}

impl<'a> References<'a> {
    /// Finds its way among `stacks`. A stack that reaches no entry is left out: half a stack is no measure. A
    /// truth may also end in user space, where an exception came from.
    pub fn new(stacks: impl IntoIterator<Item = &'a Stack>, kind: ReferenceKind, row: &'a ArchRow) -> Self {
        let mut subjects: HashMap<&str, Subject<'_>, RandomState> = HashMap::default();
        for stack in stacks {
            let subject = subjects.entry(stack.subject()).or_default();
            let to_user = kind == ReferenceKind::Gdb && stack.frames.last().is_some_and(|frame| frame.user);
            if to_user || reaches_entry(stack, row) {
                let frames = up_to_entry(stack, row);
                let frames = frames.into_iter().map(|frame| ComparedFrame::new(frame, row)).collect();
                subject.add(Candidate { task: task_name(&stack.task), frames });
            }
        }
        Self { kind, row, subjects }
    }

    /// Measures a stack against whichever reference tells of the same event in the same task; `None` if none
    /// does.
    ///
    /// Left out on both sides: inlined frames, user space, the tracers' own labels. The innermost frame of
    /// the reference is compared by function, because each mechanism stops elsewhere in it (a breakpoint at
    /// its first byte, ftrace behind its call of `_mcount`). The others are compared by their return address
    /// where both sides give one, because one address can carry several names; else by function and, where
    /// both give it, the offset in it.
    ///
    /// Of several references the one that speaks best for the stack counts, of equals the shortest: a
    /// function is called from many places, nothing says which sample is of which call, and a probe is only
    /// to be blamed for what none of them explains. gdb stops a few times only, so it may have seen a path in
    /// another task alone: a stack that is whole by that one is whole.
    pub fn measure(&self, stack: &Stack) -> Option<MeasuredStack> {
        let subject = self.subject(stack)?;
        let reported = Reported::new(stack, self.row);
        let any_task = ANY_TASK.contains(&stack.task.as_str());
        let task = task_name(&stack.task);
        let of_task = |candidate: &Candidate<'_>| any_task || task == candidate.task;
        let mut best: Option<Comparison<'_>> = None;
        for likely in subject.likeliest(&reported, of_task) {
            // None of those that follow can speak better for it.
            if best
                .as_ref()
                .is_some_and(|best| (Reverse(likely.bound), likely.of()) >= (Reverse(best.got), best.of()))
            {
                break;
            }
            let found = Comparison::new(likely.candidate, &reported);
            if best.as_ref().is_none_or(|best| found.rank() < best.rank()) {
                best = Some(found);
            }
        }
        let mut best = best?;
        if !best.is_whole()
            && let Some(elsewhere) = self.whole_elsewhere(stack, &reported)
        {
            best = elsewhere;
        }
        Some(best.measure(&reported, self.kind))
    }

    /// The references of the same event. A stack without an event of its own, as triggers and /proc/PID/stack
    /// leave it, can only be matched when all references tell of one event.
    fn subject(&self, stack: &Stack) -> Option<&Subject<'a>> {
        if stack.names_no_event() {
            let mut all = self.subjects.values();
            return all.next().filter(|_| all.next().is_none());
        }
        self.subjects.get(stack.subject())
    }

    /// The comparison with a reference of any task that has the same frames and no others.
    fn whole_elsewhere(&self, stack: &Stack, reported: &Reported<'_>) -> Option<Comparison<'_>> {
        let subject = self.subjects.get(stack.subject())?;
        let likeliest =
            subject.likeliest(reported, |candidate| candidate.frames.len() == reported.up_to_entry);
        let whole = likeliest.into_iter().take_while(|likely| likely.bound >= reported.up_to_entry);
        let mut compared = whole.map(|likely| Comparison::new(likely.candidate, reported));
        compared.find(Comparison::is_whole)
    }
}

/// The different references of one event.
#[derive(Debug, Default)]
struct Subject<'a> {
    candidates: IndexSet<Candidate<'a>, RandomState>,
    /// The candidates that hold an address.
    by_address: HashMap<u64, Vec<usize>, RandomState>,
    /// The candidates that hold a function.
    by_function: HashMap<&'a str, Vec<usize>, RandomState>,
    /// The candidates that hold a function in a frame which is compared by it, even with an address.
    by_function_alone: HashMap<&'a str, Vec<usize>, RandomState>,
    /// The candidates whose innermost function begins at an address.
    by_start: HashMap<u64, Vec<usize>, RandomState>,
}

/// A reference that reaches an entry.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Candidate<'a> {
    task: &'a str,
    /// Its physical frames up to the entry.
    frames: Vec<ComparedFrame<'a>>,
}

/// A candidate, and how many frames it can have in common with a stack.
struct Likely<'a> {
    number: usize,
    candidate: &'a Candidate<'a>,
    bound: usize,
}

impl<'a> Subject<'a> {
    fn add(&mut self, candidate: Candidate<'a>) {
        fn note<K: std::hash::Hash + Eq>(
            map: &mut HashMap<K, Vec<usize>, RandomState>,
            key: Option<K>,
            number: usize,
        ) {
            let Some(key) = key else { return };
            let numbers = map.entry(key).or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        let (number, is_new) = self.candidates.insert_full(candidate);
        if !is_new {
            return;
        }
        for (depth, compared) in self.candidates[number].frames.iter().enumerate() {
            note(&mut self.by_address, compared.frame.address, number);
            note(&mut self.by_function, compared.function, number);
            if depth == 0 || compared.frame.address.is_none() {
                note(&mut self.by_function_alone, compared.function, number);
            }
            if depth == 0 {
                note(&mut self.by_start, compared.start, number);
            }
        }
    }

    /// [`MOST_COMPARED`] candidates by how many of a stack's frames they can hold, the most first, of equals
    /// the shortest.
    fn likeliest(
        &self,
        reported: &Reported<'_>,
        allowed: impl Fn(&Candidate<'_>) -> bool,
    ) -> Vec<Likely<'_>> {
        let mut by_all = 0;
        let mut bounds = vec![0; self.candidates.len()];
        let mut counted = vec![usize::MAX; self.candidates.len()];
        for (index, compared) in reported.frames.iter().enumerate() {
            let by_name =
                if compared.frame.address.is_some() { &self.by_function_alone } else { &self.by_function };
            let holders = [
                compared.frame.address.and_then(|address| self.by_address.get(&address)),
                compared.function.and_then(|function| by_name.get(function)),
                compared.start.and_then(|start| self.by_start.get(&start)),
            ];
            // Most have the outermost frames.
            if holders.iter().flatten().any(|holders| holders.len() == bounds.len()) {
                by_all += 1;
                continue;
            }
            for &number in holders.into_iter().flatten().flatten() {
                if counted[number] != index {
                    counted[number] = index;
                    bounds[number] += 1;
                }
            }
        }
        let candidates = self.candidates.iter().zip(bounds).enumerate();
        let mut likeliest: Vec<_> = candidates
            .filter(|(_, (candidate, _))| allowed(candidate))
            .map(|(number, (candidate, bound))| Likely {
                number,
                candidate,
                bound: (by_all + bound).min(candidate.frames.len()),
            })
            .collect();
        if likeliest.len() > MOST_COMPARED {
            likeliest.select_nth_unstable_by_key(MOST_COMPARED, Likely::rank);
            likeliest.truncate(MOST_COMPARED);
        }
        likeliest.sort_unstable_by_key(Likely::rank);
        likeliest
    }
}

impl Likely<'_> {
    fn of(&self) -> usize {
        self.candidate.frames.len()
    }

    fn rank(&self) -> (Reverse<usize>, usize, usize) {
        (Reverse(self.bound), self.of(), self.number)
    }
}

/// A stack that is measured.
struct Reported<'a> {
    /// Its physical frames.
    frames: Vec<ComparedFrame<'a>>,
    /// The index of each physical frame in the document's frames.
    at: Vec<usize>,
    /// Frames that cannot be the kernel's nor are user space, with where they stand; not the null that ends a
    /// walk.
    strays: Vec<(usize, &'a Frame)>,
    /// How many frames the document shows.
    shown: usize,
    /// How many of `frames` there are up to the entry.
    up_to_entry: usize,
    /// Whether its first frames may be code of the mechanism that recorded it.
    begins_in_mechanism: bool,
    /// Whether all of its frames should have names: that of a task that sleeps is in the kernel's own code.
    names_all: bool,
}

impl<'a> Reported<'a> {
    fn new(stack: &'a Stack, row: &'a ArchRow) -> Self {
        let (mut frames, mut at, mut strays, mut shown) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
        let mut behind_user = false;
        for frame in stack.frames.iter().map(AsRef::as_ref).filter(|frame| !frame.inlined && !frame.guess) {
            // As the normalisation leaves them: user space is one frame.
            shown += usize::from(!(frame.user && behind_user));
            behind_user = frame.user;
            if is_physical(frame, row) {
                frames.push(ComparedFrame::new(frame, row));
                at.push(shown - 1);
            } else if !frame.user && !frame.in_kernel(row) && frame.address != Some(0) {
                strays.push((shown - 1, frame));
            }
        }
        // The function tracer and perf's probes begin in the function itself; others come by an exception or
        // a call.
        let event = fold_suffix(stack.event.rsplit(':').next().unwrap_or(&stack.event));
        let of_function = stack.function.as_deref().is_some_and(|function| fold_suffix(function) == event);
        let up_to_entry = up_to_entry(stack, row).len();
        let names_all = stack.event == proc_stack::EVENT;
        Self { frames, at, strays, shown, up_to_entry, begins_in_mechanism: !of_function, names_all }
    }
}

/// A stack beside one reference.
struct Comparison<'a> {
    reference: &'a Candidate<'a>,
    /// For each frame of the reference the index of the stack's frame that is the same.
    pairs: Vec<Option<usize>>,
    got: usize,
    /// The stack's frames that the reference has not, and where each stands in the document.
    unexplained: Vec<FrameDifference>,
}

impl<'a> Comparison<'a> {
    fn new(reference: &'a Candidate<'a>, reported: &Reported<'_>) -> Self {
        let (truth, frames) = (&reference.frames, &reported.frames);
        let same = |depth: usize, at: usize| is_same(&truth[depth], depth, &frames[at]);
        let pairs = align(truth.len(), frames.len(), same);
        let got = pairs.iter().flatten().count();
        let mut unexplained = unexplained(reference, &pairs, reported);
        unexplained.extend(reported.strays.iter().map(|(at, frame)| FrameDifference {
            deviation: Deviation::Extra,
            frame: frame.name(),
            at: *at as u64,
        }));
        unexplained.sort_by_key(|difference| difference.at);
        Self { reference, pairs, got, unexplained }
    }

    fn of(&self) -> usize {
        self.reference.frames.len()
    }

    /// Of two comparisons the one of the lower rank speaks better for the stack.
    fn rank(&self) -> (Reverse<usize>, usize, usize) {
        (Reverse(self.got), self.of(), self.unexplained.len())
    }

    fn is_whole(&self) -> bool {
        self.got == self.of() && self.unexplained.is_empty()
    }

    fn measure(self, reported: &Reported<'_>, reference: ReferenceKind) -> MeasuredStack {
        let number =
            |deviation| self.unexplained.iter().filter(|one| one.deviation == deviation).count() as u64;
        let (of, got) = (self.of() as u64, self.got as u64);
        let (extra, repeated) = (number(Deviation::Extra), number(Deviation::Repeated));
        let fidelity = Fidelity { reference_frames: of, matched_frames: got, extra, repeated, reference };
        let mut next = reported.shown;
        let mut missing = Vec::new();
        for (compared, pair) in self.reference.frames.iter().zip(&self.pairs).rev() {
            match pair {
                Some(pair) => next = reported.at[*pair],
                None => missing.push(FrameDifference {
                    deviation: Deviation::Missing,
                    frame: compared.frame.name(),
                    at: next as u64,
                }),
            }
        }
        let mut differences: Vec<_> = missing.into_iter().rev().chain(self.unexplained).collect();
        differences.sort_by_key(|difference| difference.at);
        MeasuredStack { fidelity, differences }
    }
}

/// Whether a function belongs to the handlers of kprobes and their like, which stand on a stack below the
/// function that they were put on: `kprobe_dispatcher` (kernel/trace/trace_kprobe.c), `kprobe_ftrace_handler`
/// and `kprobe_brk_handler` (arch/*/kernel), `function_trace_probe_call` (kernel/trace/ftrace.c). A driver's
/// `really_probe` is none of them.
fn is_of_probes(symbol: &str) -> bool {
    let name = symbol.trim_start_matches('_');
    ["kprobe_", "kretprobe_", "fprobe_", "uprobe_", "function_trace_probe_"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// The stack's frames in the kernel that the reference has not. Words that stand for a frame which the kernel
/// could not name are left out, and so are the mechanism's own frames, which no reference has.
fn unexplained(
    reference: &Candidate<'_>,
    pairs: &[Option<usize>],
    reported: &Reported<'_>,
) -> Vec<FrameDifference> {
    let first = pairs.iter().flatten().min().copied().unwrap_or(reported.frames.len());
    let names = reported.frames[..first].iter().filter_map(|compared| compared.frame.symbol.as_deref());
    let mechanism = reported.begins_in_mechanism || names.into_iter().any(is_of_probes);
    let mut paired = vec![false; reported.frames.len()];
    pairs.iter().flatten().for_each(|&at| paired[at] = true);
    let mut found = Vec::new();
    for (index, compared) in reported.frames.iter().enumerate().filter(|(index, _)| !paired[*index]) {
        let frame = compared.frame;
        if frame.is_marker() {
            continue;
        }
        let mut truths = reference.frames.iter().enumerate().zip(pairs).filter(|(_, pair)| pair.is_some());
        let deviation = if truths.any(|((depth, truth), _)| is_same(truth, depth, compared)) {
            Deviation::Repeated
        } else if index < first && mechanism && !(reported.names_all && frame.symbol.is_none()) {
            continue;
        } else {
            Deviation::Extra
        };
        found.push(FrameDifference { deviation, frame: frame.name(), at: reported.at[index] as u64 });
    }
    found
}

/// Whether a stack goes as far as an entry.
pub fn reaches_entry(stack: &Stack, row: &ArchRow) -> bool {
    let frames: Vec<&Frame> = physical(stack, row).collect();
    first_entry(&frames, row).is_some()
}

/// The physical frames up to the first entry, that included.
pub fn up_to_entry<'a>(stack: &'a Stack, row: &ArchRow) -> Vec<&'a Frame> {
    let mut frames: Vec<&Frame> = physical(stack, row).collect();
    let end = first_entry(&frames, row).map_or(frames.len(), |at| at + 1);
    frames.truncate(end);
    frames
}

fn first_entry(frames: &[&Frame], row: &ArchRow) -> Option<usize> {
    (0..frames.len()).find(|at| frames[*at].is_entry(frames.get(at + 1).copied(), row))
}

/// The frames that count: the kernel's, neither inlined nor guessed nor a tracer's own.
pub fn physical<'a>(stack: &'a Stack, row: &ArchRow) -> impl Iterator<Item = &'a Frame> {
    stack.frames.iter().map(AsRef::as_ref).filter(|frame| is_physical(frame, row))
}

fn is_physical(frame: &Frame, row: &ArchRow) -> bool {
    frame.in_kernel(row) && !frame.inlined && !frame.guess && !frame.is_one_of(row.plumbing)
}

/// Whether two frames are one return address.
pub fn same_place(one: &Frame, other: &Frame, row: &ArchRow) -> bool {
    ComparedFrame::new(one, row).is_at(&ComparedFrame::new(other, row))
}

/// Whether two frames are in one function.
pub fn same_function(one: &Frame, other: &Frame, row: &ArchRow) -> bool {
    ComparedFrame::new(one, row).is_in_function_of(&ComparedFrame::new(other, row))
}

/// One name for all that a task goes by: ftrace calls the idle task `<idle>` (kernel/trace/trace_output.c),
/// perf `swapper`, and to the name of a worker perf adds its work, behind `-` or `+` (kernel/workqueue.c,
/// `wq_worker_comm`).
fn task_name(task: &str) -> &str {
    const IDLE: &str = "swapper";
    let idle = |task: &str| task == "<idle>" || task.split('/').next() == Some(IDLE);
    match task {
        task if idle(task) => IDLE,
        task if task.starts_with("kworker/") => task.split(['-', '+']).next().unwrap_or(task),
        task => task,
    }
}

/// One name for all that a function goes by: `sys_ioctl` for `__se_sys_ioctl` and `__arm64_sys_ioctl`, the
/// function for the compiler's clones of it, one label for all of the entries, whose code carries many.
pub fn function<'a>(symbol: &'a str, row: &ArchRow) -> &'a str {
    if let Some(first) = row.entries.first().filter(|_| row.entries.contains(&symbol)) {
        return first;
    }
    let name = fold_suffix(symbol);
    let plain = ["__se_"].into_iter().chain(row.syscall_prefix).find_map(|prefix| name.strip_prefix(prefix));
    plain.filter(|name| name.starts_with("sys_")).unwrap_or(name)
}

#[cfg(test)]
mod tests;

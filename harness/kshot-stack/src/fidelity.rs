//! How much of the truth a stack tells.

use crate::arch::ArchRow;
use crate::document::{Fidelity, Reference};
use crate::stack::{Frame, Stack, fold_suffix};

/// How many physical frames `reference` has up to its entry, and how many of them `stack` reports, in order.
///
/// Left out on both sides: inlined frames, user space, the tracers' own labels and addresses that cannot be
/// the kernel's. The innermost frame of the reference is compared by function, because each mechanism stops
/// elsewhere in it (a breakpoint at its first byte, ftrace behind its call of `_mcount`). The others are
/// compared by their return address where both sides give one, because one address can carry several names;
/// else by function and, where both give it, the offset in it.
pub fn fidelity(stack: &Stack, reference: &Stack, row: &ArchRow) -> (u64, u64) {
    let truth = up_to_entry(reference, row);
    let told: Vec<&Frame> = physical(stack, row).collect();
    // The longest common subsequence, in one row: `best[j]` is the one of the frames so far and `told[..j]`.
    let mut best = vec![0_u64; told.len() + 1];
    for (depth, expected) in truth.iter().enumerate() {
        let mut diagonal = 0;
        for (j, frame) in told.iter().enumerate() {
            let same = if depth == 0 {
                same_function(expected, frame, row)
            } else {
                same_place(expected, frame, row)
            };
            let above = best[j + 1];
            best[j + 1] = if same { diagonal + 1 } else { above.max(best[j]) };
            diagonal = above;
        }
    }
    (truth.len() as u64, best.last().copied().unwrap_or_default())
}

/// The fidelity of `stack` to whichever of `references` tells of the same event in the same task; `None`
/// if none does, or if none of those reaches an entry: half a stack is no measure.
///
/// Of several the one that speaks best for the stack counts, of equals the shortest: a function is called
/// from many places, nothing says which sample is of which call, and a probe is only to be blamed for what
/// none of them explains. gdb stops a few times only, so it may have seen a path in another task alone: a stack that
/// is whole by that one is whole.
pub fn against(stack: &Stack, references: &[Stack], kind: Reference, row: &ArchRow) -> Option<Fidelity> {
    let candidates = references.iter().filter(|reference| comparable(stack, reference, references));
    let whole = candidates.filter(|reference| reaches_entry(reference, row));
    let measured = whole.map(|reference| fidelity(stack, reference, row));
    let (mut of, mut got) = measured.min_by_key(|&(of, got)| (std::cmp::Reverse(got), of))?;
    if got < of {
        let mut elsewhere = references.iter().filter(|reference| stack.subject() == reference.subject());
        if elsewhere.any(|reference| is_whole(stack, reference, row)) {
            of = up_to_entry(stack, row).len() as u64;
            got = of;
        }
    }
    Some(Fidelity { of, got, reference: kind })
}

/// Whether a stack has the frames of `reference` up to the entry, all of them and no others.
fn is_whole(stack: &Stack, reference: &Stack, row: &ArchRow) -> bool {
    let (of, got) = fidelity(stack, reference, row);
    reaches_entry(reference, row) && got == of && up_to_entry(stack, row).len() as u64 == of
}

/// Whether both tell of the same event in the same task. A name that the kernel has forgotten (`<...>`) may
/// be any task's. A stack without an event of its own, as triggers leave it, can only be matched when all
/// references tell of one event.
fn comparable(stack: &Stack, reference: &Stack, references: &[Stack]) -> bool {
    let same_task = stack.task == reference.task || stack.task == "<...>";
    let unnamed = stack.event == crate::stack::ftrace_text::UNNAMED;
    let only = || references.iter().all(|other| other.subject() == reference.subject());
    same_task && if unnamed { only() } else { stack.subject() == reference.subject() }
}

/// Whether a stack goes as far as an entry.
pub fn reaches_entry(stack: &Stack, row: &ArchRow) -> bool {
    physical(stack, row).any(|frame| frame.is_one_of(row.entries))
}

/// The physical frames up to the first entry, that included.
pub fn up_to_entry<'a>(stack: &'a Stack, row: &ArchRow) -> Vec<&'a Frame> {
    let frames: Vec<&Frame> = physical(stack, row).collect();
    let end = frames.iter().position(|frame| frame.is_one_of(row.entries)).map_or(frames.len(), |at| at + 1);
    frames[..end].to_vec()
}

/// The frames that count: the kernel's, neither inlined nor a tracer's own.
pub fn physical<'a>(stack: &'a Stack, row: &ArchRow) -> impl Iterator<Item = &'a Frame> {
    let frames = stack.frames.iter().map(AsRef::as_ref);
    frames.filter(|frame: &&Frame| frame.in_kernel() && !frame.inlined && !frame.is_one_of(row.plumbing))
}

/// Whether two frames are one return address.
pub fn same_place(one: &Frame, other: &Frame, row: &ArchRow) -> bool {
    match (one.address, other.address) {
        (Some(one), Some(other)) => one == other,
        _ => {
            same_name(one, other, row) && one.offset.zip(other.offset).is_none_or(|(one, other)| one == other)
        }
    }
}

/// Whether two frames are in one function.
pub fn same_function(one: &Frame, other: &Frame, row: &ArchRow) -> bool {
    let start = |frame: &Frame| frame.address?.checked_sub(frame.offset?);
    same_name(one, other, row) || start(one).is_some_and(|begin| start(other) == Some(begin))
}

fn same_name(one: &Frame, other: &Frame, row: &ArchRow) -> bool {
    let (Some(one), Some(other)) = (&one.symbol, &other.symbol) else { return false };
    function(one, row) == function(other, row)
}

/// One name for all that a function goes by: `sys_ioctl` for `__se_sys_ioctl` (`include/linux/syscalls.h`), the
/// function for the compiler's clones of it, one label for all of the entries, whose code carries many.
pub fn function<'a>(symbol: &'a str, row: &ArchRow) -> &'a str {
    if let Some(first) = row.entries.first().filter(|_| row.entries.contains(&symbol)) {
        return first;
    }
    let name = fold_suffix(symbol);
    name.strip_prefix("__se_").filter(|name| name.starts_with("sys_")).unwrap_or(name)
}

#[cfg(test)]
#[path = "fidelity_tests.rs"]
mod tests;

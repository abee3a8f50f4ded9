//! The stack that another was measured against, in the same document.

use std::cmp::Reverse;

use kshot_stack::document::{ProbeResult, RunDocument, StackResult};
use kshot_stack::fidelity::{AlignedRow, beside_reference, side_by_side};

/// The reference of a stack, and both frame beside frame.
pub(super) struct MeasuredAgainst<'a> {
    /// The probe that recorded the reference.
    pub(super) probe: &'a ProbeResult,
    pub(super) reference: &'a StackResult,
    /// The rows, with the stack on the left and its reference on the right.
    pub(super) rows: Vec<AlignedRow<'a>>,
}

/// The stack that a stack's fidelity was taken against, as the fidelity names its probe. Where there are several,
/// it is the one that explains the stack's differences, else the one of the same event and task that it has most
/// in common with. A stack may name its event otherwise (a trigger's, that of a kprobe event), or no task: then only
/// one that explains its differences counts.
pub(super) fn reference<'a>(
    document: &'a RunDocument,
    probe: &ProbeResult,
    stack: &'a StackResult,
) -> Option<MeasuredAgainst<'a>> {
    let wanted = stack.fidelity?.reference;
    let arch = &document.kernel.arch;
    let function = |event: &'a str| event.rsplit(':').next();
    let others =
        document.probes.iter().filter(|other| other.name != probe.name && other.kind == wanted.name());
    let references = others.flat_map(|other| other.stacks.iter().map(move |stack| (other, stack)));
    let measured = references.filter_map(|(probe, reference)| {
        let is_alike = reference.task == stack.task && function(&reference.event) == function(&stack.event);
        let explained = beside_reference(stack, reference, arch);
        let is_explained = explained.is_some();
        let rows =
            explained.or_else(|| is_alike.then(|| side_by_side(&stack.frames, &reference.frames, arch)))?;
        Some((is_explained, is_alike, MeasuredAgainst { probe, reference, rows }))
    });
    let best = measured.min_by_key(|(is_explained, is_alike, MeasuredAgainst { reference, rows, .. })| {
        let in_common = rows.iter().filter(|row| row.left.is_some() && row.right.is_some()).count();
        (Reverse(*is_explained), Reverse(*is_alike), Reverse(in_common), reference.frames.len())
    });
    best.map(|(.., measured)| measured)
}

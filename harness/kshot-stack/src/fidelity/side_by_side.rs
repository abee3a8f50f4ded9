//! Stacks of the result document frame beside frame, so that missing frames show as gaps.

use super::align::align;
use super::function;
use crate::arch::{Arch, ArchRow};
use crate::document::{Deviation, StackResult};

/// A row of two aligned stacks; at least one side is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedRow<'a> {
    /// The frame of the left stack.
    pub left: Option<&'a str>,
    /// The frame of the right stack.
    pub right: Option<&'a str>,
}

/// Aligns two stacks by their functions: all that is known of two stacks that were not measured against each
/// other. Names that fidelity treats as one function, such as the labels of a system-call entry, are aligned
/// with each other. `arch` is the architecture's name.
pub fn side_by_side<'a>(left: &'a [String], right: &'a [String], arch: &str) -> Vec<AlignedRow<'a>> {
    let row = row_of(arch);
    let function = |name: &'a String| row.map_or(name.as_str(), |row| function(name, row));
    let same = |at: usize, beside: usize| function(&left[at]) == function(&right[beside]);
    rows(left, right, same)
}

/// Aligns a stack with the reference that it was measured against, as its differences say: what fidelity knew
/// of addresses and offsets, the names alone do not tell. `None` where these differences are not those from
/// `reference`.
pub fn beside_reference<'a>(
    stack: &'a StackResult,
    reference: &'a StackResult,
    arch: &str,
) -> Option<Vec<AlignedRow<'a>>> {
    let row = row_of(arch)?;
    let fidelity = stack.fidelity?;
    let (of, got) = (count(fidelity.reference_frames), count(fidelity.matched_frames));
    let mut expected = vec![Beside::Uncounted; reference.frames.len()];
    let mut reported = vec![Beside::Uncounted; stack.frames.len()];

    let mut truths = counted(&reference.frames, row).into_iter().take(of);
    let (missing, others): (Vec<_>, Vec<_>) =
        stack.differences.iter().partition(|difference| difference.deviation == Deviation::Missing);
    for difference in others {
        *reported.get_mut(count(difference.at))? = Beside::Nothing;
    }
    let mut matched = counted(&stack.frames, row);
    matched.retain(|at| reported[*at] == Beside::Uncounted);
    // What is not accounted for are the frames of the mechanism that recorded the stack, which are its
    // innermost.
    matched.drain(..matched.len().checked_sub(got)?);

    let mut missing = missing.into_iter().peekable();
    for (pair, at) in matched.into_iter().map(Some).chain([None]).enumerate() {
        // A missing frame stands before the next that is not, or at the end.
        let here = at.unwrap_or(stack.frames.len());
        while let Some(difference) = missing.next_if(|difference| count(difference.at) == here) {
            let truth = truths.next().filter(|truth| reference.frames[*truth] == difference.frame)?;
            expected[truth] = Beside::Nothing;
        }
        if let Some(at) = at {
            reported[at] = Beside::Pair(pair);
            expected[truths.next()?] = Beside::Pair(pair);
        }
    }
    if missing.next().is_some() || truths.next().is_some() {
        return None;
    }
    let same_function = |at: usize, beside: usize| {
        function(&stack.frames[at], row) == function(&reference.frames[beside], row)
    };
    Some(rows(&stack.frames, &reference.frames, |at, beside| match (reported[at], expected[beside]) {
        (Beside::Pair(one), Beside::Pair(other)) => one == other,
        (Beside::Uncounted, Beside::Uncounted) => same_function(at, beside),
        _ => false,
    }))
}

/// What a frame of one stack stands beside in the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// The frame of the same number.
    Pair(usize),
    /// No frame.
    Nothing,
    /// It may have one of the same name: fidelity does not count it.
    Uncounted,
}

fn rows<'a>(
    left: &'a [String],
    right: &'a [String],
    same: impl Fn(usize, usize) -> bool,
) -> Vec<AlignedRow<'a>> {
    let gap = |from: usize, to: usize| {
        right[from..to].iter().map(|right| AlignedRow { left: None, right: Some(right) })
    };
    let mut rows = Vec::new();
    let mut next = 0;
    for (left, pair) in left.iter().zip(align(left.len(), right.len(), same)) {
        if let Some(pair) = pair {
            rows.extend(gap(next, pair));
            next = pair + 1;
        }
        rows.push(AlignedRow { left: Some(left), right: pair.map(|pair| right[pair].as_str()) });
    }
    rows.extend(gap(next, right.len()));
    rows
}

/// The frames that fidelity counts, of those that a document shows.
fn counted(frames: &[String], row: &ArchRow) -> Vec<usize> {
    let counts = |name: &str| !row.plumbing.contains(&name) && name != "0" && !name.starts_with('[');
    (0..frames.len()).filter(|at| counts(&frames[*at])).collect()
}

fn row_of(arch: &str) -> Option<&'static ArchRow> {
    Arch::all().map(Arch::row).find(|row| row.name == arch)
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::document::{ProbeResult, ReferenceKind};
    use crate::results::{ParsedProbe, probe_results};
    use crate::samples;
    use crate::stack::{ParsedCapture, State, ftrace_text, perf_script};

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    /// The rows as text: `left|right`.
    fn told(rows: &[AlignedRow<'_>]) -> Vec<String> {
        let side = |side: Option<&str>| side.unwrap_or("-").to_owned();
        rows.iter().map(|row| side(row.left) + "|" + &side(row.right)).collect()
    }

    fn aligned(left: &str, right: &str, arch: &str) -> Vec<String> {
        told(&side_by_side(&names(left), &names(right), arch))
    }

    #[test]
    fn what_one_side_lacks_shows_as_a_gap_on_that_side() {
        let rows = aligned("ftrace_graph_call", "register_netdevice ioctl", "mips64");
        assert_eq!(rows, ["ftrace_graph_call|-", "-|register_netdevice", "-|ioctl"]);
    }

    #[test]
    fn two_names_of_one_function_stand_in_one_row() {
        let (left, right) = ("tun_chr_ioctl sys_ioctl syscall_common", "__se_sys_ioctl handle_sys");
        let rows = aligned(left, right, "mips64");
        assert_eq!(rows, ["tun_chr_ioctl|-", "sys_ioctl|__se_sys_ioctl", "syscall_common|handle_sys"]);
        assert_eq!(aligned(left, right, "unheard-of").len(), 5);
    }

    #[test]
    fn common_frames_stand_in_one_row() {
        assert_eq!(aligned("a c d", "a b c d", "mips64"), ["a|a", "-|b", "c|c", "d|d"]);
    }

    /// A stack of `f` as perf prints it.
    fn parse_perf(frames: &str) -> std::io::Result<ParsedCapture> {
        let frames: String = frames.lines().map(|frame| format!("\t{frame}\n")).collect();
        perf_script::parse(format!("sh 1 1.5: probe:f:\n{frames}\n").as_bytes())
    }

    /// The results of perf and gdb, whose one stack of `f` has these frames.
    fn measured(perf: &str, gdb: &str) -> [ProbeResult; 2] {
        let recorded = [("perf", perf), ("gdb", gdb)].map(|(kind, frames)| ParsedProbe {
            name: kind.into(),
            kind: kind.into(),
            parsed: parse_perf(frames).unwrap(),
        });
        probe_results(&recorded, Arch::Mips64.row()).try_into().unwrap()
    }

    const USER: &str = "10d2f4 [unknown] (/bin/sh)";
    const TRUTH: &str = "ffffffff80100000 f+0x0\nffffffff80200008 caller+0x8\nffffffff80300008 alias+0x8\nffffffff80400008 handle_sys+0x8";

    #[test]
    fn one_missing_frame_is_one_however_perf_names_the_others() {
        let [perf, gdb] = measured(
            "ffffffff80100000 f+0x0\nffffffff80300008 name+0x8\nffffffff80400008 handle_sys+0x8",
            TRUTH,
        );
        let (stack, truth) = (&perf.stacks[0], &gdb.stacks[0]);
        assert_eq!(stack.fidelity.unwrap().to_string(), "3 of 4 (gdb)");
        let rows = beside_reference(stack, truth, "mips64").unwrap();
        assert_eq!(told(&rows), ["f|f", "-|caller", "name|alias", "handle_sys|handle_sys"]);
        let by_name = side_by_side(&stack.frames, &truth.frames, "mips64");
        assert_eq!(told(&by_name), ["f|f", "name|-", "-|caller", "-|alias", "handle_sys|handle_sys"]);
    }

    #[test]
    fn the_right_function_at_a_wrong_place_is_no_match() {
        let wrong = TRUTH.replace("ffffffff80200008 caller+0x8", "ffffffff80200040 caller+0x40");
        let [perf, gdb] = measured(&wrong, TRUTH);
        assert_eq!(perf.stacks[0].fidelity.unwrap().to_string(), "3 of 4, 1 extra (gdb)");
        let rows = beside_reference(&perf.stacks[0], &gdb.stacks[0], "mips64").unwrap();
        assert_eq!(told(&rows).len(), 5, "{rows:?}");
    }

    #[test]
    fn a_frame_that_nothing_names_stands_beside_no_function() {
        let head = "sh-1 [000] .....     0.1:";
        let frames = " => f\n => no name at all\n => caller\n => alias\n => handle_sys\n";
        let ftrace = format!("{head} f <-caller\n{head} <stack trace>\n{frames}");
        let recorded = [ftrace_text::parse(ftrace.as_bytes()), parse_perf(TRUTH)];
        let recorded = ["ftrace", "gdb"].into_iter().zip(recorded).map(|(kind, parsed)| ParsedProbe {
            name: kind.into(),
            kind: kind.into(),
            parsed: parsed.unwrap(),
        });
        let results = probe_results(&recorded.collect::<Vec<_>>(), Arch::Mips64.row());
        let (stack, truth) = (&results[0].stacks[0], &results[1].stacks[0]);
        assert_eq!(stack.fidelity.unwrap().to_string(), "4 of 4, 1 extra (gdb)");
        let rows = beside_reference(stack, truth, "mips64").unwrap();
        assert_eq!(told(&rows), ["f|f", "?|-", "caller|caller", "alias|alias", "handle_sys|handle_sys"]);
    }

    #[test]
    fn frames_that_do_not_count_stand_where_they_are() {
        let perf = format!("{TRUTH}\n{USER}")
            .replace("\nffffffff8020", "\nffffffff80500000 ftrace_call+0x8\nffffffff8020");
        let [perf, gdb] = measured(&perf, &format!("{TRUTH}\n{USER}"));
        let mut stack = perf.stacks[0].clone();
        assert_eq!(stack.fidelity.unwrap().to_string(), "4 of 4 (gdb)");
        let counted = ["caller|caller", "alias|alias", "handle_sys|handle_sys", "[user]|[user]"];
        let rows = beside_reference(&stack, &gdb.stacks[0], "mips64").unwrap();
        assert_eq!(told(&rows), [&["f|f", "ftrace_call|-"][..], &counted].concat());
        // A frame of the mechanism that recorded the stack.
        stack.frames.insert(0, "kprobe_handler".into());
        let rows = beside_reference(&stack, &gdb.stacks[0], "mips64").unwrap();
        assert_eq!(told(&rows), [&["kprobe_handler|-", "f|f", "ftrace_call|-"][..], &counted].concat());
    }

    #[test]
    fn differences_from_another_stack_do_not_count() {
        let [perf, gdb] = measured("ffffffff80100000 f+0x0\nffffffff80400008 handle_sys+0x8", TRUTH);
        let other = samples::stack(&["f", "other", "alias", "handle_sys"], State::Complete);
        assert!(beside_reference(&perf.stacks[0], &gdb.stacks[0], "mips64").is_some());
        assert_eq!(beside_reference(&perf.stacks[0], &other, "mips64"), None);
        let unmeasured = StackResult { fidelity: None, ..perf.stacks[0].clone() };
        assert_eq!(beside_reference(&unmeasured, &gdb.stacks[0], "mips64"), None);
        assert_eq!(perf.stacks[0].fidelity.unwrap().reference, ReferenceKind::Gdb);
    }
}

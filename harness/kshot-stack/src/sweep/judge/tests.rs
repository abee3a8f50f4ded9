use super::*;
use crate::arch::Arch;
use crate::stack::gdb_raw::RawHit;

fn frame(address: u64, symbol: &str) -> Frame {
    Frame {
        address: Some(0xffff_ffff_8000_0000 + address),
        symbol: Some(symbol.into()),
        offset: Some(address % 0x100),
        ..Frame::default()
    }
}

/// One of `vfs_read`, called by `ksys_read`, as both sides would have it.
fn truth() -> Vec<Frame> {
    vec![frame(0x110, "vfs_read"), frame(0x220, "ksys_read"), frame(0x330, "handle_sys64")]
}

fn stack(frames: &[Frame]) -> Stack {
    let plumbing = frame(0x9000, "ftrace_graph_call");
    let frames = [&[plumbing], frames].concat().into_iter().map(Arc::new).collect();
    Stack { task: "workload".into(), event: "vfs_read".into(), function: Some("vfs_read".into()), frames }
}

/// The findings on stacks of `vfs_read`, each of which has the truth `truth`.
fn findings(stacks: &[Stack], truth: &[Frame]) -> Result<SweepFindings, EventMismatch> {
    let told = stacks.iter().map(|stack| (stack.clone(), 1)).collect();
    let recorded = ParsedCapture { stacks: told, ..ParsedCapture::default() };
    let order: Vec<usize> = (0..stacks.len()).collect();
    let raw = |number| RawHit { number, ..RawHit::default() };
    let events = stacks.len() as u64;
    let seen = RawHits { raw: (1..=events).map(raw).collect(), events: Some(events), ..RawHits::default() };
    compare_events(100, &recorded, &order, &seen, |_| truth.to_vec(), is_in, Arch::Mips64.row())
}

fn is_in(frame: &Frame, name: &str) -> bool {
    frame.symbol.as_deref() == Some(name)
}

fn broken(told: &[Frame]) -> (BreakKind, Option<String>) {
    let findings = findings(&[stack(told)], &truth()).unwrap();
    assert_eq!((findings.functions.never, findings.stacks.whole), (1, 0));
    let [one] = findings.breaks.as_slice() else { panic!("{findings:?}") };
    assert_eq!((one.functions, one.stacks), (1, 1));
    (one.kind, one.at.clone())
}

#[test]
fn a_stack_with_the_frames_of_the_truth_is_whole_whatever_the_labels_of_the_tracer() {
    let findings = findings(&[stack(&truth())], &truth()).unwrap();
    assert_eq!(
        findings.functions,
        FunctionCounts { armed: 100, compared: 1, whole: 1, ..FunctionCounts::default() },
        "{findings:?}"
    );
    assert!(findings.breaks.is_empty());
}

#[test]
fn the_tracers_trampoline_further_out_is_the_place_without_a_name() {
    let [first, _, last] = <[Frame; 3]>::try_from(truth()).unwrap();
    let nameless = Frame { address: Some(0xffff_ffff_c000_0010), ..Frame::default() };
    let marker = Frame { symbol: Some("[FTRACE TRAMPOLINE]".into()), ..Frame::default() };
    let told = stack(&[first.clone(), marker, last.clone()]);
    let findings = |truth: &[Frame]| findings(std::slice::from_ref(&told), truth).unwrap().stacks.whole;
    assert_eq!(findings(&[first.clone(), nameless, last.clone()]), 1);
    assert_eq!(findings(&[first, last]), 0, "the truth has no such place");
}

#[test]
fn a_stack_that_ends_early_is_cut_where_it_ends() {
    assert_eq!(broken(&truth()[..2]), (BreakKind::Cut, Some("ksys_read".into())));
    assert_eq!(broken(&[]), (BreakKind::Cut, Some("ftrace_graph_call".into())));
}

#[test]
fn a_frame_that_is_left_out_is_a_gap_behind_the_last_right_one() {
    let [first, _, last] = <[Frame; 3]>::try_from(truth()).unwrap();
    assert_eq!(broken(&[first, last]), (BreakKind::Gap, Some("vfs_read".into())));
    assert_eq!(broken(&truth()[1..]), (BreakKind::Gap, None));
}

#[test]
fn a_frame_that_is_not_in_the_truth_is_wrong() {
    let [first, second, third] = <[Frame; 3]>::try_from(truth()).unwrap();
    // Another call of the same function: compared by address, not by name.
    let elsewhere = frame(0x228, "ksys_read");
    assert_eq!(
        broken(&[first.clone(), elsewhere, third.clone()]),
        (BreakKind::Wrong, Some("ksys_read".into()))
    );
    assert_eq!(
        broken(&[first, second, third, frame(0x500, "kthread")]),
        (BreakKind::Wrong, Some("kthread".into()))
    );
}

#[test]
fn a_function_some_of_whose_stacks_are_whole_is_traced_partly() {
    let findings = findings(&[stack(&truth()), stack(&[])], &truth()).unwrap();
    assert_eq!((findings.functions.partly, findings.functions.compared), (1, 1));
    assert_eq!(findings.by_function, [FunctionResult { name: "vfs_read".into(), compared: 2, whole: 1 }]);
}

#[test]
fn a_truth_that_ends_before_an_entry_is_no_measure_and_one_that_reaches_user_space_is() {
    let half = &truth()[..2];
    assert_eq!(findings(&[stack(half)], half), Err(EventMismatch::Nothing));
    let user = Frame { address: Some(0x1200_3f50), user: true, ..Frame::default() };
    let findings = findings(&[stack(half)], &[half, &[user]].concat()).unwrap();
    assert_eq!(findings.functions.whole, 1);
}

#[test]
fn stacks_and_truths_that_are_not_of_the_same_events_are_not_compared() {
    let recorded = ParsedCapture { stacks: vec![(stack(&truth()), 1)], ..ParsedCapture::default() };
    let raw = RawHit { number: 1, ..RawHit::default() };
    let seen = RawHits { raw: vec![raw], events: Some(1), ..RawHits::default() };
    let row = Arch::Mips64.row();
    let judge = |recorded: &ParsedCapture, seen: &RawHits, truth: &[Frame]| {
        compare_events(1, recorded, &[0], seen, |_| truth.to_vec(), is_in, row).unwrap_err()
    };
    let unfinished = RawHits { events: None, ..seen.clone() };
    assert_eq!(judge(&recorded, &unfinished, &truth()), EventMismatch::Unfinished);
    let more = RawHits { events: Some(2), ..seen.clone() };
    assert_eq!(judge(&recorded, &more, &truth()), EventMismatch::Number { recorded: 1, seen: 2 });
    let lost = ParsedCapture { lost: 3, ..recorded.clone() };
    assert_eq!(judge(&lost, &seen, &truth()), EventMismatch::Lost(3));
    let other = EventMismatch::Function { number: 1, traced: "vfs_read".into(), seen: "vfs_write".into() };
    assert_eq!(judge(&recorded, &seen, &[frame(0x700, "vfs_write")]), other);
}

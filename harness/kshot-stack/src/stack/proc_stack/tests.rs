use super::super::show;
use super::*;
use crate::stack::DEEPEST_STACK;

fn parse_text(text: &str) -> Parsed {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("proc_stack", 5, |bytes| parse(bytes));
}

#[test]
fn a_file_that_tail_announced_and_that_is_empty_is_an_empty_stack() {
    let parsed = parse_text("==> /proc/1/stack <==\n\n==> /proc/2/stack <==\n[<0>] f+0x1/0x2\n");
    let frames: Vec<_> = parsed.stacks.iter().map(|(stack, _)| stack.frames.len()).collect();
    assert_eq!((parsed.events, frames), (2, vec![0, 1]));
    assert_eq!(parse_text("").events, 0);
}

#[test]
fn an_empty_line_and_another_file_end_a_stack() {
    assert_eq!(parse_text("[<0>] f+0x1/0x2\n\n[<0>] g+0x1/0x2\n").events, 2);
    assert_eq!(parse_text("1/stack:[<0>] f+0x1/0x2\n2/stack:[<0>] f+0x1/0x2\n").stacks[0].1, 2);
}

#[test]
fn a_stack_without_end_is_cut_and_told() {
    let parsed = parse_text(&"[<0>] f+0x1/0x2\n".repeat(DEEPEST_STACK + 3));
    let warning = &parsed.warnings[0];
    assert_eq!((warning.kind.as_str(), warning.count, warning.line), ("deep-stack", 3, Some(1025)));
    assert_eq!(parsed.stacks[0].0.frames.len(), DEEPEST_STACK);
}

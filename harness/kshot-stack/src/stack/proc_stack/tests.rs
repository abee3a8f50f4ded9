use super::super::show;
use super::*;
use crate::stack::DEEPEST_STACK;

fn parse_text(text: &str) -> ParsedCapture {
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

#[test]
fn a_guess_is_one_and_an_address_is_better_than_its_hash() {
    let parsed = parse_text("[<f80bc9ca>] ? f+0x1/0x2\n[<00000000e0a73ec7>] 0xffffffffc01d2036\n");
    let [guess, named] = &parsed.stacks[0].0.frames[..] else { panic!("{parsed:?}") };
    assert_eq!((guess.guess, guess.name().as_str(), parsed.warnings.len()), (true, "f", 0));
    assert_eq!((named.guess, named.address), (false, Some(0xffff_ffff_c01d_2036)));
}

#[test]
fn a_line_is_known_by_its_place_or_by_the_address_that_is_hidden() {
    for line in [
        "[<0>] f",
        "[<0>] f+0x1/0x2",
        "[<ffffffff8012e4a8>] f+0x1/0x2 [tun]",
        "[<ffffffff8012e4a8>] 0xffffffff8012e4a8",
        "/proc/113/stack:[<0>] f+0x1/0x2",
    ] {
        assert!(is_of(line.as_bytes()), "{line}");
    }
    for line in
        ["[<00000000d33eeed7>] f", "[<00000000d33eeed7>] f [tun]", "[<0>]", "handlers: [<0>] f+0x1/0x2"]
    {
        assert!(!is_of(line.as_bytes()), "{line}");
    }
}

#[test]
fn a_line_with_a_number_before_a_stack_is_its_heading() {
    let frames = "[<0>] f+0x1/0x2\n[<0>] g+0x1/0x2\n";
    for headings in
        [["=== 12 (kworker/u8:1)", "=== 1234 (nfsd)"], ["1234", "1235"], ["PID 12:", "PID 13: a b"]]
    {
        let [first, second] = headings;
        let parsed = parse_text(&format!("{first}\n{frames}{second}\n{second}\n\n{frames}"));
        assert_eq!((parsed.events, parsed.stacks[0].1, parsed.warnings), (2, 2, vec![]), "{first}");
    }
    for other in ["<0>] f+0x12/0x34", "12 is behind it", "word"] {
        let text = format!("{frames}{other}\n{}", if other.starts_with("12") { "" } else { frames });
        let warnings = parse_text(&text).warnings;
        assert_eq!((warnings.len(), warnings[0].line), (1, Some(3)), "{other}");
    }
}

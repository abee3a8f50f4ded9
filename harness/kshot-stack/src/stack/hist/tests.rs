use super::super::show;
use super::*;

fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("hist", 2, |bytes| parse(bytes));
}

#[test]
fn an_entry_that_does_not_end_is_not_counted_and_told() {
    let parsed = parse_text("{ stacktrace:\n         f+0x1/0x2\n");
    assert_eq!((parsed.events, parsed.stacks.len(), parsed.warnings[0].kind.as_str()), (0, 0, "cut-capture"));
    let parsed =
        parse_text("{ stacktrace:\n         f+0x1/0x2\n{ stacktrace:\n         g+0x1/0x2\n} hitcount: 2\n");
    assert_eq!((parsed.events, parsed.stacks.len(), parsed.warnings[0].line), (2, 1, Some(3)));
}

#[test]
fn an_entry_without_hitcount_ends_at_its_values() {
    for end in [
        "}  next_prio:        240",
        "} ",
        "}",
        ", prev_prio:        120}  next_prio:        240",
        ", prev_prio:        120}  next_prio (%):  50.00  x:          1",
        ", prev_prio:        120}",
        ", common_pid: a} b             [       123]}  next_prio:        240",
    ] {
        let parsed = parse_text(&format!("{{ stacktrace:\n         f+0x1/0x2\n{end}\n").repeat(2));
        assert_eq!((parsed.events, parsed.stacks[0].1, parsed.warnings), (2, 2, vec![]), "{end}");
    }
}

#[test]
fn hits_that_no_number_can_hold_do_not_overflow() {
    let entry = format!("{{ stacktrace:\n         f+0x1/0x2\n}} hitcount: {}\n", u64::MAX);
    let parsed = parse_text(&entry.repeat(2));
    assert_eq!((parsed.events, parsed.stacks[0].1), (u64::MAX, u64::MAX));
}

#[test]
fn an_entry_is_known_without_the_heading_of_its_file() {
    let of = |line: &str, next: &str| is_of(line.as_bytes(), next.as_bytes());
    assert!(of("{ common_stacktrace:", "         f+0x1/0x2"));
    assert!(of("{ comm: migration/6         , stacktrace: ", "        f+0x1/0x2 [tun]"));
    for (line, next) in [
        ("{ common_stacktrace:", "} hitcount:          2"),
        ("{ a stacktrace:", "is what I want"),
        ("{ delta: ~ 2^12 } hitcount:          3", "         f+0x1/0x2"),
        ("common_stacktrace:", "         f+0x1/0x2"),
    ] {
        assert!(!of(line, next), "{line}");
    }
}

#[test]
fn a_frame_may_have_lost_blanks() {
    for indent in ["", " ", "        "] {
        let text = format!("{{ stacktrace:\n{indent}f+0x1/0x2\n{indent}g+0x1/0x2 [tun]\n}} hitcount: 7\n");
        let parsed = parse_text(&text);
        assert_eq!((parsed.stacks[0].0.frames.len(), parsed.stacks[0].1, parsed.warnings), (2, 7, vec![]));
    }
}

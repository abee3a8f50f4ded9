use super::*;
use crate::arch::Arch;
use crate::stack::show;

fn row() -> &'static ArchRow {
    Arch::Mips64.row()
}

fn capture(name: &str) -> ParsedCapture {
    parse(&*std::fs::read(show::data(&format!("gdb/{name}.jsonl"))).unwrap(), row()).unwrap()
}

#[test]
fn a_real_capture_gives_each_frame_with_its_function_and_what_is_inlined() {
    show::assert_snapshot("gdb", "register_netdevice", &show::parsed(&capture("register_netdevice")));
}

#[test]
fn a_breakpoint_that_was_never_hit_is_a_warning() {
    let parsed = capture("never-hit");
    let warning = &parsed.warnings[0];
    assert_eq!((parsed.events, parsed.stacks.len(), warning.kind.as_str()), (0, 0, "never-hit"));
    assert_eq!(warning.example, "the breakpoint at unregister_netdevice_many");
}

#[test]
fn a_file_cut_anywhere_costs_the_last_stack_and_no_more() {
    let whole = std::fs::read(show::data("gdb/register_netdevice.jsonl")).unwrap();
    let number = |parsed: &ParsedCapture| parsed.stacks.iter().map(|(_, count)| count).sum::<u64>();
    let all = parse(&*whole, row()).unwrap();
    for length in 0..whole.len() {
        let parsed = parse(&whole[..length], row()).unwrap();
        let known = |(stack, _): &(Stack, u64)| all.stacks.iter().any(|(known, _)| stack == known);
        assert!(parsed.stacks.iter().all(known), "{length}");
        assert!(number(&parsed) < number(&all) && number(&parsed) == parsed.events, "{length}");
        // Between two lines nothing shows.
        let warned = parsed.warnings.iter().any(|warning| warning.kind == "cut-line");
        assert!(warned || length == 0 || whole[length - 1] == b'\n', "{length}");
    }
}

#[test]
fn what_the_guest_names_its_tasks_does_not_reach_a_terminal() {
    let line = br#"{"task": "\u001b[31m", "frames": [{"pc": "what", "function": null, "inlined": false}]}"#;
    let parsed = parse(&[&line[..], b"\n"].concat()[..], row()).unwrap();
    assert_eq!(parsed.stacks[0].0.task, "\\u{1b}[31m");
    assert_eq!(parsed.warnings[0].kind, "stray-frame");
}

#[test]
fn a_truth_that_is_cut_says_at_what() {
    let line =
        br#"{"task": "a", "frames": [], "end": "cut at f [tun]: its module has no DWARF", "cut": true}"#;
    let parsed = parse(&[&line[..], b"\n", &line[..], b"\n"].concat()[..], row()).unwrap();
    let warning = &parsed.warnings[0];
    assert_eq!((warning.kind.as_str(), warning.count), ("cut-truth", 2));
    assert_eq!(warning.example, "cut at f [tun]: its module has no DWARF");
}

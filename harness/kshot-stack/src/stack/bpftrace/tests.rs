use super::super::show;
use super::*;

fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

fn told(text: &str) -> Vec<String> {
    show::lines(&parse_text(text))
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("bpftrace", 4, |bytes| parse(bytes));
}

#[test]
fn a_key_of_a_map_is_a_stack_as_often_as_it_counts() {
    assert_eq!(told("@[\n    f+1\n    g+0x20\n]: 1708\n"), ["1708 ? bpftrace: f g"]);
    assert_eq!(told("@ns[sshd, 12, \n    f+1\n]: 3\n"), ["3 sshd @ns: f"]);
    assert_eq!(told("@[\n    f+1\n, a b]: 3\n"), ["3 a b bpftrace: f"]);
    assert_eq!(told("@[\n    f+1\n,\n    main+2\n, sh]: 3\n"), ["3 sh bpftrace: f [user]"]);
    assert_eq!(told("@[\n]: 4\n"), ["4 ? bpftrace: "], "a kernel without a stack to tell");
    assert_eq!(told("@[\n    f+1\n]: \n[1]    3 |@@@|\n@[\n    f+1\n]: 2\n"), ["3 ? bpftrace: f"]);
    assert_eq!(told("@x: 5\n@y[sh]: 7\n"), [""; 0]);
}

#[test]
fn a_printed_stack_ends_with_its_indentation() {
    assert_eq!(
        told("Attaching 1 probe...\nsh\n        f+16\n        g+32\n\nsh\n        f+16\n        g+32\n"),
        ["2 ? bpftrace: f g"]
    );
    assert_eq!(told("        f+16\n        ffffffff80112980\n"), ["1 ? bpftrace: f ?"]);
}

#[test]
fn names_alone_are_frames_of_bcc_only() {
    let profile = "Sampling at 49 Hertz of all threads by user + kernel stack... Hit Ctrl-C to end.\n^C\n    f\n    g\n    --\n    main\n    -                dd (25036)\n        4\n\n    f\n    g\n    -                x y (9)\n        1\n";
    assert_eq!(told(profile), ["4 dd bpftrace: f g [user]", "1 x y bpftrace: f g"]);
    assert_eq!(told("    f\n    g\n"), [""; 0]);
    let count = "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n  f\n  g\n  'sshd'\n    3\n";
    assert_eq!(told(count), ["3 sshd bpftrace: f g"]);
    let times = "Tracing off-CPU time (us) of all threads by kernel stack... Hit Ctrl-C to end.\n    schedule\n    g\n    chmod\n        13\n\n     usecs : count\n    none\n";
    assert_eq!(told(times), ["1 ? bpftrace: schedule g chmod"], "of how long, not of how often");
}

#[test]
fn objects_tell_the_kernel_from_programs() {
    let parsed = parse_text("        f+0x1 [kernel]\n        g+0x173 [kvm]\n        h+0x7 [libc-2.17.so]\n");
    let frames: Vec<_> =
        parsed.stacks[0].0.frames.iter().map(|frame| (frame.user, frame.module.as_deref())).collect();
    assert_eq!(frames, [(false, None), (false, Some("kvm")), (true, None)]);
    assert_eq!(parsed.stacks[0].0.frames[1].offset, Some(0x173));
}

#[test]
fn a_map_that_is_cut_and_a_frame_that_cannot_be_read_are_told() {
    let parsed = parse_text("@[\n    f+1\n    ??\n");
    let kinds: Vec<_> = parsed.warnings.iter().map(|warning| warning.kind.as_str()).collect();
    assert_eq!((kinds, parsed.stacks.len()), (vec!["unreadable-line", "cut-capture"], 0));
}

#[test]
fn a_programs_address_may_be_short_and_a_name_may_be_pythons_bytes() {
    // As in bpftrace's issue 2503 and bcc's issue 2822.
    let map = "@[\n        0x4b5f00\n        0x6f8d05   \n        main+3\n]: 2\n";
    let parsed = parse(map.as_bytes()).unwrap();
    assert_eq!(parsed.warnings, []);
    let addresses = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.address).collect::<Vec<_>>();
    assert_eq!(addresses(&parsed.stacks[0].0.frames), [Some(0x4b_5f00), Some(0x6f_8d05), None]);
    let bcc =
        "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n^C\n  b'[unknown]'\n  b'f'\n    1584605\n\n";
    assert_eq!(show::lines(&parse(bcc.as_bytes()).unwrap()), ["1584605 ? bpftrace: ? f"]);
}

use super::super::show;
use super::*;

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("stack_tracer", 3, |bytes| parse(bytes));
}

#[test]
fn each_number_of_an_entry_is_read() {
    let usage = |text: &str| entry(text.as_bytes()).and_then(|frame| frame.usage);
    let negative = StackUsage { depth: 2704, size: -16 };
    assert_eq!(usage("12)     2704     -16   f+0x1/0x2"), Some(negative));
    for text in ["12)     2704   f+0x1/0x2", "12)     2704     160", "12     2704     160   f+0x1/0x2"] {
        assert_eq!(usage(text), None, "{text}");
    }
}

#[test]
fn only_a_line_with_the_next_number_is_an_entry_that_cannot_be_read() {
    let head = "        Depth    Size   Location    (4 entries)\n        -----    ----   --------\n";
    let read = |rest: &str| {
        let text = format!("{head}  0)     2928     224   f+0x1/0x2\n{rest}");
        let parsed = parse(text.as_bytes()).unwrap();
        parsed.stacks[0].0.frames.iter().map(|frame| frame.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read("  1) what is this\n  2)     2704     160   g+0x1/0x2\n"), "f ? g");
    assert_eq!(read("\nThanks,\nA\n-- \n2.39.2\n"), "f");
    assert_eq!(read("\n2) and then\n12 frames are missing\n"), "f");
}

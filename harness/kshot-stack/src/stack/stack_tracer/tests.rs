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

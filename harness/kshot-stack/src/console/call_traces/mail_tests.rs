//! Logs as mail programs, web pages and loggers damage them.

use super::tests::told;

#[test]
fn what_a_mail_program_wrapped_is_no_stack() {
    let trace = "CPU: 1 PID: 93 Comm: nfsd Not tainted 6.1.0 #1\nCall Trace:\n f+0x1/0x2\n";
    for (wrapped, told_of) in [
        ("WARNING: CPU: 1 PID: 93 at fs/nfsd/nfs4state.c:123\ng+0x1/0x2 [nfsd]\n", "warn in g"),
        ("WARNING: CPU: 1 PID: 93 at fs/nfsd/nfs4state.c:123\ng+0x1/0x2 [nfsd]()\n", "warn in g"),
        ("BUG: KASAN: slab-use-after-free in\ng+0x1/0x2 [nfsd]\n", "bug in g"),
        (" #0:  (&(&vblk->lock)->rlock){......}, at: [<ffffffff81327f1a>]\ng+0x19a/0x250\n", "call trace"),
        (" #0:  (&(&vblk->lock)->rlock){......}, at:\n[<ffffffff81327f1a>] g+0x19a/0x250\n", "call trace"),
    ] {
        assert_eq!(told(&format!("{wrapped}{trace}")), [format!("1 nfsd {told_of}: f")], "{wrapped}");
    }
    // A frame has a blank before it.
    let warn = "WARNING: CPU: 1 PID: 93 at fs/nfsd/nfs4state.c:123\n f+0x1/0x2\n";
    assert_eq!(told(warn), ["1 ? warn: f"]);
}

#[test]
fn empty_lines_between_all_others_part_nothing() {
    let log = ["CPU: 0 PID: 93 Comm: sh Not tainted 3.3.0 #1", "Call Trace:", " f+0x1/0x2", " g+0x1/0x2"];
    for before in ["", "[   12.3] ", "> "] {
        let spaced: String = log.iter().map(|line| format!("{before}{line}\n\n")).collect();
        assert_eq!(told(&spaced), ["1 sh call trace: f g"], "{spaced}");
        let two = format!("{spaced}\n\n h+0x1/0x2\n");
        assert_eq!(
            told(&two),
            ["1 sh call trace: f g", "1 ? call trace: h"],
            "an empty line that was spaced, too"
        );
    }
    assert_eq!(told(" f+0x1/0x2\n\n g+0x1/0x2\n"), ["1 ? call trace: f", "1 ? call trace: g"]);
}

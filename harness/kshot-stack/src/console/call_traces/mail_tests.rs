//! Logs as mail programs, web pages and loggers damage them.

use super::tests::{parse_text, told};

type Make<'a> = &'a dyn Fn(&str) -> String;

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
    let text = "\
[   12.1] Call Trace:
[   12.1]  [<ffffffffa0351a00>] ?
f+0x11/0x20 [nfsd]
[   12.1]  [<ffffffff81071a00>] g+0x0/0x90
[sunrpc]
[   12.1]  [<ffffffff81071a63>] h+0x63/0x90
";
    assert_eq!(told(text), ["1 ? call trace: ?f g h"]);
    let frames = &parse_text(text).stacks[0].0.frames;
    let modules: Vec<_> = frames.iter().map(|frame| frame.module.as_deref()).collect();
    assert_eq!(modules, [Some("nfsd"), Some("sunrpc"), None]);
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

#[test]
fn what_loggers_and_web_pages_make_of_a_log_reads_as_the_log() {
    let log = [
        "WARNING: CPU: 0 PID: 93 at a.c:1 f+0x1/0x2",
        "CPU: 0 PID: 93 Comm: sh Not tainted 4.9.0 #1",
        "Call Trace:",
        " [<ffffffff81051a00>] f+0x1/0x2",
        " [<ffffffff81051a01>] ? g+0x1/0x2 [tun]",
    ];
    let json =
        |line: &str| format!("{{\"log\":\"{}\\n\",\"stream\":\"stdout\"}}", line.replace('<', "\\u003c"));
    let field =
        |line: &str| format!("_TRANSPORT=kernel\n_HOSTNAME=a\n{}MESSAGE={line}\n", "_PID=1\n".repeat(9));
    let makes: [(&str, Make<'_>); 8] = [
        ("entities", &|line| line.replace('<', "&lt;").replace('>', "&gt;")),
        ("tags that are gone", &|line| {
            line.replace("<ffffffff81051a00>", "").replace("<ffffffff81051a01>", "")
        }),
        ("breaks", &|line| format!("[   12.1] {line}<br>")),
        ("docker", &json),
        ("journalctl -o export", &field),
        ("initials", &|line| format!("JD> {line}")),
        ("a switch", &|line| format!("2021 Jan  1 12:00:00 a %KERN-4-SYSTEM_MSG: [   12.1] {line} - kernel")),
        ("logcat", &|line| format!("06-15 04:48:22.666     0     0 W         : {line}")),
    ];
    for (name, make) in makes {
        let text: String = log.iter().map(|line| format!("{}\n", make(line))).collect();
        assert_eq!(told(&text), ["1 sh warn in f: f ?g"], "{name}");
    }
}

#[test]
fn a_frame_whose_line_is_cut_keeps_its_name() {
    let text = "\
[ 1234.567890] Call Trace:
[ 1234.567890]  [<ffffffffa0351a00>] f+0x11/0x20 [nfsd
[ 1234.567890]  [<ffffffffa0351a01>] g+0x11/0x
[ 1234.567890]  [<ffffffffa0351a02>] h+0x1
[ 1234.567890]  [<ffffffffa0351a03>] a_name_alone
[ 1234.567890]  [<ffffffffa0351a04>] i+0x63/0x90
";
    assert_eq!(told(text), ["1 ? call trace: f g h a_name_alone i"]);
    let arm = "[<c010b4b0>] (f) from [<c08ecd18>] (g+0xb4/0xd)\n[<c08ecd18>] (g) from [<c012db50>] (h+0x)\n";
    assert_eq!(told(arm), ["1 ? call trace: f g h"]);
}

#[test]
fn a_trace_in_one_line_is_one() {
    let string = r#""log": "WARNING: CPU: 0 PID: 93 at a.c:1 f+0x1/0x2\nCPU: 0 PID: 93 Comm: sh Not tainted 5.3.0 #1\nCall Trace:\n f+0x1/0x2\n ? g+0x1/0x2 [tun]\n""#;
    assert_eq!(told(&format!("{string}\n")), ["1 sh warn in f: f ?g"]);
    let flat = "can: x. BUG: KASAN: use-after-free in f+0x1/0x2 [can] CPU: 0 PID: 93 Comm: sh Not tainted 6.1.0 #1 \
                Call Trace: <IRQ> dump_stack+0x1/0x2 </IRQ> <TASK> ? g+0x1/0x2 f+0x1/0x2 [can] </TASK> Fix it in f.\n";
    assert_eq!(told(flat), ["1 sh bug in f: dump_stack ?g f"]);
    let older = "Call Trace: [<ffffffff81051a00>] f+0x1/0x2 [<ffffffff81051a01>] ? g+0x1/0x2 [tun] [<ffffffff81051a02>] h+0x1/0x2\n";
    assert_eq!(told(older), ["1 ? call trace: f ?g h"]);
}

#[test]
fn a_line_that_cannot_be_parted_is_read_as_it_stands() {
    let places = "+0x1|".repeat(30);
    for line in [format!("SKIP='x|Call Trace:{places}'\n"), format!("BUG: x|Call Trace:{places}\n")] {
        assert_eq!(parse_text(&line).events, 0, "{line}");
    }
}

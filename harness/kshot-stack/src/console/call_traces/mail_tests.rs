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

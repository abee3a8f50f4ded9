//! Backtraces of debuggers.

use super::tests::told;

#[test]
fn a_backtrace_goes_on_behind_the_lines_that_gdb_wraps() {
    let text = "\
(gdb) bt
#0  f (cpu=cpu@entry=1, state=CPUHP_TEARDOWN_CPU,
    dev=0xff1100017ba9a928)
    at kernel/cpu.c:192
#1  0xffffffff81140217 in g (cpu=1) at arch/x86/include/asm/smp.h:94
#2  0xffffffff81140b39 in h (dev=0xff1100017ba9a928, attr=<optimized out>, count=2)
    at drivers/base/core.c:2547
#3  i (count=2)
    at drivers/base/core.c:12
#10 j (dev=0x0, buf=<optimized out>,
    count=2) at fs/read_write.c:9
(gdb) c
";
    assert_eq!(told(text), ["1 ? backtrace: f g h i j"]);
    let mail: String = text.lines().map(|line| format!("> {line}\n")).collect();
    assert_eq!(told(&mail), ["1 ? backtrace: f g h i j"]);
    assert_eq!(told("#12 fix (a=b)\nat kernel/cpu.c:192\nin kernel\n"), [""; 0], "prose");
}

#[test]
fn a_backtrace_goes_on_behind_variables_and_words_of_the_stack() {
    let gdb = "\
#0  f (cpu=1) at kernel/cpu.c:192
        ret = 0
        st = {
          state = CPUHP_ONLINE, bringup = false}
        fn = 0xffffffff81140217 <takedown_cpu>
#1  0xffffffff81140217 in g (cpu=1)
    at kernel/cpu.c:12
No locals.
        __func__ = \"g\"
#2  0xffffffff81140b39 in h () at arch/x86/entry/entry_64.S:123
No locals.
";
    assert_eq!(told(gdb), ["1 ? backtrace: f g h"]);
    // crash(8) on 32 bits, `bt -f`.
    let crash = "\
PID: 1592   TASK: c0cec000  CPU: 3   COMMAND: \"a b\"
 #0 [c0ceded4] f at c011af85
    [RA: c0153088  SP: c0ceded4  FP: c0cedf04  SIZE: 52]
    c0ceded4: c0cedf00  c0cec000  ce1a6000  00000003
    c0cedf04: c0153088
 #1 [c0cedf04] g at c0153083
";
    assert_eq!(told(crash), ["1 a b backtrace: f g"]);
    for quote in ["    ", ">", ">>> ", "> > "] {
        let text: String = crash.lines().map(|line| format!("{quote}{line}\n")).collect();
        assert_eq!(told(&text), ["1 a b backtrace: f g"], "{quote}");
    }
}

#[test]
fn what_was_inlined_and_where_a_search_begins_belong_to_a_backtrace() {
    let crash = "PID: 64008    TASK: ffff8ad3740ec980  CPU: 0  COMMAND: \"bash\"\n #0 (inline)           f\n #1 [ffffa0f1007dfd28] g at ffffffffa699f61a\n #2 (inline)           h\n";
    assert_eq!(told(crash), ["1 bash backtrace: f g h"]);
    let start = "PID: 1357   TASK: c1aa0000  CPU: 0   COMMAND: \"lockd\"\n      START: f at c01190e0\n  [c1aa1f28] g at c0157dbc\n";
    assert_eq!(told(start), ["1 lockd backtrace: f ?g"]);
    let lldb = "(lldb) bt\n* thread #1, stop reason = signal SIGTRAP\n  * frame #0: 0xffffffff81c9b8a0 vmlinux`f\n    frame #1: 0xffffffff81001a5f vmlinux`g + 31\n* thread #2\n  * frame #0: 0xffffffff81c9b8a0 vmlinux`f\n";
    assert_eq!(told(lldb), ["1 ? backtrace: f g", "1 ? backtrace: f"]);
}

#[test]
fn the_kernels_stack_behind_a_backtrace_is_another() {
    let text = "#0  f (cpu=1) at kernel/cpu.c:192\nCall Trace:\n g+0x1/0x2\n h (kernel/cpu.c:12)\n";
    assert_eq!(told(text), ["1 ? backtrace: f", "1 ? call trace: g h"]);
    assert_eq!(told("#0  f (cpu=1) at kernel/cpu.c:192\n g+0x1/0x2\n").len(), 2);
}

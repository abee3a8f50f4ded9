use super::*;
use crate::stack::show;

pub(super) fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

pub(super) fn told(text: &str) -> Vec<String> {
    show::lines(&parse_text(text))
}

#[test]
fn every_console_reads_as_its_snapshot_says() {
    for (name, bytes) in show::captures("console").into_iter().filter(|(name, _)| name != "kinds") {
        show::assert_snapshot("console", &name, &show::parsed(&parse(&bytes[..]).unwrap()));
    }
}

#[test]
fn what_others_print_reads_as_its_snapshot_says() {
    show::assert_snapshots("pasted", 5, |bytes| parse(bytes));
}

#[test]
fn a_report_names_the_function_the_task_and_each_stack_that_it_keeps() {
    let text = "\
[    1.0] BUG: KASAN: use-after-free in f+0x1/0x2 net/core/dev.c:12
[    1.0] Read of size 8 at addr ffff888 by task eoe_filter/93
[    1.0] CPU: 0 PID: 93 Comm: eoe filter Not tainted 6.1.0 #1
[    1.0] Call Trace:
[    1.0]  <TASK>
[    1.0]  dump_stack_lvl+0x1/0x2
[    1.0]  ? g+0x1/0x2
[    1.0]  f+0x1/0x2 [tun 6f1c0b5e9a]
[    1.0]  </TASK>
[    1.0] 
[    1.0] Allocated by task 93:
[    1.0]  kasan_save_stack+0x1/0x2
[    1.0]  alloc+0x1/0x2
[    1.0] 
[    1.0] The buggy address belongs to the object at ffff888
[    1.0] page last allocated via order 0, migratetype Unmovable, pid 1
[    1.0]  prep_new_page+0x1/0x2
[    1.0] page last free pid 1 tgid 1 stack trace:
[    1.0]  free_unref_page+0x1/0x2
[    1.0] 
[    1.0] Memory state around the buggy address:
";
    assert_eq!(
        told(text),
        [
            "1 eoe filter bug in f: dump_stack_lvl ?g f",
            "1 ? bug: Allocated by task: kasan_save_stack alloc",
            "1 ? bug: page last allocated via order: prep_new_page",
            "1 ? bug: page last free pid: free_unref_page",
        ]
    );
}

#[test]
fn a_trace_goes_on_behind_the_registers_of_an_exception() {
    let text = "\
Call Trace:
 <IRQ>
 f+0x1/0x2
 </IRQ>
 <TASK>
 asm_exc+0x1/0x2
RIP: 0010:g+0x1/0x2
Code: 00 11
RSP: 0018:ffff EFLAGS: 00000246
RAX: 0000
 g+0x1/0x2
 </TASK>
Modules linked in:
";
    assert_eq!(told(text), ["1 ? call trace: f asm_exc g"]);
    let arm = "[<c1>] (f) from [<c2>] (__irq_svc+0x1/0x2)\nException stack(0xc1 to 0xc2)\n1f20: 00000000 c1a01f70\n[<c2>] (__irq_svc) from [<c3>] (h+0x1/0x2)\n";
    assert_eq!(told(arm), ["1 ? call trace: f __irq_svc h"]);
}

#[test]
fn a_trace_goes_on_behind_the_interrupt_of_older_power() {
    let text = "\
[   12.3] Call Trace:
[   12.3] [c0000000f8a3b7c0] [c000000000a1b2c4] f+0x9c/0xd0 (unreliable)
[   12.3] --- interrupt: 901 at g+0x34/0x80
[   12.3]     LR = h+0x34/0x80
[   12.3] [c0000000f8a3b7e0] [c000000000a1b2e4] i+0x9c/0xd0
";
    assert_eq!(told(text), ["1 ? call trace: ?f i"]);
}

#[test]
fn a_place_that_is_announced_alone_is_no_stack() {
    let s390 = "Call Trace:\n [<000000000011a7f0>] f+0x90/0xc0\nLast Breaking-Event-Address:\n [<000000000011b7f0>] g+0x0/0xc\n---[ end trace 0 ]---\n";
    assert_eq!(told(s390), ["1 ? call trace: f"]);
    assert_eq!(told("Last Breaking-Event-Address:\n [<000000000011b7f0>] g+0x0/0xc\n"), [""; 0]);
    for place in ["[<ffffffff81234567>] tun_lock+0x10/0x20", "tun_lock+0x10/0x20", "[<0000000000000000>] 0x0"]
    {
        let text = format!(
            "BUG: scheduling while atomic: sh/91/0x00000002\nPreemption disabled at:\n{place}\nCPU: 0 PID: 91 Comm: sh Not tainted\nCall Trace:\n f+0x1/0x2\n"
        );
        assert_eq!(told(&text), ["1 sh bug: f"], "{place}");
    }
    let none =
        "BUG: scheduling while atomic: sh/91/0x00000002\nPreemption disabled at:\nCall Trace:\n f+0x1/0x2\n";
    assert_eq!(told(none), ["1 ? bug: f"]);
}

#[test]
fn a_report_ends_in_its_rule() {
    let warn = "Call Trace:\n h+0x1/0x2\n";
    for rule in [53, 66, 80].map(|length| "=".repeat(length)) {
        let report = "BUG: KASAN: use-after-free in f+0x1/0x2\nCall Trace:\n f+0x1/0x2\n\nAllocated by task 93:\n g+0x1/0x2\n";
        assert_eq!(
            told(&format!("{rule}\n{report}{rule}\n{warn}")),
            ["1 ? bug in f: f", "1 ? bug: Allocated by task: g", "1 ? call trace: h"]
        );
        // One that stands before the first stack ends nothing.
        assert_eq!(told(&format!("UBSAN: x in a.c:1:2\n{rule}\n{warn}")), ["1 ? ubsan: h"]);
    }
    let locks = "INFO: task sh:91 blocked for more than 120 seconds.\nCall Trace:\n f+0x1/0x2\n\n=============================================\n\nCall Trace:\n g+0x1/0x2\n";
    assert_eq!(told(locks), ["1 sh hung task: f", "1 sh hung task: g"]);
    // arch/x86/kernel/dumpstack_32.c before 4.9.
    let i386 = "Call Trace:\n [<c0101234>] f+0x1/0x2\n =======================\n [<c0101235>] g+0x1/0x2\n";
    assert_eq!(told(i386), ["1 ? call trace: f g"]);
}

#[test]
fn a_sentence_that_announces_a_trace_is_one_only_with_a_frame() {
    let log =
        "[   12.3] WARNING: CPU: 0 PID: 93 at x.c:1 f+0x1/0x2\n[   12.3] Call Trace:\n[   12.3]  f+0x1/0x2\n";
    for prose in ["The bug leads to the following Call Trace:", "> With KASAN I get this call trace:"] {
        assert_eq!(told(&format!("{prose}\n\n{log}")), ["1 ? warn in f: f"]);
        assert_eq!(told(&format!("{prose}\n\nin f+0x1/0x2, that is.\n")), [""; 0]);
        assert_eq!(told(&format!("{prose}\n\n f+0x1/0x2\n g+0x1/0x2\n")), ["1 ? call trace: f g"]);
    }
    for heading in [
        "00000000Call Trace:",
        "[   12.3] a stack: Call Trace:",
        "Call Trace:",
        ": Call Trace:",
        "  backtrace:",
    ] {
        assert_eq!(told(&format!("{heading}\n")), ["1 ? call trace: "], "{heading}");
    }
}

#[test]
fn what_may_be_a_frame_behind_a_heading_is_not_lost_without_a_word() {
    for line in ["[what is this] f+0x1/0x2", "f+0x1/0x2: this is not", "x y z f+0x1/0x2", ": f+0x1/0x2"] {
        let warnings = parse_text(&format!("Call Trace:\n{line}\nThe end\n")).warnings;
        assert_eq!(warnings.iter().map(|warning| warning.line).collect::<Vec<_>>(), [Some(2)], "{line}");
    }
    for text in ["Call Trace:\nRIP: 0010:f+0x1/0x2\n", "Call Trace:\n<IRQ>\n f+0x1/0x2\nin g+0x1/0x2\n"] {
        assert_eq!(parse_text(text).warnings, [], "{text}");
    }
}

#[test]
fn callers_that_print_at_the_same_time_are_told_apart() {
    let text = "\
[    1.0][   T93] WARNING: CPU: 0 PID: 93 at x.c:1 f+0x1/0x2
[    1.0][    C1] BUG: soft lockup - CPU#1 stuck for 22s! [sh:94]
[    1.0][   T93] Call Trace:
[    1.0][    C1] Call Trace:
[    1.0][   T93]  f+0x1/0x2
[    1.0][    C1]  h+0x1/0x2
[    1.0][   T93]  g+0x1/0x2
";
    assert_eq!(told(text), ["1 ? warn in f: f g", "1 ? soft lockup: h"]);
}

#[test]
fn a_log_reads_the_same_behind_whatever_its_printer_puts_before_its_messages() {
    let log = [
        "WARNING: CPU: 0 PID: 93 at net/core/dev.c:10083 f+0x1/0x2",
        "CPU: 0 UID: 0 PID: 93 Comm: eoe_filter Not tainted 6.12.0 #1",
        "Call Trace:",
        " <TASK>",
        " f+0x1/0x2",
        " g+0x1/0x2 [tun]",
        " </TASK>",
    ];
    for prefix in [
        "[   12.345678] [    T93] ",
        "[    T93] ",
        "[Sat Nov 28 09:20:11 2026] [   T3919] ",
        "kern  :warn  : [Sat Nov 28 09:20:11 2026] ",
        "kern  :warn  : 2026-11-28T09:20:11,345678+00:00 ",
        "[   12.345680] host kernel: ",
        "[12345.68 <    0.000003>] host kernel: ",
        "kernel: ",
        "[<    0.000003>] ",
        "[Nov 8 09:21] ",
        "6.12.0,6,2444,12345678,-,caller=T93;",
        "11-28 09:20:11.345     0     0 W kernel  : ",
        "| ",
        "|",
        "> | [   12.345678] ",
    ] {
        let text: String = log.iter().map(|line| format!("{prefix}{line}\n")).collect();
        assert_eq!(told(&text), ["1 eoe_filter warn in f: f g"], "{text}");
    }
}

#[test]
fn messages_of_others_do_not_cut_a_trace_before_its_end() {
    let told =
        |frame: &str, others: &str| told(&format!("Call Trace:\n {frame}+0x1/0x2\n{others} g+0x1/0x2\n"));
    for others in [
        "eth0: link up\n",
        "usb 1-1: new high-speed USB device number 2\nusb 1-1: New USB device found, idVendor=0bda\n",
        "[  OK  ] Started a.\n         Starting b...\n[  OK  ] Started b.\n",
        &"Nov 23 09:20:11 host sshd[123]: Accepted publickey for root\n".repeat(STACK_WITHIN),
    ] {
        assert_eq!(told("f", others), ["1 ? call trace: f g"], "{others}");
    }
    assert_eq!(told("f", &"a\n".repeat(STACK_WITHIN + 1)).len(), 2);
    for others in ["in h+0x1/0x2, that is\na\n", "\n", "a\n\n", "CPU: 0 PID: 93 Comm: sh Not tainted\n"] {
        assert_eq!(told("f", others).len(), 2, "{others}");
    }
    assert_eq!(told("ret_from_fork", "a\nb\n").len(), 2, "nothing goes on behind an entry");
}

#[test]
fn the_next_stack_of_a_list_is_another() {
    let slub = "Call Trace:\n f+0x1/0x2\nAllocated in a+0x1/0x2 age=1 cpu=0 pid=1\n a+0x1/0x2\nFreed in b+0x1/0x2 age=1 cpu=0 pid=1\n b+0x1/0x2\n";
    assert_eq!(told(slub), ["1 ? call trace: f", "1 ? call trace: a", "1 ? call trace: b"]);
    let tasks = "sysrq: Show State\ntask:a b             state:S stack:0\nCall Trace:\n f+0x1/0x2\n\ntask:c               state:S stack:0\nCall Trace:\n f+0x1/0x2\n";
    assert_eq!(told(tasks), ["1 a b sysrq: Show State: f", "1 c sysrq: Show State: f"]);
}

#[test]
fn a_trace_without_frames_is_an_empty_stack() {
    assert_eq!(told("WARNING: CPU: 0 PID: 1 at x.c:1\nCall Trace:\n---[ end trace 0 ]---\n"), ["1 ? warn: "]);
}

#[test]
fn a_mail_with_source_lines_reads_as_the_log_does() {
    assert_eq!(
        told(
            "> Call Trace:\n>  <TASK>\n> ? __warn (kernel/panic.c:748)\n> f (net/core/dev.c:12 (discriminator 1)) tun\n"
        ),
        ["1 ? call trace: ?__warn f"]
    );
    assert_eq!(
        told("Call Trace:\n f net/core/dev.c:12 [inline]\n g+0x1/0x2 net/core/dev.c:13\n"),
        ["1 ? call trace: f g"]
    );
}

#[test]
fn a_trace_goes_on_behind_inlined_functions_and_from_stack_to_stack() {
    let decoded = "\
[   12.3] Call Trace:
[   12.3]  tun_set_iff (drivers/net/tun.c:2840 drivers/net/tun.c:2900) tun
[   12.3] do_syscall_64 (arch/x86/entry/common.c:52 (discriminator 1) arch/x86/entry/common.c:83 (discriminator 1))
[   12.3]  tun_chr_ioctl+0x11/0x20 tun
[   12.3]  entry_SYSCALL_64_after_hwframe (arch/x86/entry/entry_64.S:130)
";
    let names = "tun_set_iff do_syscall_64 tun_chr_ioctl entry_SYSCALL_64_after_hwframe";
    assert_eq!(told(decoded), [format!("1 ? call trace: {names}")]);
    let nmi = "Call Trace:\n <NMI>  [<c1>] f+0x1/0x2\n <<EOE>>  <IRQ>  [<c2>] g+0x1/0x2\n <EOI>  [<c3>] h+0x1/0x2\n";
    assert_eq!(told(nmi), ["1 ? call trace: f g h"]);
    let dotted = "Call Trace:\n[c0000000f8a3b7c0] [c000000000a1b2c4] .f+0x1/0x2 (unreliable)\n[c0000000f8a3b7d0] [c000000000a1b2d4] .g+0x1/0x2\n";
    assert_eq!(told(dotted), ["1 ? call trace: ?.f .g"]);
    assert_eq!(told("It died in\n\nf+0x1/0x2 when\n"), [""; 0]);
}

#[test]
fn a_frame_that_cannot_be_read_and_messages_that_were_dropped_are_told() {
    let parsed =
        parse_text("Call Trace:\n f+0x1/0x2\n g+0x1/0x2 h+0x3/0x4\n** 214 printk messages dropped **\n");
    assert_eq!(parsed.stacks[0].0.frames[1].name(), "?", "the gap is to be seen");
    let warnings: Vec<_> =
        parsed.warnings.iter().map(|warning| (warning.kind.as_str(), warning.line)).collect();
    assert_eq!((warnings, parsed.lost), (vec![("unreadable-line", Some(3)), ("lost-events", Some(4))], 214));
}

#[test]
fn frames_behind_dropped_messages_are_stacks_of_their_own() {
    let text = "Call Trace:\n f+0x1/0x2\n** 2977 printk messages dropped ** [   46.2]  [<ffffffff814f873b>] ? g+0x1/0x2\n[   46.3] \th+0x1/0x2\n** 1 printk messages dropped ** [   46.4] \ti+0x1/0x2\n";
    assert_eq!(told(text), ["1 ? call trace: f", "1 ? call trace: ?g h", "1 ? call trace: i"]);
    assert_eq!(
        told("[  1.0] Call Trace:\n[  1.0]  <IRQ> [  1.1]  [<ffffffff81eb4be9>] f+0x1/0x2\n"),
        ["1 ? call trace: f"]
    );
}

#[test]
fn arm_with_source_lines_and_saved_registers_is_one_stack() {
    let text = "Backtrace: \n[<817b2528>] (a) from [<817b261c>] (b+0x1/0x2 arch/arm/x.c:256)\n r7:81d81ac0 r6:82422c04\n[<817b2604>] (b) from [<817cec84>] (c lib/x.c:88 [inline])\n[<817b2604>] (b) from [<817cec84>] (d+0x1/0x2 lib/x.c:106)\n";
    assert_eq!(told(text), ["1 ? call trace: a b c d"]);
}

#[test]
fn a_trace_that_was_shortened_to_names_is_read() {
    let text = "Hi,\n  Call Trace:\n   <TASK>\n  mba_wrmsr\n  tun_get [tun]\n  schedule\n\nBye\n";
    assert_eq!(told(text), ["1 ? call trace: mba_wrmsr tun_get schedule"]);
    for text in ["Call Trace:\nhello\n f+0x1/0x2\n", "Call Trace:\n f+0x1/0x2\nmba_wrmsr\n"] {
        assert_eq!(told(text), ["1 ? call trace: f"], "{text}");
    }
}

#[test]
fn a_task_is_named_by_each_kernel() {
    for line in [
        "CPU: 0 PID: 93 Comm: a b Kdump: loaded Not tainted 6.12.0 #1",
        "CPU: 0 PID: 93 Comm: a b Kdump: loaded Tainted: G        W  6.12.0 #1",
        " CPU: 0 PID: 93 Comm: a b Tainted: G        W  6.12.0 #1",
        "Pid: 1234, comm: a b Not tainted 2.6.32-754.el6.x86_64 #1",
        "Pid: 1234, comm:              a b Tainted: P 2.6.32",
    ] {
        assert_eq!(told(&format!("{line}\nCall Trace:\n f+0x1/0x2\n")), ["1 a b call trace: f"], "{line}");
    }
    for line in [
        "a b             S    0     1      0 0x00000000",
        "a b             R  running task        0     1      0 0x80000008",
        "a b             t    0  1234      1 0x00000000",
        "a b             D ffffffff810b1e50     0     1      2 0x0000000000000000",
    ] {
        let text = format!("sysrq: Show State\n{line}\nCall Trace:\n f+0x1/0x2\n");
        assert_eq!(told(&text), ["1 a b sysrq: Show State: f"], "{line}");
    }
    let text = "sysrq: Show State\nAll memory is   S 1 2 3 bytes 0x00000000\nCall Trace:\n f+0x1/0x2\n";
    assert_eq!(told(text), ["1 ? sysrq: Show State: f"]);
}

#[test]
fn a_leak_names_its_task() {
    let text = "unreferenced object 0xffff880039a55260 (size 64):\n  comm \"a b\", pid 93, jiffies 4298984475 (age 16.078s)\n  hex dump (first 32 bytes):\n    2f 00 00 00  /...\n  backtrace:\n    [<00000000e0a73ec7>] f+0x1/0x2\n    [<000000000c5d2a46>] g+0x1/0x2\n";
    assert_eq!(told(&text.repeat(2)), ["2 a b kmemleak: f g"]);
}

#[test]
fn a_heading_may_be_indented_as_deep_as_a_table() {
    let text = "Hi\n\nCall Trace:\n f+0x1/0x2\n\n          backtrace:\n            [<00000000e0a73ec7>] 0xffffffffc01d2036\n            [<000000000c5d2a46>] g+0x1/0x2\n";
    assert_eq!(told(text), ["1 ? call trace: f", "1 ? call trace: ? g"]);
}

#[test]
fn a_source_that_is_not_known_belongs_to_its_frame() {
    assert_eq!(told("Call Trace:\n f+0x1/0x2 kernel/fork.c:12\n g+0x1/0x2 ??:?\n"), ["1 ? call trace: f g"]);
}

#[test]
fn what_only_names_a_function_is_no_frame() {
    for text in [
        "pc : f+0x1/0x2\nlr : g+0x1/0x2\n",
        "RIP: 0010:f+0x1/0x2\n",
        "softirqs last disabled at (1): [<c1>] f+0x1/0x2\n",
        " #0: ffff888 (&x){+.+.}-{3:3}, at: f+0x1/0x2\n",
        "calling  f+0x1/0x2 @ 1\n",
    ] {
        assert_eq!(told(text), [""; 0], "{text}");
    }
}

#[test]
fn no_more_callers_are_kept_than_can_be() {
    let text: String = (0..=MOST_CALLERS)
        .map(|number| format!("[    1.0][ T{number}] Call Trace:\n[    1.0][ T{number}]  f+0x1/0x2\n"))
        .collect();
    let parsed = parse_text(&text);
    assert_eq!(parsed.events, MOST_CALLERS as u64 + 1);
}

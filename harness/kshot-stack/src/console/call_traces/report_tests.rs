//! Reports in the shapes that public logs have them in, shortened.

use super::tests::{parse_text, told};

#[test]
fn what_others_say_in_a_chat_does_not_cut_a_trace() {
    let text = "\
12:03 <a_b> [  123.4] BUG: unable to handle page fault for address: 0000000000001234
12:03 <a_b> [  123.4] CPU: 1 PID: 93 Comm: Xorg Not tainted 6.1.0 #1
12:03 <a_b> [  123.4] RIP: 0010:f+0x1/0x2 [drm]
12:03 <c> hm
12:03 <a_b> [  123.4] Call Trace:
12:03 <a_b> [  123.4]  g+0x1/0x2 [drm]
12:04 -!- d [~d@host] has quit [Ping timeout: 240 seconds]
12:04 <c> so, it is
12:04 <c> again?
12:04 <a_b> [  123.4]  h+0x1/0x2 [drm]
";
    assert_eq!(told(text), ["1 Xorg oops in f: g h"]);
    // Of a chat whose members paste without times.
    let plain = text.replace("[  123.4] ", "").replace("12:03 <", "<").replace("12:04 <", "<");
    assert_eq!(told(&plain), ["1 Xorg oops in f: g h"]);
}

#[test]
fn a_log_that_was_indented_or_quoted_names_its_report_and_task() {
    let log = [
        "[ 5437.1] INFO: task a/b:431 blocked for more than 120 seconds.",
        "[ 5437.1] task:a/b     state:D stack:    0 pid:  431 ppid:     2 flags:0x00000028",
        "[ 5437.1] Call trace:",
        "[ 5437.1]  f+0xf8/0x160",
    ];
    for before in ["  ", "   ", "\t", "        ", ">", ">>> ", "19:20:00 "] {
        let text: String = log.iter().map(|line| format!("{before}{line}\n")).collect();
        assert_eq!(told(&text), ["1 a/b hung task: f"], "{before:?}");
    }
    for before in ["  ", "   ", ">", "19:20:00 "] {
        let text: String =
            log.iter().map(|line| format!("{before}{}\n", &line["[ 5437.1] ".len()..])).collect();
        assert_eq!(told(&text), ["1 a/b hung task: f"], "{before:?}");
    }
}

#[test]
fn what_is_said_to_be_inlined_begins_a_stack() {
    let text = "Memory state around the buggy address:\n ffffffff87ffff00: 00 00 00 00\n fail_dump lib/fault-inject.c:51 [inline]\n should_fail+0xa/0x17 lib/fault-inject.c:149\n";
    assert_eq!(told(text), ["1 ? call trace: fail_dump should_fail"]);
    assert_eq!(told("It is in f lib/fault-inject.c:51 [inline]\n"), [""; 0]);
}

#[test]
fn a_vendors_kernel_is_read_as_any_other() {
    for prefix in [
        "<4>[   12.3]  (1)[93:sh]",
        "[   12.3@1] ",
        "[   12.3s][pid:93,cpu1,sh]",
        "[   12.3] c1   93 ",
        "[   12.3] c1 ",
    ] {
        let log = ["WARNING: CPU: 1 PID: 93 at a.c:1 f+0x1/0x2", "Call trace:", " f+0x1/0x2", " g+0x1/0x2"];
        let text: String = log.iter().map(|line| format!("{prefix}{line}\n")).collect();
        assert_eq!(told(&text), ["1 ? warn in f: f g"], "{prefix}");
    }
}

#[test]
fn what_a_program_wrote_in_front_of_a_message_is_no_heading() {
    // As in Red Hat's bug 836206: half a line of wget stands in front of a frame.
    let text = "\
[  120.8] BUG: sleeping function called from invalid context at mm/memory.c:3927
[  120.8] Call Trace:
[  120.8]  [<ffffffff81099a6c>] f+0x13c/0x200
--2012-06-28 06:[  120.8]  [<ffffffff8166bbe9>] g+0x16/0x1b
";
    assert_eq!(told(text), ["1 ? bug: f g"]);
    let first = "checking disk:[   36.0] WARNING: CPU: 0 PID: 91 at a.c:5 f+0x1/0x2\n[   36.0] Call Trace:\n[   36.0]  f+0x1/0x2\n";
    assert_eq!(told(first), ["1 ? warn in f: f"]);
}

#[test]
fn a_message_behind_a_programs_text_is_its_callers() {
    let text = "\
login: [   59.8][ T6792] BUG: using smp_processor_id() in preemptible [00000000] code: sh/6792
[   59.8][ T6792] caller is f+0xa4d/0x3b70
[   59.8][ T6792] CPU: 1 PID: 6792 Comm: sh Not tainted 5.7.0 #0
[   59.8][ T6792] Call Trace:
[   59.8][ T6792]  dump_stack+0x18f/0x20d
";
    assert_eq!(told(text), ["1 sh bug: dump_stack"]);
}

#[test]
fn the_place_of_a_lock_or_of_memory_is_no_stack() {
    for (heading, place) in [
        ("sh/93 is trying to release lock (&(&wb->list_lock)->rlock) at:", "[<c022c3da>] f+0x160/0x327"),
        ("sh/93 is trying to contend lock (&x) at:", "f+0x160/0x327"),
        ("addr ffffc90000 is located in stack of task sh/93 at offset 32 in frame:", " f+0x0/0x80"),
        (" [ffffc90003170000, ffffc90003179000) created by:", " f+0x57/0x8c0"),
        ("The buggy address belongs to the variable:", " f+0x7/0x40"),
    ] {
        let text = format!("BUG: KASAN: x in g+0x1/0x2\n{heading}\n{place}\n\nCall Trace:\n h+0x1/0x2\n");
        assert_eq!(told(&text), ["1 ? bug in g: h"], "{heading}");
    }
}

#[test]
fn a_heading_is_one_only_with_its_frames_behind_it() {
    let told = |between: &str| told(&format!("BUG: KASAN: x in g+0x1/0x2\n{between} f+0x1/0x2\n"));
    for none in ["Modules linked in:", "Dumping ftrace buffer:", "sh/93 is trying to acquire lock:"] {
        assert_eq!(told(&format!("{none}\n")), ["1 ? bug in g: f"], "{none}");
    }
    assert_eq!(told("Allocated:\nPID = 93\n"), ["1 ? bug: Allocated: f"]);
    let others = "binder_alloc: 3798: binder_alloc_buf, no vma\n";
    assert_eq!(
        told(&format!("Allocated by task 93:\n{}", others.repeat(6))),
        ["1 ? bug: Allocated by task: f"]
    );
    assert_eq!(told(&format!("Allocated by task 93:\n{}", others.repeat(9))), ["1 ? bug in g: f"]);
}

#[test]
fn kfence_and_lockdep_say_which_stack_is_the_reports_own() {
    for heading in [
        "Corrupted memory at 0x00000000c5d55ff8 [ ! ! . . ] (in kfence-#214):",
        "Use-after-free read at 0x00000000c5d55ff8 (in kfence-#24):",
        "Out-of-bounds write at 0x00000000c5d55ff8 (1B left of kfence-#32):",
        "Invalid read at 0x00000000c5d55ff8:",
    ] {
        let object = "kfence-#24: 0xffff-0xffff, size=1, cache=kmalloc-128\n\nallocated by task 96 on cpu 0 at 39.97s:\n a+0x1/0x2\n";
        let older =
            "kfence-#24 [0xffff-0xffff, size=32, cache=kmalloc-32] allocated by task 507:\n a+0x1/0x2\n";
        for object in [object, older] {
            let text =
                format!("BUG: KFENCE: memory corruption in f+0x1/0x2\n\n{heading}\n f+0x1/0x2\n\n{object}");
            assert_eq!(told(&text), ["1 ? bug in f: f", "1 ? bug: allocated by task: a"], "{text}");
        }
    }
    let lockdep = "WARNING: inconsistent lock state\n{SOFTIRQ-ON-W} state was registered at:\n f+0x1/0x2\nirq event stamp: 1\n\nstack backtrace:\n[<c1>] (g) from [<c2>] (h+0x1/0x2)\n";
    assert_eq!(told(lockdep), ["1 ? warn: SOFTIRQ-ON-W state was registered at: f", "1 ? warn: g h"]);
}

#[test]
fn what_a_function_is_called_with_makes_it_no_place() {
    let csd = "csd: Detected non-responsive CSD lock (#1) on CPU#3, waiting 5000000042 ns for CPU#55 flush_tlb_func+0x0/0xb0(0xffff8e0b3e2afbe8).\n\tcsd: CSD lock (#1) handling prior scf_handler+0x0/0x50(0xffffa2a8813823c0) request.\nCPU: 3 PID: 93 Comm: sh Not tainted 5.17.0 #1\nCall Trace:\n f+0x1/0x2\n";
    assert_eq!(told(csd), ["1 sh csd lock: f"]);
    // A kernel before 3.12 names the place as if it called it.
    assert_eq!(told("WARNING: at a.c:467 f+0x11e/0x140()\nCall Trace:\n f+0x1/0x2\n"), ["1 ? warn in f: f"]);
}

#[test]
fn a_program_counter_and_a_process_are_named_by_each_kernel() {
    for line in [
        "EIP is at f+0xd/0x83",
        "IP: [<810f2a20>] f+0x70/0xa0",
        "IP: f+0x70/0xa0",
        "   ERA: 90000000002222 f+0x70/0xa0",
        "TPC: <f+0x70/0xa0>",
    ] {
        let text = format!(
            "Oops: 0000 [#1]\n{line}\nProcess a b (pid: 4467, ti=c7878000)\nCall Trace:\n g+0x1/0x2\n"
        );
        assert_eq!(told(&text), ["1 a b oops in f: g"], "{line}");
    }
    let warn = "WARNING: at kernel/watchdog.c:352\nPC is at f+0x2a8/0x3c8\nCall trace:\n f+0x1/0x2\n";
    assert_eq!(told(warn), ["1 ? warn in f: f"]);
}

#[test]
fn a_list_of_tasks_outside_of_a_report_names_them() {
    let text = "\
[  1.0]   task                        PC stack   pid father
[  1.0] init            S    0     1      0 0x00000000
[  1.0] Call Trace:
[  1.0]  f+0x1/0x2
[  1.0] a b             D13224     2      0 0x80004000
[  1.0] Call Trace:
[  1.0]  f+0x1/0x2
[  1.0] txg_sync      D 0000000000000000     0  3529      2 0x00000080
[  1.0] Call Trace:
[  1.0]  f+0x1/0x2
[  1.0] task:c               state:S stack:0     pid:1     ppid:0      flags:0x00100000
[  1.0] Call Trace:
[  1.0]  f+0x1/0x2
";
    let names =
        ["1 init call trace: f", "1 a b call trace: f", "1 txg_sync call trace: f", "1 c call trace: f"];
    assert_eq!(told(text), names);
}

#[test]
fn a_trace_goes_on_behind_the_first_lines_of_another_cpus_report() {
    // As in syzkaller's pkg/report/testdata/linux/report/206, without CONFIG_PRINTK_CALLER.
    let text = "\
[  1.0] WARNING: CPU: 0 PID: 91 at a.c:5 f+0x1/0x2
[  1.0] CPU: 0 PID: 91 Comm: a Not tainted 4.15.0 #1
[  1.0] Call Trace:
[  1.0]  f+0x1/0x2
[  1.0] b: page allocation failure: order:0, mode:0x14080c0(GFP_KERNEL)
[  1.0]  g+0x1/0x2
[  1.0] b cpuset=/ mems_allowed=0
[  1.0] CPU: 1 PID: 92 Comm: b Not tainted 4.15.0 #1
[  1.0] Hardware name: c
[  1.0]  h+0x1/0x2
[  1.0] Call Trace:
[  1.0]  dump_stack+0x1/0x2
[  1.0]  warn_alloc+0x1/0x2
[  1.0] Mem-Info:
[  1.0] active_anon:59060 inactive_anon:63 isolated_anon:0
[  1.0]  active_file:3450 inactive_file:8420 isolated_file:0
[  1.0] lowmem_reserve[]: 0 2660
[  1.0]  sys_read+0x1/0x2
";
    let expected = ["1 a warn in f: f g h", "1 b page allocation failure: dump_stack warn_alloc sys_read"];
    assert_eq!(told(text), expected);
    // The whole report stands in the midst.
    for end in [
        " </TASK>",
        " entry_SYSCALL_64_after_hwframe+0x1/0x2",
        "Mem-Info:\nfree:1\na\nb",
        "---[ end trace 0 ]---",
    ] {
        let text = format!(
            "WARNING: a.c:5 at f+0x1/0x2\nCPU: 0 PID: 91 Comm: a\nCall Trace:\n <TASK>\n f+0x1/0x2\nBUG: b\nCPU: 1 PID: 92 Comm: b\nCall Trace:\n <TASK>\n h+0x1/0x2\n{end}\n g+0x1/0x2\n </TASK>\n"
        );
        let entry = if end.starts_with(" entry") { " entry_SYSCALL_64_after_hwframe" } else { "" };
        assert_eq!(told(&text), ["1 a warn in f: f g".into(), format!("1 b bug: h{entry}")], "{end}");
    }
    let whole = "Call Trace:\n f+0x1/0x2\n ret_from_fork+0x1/0x2\nBUG: b\n g+0x1/0x2\n";
    assert_eq!(
        told(whole),
        ["1 ? call trace: f ret_from_fork", "1 ? bug: g"],
        "nothing goes on behind an entry"
    );
    // What begins with a heading is the report's, and arm prints none before 5.19.
    let headed = "Call Trace:\n f+0x1/0x2\nBUG: b\nCall Trace:\n g+0x1/0x2\n";
    assert_eq!(told(headed), ["1 ? call trace: f", "1 ? bug: g"]);
    let arm = "Call Trace:\n f+0x1/0x2\nBUG: b\nCPU: 0 PID: 93 Comm: sh Not tainted\n g from h+0x1/0x2\n";
    assert_eq!(told(arm), ["1 ? call trace: f", "1 sh bug: g h"]);
    let slub =
        "INFO: Allocated in a+0x1/0x2 age=1\n\ta+0x1/0x2\nINFO: Freed in b+0x1/0x2 age=1\n\tb+0x1/0x2\n";
    assert_eq!(told(slub), ["1 ? slab in a: a", "1 ? slab in b: b"]);
}

#[test]
fn a_leak_among_messages_of_kmemleak_names_its_task() {
    let text = "\
kmemleak: Cannot insert 0xf6800000 into the object search tree (overlaps existing)
CPU: 2 PID: 1 Comm: swapper/0 Not tainted 5.10.234 #1
Call Trace:
 dump_stack+0x1/0x2

kmemleak: Object 0xf65d6000 (size 10649600):
kmemleak:   comm \"swapper\", pid 0, jiffies 4294667296
kmemleak:   checksum = 0
kmemleak:   backtrace:
     f+0x1/0x2
";
    assert_eq!(told(text), ["1 swapper/0 kmemleak: dump_stack", "1 swapper kmemleak: f"]);
}

#[test]
fn each_architecture_announces_a_trace_in_its_words() {
    // arch/arc/kernel/stacktrace.c, arch/alpha/kernel/traps.c
    for heading in ["Stack Trace:", "Trace:", "Call Trace:", "Call trace:", "Backtrace:"] {
        let text = format!("Oops: 0000 [#1]\n{heading}\n  f+0x1/0x2\n  g+0x1/0x2\n");
        assert_eq!(told(&text), ["1 ? oops: f g"], "{heading}");
    }
    // arch/um/kernel/sysrq.c, arch/hexagon/kernel/traps.c
    for frame in ["7064b748:  [<600eff46>] f+0x62/0x9e", "[c182bec8] 0xc0072ce8: f + 0x10"] {
        assert_eq!(told(&format!("Call Trace:\n{frame}\n")), ["1 ? call trace: f"], "{frame}");
    }
}

#[test]
fn the_source_that_prints_a_trace_and_a_programs_stack_are_none() {
    for text in [
        "\tprintk(\"%sCall Trace:\\n\", log_lvl);\n",
        "\t/* Call Trace: is what everybody looks for */\n",
        "backtrace:\n      #00 pc 000000000001e1f0  /system/lib64/libc.so (strlen+16)\n",
    ] {
        assert_eq!(told(text), [""; 0], "{text}");
    }
}

#[test]
fn a_log_reads_as_a_terminal_shows_it() {
    let log = ["WARNING: CPU: 0 PID: 93 at a.c:1 f+0x1/0x2", "Call Trace:", " f+0x1/0x2", " g+0x1/0x2 [tun]"];
    for (before, behind) in [
        ("\x1b[32m[   12.3] \x1b[0m\x1b[33m", "\x1b[0m"),
        ("[   12.3] ", "^M"),
        ("[22:22:59:905] [   12.3] ", "␍␊"),
        ("", "\x1b[K"),
    ] {
        let text: String = log.iter().map(|line| format!("{before}{line}{behind}\n")).collect();
        assert_eq!(told(&text), ["1 ? warn in f: f g"], "{text}");
    }
}

#[test]
fn the_tasks_own_stack_ends_a_trace_and_who_holds_references_is_told() {
    let text = "\
[  1.0] ref_tracker: reference already released.
[  1.0] ref_tracker: allocated in:
[  1.0]  a+0x1/0x2
[  1.0] ref_tracker: freed in:
[  1.0]  b+0x1/0x2
[  1.0] WARNING: CPU: 0 PID: 93 at lib/ref_tracker.c:255 ref_tracker_free+0x1/0x2
[  1.0] Call Trace:
[  1.0]  <TASK>
[  1.0]  c+0x1/0x2
[  1.0]  </TASK>
[  1.0] ref_tracker: veth0@ffff888 has 1/2 users at
[  1.0]      d+0x1/0x2
";
    assert_eq!(
        told(text),
        [
            "1 ? refcount: allocated in: a",
            "1 ? refcount: freed in: b",
            "1 ? warn in ref_tracker_free: c",
            "1 ? refcount: d"
        ]
    );
    assert_eq!(told("Call Trace:\n <TASK>\n f+0x1/0x2\n </TASK>\na\n g+0x1/0x2\n").len(), 2);
}

#[test]
fn the_file_of_page_owner_names_tasks() {
    let text = "Page allocated via order 0, mask 0x400dc0(GFP_KERNEL), pid 737, tgid 737 (a b), ts 3964670439 ns, free_ts 0 ns\nPFN 11172 type Unmovable Block 21 type Unmovable Flags 0xfffffc0000000(node=0|zone=1)\n f+0x3f0/0x500\nCharged (via objcg) to memcg a.service\n\n";
    assert_eq!(told(text), ["1 a b call trace: f"]);
    let sorted = format!("12 times, 12 pages:\n{text}");
    assert_eq!(told(&sorted), ["1 a b call trace: f"]);
}

#[test]
fn a_stack_of_kdb_is_its_tasks_and_a_trace_without_a_task_is_nobodys() {
    let text = "\
[0]kdb> bt
Stack traceback for pid 93
0xffff888100a3a000       93       92  1    0   R  0xffff888100a3ab80 *a b
CPU: 0 PID: 93 Comm: a b Not tainted 6.1.0 #1
Call Trace:
 f+0x1/0x2
[0]kdb> btp 1
Stack traceback for pid 1
0xffff888100a3a000        1        0  0    0   S  0xffff888100a3ab80  init
Call Trace:
 g+0x1/0x2
";
    assert_eq!(told(text), ["1 a b call trace: f", "1 init call trace: g"]);
    let dump = "CPU: 0 PID: 93 Comm: a Not tainted\nCall Trace:\n f+0x1/0x2\n\n";
    assert_eq!(told(&format!("{dump}Call Trace:\n g+0x1/0x2\n")), ["1 a call trace: f", "1 ? call trace: g"]);
    assert_eq!(
        told(&format!("BUG: b\n{dump}Call Trace:\n g+0x1/0x2\n")),
        ["1 a bug: f", "1 a bug: g"],
        "of a report"
    );
}

#[test]
fn a_stack_may_begin_with_functions_that_were_inlined() {
    let frames = " slab_alloc_node mm/slub.c:4168 [inline]\n f+0x1/0x2 mm/slub.c:4302\n";
    for (heading, event) in [
        ("Uninit was created at:", "bug: Uninit was created at"),
        ("write to 0xffff888102345678 of 8 bytes by task 3211 on cpu 1:", "bug: write to"),
        ("page last free pid 5825 tgid 5825 stack trace:", "bug: page last free pid"),
        ("-> #0 (&x->lock){+.+.}-{2:2}:", "bug"),
        ("   INITIAL USE at:", "bug: INITIAL USE at"),
    ] {
        let text = format!("BUG: KASAN: x in g+0x1/0x2\n h+0x1/0x2\n\n{heading}\n{frames}");
        assert_eq!(told(&text)[1], format!("1 ? {event}: slab_alloc_node f"), "{heading}");
    }
    assert_eq!(
        told(&format!("BUG: KMSAN: uninit-value in g+0x1/0x2 net/a.c:1\n{frames}")),
        ["1 ? bug in g: slab_alloc_node f"]
    );
}

#[test]
fn a_stack_with_lines_of_sources_needs_no_offsets() {
    // scripts/decode_stacktrace.sh takes the blanks away, and riscv announces no stack.
    let kasan = "BUG: KASAN: x in g (mm/x.c:1)\n\nAllocated by task 12:\nf (mm/x.c:46)\n h (mm/x.c:9) tun\n";
    assert_eq!(told(kasan), ["1 ? bug: Allocated by task: f h"]);
    let riscv = "\
[    1.0] WARNING: CPU: 0 PID: 12 at mm/x.c:1 f+0x1/0x2
[    1.0] CPU: 0 PID: 12 Comm: a Not tainted 6.1.0 #1
[    1.0] epc : f (mm/x.c:1)
[    1.0]  ra : g (mm/x.c:1)
[    1.0] f (mm/x.c:1)
[    1.0] g (mm/x.c:12)
";
    assert_eq!(told(riscv), ["1 a warn in f: f g"]);
    let arm = "CPU: 0 PID: 12 Comm: a Not tainted 6.1.0 #1\nunwind_backtrace from f (arch/arm/x.c:258)\nf from g (lib/x.c:12) tun\n";
    assert_eq!(told(arm), ["1 a call trace: unwind_backtrace f g"]);
    assert_eq!(told("It is at fault:\nf (mm/x.c:46)\n"), [""; 0], "of no report");
}

#[test]
fn the_handlers_of_an_interrupt_are_no_stack() {
    let text = "\
irq 16: nobody cared (try booting with the \"irqpoll\" option)
Pid: 0, comm: swapper Not tainted 2.6.32
Call Trace:
 [<ffffffff810d8f9b>] __report_bad_irq+0x9b/0xa0
 [<ffffffff814d064c>] do_IRQ+0x6c/0xf0
handlers:
[<ffffffff813a0b20>] (usb_hcd_irq+0x0/0xb0)
[<ffffffffa0123b20>] (ata_bmdma_interrupt+0x0/0x1f0 [libata])
Disabling IRQ #16
";
    assert_eq!(told(text), ["1 swapper bad irq: __report_bad_irq do_IRQ"]);
}

#[test]
fn a_report_that_names_its_task_last_is_that_tasks() {
    let rule = "=".repeat(53);
    for kind in ["KMSAN: uninit-value", "KFENCE: out-of-bounds read"] {
        let text = format!(
            "{rule}\nBUG: {kind} in f+0x1/0x2\n f+0x1/0x2\n\nUninit was created at:\n g+0x1/0x2\n\nCPU: 0 UID: 0 PID: 12 Comm: sh Not tainted 6.12.0 #0\n{rule}\n"
        );
        let own = ["1 sh bug in f: f", "1 ? bug: Uninit was created at: g"];
        assert_eq!(told(&text), own, "{kind}");
        let next = format!("{text}Call Trace:\n h+0x1/0x2\n");
        assert_eq!(told(&next)[..2], own, "the next is of no report");
        assert_eq!(told(&next)[2], "1 ? call trace: h");
    }
    let unnamed =
        format!("BUG: KMSAN: x in f+0x1/0x2\n f+0x1/0x2\n{rule}\nCPU: 0 PID: 12 Comm: sh Not tainted\n");
    assert_eq!(told(&unnamed), ["1 ? bug in f: f"]);
    let alpha = "Unable to handle kernel paging request at virtual address 0000000000000008\na b(123): Oops 0\nTrace:\n[<fffffc0000311a2c>] f+0x1c/0x20\n";
    assert_eq!(told(alpha), ["1 a b oops: f"]);
}

#[test]
fn an_address_of_which_nothing_is_known_is_a_frame() {
    for frame in [
        "[<          (null)>]           (null)",
        "([<0000000000000000>]           (null))",
        "[c0000001ec0f7b30] [c0000001ec0f7be0] 0xc0000001ec0f7be0 (unreliable)",
    ] {
        let text = format!("Oops: 0004 [#1]\nCall Trace:\n {frame}\n [<00000000002a1235>] f+0x1/0x2\n");
        let told = told(&text);
        assert!(told[0].ends_with(" f") && told[0].split(' ').count() == 5, "{told:?}");
    }
    let arm = "[<c0141234>] (f) from [<c0107238>] (ret_from_fork+0x14/0x3c)\n[<c0107238>] (ret_from_fork) from [<00000000>] (  (null))\n";
    assert_eq!(parse_text(arm).stacks[0].0.frames.len(), 3);
    let sparc = "Call Trace:\n [0000000000406084] f+0x1c/0x2c\n [0000000000000000] 0x0\n";
    assert_eq!(told(sparc), ["1 ? call trace: f"], "the end of a stack");
}

/// `show_stack` of arch/sparc/kernel/process_32.c prints address and place of a frame each by itself.
#[test]
fn sparc32_prints_its_frames_in_one_line_or_each_in_two() {
    let heading = "WARNING: at kernel/workqueue.c:123 f+0x10/0x20()\n";
    for frames in [
        "[f0048fdc : f+0x30/0x60 ] [f0048fec : g+0xc0/0xd4 ] [00000000 : 0x0 ] \n",
        "[f0048fdc : f+0x30/0x60 ] \n[f0048fec : g+0xc0/0xd4 ] \n[00000000 : 0x0 ] \n",
        "[f0048fdc : \nf+0x30/0x60 ] \n[f0048fec : \ng+0xc0/0xd4 ] \n[00000000 : \n0x0 ] \n",
    ] {
        assert_eq!(told(&format!("{heading}{frames}---[ end trace 139 ]---\n")), ["1 ? warn in f: f g"]);
        let timed = format!("{heading}{frames}")
            .lines()
            .map(|line| format!("[   12.345678] {line}\n"))
            .collect::<String>();
        assert_eq!(told(&timed), ["1 ? warn in f: f g"], "{timed}");
    }
}

#[test]
fn parisc_names_the_task_behind_its_stack() {
    let task = "CPU: 0 PID: 93 Comm: kworker/0:1 Not tainted 5.18.0+ #12\n";
    let bits = "     YZrvWESTHLNXBCVMcbcbcbcbOGFRQPDI\nPSW: 00001000000001101111111100001111 Not tainted\n";
    let fault = "Kernel Fault: Code=15 (Data TLB miss fault) at addr 0000000000000008\n";
    let stack = "Backtrace:\n [<000000004021c5a0>] f+0x20/0x38\n [<0000000040a1c5a0>] g+0x20/0x38\n\n";
    for text in [format!("{stack}{task}{bits}"), format!("{stack}{fault}{task}{bits}")] {
        assert_eq!(told(&text), ["1 kworker/0:1 call trace: f g"], "{text}");
    }
    assert_eq!(
        told(&format!("{stack}{task}{stack}")),
        ["1 ? call trace: f g", "1 kworker/0:1 call trace: f g"]
    );
    assert_eq!(told(&format!("{task}{bits}{stack}")), ["1 kworker/0:1 call trace: f g"]);
    let other = format!("{stack}BUG: KMSAN: x in f+0x1/0x2\n f+0x1/0x2\n{task}");
    assert_eq!(told(&other), ["1 ? call trace: f g", "1 kworker/0:1 bug in f: f"]);
}

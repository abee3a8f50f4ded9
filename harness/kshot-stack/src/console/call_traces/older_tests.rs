//! Call traces of kernels before 2.6.32, of kernels without names, and of architectures that print frames in
//! a shape of their own.

use super::tests::{parse_text, told};
use crate::stack::proc_stack;

/// The addresses of the frames of the only stack in a text.
fn addresses(text: &str) -> Vec<u64> {
    let stacks = parse_text(text).stacks;
    assert_eq!(stacks.len(), 1, "{text}");
    stacks[0].0.frames.iter().filter_map(|frame| frame.address).collect()
}

/// x86-64 from 2.6.18 to 2.6.25; the kernel's Documentation/admin-guide/bug-hunting.rst has such a trace.
#[test]
fn a_module_may_stand_between_colons() {
    let text = "Call Trace:\n [<ffffffff880b2a1c>] :jbd:kjournald+0xc1/0x213\n [<ffffffff8003287b>] kthread+0xfe/0x132\n [<ffffffff880b2a1c>] ? :snd-hda:f+0x1/0x2\n";
    assert_eq!(told(text), ["1 ? call trace: kjournald kthread ?f"]);
    let modules =
        parse_text(text).stacks[0].0.frames.iter().map(|frame| frame.module.clone()).collect::<Vec<_>>();
    assert_eq!(modules, [Some("jbd".into()), None, Some("snd-hda".into())]);
    assert!(!proc_stack::is_of(b"[<ffffffff880b2a1c>] :jbd:kjournald+0xc1/0x213"));
    let page = "Call Trace:\n [] :jbd:f+0xc1/0x213\n [] g+0xfe/0x132\n";
    assert_eq!(told(page), ["1 ? call trace: f g"]);
}

#[test]
fn x86_64_before_2_6_18_prints_several_frames_in_a_line() {
    let text = "\
Call Trace: <IRQ> <ffffffff8010bd9b>{dump_stack+12} <ffffffff880b2a1c>{:jbd:kjournald+193}
       <ffffffff8013f0e4>{do_IRQ+236}  <EOI> <ffffffff8010b2be>{cpu_idle+8} [<ffffffff8800b2be>]
       <ffffffff80147c50>{child_rip+0}
";
    let names = "dump_stack kjournald do_IRQ cpu_idle ? child_rip";
    assert_eq!(told(text), [format!("1 ? call trace: {names}")]);
    let timed: String =
        text.lines().map(|line| format!("Jun  3 13:38:41 host kernel: [  299.6] {line}\n")).collect();
    assert_eq!(told(&timed), [format!("1 ? call trace: {names}")]);
    let frame = &parse_text(text).stacks[0].0.frames[1];
    assert_eq!((frame.offset, frame.module.as_deref()), (Some(193), Some("jbd")));
    assert_eq!(told("RIP: 0010:[<ffffffff8010bd9b>] <ffffffff8010bd9b>{f+12}\n"), [""; 0]);
}

/// x86-64 before 2.6.28; the second shape of a place is that before 2.6.18.
#[test]
fn the_place_of_the_program_counter_is_no_stack() {
    for place in [" [<ffffffff880b2a1c>] :jbd:f+0xc1/0x213", "<ffffffff880b2a1c>{:jbd:f+193}"] {
        let text = format!(
            "Unable to handle kernel NULL pointer dereference at 0000000000000008 RIP: \n{place}\nPGD 1c7e9067\nPid: 5, comm: a Not tainted 2.6.16 #1\nCall Trace:\n [<ffffffff8024c7ed>] g+0x1/0x2\n\nRIP {place} RSP <ffff81012f8f5d10>\n"
        );
        assert_eq!(told(&text), ["1 a oops in f: g"], "{place}");
    }
    let warn = "general protection fault: 0000 [1] SMP\nRIP: 0010:[<ffffffff8010bd9b>] <ffffffff8010bd9b>{:jbd:f+12}\nCall Trace:<ffffffff8024c7ed>{g+236}\n";
    assert_eq!(told(warn), ["1 ? oops in f: g"]);
}

#[test]
fn klogd_names_addresses_with_decimal_offsets() {
    let named = "\
Call Trace:
 [default_idle+49/89] default_idle+0x31/0x59
 [pg0+943861403/1069167616] acpi_processor_idle+0x184/0x32d [processor]
 [cpu_idle+154/188] ? cpu_idle+0x9a/0xbc
";
    assert_eq!(told(named), ["1 ? call trace: default_idle acpi_processor_idle ?cpu_idle"]);
    // i386 2.4, where the kernel prints no name.
    let alone = "Call Trace:    [do_IRQ+25/48] [common_interrupt+26/32] [<c0105234>]\n  [cpu_idle+66/96]\nCode: 8b 40 04\n";
    assert_eq!(told(alone), ["1 ? call trace: do_IRQ common_interrupt ? cpu_idle"]);
    let handlers = " [do_IRQ+25/48] do_IRQ+0x19/0x30\nhandlers:\n[pg0+950710368/1069179904] (usb_hcd_irq+0x0/0x70 [usbcore])\nDisabling IRQ #233\n";
    assert_eq!(told(handlers), ["1 ? call trace: do_IRQ"]);
}

#[test]
fn a_frame_without_a_name_is_one() {
    // MIPS without CONFIG_KALLSYMS.
    for text in [
        "Call Trace:[<80102a34>] 0x80102a34\n[<80112a34>] 0x80112a34\n\nCode: 3c030006\n",
        "Call Trace:[<80102a34>][<80112a34>]\n\nCode: 3c030006\n",
        "Call Trace:\n [<80102a34>]\n [<80112a34>]\nCode: 3c030006\n",
    ] {
        assert_eq!(addresses(text), [0x8010_2a34, 0x8011_2a34], "{text}");
    }
    // arm without CONFIG_KALLSYMS.
    let arm = "Function entered at [<c010c134>] from [<c010993c>]\n r3:00000000 r2:c0a3bf8c\nFunction entered at [<c0109900>] from [<c0823754>]\n";
    for heading in ["", "Backtrace: \n"] {
        assert_eq!(addresses(&format!("{heading}{arm}")), [0xc010_c134, 0xc010_993c, 0xc082_3754]);
    }
    // x86 since 4.10, of a module that is gone.
    let text = "Call Trace:\n ? 0xffffffffc0a4f000\n f+0x1/0x2\n";
    assert_eq!(told(text), ["1 ? call trace: ?? f"]);
    assert_eq!(told("Is it\n ? 0xffffffffc0a4f000\n[<80102a34>]\n[<80102a34>] [<80102a35>]\n"), [""; 0]);
}

#[test]
fn the_end_mark_of_a_saved_stack_is_no_frame() {
    for mark in [
        "[<ffffffffffffffff>] 0xffffffffffffffff",
        "[<00000000a1b2c3d4>] 0xffffffffffffffff",
        "[<ffffffff>] 0xffffffff",
    ] {
        let text = format!(
            "unreferenced object 0xffff880211e2aec0 (size 544):\n  backtrace:\n    [<c1>] f+0x21/0x50\n    {mark}\nunreferenced object 0xffff880211e2aec0 (size 544):\n  backtrace:\n    [<c1>] g+0x21/0x50\n    {mark}\n"
        );
        assert_eq!(told(&text), ["1 ? kmemleak: f", "1 ? kmemleak: g"], "{mark}");
    }
    let jump = "Call Trace:\n f+0x1/0x2\n ? 0xffffffffffffffff\n g+0x1/0x2\n";
    assert_eq!(told(jump), ["1 ? call trace: f ?? g"], "a word of the stack");
    let arm = "[<c1>] (f) from [<c2>] (g+0x1/0x2)\n[<c2>] (g) from [<ffffffff>] (0xffffffff)\n";
    assert_eq!(told(arm), ["1 ? call trace: f g ?"], "what was no saved stack");
}

#[test]
fn a_frame_that_a_terminal_cut_at_its_last_column_is_whole() {
    let cut = "\
[   16.000015] [<bf0a501c>] (wl_work [wl18xx]) from [<c0052a34>] (process_one_wo
rk+0x1c8/0x470)
[   16.000016] [<c0052a34>] (process_one_work) from [<c0052f10>] (worker_thread+
0x234/0x534)
[   16.000017] [<c0052f10>] (worker_thread) from [<c00581
98>] (kthread+0xcc/0xe8)
";
    assert_eq!(told(cut), ["1 ? call trace: wl_work process_one_work worker_thread kthread"]);
    // What was cut off is lost.
    let lost = "Backtrace:\n[<c1>] (f) from [<c2>] (g+0x1/0x2)\n[<c2>] (g) from [<c3>] (h+0x1\n[<c3>] (h) from [<c4>] (i+0x1/0x2)\n";
    assert_eq!(told(lost), ["1 ? call trace: f g h i"]);
}

#[test]
fn architectures_print_frames_in_a_shape_of_their_own() {
    let tile = "Starting stack dump of tid 93, pid 93 (a b) on cpu 0 at cycle 1234567890\n  frame 0: 0xfffffff7000a1234 f+0x0/0x20 (sp 0xfffffe01fff0fd10)\n  frame 1: 0xfffffff7000b1234 g+0x168/0x398 (sp 0xfffffe01fff0fd10)\nStack dump complete\n";
    assert_eq!(told(tile), ["1 a b call trace: f g"]);
    let blackfin = "Return addresses in stack:\n    address : <0x00005a3e> { _f + 0x2e }\n    address : <0x00042a3e> { :tun:_g + 0x5e }\n";
    assert_eq!(told(blackfin), ["1 ? call trace: _f _g"]);
    let avr32 = "Oops: Kernel access of bad area, sig: 11 [#1]\nProcess: a b [312] (task: 91e2c400 thread: 91e3c000)\nCall trace:\n [<c0a2301c>] f+0x1c/0x84 [foo]\n";
    assert_eq!(told(avr32), ["1 a b oops: f"]);
}

#[test]
fn kdb_before_2_6_35_prints_frames_behind_the_task_alone() {
    let i386 = "Stack traceback for pid 93\n0xf717f1b0\t93\t1\t1\t0\tR\t0xf717f400 *a b\nESP\tEIP\tFunction (args)\n0xf75bfe38 0xc02d04b2 f+0x2e (0xf7441a80)\n0xf75bff34 0xc015667c [jbd]g+0x14 (0xf63080e4, 0x0)\n";
    assert_eq!(told(i386), ["1 a b call trace: f g"]);
    let ia64 = "Stack traceback for pid 93\n0xe00002b007230000     93     3139  1   11   R  0xe00002b0072304f0 *ls\n0xa0000001000feee0 f\n        args (0xe00002b007230000)\n0xa0000001001a3b20 g+0x80\n";
    assert_eq!(told(ia64), ["1 ls call trace: f g"]);
    assert_eq!(told("0xa0000001000feee0 f\n0xa0000001001a3b20 g+0x80\n"), [""; 0], "of no task");
}

/// `show_task()` of 2.6.18 and `sched_show_task()` before 2.6.31 print no flags.
#[test]
fn a_list_of_tasks_without_flags_names_them() {
    for line in [
        "a b           D 0000000000000000     0   231      2",
        "a b           D c001eb8c     0   231      2",
        "a b           R  running task        0   231      2",
        "a b           R running      0   231      2",
        "a b           D ffff81012fa5e040     0   231      9           232   230 (L-TLB)",
        "a b           D C001EB8C  3216   165    153                     (NOTLB)",
    ] {
        for report in ["", "SysRq : Show State\n"] {
            let text = format!("{report}{line}\n c1a67f3c 00000086\nCall Trace:\n [<c001e990>] f+0x1/0x2\n");
            assert!(told(&text)[0].starts_with("1 a b "), "{text}");
        }
    }
    for prose in
        ["All memory is D in use 1 2 3", "All memory   D c001eb8c 1 2 3 4", "a b           R running 1 2"]
    {
        let text = format!("{prose}\nCall Trace:\n f+0x1/0x2\n");
        assert_eq!(told(&text), ["1 ? call trace: f"], "{text}");
    }
}

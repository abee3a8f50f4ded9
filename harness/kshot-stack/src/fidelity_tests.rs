use super::*;
use crate::arch::Arch;
use crate::stack::{ftrace_text, perf_script};

/// The real addresses of one kernel (`harness/kshot-stack/tests/data/README.md`).
const TRUTH: &str = "\
ffffffff803fefe0 register_netdevice+0x0 ([kernel.kallsyms])
ffffffff803a68b4 __tun_chr_ioctl+0x0 (inlined)
ffffffff803a68b4 tun_chr_ioctl+0xeec ([kernel.kallsyms])
ffffffff80258a10 __se_sys_ioctl+0x100 ([kernel.kallsyms])
ffffffff80114740 handle_sys64+0x34 ([kernel.kallsyms])
10d2f4 [unknown] (/bin/eoe_filter)";

fn truth(task: &str, event: &str, frames: &str) -> Stack {
    let frames: String = frames.lines().map(|frame| format!("\t{frame}\n")).collect();
    perf_script::parse(format!("{task} 1 1.5: {event}:\n{frames}\n").as_bytes()).unwrap().stacks.remove(0).0
}

fn told(frames: &[&str]) -> Stack {
    let head = "      eoe_filter-1       [000] .....     0.1: ";
    let frames: String = frames.iter().map(|frame| format!(" => {frame}\n")).collect();
    let text = format!("{head}register_netdevice <-tun_chr_ioctl\n{head}<stack trace>\n{frames}");
    ftrace_text::parse(text.as_bytes()).unwrap().stacks.remove(0).0
}

#[test]
fn frames_count_by_address_by_offset_or_by_name() {
    let cases: &[(&str, &[&str], u64)] = &[
        ("an empty stack", &[], 0),
        ("the bug of MIPS", &["ftrace_graph_call", "0"], 0),
        (
            "names alone",
            &["ftrace_graph_call", "register_netdevice", "tun_chr_ioctl", "sys_ioctl", "syscall_common"],
            4,
        ),
        ("without plumbing", &["register_netdevice", "tun_chr_ioctl", "__se_sys_ioctl", "handle_sys64"], 4),
        (
            "the innermost frame at another place of its function",
            &["register_netdevice+0x24/0x798 <ffffffff803ff004>"],
            1,
        ),
        ("the innermost frame under another name", &["another_name+0x24/0x798 <ffffffff803ff004>"], 1),
        ("an alias at the same address", &["what_a_name <ffffffff80258a10>"], 1),
        ("the right function at a wrong place", &["tun_chr_ioctl <ffffffff803a6800>"], 0),
        ("the right function at the right offset", &["tun_chr_ioctl+0xeec/0x15e8"], 1),
        ("the right function at a wrong offset", &["tun_chr_ioctl+0xeee/0x15e8"], 0),
        ("a compiler's clone", &["tun_chr_ioctl.constprop.0"], 1),
        ("a hole in the middle", &["register_netdevice", "syscall_common"], 2),
        ("frames that are not there", &["register_netdevice", "a", "b", "tun_chr_ioctl", "c"], 2),
        ("frames in the wrong order", &["syscall_common", "tun_chr_ioctl", "register_netdevice"], 1),
        ("one frame told twice", &["register_netdevice", "register_netdevice", "register_netdevice"], 1),
        ("an inlined frame of the truth", &["__tun_chr_ioctl"], 0),
    ];
    let truth = truth("eoe_filter", "probe:register_netdevice", TRUTH);
    for (name, frames, got) in cases {
        assert_eq!(fidelity(&told(frames), &truth, Arch::Mips64.row()), (4, *got), "{name}");
    }
}

#[test]
fn the_truth_ends_at_its_entry() {
    let reference = truth(
        "a",
        "probe:f",
        "ffffffff80000000 f+0x0\nffffffff80000100 start_kernel+0x10\nffffffff80000200 kernel_entry+0x4",
    );
    assert_eq!(fidelity(&told(&[]), &reference, Arch::Mips64.row()).0, 2);
}

fn measured(stack: &Stack, references: &[Stack]) -> Option<(u64, u64)> {
    against(stack, references, Reference::Perf, Arch::Mips64.row()).map(|found| (found.of, found.got))
}

#[test]
fn a_reference_is_of_the_same_event_and_task() {
    let stack = told(&["register_netdevice", "tun_chr_ioctl"]);
    let good = truth("eoe_filter", "probe:register_netdevice", TRUTH);
    assert_eq!(
        measured(&stack, &[truth("sh", "probe:register_netdevice", TRUTH), good.clone()]),
        Some((4, 2))
    );
    assert_eq!(measured(&stack, &[truth("sh", "probe:register_netdevice", TRUTH)]), None);
    assert_eq!(measured(&stack, &[truth("eoe_filter", "sched:sched_switch", TRUTH)]), None);
    assert_eq!(measured(&stack, &[]), None);

    let forgotten = Stack { task: "<...>".into(), ..stack.clone() };
    assert_eq!(measured(&forgotten, std::slice::from_ref(&good)), Some((4, 2)));
    let kprobe = Stack { event: "rn".into(), ..stack };
    assert_eq!(measured(&kprobe, &[good]), Some((4, 2)));
}

#[test]
fn a_path_that_the_truth_saw_in_another_task_is_true() {
    let event = "probe:register_netdevice";
    let elsewhere = TRUTH.replace("80258a10 __se_sys_ioctl+0x100", "80258a44 __se_sys_ioctl+0x134");
    let references = [truth("eoe_filter", event, TRUTH), truth("dropbear", event, &elsewhere)];
    let other = truth("eoe_filter", event, &elsewhere);
    assert_eq!(measured(&other, &references[..1]), Some((4, 3)), "nobody saw that path");
    assert_eq!(measured(&other, &references), Some((4, 4)));
    let with_a_hole: String =
        elsewhere.lines().filter(|line| !line.contains("tun_chr")).collect::<Vec<_>>().join("\n");
    assert_eq!(measured(&truth("eoe_filter", event, &with_a_hole), &references), Some((4, 2)));
    let with_more = elsewhere
        .replace("ffffffff80258a44", "ffffffff80258000 wrong+0x0 ([kernel.kallsyms])\nffffffff80258a44");
    assert_eq!(measured(&truth("eoe_filter", event, &with_more), &references), Some((4, 3)));
}

#[test]
fn half_a_stack_is_no_reference() {
    let half = TRUTH.lines().take(3).collect::<Vec<_>>().join("\n");
    let stack = told(&["register_netdevice"]);
    assert_eq!(measured(&stack, &[truth("eoe_filter", "probe:register_netdevice", &half)]), None);
}

#[test]
fn of_several_references_the_one_that_explains_most_counts() {
    let event = "probe:register_netdevice";
    let boot = "ffffffff803fefe0 register_netdevice+0x0\nffffffff803ff7a8 register_netdev+0x30\nffffffff805178ac kernel_init+0x2c\nffffffff801032b8 ret_from_kernel_thread+0x14\n0 [unknown]";
    let references = [truth("eoe_filter", event, boot), truth("eoe_filter", event, TRUTH)];
    assert_eq!(measured(&told(&["register_netdevice", "tun_chr_ioctl"]), &references), Some((4, 2)));
    assert_eq!(
        measured(&told(&["register_netdevice", "register_netdev", "kernel_init"]), &references),
        Some((4, 3))
    );
}

#[test]
fn a_stack_without_an_event_needs_references_of_one_event() {
    let unnamed =
        Stack { event: ftrace_text::UNNAMED.into(), function: None, ..told(&["register_netdevice"]) };
    let good = truth("eoe_filter", "probe:register_netdevice", TRUTH);
    assert_eq!(measured(&unnamed, std::slice::from_ref(&good)), Some((4, 1)));
    assert_eq!(measured(&unnamed, &[good, truth("eoe_filter", "probe:other_function", TRUTH)]), Some((4, 1)));
    let fork = truth("eoe_filter", "sched:sched_process_fork", TRUTH);
    assert_eq!(measured(&unnamed, &[truth("eoe_filter", "probe:register_netdevice", TRUTH), fork]), None);
}

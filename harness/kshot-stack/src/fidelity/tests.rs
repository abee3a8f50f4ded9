use std::sync::Arc;

use super::*;
use crate::arch::Arch;
use crate::stack::{ftrace_text, perf_script, proc_stack};

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

fn reported(frames: &[&str]) -> Stack {
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
        ("one frame twice", &["register_netdevice", "register_netdevice", "register_netdevice"], 1),
        ("an inlined frame of the truth", &["__tun_chr_ioctl"], 0),
    ];
    let truth = truth("eoe_filter", "probe:register_netdevice", TRUTH);
    for (name, frames, got) in cases {
        assert_eq!(measured(&reported(frames), std::slice::from_ref(&truth)), Some((4, *got)), "{name}");
    }
}

#[test]
fn the_truth_ends_at_its_entry() {
    let reference = truth(
        "eoe_filter",
        "probe:register_netdevice",
        "ffffffff80000000 register_netdevice+0x0\nffffffff80000100 start_kernel+0x10\nffffffff80000200 kernel_entry+0x4",
    );
    assert_eq!(measured(&reported(&[]), &[reference]), Some((2, 0)));
}

#[test]
fn an_entry_in_c_does_not_end_the_truth_where_the_one_in_assembly_calls_it() {
    let names = |symbols: &[&str]| {
        let frame = |(at, symbol): (usize, &&str)| {
            let address = Some(0xffff_ffff_8100_0000 + at as u64);
            Arc::new(Frame { symbol: Some((*symbol).into()), address, ..Frame::default() })
        };
        let frames = symbols.iter().enumerate().map(frame).collect();
        let stack = Stack { frames, ..reported(&[]) };
        up_to_entry(&stack, Arch::X8664.row()).iter().map(|frame| frame.name()).collect::<Vec<_>>()
    };
    for symbols in [&["kthread", "ret_from_fork", "ret_from_fork_asm"][..], &["kthread", "ret_from_fork"]] {
        assert_eq!(names(symbols), symbols);
    }
    assert_eq!(names(&["kthread", "ret_from_fork", "other"]), ["kthread", "ret_from_fork"]);
}

fn measure(stack: &Stack, references: &[Stack]) -> Option<MeasuredStack> {
    References::new(references, ReferenceKind::Perf, Arch::Mips64.row()).measure(stack)
}

fn measured(stack: &Stack, references: &[Stack]) -> Option<(u64, u64)> {
    measure(stack, references).map(|found| (found.fidelity.reference_frames, found.fidelity.matched_frames))
}

#[test]
fn a_reference_is_of_the_same_event_and_task() {
    let stack = reported(&["register_netdevice", "tun_chr_ioctl"]);
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
    let stack = reported(&["register_netdevice"]);
    assert_eq!(measured(&stack, &[truth("eoe_filter", "probe:register_netdevice", &half)]), None);
}

#[test]
fn of_several_references_the_one_that_explains_most_counts() {
    let event = "probe:register_netdevice";
    let boot = "ffffffff803fefe0 register_netdevice+0x0\nffffffff803ff7a8 register_netdev+0x30\nffffffff805178ac kernel_init+0x2c\nffffffff801032b8 ret_from_kernel_thread+0x14\n0 [unknown]";
    let references = [truth("eoe_filter", event, boot), truth("eoe_filter", event, TRUTH)];
    assert_eq!(measured(&reported(&["register_netdevice", "tun_chr_ioctl"]), &references), Some((4, 2)));
    assert_eq!(
        measured(&reported(&["register_netdevice", "register_netdev", "kernel_init"]), &references),
        Some((4, 3))
    );
}

#[test]
fn a_stack_without_an_event_needs_references_of_one_event() {
    let unnamed =
        Stack { event: ftrace_text::UNNAMED.into(), function: None, ..reported(&["register_netdevice"]) };
    let good = truth("eoe_filter", "probe:register_netdevice", TRUTH);
    assert_eq!(measured(&unnamed, std::slice::from_ref(&good)), Some((4, 1)));
    assert_eq!(measured(&unnamed, &[good, truth("eoe_filter", "probe:other_function", TRUTH)]), Some((4, 1)));
    let fork = truth("eoe_filter", "sched:sched_process_fork", TRUTH);
    assert_eq!(measured(&unnamed, &[truth("eoe_filter", "probe:register_netdevice", TRUTH), fork]), None);
}

#[test]
fn a_stack_without_event_task_and_addresses_is_measured_by_function_and_offset() {
    let sleeper = |last: &str| {
        let text =
            format!("[<0>] register_netdevice+0x100/0x798\n[<0>] tun_chr_ioctl+0xeec/0x1000\n[<0>] {last}\n");
        proc_stack::parse(text.as_bytes()).unwrap().stacks.remove(0).0
    };
    let truth = "ffffffff803fefe0 register_netdevice+0x0\nffffffff803a68b4 tun_chr_ioctl+0xeec\nffffffff80114740 handle_sys64+0xf4\n";
    let truth = [truth_of(truth)];
    // Two labels of one place.
    assert_eq!(measured(&sleeper("syscall_common+0x34/0x58"), &truth), Some((3, 3)));
    assert_eq!(measured(&sleeper("handle_sys64+0x34/0x58"), &truth), Some((3, 2)));
}

fn truth_of(frames: &str) -> Stack {
    truth("eoe_filter", "probe:register_netdevice", frames)
}

/// What is missing, extra or repeated, in words.
fn differences(stack: &Stack, references: &[Stack]) -> Vec<String> {
    let frames: Vec<String> = stack.frames.iter().map(|frame| frame.name()).collect();
    let found = measure(stack, references).unwrap();
    let number = |deviation| found.differences.iter().filter(|one| one.deviation == deviation).count() as u64;
    assert_eq!(number(Deviation::Missing), found.fidelity.reference_frames - found.fidelity.matched_frames);
    assert_eq!(number(Deviation::Extra), found.fidelity.extra);
    assert_eq!(number(Deviation::Repeated), found.fidelity.repeated);
    found.differences.iter().map(|difference| difference.description(&frames)).collect()
}

#[test]
fn each_frame_that_differs_is_told_with_its_place() {
    let truth = [truth("eoe_filter", "probe:register_netdevice", TRUTH)];
    let whole = ["register_netdevice", "tun_chr_ioctl", "sys_ioctl", "syscall_common"];
    let with = |at: usize, frame: &'static str| {
        let mut frames = whole.to_vec();
        frames.insert(at, frame);
        differences(&reported(&frames), &truth)
    };
    assert_eq!(differences(&reported(&whole), &truth), [""; 0]);
    assert_eq!(with(4, "0"), [""; 0]);
    assert_eq!(with(1, "ftrace_graph_call"), [""; 0]);
    assert_eq!(with(2, "[unknown/kretprobe'd] <ffffffff80113cb0>"), [""; 0]);
    assert_eq!(with(1, "register_netdevice"), ["repeated: register_netdevice, innermost"]);
    assert_eq!(with(0, "f"), ["extra: f, innermost"]);
    assert_eq!(with(2, "f"), ["extra: f behind tun_chr_ioctl"]);
    assert_eq!(with(4, "f"), ["extra: f behind syscall_common"]);
    assert_eq!(with(4, "0x600000001"), ["extra: ? behind syscall_common"]);
    assert_eq!(with(2, "no name at all"), ["extra: ? behind tun_chr_ioctl"]);
    assert_eq!(with(0, "no name at all"), ["extra: ?, innermost"]);
    assert_eq!(with(4, "handle_sys"), ["repeated: syscall_common behind sys_ioctl"]);
    let lacking = ["register_netdevice", "sys_ioctl"];
    let words = ["missing: tun_chr_ioctl before sys_ioctl", "missing: handle_sys64 at the end"];
    assert_eq!(differences(&reported(&lacking), &truth), words);
    let swapped = ["tun_chr_ioctl", "f", "f", "syscall_common"];
    let words = [
        "missing: register_netdevice before tun_chr_ioctl",
        "extra: f behind tun_chr_ioctl",
        "extra: f behind f",
        "missing: __se_sys_ioctl before syscall_common",
    ];
    assert_eq!(differences(&reported(&swapped), &truth), words);
}

/// The way by which a kprobe's breakpoint comes to the tracer lies inside of the function, and no truth has
/// it.
#[test]
fn the_frames_of_the_mechanism_itself_are_not_extra() {
    let truth = [truth("eoe_filter", "probe:register_netdevice", TRUTH)];
    let frames = ["notify_die", "do_bp", "handle_bp_int", "register_netdevice", "tun_chr_ioctl", "f"];
    let words = [
        "extra: f behind tun_chr_ioctl",
        "missing: __se_sys_ioctl at the end",
        "missing: handle_sys64 at the end",
    ];
    let kprobe = Stack { event: "rn".into(), ..reported(&frames) };
    assert_eq!(differences(&kprobe, &truth), words);
    // A kprobe may have the name of its function.
    let named = reported(&["kprobe_exceptions_notify", "do_bp", "register_netdevice", "tun_chr_ioctl", "f"]);
    assert_eq!(differences(&named, &truth), words);
    let repeated = Stack { event: "rn".into(), ..reported(&["register_netdevice", "register_netdevice"]) };
    assert_eq!(measure(&repeated, &truth).unwrap().fidelity.repeated, 1);
}

/// As on POWER, where `/proc/PID/stack` may begin with a word that is no return address.
#[test]
fn a_word_before_the_frames_of_a_task_that_sleeps_is_extra() {
    let truth = [truth("sleep", "probe:f", "ffffffff80100000 f+0x0\nffffffff80114740 handle_sys64+0x34")];
    let stack = |first: &str| {
        let text = format!(
            "{first}[<0>] __switch_to+0x220/0x314\n[<0>] f+0xa0/0x114\n[<0>] syscall_common+0x34/0x58\n"
        );
        proc_stack::parse(text.as_bytes()).unwrap().stacks.remove(0).0
    };
    assert_eq!(differences(&stack(""), &truth), [""; 0]);
    assert_eq!(differences(&stack("[<0>] 0xffffffff80a0fb60\n"), &truth), ["extra: ?, innermost"]);
    assert_eq!(differences(&stack("[<0>] 0x1\n"), &truth), ["extra: ?, innermost"]);
}

#[test]
fn a_place_is_that_of_the_frame_in_the_document() {
    let event = "probe:register_netdevice";
    let references = [truth("eoe_filter", event, TRUTH)];
    let text = TRUTH.replace("10d2f4", "ffffffff80000100 f+0x0\n10d2f4");
    let found = measure(&truth("eoe_filter", event, &text), &references).unwrap();
    // The inlined frame is left out there.
    let extra = FrameDifference { deviation: Deviation::Extra, frame: "f".into(), at: 4 };
    assert_eq!(found.differences, [extra]);
}

#[test]
fn each_of_many_stacks_finds_its_own_reference_among_as_many() {
    let event = "probe:register_netdevice";
    let stack = |way: u64, offset: u64| {
        let middle: String = (0..16)
            .map(|depth| {
                format!(
                    "{:x} f{depth}+0x0\n",
                    0xffff_ffff_8100_0000 + (way >> depth & 1) * 16 + depth * 64 + offset
                )
            })
            .collect();
        let text = TRUTH.replace("ffffffff803a68b4 tun", &format!("{middle}ffffffff803a68b4 tun"));
        truth("eoe_filter", event, &text)
    };
    let references: Vec<Stack> = (0..200).map(|way| stack(way * 61, 0)).collect();
    let measure = References::new(&references, ReferenceKind::Gdb, Arch::Mips64.row());
    for (way, reference) in references.iter().enumerate() {
        assert!(measure.measure(reference).unwrap().differences.is_empty(), "{way}");
        let strange = stack(way as u64 * 61, 4);
        assert_eq!(measure.measure(&strange).unwrap().fidelity.matched_frames, 4, "{way}");
    }
}

#[test]
fn of_two_stacks_of_the_deepest_kind_the_comparison_ends() {
    let frames = |first: u64| -> String {
        (0..1000).map(|depth| format!("{:x} f+0x0\n", 0xffff_ffff_8100_0000 + (first * depth) % 7)).collect()
    };
    let whole = |first| format!("{}ffffffff80114740 handle_sys64+0x34", frames(first));
    let references: Vec<Stack> = (1..60).map(|first| truth("a", "probe:f", &whole(first))).collect();
    let found = References::new(&references, ReferenceKind::Gdb, Arch::Mips64.row())
        .measure(&truth("a", "probe:f", &frames(3)))
        .unwrap();
    assert!(found.fidelity.matched_frames > 500);
}

proptest::proptest! {
    /// Few names, so that frames come in many orders and more than once.
    #[test]
    fn every_frame_of_both_stacks_is_accounted_for(stack_frames: Vec<u8>, truth_frames: Vec<u8>) {
        let names = |frames: &[u8]| -> Vec<String> {
            frames.iter().take(24).map(|frame| format!("f{}", frame % 5)).collect()
        };
        let (stack_names, mut truth_names) = (names(&stack_frames), names(&truth_frames));
        truth_names.push("handle_sys64".into());
        let addressed = |names: &[String]| -> String {
            let place = |name: &String| format!("{:x} {name}+0x0", 0xffff_ffff_8000_0000_u64 + name.bytes().map(u64::from).sum::<u64>() * 64);
            names.iter().map(place).collect::<Vec<_>>().join("\n")
        };
        let references = [truth("a", "probe:x", &addressed(&truth_names))];
        let mut stack = truth("a", "probe:x", &addressed(&stack_names));
        stack.event = "x".into();
        stack.function = Some("x".into());
        let mut references = references;
        references[0].event = "x".into();
        references[0].function = Some("x".into());
        let Fidelity { reference_frames, matched_frames, extra, repeated, .. } = measure(&stack, &references).unwrap().fidelity;
        proptest::prop_assert_eq!(reference_frames, truth_names.len() as u64);
        proptest::prop_assert_eq!(matched_frames + extra + repeated, stack_names.len() as u64);
    }
}

fn frames(names: &[(&str, u64)]) -> Vec<std::sync::Arc<Frame>> {
    let frame = |&(name, address): &(&str, u64)| Frame {
        address: Some(address),
        symbol: Some(name.into()).filter(|name: &String| !name.is_empty()),
        user: name.is_empty(),
        ..Frame::default()
    };
    names.iter().map(frame).map(Into::into).collect()
}

fn stack_of(task: &str, names: &[(&str, u64)]) -> Stack {
    let (event, function) = ("f".into(), Some("f".into()));
    Stack { task: task.into(), event, function, frames: frames(names) }
}

/// How many of the reference's frames a stack has, and how many the reference has.
fn found(reference: &Stack, stack: &Stack, arch: Arch) -> Option<(u64, u64)> {
    let references = References::new([reference], ReferenceKind::Gdb, arch.row());
    let fidelity = references.measure(stack)?.fidelity;
    Some((fidelity.matched_frames, fidelity.reference_frames))
}

const IN_F: (&str, u64) = ("f", 0xffff_ffff_8000_0000);
const INTERRUPT: (&str, u64) = ("handle_exception", 0xffff_ffff_8100_0000);
const IDLE: (&str, u64) = ("do_idle", 0xffff_ffff_8200_0000);
const BEGIN: (&str, u64) = ("_start_kernel", 0xffff_ffff_8300_0000);

#[test]
fn the_idle_task_and_a_worker_have_one_name_for_all() {
    let names = [("swapper/0", "<idle>"), ("swapper/0", "swapper"), ("kworker/u2:1", "kworker/u2:1-ev")];
    for (truth, reported) in names {
        let [truth, reported] = [truth, reported].map(|task| stack_of(task, &[IN_F, BEGIN]));
        assert_eq!(found(&truth, &reported, Arch::Riscv64), Some((2, 2)), "{reported:?}");
    }
    let [one, other] = ["kworker/u2:1", "kworker/u2:2-ev"].map(|task| stack_of(task, &[IN_F, IDLE, BEGIN]));
    assert_eq!(found(&one, &Stack { frames: frames(&[IN_F]), ..other }, Arch::Riscv64), None);
}

#[test]
fn an_entry_that_interrupted_the_kernel_is_not_the_end() {
    let whole = stack_of("swapper", &[IN_F, INTERRUPT, IDLE, BEGIN]);
    let cut = stack_of("swapper", &[IN_F, INTERRUPT]);
    assert_eq!(found(&whole, &cut, Arch::Riscv64), Some((2, 4)));
    assert_eq!(found(&whole, &whole, Arch::Riscv64), Some((4, 4)));
    assert_eq!(found(&cut, &cut, Arch::Riscv64), Some((2, 2)), "of user space");
    let state = |stack: &Stack| stack.state(Arch::Riscv64.row()).0;
    assert_eq!([state(&whole), state(&cut)], [crate::stack::State::Complete; 2]);
}

#[test]
fn a_truth_that_ends_in_user_space_is_whole() {
    let fault = ("asm_exc_page_fault", 0xffff_ffff_8100_0000);
    let truth = stack_of("sh", &[IN_F, fault, ("", 0x40_1000)]);
    assert_eq!(found(&truth, &stack_of("sh", &[IN_F, fault]), Arch::X8664), Some((2, 2)));
    assert_eq!(found(&truth, &stack_of("sh", &[IN_F]), Arch::X8664), Some((1, 2)));
    let nowhere = stack_of("sh", &[IN_F, fault]);
    assert_eq!(found(&nowhere, &nowhere, Arch::X8664), None);
}

use super::super::show;
use super::*;

fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("perf", 9, |bytes| parse(bytes));
}

#[test]
fn an_address_is_of_user_space_behind_the_kernel_and_of_no_one_within_it() {
    let frames = |text: &str| {
        let (stack, _) = parse_text(&format!("a 1 1.5: probe:f:\n{text}\n")).stacks.remove(0);
        stack.frames.iter().map(|frame| frame.user).collect::<Vec<_>>()
    };
    let (kernel, low) = ("\tffffffff80000004 f+0x4 ([kernel.kallsyms])\n", "\t1234 [unknown] ([unknown])\n");
    let high = "\tffffeeeeddddcccc [unknown] ([unknown])\n";
    assert_eq!(frames(&format!("{kernel}{low}{kernel}")), [false, false, false]);
    assert_eq!(frames(&format!("{kernel}{low}{high}")), [false, true, true]);
    assert_eq!(frames(&format!("{kernel}{high}{low}")), [false, false, true]);
    assert_eq!(frames(&format!("{high}{high}{low}{high}")), [false, false, true, true]);
    assert_eq!(frames(&format!("{low}{low}")), [true, true]);
}

const SAMPLE: &str = "\
eoe_filter   123 [000]    12.345678: probe:register_netdevice: (ffffffff803fefe0)
\tffffffff803fefe0 register_netdevice+0x0 ([kernel.kallsyms])
\tffffffff803a68b4 tun_chr_ioctl+0xeec ([tun])
\tffffffff80114740 syscall_common+0x34 ([kernel.kallsyms])
\t          10d2f4 __ioctl+0x14 (inlined)
\t          10d2f4 std::map<int, int>::at (int) const+0x10 (/usr/lib/lib c++.so)
\t               0 [unknown] ([unknown])

";

#[test]
fn a_sample_holds_kernel_and_user_frames() {
    insta::assert_snapshot!(show::parsed(&parse_text(SAMPLE)), @r"
    events 1, lost 0

    eoe_filter probe:register_netdevice
    ffffffff803fefe0 register_netdevice+0x0
    ffffffff803a68b4 tun_chr_ioctl+0xeec (tun)
    ffffffff80114740 syscall_common+0x34
    [user] 10d2f4 __ioctl+0x14 inlined
    [user] 10d2f4 std::map<int, int>::at (int) const+0x10
    [user] 0
    ");
}

#[test]
fn a_header_reads_with_any_of_its_fields() {
    let cases = [
        ("sh 1 0.107356: cycles:u:", "sh", "cycles:u"),
        (
            "sh     1 [000]     0.107356:     250000 sched:sched_switch: prev_comm=sh 1 2.5: x",
            "sh",
            "sched:sched_switch",
        ),
        (
            "   kworker/0:1-ev    16/16    [003] 12345.107356789: probe:f: (ffffffff803fefe0)",
            "kworker/0:1-ev",
            "probe:f",
        ),
        ("swapper     0 [000]     0.107356:                 cpu-clock: ", "swapper", "cpu-clock"),
        ("a 1.2: [0] b  7 [001] 1.5: probe:f:", "a 1.2: [0] b", "probe:f"),
        (":-1    -1 [001] 1.5: probe:f:", ":-1", "probe:f"),
        ("two words-7    42 1.500000: probe:f:", "two words-7", "probe:f"),
        ("sh    91 [000] 2026-11-28 09:20:11.345678    12.345678:     250000 cpu-clock:", "sh", "cpu-clock"),
        ("a b  91/92 [000] K 2026-11-28 09:20:11.345678 12.345678: cpu-clock:", "a b", "cpu-clock"),
        ("09:20:11.5 91 2026-11-28 09:20:11.345678 12.345678: cpu-clock:", "09:20:11.5", "cpu-clock"),
    ];
    for (line, task, event) in cases {
        let parsed = parse_text(&format!("{line}\n\tffffffff803fefe0 f+0x0\n\n"));
        let named: Vec<_> =
            parsed.stacks.iter().map(|(stack, _)| (stack.task.as_str(), stack.event.as_str())).collect();
        assert_eq!((named, parsed.warnings), (vec![(task, event)], vec![]), "{line}");
    }
}

#[test]
fn a_header_without_time_and_a_frame_without_indentation_are_read() {
    let parsed = parse_text(
        "func ab 15294 [001] cpu-clock: \nffffffff8103d0ca f ([kernel.kallsyms])\n\nb 1/2 cycles:u:\n\t1234 g (/bin/b)\n\n",
    );
    let told: Vec<_> = parsed
        .stacks
        .iter()
        .map(|(stack, _)| (stack.task.as_str(), stack.event.as_str(), stack.frames.len()))
        .collect();
    assert_eq!((told, parsed.warnings), (vec![("func ab", "cpu-clock", 1), ("b", "cycles:u", 1)], vec![]));
    assert_eq!(parse_text("# cmdline 12 x:\nuntil 12: \n").events, 0);
}

#[test]
fn an_empty_call_chain_is_a_stack_and_a_missing_one_is_not() {
    let parsed = parse_text(
        "a 1 1.5: probe:f:\n\nb 1 1.5: cycles: ffffffff80114740 f+0x4 ([kernel.kallsyms])\nc 1 1.5: cycles: 1 f\n",
    );
    assert_eq!((parsed.events, parsed.stacks.len()), (3, 1));
    let (stack, _) = &parsed.stacks[0];
    assert_eq!((stack.task.as_str(), stack.frames.len()), ("a", 0));
}

#[test]
fn an_empty_line_between_a_header_and_its_frames_ends_nothing() {
    let sample = "a 1 1.5: cycles:\n\n\tffffffff80114740 f+0x4 ([kernel.kallsyms])\n\n";
    let parsed = parse_text(&format!("{sample}b 1 1.5: cycles:\n\n{sample}"));
    let frames: Vec<_> = parsed.stacks.iter().map(|(stack, count)| (stack.frames.len(), *count)).collect();
    assert_eq!((parsed.events, frames, parsed.warnings.len()), (3, vec![(1, 2), (0, 1)], 0));
}

#[test]
fn the_last_sample_may_lack_its_empty_line() {
    assert_eq!(parse_text(SAMPLE.trim_end_matches("\n\n")).stacks.len(), 1);
    let parsed = parse_text(&SAMPLE[..SAMPLE.len() - 2]);
    assert_eq!((parsed.stacks[0].0.frames.len(), show::warnings(&parsed)), (5, vec![("cut-line", 1)]));
}

#[test]
fn modules_are_known_by_object() {
    let cases = [
        ("[tun]", Some("tun")),
        ("/lib/modules/6.1.0/kernel/tun.ko.xz", Some("tun")),
        ("[kernel.kallsyms]", None),
    ];
    for (object, module) in cases {
        let parsed = parse_text(&format!("a 1 1.5: probe:f:\n\tffffffffc0000004 f+0x4 ({object})\n\n"));
        let frame = &parsed.stacks[0].0.frames[0];
        assert_eq!((frame.module.as_deref(), frame.user), (module, false));
    }
    let parsed = parse_text("a 1 1.5: probe:f:\n\t7ffc04 __vdso_time ([vdso])\n\n");
    let frame = &parsed.stacks[0].0.frames[0];
    assert_eq!((&frame.module, frame.user), (&None, true));
}

#[test]
fn only_a_probe_on_entry_was_taken_in_its_first_function() {
    let function = |event: &str| {
        let parsed = parse_text(&format!("a 1 1.5: {event}:\n\tffffffff80000004 f+0x4\n\n"));
        parsed.stacks[0].0.function.clone()
    };
    assert_eq!(function("probe:f_1").as_deref(), Some("f"));
    assert_eq!(function("probe:f__return"), None);
    assert_eq!(function("sched:sched_switch"), None);
}

#[test]
fn losses_are_counted_and_said() {
    let parsed =
        parse_text("sh 1 [000] 0.1: PERF_RECORD_LOST lost 12\nProcessed 100 events and lost 3 chunks!\n");
    assert_eq!((parsed.events, parsed.lost, show::warnings(&parsed)), (0, 15, vec![("lost-events", 2)]));
    assert_eq!(parse_text("Processed 100 samples and lost 3.50%!\n").lost, 1);
}

#[test]
fn nonsense_is_counted_with_its_first_example() {
    let parsed = parse_text("# captured on: today\nCheck IO/CPU overload!\n\tffffffff80000000 f\n");
    assert_eq!(show::warnings(&parsed), [("unreadable-line", 1), ("stray-frame", 1)]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_read_without_a_fault(bytes: Vec<u8>) {
        parse(&bytes[..]).unwrap();
    }

    #[test]
    fn damaged_captures_read_without_a_fault(at: proptest::sample::Index, byte: u8, cut: proptest::sample::Index) {
        let mut bytes = SAMPLE.repeat(2).into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len()));
        parse(&bytes[..]).unwrap();
    }
}

#[test]
fn a_sample_without_time_or_pid_keeps_its_stack() {
    let frame = "\tffffffff80412780 register_netdevice+0x0 ([kernel.kallsyms])\n\n";
    for header in [
        "eoe_filter   834 [000] probe:register_netdevice: (ffffffff80412780)",
        "eoe_filter   834 probe:register_netdevice: (ffffffff80412780)",
        "eoe_filter [000]    97.112570: probe:register_netdevice: (ffffffff80412780)",
        "1234 [000] [000]    97.112570: probe:register_netdevice: (ffffffff80412780)",
        "eoe_filter   834 cpu-clock:  ffffffff80412780 register_netdevice ([kernel.kallsyms])",
    ] {
        let parsed = parse(format!("{header}\n{frame}").as_bytes()).unwrap();
        assert_eq!(
            (parsed.events, parsed.stacks.len(), parsed.warnings.len()),
            (1, 1, 0),
            "{header}: {parsed:?}"
        );
        assert_eq!(parsed.stacks[0].0.frames.len(), 1, "{header}");
        let task = if header.starts_with("1234") { "1234 [000]" } else { "eoe_filter" };
        assert_eq!(parsed.stacks[0].0.task, task);
    }
}

#[test]
fn a_source_line_that_perf_does_not_know_is_no_frame() {
    let text =
        "a 1 [000] 0.1: cpu-clock:\n\tffffffff80273ae0 f ([k])\n  [kernel.kallsyms][ffffffff80273ae0]\n\n";
    let parsed = parse(text.as_bytes()).unwrap();
    assert!(parsed.warnings.is_empty() && parsed.stacks[0].0.frames.len() == 1, "{parsed:?}");
}

#[test]
fn a_record_of_a_task_with_a_line_end_in_its_name_is_no_nonsense() {
    let record = "two\nlines 590 [000] 115.2: PERF_RECORD_COMM: two\nlines:590/590\n";
    let text = format!("a 1 [000] 0.1: cpu-clock:\n\tffffffff80273ae0 f ([k])\n\n{record}{record}");
    let parsed = parse(text.as_bytes()).unwrap();
    assert!(parsed.warnings.is_empty() && parsed.events == 1, "{parsed:?}");
}

#[test]
fn an_address_behind_the_call_chain_is_no_frame() {
    let sample = "sh 91 [000] 12.345678: cpu-clock:\n\tffffffff80000004 f+0x4 ([kernel.kallsyms])\n\t    55d0c8f01234 main+0x4 (/bin/sh)\n        12345abc0\n";
    let parsed = parse_text(&sample.repeat(2));
    assert_eq!((show::lines(&parsed), parsed.warnings), (vec!["2 sh cpu-clock: f [user]".into()], vec![]));
    // Where a mail made blanks of the tabs, nothing tells it from the frames.
    let blanks = parse_text(
        "sh 91 [000] 12.345678: cpu-clock:\n        ffffffff80000004\n        ffffffff80000014\n\n",
    );
    assert_eq!(blanks.stacks[0].0.frames.len(), 2);
}

#[test]
fn a_mapping_of_user_space_is_none_of_the_kernel_wherever_it_lies() {
    let user = |object: &str| {
        let frames = format!(
            "\tffffffff80000004 f+0x4 ([kernel.kallsyms])\n\tffffffffff600000 g ({object})\n\t7f1234 main (/bin/a)\n"
        );
        let parsed = parse_text(&format!("a 1 1.5: cycles:\n{frames}\n"));
        parsed.stacks[0].0.frames.iter().map(|frame| frame.user).collect::<Vec<_>>()
    };
    for (object, of_user) in
        [("[vsyscall]", true), ("[vectors]", true), ("[tun]", false), ("[guest.kernel.kallsyms]", false)]
    {
        assert_eq!(user(object), [false, of_user, true], "{object}");
    }
}

/// Whether a text is known for one of this format, too.
fn is_known(text: &str) -> bool {
    let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let next = lines.iter().skip(1).copied().chain([&b""[..]]);
    lines.iter().zip(next).any(|(line, next)| is_of(line, next))
}

#[test]
fn frames_alone_are_samples_where_no_line_is_a_header() {
    let (f, g, h) =
        ("\tffffffff8110a3b0 f\n", "\tffffffff8110a3b1 g+0x4\n", "\t    7f6c72b6497a h (/bin/a)\n");
    for (text, expected) in [
        (format!("\n{f}{g}\n\n{f}{g}\n"), vec!["2 ? ?: f g"]),
        (format!("{f}{g}\n"), vec!["1 ? ?: f g"]),
        (
            format!("swapper \n{f}{g}{h}\na name of 15 by \n{f}\nswapper \n{f}{g}{h}\n"),
            vec!["2 swapper ?: f g [user]", "1 a name of 15 by ?: f"],
        ),
        (
            format!("swapper       0 \n{f}{g}\nperf 12345 \n{f}{g}\n"),
            vec!["1 swapper ?: f g", "1 perf ?: f g"],
        ),
        (format!("swapper\n{f}{g}"), vec!["1 swapper ?: f g"]),
    ] {
        let parsed = parse_text(&text);
        assert!(is_known(&text), "{text}");
        assert_eq!(
            (show::lines(&parsed), parsed.warnings),
            (expected.iter().map(|line| (*line).to_owned()).collect(), vec![]),
            "{text}"
        );
    }
}

#[test]
fn frames_before_the_first_header_are_the_end_of_a_sample_that_is_cut() {
    let parsed =
        parse_text(&format!("\tffffffff80000004 f+0x4 ([k])\n\tffffffff80000014 g+0x4 ([k])\n\n{SAMPLE}"));
    assert_eq!(
        (parsed.events, parsed.stacks.len(), show::warnings(&parsed)),
        (1, 1, vec![("stray-frame", 2)])
    );
}

#[test]
fn lists_of_addresses_and_names_are_no_samples() {
    for text in [
        "\tffffffff8110a3b0 T f\n\tffffffff8110a3c0 t g\n",
        "\tffffffff8110a3b0 ffffffff8110a3c0\n\tffffffff8110a3d0 ffffffff8110a3e0\n",
        "ffffffff8110a3b0 f\nffffffff8110a3b1 g\n",
        "        ffffffff8110a3b0 f\n        ffffffff8110a3b1 g\n",
        "\t8110a3b0 f\n\t8110a3b1 g\n",
    ] {
        assert!(!is_known(text), "{text}");
    }
}

#[test]
fn a_system_call_of_perf_trace_has_its_stack_below() {
    let (kernel, user) = ("f ([kernel.kallsyms])\n", "main (/usr/bin/sleep)\n");
    let frame = |text: &str| format!("{:39}{text}", "");
    let frames = [
        kernel,
        "add ([tun])\n",
        "[0xffffffff8110a3b0] ([kernel.kallsyms])\n",
        "[0x7f6c72b6497a] (/lib/libc.so)\n",
        user,
    ]
    .map(frame)
    .concat();
    for (header, task, event) in [
        ("     0.000 (1000.123 ms): sleep/12345 nanosleep(rqtp: 0x7ffd6e4b5c80) = 0", "sleep", "nanosleep"),
        ("     0.078 ( 0.057 ms): nanosleep(rqtp: 0x7ffd6e4b5c80, a: 12) = 0", "?", "nanosleep"),
        (
            "         ? (         ): kworker/0:1/15  ... [continued]: nanosleep()) = 0",
            "kworker/0:1",
            "nanosleep",
        ),
        ("     0.063 (         ): a b/15 sched:sched_switch(prev_comm: \"a\")", "a b", "sched:sched_switch"),
    ] {
        let text = format!("     0.000 ( 0.003 ms): a/1 close(fd: 3) = 0\n{header}\n{frames}");
        let parsed = parse_text(&text);
        assert!(is_known(&text), "{text}");
        let told = format!("1 {task} {event}: f add ? [user] [user]");
        assert_eq!(
            (parsed.events, show::lines(&parsed), parsed.warnings),
            (2, vec![told], vec![]),
            "{header}"
        );
    }
    for header in
        ["     0.000 (1000.123 s): f(", "     0.000 (         ): (", "     0.000 nanosleep(", "1 (2): f(x)"]
    {
        assert!(!is_known(&format!("{header}\n{frames}")), "{header}");
    }
}

#[test]
fn branches_behind_the_call_chain_are_no_frames() {
    for branches in [
        " 0xffffffff8110a3b0/0xffffffff8110a3b1/P/-/-/0 ",
        " f+0x1/g+0x2/M/-/-/3  0x1/0x2/-/-/-/0/IND_JMP/- ",
    ] {
        let sample = format!(
            "a 1 [001] 123.456790:     250000 cycles: \n\tffffffff8110a3b0 f+0x1 ([kernel.kallsyms])\n\tffffffff8110a3b1 g+0x1 ([kernel.kallsyms])\n{branches}\n"
        );
        let parsed = parse_text(&sample.repeat(2));
        assert_eq!(
            (show::lines(&parsed), parsed.warnings),
            (vec!["2 a cycles: f g".into()], vec![]),
            "{branches}"
        );
    }
}

#[test]
fn the_fields_of_a_header_without_an_event_or_a_time_are_none_of_the_tasks_name() {
    let frames = "\tffffffff817bc31d f\n\tffffffff817fd2bd g\n\n";
    for (header, task, event) in [
        ("ls 15537 K     cpu-clock: ", "ls", "cpu-clock"),
        ("ls 15537 24369.365599: cpu-clock: ", "ls", "cpu-clock"),
        ("ls 24369.365599: cpu-clock: ", "ls", "cpu-clock"),
        ("ls 15537     250000 ", "ls", "?"),
        ("kworker/u8:1-ev 15537 [001] ", "kworker/u8:1-ev", "?"),
        ("a b  77 ", "a b", "?"),
        ("K 15537 UG cpu-clock: ", "K", "cpu-clock"),
        ("15537 ", "15537", "?"),
    ] {
        let text = format!("{header}\n{frames}{header}\n{frames}");
        let parsed = parse(text.as_bytes()).unwrap();
        let (stack, count) = &parsed.stacks[0];
        assert_eq!((&*stack.task, &*stack.event, *count), (task, event, 2), "{header}");
    }
}

#[test]
fn an_instruction_behind_the_frames_is_no_name() {
    let sample = "ls 23038 cpu-clock: \n\t           9618c _int_free (/lib/libc.so.6)\n\t               0 [unknown] ([unknown])\n insn: 48 85 c0\n";
    let parsed = parse(sample.repeat(2).as_bytes()).unwrap();
    assert_eq!((parsed.events, parsed.warnings), (2, vec![]));
    assert_eq!(parsed.stacks[0].0.task, "ls");
}

#[test]
fn a_line_of_another_log_is_no_header() {
    let task =
        "[ 5437.111144] task:jbd2/sda1-8     state:D stack:    0 pid:  431 ppid:     2 flags:0x00000028";
    for prefix in ["   1 | ", "20230307 11:30:37.123 - INFO - ", "12 pid: ", "a b c d e f: "] {
        assert!(!is_known(&format!("{prefix}{task}\n{prefix}[ 5437.111155] Call trace:\n")), "{prefix}");
    }
    assert!(is_known("a task of 15 by 431 cycles:\n\tffffffff8110a3b0 f ([kernel.kallsyms])\n"));
}

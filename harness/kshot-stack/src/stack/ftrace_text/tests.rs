use super::super::{State, show};
use super::*;
use crate::arch::Arch;

fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    let captures = show::captures("ftrace");
    assert!(captures.len() >= 25, "captures are missing");
    for (name, bytes) in captures {
        let (parsed, order) = parse_in_order(&bytes[..]).unwrap();
        show::assert_snapshot("ftrace", &name, &show::in_order(&parsed, &order));
        let all = order.iter().map(|&place| (parsed.stacks[place].0.clone(), 1));
        assert_eq!(count(all), parsed.stacks, "{name}");
        assert_eq!(parse(&bytes[..]).unwrap(), parsed, "{name}");
    }
}

#[test]
fn every_report_of_trace_cmd_reads_as_its_snapshot_says() {
    for (name, bytes) in show::captures("trace_cmd") {
        let (parsed, order) = parse_in_order(&bytes[..]).unwrap();
        show::assert_snapshot("trace_cmd", &name, &show::in_order(&parsed, &order));
    }
}

#[test]
fn the_five_triggers_and_the_boot_give_six_stacks_truncated_in_the_trampoline() {
    for format in ["", "-sym-addr", "-sym-offset", "-sym-addr-sym-offset"] {
        let bytes = std::fs::read(show::data(&format!("ftrace/func_stack_trace{format}.txt"))).unwrap();
        let parsed = parse(&bytes[..]).unwrap();
        let number: u64 = parsed.stacks.iter().map(|(_, count)| count).sum();
        assert_eq!((parsed.events, number, parsed.warnings.len()), (6, 6, 0), "{format}");
        for (stack, _) in &parsed.stacks {
            assert_eq!((stack.task.as_str(), stack.event.as_str()), ("eoe_filter", "register_netdevice"));
            let end = (State::Truncated, Some("ftrace_graph_call".to_owned()));
            assert_eq!(stack.state(Arch::Mips64.row()), end);
        }
    }
}

#[test]
fn a_capture_many_times_over_has_the_stacks_of_one() {
    let bytes = std::fs::read(show::data("ftrace/func_stack_trace.txt")).unwrap();
    let (one, many) = (parse(&bytes[..]).unwrap(), parse(&bytes.repeat(1000)[..]).unwrap());
    let expected: Vec<_> = one.stacks.into_iter().map(|(stack, count)| (stack, 1000 * count)).collect();
    assert_eq!((many.events, many.stacks), (1000 * one.events, expected));
}

/// Debian's kernel prints one more line.
#[test]
fn a_trailing_null_is_a_frame_but_no_end() {
    for null in ["0", "0x0", "0x00000000"] {
        let parsed = parse_text(&format!(
            "      eoe_filter-1       [000] .....     0.107868: <stack trace>\n => ftrace_graph_call\n => {null}\n"
        ));
        let [(stack, 1)] = &parsed.stacks[..] else { panic!("{parsed:?}") };
        assert_eq!(*stack.frames[1], Frame { address: Some(0), ..Frame::default() });
        assert_eq!(
            stack.state(Arch::Mips64el.row()),
            (State::Truncated, Some("ftrace_graph_call".to_owned()))
        );
    }
}

#[test]
fn an_address_outside_the_kernel_between_two_inside_is_corruption() {
    let text = "              sh-1       [000] .....     0.1: <stack trace>\n => f <ffffffff80100000>\n => 0x1234\n => syscall_common <ffffffff80114740>\n";
    let (state, end) = parse_text(text).stacks[0].0.state(Arch::Mips64.row());
    assert_eq!((state, end.as_deref()), (State::Corrupt, Some("syscall_common")));
}

#[test]
fn a_frame_behind_the_entry_is_corruption_unless_it_is_null() {
    let state = |frames: &str| {
        let text = format!("              sh-1       [000] .....     0.1: <stack trace>\n{frames}");
        parse_text(&text).stacks[0].0.state(Arch::Mips64.row()).0
    };
    let entered = " => f <ffffffff80100000>\n => syscall_common <ffffffff80114740>\n";
    assert_eq!(state(entered), State::Complete);
    assert_eq!(state(&format!("{entered} => handle_sys\n => 0\n")), State::Complete);
    for behind in [" => g\n", " => 0x600000001\n", " => g\n => syscall_common\n", " => 0xffffffff80000001\n"]
    {
        assert_eq!(state(&format!("{entered}{behind}")), State::Corrupt, "{behind}");
    }
    assert_eq!(state(" => 0x8\n => f\n => syscall_common\n"), State::Complete, "a call of no function");
}

#[test]
fn a_stack_without_frames_is_empty_and_one_of_kernel_threads_is_complete() {
    let row = Arch::Mips64.row();
    let bytes = std::fs::read(show::data("ftrace/function-command-stacktrace.txt")).unwrap();
    assert_eq!(parse(&bytes[..]).unwrap().stacks[0].0.state(row), (State::Empty, None));
    let bytes = std::fs::read(show::data("ftrace/sched-stacktrace.txt")).unwrap();
    let parsed = parse(&bytes[..]).unwrap();
    let threads = parsed.stacks.iter().filter(|(stack, _)| stack.task.starts_with("ksoftirqd"));
    let states: Vec<_> = threads.map(|(stack, _)| stack.state(row)).collect();
    assert!(states.len() > 1);
    assert!(
        states.iter().all(|state| *state == (State::Complete, Some("ret_from_kernel_thread".to_owned())))
    );
}

/// Hand-made: the machine at hand has one CPU.
#[test]
fn a_stack_finds_its_event_behind_the_events_of_another_cpu() {
    let parsed = parse_text(
        "            a b-11      [000] ....     1.000001: f <-g\n\
         ##### CPU 1 buffer started ####\n\
         \x20         <idle>-0       [001] d.h1     1.000002: hrtimer_cancel: hrtimer=1\n\
         \x20           a b-11      [000] ....     1.000003: <stack trace>\n => f\n => g\n\
         \x20         <idle>-0       [001] d.h1     1.000004: <stack trace>\n => do_idle\n",
    );
    let named: Vec<_> =
        parsed.stacks.iter().map(|(stack, _)| (stack.task.as_str(), stack.event.as_str())).collect();
    assert_eq!(named, [("a b", "f"), ("<idle>", "hrtimer_cancel")]);
    assert_eq!((parsed.events, parsed.warnings), (2, vec![]));
}

#[test]
fn a_stack_of_another_task_is_not_given_to_the_event_before_it() {
    let parsed = parse_text(
        "               a-11      [000] .....     1.000001: f <-g\n               b-12      [000] .....     1.000003: <stack trace>\n => h\n",
    );
    let (stack, _) = &parsed.stacks[0];
    assert_eq!((parsed.events, stack.event.as_str(), stack.task.as_str()), (2, UNNAMED, "b"));
}

#[test]
fn an_event_among_function_graph_lines_owns_the_stack_behind_it() {
    let bytes = std::fs::read(show::data("ftrace/function_graph-stacktrace-trigger.txt")).unwrap();
    let parsed = parse(&bytes[..]).unwrap();
    assert!(!parsed.stacks.is_empty());
    for (stack, _) in &parsed.stacks {
        assert_eq!(stack.event, "sched_process_fork");
        assert_eq!(stack.state(Arch::Mips64.row()), (State::Truncated, Some("return_to_handler".to_owned())));
    }
}

/// Hand-made: MIPS has no user stacks in ftrace. Lines as `seq_print_user_ip` writes them.
#[test]
fn user_frames_join_the_kernel_stack_of_their_event() {
    let parsed = parse_text(
        "              sh-7       [000] .....     1.000001: sys_enter: NR 5\n\
         \x20             sh-7       [000] .....     1.000002: <stack trace>\n => syscall_trace_enter\n\
         \x20             sh-7       [000] .....     1.000003: <user stack trace>\n => /bin/busy box[+0x1f2c] <0000000120001f2c>\n =>  <00000000deadbeef>\n => ??\n",
    );
    insta::assert_snapshot!(show::parsed(&parsed), @r"
    events 1, lost 0

    sh sys_enter
    syscall_trace_enter
    [user] /bin/busy box[+0x1f2c] <0000000120001f2c>
    [user] deadbeef
    [user] ??
    ");
}

/// Hand-made: the kernel at hand has no modules.
#[test]
fn a_module_stands_between_symbol_and_address() {
    let parsed = parse_text(
        "              sh-7       [000] ....   1.000002: <stack trace>\n => __tun_chr_ioctl+0x18/0x40 [tun] <ffffffffc0001234>\n => tun_get [tun]\n",
    );
    let frames = &parsed.stacks[0].0.frames;
    assert_eq!(frames[0].module.as_deref(), Some("tun"));
    assert_eq!(
        (frames[0].address, frames[0].offset, frames[0].size),
        (Some(0xffff_ffff_c000_1234), Some(0x18), Some(0x40))
    );
    assert_eq!((frames[1].module.as_deref(), frames[1].symbol.as_deref()), (Some("tun"), Some("tun_get")));
}

#[test]
fn losses_are_counted_and_said() {
    let parsed = parse_text("# entries-in-buffer/entries-written: 280/9551   #P:1\nCPU:1 [LOST EVENTS]\n");
    assert_eq!((parsed.lost, show::warnings(&parsed)), (9271, vec![("lost-events", 2)]));
    let parsed = parse_text("CPU:0 [LOST 8128 EVENTS]\nCPU:1 [LOST EVENTS]\n");
    assert_eq!(parsed.lost, 8129);
}

#[test]
fn a_return_probe_was_taken_in_no_function() {
    let parsed = parse_text(
        "              sh-7       [000] ....   1.000001: ret: (tun_chr_ioctl+0x8/0x10 <- register_netdevice)\n              sh-7       [000] ....   1.000002: <stack trace>\n => tun_chr_ioctl\n",
    );
    let (stack, _) = &parsed.stacks[0];
    assert_eq!((stack.event.as_str(), &stack.function), ("ret", &None));
}

#[test]
fn nonsense_is_counted_with_its_first_example() {
    let parsed =
        parse_text("\x1b[2Jboo\n => stray\nmore\n              sh-7       [000] ....   1.000001: ???\n");
    assert_eq!(show::warnings(&parsed), [("unreadable-line", 3), ("stray-frame", 1)]);
    assert_eq!(parsed.warnings[0].example, "\\u{1b}[2Jboo");
}

#[test]
fn frames_without_end_are_cut() {
    let mut text = String::from("              sh-7       [000] ....   1.000002: <stack trace>\n");
    text.push_str(&" => f\n".repeat(5000));
    let parsed = parse_text(&text);
    assert_eq!(
        (parsed.stacks[0].0.frames.len(), show::warnings(&parsed)),
        (1024, vec![("deep-stack", 3976)])
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_read_without_a_fault(bytes: Vec<u8>) {
        parse(&bytes[..]).unwrap();
    }

    /// Captures with bytes flipped and cut come nearer to the parser's edges than noise does.
    #[test]
    fn damaged_captures_read_without_a_fault(at: proptest::sample::Index, byte: u8, cut: proptest::sample::Index) {
        let mut bytes = include_bytes!("../../../tests/data/ftrace/awkward-task-names.txt").to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len()));
        let parsed = parse(&bytes[..]).unwrap();
        proptest::prop_assert!(parsed.stacks.len() as u64 <= parsed.events);
    }
}

#[test]
fn what_kprobe_events_fetch_is_kept_in_order() {
    let bytes = std::fs::read(show::data("ftrace/kprobe-fetched-arguments.txt")).unwrap();
    let parsed = parse(&bytes[..]).unwrap();
    let fetched: Vec<_> = parsed
        .arguments
        .iter()
        .map(|(one, number)| format!("{number} x {}: {}", one.event, one.text))
        .collect();
    assert_eq!(
        fetched,
        [
            "1 x save: size=0x400 skip=0x4",
            "1 x tsk: nr_entries=0 max_entries=1024 skip=5",
            "1 x done: nr_entries=1 skip_left=0 e0=ftrace_graph_call+0x0/0x34",
            "1 x save: size=0x400 skip=0x6",
            "1 x tsk: nr_entries=0 max_entries=1024 skip=7",
            "1 x done: nr_entries=0 skip_left=1 e0=ftrace_graph_call+0x0/0x34",
        ]
    );
}

#[test]
fn only_the_events_that_were_asked_for_count() {
    let only = |file: &str, names: &[&str]| {
        let bytes = std::fs::read(show::data(&format!("ftrace/{file}.txt"))).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parsed = parse_only(&bytes[..], &names).unwrap();
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        let events =
            parsed.stacks.into_iter().flat_map(|(stack, count)| (0..count).map(move |_| stack.event.clone()));
        (parsed.events, events.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(only("func_stack_trace", &["register_netdevice"]).0, 6);
    assert_eq!(only("func_stack_trace", &["tun_chr_ioctl"]), (0, String::new()));
    let (events, stacks) = only("kprobe-fetched-arguments", &["register_netdevice", "done"]);
    assert_eq!((events, stacks.as_str()), (3, "done done"));
    assert_eq!(only("function_graph-stacktrace-trigger", &["schedule_tail"]).1, "");
    let (events, stacks) = only("function_graph-stacktrace-trigger", &["sched_process_fork"]);
    assert_eq!(events, stacks.split(' ').count() as u64);
    assert_eq!(only("syscalls", &["sys_enter_read"]), (1, "sys_enter_read".into()));
    assert_eq!(only("syscalls", &["sys_exit_openat", "sys_exit_read"]), (2, "sys_exit_read".into()));
    let graph =
        [("ksys_read", 1), ("fdget_pos", 1), ("do_IRQ", 1), ("tun_chr_read_iter", 1), ("fput", 3), ("y", 0)];
    for (function, number) in graph {
        assert_eq!(only("function_graph-options", &[function]).0, number, "{function}");
    }
    assert_eq!(only("text-of-programs", &["tracing_mark_write"]).0, 4);
    assert_eq!(only("text-of-programs", &["register_netdevice"]), (1, "register_netdevice".into()));
    assert_eq!(only("text-of-programs", &["raw_data", "my_probe_init"]).0, 2);
    assert_eq!(only("synthetic-stack-fields", &["sched_switch"]), (1, String::new()));
}

#[test]
fn a_stack_with_a_place_that_has_no_name_goes_on_behind_it() {
    let row = Arch::Mips64.row();
    for file in ["kretprobe-hooks", "trampoline-in-stack"] {
        let bytes = std::fs::read(show::data(&format!("ftrace/{file}.txt"))).unwrap();
        let parsed = parse(&bytes[..]).unwrap();
        assert_eq!(parsed.stacks.len(), 2, "{file}");
        assert!(parsed.stacks.iter().all(|(stack, _)| stack.state(row).0 == State::Complete), "{file}");
    }
}

#[test]
fn a_name_alone_is_a_function_where_functions_are_traced_and_no_program_wrote_it() {
    let events = |text: &str| {
        let parsed = parse(text.as_bytes()).unwrap();
        assert!(parsed.warnings.is_empty(), "{parsed:?}");
        parsed.events
    };
    assert_eq!(events("# tracer: function\n#\nvfs_open\ntun_chr_ioctl+0x0/0x10\nsys_ioctl -> 0x0\n"), 3);
    assert_eq!(
        events("# tracer: function\n#\ntracing_mark_write+0xdd/0x240: two\nlines\nvfs_open <-do_open\n"),
        2
    );
}

#[test]
fn a_long_call_without_a_cpu_is_no_comment() {
    // `funcgraph-cpu` off: the mark of what takes long is the first byte of the line.
    let text = "# tracer: function_graph\n#\n#  DURATION                  FUNCTION CALLS\n#   |   |                     |   |   |   |\n# 2876.076 us |  vfs_open();\n  2.076 us    |  vfs_open();\n";
    assert_eq!(parse(text.as_bytes()).unwrap().events, 2);
}

#[test]
fn a_function_with_its_place_is_none_of_a_program_s_text() {
    for place in ["vfs_open+0x4/0xf8", "vfs_open <000003ffe02c3660>"] {
        let text = format!("# tracer: function\n#\ntracing_mark_write+0x80/0x2a0: hello\n{place}\n");
        assert_eq!(parse(text.as_bytes()).unwrap().events, 2, "{place}");
    }
}

#[test]
fn a_stack_that_is_the_last_field_of_one_event_is_none_of_the_next() {
    let event = |seconds: u32| {
        format!("          <idle>-0       [000] d..4.    {seconds}.200001: block_lat: pid=93 stack=STACK:\n")
    };
    let text = format!("{}=> f+0x1/0x2\n{}=> g+0x1/0x2\n", event(30), event(31));
    let parsed = parse(text.as_bytes()).unwrap();
    let frames: Vec<_> = parsed.stacks.iter().map(|(stack, _)| stack.frames.len()).collect();
    assert_eq!((parsed.events, frames), (2, vec![1, 1]));
}

#[test]
fn a_stack_as_fields_is_no_event_and_its_loss_is_told() {
    let line = |text: &str| format!("              sh-91      [000] d..2.     5.100001: {text}\n");
    let text = format!(
        "{}{}{}{} => f\n",
        line("sched_switch: prev_comm=sh"),
        line("kernel_stack: size=0x2 (2) caller=<INVALID-TYPE>"),
        line("sched_waking: comm=sh"),
        line("<stack trace>"),
    );
    let parsed = parse_text(&text);
    assert_eq!(show::lines(&parsed), ["1 sh sched_waking: f"]);
    assert_eq!((parsed.events, show::warnings(&parsed)), (2, vec![("unreadable-line", 1)]));
}

#[test]
fn a_user_stack_among_lines_of_the_function_graph_is_a_stack_and_no_event() {
    let text = "# tracer: function_graph\n\
         \x20 6.917701 |   0)     sh-121     | # 1228.000 us |  } /* vfs_open */\n\
         \x20 6.921552 |   0)     sh-121     |               |  /* fork: pid=121 */\n\
         \x20             sh-121     [000] d..5.     6.921885: <stack trace>\n => do_wait\n\
         \x20 6.922013 |   0)     sh-121     |               |  /* <user stack trace>\n =>  <00000000004313a4>\n\
         \x20=>  <00000000004005b0> */\n\
         \x20 6.922100 |   0)     sh-121     |   2.0 us      |  vfs_open();\n";
    let parsed = parse(text.as_bytes()).unwrap();
    assert_eq!((parsed.events, parsed.warnings), (2, vec![]));
    let (stack, 1) = &parsed.stacks[0] else { panic!("{:?}", parsed.stacks) };
    let addresses: Vec<_> = stack.frames.iter().map(|frame| (frame.user, frame.address)).collect();
    assert_eq!(addresses, [(false, None), (true, Some(0x4313a4)), (true, Some(0x4005b0))]);
    for end in [" */\n", "\n */\n"] {
        let text = format!(
            "# tracer: function_graph\n 0)               |  /* <stack trace>\n => f\n => g{end} 0)   1.234 us    |  }}\n"
        );
        let parsed = parse_text(&text);
        assert_eq!((parsed.warnings, parsed.stacks[0].0.frames.len()), (vec![], 2), "{text}");
        assert_eq!(parsed.stacks[0].0.frames[1].name(), "g");
    }
}

/// As the kernel prints them: `%16s-%-7d`, `%8.8s-%-7d %3d`, and `%16s %7d` of latency format with `verbose`.
#[test]
fn a_name_with_line_ends_is_whole_in_every_format() {
    for name in ["a\nb", "a\nb\nc", "\nb", "abcdefg\nhi-1", "a\n", "one\ntwo thr-456"] {
        let short = &name[..name.len().min(8)];
        let normal = format!("{name:>16}-12      [000] d..2.     0.1: ");
        let latency = format!("{short:>8}-12        0d..2.    1us : ");
        let verbose = format!("{name:>16}      12   0 0 00000000 [00000001] 1.345ms (+0.123ms): ");
        for (front, name) in [(&normal, name), (&latency, short), (&verbose, name)] {
            let stack = format!("{front}<stack trace>\n => f\n => g\n");
            let switch = format!("{front}sched_switch: prev_comm={name} next_comm={name} next_pid=1\n");
            let parsed = parse_text(&format!("# tracer: nop\n#\n{switch}{stack}{switch}{stack}{switch}"));
            assert_eq!((parsed.events, &parsed.warnings), (3, &vec![]), "{front}");
            let [(stack, 2)] = &parsed.stacks[..] else { panic!("{front}{:?}", parsed.stacks) };
            assert_eq!(
                (stack.task.as_str(), stack.frames.len()),
                (printable(name.trim_ascii_start().as_bytes()).as_str(), 2),
                "{front}"
            );
        }
    }
}

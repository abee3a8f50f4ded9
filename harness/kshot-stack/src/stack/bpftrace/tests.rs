use super::super::show;
use super::*;

fn parse_text(text: &str) -> ParsedCapture {
    parse(text.as_bytes()).unwrap()
}

fn told(text: &str) -> Vec<String> {
    show::lines(&parse_text(text))
}

#[test]
fn every_capture_reads_as_its_snapshot_says() {
    show::assert_snapshots("bpftrace", 6, |bytes| parse(bytes));
}

#[test]
fn a_key_of_a_map_is_a_stack_as_often_as_it_counts() {
    assert_eq!(told("@[\n    f+1\n    g+0x20\n]: 1708\n"), ["1708 ? bpftrace: f g"]);
    assert_eq!(told("@ns[sshd, 12, \n    f+1\n]: 3\n"), ["3 sshd @ns: f"]);
    assert_eq!(told("@[\n    f+1\n, a b]: 3\n"), ["3 a b bpftrace: f"]);
    assert_eq!(told("@[\n    f+1\n,\n    main+2\n, sh]: 3\n"), ["3 sh bpftrace: f [user]"]);
    assert_eq!(told("@[\n]: 4\n"), ["4 ? bpftrace: "], "a kernel without a stack to tell");
    assert_eq!(told("@[\n    f+1\n]: \n[1]    3 |@@@|\n@[\n    f+1\n]: 2\n"), ["3 ? bpftrace: f"]);
    assert_eq!(told("@x: 5\n@y[sh]: 7\n"), [""; 0]);
}

#[test]
fn a_printed_stack_ends_with_its_indentation() {
    assert_eq!(
        told("Attaching 1 probe...\nsh\n        f+16\n        g+32\n\nsh\n        f+16\n        g+32\n"),
        ["2 ? bpftrace: f g"]
    );
    assert_eq!(told("        f+16\n        ffffffff80112980\n"), ["1 ? bpftrace: f ?"]);
}

#[test]
fn names_alone_are_frames_of_bcc_only() {
    let profile = "Sampling at 49 Hertz of all threads by user + kernel stack... Hit Ctrl-C to end.\n^C\n    f\n    g\n    --\n    main\n    -                dd (25036)\n        4\n\n    f\n    g\n    -                x y (9)\n        1\n";
    assert_eq!(told(profile), ["4 dd bpftrace: f g [user]", "1 x y bpftrace: f g"]);
    assert_eq!(told("    f\n    g\n"), [""; 0]);
    let count = "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n  f\n  g\n  'sshd'\n    3\n";
    assert_eq!(told(count), ["3 sshd bpftrace: f g"]);
    let times = "Tracing off-CPU time (us) of all threads by kernel stack... Hit Ctrl-C to end.\n    schedule\n    g\n    chmod\n        13\n\n     usecs : count\n    none\n";
    assert_eq!(told(times), ["1 chmod bpftrace: schedule g"], "of how long, not of how often");
}

#[test]
fn objects_tell_the_kernel_from_programs() {
    let parsed = parse_text("        g+0x173 [kvm]\n        f+0x1 [kernel]\n        h+0x7 [libc-2.17.so]\n");
    let frames: Vec<_> =
        parsed.stacks[0].0.frames.iter().map(|frame| (frame.user, frame.module.as_deref())).collect();
    assert_eq!(frames, [(false, Some("kvm")), (false, None), (true, None)]);
    assert_eq!(parsed.stacks[0].0.frames[0].offset, Some(0x173));
}

#[test]
fn a_map_that_is_cut_and_a_frame_that_cannot_be_read_are_told() {
    let parsed = parse_text("@[\n    f+1\n    ??\n");
    let kinds: Vec<_> = parsed.warnings.iter().map(|warning| warning.kind.as_str()).collect();
    assert_eq!((kinds, parsed.stacks.len()), (vec!["unreadable-line", "cut-capture"], 0));
}

#[test]
fn a_programs_address_may_be_short_and_a_name_may_be_pythons_bytes() {
    // As in bpftrace's issue 2503 and bcc's issue 2822.
    let map = "@[\n        0x4b5f00\n        0x6f8d05   \n        main+3\n]: 2\n";
    let parsed = parse(map.as_bytes()).unwrap();
    assert_eq!(parsed.warnings, []);
    let addresses = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.address).collect::<Vec<_>>();
    assert_eq!(addresses(&parsed.stacks[0].0.frames), [Some(0x4b_5f00), Some(0x6f_8d05), None]);
    let bcc =
        "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n^C\n  b'[unknown]'\n  b'f'\n    1584605\n\n";
    assert_eq!(show::lines(&parse(bcc.as_bytes()).unwrap()), ["1584605 ? bpftrace: ? f"]);
}

/// Whether a text is known for one of this format, too.
fn is_known(text: &str) -> bool {
    let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let next = lines.iter().skip(1).copied().chain([&b""[..]]);
    lines.iter().zip(next).any(|(line, next)| is_of(line, next))
}

#[test]
fn a_frame_may_stand_behind_a_tab() {
    for text in [
        "14:46:49 0       4  39.156.66.10:80      > 10.211.55.10:33280   SYN_SENT (SYN|ACK)\n\tf+0x90\n\tg+0x1e4\n\n",
        "14:46:49 0       4  39.156.66.10:80      > 10.211.55.10:33280   SYN_SENT (SYN|ACK)\n\tb'f+0x90'\n\tb'g+0x1e4'\n\n",
        "262144 bytes in 64 allocations from stack\n\t0 [<ffffffff8110a3b0>] f+0x2a\n\t1 [<ffffffff8110a3b1>] g+0x12 a.c:34\n",
    ] {
        assert!(is_known(text), "{text}");
        assert_eq!(told(text), ["1 ? bpftrace: f g"], "{text}");
    }
    for text in ["\tf+0x1/0x2\n\tg+0x1/0x2\n", "\tf\n\tg\n", "\tb'f'\n\tb'g'\n", "f+0x1\ng+0x1\n"] {
        assert!(!is_known(text), "{text}");
        assert_eq!(told(text), [""; 0], "{text}");
    }
}

#[test]
fn whose_stack_it_was_stands_before_its_count() {
    let count = "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n^C\n  f\n  g\n    jbd2/xvda1-8 [405]\n    5\n\n  f\n    --\n  main\n    tar [1]\n    2\n\nDetaching...\n";
    assert_eq!(told(count), ["5 jbd2/xvda1-8 bpftrace: f g", "2 tar bpftrace: f [user]"]);
    let timed = "Sampling at 99 Hertz of all threads by user + kernel stack for 10 secs.\n    [Missed Kernel Stack]\n    main\n    -                dd (25036)\n        4\n\n    f\n    [Missed User Stack]\n    -                dd (25036)\n        1\n\n";
    assert_eq!(told(timed), ["4 dd bpftrace: [user]", "1 dd bpftrace: f"]);
}

#[test]
fn a_stack_of_libbpfs_tools_is_known_by_its_addresses() {
    let text = "    #0  0xffffffff8110a3b0 f+0x2d6\n    #1  0xffffffff8110a3b2 [unknown]\n    #2  0x00007f6c72b6497a read+0x14 (/lib/libc.so.6+0xd9a4)\n    #3  0x00007f6c72b64980 (/bin/a+0x12)\n    -                vmstat (1234)\n        1000139\n\n";
    assert!(is_known(text));
    assert_eq!(told(text), ["1 vmstat bpftrace: f ? [user] [user]"]);
    let frames = &parse_text(text).stacks[0].0.frames;
    assert_eq!((frames[0].address, frames[0].offset), (Some(0xffff_ffff_8110_a3b0), Some(0x2d6)));
    assert_eq!((frames[2].symbol.as_deref(), frames[3].symbol.as_deref()), (Some("read"), None));
    let joined = "    ffffffffaa6a0c81:f [kernel]\n    ffffffffaacb0c56:g+0x1 [kernel]\n    --\n    7f7d67099e41:[unknown] [libc.so]\n    7f7d67091f70:printf_core+0x101 [libc.so]\n    -                a.out (16368)\n        1234\n";
    assert!(is_known(joined));
    let named = told(&format!("Tracing off-CPU time (us) of PID 16368 for 10 secs.\n{joined}"));
    assert_eq!(named, ["1 a.out bpftrace: f g [user] [user]"]);
}

#[test]
fn who_wakes_and_who_is_woken_have_a_stack_each() {
    for (text, expected) in [
        (
            "Tracing blocked time (us) by user + kernel off-CPU and waker stack... Hit Ctrl-C to end.\n^C\n    waker:           swapper/1 0\n    b'idle'\n    b'wake'\n    --               --\n    b'schedule'\n    b'do_nanosleep'\n    -\n    b'main'\n    target:          vmstat 3211\n        1000139\n\n",
            vec!["1 swapper/1 bpftrace: wake idle", "1 vmstat bpftrace: schedule do_nanosleep [user]"],
        ),
        (
            "Tracing blocked time (us) by kernel off-CPU and waker stack for 5 secs.\n    waker:           a 9\n    main\n    -\n    wake\n    --               --\n    [Missed Kernel Stack]\n    target:          b 8\n        5\n",
            vec!["1 a bpftrace: wake [user]", "1 b bpftrace: "],
        ),
        (
            "Tracing blocked time (us) by kernel off-CPU and waker stack for 5 secs.\n    waker:           swapper/0\n    ffffffff8137897c wake\n    -                -\n    ffffffff81785085 schedule\n    target:          cksum\n        56529\n",
            vec!["1 swapper/0 bpftrace: wake", "1 cksum bpftrace: schedule"],
        ),
        (
            "Tracing blocked time (us) by kernel stack... Hit Ctrl-C to end.\n^C\n    target:          vmstat\n    ffffffff810df082 hrtimer_wakeup\n    ffffffff810dfba8 hrtimer_interrupt\n    waker:           Thread 1\n        4000415\n\n",
            vec!["1 Thread 1 bpftrace: hrtimer_wakeup hrtimer_interrupt"],
        ),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
}

#[test]
fn a_word_of_a_key_is_a_task_if_it_may_be_one_and_no_other_may() {
    for (key, task) in [
        ("kworker/0:1, ", "kworker/0:1"),
        ("kprobe:f, ", "?"),
        ("tracepoint:syscalls:sys_enter_read, ", "?"),
        ("fentry:f, ", "?"),
        ("profile:hz:99, ", "?"),
        ("sshd, -1, 0xff, ", "sshd"),
        ("f, ", "?"),
        ("sshd, read, ", "?"),
        ("a name that is too long, ", "?"),
    ] {
        let text = format!("@x[{key}\n    f+1\n    g+95\n, 12]: 2\n");
        assert_eq!(told(&text), [format!("2 {task} @x: f g")], "{text}");
    }
}

#[test]
fn a_lock_that_was_contended_has_a_stack_as_often() {
    let text = " contended   total wait     max wait     avg wait         type   caller\n\n         3     11.74 ms      9.54 ms      3.91 ms     spinlock   f+0x25\n                          0xffffffff8117a3b5  f+0x25\n                          0xffffffff8117a5b0  g+0x70\n         1     31.13 us     31.13 us     31.13 us     rwlock:W   h+0x2d\n                          0xffffffff8137a3b5  h+0x2d\n                          0xffffffff8137a5b0  g+0x6d2\n";
    assert!(is_known(text));
    assert_eq!(told(text), ["3 ? bpftrace: f g", "1 ? bpftrace: h g"]);
}

#[test]
fn names_behind_arrows_are_frames_below_the_heading_of_rtla() {
    let text = "  Blocking thread:                                    31.26 us (48.04 %)\n                       objtool:49674                31.26 us\n    Blocking thread stack trace\n                -> timerlat_irq\n                -> hrtimer_interrupt\n  ------------------------------------------------------------------------\n  -> this\n";
    assert!(is_known(text));
    assert_eq!(told(text), ["1 ? bpftrace: timerlat_irq hrtimer_interrupt"]);
    assert_eq!(told("    -> f\n    -> g\n"), [""; 0]);
}

#[test]
fn what_ends_in_no_frame_of_the_kernel_is_a_programs() {
    let text = "\t\tmain+0x6d [allocs]\n\t\t__libc_start_main+0xf0 [libc-2.21.so]\n";
    assert!(is_known(text));
    assert_eq!(told(text), ["1 ? bpftrace: [user] [user]"]);
    let text = "        f+0x1 [kvm]\n        g+0x1 [kernel]\n        runtime.futex+0x2 [dockerd]\n        start+0x7 [libc-2.17.so]\n        main+0x7 [a]\n";
    assert_eq!(told(text), ["1 ? bpftrace: f g [user] [user] [user]"]);
}

#[test]
fn the_first_versions_of_offcputime_name_the_task_as_a_frame() {
    let head = "Tracing off-CPU time (us) by kernel stack... Hit Ctrl-C to end.\n^C\n";
    let old = "    schedule\n    kthread\n    rcuos/0\n        22\n\n    schedule\n    g\n    kworker/u16:2\n        7\n\n";
    assert_eq!(
        told(&format!("{head}{old}")),
        ["1 rcuos/0 bpftrace: schedule kthread", "1 kworker/u16:2 bpftrace: schedule g"]
    );
    let new = "    schedule\n    g\n    -                dd (25036)\n        4\n\n";
    assert_eq!(told(&format!("{head}{new}")), ["1 dd bpftrace: schedule g"]);
    assert_eq!(told(&format!("{head}    schedule\n        4\n\n")), ["1 ? bpftrace: schedule"]);
    let sampled = head.replace("Tracing off-CPU time (us)", "Tracing blocked time (us)");
    assert_eq!(told(&format!("{sampled}    schedule\n    g\n        4\n")), ["1 ? bpftrace: schedule g"]);
}

#[test]
fn the_name_of_a_task_may_be_pythons_bytes() {
    let count =
        "Tracing 1 functions for \"f\"... Hit Ctrl-C to end.\n  b'f'\n    b'tar' [12345]\n    113\n\n";
    assert_eq!(told(count), ["113 tar bpftrace: f"]);
    let times = "Tracing blocked time (us)\n    f\n    -                b'a b' (25036)\n        4\n";
    assert_eq!(told(times), ["1 a b bpftrace: f"]);
}

#[test]
fn an_object_of_dtrace_is_the_kernel_or_a_module() {
    let text = "dtrace: description 'fbt::f:entry ' matched 1 probe\n\n\n              vmlinux`f+0x1\n              ext4`g\n              libc.so.6`main+0x2\n                5\n\n              vmlinux`f+0x1\n              vmlinux`h+0x1\n                7\n";
    assert!(is_known(text));
    assert_eq!(told(text), ["5 ? bpftrace: f [user] [user]", "7 ? bpftrace: f h"]);
    let frames = &parse_text(&text.replace("libc.so.6", "vmlinux")).stacks[0].0.frames;
    assert_eq!((frames[1].name(), frames[1].module.as_deref()), ("g".into(), Some("ext4")));
    assert_eq!((frames[0].module.as_deref(), frames[0].offset), (None, Some(1)));
}

#[test]
fn stacks_of_others_are_known_by_their_headings() {
    let nettrace = "    location:\n\tf+0x8fe\n    stack:\n       f ([kernel.kallsyms])\n       g ([tun])\n\n";
    assert!(is_known(nettrace) && !is_known("    stack:\n       f of the kernel\n"));
    assert_eq!(told(nettrace), ["1 ? bpftrace: f g"]);
    assert_eq!(told("       f ([kernel.kallsyms])\n       g ([tun])\n"), [""; 0]);
    let ply = "@:\n{ \n\tf\n\tg+12\n}: 3\n{ \n\th\n}: 2\n@x:\n{ sh, \n\tf\n}: 1\n";
    assert!(is_known(ply));
    assert_eq!(told(ply), ["3 ? bpftrace: f g", "2 ? bpftrace: h", "1 sh @x: f"]);
    let latencies = "Latency Top version : v0.1\n5 12345 4000 f g h\n1 2 3 \n";
    assert!(is_known(latencies) && !is_known("5 12345 4000 f g h\n"));
    assert_eq!(told(latencies), ["5 ? bpftrace: f g h", "1 ? bpftrace: "]);
    assert_eq!(told("5 12345 4000 f g h\n"), [""; 0]);
}

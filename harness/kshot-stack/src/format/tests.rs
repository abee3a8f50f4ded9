use super::*;
use crate::stack::{Frame, Stack, show};

fn guess(text: &str) -> TextFormat {
    DetectedFormat::guess(text.as_bytes()).format
}

/// The frames of each stack, as its text says them.
fn frames(text: &str) -> Vec<String> {
    let parsed = DetectedFormat::guess(text.as_bytes()).parse(text.as_bytes()).unwrap();
    let names = |stack: &Stack| stack.frames.iter().map(|frame| frame.name()).collect::<Vec<_>>().join(" ");
    parsed
        .stacks
        .iter()
        .flat_map(|(stack, count)| vec![names(stack); usize::try_from(*count).unwrap()])
        .collect()
}

#[test]
fn every_capture_is_known_by_its_text() {
    let folders = [
        ("ftrace", TextFormat::Ftrace),
        ("trace_cmd", TextFormat::Ftrace),
        ("perf", TextFormat::PerfScript),
        ("console", TextFormat::CallTrace),
        ("pasted", TextFormat::CallTrace),
        ("proc_stack", TextFormat::ProcStack),
        ("stack_tracer", TextFormat::StackTracer),
        ("hist", TextFormat::Hist),
        ("bpf", TextFormat::BpfStacks),
        ("bpftrace", TextFormat::Bpftrace),
    ];
    for (folder, format) in folders {
        for (name, bytes) in show::captures(folder) {
            assert_eq!(DetectedFormat::guess(&bytes).format, format, "{folder}/{name}");
        }
    }
    assert_eq!(guess(""), TextFormat::CallTrace);
    assert_eq!(guess("executor 5 failed 11 times:\n"), TextFormat::CallTrace);
    assert_eq!(guess("a 5 cycles:\n\t1234 f (/bin/a)\n"), TextFormat::PerfScript);
}

#[test]
fn a_quoted_trace_goes_on_behind_a_comment() {
    let trace = "> Call Trace:\n>  f+0x1/0x2\n";
    let more = ">  g+0x1/0x2\n>\n> h+0x1/0x2\n";
    for comment in ["\n", "\nThis is where it is built ..\n\n", "\n[two lines,\n \nor three]\n\n"] {
        assert_eq!(frames(&format!("{trace}{comment}{more}")), ["f g", "h"], "{comment}");
    }
    let own = "\nand here:\n\nCall Trace:\n g+0x1/0x2\n";
    assert_eq!(frames(&format!("{trace}{own}")), ["f", "g"]);
    let plain = format!("{trace}\n{more}").replace("> ", "").replace('>', "");
    assert_eq!(frames(&plain), ["f", "g", "h"], "no comment where nothing is quoted");
}

#[test]
fn a_quoted_or_indented_capture_reads_as_the_plain_one() {
    for folder in
        ["ftrace", "trace_cmd", "perf", "pasted", "proc_stack", "stack_tracer", "hist", "bpf", "bpftrace"]
    {
        for (name, bytes) in show::captures(folder) {
            let plain = DetectedFormat::guess(&bytes).parse(&bytes[..]).unwrap();
            let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
            for margin in ["> ", "> > ", "| ", "> | ", "    "] {
                // Without a header, what has its own blanks in front does not tell which of them are a
                // margin.
                let has_own =
                    folder == "ftrace" && !lines[0].starts_with(b"#") || name == "without-addresses";
                if margin == "    " && has_own {
                    continue;
                }
                let of = |line: &&[u8]| if *line == b"\n" { margin.trim_end() } else { margin };
                let quoted: Vec<u8> =
                    lines.iter().flat_map(|line| [of(line).as_bytes(), line].concat()).collect();
                let parsed = DetectedFormat::guess(&quoted).parse(&quoted[..]).unwrap();
                assert_eq!(parsed.stacks, plain.stacks, "{folder}/{name} behind {margin:?}");
                assert_eq!((parsed.events, parsed.lost), (plain.events, plain.lost), "{folder}/{name}");
            }
        }
    }
}

#[test]
fn frames_alone_are_stacks_wherever_they_were_pasted() {
    for text in [
        " => f\n => g\n",
        "Hi,\n\nit says\n\n => f\n => g\n\nregards\n",
        ">  => f\n>  => g\n> \n",
        "> => f\n> => g\n",
        "     => f\n     => g\n",
        "[   12.345678]  => f\n[   12.345679]  => g\n",
        "Nov 28 09:20:11 host kernel: [   12.345678]  => f\nNov 28 09:20:11 host kernel: [   12.345678]  => g\n",
        " => f+0x1/0x2\n => g+0x3/0x4 [tun]\n",
        " => f+0x1/0x2 <ffffffff80112980>\n => g <ffffffff80112990>\n",
        "=> f (ffffffff80112980)\n=> g (ffffffff80112990)\n",
        "[<0>] f+0x1/0x2\n[<0>] g+0x1/0x2\n",
        "    [<0>] f+0x1/0x2\n    [<0>] g+0x1/0x2\n",
        "> [<0>] f+0x1/0x2\n> [<0>] g+0x1/0x2\n",
        "[   12.345678] [<0>] f+0x1/0x2\n[   12.345679] [<0>] g+0x1/0x2\n",
        "        f+16\n        g+32\n",
        "    f+0x10\n    g+0x20\n",
        "@[\n    f+16\n    g+32\n]: 1\n",
        "#0  f (net/core/dev.c:12:3)\n#1  g (net/core/dev.c:13:3)\n",
        " #0 [ffff880035779a70] f at ffffffff815df272\n #1 [ffff880035779b08] g at ffffffff815dfacf\n",
        "113 mkdir\n\tffffffff8028f4d8\n",
    ] {
        let expected = if text.starts_with("113") { "?" } else { "f g" };
        assert_eq!(frames(text), [expected], "{text}");
    }
}

#[test]
fn what_stands_between_stacks_parts_them() {
    assert_eq!(frames(" => f\n => g\nand then\n => f\n => h\n"), ["f g", "f h"]);
    assert_eq!(frames(" => f\n => g\n\n => g\n => h\n"), ["f g", "g h"]);
    assert_eq!(frames(" => f+0x1/0x2\n\n => g <ffffffff80112990>\n"), ["f", "g"]);
    assert_eq!(frames("#0  f (a.c:1:1)\n#1  g (a.c:2:1)\n#0  h (a.c:3:1)\n"), ["f g", "h"]);
}

#[test]
fn one_word_behind_an_arrow_is_no_stack() {
    for text in [
        "U-Boot 2021.01 (Jan 11 2021 - 18:11:43 +0000)\n=> printenv\nbootcmd=run distro_bootcmd\n=> boot\nStarting kernel ...\n",
        "=> setenv bootargs quiet\n=> boot\n=> load mmc 0:1 80000000 Image\n=> reset\n",
        "=> reset\n=> load mmc 0:1 80000000 Image\nreading Image\n",
        "we bisected this to v6.1\n=> regression\n\nand then\n=> v6.2-rc1\n=> bad\n\nfoo() -> bar() -> baz()\n",
    ] {
        assert!(frames(text).is_empty(), "{text}");
        let sections = DetectedFormat::guess(text.as_bytes()).sections(text.as_bytes()).unwrap();
        let events: Vec<_> = sections.iter().map(|section| section.parsed.events).collect();
        assert_eq!(events, [0], "{text}");
    }
    let booted = "=> boot\n[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[    1.000000] Call Trace:\n[    1.000000]  f+0x1/0x2\n";
    assert_eq!(frames(booted), ["f"]);
}

#[test]
fn a_backtrace_is_a_programs_if_one_frame_is() {
    for text in [
        "(gdb) bt\n#0  0x00007ffff7a42428 in __GI_raise (sig=sig@entry=6) at ../raise.c:54\n#1  <signal handler called>\n#2  0x0000000000400556 in main () at a.c:5\n",
        "(gdb) bt\n#0  0xb6f12345 in raise () from /lib/libc.so.6\n#1  0xb6f12346 in abort () from /lib/libc.so.6\n#2  0x00010556 in main () at a.c:5\n",
    ] {
        assert_eq!(frames(text), ["[user] [user] [user]"], "{text}");
    }
    let kernel = "#0  f (dev=0x0) at net/core/dev.c:10083\n#1  <signal handler called>\n#2  0xc0107256 in g () at a.c:5\n";
    assert_eq!(frames(kernel), ["f <signal handler called> g"]);
}

/// The task and the frames of each stack, guesses behind `?`.
fn told(text: &str) -> Vec<String> {
    let parsed = DetectedFormat::guess(text.as_bytes()).parse(text.as_bytes()).unwrap();
    assert!(parsed.warnings.is_empty(), "{parsed:?}");
    let frame = |frame: &Frame| format!("{}{}", if frame.guess { "?" } else { "" }, frame.name());
    let stack = |stack: &Stack| {
        let frames = stack.frames.iter().map(|each| frame(each)).collect::<Vec<_>>().join(" ");
        format!("{} {}: {frames}", stack.task, stack.event)
    };
    parsed.stacks.iter().map(|(each, _)| stack(each)).collect()
}

#[test]
fn systemtap_tells_what_its_unwinder_came_by() {
    let (f, g) =
        (" 0xffffffff81145a50 : f+0x0/0x30 [kernel]\n", " 0xffffffffa01145a0 : g+0x10/0x30 [ext4]\n");
    let text = format!(
        "probe kernel.function(\"f@fs/open.c:1073\") hit\n{f}{g} 0xffffffffa02b5d6a [xfs]\n 0xffffffff810a8cd8 : kthread+0xd8/0xf0 [kernel] (inexact)\nprobe hit\n\t{g}\t{f} 0x7f6c72b6497a : main+0x14/0x60 [/bin/a]\n"
    );
    assert_eq!(told(&text), ["? systemtap: f g ? ?kthread", "? systemtap: g f [user]"]);
    assert_eq!(
        told(&format!("{f}{g} 0xffffffffc0427b40\n 0xffffffffc0427b40 (inexact)\n{f}")),
        ["? systemtap: f g ? ?? f"]
    );
    assert_eq!(told(" 0xffffffffa02b5d6a [xfs]\n 0xffffffffa02b5d6a [xfs]\n"), [""; 0]);
}

#[test]
fn xmon_tells_the_task_before_its_backtrace() {
    let trace = |task: &str| {
        format!(
            "cpu 0x3: Vector: 300 (Data Access) at [c0000001ec0f7990]\n    pc: c0000000006b1b2c: f+0x1c/0x30\n    lr: c0000000006b2a34: g+0xe4/0x270\n  current = 0xc0000001e8c00000\n    pid   = 1234, comm = {task}\nenter ? for help\n[link register   ] c0000000006b2a34 g+0xe4/0x270\n[c0000001ec0f7c10] c0000000006b2a18 h+0xc8/0x270 (unreliable)\n[c0000001ec0f7cb0] c0000000006b30f8 i+0x78/0xa0\n--- Exception: c01 (System Call) at 00003fffa1bb5dcc\nSP (3ffff1234560) is in userspace\n"
        )
    };
    assert_eq!(told(&trace("a b")), ["a b backtrace: g ?h i"]);
    assert_eq!(told(&(trace("a") + &trace("b"))), ["a backtrace: g ?h i", "b backtrace: g ?h i"]);
    let of_bug = trace("a").replace(
        "enter ? for help",
        "kernel BUG at :187!\nLinux version 6.19.0 (gcc 12.2.0)\nenter ? for help",
    );
    for begin in ["kernel BUG at mm/a.c:187!", "[  287.743843][ T1867] kernel BUG at mm/a.c:187!"] {
        assert_eq!(told(&format!("{begin}\n{of_bug}")), ["a backtrace: g ?h i"]);
    }
    let junk = trace("a").replace("c0000000006b2a18 h+0xc8/0x270", "0000000000000dc0");
    assert_eq!(told(&junk.replace("cpu 0x3: ", "")), ["a backtrace: g ?? i"]);
    let by_hand = "3:mon> t\n[c0000000f8a3b7c0] c000000000a1b2c4 f+0x9c/0xd0\n[c0000000f8a3b7e0] c000000000a1b2d4 g+0x9c/0xd0\n";
    assert_eq!(told(&by_hand.repeat(2)), ["? backtrace: f g"]);
    assert_eq!(frames(&by_hand.repeat(2)).len(), 2);
}

#[test]
fn a_named_format_is_looked_for_behind_a_margin_too() {
    let quoted = b"> [<0>] f+0x1/0x2\n";
    let parsed = DetectedFormat::of(TextFormat::ProcStack, quoted).parse(&quoted[..]).unwrap();
    assert_eq!((parsed.stacks.len(), parsed.warnings.len()), (1, 0));
}

#[test]
fn a_name_is_that_of_yaml_and_of_the_schema() {
    for format in TextFormat::ALL {
        assert_eq!(TextFormat::of_name(format.name()), Some(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
    assert_eq!(TextFormat::of_name("procstack"), None);
}

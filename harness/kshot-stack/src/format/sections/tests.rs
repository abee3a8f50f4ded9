use super::*;
use crate::format::DetectedFormat;
use crate::stack::show;

/// The parts of a text as it is read by itself.
fn sections(text: &[u8]) -> Vec<Section> {
    DetectedFormat::guess(text).sections(text).unwrap()
}

/// The format and the stacks of each section, as in `call-trace 12: 1 sh call trace: f g`.
fn told(text: &str) -> Vec<String> {
    let told = |section: &Section| {
        assert_eq!(section.parsed.warnings, [], "{}", section.format.name());
        format!("{} {}: {}", section.format.name(), section.line, show::lines(&section.parsed).join(", "))
    };
    sections(text.as_bytes()).iter().map(told).collect()
}

const FTRACE: &str = "\
# tracer: nop
#
              sh-93      [000] d..2.     5.100001: f <-g
              sh-93      [000] d..2.     5.100002: <stack trace>
 => f
 => g
";
const CONSOLE: &str = "\
[   12.345678] WARNING: CPU: 0 PID: 93 at net/core/dev.c:12 h+0x1/0x2
[   12.345678] CPU: 0 PID: 93 Comm: sh Not tainted 6.1.0 #1
[   12.345678] Call Trace:
[   12.345678]  <TASK>
[   12.345678]  h+0x1/0x2
[   12.345678]  i+0x1/0x2
[   12.345678]  </TASK>
[   12.345678] ---[ end trace 0000000000000000 ]---
";
const PERF: &str = "\
sh    93 [000]    12.345678: cycles:
\tffffffff80000004 j+0x4 ([kernel.kallsyms])
\tffffffff80000014 k+0x4 ([kernel.kallsyms])

";
const PROSE: &str = "\nHi,\n\nand then it says this, which is not what I: expected:\n\n";

#[test]
fn a_capture_of_one_format_is_one_section_that_reads_as_before() {
    for folder in [
        "ftrace",
        "trace_cmd",
        "perf",
        "console",
        "pasted",
        "proc_stack",
        "stack_tracer",
        "hist",
        "bpf",
        "bpftrace",
    ] {
        for (name, bytes) in show::captures(folder) {
            let reading = DetectedFormat::guess(&bytes);
            let parsed = ParsedCapture { arguments: Vec::new(), ..reading.parse(&bytes[..]).unwrap() };
            let section = Section { format: reading.format, line: 1, parsed };
            assert_eq!(sections(&bytes), [section], "{folder}/{name}");
        }
    }
}

#[test]
fn each_section_of_a_mail_is_read_in_its_own_format() {
    for (from, to) in [("", ""), ("\n", "\n> "), ("\n", "\n    ")] {
        let text = format!("{PROSE}{FTRACE}{PROSE}{CONSOLE}{PROSE}{PERF}{PROSE}");
        let text = if from.is_empty() { text } else { text.replace(from, to) };
        let text = text.trim_end_matches(['>', ' ']);
        assert_eq!(
            told(text),
            [
                "ftrace 1: 1 sh f in f: f g",
                "call-trace 17: 1 sh warn in h: h i",
                "perf-script 30: 1 sh cycles: j k"
            ],
            "{text}"
        );
    }
}

/// What lockdep says, in the shape of satyr's tests/kerneloopses/gitlog-15 (Linux 3.4), without times.
const LOCKS: &str = "\
======================================================
[ INFO: possible circular locking dependency detected ]
3.4.0-rc5 #26 Not tainted
-------------------------------------------------------
sh/93 is trying to acquire lock:
 (a_mutex){+.+.+.}, at: [<bf28ae00>] f+0x34/0x418 [tun]

-> #1 (a_mutex){+.+.+.}:
       [<c008fd44>] validate_chain+0xb94/0x10f0
       [<c0090b68>] lock_acquire+0x8c8/0x9b0

stack backtrace:
[<c001b928>] (unwind_backtrace+0x0/0x12c) from [<c0471d3c>] (dump_stack+0x20/0x24)
[<c0471d3c>] (dump_stack+0x20/0x24) from [<80208160>] (0x80208160)
";
const WITHOUT_TIME: &str = "\
WARNING: CPU: 0 PID: 93 at net/core/dev.c:12 h+0x1/0x2
CPU: 0 PID: 93 Comm: sh Not tainted 6.1.0 #1
Call Trace:
 <TASK>
 [<ffffffff8191c190>] h+0x1/0x2
 [<ffffffff82358f28>] i+0x1/0x2
 </TASK>
";

#[test]
fn a_report_without_times_is_a_console_whatever_stands_in_front_of_its_lines() {
    for margin in ["", "> ", "    ", "\t"] {
        let of = |line: &str| if line.is_empty() { margin.trim_end() } else { margin };
        let quoted =
            |text: &str| text.lines().map(|line| format!("{}{line}\n", of(line))).collect::<String>();
        assert_eq!(
            told(&quoted(LOCKS)),
            ["call-trace 1: 1 ? warn: validate_chain lock_acquire, 1 ? warn: unwind_backtrace dump_stack ?"],
            "{margin}"
        );
        assert_eq!(told(&quoted(WITHOUT_TIME)), ["call-trace 1: 1 sh warn in h: h i"], "{margin}");
        let mail = format!("{PROSE}{}{PROSE}{}", quoted(WITHOUT_TIME), quoted(PERF));
        assert_eq!(
            told(&mail),
            ["call-trace 1: 1 sh warn in h: h i", "perf-script 18: 1 sh cycles: j k"],
            "{margin}"
        );
    }
}

#[test]
fn each_section_of_a_chat_is_read_in_its_own_format() {
    for said in ["12:03 <a_b> ", "[12:03:45] <@a_b> ", "12:03:45 a_b | "] {
        let quoted = |text: &str| text.lines().map(|line| format!("{said}{line}\n")).collect::<String>();
        let chat = format!("{}{said}so it is\n{}{}", quoted(FTRACE), quoted(PERF), quoted(CONSOLE));
        assert_eq!(
            told(&chat),
            [
                "ftrace 1: 1 sh f in f: f g",
                "perf-script 8: 1 sh cycles: j k",
                "call-trace 12: 1 sh warn in h: h i"
            ],
            "{said}"
        );
    }
    // What others say in between is no line of the log.
    let chat = CONSOLE.lines().map(|line| format!("12:03 <a_b> {line}\n12:04 <c> hm\n12:04 <c> so?\n"));
    assert_eq!(told(&chat.collect::<String>()), ["call-trace 1: 1 sh warn in h: h i"]);
}

#[test]
fn a_mail_as_it_was_sent_reads_as_the_one_that_is_shown() {
    let encoded = |text: &str| text.replace('=', "=3D").replace("net/core", "net=\n/core");
    let mail = format!(
        "From: a\nContent-Transfer-Encoding: quoted-printable\n{PROSE}{}{PROSE}{}",
        encoded(FTRACE),
        encoded(CONSOLE)
    );
    assert_eq!(told(&mail), ["ftrace 1: 1 sh f in f: f g", "call-trace 19: 1 sh warn in h: h i"]);
}

#[test]
fn the_handlers_of_an_interrupt_do_not_make_a_mail_a_list_of_stacks() {
    let irq = "  irq 77: nobody cared (try booting with the \"irqpoll\" option)\n  handlers:\n  [<00000000d33eeed7>] vring_interrupt\n  Disabling IRQ #77\n";
    assert_eq!(told(&format!("{PROSE}{irq}{PROSE}{CONSOLE}")), ["call-trace 1: 1 sh warn in h: h i"]);
}

#[test]
fn an_address_that_is_announced_alone_begins_no_section() {
    for (heading, address) in [
        ("Preemption disabled at:", "[<0000000000000000>] 0x0"),
        ("Last Breaking-Event-Address:", " [<000003ff80021f54>] 0x3ff80021f54"),
    ] {
        let text = format!(
            "BUG: sleeping function called from invalid context at a.c:5\n{heading}\n{address}\nCPU: 1 PID: 93 Comm: sh Not tainted 6.12.0 #1\nCall Trace:\n f+0x1/0x2\n"
        );
        assert_eq!(told(&text), ["call-trace 1: 1 sh bug: f"], "{heading}");
        let rest = format!("Call Trace:\n f+0x1/0x2\n---[ end trace 0 ]---\n{heading}\n{address}\n");
        assert_eq!(told(&rest), ["call-trace 1: 1 ? call trace: f"], "{heading}");
    }
}

#[test]
fn prose_around_an_excerpt_is_no_damage_but_what_stands_among_its_lines_is() {
    let warnings = |text: &str| {
        let sections = sections(text.as_bytes());
        let all = sections.iter().flat_map(|section| &section.parsed.warnings);
        all.map(|warning| (warning.kind.clone(), warning.line)).collect::<Vec<_>>()
    };
    let proc_stack = "[<0>] f+0x1/0x2\n[<0>] g+0x1/0x2\n";
    let stack_tracer = "        Depth    Size   Location    (1 entries)\n        -----    ----   --------\n  0)     2928     224   f+0x1/0x2\n";
    for excerpt in [FTRACE, PERF, proc_stack, stack_tracer] {
        let mail =
            format!("From: a\nSubject: b\n{PROSE}{excerpt}{PROSE}{excerpt}\nThanks,\nA\n-- \n2.39.2\n");
        assert_eq!(warnings(&mail), [], "{mail}");
    }
    let damaged = proc_stack.replace("[<0>] g", "what is this\n[<0>] g");
    assert_eq!(warnings(&format!("{PROSE}{damaged}{PROSE}")), [("unreadable-line".into(), Some(7))]);
    let damaged = FTRACE.replace("f <-g\n", "f <-g\nsh-93 [0%0] d..2.\n");
    assert_eq!(warnings(&format!("{damaged}{PROSE}{FTRACE}")), [("unreadable-line".into(), Some(4))]);
    let told = format!("{PROSE}# ./tpoint sched_switch\nTracing sched_switch. Ctrl-C to end.\n{FTRACE}");
    assert_eq!(warnings(&told), []);
}

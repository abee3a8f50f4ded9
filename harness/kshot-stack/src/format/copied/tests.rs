use crate::format::DetectedFormat;
use crate::stack::show;

/// What stands in a text, as in `ftrace: 1 sh f in f: f g`.
fn told(text: &str) -> Vec<String> {
    let sections = DetectedFormat::guess(text.as_bytes()).sections(text.as_bytes()).unwrap();
    let told = |section: &crate::format::Section| {
        let lines = show::lines(&section.parsed).join(", ");
        format!("{}: {lines}", section.format.name())
    };
    sections.iter().map(told).collect()
}

/// A text with each of its lines made another.
fn each(text: &str, made: impl Fn(&str) -> String) -> String {
    text.lines().map(|line| format!("{}\n", made(line))).collect()
}

const FTRACE: &str = "\
            bash-93      [001] d..2.  1234.567890: f <-g
            bash-93      [001] d..3.  1234.567895: <stack trace>
 => f
 => g
";
const PERF: &str = "\
my app 93 [003] 666709.771979:   10101010 cpu-clock: 
\tffffffff8104f45a f+0xa ([kernel.kallsyms])
\tffffffffc0a4f45a g+0x1a ([foo])

swapper     0 [001] 666709.782078:   10101010 cpu-clock: 
\tffffffff8104f45a h+0xa ([kernel.kallsyms])

";
const BPFTRACE: &str = "@[\n    f+1\n    g+95\n, cat]: 3\n";
const PROC_STACK: &str = "[<0>] f+0x1b6/0x250\n[<0>] g+0xa7/0x140\n[<0>] h+0x64/0xce\n";
const HIST: &str = "\
# event histogram
#
{ common_stacktrace:
         f+0x1/0x2
         g+0x1/0x2
} hitcount:          7
";
const CRASH: &str = "\
PID: 93     TASK: ffff9a1b01234000  CPU: 3    COMMAND: \"my app\"
 #0 [ffffa3c0c0a7bb60] f at ffffffff8a06156e
 #1 [ffffa3c0c0a7bbb8] g at ffffffff8a15ca6d
";
const CONSOLE: &str = "\
[ 5437.111144] task:jbd2/sda1-8     state:D stack:    0 pid:  431 ppid:     2 flags:0x00000028
[ 5437.111155] Call trace:
[ 5437.111166]  f+0xf8/0x160
[ 5437.111177]  g+0x278/0x728
";
const TEXTS: [&str; 7] = [FTRACE, PERF, BPFTRACE, PROC_STACK, HIST, CRASH, CONSOLE];

#[test]
fn what_copying_does_to_all_lines_is_undone() {
    let escaped = |line: &str| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for text in TEXTS {
        let plain = told(text);
        assert!(plain[0].contains("f g"), "{plain:?}");
        for (name, copy) in [
            ("a web page's source", each(text, escaped)),
            ("ends of lines of a web page", each(text, |line| format!("{}<br>", escaped(line)))),
            ("blanks of a web page", each(text, |line| line.replace("  ", "\u{a0} "))),
            ("blanks at the ends", each(text, |line| format!("{line}   "))),
            ("empty lines", each(text, |line| format!("{line}\n"))),
            ("empty lines that hold blanks", each(text, |line| format!("{line}\n    "))),
            ("a byte-order mark", format!("\u{feff}{text}")),
            ("a fence", format!("```\n{text}```\n")),
            ("a fence with a language", format!("~~~text\n{text}~~~\n")),
            ("a tag", format!("<pre>\n{text}</pre>\n")),
            ("no last end", text.trim_end().to_owned()),
        ] {
            assert_eq!(told(&copy), plain, "{name}: {copy}");
        }
    }
}

#[test]
fn a_column_in_front_of_all_lines_is_no_part_of_them() {
    for text in TEXTS {
        let plain = told(text);
        for (name, prefix) in [("docker", "vm-1  | "), ("grep -H", "a.txt:"), ("a comment", " * ")] {
            // A console's own lines are known behind what its parser knows.
            if text != CONSOLE {
                assert_eq!(told(&each(text, |line| format!("{prefix}{line}"))), plain, "{name}");
            }
        }
        for behind in [" | ", "\t", ":", ". "] {
            let lines = text.lines().enumerate();
            let numbered: String = lines.map(|(at, line)| format!("{}{behind}{line}\n", at + 8)).collect();
            assert_eq!(told(&numbered), plain, "{numbered}");
        }
    }
}

#[test]
fn the_signs_of_a_difference_are_no_part_of_a_frame() {
    let signed = FTRACE.replace(" => g", "+ => g\n+ => h");
    assert_eq!(told(&format!("```diff\n{signed}```\n")), ["ftrace: 1 bash f in f: f g h"]);
}

#[test]
fn a_string_holds_the_lines_that_it_writes_out() {
    let written = CONSOLE.replace('"', "\\\"").replace('\n', "\\n");
    let json = format!("{{\"log\": \"{written}\", \"level\": \"err\"}}\n");
    assert_eq!(told(&json), told(CONSOLE));
    let ftrace = FTRACE.replace('<', "\\u003c").replace('\n', "\\n");
    assert_eq!(told(&format!("{{\"trace\": \"{ftrace}\"}}\n")), told(FTRACE));
}

#[test]
fn prose_and_single_frames_stay_as_they_are() {
    // Behind each kernel thread's only frame stands an empty line, and behind others more.
    assert_eq!(
        told("[<0>] f+0x1/0x2\n\n[<0>] g+0x1/0x2\n[<0>] h+0x1/0x2\n\n[<0>] i+0x1/0x2\n"),
        ["proc-stack: 1 ? proc-stack: f, 1 ? proc-stack: g h, 1 ? proc-stack: i"]
    );
    for prose in ["1. a\n2. b\n3. c\n", "* a\n* b\n* c: d\n", "a\n\nb\n\nc", "say \"a\\nb\\nc\"\n"] {
        assert_eq!(told(prose), ["call-trace: "], "{prose}");
    }
}

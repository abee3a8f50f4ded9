//! What the text of one event says, behind task, CPU and time (`kernel/trace/trace_output.c`).
//!
//! ```text
//! sched_wakeup: comm=kworker/0:1 pid=16 prio=120 target_cpu=000
//! register_netdevice+0x1c/0x798 <ffffffff803feffc> <-tun_chr_ioctl+0xeec/0x15e8 <ffffffff803a68b4>
//! tun_chr_ioctl [tun] <-sys_ioctl (repeats: 3, last_ts: 4.123456)
//! vfs_write(file=0xffffffff81234000, count=0x2) <-ksys_write
//! register_netdevice
//! rn: (register_netdevice+0x0/0x798) a=1
//! rr: (tun_chr_ioctl+0x8/0x10 <- register_netdevice)
//! tracing_mark_write+0x158/0x228 <ffffffff801d3c10>: text of a program <-whatever
//! 0xffffffffc0002014 <ffffffffc0002014>: text of a module that is gone
//! # 1f buf: de ad
//! sys_ioctl(fd: 3, cmd: 400454ca, arg: 7fffb2c0)
//! sys_ioctl -> 0x0
//!      91:120:S ==> [000]    16:120:R kworker/0:1
//! function:             vfs_write <-- ksys_write
//! #12    inner/outer(us):   15/14    ts:1499801089.066141940
//! ```

use std::borrow::Cow;

use super::lines::{decimal, hexadecimal, is_symbol, split_at};

/// What is counted of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventText<'a> {
    /// Its name, as tracefs has it.
    pub(super) name: Cow<'a, [u8]>,
    /// The function it was taken in: a traced one, or the one that a kprobe sits in.
    pub(super) function: Option<&'a [u8]>,
    /// How often the function was entered: `func-no-repeats` folds equal entries.
    pub(super) times: u64,
}

/// The name of text whose place the kernel has no name for.
pub(super) const NAMELESS: &[u8] = b"?";
/// What `trace_marker` leaves (`kernel/trace/trace.c`).
pub(super) const MARKER: &[u8] = b"tracing_mark_write";

impl<'a> EventText<'a> {
    fn named(name: &'a [u8]) -> Self {
        Self { name: Cow::Borrowed(name), function: None, times: 1 }
    }

    fn entered(function: &'a [u8], times: u64) -> Self {
        Self { name: Cow::Borrowed(function), function: Some(function), times }
    }
}

/// What an event says; `None` for a text that is none of an event.
pub(super) fn event(text: &[u8]) -> Option<EventText<'_>> {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b':' | b'+' | b'(')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if let Some(fields) = rest.strip_prefix(b":")
        && is_symbol(name)
    {
        if let Some(function) = recorded_function(name, fields) {
            return Some(EventText::entered(function, 1));
        }
        return Some(EventText { function: probed(name, fields), ..EventText::named(name) });
    }
    if name.first().is_none_or(|first| !first.is_ascii_alphabetic() && *first != b'_') || !is_symbol(name) {
        return unnamed(text, name, rest);
    }
    if let Some(arguments) = rest.strip_prefix(b"(") {
        return called(name, arguments);
    }
    if let (b" -> 0x", Some(call)) = (rest.get(..6).unwrap_or_default(), name.strip_prefix(b"sys_")) {
        return Some(EventText::named_as(b"sys_exit_", call));
    }
    // Most are this.
    if rest.starts_with(b" <-") {
        return Some(EventText::entered(name, repeats(rest)));
    }
    let rest = behind_place(rest);
    match rest {
        // Without `print-parent`.
        b"" => Some(EventText::entered(name, 1)),
        [b':', ..] => Some(EventText::named(name)),
        [b'(', ..] => entered_with_arguments(name, &rest[1..]),
        _ => {
            let parent = rest.strip_prefix(b" <-");
            let folded = || rest.starts_with(b" (repeats: ");
            (parent.is_some() || folded()).then(|| EventText::entered(name, repeats(rest)))
        }
    }
}

/// What an event of the function-graph tracer's comments says: `/* sched_switch: prev_comm=sh */`. The text
/// of `trace_marker` and `trace_printk` stands there without a place, so nothing in a comment is a function
/// that was entered.
pub(super) fn comment(text: &[u8]) -> Option<EventText<'_>> {
    event(text).filter(|event| !event.is_entry())
}

/// What a kprobe event fetched, which stands behind its place: `tsk: (save_stack_trace_tsk+0x28/0x188)
/// skip=5`.
pub(super) fn arguments(text: &[u8]) -> Option<&[u8]> {
    let (name, text) = split_at(text, b": (")?;
    let (_, text) = split_at(text, b") ")?;
    (is_symbol(name) && text.contains(&b'=')).then_some(text)
}

impl EventText<'_> {
    /// Whether it says that a function was entered, and nothing else.
    pub(super) fn is_entry(&self) -> bool {
        self.function.is_some_and(|function| function == self.name.as_ref())
    }

    fn named_as(group: &[u8], call: &[u8]) -> Self {
        Self { name: Cow::Owned([group, call].concat()), function: None, times: 1 }
    }
}

/// The function of `(register_netdevice+0x0/0x798) a=1`. A return probe, `(tun_chr_ioctl+0x8/0x10 <-
/// register_netdevice)`, is taken in neither, and a program's text in none.
fn probed<'a>(name: &[u8], fields: &'a [u8]) -> Option<&'a [u8]> {
    let (place, _) = split_at(fields.trim_ascii_start().strip_prefix(b"(")?, b")")?;
    if name == MARKER || split_at(place, b" <- ").is_some() {
        return None;
    }
    let (function, _) = split_at(place, b"+0x")?;
    is_symbol(function).then_some(function)
}

/// The function of `function:             vfs_write <-- ksys_write`, as trace-cmd prints what the function
/// tracer records.
fn recorded_function<'a>(name: &[u8], fields: &'a [u8]) -> Option<&'a [u8]> {
    let text = fields.strip_prefix(b" ").filter(|_| name == b"function")?.trim_ascii();
    let (function, caller) = split_at(text, b" ").unwrap_or((text, b""));
    let caller = caller.trim_ascii_start();
    let begins = function.first().is_some_and(|&first| first.is_ascii_alphabetic() || first == b'_');
    (begins && is_symbol(function) && (caller.is_empty() || caller.starts_with(b"<-"))).then_some(function)
}

/// `sys_ioctl(fd: 3)`, which `trace_syscalls.c` prints for the event `sys_enter_ioctl`, or a function with
/// its arguments. The first ends in its bracket; and it may hold a program's text, so no arrow is looked for
/// in it.
fn called<'a>(name: &'a [u8], arguments: &'a [u8]) -> Option<EventText<'a>> {
    match name.strip_prefix(b"sys_") {
        Some(call) if arguments.ends_with(b")") || split_at(arguments, b") <-").is_none() => {
            Some(EventText::named_as(b"sys_enter_", call))
        }
        _ => entered_with_arguments(name, arguments),
    }
}

fn entered_with_arguments<'a>(name: &'a [u8], arguments: &[u8]) -> Option<EventText<'a>> {
    let entered = arguments.ends_with(b")") || split_at(arguments, b") <-").is_some();
    entered.then(|| EventText::entered(name, repeats(arguments)))
}

/// The number of `f <-g (repeats: 3, last_ts: 4.123456)`, of 16 bits (`func_repeats` of
/// kernel/trace/trace_entries.h).
fn repeats(text: &[u8]) -> u64 {
    if !text.ends_with(b")") {
        return 1;
    }
    let repeated = split_at(text, b" (repeats: ").and_then(|(_, text)| decimal(text));
    let of_kernel =
        |(times, text): &(u64, &[u8])| text.starts_with(b", last_ts:") && *times <= u16::MAX.into();
    repeated.filter(of_kernel).map_or(1, |(times, _)| times)
}

/// Texts that do not begin with a name.
fn unnamed<'a>(text: &'a [u8], word: &[u8], rest: &'a [u8]) -> Option<EventText<'a>> {
    if let Some(raw) = text.strip_prefix(b"# ") {
        let (id, _) = split_at(raw, b" buf:")?;
        return hexadecimal(id).map(|_| EventText::named(b"raw_data"));
    }
    if let Some((_, text)) = text.strip_prefix(b"#").and_then(decimal) {
        let text = text.trim_ascii_start();
        let known = [(&b"inner/outer"[..], &b"hwlat"[..]), (b"context ", b"timerlat")];
        return known
            .iter()
            .find(|(begin, _)| text.starts_with(begin))
            .map(|(_, name)| EventText::named(name));
    }
    if word.starts_with(b"0x") && hexadecimal(word).is_some() || word == b"0" {
        return behind_place(rest).starts_with(b":").then(|| EventText::named(NAMELESS));
    }
    switched(text.trim_ascii_start()).or_else(|| branch(text))
}

/// `91:120:S ==> [000]    16:120:R kworker/0:1` and, for a wakeup, `91:120:R   + [000] ..`.
fn switched(text: &[u8]) -> Option<EventText<'_>> {
    let (_, text) = decimal(text)?;
    if let Some(priority) = text.strip_prefix(b":") {
        let (_, text) = decimal(priority)?;
        let mark = text.get(2..)?.trim_ascii_start();
        let known = [(&b"==> ["[..], &b"context_switch"[..]), (b"+ [", b"wakeup")];
        return known
            .iter()
            .find(|(begin, _)| mark.starts_with(begin))
            .map(|(_, name)| EventText::named(name));
    }
    // `8,0    A   W 6208 + 32 <- (252,1) 6144` of the block tracer.
    if text.strip_prefix(b",").and_then(decimal).is_some_and(|(_, text)| text.starts_with(b" ")) {
        return Some(EventText::named(b"blktrace"));
    }
    // `1000000        190  99.98100        18` of the osnoise tracer.
    let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let number = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    (words.clone().count() >= 3 && words.all(number)).then(|| EventText::named(b"osnoise"))
}

/// `[  ok  ] vfs_write:read_write.c:610` of the branch tracer.
fn branch(text: &[u8]) -> Option<EventText<'_>> {
    let known = [&b"[  ok  ] "[..], b"[ MISS ] "].iter().any(|begin| text.starts_with(begin));
    known.then(|| EventText::named(b"branch"))
}

/// What follows `+0x1c/0x798 [tun] <ffffffffc0001234>`, each part optional.
fn behind_place(text: &[u8]) -> &[u8] {
    let mut rest = text;
    if let Some(place) = rest.strip_prefix(b"+0x") {
        let end = place.iter().position(|byte| !byte.is_ascii_hexdigit() && !matches!(byte, b'/' | b'x'));
        rest = &place[end.unwrap_or(place.len())..];
    }
    if let Some((module, behind)) = rest.strip_prefix(b" [").and_then(|text| split_at(text, b"]"))
        && !module.is_empty()
    {
        rest = behind;
    }
    if let Some((address, behind)) = rest.strip_prefix(b" <").and_then(|text| split_at(text, b">"))
        && hexadecimal(address).is_some()
    {
        rest = behind;
    }
    rest
}

/// Whether the text of an event is the heading of a stack, and whether that is one of user space.
pub(super) fn heading(text: &[u8]) -> Option<bool> {
    match text {
        b"<stack trace>" => Some(false),
        b"<user stack trace>" => Some(true),
        _ => {
            let kernel = text.strip_prefix(b"kernel_stack:").map(|text| (text, false));
            let (text, user) =
                kernel.or_else(|| text.strip_prefix(b"user_stack:").map(|text| (text, true)))?;
            text.trim_ascii_start().starts_with(b"<").then_some(user)
        }
    }
}

/// Whether the text of an event is a stack as fields, whose frames `options/fields` does not tell
/// (`print_fields` of `kernel/trace/trace_output.c`): `kernel_stack: size=0x2 (2) caller=<INVALID-TYPE>`.
pub(super) fn is_stack_as_fields(text: &[u8]) -> bool {
    let of_kernel = || text.strip_prefix(b"kernel_stack: ");
    let fields = of_kernel().or_else(|| text.strip_prefix(b"user_stack: "));
    fields.is_some_and(|fields| split_at(fields, b"caller").is_some())
}

/// A line of the heading: `#`, `#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION`. `# 2876.076 us |`
/// is a call that took long, and histograms begin so, too.
pub(super) fn is_heading(line: &[u8]) -> bool {
    match line {
        b"#" => true,
        [b'#', b' ', next, ..] => {
            !next.is_ascii_digit() && *next != b'e' || line.starts_with(b"# entries-in")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_of_text_has_its_name_and_its_function() {
        for (text, name, function) in [
            ("sched_wakeup: comm=kworker/0:1 pid=16", "sched_wakeup", None),
            ("f <-g", "f", Some("f")),
            ("f+0x1c/0x798 <ffffffff803feffc> <-g+0xeec/0x15e8 <ffffffff803a68b4>", "f", Some("f")),
            ("f [tun] <-g [tun]", "f", Some("f")),
            ("f <-[unknown/kretprobe'd]", "f", Some("f")),
            ("f(file=0x1, text=\"a\") <-g", "f", Some("f")),
            ("f+0x1/0x2 <ffffffff803feffc>(a=1) <-g", "f", Some("f")),
            ("f", "f", Some("f")),
            ("function:             f", "f", Some("f")),
            ("function:             f <-- g", "f", Some("f")),
            ("function: (f+0x0/0x8) a=1", "function", Some("f")),
            ("rn: (register_netdevice+0x0/0x798) a=1", "rn", Some("register_netdevice")),
            ("rr: (tun_chr_ioctl+0x8/0x10 <- register_netdevice)", "rr", None),
            ("rr: ([unknown/kretprobe'd] <ffffffff80113cb0> <- f)", "rr", None),
            ("tracing_mark_write: a <-b", "tracing_mark_write", None),
            ("tracing_mark_write: (f+0x0/0x8) is no place", "tracing_mark_write", None),
            ("tracing_mark_write+0x158/0x228 <ffffffff801d3c10>: a <-b", "tracing_mark_write", None),
            ("init_module+0x8/0x20 [mine] <ffffffffc0002014>: x <-y", "init_module", None),
            ("0xffffffffc0002014 <ffffffffc0002014>: a <-b", "?", None),
            ("# 1f buf: de ad", "raw_data", None),
            ("sys_ioctl(fd: 3, cmd: 400454ca)", "sys_enter_ioctl", None),
            ("sys_openat(filename: 1 \"a) <-b\")", "sys_enter_openat", None),
            ("sys_getpid()", "sys_enter_getpid", None),
            ("sys_ioctl -> 0xffffffffffffffea", "sys_exit_ioctl", None),
            ("sys_ioctl <-do_syscall_64", "sys_ioctl", Some("sys_ioctl")),
            ("sys_ioctl(fd=3) <-do_syscall_64", "sys_ioctl", Some("sys_ioctl")),
            ("     91:120:S ==> [000]    16:120:R kworker/0:1", "context_switch", None),
            ("     91:120:R   + [000]    16:120:R <-x", "wakeup", None),
            ("#12    inner/outer(us):   15/14    ts:1499801089.0 count:1", "hwlat", None),
            ("#1     context    irq timer_latency       932 ns", "timerlat", None),
            ("1000000        190  99.98100        18        0", "osnoise", None),
            ("  8,0    A   W 6208 + 32 <- (252,1) 6144", "blktrace", None),
            ("[ MISS ] f:a.c:1", "branch", None),
        ] {
            let event = event(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            let found = (event.name.as_ref(), event.function, event.times);
            assert_eq!(found, (name.as_bytes(), function.map(str::as_bytes), 1), "{text}");
        }
        for text in ["", "???", "hello world", "f <g", "(f)", "a b: c", "# text", "#1"] {
            assert_eq!(event(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn folded_entries_count_as_often_as_they_were_made() {
        let times = |text: &str| event(text.as_bytes()).unwrap().times;
        assert_eq!(times("f <-g (repeats: 12, last_ts: 4.123456)"), 12);
        assert_eq!(times("f <-g"), 1);
        // No kernel counts so far.
        assert_eq!(times("f <-g (repeats: 18446744073709551615, last_ts: 4.123456)"), 1);
    }

    #[test]
    fn a_stack_as_fields_is_known_by_its_frames() {
        for text in [
            "kernel_stack: size=0x2 (2) caller=<INVALID-TYPE>",
            "kernel_stack: caller={0xffffffff81234567,0xffffffff81234568} size=2",
            "user_stack: tgid=0x5b (91) caller[8]=00 01",
        ] {
            assert!(is_stack_as_fields(text.as_bytes()), "{text}");
        }
        for text in
            ["kernel_stack: <stack trace >", "kernel_stack: (f+0x0/0x8)", "my_stack: caller=1", "f <-caller"]
        {
            assert!(!is_stack_as_fields(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_comment_enters_no_function() {
        assert_eq!(comment(b"begin <-not a caller"), None);
        assert_eq!(comment(b"hello"), None);
        assert_eq!(comment(b"sched_switch: a").unwrap().name.as_ref(), b"sched_switch");
        assert_eq!(comment(b"rn: (f+0x0/0x8)").unwrap().function, Some(&b"f"[..]));
    }
}

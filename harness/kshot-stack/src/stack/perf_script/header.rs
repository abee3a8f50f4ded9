//! The headers of samples: whose each is, and of which event.

use super::{LONGEST_TASK, frame};
use crate::stack::NAMELESS;
use crate::stack::lines::{decimal, split_at, symbol};

/// The task and the event of `eoe_filter   123 [000]    12.345678: probe:register_netdevice: (...)`.
pub(super) fn header(line: &[u8]) -> Option<(&[u8], &str)> {
    timed_header(line)
        .or_else(|| timeless_header(line))
        .or_else(|| header_without_pid(line))
        .or_else(|| trace_header(line))
}

/// Whether a word of a line may be the time of a [`timed_header`] or a [`header_without_pid`]: it ends in a digit
/// and a colon.
pub(super) fn may_hold_time(line: &[u8]) -> bool {
    memchr::memchr_iter(b':', line).any(|colon| {
        let ends_number = line[..colon].last().is_some_and(u8::is_ascii_digit);
        ends_number && matches!(line[colon + 1..], [] | [b' ' | b'\t', ..])
    })
}

pub(super) fn timed_header(line: &[u8]) -> Option<(&[u8], &str)> {
    let mut words = words(line);
    // The last words, the latest last.
    let mut before: [Option<(usize, &[u8])>; 5] = [None; 5];
    // The time is the first word of its form that stands where a time can: behind the pid, the CPU, `-F misc`
    // or `-F tod`, not in a name.
    let pid = loop {
        let (begin, word) = words.next()?;
        if is_time(word) {
            let mut last = before.iter().rev().copied().flatten().peekable();
            if last.next_if(|(_, word)| is_time_of_day(word)).is_some() {
                last.next();
            }
            last.next_if(|(_, word)| is_misc(word));
            last.next_if(|(_, word)| is_cpu(word));
            if let Some((begin, _)) = last.next().filter(|(_, pid)| is_pid(pid)) {
                break begin;
            }
        }
        before.rotate_left(1);
        before[4] = Some((begin, word));
    };
    let mut event = words.next().map_or(NAMELESS.as_bytes(), |(_, word)| word);
    // The period, where it was asked for.
    if decimal(event).is_some_and(|(_, rest)| rest.is_empty()) {
        event = words.next().map_or(NAMELESS.as_bytes(), |(_, word)| word);
    }
    let event = symbol(event.strip_suffix(b":").unwrap_or(event))?;
    Some((line[..pid].trim_ascii(), event))
}

/// The task and the event of `func_ab 15294 cpu-clock:`, without `-F time`. Behind the event of a tracepoint
/// stands its text, and behind others may stand their place.
pub(super) fn timeless_header(line: &[u8]) -> Option<(&[u8], &str)> {
    let ends = words(line).map(|(begin, word)| begin + word.len()).filter(|end| line[end - 1] == b':');
    ends.into_iter().find_map(|end| {
        let (rest, event) = last_word(&line[..end - 1])?;
        let (before, cpu) = last_word(rest)?;
        let (task, pid) = if is_cpu(cpu) { last_word(before)? } else { (before, cpu) };
        if !is_pid(pid) {
            return None;
        }
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b":_-.,/=".contains(byte);
        // `PID:` and `ADDR:` stand in tables of others.
        let is_name = event.iter().any(u8::is_ascii_lowercase) || event.starts_with(b"PERF_RECORD_");
        let is_event = is_name && event[0].is_ascii_alphabetic() && event.iter().all(word);
        // Its beginning may stand in lines before.
        let is_task = !task.is_empty() && !task.starts_with(b"#") && task.trim_ascii().len() <= LONGEST_TASK;
        let is_event = is_event && is_task;
        let behind = line[end..].trim_ascii();
        let may_follow = || behind.is_empty() || event.contains(&b':') || frame(behind).is_some();
        (is_event && may_follow()).then_some((task.trim_ascii(), symbol(event)?))
    })
}

/// The task and the event of `eoe_filter [000]    12.345678: cpu-clock:`, without `-F tid`.
pub(super) fn header_without_pid(line: &[u8]) -> Option<(&[u8], &str)> {
    let (mut words, mut cpu) = (words(line), None);
    let task = loop {
        let (begin, word) = words.next()?;
        if let Some(cpu) = cpu.filter(|_| is_time(word)) {
            break line[..cpu].trim_ascii();
        }
        cpu = is_cpu(word).then_some(begin);
    };
    let (_, event) = words.next()?;
    Some((task, symbol(event.strip_suffix(b":")?)?)).filter(|_| !task.is_empty())
}

/// The task and the event of a system call or an event of `perf trace`, with its time and how long it took:
/// `     0.000 (1000.123 ms): sleep/12345 nanosleep(rqtp: 0x7ffd6e4b5c80) = 0`,
/// `     0.063 (         ): sched:sched_switch(..`. One that another interrupted begins with `?`.
pub(super) fn trace_header(line: &[u8]) -> Option<(&[u8], &str)> {
    const CONTINUED: &[u8] = b" ... [continued]:";
    let text = line.trim_ascii_start();
    let behind_time = match text.first()? {
        b'?' => &text[1..],
        b'0'..=b'9' => {
            let (_, rest) = decimal(text)?;
            decimal(rest.strip_prefix(b".")?)?.1
        }
        _ => return None,
    };
    let (duration, text) = split_at(behind_time.trim_ascii_start().strip_prefix(b"(")?, b"): ")?;
    if !duration.trim_ascii().is_empty() && !duration.ends_with(b" ms") {
        return None;
    }
    let (named, _) = split_at(text, b"(")?;
    let (before, event) = last_word(named).unwrap_or((b"", named));
    let event = symbol(event).filter(|event| event.starts_with(|first: char| first.is_ascii_alphabetic()))?;
    let before = before.strip_suffix(CONTINUED).unwrap_or(before).trim_ascii();
    if before.is_empty() {
        return Some((NAMELESS.as_bytes(), event));
    }
    let slash = before.iter().rposition(|&byte| byte == b'/')?;
    is_pid(&before[slash + 1..]).then_some((&before[..slash], event))
}

/// The task of `swapper `, of `-F comm,ip,sym`, of `swapper       0 ` with `-F tid`, and the event of `ls 15537 K
/// cpu-clock: `. Other fields stand between: a time, a period, a CPU, letters of the mode.
pub(super) fn task_and_event(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    /// The width of a pid with which its column stands one blank behind a name.
    const WIDTH: usize = 5;
    let line = line.trim_ascii();
    let (mut rest, mut event) = (line, None);
    let mut has_fields = false;
    while let Some((before, word)) = last_word(rest) {
        let name = word.strip_suffix(b":");
        let is_event = name.is_some_and(|name| name.iter().any(u8::is_ascii_alphabetic));
        let is_time = || name.is_some_and(|name| split_at(name, b".").is_some() && !is_event);
        let is_mode = || has_fields && word.len() <= 3 && word.iter().all(|byte| b"KUHGS".contains(byte));
        let is_column = || {
            is_pid(word) && (has_fields || word.len() >= WIDTH || before.len() + word.len() + 1 < line.len())
        };
        match () {
            () if is_event && event.is_none() && !has_fields => event = name,
            () if is_time() || is_cpu(word) || is_mode() || is_column() => {}
            () => break,
        }
        (rest, has_fields) = (before, true);
    }
    (rest, event)
}

pub(super) fn has_cpu(line: &[u8]) -> bool {
    words(line).any(|(_, word)| is_cpu(word))
}

/// The last word of a text, and what stands before it.
fn last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_end();
    let at = text.iter().rposition(u8::is_ascii_whitespace)?;
    Some((text[..at].trim_ascii_end(), &text[at + 1..]))
}

/// The words of a line and where each begins.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    line.split(|&byte| byte == b' ' || byte == b'\t').filter_map(move |word| {
        let begin = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((begin, word))
    })
}

/// `[000]`, or `[-01]` where perf does not know it
fn is_cpu(word: &[u8]) -> bool {
    let inner = word.strip_prefix(b"[").and_then(|word| word.strip_suffix(b"]"));
    inner
        .map(|cpu| cpu.strip_prefix(b"-").unwrap_or(cpu))
        .and_then(decimal)
        .is_some_and(|(_, rest)| rest.is_empty())
}

/// `K`, `U`, `KE`: `-F misc`
fn is_misc(word: &[u8]) -> bool {
    word.len() <= 3 && word.iter().all(|byte| b"KUHGgMESPpAD".contains(byte))
}

/// `123`, `123/124` or `-1`
fn is_pid(word: &[u8]) -> bool {
    let Some((_, rest)) = decimal(word.strip_prefix(b"-").unwrap_or(word)) else { return false };
    rest.is_empty() || rest.strip_prefix(b"/").and_then(decimal).is_some_and(|(_, rest)| rest.is_empty())
}

/// The second word of `2026-11-28 09:20:11.345678`, which `-F tod` prints.
fn is_time_of_day(word: &[u8]) -> bool {
    word.len() >= 8 && word[2] == b':' && word[5] == b':' && word[0].is_ascii_digit()
}

/// `12.345678:`
fn is_time(word: &[u8]) -> bool {
    let Some((_, rest)) = decimal(word) else { return false };
    rest.strip_prefix(b".").and_then(decimal).is_some_and(|(_, rest)| rest == b":")
}

//! A trace in one line: with the ends of its lines written out, as in the strings of a program, or with
//! blanks for them, as in the descriptions of vulnerabilities.
//!
//! ```text
//! "log": "CPU: 0 PID: 93 Comm: sh Not tainted 5.3.0 #1\nCall Trace:\n f+0x1/0x2\n g+0x1/0x2\n"
//! BUG: KASAN: x in f+0x1/0x2 [tun] CPU: 0 PID: 93 Comm: sh Not tainted Call Trace: <TASK> f+0x1/0x2 g+0x1/0x2
//! ```
//!
//! And several frames in one line, as sparc32 prints them (`show_stack` of `arch/sparc/kernel/process_32.c`):
//!
//! ```text
//! [f0048fdc : f+0x1/0x2 ] [f0048fec : g+0x1/0x2 ] [00000000 : 0x0 ]
//! ```
//!
//! x86-64 before 2.6.18, and kernels that name no function or have them named by klogd:
//!
//! ```text
//! Call Trace: <IRQ> <ffffffff8010bd9b>{dump_stack+12} <ffffffff880b2a1c>{:foo:foo_irq+193}
//!        <ffffffff8013f0e4>{do_IRQ+236}  <EOI> <ffffffff8010b2be>{cpu_idle+8}
//! Call Trace:[<801ecd20>][<801ecd21>][<800aa27c>]
//! Call Trace:    [do_IRQ+25/48] [common_interrupt+26/32]
//! ```

use crate::stack::lines::split_at;

const HEADING: &[u8] = b"Call Trace:";
/// The shortest of them, in bytes: most lines of a log are shorter.
const SHORTEST: usize = 110;
const PLACE: &[u8] = b"+0x";
/// What a message begins with that tells of a trace.
const BEGINNINGS: [&[u8]; 4] = [b"BUG: ", b"WARNING: ", b"CPU: ", HEADING];

/// The lines of a trace that stands in one.
pub(super) fn lines(line: &[u8]) -> Option<Vec<&[u8]>> {
    let is_of_sparc32 = || split_at(line, b" ] [").is_some() && split_at(line, b" : ").is_some();
    if line.trim_ascii_end().ends_with(b" ]") && is_of_sparc32() {
        return Some(at_brackets(line));
    }
    if let Some(lines) = at_addresses(line) {
        return Some(lines);
    }
    if line.len() < SHORTEST {
        return None;
    }
    let (_, behind) = split_at(line, HEADING)?;
    split_at(split_at(behind, PLACE)?.1, PLACE)?;
    let has_ends = split_at(behind, b"\\n").is_some();
    let lines = if has_ends { at_ends(line) } else { at_words(line) };
    // Each is read as a line: one that is the same again would be so for ever.
    lines.iter().all(|part| part.len() < line.len()).then_some(lines)
}

/// Parts a line at the ends of lines that are written out.
fn at_ends(line: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = line;
    while let Some((line, behind)) = split_at(rest, b"\\n") {
        lines.push(line);
        rest = behind;
    }
    lines.push(rest);
    // The string begins somewhere.
    lines[0] = lines[0].rsplit(|&byte| byte == b'"').next().unwrap_or_default();
    lines
}

/// Parts a line between a bracket that closes and one that opens.
fn at_brackets(line: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = line;
    while let Some((frame, _)) = split_at(rest, b" ] [") {
        let (frame, behind) = rest.split_at(frame.len() + b" ] ".len());
        lines.push(frame);
        rest = behind;
    }
    lines.push(rest);
    lines
}

/// Parts a line that ends in several frames before each but the first.
fn at_addresses(line: &[u8]) -> Option<Vec<&[u8]>> {
    // From the end of the line on: most lines do not end so.
    let (mut head, mut starts, mut part) = (line.trim_ascii_end(), Vec::new(), None);
    while let Some((at, is_frame)) = last_word(head) {
        if is_frame {
            starts.extend(part);
        }
        // Which stack a frame is on stands before it.
        part = Some(at);
        head = line[..at].trim_ascii_end();
    }
    starts.retain(|&start| Some(start) != part);
    let begins = head.is_empty() || head.ends_with(b"Trace:") || line[..part?].ends_with(b" ");
    if starts.is_empty() || !begins {
        return None;
    }
    let mut lines = Vec::with_capacity(starts.len() + 1);
    let mut end = line.len();
    for start in starts {
        lines.push(&line[start..end]);
        end = start;
    }
    lines.push(&line[..end]);
    lines.reverse();
    Some(lines)
}

/// Where the frame or the mark of a stack begins that a text ends in, and whether it is a frame.
fn last_word(text: &[u8]) -> Option<(usize, bool)> {
    let inner = &text[..text.len().checked_sub(1)?];
    let of_digits = |text: &[u8]| text.len() >= 8 && text.iter().all(u8::is_ascii_hexdigit);
    match text.last()? {
        b'}' => {
            let at = memchr::memrchr(b'<', inner)?;
            let (address, _) = split_at(&inner[at + 1..], b">{")?;
            of_digits(address).then_some((at, true))
        }
        b']' => {
            let at = memchr::memrchr(b'[', inner)?;
            let inner = &inner[at + 1..];
            let address = inner.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">"));
            let by_klogd = || inner.last()?.is_ascii_digit().then(|| split_at(inner, b"+"))?;
            (address.is_some_and(of_digits) || by_klogd().is_some()).then_some((at, true))
        }
        b'>' => {
            let at = memchr::memrchr(b'<', inner)?;
            let is_mark = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'#';
            inner[at + 1..].iter().all(is_mark).then_some((at, false))
        }
        _ => None,
    }
}

/// Parts a line before each message and each frame.
fn at_words(line: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let (mut start, mut is_inside, mut has_place) = (0, false, false);
    for at in word_starts(line) {
        let text = &line[at..];
        let word = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        let is_place = split_at(word, PLACE).is_some();
        let is_of_frame = (is_place || is_mark(word)) && !is_mark(line[start..at].trim_ascii());
        let is_behind_frame = has_place && !word.starts_with(b"[");
        is_inside |= text.starts_with(HEADING);
        if BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
            || is_inside && (is_of_frame || is_behind_frame || word.starts_with(b"<"))
        {
            lines.push(&line[start..at]);
            (start, has_place) = (at, false);
        }
        has_place |= is_place;
    }
    lines.push(&line[start..]);
    lines
}

/// Whether a text is what may stand before the place of a frame: `?`, `[<c0101234>]`, `[<c0101234>] ?`.
fn is_mark(text: &[u8]) -> bool {
    text == b"?" || text.starts_with(b"[<") && split_at(text, PLACE).is_none()
}

/// Where the words of a line begin.
fn word_starts(line: &[u8]) -> impl Iterator<Item = usize> {
    let begins = |at: &usize| line[*at] != b' ' && (*at == 0 || line[*at - 1] == b' ');
    (0..line.len()).filter(begins)
}

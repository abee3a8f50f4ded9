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
    if line.len() < SHORTEST {
        return None;
    }
    let (_, behind) = split_at(line, HEADING)?;
    split_at(split_at(behind, PLACE)?.1, PLACE)?;
    let has_ends = split_at(behind, b"\\n").is_some();
    Some(if has_ends { at_ends(line) } else { at_words(line) })
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

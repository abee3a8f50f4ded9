//! Lines of bounded length, and warnings: what every parser of a text needs.

use std::io::{self, BufRead};
use std::ops::RangeInclusive;

use memchr::memchr_iter;

use super::other_lines::OtherLines;
use super::{ParsedCapture, Warning};
use crate::text::is_hidden;

/// No tracer prints a longer line; what is longer is cut and reported.
pub(crate) const LONGEST_LINE: usize = 16 * 1024;
/// No stack is deeper (ftrace stops far below, perf at `kernel.perf_event_max_stack`, 127 unless raised).
pub const DEEPEST_STACK: usize = 1024;
/// The kernel's `KSYM_NAME_LEN`.
const LONGEST_SYMBOL: usize = 512;

/// The kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line that should be of the format and is not.
    UnreadableLine,
    /// A line that nothing tells to be of the format; told as unreadable where the whole text should be.
    OtherLine,
    /// A frame without a stack to belong to.
    StrayFrame,
    /// A line above [`LONGEST_LINE`], or above the format's own limit.
    OverlongLine,
    /// The capture ends in the middle of a line.
    CutLine,
    /// Not a record that the format knows.
    UnreadableRecord,
    /// The capture ends in the middle of a record, or before what should follow the last.
    CutCapture,
    /// A stack above [`DEEPEST_STACK`].
    DeepStack,
    /// The kernel says that events were lost.
    LostEvents,
    /// Nothing passed where stacks were to be taken.
    NeverHit,
    /// A stack of the truth ends where its caller cannot be told.
    CutTruth,
    /// The kernel says that what would record stacks is off.
    Disabled,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::UnreadableLine | Self::OtherLine => "unreadable-line",
            Self::StrayFrame => "stray-frame",
            Self::OverlongLine => "overlong-line",
            Self::CutLine => "cut-line",
            Self::UnreadableRecord => "unreadable-record",
            Self::CutCapture => "cut-capture",
            Self::DeepStack => "deep-stack",
            Self::LostEvents => "lost-events",
            Self::NeverHit => "never-hit",
            Self::CutTruth => "cut-truth",
            Self::Disabled => "disabled",
        }
    }
}

/// Warnings, counted by kind in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    warnings: Vec<(Kind, Warning)>,
    others: OtherLines,
    /// The number of the line that is being read, from 1; 0 where a capture has no lines.
    pub(crate) line: u64,
}

/// Reads a text of one format line by line.
pub(crate) trait LineParser {
    /// Takes a line that is one of the format as far as the lines before it tell. Says whether it is; where
    /// not, it waits for [`LineParser::other`].
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool;

    /// Takes a line that [`LineParser::line`] has just left, and that is of no other format either.
    fn other(&mut self, line: &[u8], warnings: &mut Warnings);

    /// What was read, but for the warnings.
    fn finish(self: Box<Self>, warnings: &mut Warnings) -> ParsedCapture;
}

impl Warnings {
    pub(crate) fn note(&mut self, kind: Kind, line: &[u8]) {
        if kind == Kind::OtherLine {
            return self.others.push(self.line, || example(line));
        }
        match self.warnings.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, warning)) => warning.count += 1,
            None => {
                let number = (self.line > 0).then_some(self.line);
                self.insert(
                    kind,
                    Warning { kind: kind.word().into(), count: 1, example: example(line), line: number },
                );
            }
        }
    }

    /// Adds the first warning of a kind.
    fn insert(&mut self, kind: Kind, warning: Warning) {
        let at = self.warnings.partition_point(|(_, earlier)| earlier.line <= warning.line);
        self.warnings.insert(at, (kind, warning));
    }

    /// The warnings without those of lines outside of all these ranges of lines.
    pub(crate) fn with_others_in(mut self, ranges: &[RangeInclusive<u64>]) -> Self {
        self.others.keep(ranges);
        self
    }

    /// None yet, of a text whose line of this number is read next.
    pub(crate) fn from_line(line: u64) -> Self {
        Self { line, ..Self::default() }
    }

    /// Whether there are any but those of lines that may be no part of what was read.
    pub(crate) fn has_own(&self) -> bool {
        !self.warnings.is_empty()
    }

    /// Counts those of a later part of the text, too.
    pub(crate) fn add(&mut self, later: Self) {
        for (kind, warning) in later.warnings {
            match self.warnings.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, known)) => known.count = known.count.saturating_add(warning.count),
                None => self.warnings.push((kind, warning)),
            }
        }
        self.others.add(later.others);
    }

    pub(crate) fn into_inner(mut self) -> Vec<Warning> {
        if let Some(warning) = self.others.warning(Kind::OtherLine.word()) {
            self.insert(Kind::OtherLine, warning);
        }
        let mut all: Vec<Warning> = Vec::new();
        for (_, warning) in self.warnings {
            match all.iter_mut().find(|known| known.kind == warning.kind) {
                Some(known) => known.count = known.count.saturating_add(warning.count),
                None => all.push(warning),
            }
        }
        all
    }
}

/// Gives a parser each whole line, without its end, in bounded memory, and lets it finish.
///
/// # Errors
/// What `input` fails with.
pub(crate) fn parse(input: impl BufRead, parser: impl LineParser) -> io::Result<ParsedCapture> {
    let (mut parser, mut warnings) = (Box::new(parser), Warnings::default());
    each(input, &mut warnings, |line, warnings| take(&mut *parser, line, warnings))?;
    let parsed = parser.finish(&mut warnings);
    Ok(ParsedCapture { warnings: warnings.into_inner(), ..parsed })
}

/// Gives a line to the only parser that there is for it.
pub(crate) fn take(parser: &mut (impl LineParser + ?Sized), line: &[u8], warnings: &mut Warnings) {
    if !parser.line(line, warnings) {
        parser.other(line, warnings);
    }
}

/// Calls `take` with each whole line, without its end, in bounded memory.
///
/// # Errors
/// What `input` fails with.
pub(crate) fn each(
    input: impl BufRead,
    warnings: &mut Warnings,
    take: impl FnMut(&[u8], &mut Warnings),
) -> io::Result<()> {
    each_of(LONGEST_LINE, input, warnings, take)
}

/// [`each`] with lines of at most `longest` bytes.
///
/// # Errors
/// What `input` fails with.
pub(crate) fn each_of(
    longest: usize,
    input: impl BufRead,
    warnings: &mut Warnings,
    mut take: impl FnMut(&[u8], &mut Warnings),
) -> io::Result<()> {
    // A name that was cut would be a wrong name, so a last line without an end is not read.
    let Unfinished { line, .. } = each_finished(longest, input, warnings, &mut take)?;
    if !line.is_empty() {
        warnings.line += 1;
        warnings.note(Kind::CutLine, &line);
    }
    Ok(())
}

/// [`each_of`] of a text that was copied by hand, which often lacks the end of its last line: that is read,
/// too, unless it shows that it is no whole one.
///
/// # Errors
/// What `input` fails with.
pub(crate) fn each_of_copy(
    longest: usize,
    input: impl BufRead,
    warnings: &mut Warnings,
    mut take: impl FnMut(&[u8], &mut Warnings),
) -> io::Result<()> {
    let Unfinished { line, before } = each_finished(longest, input, warnings, &mut take)?;
    if !line.is_empty() {
        warnings.line += 1;
        match is_cut(&line, &before) {
            true => warnings.note(Kind::CutLine, &line),
            false => take(line.strip_suffix(b"\r").unwrap_or(&line), warnings),
        }
    }
    Ok(())
}

/// What a text ends in behind the end of its last whole line.
#[derive(Default)]
struct Unfinished {
    line: Vec<u8>,
    /// The line before it.
    before: Vec<u8>,
}

fn each_finished(
    longest: usize,
    mut input: impl BufRead,
    warnings: &mut Warnings,
    take: &mut impl FnMut(&[u8], &mut Warnings),
) -> io::Result<Unfinished> {
    // What there is of a line that began in an earlier chunk; most lines are whole in theirs and need no
    // copy.
    let (mut begun, mut before) = (Vec::new(), Vec::new());
    let mut overlong = false;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let (mut start, mut last) = (0, None);
        for end in memchr_iter(b'\n', chunk) {
            let part = &chunk[start..end];
            start = end + 1;
            warnings.line += 1;
            if begun.is_empty() && part.len() <= longest {
                last = Some(part);
                take(part.strip_suffix(b"\r").unwrap_or(part), warnings);
                continue;
            }
            overlong |= append(&mut begun, part, longest);
            if overlong {
                warnings.note(Kind::OverlongLine, &begun);
            }
            take(begun.strip_suffix(b"\r").unwrap_or(&begun), warnings);
            std::mem::swap(&mut before, &mut begun);
            begun.clear();
            (last, overlong) = (None, false);
        }
        if let Some(last) = last {
            before.clear();
            before.extend_from_slice(last);
        }
        overlong |= append(&mut begun, &chunk[start..], longest);
        let used = chunk.len();
        input.consume(used);
    }
    Ok(Unfinished { line: begun, before })
}

/// Whether a line without an end shows that there was more of it: in an open bracket, or by what it lacks of
/// the line before it, which begins as it does.
fn is_cut(line: &[u8], before: &[u8]) -> bool {
    let (text, text_before) = (line.trim_ascii(), before.trim_ascii());
    let indent = |line: &[u8]| line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let words = |text: &[u8]| text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let (Some(&first), Some(&first_before)) = (text.first(), text_before.first()) else { return false };
    let begins_alike =
        first == first_before || first.is_ascii_alphanumeric() && first_before.is_ascii_alphanumeric();
    if indent(line) != indent(before) || !begins_alike || words(text) > words(text_before) {
        return false;
    }
    let number = |byte: u8| memchr_iter(byte, text).count();
    if [[b'(', b')'], [b'[', b']']].iter().any(|&[open, close]| number(open) > number(close)) {
        return true;
    }
    // `0x1234` is the place of no function.
    let last = text.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    if matches!(last.last(), Some(b')' | b']')) || last.starts_with(b"0x") {
        return false;
    }
    let lacks = |mark: &[u8]| split_at(text_before, mark).is_some() && split_at(text, mark).is_none();
    lacks(b"+") || lacks(b"/0x") || text_before.ends_with(b")")
}

/// Appends to a line what it has room for. Says whether that was not all.
fn append(line: &mut Vec<u8>, part: &[u8], longest: usize) -> bool {
    let room = longest - line.len();
    line.extend_from_slice(&part[..part.len().min(room)]);
    part.len() > room
}

/// The begin of a line, to show.
fn example(line: &[u8]) -> String {
    const EXAMPLE: usize = 120;
    printable(&line[..line.len().min(EXAMPLE)])
}

/// Text that came from a guest, safe to show: broken UTF-8 replaced, control characters escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    // Most are ASCII, and safe as they stand.
    let is_safe = bytes.iter().fold(true, |safe, byte| safe & matches!(byte, b' '..=b'~'));
    if let Ok(text) = std::str::from_utf8(bytes)
        && is_safe
    {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for char in String::from_utf8_lossy(bytes).chars() {
        if is_hidden(char) { text.extend(char.escape_default()) } else { text.push(char) }
    }
    text
}

/// A symbol: what kallsyms can hold.
pub(crate) fn symbol(bytes: &[u8]) -> Option<&str> {
    is_symbol(bytes).then_some(bytes).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// Whether it is a [`symbol`].
pub(crate) fn is_symbol(bytes: &[u8]) -> bool {
    // All of it, without a way out: that goes by many bytes at a time.
    let graphic = bytes.iter().fold(true, |graphic, byte| graphic & byte.is_ascii_graphic());
    graphic && !bytes.is_empty() && bytes.len() <= LONGEST_SYMBOL
}

/// The number behind `0x`, or hexadecimal digits alone.
pub(crate) fn hexadecimal(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    // `from_str_radix` would take a sign.
    let plausible = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    plausible.then(|| std::str::from_utf8(digits).ok())?.and_then(|text| u64::from_str_radix(text, 16).ok())
}

/// The decimal number that `bytes` begins with, and what follows it.
pub(crate) fn decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = bytes;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        rest = after;
    }
    (rest.len() < bytes.len()).then_some((number, rest))
}

/// The number that `bytes` are: hexadecimal behind `0x`, otherwise decimal.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.starts_with(b"0x") {
        return hexadecimal(bytes);
    }
    decimal(bytes).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

/// `bytes` up to the first `mark`, and what follows it.
pub(crate) fn split_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    // Blanks are everywhere: what is looked for is the first other byte.
    let pivot = mark.iter().position(|&byte| byte != b' ').unwrap_or(0);
    let mut starts = memchr_iter(*mark.get(pivot)?, bytes).filter_map(|at| at.checked_sub(pivot));
    let at = starts.find(|&start| bytes[start..].starts_with(mark))?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> (Vec<Vec<u8>>, Vec<Warning>) {
        let (mut warnings, mut lines) = (Warnings::default(), Vec::new());
        // A tiny buffer, so that lines cross its end.
        each(io::BufReader::with_capacity(7, input), &mut warnings, |line, _| lines.push(line.to_vec()))
            .unwrap();
        (lines, warnings.into_inner())
    }

    #[test]
    fn an_overlong_line_is_cut_and_the_next_one_is_whole() {
        let mut input = vec![b'x'; 3 * LONGEST_LINE];
        input.extend_from_slice(b"\nnext\r\n");
        let (lines, warnings) = lines(&input);
        assert_eq!(lines[0].len(), LONGEST_LINE);
        assert_eq!(lines[1], b"next");
        assert_eq!((warnings[0].kind.as_str(), warnings[0].count), ("overlong-line", 1));
        assert_eq!(warnings[0].example.len(), 120);
    }

    #[test]
    fn a_line_without_an_end_is_reported_and_not_read() {
        let (lines, warnings) = lines(b"whole\n => regis");
        assert_eq!(lines, [b"whole"]);
        assert_eq!((warnings[0].kind.as_str(), warnings[0].example.as_str()), ("cut-line", " => regis"));
    }

    #[test]
    fn the_last_line_of_a_copy_needs_no_end_unless_it_shows_that_it_was_cut() {
        let read = |input: &str| {
            let (mut warnings, mut lines) = (Warnings::default(), Vec::new());
            let input = io::BufReader::with_capacity(7, input.as_bytes());
            each_of_copy(100, input, &mut warnings, |line, _| lines.push(line.to_vec())).unwrap();
            (lines.len(), warnings.into_inner().len())
        };
        for (before, last) in [
            ("[<0>] f+0x1/0x2", "[<0>] g+0xa7/0x140"),
            ("[<0>] f+0x1/0x2 [tun]", "[<0>] g+0xa7/0x140\r"),
            ("[<0>] f+0x1/0x2", "[<0>] 0xffffffffffffffff"),
            ("    f+95", ", kworker/0:1]: 5"),
            (" => f", " => g"),
            ("\tffff f+0x1 ([kernel.kallsyms])", "\tffff [unknown] ([unknown])"),
            ("[   12.3]  f+0x1/0x2", "[   12.3] ---[ end trace 0 ]---"),
            (" f+0x1/0x2", "Thanks"),
            ("", "a (b"),
        ] {
            assert_eq!(read(&format!("{before}\n{last}")), (2, 0), "{last}");
        }
        for (before, last) in [
            ("[<0>] f+0x1/0x2", "[<0>] kernel_wai"),
            ("[<0>] f+0x1/0x2", "[<0>] g+0xa7/"),
            ("[<0>] f+0x1/0x2", "[<0>] g+0xa7"),
            ("\tffff f+0x1 ([kernel.kallsyms])", "\tffff g+0x1 ([foo"),
            ("\tffff f+0x1 ([kernel.kallsyms])", "\tffff g+0x1"),
            ("=> f (ffffffff80112980)", "=> g"),
            (" => f [tun]", " => g [tu"),
        ] {
            assert_eq!(read(&format!("{before}\n{last}")), (1, 1), "{last}");
        }
    }

    #[test]
    fn escape_codes_and_broken_utf8_become_visible() {
        assert_eq!(printable(b"\xff\x1b[31m\xc2\x9b\t"), "\u{fffd}\\u{1b}[31m\\u{9b}\\t");
    }

    #[test]
    fn a_sign_is_no_part_of_a_number() {
        assert_eq!(hexadecimal(b"+1"), None);
        assert_eq!(hexadecimal(b"0x"), None);
        assert_eq!(hexadecimal(b"ffffffff801129dc"), Some(0xffff_ffff_8011_29dc));
        assert_eq!(hexadecimal(b"ffffffff801129dc0"), None);
        assert_eq!(decimal(b"+1"), None);
        assert_eq!(decimal(b"18446744073709551615 "), Some((u64::MAX, &b" "[..])));
        assert_eq!(decimal(b"18446744073709551616"), None);
    }

    #[test]
    fn a_text_is_split_at_the_first_mark() {
        let split = |text: &'static str, mark: &'static str| split_at(text.as_bytes(), mark.as_bytes());
        assert_eq!(split("a <-b <-c", " <-"), Some((&b"a"[..], &b"b <-c"[..])));
        assert_eq!(split("<- <-", " <-"), Some((&b"<-"[..], &b""[..])));
        assert_eq!(split("a b c", " "), Some((&b"a"[..], &b"b c"[..])));
        assert_eq!(split("a <", " <-"), None);
    }
}

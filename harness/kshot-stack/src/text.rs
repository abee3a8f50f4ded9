//! What a guest writes, made fit to be shown: it may hold escape codes, broken UTF-8 and lines without end.

use std::borrow::Cow;

/// The longest line that is looked at, in bytes. What a line holds beyond that is only in the raw log.
pub const LINE_LIMIT: usize = 4096;
/// The most that a message quotes of an output, in bytes: twenty lines of a compiler take two thousand.
pub const QUOTE_MOST: usize = 8192;

/// Cuts a stream of bytes into lines of at most [`LINE_LIMIT`] bytes, in bounded memory.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and calls `line` for each line that ends in them.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            line(printable(&std::mem::take(&mut self.line)));
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The line that was begun and never ended.
    pub fn finish(self) -> Option<String> {
        (!self.line.is_empty()).then(|| printable(&self.line))
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LINE_LIMIT - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// `1 event`, `2 events`, `2 entries`.
pub fn count_noun(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("{count} {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// `text` as one word of a POSIX shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One line of untrusted bytes as text that does no harm on a terminal: escape sequences are dropped,
/// control characters other than tabs and direction overrides are escaped, broken UTF-8 is replaced.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\x1b' => skip_escape(&mut rest),
            '\t' => shown.push('\t'),
            hidden if is_hidden(hidden) => shown.extend(hidden.escape_default()),
            plain => shown.push(plain),
        }
    }
    shown
}

/// As [`printable`], of text with more than one line.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(|line| printable(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

/// The last lines of an output, for a message: `lines` of them and [`QUOTE_MOST`] bytes at most. A line that is
/// cut begins with `..`. Zeros, which a file holds where nothing was written, are left out.
pub fn last_lines(output: &[u8], lines: usize) -> String {
    let is_nothing = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let end = output.iter().rposition(|byte| !is_nothing(byte)).map_or(0, |last| last + 1);
    let shown = output[..end].rsplit(|byte| *byte == b'\n').take(lines);
    let (mut text, mut room) = (Vec::new(), QUOTE_MOST);
    for line in shown {
        // No more of it can be shown, and what is looked at for that is bounded, too.
        let part = &line[line.len().saturating_sub(QUOTE_MOST)..];
        let part: Vec<u8> = part.iter().copied().filter(|byte| *byte != 0).collect();
        let whole = printable(&part);
        let from = (0..=whole.len())
            .find(|from| whole.is_char_boundary(*from) && whole.len() - from <= room)
            .unwrap_or(whole.len());
        let is_cut = from > 0 || line.len() > QUOTE_MOST;
        text.push(format!("{}{}", if is_cut { ".." } else { "" }, &whole[from..]));
        room = room.saturating_sub(whole.len() + 1);
        if is_cut || room == 0 {
            break;
        }
    }
    text.reverse();
    text.join("\n")
}

/// `text` with its hidden characters escaped as JSON does (`\u202e`), so that a JSON document stays one. Line ends
/// and tabs stay.
pub fn escape_hidden(text: &str) -> Cow<'_, str> {
    let harms = |character: char| is_hidden(character) && !['\n', '\t'].contains(&character);
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if harms(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character steers a terminal, or reorders or hides the text around it.
pub fn is_hidden(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

/// Skips an escape sequence of ECMA-48 whose escape character has been read: CSI up to its final byte,
/// OSC and the other strings up to their terminator, any other form with its one byte.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => drop(rest.find(|c| ('@'..='~').contains(c))),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = rest.next() {
                if character == '\x07' || (character == '\x1b' && rest.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some('(' | ')' | '#' | '%' | ' ') => drop(rest.next()),
        _ => {}
    }
}

/// Characters that reorder the text around them (Unicode UAX #9), that break lines, or that cannot be seen
/// (`Default_Ignorable_Code_Point` of Unicode's DerivedCoreProperties.txt, and interlinear annotations).
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_escaped_as_in_json() {
        for (text, shown) in [
            ("plain\ttext\n", "plain\ttext\n".to_owned()),
            ("\u{1b}[31mred\r\n", r"\u001b[31mred\u000d".to_owned() + "\n"),
            ("a\u{202e}b\u{61c}c\u{e0041}", r"a\u202eb\u061cc\udb40\udc41".to_owned()),
            ("x\u{3164}y\u{fe0f}z\u{1d173}", r"x\u3164y\ufe0fz\ud834\udd73".to_owned()),
        ] {
            assert_eq!(escape_hidden(text), shown);
        }
        let json = serde_json::to_string("a\u{202e}b\u{e0041}").unwrap();
        let read: String = serde_json::from_str(&escape_hidden(&json)).unwrap();
        assert_eq!(read, "a\u{202e}b\u{e0041}");
    }

    #[test]
    fn escape_codes_and_control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\r"), "red plain");
        assert_eq!(printable(b"a\x08\x00b\tc"), "a\\u{8}\\u{0}b\tc");
        assert_eq!(printable("ok\u{202e}ko".as_bytes()), "ok\\u{202e}ko");
    }

    #[test]
    fn an_unfinished_escape_code_swallows_only_its_own_line() {
        let mut lines = Vec::new();
        Lines::default().feed(b"x\x1b]0;no end\nnext\n", |line| lines.push(line));
        assert_eq!(lines, ["x", "next"]);
    }

    #[test]
    fn the_last_lines_of_an_output_without_end_are_short() {
        assert_eq!(last_lines(b"a\nb\r\n\x1b[1mc\n\n", 2), "b\nc");
        assert_eq!(last_lines(b"\0\0\n\0", 2), "");
        assert_eq!(last_lines(b"one\ntw\0o\0\0", 9), "one\ntwo");
        let line = [&[b'x'; 7_000_000][..], b"end"].concat();
        let shown = last_lines(&line, 10);
        assert!(shown.starts_with("..x") && shown.ends_with("xend"), "{}", &shown[..9]);
        assert_eq!(shown.len(), QUOTE_MOST + 2);
        // What is escaped grows.
        for bytes in [&[1; 50_000][..], "\u{fc}".repeat(50_000).as_bytes(), &[0xff; 50_000]] {
            let shown = last_lines(&[bytes, b"\nend\n"].concat(), 10);
            assert!(shown.len() <= QUOTE_MOST + 2 && shown.ends_with("\nend"), "{}", shown.len());
        }
        assert_eq!(last_lines(&[0; 50_000], 10), "");
        assert_eq!(last_lines(&[&[0; 50_000][..], b"\nend"].concat(), 10), "..\nend");
    }

    #[test]
    fn one_is_no_plural() {
        let counts =
            [0, 1, 2].map(|count| [count_noun(count, "stack"), count_noun(count, "entry")].join(", "));
        assert_eq!(counts, ["0 stacks, 0 entries", "1 stack, 1 entry", "2 stacks, 2 entries"]);
    }

    #[test]
    fn broken_utf8_is_replaced() {
        assert_eq!(printable(b"\xff\xfeab"), "\u{fffd}\u{fffd}ab");
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.feed(&[b'x'; 65536], |_| panic!("no line ends here"));
        }
        assert!(lines.line.capacity() <= 2 * LINE_LIMIT, "{}", lines.line.capacity());
        assert_eq!(lines.finish().unwrap().len(), LINE_LIMIT);
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in [&b"Kernel pa"[..], b"nic\r\nnext", b"\n"] {
            lines.feed(piece, |line| seen.push(line));
        }
        assert_eq!(seen, ["Kernel panic", "next"]);
    }
}

//! What a guest writes, made fit to be shown: it may hold escape codes, broken UTF-8 and lines without end.

use std::borrow::Cow;

/// The longest line that is looked at, in bytes. What a line holds beyond that is only in the raw log.
pub const LINE_LIMIT: usize = 4096;

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

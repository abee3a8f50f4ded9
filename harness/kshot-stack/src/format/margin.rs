//! What a mail, a commit's message or an editor puts in front of each line of a text: `> ` or `| `, and
//! blanks.
//!
//! ```text
//! > > # tracer: function
//! > >           <idle>-0     [003] d..2.    58.289092: <stack trace>
//! > >  => schedule
//!     # tracer: function
//! 12:03 <nick>           <idle>-0     [003] d..2.    58.289092: <stack trace>
//! ```

use crate::console::said_in_chat;

/// The same of every line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Margin {
    /// Whether lines are quoted, however often.
    quoted: bool,
    /// Whether lines are of a chat.
    said: bool,
    /// The most blanks and tabs in front of a line that are none of its own.
    blanks: usize,
}

/// How far a line's margin has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Whether the last byte quotes, which a blank may follow.
    behind_quote: bool,
    blanks: usize,
}

impl Margin {
    /// What may be the margin of a line, the likeliest first.
    pub(super) fn candidates(line: &[u8]) -> impl Iterator<Item = Self> {
        let quoted = Self { quoted: line.first().copied().is_some_and(is_quote), ..Self::default() };
        let text = quoted.strip(line);
        let blanks = text.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
        let indented = Self { blanks, ..quoted };
        let said = Self { said: true, ..Self::default() };
        let (may_be_indented, may_be_said) = (blanks > 0, said_in_chat(line).is_some());
        // The name of a task may hold anything, and so who said it.
        let candidates = [(said, may_be_said), (quoted, true), (indented, may_be_indented)];
        candidates.into_iter().filter(|(_, may_be)| *may_be).map(|(margin, _)| margin)
    }

    /// Whether lines are of a chat.
    pub(super) fn is_said(self) -> bool {
        self.said
    }

    /// Whether lines are quoted.
    pub(super) fn is_quoted(self) -> bool {
        self.quoted
    }

    /// The text of a line.
    pub(super) fn strip(self, line: &[u8]) -> &[u8] {
        if self == Self::default() {
            return line;
        }
        if self.said {
            return said_in_chat(line).map_or(line, |(_, text)| text);
        }
        let mut place = Place::default();
        &line[line.iter().take_while(|&&byte| place.takes(byte, self)).count()..]
    }
}

impl Place {
    /// Whether the next byte of a line is of its margin.
    fn takes(&mut self, byte: u8, margin: Margin) -> bool {
        let Self { behind_quote, blanks } = *self;
        match byte {
            quote if margin.quoted && blanks == 0 && is_quote(quote) => self.behind_quote = true,
            b' ' if behind_quote => self.behind_quote = false,
            b' ' | b'\t' if blanks < margin.blanks => self.blanks += 1,
            _ => return false,
        }
        true
    }
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'>' | b'|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_taken_from_each_line_and_no_more_than_that() {
        let text = "> > a\n>|  => f\n|\n> b > c\n\n   d\n";
        let read = |margin: Margin| {
            let lines = text.lines().map(|line| margin.strip(line.as_bytes()));
            lines.map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect::<String>()
        };
        assert_eq!(read(Margin::default()), text);
        let quoted = Margin { quoted: true, ..Margin::default() };
        assert_eq!(read(quoted), "a\n => f\n\nb > c\n\n   d\n");
        assert_eq!(read(Margin { blanks: 2, ..quoted }), "a\n=> f\n\nb > c\n\n d\n");
    }

    #[test]
    fn candidates_take_quotes_before_blanks() {
        let of = |line: &str| {
            let found = Margin::candidates(line.as_bytes()).map(|margin| (margin.quoted, margin.blanks));
            found.collect::<Vec<_>>()
        };
        assert_eq!(of("a"), [(false, 0)]);
        assert_eq!(of("  a"), [(false, 0), (false, 2)]);
        assert_eq!(of("> a"), [(true, 0)]);
        assert_eq!(of(">   a"), [(true, 0), (true, 2)]);
        assert_eq!(of("|   a"), [(true, 0), (true, 2)]);
        assert_eq!(of("\ta"), [(false, 0), (false, 1)]);
    }
}

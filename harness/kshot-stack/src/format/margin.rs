//! What a mail, a commit's message or an editor puts in front of each line of a text: `> ` or `| `, and
//! blanks.
//!
//! ```text
//! > > # tracer: function
//! > >           <idle>-0     [003] d..2.    58.289092: <stack trace>
//! > >  => schedule
//!     # tracer: function
//! ```

/// The same of every line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Margin {
    /// Whether lines are quoted, however often.
    quoted: bool,
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
        let quoted = Self { quoted: line.first().copied().is_some_and(is_quote), blanks: 0 };
        let text = quoted.strip(line);
        let blanks = text.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
        let indented = Self { blanks, ..quoted };
        [quoted, indented].into_iter().take(1 + usize::from(blanks > 0))
    }

    /// The text of a line.
    pub(super) fn strip(self, line: &[u8]) -> &[u8] {
        if self == Self::default() {
            return line;
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
        assert_eq!(read(Margin { quoted: true, blanks: 0 }), "a\n => f\n\nb > c\n\n   d\n");
        assert_eq!(read(Margin { quoted: true, blanks: 2 }), "a\n=> f\n\nb > c\n\n d\n");
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

//! What stands in front of every line of a text: its number, or the same word.
//!
//! ```text
//!    12 | # tracer: nop                          an editor
//!     12\t# tracer: nop                         cat -n
//! 12:# tracer: nop                              grep -n
//! 12. # tracer: nop                             a page to paste texts to
//! vm-1  | # tracer: nop                         docker
//! trace.txt:# tracer: nop                       grep -H
//!  * # tracer: nop                              a comment, whose marks may also be `//`, `#` or `+`
//! ```

use crate::stack::lines::decimal;

/// The longest word.
const LONGEST_WORD: usize = 48;
/// Lines by which a column is told, at least.
const FEWEST: usize = 3;

/// The same of every line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    /// There is none.
    #[default]
    None,
    /// A number and what follows it.
    Number(Behind),
    /// A word, and a blank behind it where a line has that.
    Word { word: Vec<u8>, has_blank: bool },
}

/// What stands behind the number of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// A bar, behind which a blank may stand.
    Bar,
    /// A tab.
    Tab,
    /// A colon, or a dash around what was looked for.
    Colon,
    /// A dot and a blank.
    Dot,
}

impl Column {
    /// What may be the columns of a text that begins with these lines, the likeliest first.
    pub(super) fn candidates(head: &[impl AsRef<[u8]>]) -> impl Iterator<Item = Self> {
        let lines: Vec<&[u8]> =
            head.iter().map(AsRef::as_ref).filter(|line| !line.trim_ascii().is_empty()).collect();
        let lines = if lines.len() < FEWEST { Vec::new() } else { lines };
        [numbers(&lines), word(&lines)].into_iter().flatten()
    }

    /// Whether lines are numbered.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// A line without it.
    pub(super) fn strip<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        match self {
            Self::None => line,
            Self::Number(expected) => {
                numbered(line).filter(|it| it.fits(*expected)).map_or(line, |it| it.text)
            }
            Self::Word { word, has_blank } => match line.strip_prefix(&word[..]) {
                Some([b' ', text @ ..]) if *has_blank => text,
                Some(text) => text,
                None => line,
            },
        }
    }
}

/// A line behind its number.
struct Numbered<'l> {
    number: u64,
    /// `None` where nothing does.
    behind: Option<Behind>,
    text: &'l [u8],
}

fn numbered(line: &[u8]) -> Option<Numbered<'_>> {
    let (number, rest) = decimal(line.trim_ascii_start())?;
    let (behind, text) = match rest {
        [] => (None, rest),
        [b'\t', text @ ..] => (Some(Behind::Tab), text),
        [b':' | b'-', text @ ..] => (Some(Behind::Colon), text),
        [b'.'] => (Some(Behind::Dot), &b""[..]),
        [b'.', b' ', text @ ..] => (Some(Behind::Dot), text),
        _ => {
            let text = rest.trim_ascii_start().strip_prefix(b"|")?;
            (Some(Behind::Bar), text.strip_prefix(b" ").unwrap_or(text))
        }
    };
    Some(Numbered { number, behind, text })
}

impl Numbered<'_> {
    /// Whether it may stand in a column of this kind.
    fn fits(&self, column: Behind) -> bool {
        self.behind.is_none_or(|behind| behind == column)
    }
}

/// A column of numbers, each higher than the one before.
fn numbers(lines: &[&[u8]]) -> Option<Column> {
    let Numbered { number, behind, .. } = numbered(lines.first()?)?;
    let (behind, mut last) = (behind?, number);
    for line in &lines[1..] {
        last = numbered(line).filter(|it| it.number > last && it.fits(behind))?.number;
    }
    (number > 0).then_some(Column::Number(behind))
}

/// What all lines begin with, up to the mark that ends it.
fn word(lines: &[&[u8]]) -> Option<Column> {
    let first = lines.first()?;
    let mut length = first.len().min(LONGEST_WORD);
    for line in &lines[1..] {
        length = first[..length].iter().zip(*line).take_while(|(byte, other)| byte == other).count();
    }
    let common = first[..length].trim_ascii_end();
    let blanks = common.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let marks = common[blanks..].iter().take_while(|byte| b"+-*/#%;".contains(byte)).count();
    // A time holds colons, too.
    let is_digit = |end: usize| lines.iter().any(|line| line.get(end).is_some_and(u8::is_ascii_digit));
    let ends = |at: usize| b"|:#".contains(&common[at]) && !is_digit(at + 1);
    let end = if marks > 0 { blanks + marks } else { (0..common.len()).rev().find(|&at| ends(at))? + 1 };
    let word = common[..end].to_vec();
    let has_blank = lines.iter().all(|line| matches!(line.get(end), None | Some(b' ')));
    // What quotes may stand there more than once, and a path begins so.
    (word != b"|" && word != b"/").then_some(Column::Word { word, has_blank })
}

#[cfg(test)]
mod tests;

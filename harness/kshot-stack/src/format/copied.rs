//! What copying does to a text: web pages, editors, terminals and mails change all of its lines alike.
//!
//! ```text
//! =&gt; schedule<br>                             a web page's source; its blanks are others, too
//!      1  # tracer: nop                          a column (`column.rs`)
//! "log": "[   12.3] Call Trace:\n[   12.3] .."   the ends of lines written out
//! ```
//!
//! And blanks at the ends of lines, empty lines between all others, the signs of a difference (`+=> f`), and
//! the fences of Markdown around an excerpt.

use std::borrow::Cow;
use std::io::{self, BufRead};

use super::column::Column;
use super::written_ends;
use crate::console::plain_line;
use crate::stack::lines::{self, LONGEST_LINE, Warnings};

/// Lines that a text has, at least, where something is told by all of them.
const ENOUGH: usize = 3;
/// The longest line in which the ends of others are written out, in bytes.
const LONGEST_WRITTEN: usize = 1 << 20;

/// What was done to all lines of a text. Each is undone only where the begin of the text shows it, so that
/// others cost nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Whether a terminal would show some line as another.
    is_unplain: bool,
    /// Whether blanks stand at the ends of most lines.
    has_blank_ends: bool,
    /// Whether an empty line stands behind each.
    is_double_spaced: bool,
    /// Whether some lines begin with the sign of a difference.
    has_signs: bool,
    /// Whether a line holds the ends of others, written out.
    has_written_ends: bool,
    /// What stands in front of each line.
    pub(super) column: Column,
}

impl Copied {
    /// What was done to a text that begins with these lines, but for what needs its format to be told.
    pub(super) fn of(head: &[&[u8]]) -> Self {
        let filled = || head.iter().filter(|line| !line.trim_ascii().is_empty());
        let blank_ends = filled().filter(|line| line.ends_with(b" ") || line.ends_with(b"\t")).count();
        let pairs = head.windows(2);
        let mut neighbours = pairs.filter(|pair| pair.iter().all(|line| !line.trim_ascii().is_empty()));
        let has_enough = filled().nth(ENOUGH - 1).is_some();
        Self {
            is_unplain: head
                .iter()
                .any(|line| matches!(plain_line(line), Cow::Owned(_)) || plain_line(line).len() < line.len()),
            has_blank_ends: blank_ends * 2 > filled().count(),
            is_double_spaced: has_enough && neighbours.next().is_none(),
            has_signs: head.iter().any(|line| line.starts_with(b"+=> ") || line.starts_with(b"+ => ")),
            ..Self::default()
        }
    }

    /// The same with the ends of lines written out in some.
    pub(super) fn with_written_ends(self) -> Self {
        Self { has_written_ends: true, ..self }
    }

    /// Calls `take` with each line as it was before.
    ///
    /// # Errors
    /// What `input` fails with.
    pub(super) fn each(
        &self,
        input: impl BufRead,
        warnings: &mut Warnings,
        mut take: impl FnMut(&[u8], &mut Warnings),
    ) -> io::Result<()> {
        if *self == Self::default() {
            return lines::each_of_copy(LONGEST_LINE, input, warnings, take);
        }
        let longest = if self.has_written_ends { LONGEST_WRITTEN } else { LONGEST_LINE };
        let mut is_behind_line = false;
        lines::each_of_copy(longest, input, warnings, |line, warnings| {
            if self.is_double_spaced && std::mem::take(&mut is_behind_line) && line.trim_ascii().is_empty() {
                return;
            }
            is_behind_line = true;
            if let Some(parts) = written_ends::parts(line).filter(|_| self.has_written_ends) {
                return parts.iter().for_each(|part| take(&self.line(part), warnings));
            }
            take(&self.line(line), warnings);
        })
    }

    /// A line as it was before.
    pub(super) fn line<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        match if self.is_unplain { plain_line(line) } else { Cow::Borrowed(line) } {
            Cow::Borrowed(line) => Cow::Borrowed(self.without_frame(line)),
            Cow::Owned(line) => Cow::Owned(self.without_frame(&line).to_vec()),
        }
    }

    /// A line without what stands in front of it and behind it.
    fn without_frame<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        let line = self.column.strip(line);
        let line = if self.has_blank_ends { line.trim_ascii_end() } else { line };
        match line {
            [b'+' | b'-', text @ ..] if self.has_signs => text,
            _ => line,
        }
    }
}

/// A line, or an empty one where it holds nothing but blanks, or the fence around an excerpt.
pub(super) fn unfenced(line: &[u8]) -> &[u8] {
    const FENCES: [&[u8]; 4] = [b"```", b"~~~", b"{noformat", b"{code"];
    let is_blank = |line: &[u8]| matches!(line, [.., b' ' | b'\t']) && line.trim_ascii().is_empty();
    let is_fence = |line: &[u8]| {
        FENCES.iter().any(|fence| line.starts_with(fence)) && !line.trim_ascii().contains(&b' ')
    };
    match line.first() {
        Some(b'`' | b'~' | b'{') if is_fence(line) => b"",
        Some(b' ' | b'\t') if is_blank(line) => b"",
        _ => line,
    }
}

#[cfg(test)]
mod tests;

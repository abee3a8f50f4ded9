//! Empty lines between all others, as some mail programs and web pages put them there: these part no stacks.

/// Lines with an empty one before each, from which on all are taken to have one.
const ENOUGH: usize = 3;

/// How the last lines were spaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spacing {
    /// Lines in a row that had an empty one before each.
    spaced: usize,
    /// Empty lines behind the last of them.
    blanks: usize,
}

impl Default for Spacing {
    /// The text begins as if behind an empty line.
    fn default() -> Self {
        Self { spaced: 0, blanks: 1 }
    }
}

impl Spacing {
    /// Takes the next line, which is empty or not.
    pub(super) fn line(&mut self, is_empty: bool) {
        if is_empty {
            self.blanks += 1;
        } else {
            self.spaced = if self.blanks > 0 { self.spaced + 1 } else { 0 };
            self.blanks = 0;
        }
    }

    /// Whether the last line, which is empty, is one of the text itself.
    pub(super) fn is_blank_line(self) -> bool {
        self.spaced < ENOUGH || self.blanks > 1
    }
}

//! What frames are compared by.

use std::hash::{Hash, Hasher};

use super::function;
use crate::arch::ArchRow;
use crate::stack::Frame;

/// A frame, with what it is compared by.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComparedFrame<'a> {
    pub(super) frame: &'a Frame,
    /// The one name of its function.
    pub(super) function: Option<&'a str>,
    /// Where its function begins.
    pub(super) start: Option<u64>,
    /// Whether it is an entry, whose code may carry several labels.
    entry: bool,
}

impl PartialEq for ComparedFrame<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.frame == other.frame
    }
}

impl Eq for ComparedFrame<'_> {}

impl Hash for ComparedFrame<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.frame.hash(state);
    }
}

impl<'a> ComparedFrame<'a> {
    pub(super) fn new(frame: &'a Frame, row: &ArchRow) -> Self {
        let function = frame.symbol.as_deref().map(|symbol| function(symbol, row));
        let start = frame.address.zip(frame.offset).and_then(|(address, offset)| address.checked_sub(offset));
        Self { frame, function, start, entry: frame.is_one_of(row.entries) }
    }

    /// Whether both are one return address.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        match (self.frame.address, other.frame.address) {
            (Some(one), Some(other)) => one == other,
            _ => {
                // Offsets from two labels of one entry differ at one place.
                let comparable = !self.entry || self.frame.symbol == other.frame.symbol;
                let offsets = self.frame.offset.zip(other.frame.offset).filter(|_| comparable);
                self.has_name_of(other) && offsets.is_none_or(|(one, other)| one == other)
            }
        }
    }

    /// Whether both are in one function.
    pub(super) fn is_in_function_of(&self, other: &Self) -> bool {
        self.has_name_of(other) || self.start.is_some() && self.start == other.start
    }

    fn has_name_of(&self, other: &Self) -> bool {
        self.function.is_some() && self.function == other.function
    }
}

/// Whether a frame is the one at this depth of the truth.
pub(super) fn is_same(truth: &ComparedFrame<'_>, depth: usize, reported: &ComparedFrame<'_>) -> bool {
    if depth == 0 { truth.is_in_function_of(reported) } else { truth.is_at(reported) }
}

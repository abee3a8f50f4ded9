//! The stacks of a whole kernel against the truth: the document, and how captures come to it.

pub mod document;
pub mod judge;

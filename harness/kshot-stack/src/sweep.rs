//! The stacks of a whole kernel against the truth: the document, and how captures come to it.

pub mod document; // sweep.json
pub mod judge; // compares the captures of a sweep

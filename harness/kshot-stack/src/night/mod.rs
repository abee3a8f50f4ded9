//! A night as a document: its results, and what changed since the night before.

pub mod changes;
pub mod report;
pub mod results;

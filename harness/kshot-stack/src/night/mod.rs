//! A night as a document: its results, and what changed since the night before.

pub mod changes;
pub mod report;
pub mod results;

/// The commit and the tree of an origin that is one, without patches on it.
fn commit_of(origin: &str) -> Option<(&str, &str)> {
    let (commit, tree) = origin.strip_prefix("commit ")?.split_once(" of ")?;
    (!tree.contains(", with ")).then_some((commit, tree))
}

//! Where a stack changed: a search over versions or commits. It has no clock and no files.

mod evidence; // the runs of one image, and how they are read
mod history; // versions in a row, commits with their parents
pub mod odds; // how many runs a mark takes, and how likely a result is wrong
mod plan; // what a search is asked, told, and answers
mod search; // the state machine

pub use history::History;
pub use plan::{Change, Event, Flip, Left, Next, Outcome, Plan, Purpose, Subject};
pub use search::Search;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod world;

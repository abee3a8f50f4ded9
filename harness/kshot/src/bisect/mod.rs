//! Finds where a stack changed, over versions and over commits.
//!
//! What builds and boots is behind the trait `Lab`; the search itself has no clock and no files.

mod history; // versions in a row, commits with their parents
pub mod odds; // how many runs a mark takes, and how likely a result is wrong
mod plan; // what a search is asked, told, and answers
mod evidence; // the runs of one image, and how they are read
mod search; // the state machine

mod bench; // the real laboratory
mod commits; // git's history as candidates
mod drive; // what the commands call
mod hunt; // search, laboratory and journal together
mod journal; // the state on disk
mod question; // what is judged of a run
mod report; // for the terminal, as Markdown, as a mail
mod versions; // the archive's versions as candidates

pub use history::History;
pub use plan::{Change, Event, Flip, Left, Next, Outcome, Plan, Purpose, Subject};
pub use question::{Question, QuestionError, Testimony};
pub use search::Search;

pub use hunt::HuntError;
pub use journal::JournalError;

pub(crate) use bench::{Habits, Template};
pub(crate) use drive::{
    Asked, Ends, Failed, ask, begin, build_tree, commit_ends, drive, resume, unfinished, version_names,
};
pub(crate) use journal::{Header, Range};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod world;

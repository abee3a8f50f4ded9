//! Finds where a stack changed, over versions and over commits.
//!
//! Building and running kernels is behind the trait `Tester`; the search itself has no clock and no files.

mod graph; // candidates and their parents
pub mod statistics; // how many runs are enough, and how likely a result is wrong
mod plan; // plan, events and result
mod image_runs; // the runs of one image, good or bad
mod bisector; // the search: which candidate to run next (no IO)

mod answers; // the answer of a run, and those that are recorded
mod kernel_tester; // builds and runs real kernels
mod commits; // the candidates of a git history
mod bisection; // what the commands call
mod driver; // drives a search with a tester, and logs each result
mod log; // the bisection's folder: request, events, reports
mod question; // the question that each run answers
mod report; // the reports: terminal, Markdown, mail
mod versions; // the candidates of Debian's archive

pub use bisector::Bisector;
pub use graph::CandidateGraph;
pub use plan::{
    BisectionResult, Candidate, ChangePoint, CulpritVerification, NextStep, Purpose, RemainingWork,
    SearchEvent, SearchPlan,
};
pub use question::{Question, QuestionError, RunEvidence};

pub use driver::BisectError;
pub use log::BisectLogError;

pub(crate) use answers::AskedScenario;
pub(crate) use bisection::{
    Candidates, TestResult, TreeBuildError, build_tree, commit_range, create, list_versions,
    newest_unfinished, resume, run, test_once,
};
pub(crate) use kernel_tester::{BuildTemplate, TesterOptions};
pub(crate) use log::{BisectRequest, CandidateSource, SCHEMA};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod fake_history;

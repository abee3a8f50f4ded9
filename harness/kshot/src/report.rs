//! Renders results for people and their tools: tables, stacks side by side, a night's reports.

mod flame; // flame graphs
mod html; // a night as a page
mod junit; // junit.xml
mod kcidb; // kcidb.json
mod ktap; // results.ktap
mod listing; // the stacks of a capture
mod reference; // the stack that another was measured against
mod mail; // a run as a mail or as Markdown; a bisection's is bisect/report.rs
mod night; // a night as text: what `kshot nightly` prints, and cron mails
mod comparison; // two runs of a scenario
#[cfg(test)]
mod test_runs;
mod survey; // tables of surveys
mod sweep; // tables of sweeps
mod table; // a run as tables, each stack beside its reference

pub use comparison::RunComparison;
pub use junit::{TestCase, test_cases};
pub use listing::{listing_notes, listing_table};
pub use mail::{MailContext, MailFormat, mail};
pub use night::{HistoryTable, night_table};
pub use survey::{survey_markdown, survey_table};
pub use sweep::{sweep_breaks, sweep_table};
pub use table::{new_table, run_table, runs_table, stacks_table};

use kshot_stack::blame::Blamed;
use kshot_stack::night::report::NightReport;

/// Why a report cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The JUnit file or the page.
    #[error("cannot fill in a template")]
    Template(#[from] askama::Error),
}

impl Blamed for ReportError {}

/// The files of a night's reports: name and text.
///
/// # Errors
/// [`ReportError`].
pub fn files(report: &NightReport) -> Result<[(&'static str, String); 4], ReportError> {
    Ok([
        ("junit.xml", junit::text(report)?),
        ("results.ktap", ktap::text(report)),
        ("kcidb.json", kcidb::text(report)),
        ("index.html", html::page(report)?),
    ])
}

#[cfg(test)]
mod test_night;
#[cfg(test)]
mod files_tests;

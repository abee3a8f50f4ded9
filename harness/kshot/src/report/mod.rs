//! Renders results for people and their tools: tables, stacks side by side, a night's reports.

mod align;
mod flame;
mod html;
mod junit;
mod kcidb;
mod ktap;
mod listing;
mod mail;
mod night;
mod comparison;
#[cfg(test)]
mod test_runs;
mod survey;
mod sweep;
mod table;

pub use comparison::RunComparison;
pub use junit::{TestCase, test_cases};
pub use listing::{listing_notes, listing_table};
pub use mail::{MailContext, MailFormat, mail};
pub use night::{HistoryTable, night_table};
pub use survey::{survey_markdown, survey_table};
pub use sweep::{sweep_breaks, sweep_table};
pub use table::{new_table, run_table, runs_table, stacks_table};

use kshot_stack::fault::Fault;
use kshot_stack::night::report::NightReport;

/// Why a report cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The JUnit file or the page.
    #[error("cannot fill in a template")]
    Template(#[from] askama::Error),
}

impl Fault for ReportError {}

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

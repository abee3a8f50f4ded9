//! `kshot schema`: the JSON Schemas of scenarios and documents.

use schemars::schema_for;

use super::{CommandError, Streams};
use crate::scenario::raw::RawScenario;
use kshot_stack::document::RunDocument;
use kshot_stack::exit::ExitCode;
use kshot_stack::night::results::Night;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The document whose schema is printed
    which: SchemaKind,
}

/// The documents that have a schema.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum SchemaKind {
    /// A scenario: scenarios/schema.json
    Scenario,
    /// The result document: harness/schema/result.json
    Result,
    /// A night's results: harness/schema/nightly.json
    Nightly,
    /// The document of a sweep: harness/schema/sweep.json
    Sweep,
    /// The stacks of one capture: harness/schema/stacks.json
    Stacks,
    /// The document of a survey: harness/schema/survey.json
    Survey,
}

impl SchemaKind {
    /// The schema's text as it is stored in the repository.
    pub fn schema_text(self) -> String {
        let schema = match self {
            Self::Scenario => schema_for!(RawScenario),
            Self::Result => schema_for!(RunDocument),
            Self::Nightly => schema_for!(Night),
            Self::Sweep => schema_for!(kshot_stack::sweep::document::SweepDocument),
            Self::Stacks => schema_for!(kshot_stack::format::Listing),
            Self::Survey => schema_for!(kshot_stack::survey::SurveyDocument),
        };
        format!("{:#}\n", schema.as_value())
    }
}

impl Args {
    pub(super) fn execute(self, streams: &mut Streams<'_>) -> Result<ExitCode, CommandError> {
        streams.out.write_all(self.which.schema_text().as_bytes())?;
        Ok(ExitCode::Match)
    }
}

//! The error of a command, ready to be shown: its blame, the message, the hints, and the position in a YAML
//! file.

use std::error::Error;
use std::io;

use crate::artifacts::ArtifactsError;
use crate::baseline::BaselineError;
use crate::bisect::{BisectError, QuestionError};
use crate::bundle::BundleError;
use crate::captures::CaptureError;
use crate::nightly::NightlyError;
use crate::nightly::history::HistoryError;
use crate::nightly::matrix::MatrixError;
use crate::report::ReportError;
use crate::run::RunError;
use crate::scenario::ScenarioError;
use crate::sweep::SweepError;
use crate::workspace::WorkspaceError;
use kshot_guest::host::FileError;
use kshot_guest::host::cache::CacheError;
use kshot_guest::kernel::KernelError;
use kshot_stack::blame::{Blame, Blamed, error_chain};
use kshot_stack::exit::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct CommandError {
    /// The party that has to act on it.
    kind: Blame,
    /// What happened.
    pub(super) error: Box<dyn Error + Send + Sync>,
    /// The remedies, a sentence each.
    pub(super) hints: Vec<String>,
    /// The place in a YAML file with the message at it, which stands in place of the error and its hints.
    snippet: Option<String>,
}

impl CommandError {
    /// An error in the arguments.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: Blame::Usage, error: message.into().into(), hints: vec![hint.into()], snippet: None }
    }

    fn new(error: impl Blamed + Send + Sync + 'static, yaml: Option<String>) -> Self {
        let (kind, hints) = (error.blame(), error.hint().into_iter().collect());
        Self { kind, hints, snippet: yaml, error: Box::new(error) }
    }

    /// How the command ends.
    pub(super) fn exit(&self) -> ExitCode {
        ExitCode::from(self.kind)
    }

    /// The error and its causes, on one line.
    pub(super) fn chain(&self) -> String {
        error_chain(self.error.as_ref())
    }

    /// The error for people: the chain on one line and the remedies under it; for YAML the place with a
    /// caret.
    pub(super) fn render(&self) -> String {
        if let Some(snippet) = &self.snippet {
            return snippet.clone();
        }
        let hints = self.hints.iter().map(|hint| format!("hint: {hint}\n"));
        format!("error: {}\n{}", self.chain(), hints.collect::<String>())
    }
}

/// Standard output is gone.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct OutputError(#[source] io::Error);

/// Only for errors of writing the result: every file operation has its [`FileError`].
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let (kind, error) = (Blame::Host, Box::new(OutputError(error)));
        Self { kind, error, hints: Vec::new(), snippet: None }
    }
}

/// Converts a module's error into a command's.
macro_rules! command_error_from {
    ($($error:ty),+) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::new(error, None)
            }
        })+
    };
    (yaml $($error:ident),+) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                let snippet = if let $error::Yaml(error) = &error { Some(error.report()) } else { None };
                Self::new(error, snippet)
            }
        })+
    };
}

command_error_from!(
    ArtifactsError,
    BaselineError,
    BundleError,
    CacheError,
    CaptureError,
    FileError,
    HistoryError,
    BisectError,
    NightlyError,
    QuestionError,
    ReportError,
    RunError,
    SweepError,
    WorkspaceError
);
command_error_from!(yaml KernelError, MatrixError, ScenarioError);

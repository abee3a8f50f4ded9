//! What an engine fails with.

use std::io;
use std::path::PathBuf;

use kshot_guest::deadline::TimedOut;
use kshot_stack::fault::{Blame, Fault};

/// Why units cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A program is not there or cannot be started.
    #[error("cannot run {what}")]
    Start {
        /// Which.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// It refused.
    #[error("{what} failed: {said}")]
    Refused {
        /// Which.
        what: String,
        /// What it said.
        said: String,
    },
    /// It did not end.
    #[error(transparent)]
    TimedOut(TimedOut),
    /// No host is left.
    #[error("no host is left that can run a unit")]
    NoHost,
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

impl EngineError {
    pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Fault for EngineError {
    fn blame(&self) -> Blame {
        Blame::Host
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Start { what, source } if source.kind() == io::ErrorKind::NotFound => Some(format!(
                "{what} comes with Debian's package: sudo apt-get install {}",
                if what.contains("parallel") { "parallel rsync openssh-client" } else { "slurm-client" }
            )),
            Self::NoHost => {
                Some("the notes in results.json say why each was taken out; then run the same command".into())
            }
            _ => None,
        }
    }
}

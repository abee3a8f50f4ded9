//! Errors of a night.

use std::path::PathBuf;
use std::{fmt, io};

use super::history::HistoryError;
use crate::artifacts::ArtifactsError;
use kshot_guest::deadline::TimedOut;
use kshot_guest::host::FileError;
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};

/// Why a night cannot be run or continued.
#[derive(Debug, thiserror::Error)]
pub enum NightlyError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds a night with another matrix.
    #[error("{} already holds the night {night}, which has other scenarios or kernels", path.display())]
    OtherMatrix {
        /// The path of the result folder.
        path: PathBuf,
        /// The name of that night.
        night: String,
    },
    /// Another kshot works on this night.
    #[error("another kshot is working on the night in {}", path.display())]
    Busy {
        /// The path of the result folder.
        path: PathBuf,
    },
    /// The history failed.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A run folder cannot be read or written.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Blamed for NightlyError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::History(error) => Some(error),
            Self::Artifacts(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::File(_) | Self::OtherMatrix { .. } | Self::Busy { .. } => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::OtherMatrix { .. } | Self::Busy { .. } => Blame::Usage,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) if error.source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, and run the same command again: finished pairs are kept".into())
            }
            Self::OtherMatrix { .. } => {
                Some("use the same kernels and scenarios as before, or choose another --out".into())
            }
            Self::Busy { .. } => Some("wait for it to end, or choose another folder with --out".into()),
            _ => passed_on_hint(self),
        }
    }
}

/// A program of the host that hands out units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineProgram {
    /// GNU parallel.
    Parallel,
    /// Slurm's list of nodes.
    Sinfo,
    /// Slurm's submission of a job.
    Sbatch,
    /// Slurm's end of a job.
    Scancel,
}

impl EngineProgram {
    /// The Debian packages that it needs.
    fn packages(self) -> &'static str {
        match self {
            Self::Parallel => "parallel rsync openssh-client",
            Self::Sinfo | Self::Sbatch | Self::Scancel => "slurm-client",
        }
    }
}

impl fmt::Display for EngineProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parallel => "GNU parallel",
            Self::Sinfo => "Slurm's sinfo",
            Self::Sbatch => "Slurm's sbatch",
            Self::Scancel => "Slurm's scancel",
        })
    }
}

/// Why units cannot be dispatched.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A program is missing or cannot be started.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: EngineProgram,
        /// The underlying error.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: EngineProgram,
        /// The program's error output.
        said: String,
    },
    /// A program did not end in time.
    #[error(transparent)]
    TimedOut(TimedOut),
    /// No host is left.
    #[error("every host was taken out, so the remaining pairs cannot be run")]
    NoHost,
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Signals cannot be listened for.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
}

impl Blamed for EngineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => Some(format!(
                "{program} comes with Debian's package: sudo apt-get install {}",
                program.packages()
            )),
            Self::NoHost => {
                Some("the notes in results.json say why each was taken out; then run the same command".into())
            }
            _ => None,
        }
    }
}

//! Errors of a probe.

use std::path::PathBuf;

use super::ConsoleError;
use crate::machine::GdbError;
use kshot_stack::fault::{Blame, Fault};
use kshot_stack::text::printable;

/// The exit status of a shell that does not find a command.
const NOT_FOUND: i32 = 127;
/// The most of a tool's complaint that goes into a message, in characters.
const SAID_LIMIT: usize = 600;

/// Why a probe could not be armed, stopped or fetched. `E` is the guest's own error.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError<E: std::error::Error + 'static> {
    /// The guest failed, or a capture cannot be written.
    #[error(transparent)]
    Guest(E),
    /// gdb failed.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// The kernel has no DWARF to unwind with.
    #[error("probe {probe}: there is no DWARF of this kernel to unwind with")]
    NoDwarf {
        /// The probe's name.
        probe: String,
    },
    /// A capture cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of the write.
        source: std::io::Error,
    },
    /// The probe's part of the console cannot be had.
    #[error("probe {probe}: its part of the console is missing")]
    Console {
        /// The probe's name.
        probe: String,
        /// The error of the console's log.
        source: ConsoleError,
    },
    /// A tool in the guest failed.
    #[error("probe {probe}: {doing} failed with status {status}: {said}")]
    ToolFailed {
        /// The probe's name.
        probe: String,
        /// The activity that the tool was run for.
        doing: String,
        /// The exit status of the tool.
        status: i32,
        /// The tool's output, printable.
        said: String,
    },
}

impl<E: Fault + 'static> Fault for ProbeError<E> {
    fn blame(&self) -> Blame {
        match self {
            Self::Guest(error) => error.blame(),
            Self::Gdb(error) => error.blame(),
            Self::NoDwarf { .. } | Self::Write { .. } => Blame::Host,
            Self::Console { source: ConsoleError::Read(_), .. } => Blame::Host,
            Self::Console { source: ConsoleError::TimedOut(_), .. } | Self::ToolFailed { .. } => Blame::Guest,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Guest(error) => error.hint(),
            Self::Gdb(error) => error.hint(),
            Self::NoDwarf { .. } => Some("use a kernel that is built here".into()),
            Self::ToolFailed { status: NOT_FOUND, .. } => {
                Some("the guest's image lacks the command: provision the kernel again".into())
            }
            Self::Console { source: ConsoleError::TimedOut(_), .. } => {
                Some("does the scenario's `loglevel=` keep critical messages from the console?".into())
            }
            Self::Write { .. } | Self::Console { .. } | Self::ToolFailed { .. } => None,
        }
    }
}

/// The output of a tool on one line, for an error message.
pub(super) fn said(text: &[u8]) -> String {
    let lines = text.split(|byte| *byte == b'\n').map(|line| printable(line).trim().to_owned());
    let joined = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    match joined.char_indices().nth(SAID_LIMIT) {
        _ if joined.is_empty() => "nothing".to_owned(),
        Some((end, _)) => format!("{} ...", &joined[..end]),
        None => joined,
    }
}

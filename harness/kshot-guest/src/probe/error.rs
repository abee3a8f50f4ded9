//! Errors of a probe.

use std::io;
use std::path::PathBuf;

use crate::deadline::TimedOut;
use crate::host::FileError;
use crate::machine::{CONSOLE_LOG, MachineDown, StubError};
use crate::session::SessionError;
use crate::symbols::{AmbiguousFunction, NoDwarf, SymbolsError};
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};
use kshot_stack::text::printable;

/// The exit status of a shell that does not find a command.
const NOT_FOUND: i32 = 127;
/// The longest quote of a tool's output in a message, in characters.
const SAID_LIMIT: usize = 600;

/// Why a probe could not be armed, stopped or fetched.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The guest failed, or a capture cannot be written.
    #[error(transparent)]
    Guest(#[from] SessionError),
    /// The truth cannot be recorded.
    #[error(transparent)]
    Truth(#[from] TruthError),
    /// The kernel has no DWARF to unwind with.
    #[error("probe {probe}: there is no DWARF of this kernel to unwind with{why}")]
    NoDwarf {
        /// The probe's name.
        probe: String,
        /// Why there is none.
        why: NoDwarf,
    },
    /// Several functions have the name of the probe's function.
    #[error("probe {probe}: the function name is ambiguous")]
    Ambiguous {
        /// The probe's name.
        probe: String,
        /// The functions of that name.
        source: AmbiguousFunction,
    },
    /// A capture cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The probe's part of the console cannot be had.
    #[error("probe {probe}: its part of the console is missing")]
    Console {
        /// The probe's name.
        probe: String,
        /// The error of the console's log.
        source: ConsolePartError,
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

/// Why recording the truth failed.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The thread cannot be started.
    #[error("cannot start the thread that records the truth")]
    Start(#[source] io::Error),
    /// The kernel's file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        why: String,
    },
    /// The kernel's symbols or DWARF cannot be read.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// The kernel has no such function.
    #[error("there is no function `{function}` in the symbol tables of the kernel and its modules")]
    NoFunction {
        /// The function that the scenario names.
        function: String,
    },
    /// The kernel and its modules have several functions of that name.
    #[error(transparent)]
    Ambiguous(#[from] AmbiguousFunction),
    /// The DWARF lacks a field or parameter that recording the truth needs.
    #[error("the kernel's DWARF does not say where `{what}` is")]
    Unknown {
        /// A field or a parameter.
        what: String,
    },
    /// The DWARF is another kernel's.
    #[error("{} is not the kernel that runs: {why}", vmlinux.display())]
    OtherKernel {
        /// The file.
        vmlinux: PathBuf,
        /// How the file differs from the running kernel.
        why: String,
    },
    /// No stop of the guest was in kernel code.
    #[error("the guest was never stopped in kernel code, so kshot could not check which kernel runs")]
    Unseen,
    /// QEMU's gdb stub.
    #[error(transparent)]
    Stub(#[from] StubError),
    /// The capture cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread ended before it was told to.
    #[error("the thread that records the truth ended early")]
    EndedEarly,
    /// The thread did not finish a step in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The machine went down.
    #[error(transparent)]
    Down(#[from] MachineDown),
}

/// Why a text probe's part of the console cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConsolePartError {
    /// The mark at the end of the probe's part did not arrive.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// Ctrl-C, SIGTERM or SIGHUP arrived.
    #[error("interrupted")]
    Interrupted,
    /// The log cannot be read.
    #[error("cannot read {CONSOLE_LOG}")]
    Read(#[from] io::Error),
}

impl Blamed for TruthError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Symbols(error) => Some(error),
            Self::Ambiguous(error) => Some(error),
            Self::Down(down) => Some(down),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::NoFunction { .. } | Self::Unknown { .. } | Self::Unseen => Blame::Guest,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherKernel { .. } => Some("replace it by the vmlinux of the build that runs".into()),
            _ => passed_on_hint(self),
        }
    }
}

impl Blamed for ProbeError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Guest(error) => Some(error),
            Self::Truth(error) => Some(error),
            Self::Ambiguous { source, .. } => Some(source),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Console { source: ConsolePartError::TimedOut(_), .. } | Self::ToolFailed { .. } => {
                Blame::Guest
            }
            Self::Console { source: ConsolePartError::Interrupted, .. } => Blame::Interrupted,
            Self::NoDwarf { .. } => Blame::Usage,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoDwarf { why: NoDwarf::Unknown, .. } => Some(
                "`kshot provision NAME --dwarf` gets that of a prebuilt kernel; one's own needs its vmlinux".into(),
            ),
            Self::ToolFailed { status: NOT_FOUND, .. } => Some(
                "the guest lacks the command; `kshot cache userland --prune` makes the next run rebuild its userland"
                    .into(),
            ),
            Self::Console { source: ConsolePartError::TimedOut(_), .. } => Some(
                "raise the scenario's `loglevel=`: it may keep critical messages from the console".into(),
            ),
            _ => passed_on_hint(self),
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

//! Errors of a machine, and which party has to act on them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{CONSOLE_LOG, HostTooBusy, MachineDown, MonitorError, StubError};
use crate::deadline::TimedOut;
use crate::host::{FileError, install};
use kshot_stack::blame::{Blame, Blamed};

/// Why a machine could not be started, or did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The kernel's command line is too long.
    #[error(
        "the kernel's command line has {length} bytes, and the machine's firmware passes on only {limit}"
    )]
    CmdlineTooLong {
        /// The command line's length in bytes.
        length: usize,
        /// The longest command line in bytes.
        limit: usize,
    },
    /// The kernel or the initramfs cannot be read, or a log in the run folder cannot be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The private folder for QEMU's sockets cannot be created.
    #[error("cannot make a folder for QEMU's monitor")]
    Folder(#[source] io::Error),
    /// The handlers of signals cannot be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// `setpriv` cannot be started.
    #[error("cannot start setpriv, which makes QEMU exit with kshot")]
    Start {
        /// The underlying error.
        source: io::Error,
    },
    /// QEMU is not installed.
    #[error("{program} is not installed")]
    NoQemu {
        /// The program.
        program: &'static str,
        /// The Debian package with the program.
        package: &'static str,
    },
    /// QEMU exited before the machine started.
    #[error("QEMU did not start: {status}; it said: {stderr}")]
    Refused {
        /// The exit status in words.
        status: String,
        /// The end of QEMU's standard error.
        stderr: String,
    },
    /// A command on QEMU's monitor failed.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// QEMU did not connect to its monitor socket in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// QEMU reports no forwarded port.
    #[error("QEMU reports no port forwarded to the guest: {0}")]
    NoForwardedPort(String),
    /// The machine's state cannot be written.
    #[error("cannot save the machine's state to {}", path.display())]
    Save {
        /// The file that could not be written.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A migration, which saves or restores the devices, failed.
    #[error("QEMU's migration of the machine's devices failed")]
    Migration,
    /// The timer of a restored processor cannot be set.
    #[error("cannot set the timer of the restored machine")]
    Timer(#[source] StubError),
    /// The saved state cannot be used.
    #[error("the saved state cannot be used")]
    State(#[from] StateError),
    /// The guest did not become ready in time, or is idle and silent.
    #[error(
        "the guest is not up: waited {waited:.1?} for {what}; {}{}{}{}",
        if *rests { "it is idle, and " } else { "" },
        match silent_for { Some(silent) => format!("its console has been silent for {silent:.1?}"), None => "its console said nothing at all".into() },
        last_console_line.as_ref().map(|words| format!("; {words}")).unwrap_or_default(),
        if *rests || silent_for.is_none() { format!("; {board}") } else { String::new() },
    )]
    NotReady {
        /// The condition that was waited for.
        what: String,
        /// The time that was waited.
        waited: Duration,
        /// The time since the last console output; `None` if there was none.
        silent_for: Option<Duration>,
        /// Whether the guest is idle: it waits for something that does not come.
        rests: bool,
        /// The last notable console line.
        last_console_line: Option<String>,
        /// The options that a kernel has to have on this board, in words.
        board: String,
    },
    /// The host had no time for the guest.
    #[error(transparent)]
    HostTooBusy(#[from] HostTooBusy),
    /// There is no room for the memory of a machine that is to be saved.
    #[error("no room for {mib} MiB of the guest's memory in {}", path.display())]
    NoRoom {
        /// The file of the memory.
        path: PathBuf,
        /// The guest's memory in MiB.
        mib: u32,
        /// The underlying error.
        source: io::Error,
    },
    /// The machine went down.
    #[error(transparent)]
    Down(#[from] MachineDown),
}

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file of the state cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the state has another size than was written.
    #[error("{} has {got} bytes, not {wanted}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// The size of the file in bytes.
        got: u64,
        /// The size that was written, in bytes.
        wanted: u64,
    },
    /// Another version of QEMU saved the state.
    #[error("it was saved by QEMU {saved}, and this is {running}")]
    QemuMismatch {
        /// The QEMU version that saved the state.
        saved: String,
        /// The QEMU version that runs now.
        running: String,
    },
}

impl Blamed for MachineError {
    fn blame(&self) -> Blame {
        match self {
            Self::CmdlineTooLong { .. } => Blame::Input,
            Self::NotReady { .. } => Blame::Guest,
            Self::Down(down) => down.blame(),
            Self::File(_)
            | Self::Folder(_)
            | Self::Signals(_)
            | Self::Start { .. }
            | Self::NoQemu { .. }
            | Self::Refused { .. }
            | Self::Monitor(_)
            | Self::TimedOut(_)
            | Self::NoForwardedPort(_)
            | Self::Save { .. }
            | Self::NoRoom { .. }
            | Self::HostTooBusy(_)
            | Self::Migration
            | Self::Timer(_)
            | Self::State(_) => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::CmdlineTooLong { .. } => {
                Some("shorten `boot`, or arm by steps what does not have to be armed at boot".into())
            }
            Self::Start { source } if source.kind() == io::ErrorKind::NotFound => {
                Some(install(["util-linux"]))
            }
            Self::NoQemu { package, .. } => Some(install([*package])),
            Self::NotReady { .. } => {
                Some(format!("{CONSOLE_LOG} in the run folder has the guest's whole console output"))
            }
            Self::Down(down) => down.hint(),
            _ => None,
        }
    }
}

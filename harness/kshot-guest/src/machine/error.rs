//! What a machine fails with, by whose fault it is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{CONSOLE_LOG, Death, MonitorError, StateError};
use crate::deadline::TimedOut;
use kshot_stack::fault::{Blame, Fault};

/// What starting or awaiting a machine failed with.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The kernel's command line does not fit.
    #[error("the kernel's command line has {length} bytes, the machine's firmware hands over {limit}")]
    CmdlineTooLong {
        /// What it has.
        length: usize,
        /// What it may have.
        limit: usize,
    },
    /// The kernel or the initramfs cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A log in the run folder cannot be created.
    #[error("cannot create {}", path.display())]
    Create {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no private folder for QEMU's monitor.
    #[error("cannot make a folder for QEMU's monitor")]
    Folder(#[source] io::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to SIGINT and SIGTERM")]
    Signals(#[source] io::Error),
    /// `setpriv` cannot be started.
    #[error("cannot start setpriv, which ties QEMU's life to ours")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// There is no QEMU.
    #[error("{program} is not installed")]
    NoQemu {
        /// The program.
        program: &'static str,
    },
    /// QEMU ended before the machine existed.
    #[error("QEMU did not start: {status}; it said: {stderr}")]
    Refused {
        /// Its exit status in words.
        status: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// Talking to QEMU failed.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// QEMU did not connect its monitor.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// QEMU forwards no port to the guest.
    #[error("QEMU names no port that leads to the guest: {0}")]
    NoPort(String),
    /// The state cannot be written.
    #[error("cannot save the machine's state to {}", path.display())]
    Save {
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// QEMU gave up writing or reading its state.
    #[error("QEMU could neither save nor restore its state")]
    Migration,
    /// The restored processor's timer cannot be set.
    #[error("cannot set the timer of the restored machine")]
    Timer(#[source] io::Error),
    /// The saved state is of no use.
    #[error("the saved state cannot be used")]
    State(#[from] StateError),
    /// The guest came to nothing in time.
    #[error(
        "the guest is not up: waited {waited:.1?} for {what}; {}{}",
        match silent_for { Some(silent) => format!("its console has been silent for {silent:.1?}"), None => "its console said nothing at all".into() },
        last_words.as_ref().map(|words| format!("; {words}")).unwrap_or_default()
    )]
    NotReady {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// How long the console had been silent by then; `None` if it never said anything.
        silent_for: Option<Duration>,
        /// What the console said last.
        last_words: Option<String>,
    },
    /// The machine does not live.
    #[error(transparent)]
    Dead(#[from] Death),
}

impl Fault for MachineError {
    fn blame(&self) -> Blame {
        match self {
            Self::CmdlineTooLong { .. } => Blame::Scenario,
            Self::NotReady { .. } => Blame::Guest,
            Self::Dead(death) => death.blame(),
            Self::Unreadable { .. }
            | Self::Create { .. }
            | Self::Folder(_)
            | Self::Signals(_)
            | Self::Start { .. }
            | Self::NoQemu { .. }
            | Self::Refused { .. }
            | Self::Monitor(_)
            | Self::TimedOut(_)
            | Self::NoPort(_)
            | Self::Save { .. }
            | Self::Migration
            | Self::Timer(_)
            | Self::State(_) => Blame::Infra,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::CmdlineTooLong { .. } => {
                Some("shorten `boot`, or arm by steps what does not have to be armed at boot".into())
            }
            Self::Start { source } if source.kind() == io::ErrorKind::NotFound => {
                Some("install it: apt-get install util-linux".into())
            }
            Self::NoQemu { .. } => Some("install it: apt-get install qemu-system-mips".into()),
            Self::NotReady { .. } => {
                Some(format!("{CONSOLE_LOG} in the run folder holds all that the guest said"))
            }
            Self::Dead(death) => death.hint(),
            _ => None,
        }
    }
}

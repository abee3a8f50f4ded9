//! Errors of a session, and which party has to act on them.

use std::io;
use std::path::PathBuf;

use crate::deadline::TimedOut;
use crate::machine::{HostTooBusy, MachineDown};
use kshot_stack::blame::{Blame, Blamed};

/// Why a login or a request to the guest failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The machine went down.
    #[error(transparent)]
    Down(#[from] MachineDown),
    /// The deadline passed.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The deadline passed because the host had no time for the guest.
    #[error(transparent)]
    HostTooBusy(HostTooBusy),
    /// QEMU does not accept the connection, or the socket failed.
    #[error("cannot reach the guest through 127.0.0.1:{port}")]
    Unreachable {
        /// The port.
        port: u16,
        /// The underlying error.
        source: io::Error,
    },
    /// The SSH library cannot be set up.
    #[error("cannot set up SSH")]
    SshSetup(#[source] ssh2::Error),
    /// The SSH server is not the guest's: it has another host key.
    #[error("the host key on 127.0.0.1:{port} is not the guest's")]
    HostKey {
        /// The port.
        port: u16,
    },
    /// The guest rejected the client key.
    #[error("the guest refuses the login with {}", key.display())]
    Login {
        /// The path of the client key.
        key: PathBuf,
        /// The reason of the rejection.
        source: ssh2::Error,
    },
    /// The client key cannot be read.
    #[error("cannot read the key {}", path.display())]
    Key {
        /// The path of the key.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// The connection broke although the machine runs.
    #[error("the connection to the guest broke")]
    ConnectionBroken(#[source] io::Error),
    /// The shell of a command died before it reported an exit status.
    #[error("`{command}` ended without an exit status: its shell died{}", if said.is_empty() { String::new() } else { format!("; it said last: {said}") })]
    NoExitStatus {
        /// The first line of the command.
        command: String,
        /// The last line of the command's output.
        said: String,
    },
    /// A file of the guest cannot be read.
    #[error("the guest cannot read its {path}: {said}")]
    Unreadable {
        /// The path in the guest.
        path: String,
        /// The message of `cat`.
        said: String,
    },
    /// A file of the host cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The path on the host.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// Standard input is not a usable terminal.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
}

impl Blamed for SessionError {
    fn blame(&self) -> Blame {
        match self {
            Self::Down(down) => down.blame(),
            Self::TimedOut(_)
            | Self::Login { .. }
            | Self::ConnectionBroken(_)
            | Self::NoExitStatus { .. }
            | Self::Unreadable { .. } => Blame::Guest,
            Self::HostTooBusy(_)
            | Self::Unreachable { .. }
            | Self::SshSetup(_)
            | Self::HostKey { .. }
            | Self::Key { .. }
            | Self::Write { .. } => Blame::Host,
            Self::Terminal(_) => Blame::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Down(down) => down.hint(),
            Self::TimedOut(_) | Self::ConnectionBroken(_) | Self::NoExitStatus { .. } => {
                Some("console.log in the run folder may tell more".into())
            }
            Self::Login { .. } | Self::HostKey { .. } => {
                Some("the guest was made with other keys: `kshot cache keys images states --prune` removes keys, initramfs images and saved states, and the next run makes new ones".into())
            }
            Self::Write { .. } => {
                Some("make room on the disk that holds the run folder, or choose another with --out".into())
            }
            Self::Terminal(_) => Some("run the command from a terminal".into()),
            Self::HostTooBusy(_)
            | Self::Unreachable { .. }
            | Self::SshSetup(_)
            | Self::Key { .. }
            | Self::Unreadable { .. } => None,
        }
    }
}

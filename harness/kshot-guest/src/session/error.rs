//! What a session fails with, by whose fault it is.

use std::io;
use std::path::PathBuf;

use crate::deadline::TimedOut;
use crate::machine::Death;
use kshot_stack::fault::{Blame, Fault};

/// What logging in or working in the guest failed with.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The machine died meanwhile.
    #[error(transparent)]
    Dead(#[from] Death),
    /// The time is over.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// QEMU does not take the connection, or the socket failed.
    #[error("cannot reach the guest through 127.0.0.1:{port}")]
    Unreachable {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The SSH library cannot be set up.
    #[error("cannot set up SSH")]
    Library(#[source] ssh2::Error),
    /// Another machine than ours answers.
    #[error("the machine behind 127.0.0.1:{port} shows another host key than the guest's")]
    HostKey {
        /// The port.
        port: u16,
    },
    /// The guest refuses our key.
    #[error("the guest refuses the login with {}", key.display())]
    Login {
        /// Our key.
        key: PathBuf,
        /// Its reason.
        source: ssh2::Error,
    },
    /// Our key cannot be read.
    #[error("cannot read the key {}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke although the machine lives.
    #[error("the connection to the guest broke")]
    Link(#[source] io::Error),
    /// A command's shell went away without saying how it ended.
    #[error("`{command}` ended without a word: its shell died{}", if said.is_empty() { String::new() } else { format!("; it said last: {said}") })]
    NoEnd {
        /// The command, by its beginning.
        command: String,
        /// The last line of its output.
        said: String,
    },
    /// A file of the guest cannot be read.
    #[error("the guest cannot read its {path}: {said}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What `cat` said.
        said: String,
    },
    /// A file of the host cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no terminal to relay.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
}

impl Fault for SessionError {
    fn blame(&self) -> Blame {
        match self {
            Self::Dead(death) => death.blame(),
            Self::TimedOut(_)
            | Self::Login { .. }
            | Self::Link(_)
            | Self::NoEnd { .. }
            | Self::Unreadable { .. } => Blame::Guest,
            Self::Unreachable { .. }
            | Self::Library(_)
            | Self::HostKey { .. }
            | Self::Key { .. }
            | Self::Write { .. } => Blame::Infra,
            Self::Terminal(_) => Blame::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Dead(death) => death.hint(),
            Self::TimedOut(_) | Self::Link(_) | Self::NoEnd { .. } => {
                Some("console.log in the run folder may tell more".into())
            }
            Self::Login { .. } | Self::HostKey { .. } => {
                Some("the guest's image was made with other keys: provision it again".into())
            }
            Self::Write { .. } => {
                Some("make room on the disk that holds the run folder, or choose another with --out".into())
            }
            Self::Terminal(_) => Some("call it from a terminal".into()),
            Self::Unreachable { .. } | Self::Library(_) | Self::Key { .. } | Self::Unreadable { .. } => None,
        }
    }
}

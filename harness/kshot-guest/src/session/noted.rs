//! A session that writes down what it asks of the guest: with that list, a run can be made again without us.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Guest, Output, Session, SessionError};

/// Something that was asked of the guest. The list is JSON, one a line, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// A script to run.
    Run(String),
    /// A file to bring.
    Fetch(String),
}

/// A session and its list.
#[derive(Debug)]
pub struct Noted {
    session: Session,
    file: File,
    path: PathBuf,
}

impl Noted {
    /// Begins a list at `path`.
    ///
    /// # Errors
    /// [`SessionError::Write`].
    pub fn new(session: Session, path: &Path) -> Result<Self, SessionError> {
        let file = File::create(path).map_err(|source| SessionError::Write { path: path.into(), source })?;
        Ok(Self { session, file, path: path.into() })
    }

    /// Goes on with the list at `path`.
    ///
    /// # Errors
    /// [`SessionError::Write`].
    pub fn append(session: Session, path: &Path) -> Result<Self, SessionError> {
        let file = File::options().append(true).open(path);
        let file = file.map_err(|source| SessionError::Write { path: path.into(), source })?;
        Ok(Self { session, file, path: path.into() })
    }

    /// The session alone: what it is asked from here on is not written down.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Writes before it is asked: what kills the guest is the last in the list.
    fn note(&mut self, asked: &Asked) -> Result<(), SessionError> {
        let line = serde_json::to_string(asked).expect("it has string keys only") + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| SessionError::Write { path: self.path.clone(), source })
    }
}

impl Guest for Noted {
    type Error = SessionError;

    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, SessionError> {
        self.note(&Asked::Run(script.into()))?;
        self.session.run(script, limit)
    }

    fn fetch(&mut self, from: &str, to: &Path, limit: Duration) -> Result<u64, SessionError> {
        self.note(&Asked::Fetch(from.into()))?;
        self.session.fetch(from, to, limit)
    }
}

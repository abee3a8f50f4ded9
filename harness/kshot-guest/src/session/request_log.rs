//! A session that logs its requests to the guest; with the log, a run can be reproduced without kshot.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Guest, GuestFile, Output, Session, SessionError};

/// A request to the guest. The request log has one per line, as JSON, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// Run this script.
    Run(String),
    /// Fetch this file.
    Fetch(String),
}

/// A session and its request log.
#[derive(Debug)]
pub struct LoggedSession {
    session: Session,
    file: File,
    path: PathBuf,
}

impl LoggedSession {
    /// Creates a request log at `path`.
    ///
    /// # Errors
    /// [`SessionError::Write`].
    pub fn new(session: Session, path: &Path) -> Result<Self, SessionError> {
        let file = File::create(path).map_err(|source| SessionError::Write { path: path.into(), source })?;
        Ok(Self { session, file, path: path.into() })
    }

    /// Appends to the request log at `path`.
    ///
    /// # Errors
    /// [`SessionError::Write`].
    pub fn append(session: Session, path: &Path) -> Result<Self, SessionError> {
        let file = File::options().append(true).open(path);
        let file = file.map_err(|source| SessionError::Write { path: path.into(), source })?;
        Ok(Self { session, file, path: path.into() })
    }

    /// The plain session, whose requests are no longer logged.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Logs a request before it is sent, so that a request that kills the guest is the last one in the log.
    fn note(&mut self, asked: &Request) -> Result<(), SessionError> {
        let line = serde_json::to_string(asked).expect("it has string keys only") + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| SessionError::Write { path: self.path.clone(), source })
    }
}

impl Guest for LoggedSession {
    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, SessionError> {
        self.note(&Request::Run(script.into()))?;
        self.session.run(script, limit)
    }

    fn fetch(&mut self, files: &[GuestFile<'_>], limit: Duration) -> Result<(), SessionError> {
        files.iter().try_for_each(|file| self.note(&Request::Fetch(file.from.into())))?;
        self.session.fetch(files, limit)
    }
}

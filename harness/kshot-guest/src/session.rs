//! The SSH session in the guest. Every wait has a deadline and ends early if the machine goes down.

mod error; // what goes wrong with a session
mod connection; // the SSH connection
mod request_log; // the log of requests to the guest
mod protocol; // how a script's end is recognised, how files come
#[cfg(test)]
pub mod fake;
mod terminal; // an interactive shell

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ssh2::Channel;

use connection::SshConnection;
pub use error::SessionError;
use protocol::{EndMarker, EndMarkerParser, LengthParser, OutputPiece};
pub use request_log::{LoggedSession, Request};

use crate::deadline::{Deadline, TimedOut};
use crate::machine::Liveness;

/// The result of a command in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status, as the guest's shell reported it.
    pub status: i32,
    /// Standard output and standard error, merged in the order they were written.
    pub text: Vec<u8>,
}

/// A guest that runs commands: [`Session`], or a fake in tests.
pub trait Guest {
    /// Runs `script` with `sh -c` and waits for it to end. A non-zero exit status is not an error.
    ///
    /// # Errors
    /// The machine went down, the connection broke, or `limit` passed.
    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, SessionError>;

    /// Copies files of the guest to new files of the host, all in one go.
    ///
    /// # Errors
    /// The errors of [`Guest::run`]; the guest lacks one of the files; the host cannot write the new files.
    /// Then none of them is left.
    fn fetch(&mut self, files: &[GuestFile<'_>], limit: Duration) -> Result<(), SessionError>;
}

/// A file of the guest and where its copy is to be.
#[derive(Clone, Copy, Debug)]
pub struct GuestFile<'a> {
    /// The path in the guest.
    pub from: &'a str,
    /// The path of the copy on the host.
    pub to: &'a Path,
}

/// The longest output of a command that is kept, in bytes, so that a guest cannot exhaust the host's memory.
/// A final line counts the discarded bytes.
pub const OUTPUT_LIMIT: usize = 8 << 20;

/// The longest file that is brought from a guest, in bytes: the largest captures, of a sweep over a whole
/// kernel, take hundreds of megabytes.
pub const FETCH_MOST: u64 = 4 << 30;

/// The client key and the host key of the guest's SSH server; kshot generates both.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The path of the client's private key, in OpenSSH's format.
    pub client_key_private: &'a Path,
    /// The guest's public host key, in SSH's wire format (RFC 4253, section 6.6).
    pub host_key_public: &'a [u8],
}

/// An SSH session in the guest. Dropping it never blocks.
#[derive(Debug)]
pub struct Session {
    link: SshConnection,
    /// A shell in the guest that reads commands from its standard input, started on first use. A new SSH
    /// channel costs the emulated guest some 20 ms, a line for this shell 5 ms.
    shell: Option<Shell>,
}

impl Session {
    /// Logs in as root on 127.0.0.1:`port`. The guest may still be booting: the handshake is repeated until
    /// it succeeds or the deadline passes.
    ///
    /// # Errors
    /// [`SessionError`]. A wrong host key and a rejected login are not retried.
    pub fn open(
        port: u16,
        keys: Credentials<'_>,
        liveness: &Liveness,
        deadline: &Deadline,
    ) -> Result<Self, SessionError> {
        SshConnection::open(port, keys, liveness, deadline).map(|link| Self { link, shell: None })
    }

    /// Runs an interactive login shell on the caller's terminal and returns its exit status. The terminal's
    /// settings are restored in every case.
    ///
    /// # Errors
    /// Standard input is not a terminal; otherwise the errors of [`Guest::run`], without a limit.
    pub fn shell(&mut self) -> Result<i32, SessionError> {
        terminal::relay(&self.link)
    }
}

impl Guest for Session {
    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, SessionError> {
        let deadline = Deadline::new(format!("the end of `{}`", protocol::brief(script)), limit);
        let (mut text, mut discarded) = (Vec::new(), 0);
        let keep = |bytes: &[u8]| {
            let kept = bytes.len().min(OUTPUT_LIMIT - text.len());
            text.extend_from_slice(&bytes[..kept]);
            discarded += bytes.len() - kept;
            Ok(())
        };
        let status = if protocol::needs_channel(script) {
            self.run_in_channel(script, &deadline, keep)
        } else {
            self.run_in_shell(script, script, &deadline, keep)
        };
        let status = status.map_err(|error| with_last_output(error, &text))?;
        if discarded > 0 {
            text.extend(format!("\n[kshot: {discarded} more bytes of output were not kept]\n").into_bytes());
        }
        Ok(Output { status, text })
    }

    fn fetch(&mut self, files: &[GuestFile<'_>], limit: Duration) -> Result<(), SessionError> {
        let mut copies = Vec::new();
        let created = files.iter().try_for_each(|file| {
            copies.push(FileCopy::create(file)?);
            Ok(())
        });
        let result = created.and_then(|()| self.copy(&mut copies, limit));
        if result.is_err() {
            // A partial copy must not be mistaken for the guest's file.
            copies.iter().for_each(|copy| drop(std::fs::remove_file(copy.wanted.to)));
        }
        result
    }
}

impl Session {
    /// Runs a script in an SSH channel of its own, which is closed when the script ends, so that its
    /// background processes have no output any more.
    fn run_in_channel(
        &self,
        script: &str,
        deadline: &Deadline,
        take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let nonce = EndMarker::new();
        let mut channel = self.link.execute(&protocol::command(&nonce), deadline)?;
        self.link.write(&mut channel, script.as_bytes(), deadline)?;
        self.link.close_input(&mut channel, deadline)?;
        let status = self.read_to_marker(&mut channel, &nonce, script, deadline, take)?;
        self.link.close(channel, deadline)?;
        Ok(status)
    }

    /// Runs a script in the persistent shell and returns its exit status. Errors call the script `name`.
    fn run_in_shell(
        &mut self,
        name: &str,
        script: &str,
        deadline: &Deadline,
        take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let nonce = EndMarker::new();
        let Shell(mut channel) = match self.shell.take() {
            Some(shell) => shell,
            None => Shell(self.link.execute(protocol::SHELL, deadline)?),
        };
        self.link.write(&mut channel, protocol::line(&nonce, script).as_bytes(), deadline)?;
        let status = self.read_to_marker(&mut channel, &nonce, name, deadline, take)?;
        // A shell that failed is dropped; the next call starts another.
        self.shell = Some(Shell(channel));
        Ok(status)
    }

    /// Passes the output up to the end marker to `take` and returns the exit status in the marker.
    fn read_to_marker(
        &self,
        channel: &mut Channel,
        nonce: &EndMarker,
        name: &str,
        deadline: &Deadline,
        mut take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let mut last = Vec::new();
        let mut tail = EndMarkerParser::new(nonce);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.link.wait(deadline, || channel.read(&mut buffer))?;
            if count == 0 {
                return Err(self.link.no_exit_status(name, &last));
            }
            let OutputPiece { bytes, status } = tail.feed(&buffer[..count]);
            take(&bytes)?;
            if let Some(status) = status {
                return Ok(status);
            }
            if !bytes.is_empty() {
                last = bytes;
            }
        }
    }

    fn copy(&mut self, copies: &mut [FileCopy<'_>], limit: Duration) -> Result<(), SessionError> {
        let paths: Vec<_> = copies.iter().map(|copy| copy.wanted.from).collect();
        let name = protocol::brief(&paths.join(" "));
        let deadline = Deadline::new(format!("the guest's files {name}"), limit);
        // The end marker follows the last byte, so a truncated file cannot pass as complete; the lengths
        // precede the first byte, so neither can a file that another process's output was mixed into.
        let mut head = LengthParser::new(paths.len());
        let mut length = 0;
        let unreadable = |said| SessionError::Unreadable { path: name.clone(), said };
        let take = |bytes: &[u8]| {
            let mut bytes = head.feed(bytes);
            length += bytes.len() as u64;
            let Some(lengths) = head.lengths() else { return Ok(()) };
            let wanted = lengths.iter().fold(0, |sum: u64, one| sum.saturating_add(*one));
            if length.max(wanted) > FETCH_MOST {
                return Err(unreadable(format!("more than {FETCH_MOST} bytes")));
            }
            for (copy, wanted) in copies.iter_mut().zip(lengths) {
                let here =
                    usize::try_from(wanted - copy.length).map_or(bytes.len(), |left| left.min(bytes.len()));
                copy.write(&bytes[..here])?;
                bytes = &bytes[here..];
            }
            Ok(())
        };
        let status = self.run_in_shell(&format!("cat {name}"), &protocol::copy(&paths), &deadline, take)?;
        match head.lengths() {
            Some(lengths) if status == 0 => {
                let wanted: u64 = lengths.iter().sum();
                if length == wanted {
                    return Ok(());
                }
                Err(unreadable(format!("{wanted} bytes expected, {length} received")))
            }
            _ => Err(unreadable(protocol::last_line(head.text()))),
        }
    }
}

/// A file of the host that gets the contents of one of the guest's.
struct FileCopy<'a> {
    wanted: &'a GuestFile<'a>,
    file: File,
    /// The bytes written so far.
    length: u64,
}

impl<'a> FileCopy<'a> {
    fn create(wanted: &'a GuestFile<'a>) -> Result<Self, SessionError> {
        let file = File::create_new(wanted.to)
            .map_err(|source| SessionError::Write { path: wanted.to.to_owned(), source })?;
        Ok(Self { wanted, file, length: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.length += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|source| SessionError::Write { path: self.wanted.to.to_owned(), source })
    }
}

/// A shell in the guest that reads command lines.
struct Shell(Channel);

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shell")
    }
}

/// Adds the last line of a command's output to the error if it timed out.
fn with_last_output(error: SessionError, output: &[u8]) -> SessionError {
    match error {
        SessionError::TimedOut(timed_out) if !output.is_empty() => {
            let causes = [
                Some(format!("its last line was \"{}\"", protocol::last_line(output))),
                timed_out.last_error,
            ];
            let last_error = Some(causes.into_iter().flatten().collect::<Vec<_>>().join(", "));
            SessionError::TimedOut(TimedOut { last_error, ..timed_out })
        }
        other => other,
    }
}

//! The session: SSH into the guest. Every wait has a deadline and ends early when the machine dies.

mod error;
mod link;
mod noted;
mod script;
#[cfg(test)]
pub mod scripted;
mod terminal;

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ssh2::Channel;

pub use error::SessionError;
use link::Link;
pub use noted::{Asked, Noted};
use script::{Head, Nonce, Split, Tail};

use crate::deadline::{Deadline, TimedOut};
use crate::machine::Vitals;

/// What a command in the guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The shell's exit status, as the guest itself reported it.
    pub status: i32,
    /// Standard output and standard error, merged in the order they were written.
    pub text: Vec<u8>,
}

/// A guest that runs commands. The real one is [`Session`]; tests have a scripted one.
pub trait Guest {
    /// What a failed call says.
    type Error: kshot_stack::fault::Fault + Send + Sync + 'static;

    /// Runs `script` with `sh -c` and waits for its end. A status other than 0 is no error here.
    ///
    /// # Errors
    /// The machine died, the link broke, or `limit` ran out.
    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, Self::Error>;

    /// Copies a file of the guest to a new file of the host, byte for byte, streaming; returns its length.
    ///
    /// # Errors
    /// As [`Guest::run`]; also when the guest has no such file or the host cannot write it.
    fn fetch(&mut self, from: &str, to: &Path, limit: Duration) -> Result<u64, Self::Error>;
}

/// The most of a command's output that is kept, in bytes. A guest that writes without end shall not take the
/// host's memory; what is beyond is counted in a last line.
pub const OUTPUT_LIMIT: usize = 8 << 20;

/// Whom to log in as, and whom to expect: keys of our own making.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The client's private key, a file in OpenSSH's format.
    pub client_private: &'a Path,
    /// The host's public key as it goes over the wire (RFC 4253, section 6.6).
    pub host_public: &'a [u8],
}

/// A login in the guest. Dropping it never waits.
#[derive(Debug)]
pub struct Session {
    link: Link,
    /// A shell of the guest that waits for its next line, once there was need of one. Starting a command the usual way
    /// costs the server some 20 ms in an emulated guest, a line of a shell that is there 5 ms.
    shell: Option<Shell>,
}

impl Session {
    /// Logs in as root on 127.0.0.1:`port`. The guest may still be on its way up: until the time is over, each
    /// failed handshake is followed by a new one.
    ///
    /// # Errors
    /// See [`SessionError`]. A wrong host key and a refused login are final at once.
    pub fn open(
        port: u16,
        keys: Keys<'_>,
        vitals: &Vitals,
        deadline: &Deadline,
    ) -> Result<Self, SessionError> {
        Link::open(port, keys, vitals, deadline).map(|link| Self { link, shell: None })
    }

    /// An interactive login shell on the caller's terminal, until it ends; says its exit status. The terminal
    /// is put back however this ends.
    ///
    /// # Errors
    /// Standard input is no terminal; else as for [`Guest::run`], without a limit.
    pub fn shell(&mut self) -> Result<i32, SessionError> {
        terminal::relay(&self.link)
    }
}

impl Guest for Session {
    type Error = SessionError;

    fn run(&mut self, script: &str, limit: Duration) -> Result<Output, SessionError> {
        let deadline = Deadline::new(format!("the end of `{}`", script::brief(script)), limit);
        let (mut text, mut beyond) = (Vec::new(), 0);
        let keep = |bytes: &[u8]| {
            let kept = bytes.len().min(OUTPUT_LIMIT - text.len());
            text.extend_from_slice(&bytes[..kept]);
            beyond += bytes.len() - kept;
            Ok(())
        };
        let status = if script::wants_a_channel(script) {
            self.alone(script, &deadline, keep)
        } else {
            self.in_shell((script, script), &deadline, keep)
        };
        let status = status.map_err(|error| having_said(error, &text))?;
        if beyond > 0 {
            text.extend(format!("\n[kshot: {beyond} more bytes of output were not kept]\n").into_bytes());
        }
        Ok(Output { status, text })
    }

    fn fetch(&mut self, from: &str, to: &Path, limit: Duration) -> Result<u64, SessionError> {
        let file =
            File::create_new(to).map_err(|source| SessionError::Write { path: to.to_owned(), source })?;
        let result = self.copy(from, file, to, limit);
        if result.is_err() {
            // What is there is not the guest's file and must not be taken for it.
            drop(std::fs::remove_file(to));
        }
        result
    }
}

impl Session {
    /// Runs a script in a channel of its own, which is closed when the script ends: what it leaves in the background
    /// has nobody to talk to then.
    fn alone(
        &self,
        script: &str,
        deadline: &Deadline,
        take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let nonce = Nonce::new();
        let mut channel = self.link.execute(&script::command(&nonce), deadline)?;
        self.link.write(&mut channel, script.as_bytes(), deadline)?;
        self.link.write_end(&mut channel, deadline)?;
        let status = self.listen(&mut channel, (&nonce, script), deadline, take)?;
        self.link.close(channel, deadline)?;
        Ok(status)
    }

    /// Runs a script in the shell that waits, and says its exit status. `name` is what errors call it.
    fn in_shell(
        &mut self,
        (name, script): (&str, &str),
        deadline: &Deadline,
        take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let nonce = Nonce::new();
        let Shell(mut channel) = match self.shell.take() {
            Some(shell) => shell,
            None => Shell(self.link.execute(script::SHELL, deadline)?),
        };
        self.link.write(&mut channel, script::line(&nonce, script).as_bytes(), deadline)?;
        let status = self.listen(&mut channel, (&nonce, name), deadline, take)?;
        // One that failed is of no more use; the next call makes another.
        self.shell = Some(Shell(channel));
        Ok(status)
    }

    /// Hands on what comes until the end mark, and says the exit status in it.
    fn listen(
        &self,
        channel: &mut Channel,
        (nonce, name): (&Nonce, &str),
        deadline: &Deadline,
        mut take: impl FnMut(&[u8]) -> Result<(), SessionError>,
    ) -> Result<i32, SessionError> {
        let mut last = Vec::new();
        let mut tail = Tail::new(nonce);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.link.wait(deadline, || channel.read(&mut buffer))?;
            if count == 0 {
                return Err(self.link.no_end(name, &last));
            }
            let Split { bytes, status } = tail.feed(&buffer[..count]);
            take(&bytes)?;
            if let Some(status) = status {
                return Ok(status);
            }
            if !bytes.is_empty() {
                last = bytes;
            }
        }
    }

    fn copy(&mut self, from: &str, mut file: File, to: &Path, limit: Duration) -> Result<u64, SessionError> {
        let deadline = Deadline::new(format!("the guest's file {}", script::brief(from)), limit);
        // The end mark comes behind the last byte, so a file that was cut short cannot pass for a whole one; and its
        // length before the first, so neither can one that something else was written into.
        let mut head = Head::default();
        let mut length = 0;
        let take = |bytes: &[u8]| {
            let bytes = head.feed(bytes);
            length += bytes.len() as u64;
            file.write_all(bytes).map_err(|source| SessionError::Write { path: to.to_owned(), source })
        };
        let status = self.in_shell((&format!("cat {from}"), &script::copy(from)), &deadline, take)?;
        match head.length() {
            Some(wanted) if status == 0 && length == wanted => Ok(length),
            Some(wanted) if status == 0 => {
                let said = format!("it has {wanted} bytes, but {length} came");
                Err(SessionError::Unreadable { path: from.to_owned(), said })
            }
            _ => {
                Err(SessionError::Unreadable { path: from.to_owned(), said: script::last_line(head.line()) })
            }
        }
    }
}

/// A shell that reads lines.
struct Shell(Channel);

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shell")
    }
}

/// A command that did not end in time: what it printed may tell why.
fn having_said(error: SessionError, output: &[u8]) -> SessionError {
    match error {
        SessionError::TimedOut(timed_out) if !output.is_empty() => {
            let causes =
                [Some(format!("it said last \"{}\"", script::last_line(output))), timed_out.last_cause];
            let last_cause = Some(causes.into_iter().flatten().collect::<Vec<_>>().join(", "));
            SessionError::TimedOut(TimedOut { last_cause, ..timed_out })
        }
        other => other,
    }
}

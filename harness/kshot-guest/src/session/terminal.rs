//! An interactive shell on the caller's terminal.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGWINCH;
use ssh2::Channel;

use super::SessionError;
use super::connection::{NonBlocking, SshConnection, TerminalSize};
use crate::deadline::Deadline;

/// The time that the guest may take to open a terminal.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// The time that a shell may take to report its exit status after its last output.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// The longest delay before the machine's end is noticed.
const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Runs a login shell on standard input and output until it ends. Returns its exit status.
pub(super) fn relay(link: &SshConnection) -> Result<i32, SessionError> {
    let input = io::stdin();
    let size = || {
        tcgetwinsize(&input)
            .map(|size| TerminalSize { columns: size.ws_col.into(), rows: size.ws_row.into() })
    };
    let first_size = size().map_err(|error| SessionError::Terminal(error.into()))?;
    let resized = Arc::new(AtomicBool::new(false));
    let listening =
        signal_hook::flag::register(SIGWINCH, Arc::clone(&resized)).map_err(SessionError::Terminal)?;

    let deadline = Deadline::new("a shell of the guest", OPEN_LIMIT);
    let kind = std::env::var("TERM").unwrap_or_else(|_| "vt100".into());
    let mut channel = link.login_shell(&kind, first_size, &deadline)?;
    let raw = RawMode::enter(&input).map_err(SessionError::Terminal)?;
    let result = copy_both_ways(link, &mut channel, || {
        resized.swap(false, Ordering::Relaxed).then(|| size().ok()).flatten()
    });
    drop(raw);
    signal_hook::low_level::unregister(listening);
    result?;
    // The exit status arrives after the last byte.
    let deadline = Deadline::new("the shell's exit status", CLOSE_LIMIT);
    link.wait(&deadline, || channel.wait_close())?;
    channel.exit_status().map_err(|error| SessionError::ConnectionBroken(error.into()))
}

/// A terminal in raw mode; dropping this restores its settings.
struct RawMode<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> RawMode<F> {
    fn enter(terminal: F) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl<F: AsFd> Drop for RawMode<F> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Copies bytes in both directions until the shell ends.
fn copy_both_ways(
    link: &SshConnection,
    channel: &mut Channel,
    mut new_size: impl FnMut() -> Option<TerminalSize>,
) -> Result<(), SessionError> {
    let (input, mut output) = (io::stdin(), io::stdout());
    let (mut buffer, mut typed) = (vec![0; 16 * 1024], Vec::new());
    let mut is_open = true;
    loop {
        link.liveness().check()?;
        if let Some(TerminalSize { columns, rows }) = new_size() {
            // If this fails the guest keeps the old size, which is no reason to end the shell.
            drop(channel.request_pty_size(columns, rows, None, None));
        }
        match channel.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                output
                    .write_all(&buffer[..count])
                    .and_then(|()| output.flush())
                    .map_err(SessionError::Terminal)?;
                continue;
            }
            Err(error) if error.would_block() => {}
            Err(error) => return Err(broken(link, error)),
        }
        if !typed.is_empty() {
            match channel.write(&typed) {
                Ok(count) => drop(typed.drain(..count)),
                Err(error) if error.would_block() => {}
                Err(error) => return Err(broken(link, error)),
            }
        }
        let terminal = (is_open && typed.is_empty()).then_some(&input);
        if wait(link.socket(), link.poll_flags(), terminal).map_err(SessionError::Terminal)? {
            let count = rustix::io::read(&input, &mut buffer)
                .map_err(|error| SessionError::Terminal(error.into()))?;
            match count {
                0 => {
                    // Nothing more comes, and the end of input would be reported for ever.
                    is_open = false;
                    drop(channel.send_eof());
                }
                count => typed.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// Waits until the guest is ready for `flags` or the terminal, if given, can be read. Returns whether the
/// terminal has input or is at its end.
fn wait(socket: impl AsFd, flags: PollFlags, terminal: Option<impl AsFd>) -> io::Result<bool> {
    // The terminal is left out unless its input is wanted: poll(2) always reports a hang-up.
    let mut sides = vec![PollFd::new(&socket, flags)];
    sides.extend(terminal.as_ref().map(|terminal| PollFd::new(terminal, PollFlags::IN)));
    match poll(&mut sides, Some(&SLICE)) {
        Ok(_) => Ok(sides.get(1).is_some_and(|side| !side.revents().is_empty())),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn broken(link: &SshConnection, error: io::Error) -> SessionError {
    link.liveness().wait_for_end().map_or(SessionError::ConnectionBroken(error), SessionError::Down)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_terminal_that_is_closed_is_seen_once_and_then_left_alone() {
        let (guest, _other) = UnixStream::pair().unwrap();
        let (terminal, closed) = io::pipe().unwrap();
        drop(closed);
        assert!(wait(&guest, PollFlags::IN, Some(&terminal)).unwrap(), "its end is there to be read");
        let started = Instant::now();
        assert!(!wait(&guest, PollFlags::IN, None::<&io::PipeReader>).unwrap());
        assert!(
            started.elapsed() >= Duration::from_millis(90),
            "it waits, and does not turn round and round"
        );
    }
}

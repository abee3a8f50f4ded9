//! The one kind of wait: each wait names its condition, its limit and the last error seen meanwhile.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A limit on one named wait.
#[derive(Clone, Debug)]
pub struct Deadline {
    what: String,
    started: Instant,
    limit: Duration,
}

/// A wait that timed out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("waited {waited:.1?} for {what}{}", last_error.as_ref().map(|c| format!("; meanwhile: {c}")).unwrap_or_default())]
pub struct TimedOut {
    /// The condition that was waited for, as a noun phrase ("the SSH handshake").
    pub what: String,
    /// The time that was waited.
    pub waited: Duration,
    /// The last error seen during the wait, if any.
    pub last_error: Option<String>,
}

/// The outcome of one attempt of a wait.
#[derive(Debug)]
pub enum PollResult<T> {
    /// The condition holds.
    Done(T),
    /// The condition does not hold yet, with the reason where it is known.
    Pending(Option<String>),
}

impl Deadline {
    /// Starts a wait of at most `limit` for `what`, a noun phrase.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        Self { what: what.into(), started: Instant::now(), limit }
    }

    /// The remaining time; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The error for a wait that timed out.
    pub fn timed_out(&self, last_error: Option<String>) -> TimedOut {
        TimedOut { what: self.what.clone(), waited: self.started.elapsed(), last_error }
    }

    /// The polling loop: calls `attempt` until it is done, fails, or the deadline passes. `attempt` gets
    /// the longest time that it may block, and has to spend it waiting for its own condition (a socket, a
    /// channel, a child).
    ///
    /// # Errors
    /// The error of `attempt`, or [`TimedOut`].
    pub fn poll<T, E: From<TimedOut>>(
        &self,
        mut attempt: impl FnMut(Duration) -> Result<PollResult<T>, E>,
    ) -> Result<T, E> {
        /// How late a change without a wake-up (a panic on the console, Ctrl-C) may be noticed.
        const SLICE: Duration = Duration::from_millis(50);
        let mut last_error = None;
        loop {
            match attempt(self.remaining().min(SLICE))? {
                PollResult::Done(value) => return Ok(value),
                PollResult::Pending(cause) => last_error = cause.or(last_error),
            }
            if self.has_passed() {
                return Err(self.timed_out(last_error).into());
            }
        }
    }
}

/// Waits until `fd` is ready for one of `flags`, at most `limit`; for polling on a socket with
/// [`Deadline::poll`]. Returns whether it is ready.
///
/// # Errors
/// The errors of poll(2). A signal ends the wait early without an error.
pub fn wait_for(fd: impl AsFd, flags: PollFlags, limit: Duration) -> io::Result<bool> {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut [PollFd::new(&fd, flags)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

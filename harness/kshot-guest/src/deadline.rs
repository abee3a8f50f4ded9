//! One kind of wait: it says what it waits for, for how long, and what the last real cause was.

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

/// A wait that ran out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("waited {waited:.1?} for {what}{}", last_cause.as_ref().map(|c| format!("; meanwhile: {c}")).unwrap_or_default())]
pub struct TimedOut {
    /// What was waited for, as a noun phrase ("the SSH handshake").
    pub what: String,
    /// How long it was waited for.
    pub waited: Duration,
    /// The last error seen on the way, if any.
    pub last_cause: Option<String>,
}

/// How one turn of a wait ended.
#[derive(Debug)]
pub enum Turn<T> {
    /// The condition holds.
    Done(T),
    /// Not yet, and why, where that is known.
    NotYet(Option<String>),
}

impl Deadline {
    /// Starts a wait of at most `limit` for `what`, a noun phrase.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        Self { what: what.into(), started: Instant::now(), limit }
    }

    /// The time that is left; zero when there is none.
    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Whether the time is over.
    pub fn expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The error for a wait that ran out.
    pub fn timed_out(&self, last_cause: Option<String>) -> TimedOut {
        TimedOut { what: self.what.clone(), waited: self.started.elapsed(), last_cause }
    }

    /// The one polling loop: calls `turn` until it is done, fails or the time is over. `turn` is handed how
    /// long it may block and has to use that to wait for its own condition (a socket, a channel, a child).
    ///
    /// # Errors
    /// What `turn` fails with, or [`TimedOut`].
    pub fn poll<T, E: From<TimedOut>>(
        &self,
        mut turn: impl FnMut(Duration) -> Result<Turn<T>, E>,
    ) -> Result<T, E> {
        /// How late a change that nothing wakes us for (a panic on the console, Ctrl-C) may be noticed.
        const SLICE: Duration = Duration::from_millis(50);
        let mut last_cause = None;
        loop {
            match turn(self.remaining().min(SLICE))? {
                Turn::Done(value) => return Ok(value),
                Turn::NotYet(cause) => last_cause = cause.or(last_cause),
            }
            if self.expired() {
                return Err(self.timed_out(last_cause).into());
            }
        }
    }
}

/// Waits until `fd` is ready for one of `flags`, at most `limit`: what a turn of [`Deadline::poll`] does whose
/// condition is a socket. Says whether it is.
///
/// # Errors
/// Those of poll(2); a signal ends the wait early and is none.
pub fn wait_for(fd: impl AsFd, flags: PollFlags, limit: Duration) -> io::Result<bool> {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut [PollFd::new(&fd, flags)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

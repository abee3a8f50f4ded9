//! Waiting for what another process does.

use std::time::Duration;

use kshot_guest::deadline::{Deadline, PollResult, TimedOut};

/// Waits for a condition, `limit` at most.
pub(crate) fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let ended: Result<T, TimedOut> = Deadline::new(what, limit).poll(|slice| {
        Ok(match condition() {
            Some(value) => PollResult::Done(value),
            None => {
                std::thread::park_timeout(slice.min(Duration::from_millis(20)));
                PollResult::Pending(None)
            }
        })
    });
    ended.unwrap_or_else(|error| panic!("{error}"))
}

//! Programs of the host that say little: run to their end, and what they said.

use std::io;
use std::process::Output;
use std::time::Duration;

use duct::Expression;

use super::interrupt;
use crate::deadline::{Deadline, PollResult, TimedOut};

/// What Ctrl-C does to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInterrupt {
    /// It is killed.
    Kill,
    /// It goes on, because it cleans up.
    GoOn,
}

/// Why a program's output cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program cannot be started or waited for.
    #[error(transparent)]
    CannotRun(#[from] io::Error),
    /// It did not end in time, and was killed.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// Ctrl-C, SIGTERM or SIGHUP arrived, and the program was killed.
    #[error("interrupted")]
    Interrupted,
}

/// Runs `expression` to its end, whatever its exit status is. `what` names it in the error of a program that
/// takes longer than `limit`: "git log".
///
/// # Errors
/// [`ProgramError`].
pub fn output_of(
    expression: &Expression,
    what: &str,
    limit: Duration,
    on_interrupt: OnInterrupt,
) -> Result<Output, ProgramError> {
    interrupt::install_handlers()?;
    let handle = expression.stdin_null().stdout_capture().stderr_capture().unchecked().start()?;
    let ended = Deadline::new(format!("the end of {what}"), limit).poll(|slice| {
        if on_interrupt == OnInterrupt::Kill && interrupt::arrived() {
            return Err(ProgramError::Interrupted);
        }
        Ok(handle.wait_timeout(slice)?.map_or(PollResult::Pending(None), |_| PollResult::Done(())))
    });
    if ended.is_err() {
        // It fails only for one that has ended.
        drop(handle.kill());
    }
    ended?;
    Ok(handle.into_output()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use duct::cmd;

    #[test]
    fn a_program_that_fails_is_no_error_and_one_that_hangs_is_killed() {
        let shell = |script: &str, limit| {
            output_of(&cmd!("sh", "-c", script), "sh", Duration::from_millis(limit), OnInterrupt::Kill)
        };
        let output = shell("echo said; echo told >&2; exit 3", 20_000).unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"said\n"[..], &b"told\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        let late = shell("exec sleep 1000", 50).unwrap_err();
        assert!(late.to_string().ends_with("for the end of sh"), "{late}");
        let missing =
            output_of(&cmd!("kshot-no-such-program"), "it", Duration::from_secs(9), OnInterrupt::GoOn);
        assert!(matches!(missing, Err(ProgramError::CannotRun(_))), "{missing:?}");
    }
}

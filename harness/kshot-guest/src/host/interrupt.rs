//! SIGINT, SIGTERM and SIGHUP (a closed terminal): the first signal asks every wait to end so that machines
//! are shut down in order; the second ends the process at once.

use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ARRIVED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the signal handlers; further calls do nothing. A SIGHUP that is ignored stays so: nohup(1) asks
/// for that.
///
/// # Errors
/// The errors of sigaction(2).
pub fn install_handlers() -> io::Result<()> {
    let mut result = Ok(());
    ARRIVED.get_or_init(|| {
        let arrived = Arc::new(AtomicBool::new(false));
        let hangup = Some(SIGHUP).filter(|signal| !is_ignored(*signal, &own_status()));
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // In this order: the flag is looked at before it is set, so only a second signal ends the
            // process.
            result = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&arrived))
                .and_then(|_| flag::register(signal, Arc::clone(&arrived)))
                .map(drop)
                .and(std::mem::replace(&mut result, Ok(())));
        }
        arrived
    });
    result
}

/// Whether SIGINT, SIGTERM or SIGHUP has arrived.
pub fn arrived() -> bool {
    ARRIVED.get().is_some_and(|arrived| arrived.load(Ordering::Relaxed))
}

/// A file whose reads and writes fail once a signal has arrived, for work that would go on for long.
#[derive(Debug)]
pub struct Interruptible<T>(pub T);

impl<T: Read> Read for Interruptible<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        go_on()?;
        self.0.read(into)
    }
}

impl<T: Write> Write for Interruptible<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        go_on()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn go_on() -> io::Result<()> {
    // A read or write of the kind `Interrupted` would be tried again.
    if arrived() { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

fn own_status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Whether a process with this `/proc/PID/status` ignores a signal: `SigIgn: 0000000000001000`
/// (proc_pid_status(5)).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_read_from_the_mask_of_ignored_signals() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000006\n";
        assert!(is_ignored(SIGHUP, status) && !is_ignored(SIGTERM, status));
        assert!(!is_ignored(SIGHUP, "") && own_status().contains("SigIgn:"));
    }
}

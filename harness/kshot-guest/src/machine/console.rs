//! The console: read all the time, kept raw, understood line by line.

use std::fs::File;
use std::io::{self, Read, Write};

use kshot_stack::text::Lines;

use super::liveness::Liveness;

/// Reads `from` to its end: the bytes go to `log` as they are, the lines to `liveness`. A log that cannot be
/// written is reported there; reading goes on, because a full pipe would stop the guest.
pub(super) fn read(mut from: impl Read, mut log: File, liveness: &Liveness) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut writing = true;
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if writing && let Err(error) = log.write_all(bytes) {
            liveness.log_failed(&error);
            writing = false;
        }
        lines.feed(bytes, |line| liveness.line(&line));
    }
    if let Some(line) = lines.finish() {
        liveness.line(&line);
    }
}

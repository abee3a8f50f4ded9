//! The console: read all the time, kept raw, understood line by line.

use std::fs::File;
use std::io::{self, Read, Write};

use kshot_stack::text::Lines;

use super::vitals::Vitals;

/// Reads `from` to its end: the bytes go to `log` as they are, the lines to `vitals`. A log that cannot be
/// written is reported there; reading goes on, because a full pipe would stop the guest.
pub(super) fn read(mut from: impl Read, mut log: File, vitals: &Vitals) {
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
            vitals.log_failed(&error);
            writing = false;
        }
        lines.feed(bytes, |line| vitals.line(&line));
    }
    if let Some(line) = lines.finish() {
        vitals.line(&line);
    }
}

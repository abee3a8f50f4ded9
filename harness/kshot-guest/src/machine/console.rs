//! The console: read all the time, kept raw, understood line by line.

use std::fs::File;
use std::io::{self, Read, Write};

use kshot_stack::text::Lines;

use super::liveness::Liveness;

/// The most bytes of a console that are logged. A sysrq of all tasks takes some megabytes; a guest that loops
/// in a printk would fill the disk.
const LOG_MOST: u64 = 256 << 20;

/// Reads `from` to its end: the bytes go to `log` as they are, the lines to `liveness`. A log that cannot be
/// written is reported there; reading goes on, because a full pipe would stop the guest. What comes after
/// [`LOG_MOST`] bytes is not logged, and the log's last line says so.
pub(super) fn read(from: impl Read, log: File, liveness: &Liveness) {
    read_some(from, log, liveness, LOG_MOST);
}

fn read_some(mut from: impl Read, mut log: File, liveness: &Liveness, most: u64) {
    let mut left = most;
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
        if writing {
            let kept = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= kept as u64;
            let mut written = log.write_all(&bytes[..kept]);
            if kept < bytes.len() {
                writing = false;
                written = written.and_then(|()| {
                    writeln!(log, "\nkshot: the console printed more than {most} bytes; the rest is not kept")
                });
            }
            if let Err(error) = written {
                liveness.log_failed(&error);
                writing = false;
            }
        }
        lines.feed(bytes, |line| liveness.line(&line));
    }
    if let Some(line) = lines.finish() {
        liveness.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_floods_its_console_does_not_fill_the_disk() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let flood = io::repeat(b'x').take(1 << 20);
        read_some(flood, log.reopen().unwrap(), &Liveness::default(), 1000);
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert_eq!(text.matches('x').count(), 1000);
        assert!(
            text.ends_with("\nkshot: the console printed more than 1000 bytes; the rest is not kept\n"),
            "{text}"
        );
        read_some(&b"all of it"[..], log.reopen().unwrap(), &Liveness::default(), 1000);
        assert!(std::fs::read_to_string(log.path()).unwrap().starts_with("all of it"));
    }
}

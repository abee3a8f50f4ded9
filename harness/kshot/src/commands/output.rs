//! Standard output that survives a closed pipe (`kshot check | head`) and harms no terminal: names and texts of
//! files that others wrote go to it.

use std::io::{self, Write};

use kshot_stack::text::escape_hidden;

/// A stream that discards what is written after its reader has closed the pipe, so that a command runs to its
/// end and its exit code is right.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    left: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, left: false }
    }

    /// `result`, or `swallowed` where it failed because the reader left.
    fn unless_left<T>(&mut self, result: io::Result<T>, swallowed: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.left = true;
                Ok(swallowed)
            }
            result => result,
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left {
            return Ok(bytes.len());
        }
        let mut result = Ok(());
        for part in bytes.utf8_chunks() {
            result = result
                .and_then(|()| self.out.write_all(escape_hidden(part.valid()).as_bytes()))
                .and_then(|()| self.out.write_all(part.invalid()));
        }
        self.unless_left(result.map(|()| bytes.len()), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.left {
            return Ok(());
        }
        let result = self.out.flush();
        self.unless_left(result, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        let mut shown = Vec::new();
        writeln!(Output::new(&mut shown), "summary: \x1b[31m│\u{202e}\r").unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), "summary: \\u001b[31m│\\u202e\\u000d\n");
        let mut bytes = Vec::new();
        Output::new(&mut bytes).write_all(b"a\xffb\n").unwrap();
        assert_eq!(bytes, b"a\xffb\n");
    }

    #[test]
    fn a_reader_that_left_is_no_fault_and_a_full_disk_is() {
        let mut gone = Fails(io::ErrorKind::BrokenPipe);
        let mut output = Output::new(&mut gone);
        writeln!(output, "one").unwrap();
        writeln!(output, "two").unwrap();
        output.flush().unwrap();
        let mut full = Fails(io::ErrorKind::StorageFull);
        assert!(writeln!(Output::new(&mut full), "one").is_err());
    }
}

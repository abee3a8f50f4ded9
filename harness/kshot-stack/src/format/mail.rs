//! A mail as it was sent: what is no letter of ASCII stands as `=3D`, and long lines are cut by a `=` at
//! their end (`Content-Transfer-Encoding: quoted-printable`, RFC 2045).

use std::io::{self, BufRead, Read};

use crate::stack::lines::split_at;

/// Whether a text says of itself that it is encoded so, or holds a line of a call trace whose last blank is.
pub(super) fn is_encoded(head: &[u8]) -> bool {
    const HEADER: &[u8] = b"content-transfer-encoding: quoted-printable";
    let is_place = |(name, offset): (&[u8], &[u8])| offset.contains(&b'/') && !name.contains(&b'=');
    head.split(|&byte| byte == b'\n').any(|line| {
        let is_header = || line.get(..HEADER.len()).is_some_and(|line| line.eq_ignore_ascii_case(HEADER));
        match line.strip_suffix(b"\r").unwrap_or(line) {
            [text @ .., b'=', b'2', b'0'] => {
                let last = text.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
                text.ends_with(b"Call Trace:") || split_at(last, b"+0x").is_some_and(is_place)
            }
            _ => is_header(),
        }
    })
}

/// What is encoded, as it was written. Of a line that is cut the numbers of those behind it are less by one.
pub(super) struct Decoded<R> {
    input: R,
    /// What was decoded and not yet taken.
    ready: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Decoded<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, ready: Vec::new(), taken: 0 }
    }
}

/// Decodes one line, whose end may be none.
fn decode(line: &[u8], into: &mut Vec<u8>) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let (mut rest, is_cut) = match text.strip_suffix(b"=") {
        Some(text) => (text, true),
        None => (text, false),
    };
    while let Some((&byte, behind)) = rest.split_first() {
        let digits =
            behind.get(..2).filter(|_| byte == b'=').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                into.push(byte);
                rest = &behind[2..];
            }
            None => {
                into.push(byte);
                rest = behind;
            }
        }
    }
    if !is_cut && line.ends_with(b"\n") {
        into.push(b'\n');
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Decoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        /// The most of a line that is decoded at once, in bytes: a line may have no end.
        const PIECE: u64 = 64 << 10;
        while self.taken == self.ready.len() {
            let mut line = Vec::new();
            self.taken = 0;
            self.ready.clear();
            if self.input.by_ref().take(PIECE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            decode(&line, &mut self.ready);
        }
        Ok(&self.ready[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        let mut read = String::new();
        Decoded::new(text.as_bytes()).read_to_string(&mut read).unwrap();
        read
    }

    #[test]
    fn a_mail_is_decoded() {
        assert_eq!(decoded(" =3D> f\n =3D> g=\n+0x1\r\n"), " => f\n => g+0x1\n");
        assert_eq!(decoded("a=\n=\nb"), "ab");
        assert_eq!(decoded("state=R =C3=A4 a=zz ="), "state=R \u{e4} a=zz ");
        assert_eq!(decoded(""), "");
    }

    #[test]
    fn only_a_mail_that_says_so_is_encoded() {
        assert!(is_encoded(b"From: a\nContent-Transfer-Encoding: Quoted-Printable\r\n\n"));
        assert!(!is_encoded(b"From: a\nContent-Transfer-Encoding: 8bit\n\nquoted-printable\n"));
        assert!(is_encoded(b"Call Trace:=20\r\n") && is_encoded(b" f+0x1/0x2=20\n"));
        assert!(!is_encoded(b"CONFIG_LOG_BUF_SHIFT=20\nkfree: call_site=f+0x1/0x2 len=20\n"));
    }
}

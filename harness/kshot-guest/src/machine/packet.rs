//! The packets of gdb's remote protocol, `$text#checksum`, and what is in them (gdb's manual, "Remote
//! Protocol", <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Overview.html>). Pure; the packets are
//! untrusted.

use std::io::{self, BufRead, Read};

/// The most bytes that are read for one answer. QEMU's packets have 4 KiB at the most (gdbstub.c,
/// MAX_PACKET_LENGTH).
const LONGEST: u64 = 64 << 10;

/// Why no packet could be read.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The bytes came to an end, or did not come in time.
    #[error("no answer")]
    Read(#[from] io::Error),
    /// The packet has no end within the longest length allowed.
    #[error("an answer of more than {LONGEST} bytes")]
    TooLong,
    /// The checksum is wrong.
    #[error("an answer whose checksum is {got:?}, not {wanted:?}")]
    Checksum {
        /// The checksum that was sent.
        got: String,
        /// The right checksum.
        wanted: String,
    },
}

/// A text as a packet.
pub fn framed(text: &[u8]) -> Vec<u8> {
    [b"$", text, b"#", checksum(text).as_bytes()].concat()
}

/// The text of the next answer: of the packet that follows an acknowledgement. Anything before that is a stop
/// notification.
///
/// # Errors
/// See [`PacketError`].
pub fn answer(stream: &mut impl BufRead) -> Result<Vec<u8>, PacketError> {
    until(stream, b'+')?;
    until(stream, b'$')?;
    let text = until(stream, b'#')?;
    let mut digits = [0; 2];
    stream.read_exact(&mut digits)?;
    let wanted = checksum(&text);
    if digits.eq_ignore_ascii_case(wanted.as_bytes()) {
        return Ok(text);
    }
    Err(PacketError::Checksum { got: String::from_utf8_lossy(&digits).into_owned(), wanted })
}

/// Decodes the bytes of an answer, two hexadecimal digits each.
pub fn bytes(answer: &[u8]) -> Option<Vec<u8>> {
    hex::decode(answer).ok()
}

fn checksum(text: &[u8]) -> String {
    format!("{:02x}", text.iter().copied().fold(0_u8, u8::wrapping_add))
}

/// Everything up to `byte`; reads `byte` as well, and leaves it out.
fn until(stream: &mut impl BufRead, byte: u8) -> Result<Vec<u8>, PacketError> {
    let mut text = Vec::new();
    let count = stream.by_ref().take(LONGEST).read_until(byte, &mut text)?;
    match text.pop() {
        Some(last) if last == byte => Ok(text),
        _ if count as u64 == LONGEST => Err(PacketError::TooLong),
        _ => Err(PacketError::Read(io::ErrorKind::UnexpectedEof.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_it_was_made_of() {
        assert_eq!(framed(b"g"), b"$g#67");
        assert_eq!(framed(b""), b"$#00");
        assert_eq!(answer(&mut &b"+$OK#9A"[..]).unwrap(), b"OK");
    }

    #[test]
    fn news_of_a_stop_before_the_acknowledgement_is_no_answer() {
        assert_eq!(answer(&mut &b"$T02thread:01;#04+$E22#a9"[..]).unwrap(), b"E22");
    }

    #[test]
    fn a_packet_that_was_cut_or_changed_is_none() {
        for cut in [&b""[..], b"+", b"+$OK", b"+$OK#", b"+$OK#9"] {
            assert!(matches!(answer(&mut &*cut), Err(PacketError::Read(_))));
        }
        let error = answer(&mut &b"+$OL#9a"[..]).unwrap_err();
        assert_eq!(error.to_string(), "an answer whose checksum is \"9a\", not \"9b\"");
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(answer(&mut endless), Err(PacketError::TooLong)));
    }
}

//! QEMU's gdb stub, a packet at a time (gdb's manual,
//! <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Overview.html>).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the stub may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// No packet of gdb's or QEMU's comes near this many bytes.
const PACKET_LIMIT: u64 = 1 << 20;

/// A connection to the stub. While there is one, the guest stands, unless it was told to go on.
///
/// What the stub says is never acknowledged: QEMU takes the next packet for that, and any byte stops a guest that runs.
#[derive(Debug)]
pub(super) struct Stub {
    stream: BufReader<UnixStream>,
}

impl Stub {
    #[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's gdb stub")]
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(socket)?)
    }

    pub(super) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a packet and returns the text of the answer.
    pub(super) fn ask(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        self.send(&framed(text))?;
        self.answer()
    }

    /// As [`Self::ask`], where only one answer will do.
    pub(super) fn tell(&mut self, text: &[u8]) -> io::Result<()> {
        let answer = self.ask(text)?;
        if answer == b"OK" { Ok(()) } else { Err(unexpected(&answer)) }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next answer: what follows the acknowledgement of our packet. What comes before that is news of a stop.
    pub(super) fn answer(&mut self) -> io::Result<Vec<u8>> {
        until(&mut self.stream, b'+')?;
        until(&mut self.stream, b'$')?;
        packet(&mut self.stream)
    }
}

/// The text of a packet whose `$` was read.
pub(super) fn packet(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let text = until(stream, b'#')?;
    stream.read_exact(&mut [0; 2])?;
    Ok(text)
}

/// A text as a packet.
pub(super) fn framed(text: &[u8]) -> Vec<u8> {
    let sum = text.iter().copied().fold(0_u8, u8::wrapping_add);
    [b"$", text, format!("#{sum:02x}").as_bytes()].concat()
}

pub(super) fn unexpected(answer: &[u8]) -> io::Error {
    io::Error::other(format!("QEMU's gdb stub answers {:?}", String::from_utf8_lossy(answer)))
}

/// All before a byte, which is read, too.
fn until(stream: &mut impl BufRead, byte: u8) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    stream.take(PACKET_LIMIT).read_until(byte, &mut text)?;
    if text.pop() == Some(byte) { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_it_was_made_of() {
        assert_eq!(framed(b"g"), b"$g#67");
        assert_eq!(framed(b""), b"$#00");
        assert_eq!(packet(&mut &framed(b"vCont;c")[1..]).unwrap(), b"vCont;c");
    }

    #[test]
    fn a_packet_that_was_cut_is_none() {
        for cut in [&b"vCont"[..], b"vCont#", b"vCont#f"] {
            assert_eq!(packet(&mut &*cut).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn news_of_a_stop_before_the_acknowledgement_is_no_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stub = Stub::over(ours).unwrap();
        theirs.write_all(b"$T02thread:01;#xx+$OK#9a+$E22#xx").unwrap();
        stub.tell(b"Z1,80100000,4").unwrap();
        let error = stub.tell(b"Z1,80100000,4").unwrap_err();
        assert_eq!(error.to_string(), "QEMU's gdb stub answers \"E22\"");
    }
}

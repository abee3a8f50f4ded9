//! Arms a restored processor's timer. QEMU's MIPS saves the counter and the value that it is compared with, but not
//! the timer between them (target/mips/sysemu/cp0_timer.c): a guest whose next tick was near would wait for it until
//! the counter comes round. Stopping and starting the counter, bit DC of the register Cause, sets the timer anew. The
//! only door to that register is the gdb stub (<https://sourceware.org/gdb/current/onlinedocs/gdb.html/Packets.html>).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The number of Cause among gdb's registers of MIPS (gdb/features/mips64-cp0.xml).
const CAUSE: usize = 36;
/// The hexadecimal digits of a register.
const DIGITS: usize = 16;
/// The bit that stops the counter.
const DISABLE_COUNT: u64 = 1 << 27;
/// How long the stub may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Sets the timer of the machine whose gdb stub listens at `socket`, and lets the guest run.
///
/// # Errors
/// The stub is not there, or answers otherwise than it must.
#[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's gdb stub")]
pub(super) fn arm(socket: &Path, big_endian: bool) -> io::Result<()> {
    let mut stub = UnixStream::connect(socket)?;
    stub.set_read_timeout(Some(LIMIT))?;
    // All registers at once: QEMU reads and writes single ones only where it has a description of them.
    let mut registers = ask(&mut stub, "g")?;
    let place = CAUSE * DIGITS..(CAUSE + 1) * DIGITS;
    let cause = registers.get(place.clone()).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let cause = cause.ok_or_else(|| unexpected(&registers))?;
    let disable = if big_endian { DISABLE_COUNT } else { DISABLE_COUNT.swap_bytes() };
    for value in [cause | disable, cause & !disable] {
        registers.replace_range(place.clone(), &format!("{value:016x}"));
        let answer = ask(&mut stub, &format!("G{registers}"))?;
        if answer != "OK" {
            return Err(unexpected(&answer));
        }
    }
    // Letting go lets the guest run.
    ask(&mut stub, "D").map(drop)
}

/// Sends a packet and returns the answer's text.
fn ask(stub: &mut UnixStream, text: &str) -> io::Result<String> {
    let sum = text.bytes().fold(0_u8, u8::wrapping_add);
    write!(stub, "${text}#{sum:02x}")?;
    let mut answer = Vec::new();
    // `+$text#sum`
    while answer.len() < 3 || answer[answer.len() - 3] != b'#' {
        let mut byte = [0];
        stub.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    stub.write_all(b"+")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let text =
        answer.split_once('$').and_then(|(_, rest)| rest.rsplit_once('#')).map(|(text, _)| text.to_owned());
    text.ok_or_else(|| unexpected(&answer))
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::other(format!("QEMU's gdb stub answers {answer:?}"))
}

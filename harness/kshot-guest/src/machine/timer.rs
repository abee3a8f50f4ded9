//! Arms a restored processor's timer. QEMU's MIPS saves the counter and the value that it is compared with, but not
//! the timer between them (target/mips/sysemu/cp0_timer.c): a guest whose next tick was near would wait for it until
//! the counter comes round. Stopping and starting the counter, bit DC of the register Cause, sets the timer anew. The
//! only door to that register is the gdb stub.

use std::io;
use std::path::Path;

use super::stub::{Stub, unexpected};

/// The number of Cause among gdb's registers of MIPS (gdb/features/mips64-cp0.xml).
const CAUSE: usize = 36;
/// The hexadecimal digits of a register.
const DIGITS: usize = 16;
/// The bit that stops the counter.
const DISABLE_COUNT: u64 = 1 << 27;

/// Sets the timer of the machine whose gdb stub listens at `socket`, and lets the guest run.
///
/// # Errors
/// The stub is not there, or answers otherwise than it must.
pub(super) fn arm(socket: &Path, big_endian: bool) -> io::Result<()> {
    let mut stub = Stub::connect(socket)?;
    // All registers at once: QEMU reads and writes single ones only where it has a description of them.
    let answer = stub.ask(b"g")?;
    let mut registers = String::from_utf8(answer).map_err(|error| unexpected(error.as_bytes()))?;
    let place = CAUSE * DIGITS..(CAUSE + 1) * DIGITS;
    let cause = registers.get(place.clone()).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let cause = cause.ok_or_else(|| unexpected(registers.as_bytes()))?;
    let disable = if big_endian { DISABLE_COUNT } else { DISABLE_COUNT.swap_bytes() };
    for value in [cause | disable, cause & !disable] {
        registers.replace_range(place.clone(), &format!("{value:016x}"));
        stub.tell(format!("G{registers}").as_bytes())?;
    }
    // Letting go lets the guest run.
    stub.tell(b"D")
}

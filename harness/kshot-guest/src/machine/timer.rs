//! Sets the timer of a restored processor. QEMU's MIPS saves the counter and the compare value, but not the timer
//! between them (target/mips/sysemu/cp0_timer.c): a guest with a tick due would wait until the counter wraps. Stopping
//! and starting the counter, with bit DC of the Cause register, sets the timer again. Only the gdb stub can write that
//! register.

use std::io;
use std::path::Path;

use super::stub::{Stub, unexpected};

/// The number of Cause among gdb's registers of MIPS (gdb/features/mips64-cp0.xml).
const CAUSE: usize = 36;
/// The hexadecimal digits of a register.
const DIGITS: usize = 16;
/// The bit that stops the counter.
const DISABLE_COUNT: u64 = 1 << 27;

/// Sets the timer of the machine whose gdb stub listens at `socket`, and continues the guest.
///
/// # Errors
/// The stub cannot be reached, or gives an unexpected reply.
pub(super) fn arm(socket: &Path, big_endian: bool) -> io::Result<()> {
    let mut stub = Stub::connect(socket)?;
    // All registers at once: QEMU gives access to single registers only if it has their description.
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
    // Detaching continues the guest.
    stub.tell(b"D")
}

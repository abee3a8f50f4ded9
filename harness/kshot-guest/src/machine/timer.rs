//! Starts the timer of a restored machine, where its architecture's QEMU does not restore it: a bit of a register is
//! set and cleared. The only door to the register is the gdb stub.

use std::io;
use std::path::Path;

use super::stub::{Stub, unexpected};
use kshot_stack::arch::RegisterToggle;

/// Sets the timer of the machine whose gdb stub listens at `socket`, and continues the guest.
///
/// # Errors
/// The stub cannot be reached, or gives an unexpected reply.
pub(super) fn arm(socket: &Path, toggle: RegisterToggle, big_endian: bool) -> io::Result<()> {
    let mut stub = Stub::connect(socket)?;
    // All registers at once: QEMU gives access to single registers only if it has their description.
    let answer = stub.ask(b"g")?;
    let mut registers = String::from_utf8(answer).map_err(|error| unexpected(error.as_bytes()))?;
    let RegisterToggle { register, digits, bit } = toggle;
    let place = register * digits..(register + 1) * digits;
    let value = registers.get(place.clone()).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let value = value.ok_or_else(|| unexpected(registers.as_bytes()))?;
    // The stub prints registers in the guest's byte order.
    let bit = 1_u64 << bit;
    let bit = if big_endian { bit } else { bit.swap_bytes() >> (64 - 4 * digits) };
    for value in [value | bit, value & !bit] {
        registers.replace_range(place.clone(), &format!("{value:0digits$x}"));
        stub.tell(format!("G{registers}").as_bytes())?;
    }
    // Detaching continues the guest.
    stub.tell(b"D")
}

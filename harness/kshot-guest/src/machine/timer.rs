//! Starts the timer of a restored machine, where its architecture's QEMU does not restore it: a bit of a register is
//! set and cleared. The only door to the register is the gdb stub.

use std::path::Path;

use super::stub::{Stub, StubError};
use kshot_stack::arch::{ArchRow, RegisterToggle};

/// Sets the timer of the machine whose gdb stub listens at `socket`, and continues the guest.
///
/// # Errors
/// The stub cannot be reached, or gives an unexpected reply.
pub(super) fn arm(socket: &Path, toggle: RegisterToggle, row: &'static ArchRow) -> Result<(), StubError> {
    let mut stub = Stub::connect(socket)?;
    let registers = stub.registers(row)?;
    let RegisterToggle { register, bit } = toggle;
    let value = registers.get(register).ok_or(StubError::NoRegister(register))?;
    let bit = 1_u64 << bit;
    for value in [value | bit, value & !bit] {
        stub.set_registers(&registers.with(register, value))?;
    }
    // Detaching continues the guest.
    stub.tell(b"D", b"OK")
}

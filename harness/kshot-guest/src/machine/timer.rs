//! Starts the timer of a restored machine, where its architecture's QEMU does not restore it. The registers
//! that start it can be written only through the gdb stub.

use std::path::Path;

use super::stub::{Span, Stub, StubError};
use kshot_stack::arch::{ArchRow, DeviceRegister, RegisterToggle, TimerStart};

/// Starts the timer of the machine whose gdb stub listens at `socket`, and continues the guest.
///
/// # Errors
/// The stub cannot be reached, or gives an unexpected reply.
pub(super) fn start(socket: &Path, start: TimerStart, row: &'static ArchRow) -> Result<(), StubError> {
    let mut stub = Stub::connect(socket)?;
    match start {
        TimerStart::Toggle(toggle) => toggled(&mut stub, toggle, row),
        TimerStart::Rewrite(register) => rewritten(&mut stub, register),
    }?;
    // Detaching continues the guest.
    stub.tell(b"D", b"OK")
}

fn toggled(stub: &mut Stub, toggle: RegisterToggle, row: &'static ArchRow) -> Result<(), StubError> {
    let registers = stub.registers(row)?;
    let RegisterToggle { register, bit } = toggle;
    let value = registers.get(register).ok_or(StubError::NoRegister(register))?;
    let bit = 1_u64 << bit;
    let mut values = [value | bit, value & !bit].into_iter();
    values.try_for_each(|value| stub.set_registers(&registers.with(register, value)))
}

/// The device acts on being written, whatever the value.
fn rewritten(stub: &mut Stub, register: DeviceRegister) -> Result<(), StubError> {
    let DeviceRegister { address, bytes } = register;
    stub.address_physical_memory(true)?;
    let value = stub.memory(&[Span { address, length: bytes }])?.concat();
    stub.set_memory(address, &value)?;
    stub.address_physical_memory(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::machine::packet::framed;

    #[test]
    fn a_device_register_is_written_with_its_own_value_and_virtual_addresses_are_back_afterwards() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        for answer in [&b"OK"[..], b"0102030405060708", b"OK", b"OK"] {
            qemu.write_all(&[b"+", &framed(answer)[..]].concat()).unwrap();
        }
        let mut stub = Stub::over(ours.try_clone().unwrap()).unwrap();
        rewritten(&mut stub, DeviceRegister { address: 0x200_4000, bytes: 8 }).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut sent = String::new();
        qemu.read_to_string(&mut sent).unwrap();
        let packets: Vec<&str> =
            sent.split('$').skip(1).map(|packet| packet.split('#').next().unwrap()).collect();
        let written = "M2004000,8:0102030405060708";
        assert_eq!(packets, ["Qqemu.PhyMemMode:1", "m2004000,8", written, "Qqemu.PhyMemMode:0"]);
    }
}

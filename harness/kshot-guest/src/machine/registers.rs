//! The registers of a guest's processor, as its gdb stub writes and reads them.

use super::packet;
use kshot_stack::arch::ArchRow;

/// The registers that QEMU's gdb stub sends in one answer.
#[derive(Clone, Debug)]
pub struct Registers {
    bytes: Vec<u8>,
    row: &'static ArchRow,
    program_counter: u64,
}

impl Registers {
    /// The registers of an answer to `g`; `None` where it has no program counter.
    pub fn of_answer(answer: &[u8], row: &'static ArchRow) -> Option<Self> {
        let mut registers = Self { bytes: packet::bytes(answer)?, row, program_counter: 0 };
        registers.program_counter = registers.get(row.registers.program_counter)?;
        Some(registers)
    }

    /// The program counter.
    pub fn program_counter(&self) -> u64 {
        self.program_counter
    }

    /// A register, by the stub's number; `None` if the answer holds fewer registers.
    pub fn get(&self, number: usize) -> Option<u64> {
        self.bytes.get(self.row.registers.range(number)?).map(|bytes| self.row.number(bytes))
    }

    /// A copy in which one register has another value.
    pub(super) fn with(&self, number: usize, value: u64) -> Self {
        let mut changed = self.clone();
        let range = self.row.registers.range(number);
        if let Some(bytes) = range.and_then(|range| changed.bytes.get_mut(range)) {
            let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
            bytes.copy_from_slice(match self.row.big_endian {
                true => &big[big.len() - bytes.len()..],
                false => &little[..bytes.len()],
            });
        }
        changed
    }

    /// The packet that writes these registers to the guest.
    pub(super) fn request(&self) -> Vec<u8> {
        format!("G{}", hex::encode(&self.bytes)).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_stack::arch::Arch;

    /// A stub's answer with registers 0 to 72, the value of each being its number.
    fn told(arch: Arch) -> String {
        let value = |number: u64| match arch.row().big_endian {
            true => format!("{number:016x}"),
            false => format!("{:016x}", number.swap_bytes()),
        };
        (0..73).map(value).collect()
    }

    #[test]
    fn registers_have_the_byte_order_of_the_guest() {
        for arch in [Arch::Mips64, Arch::Mips64el] {
            let registers = Registers::of_answer(told(arch).as_bytes(), arch.row()).unwrap();
            assert_eq!(
                (registers.program_counter(), registers.get(72), registers.get(73)),
                (37, Some(72), None)
            );
            let changed = registers.with(36, 0x0102_0304_0506_0708);
            assert_eq!((changed.get(36), changed.get(37)), (Some(0x0102_0304_0506_0708), Some(37)));
            assert_eq!(changed.with(36, 36).request(), [b"G", told(arch).as_bytes()].concat());
        }
    }

    #[test]
    fn what_holds_no_program_counter_is_no_answer() {
        let told = told(Arch::Mips64);
        for answer in ["", "E14", "xx", &told[..37 * 16], &told[1..]] {
            assert!(Registers::of_answer(answer.as_bytes(), Arch::Mips64.row()).is_none(), "{answer}");
        }
    }
}

//! How a guest leaves a breakpoint.

/// How to go over the instruction at a breakpoint without a single step: a breakpoint where it goes on, with
/// interrupts off until there.
#[derive(Clone, Copy, Debug)]
pub struct StepOver {
    /// How many bytes from the place on are read, as one number.
    pub bytes: usize,
    /// Mask and value of instructions, and where each goes on: the first that fits counts.
    pub instructions: &'static [(u64, u64, GoesOn)],
    /// The kernel's variable with the address of the vectors, and how far behind it that of a trap lies, in
    /// bytes.
    pub trap_vector: Option<(&'static str, u64)>,
    /// What tells whether interrupts are on; `None` where the answer to `g` does not.
    pub interrupts: Option<InterruptBits>,
}

/// Where an instruction goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesOn {
    /// Behind itself, this many bytes further, and it does nothing else.
    Nop(u64),
    /// Behind itself: this many bytes further.
    Behind(u64),
    /// It always traps: at the exception's vector.
    Trap,
    /// Elsewhere, or it can tell whether interrupts are on.
    Elsewhere,
}

/// The bits of a register that say whether interrupts are on.
#[derive(Clone, Copy, Debug)]
pub struct InterruptBits {
    /// The stub's number of the register.
    pub register: usize,
    /// The bits.
    pub bits: u64,
    /// Whether they are set where interrupts are on.
    pub set: bool,
}

impl StepOver {
    /// Where the instruction goes on that `number` begins with.
    pub fn goes_on(&self, number: u64) -> GoesOn {
        let fits = |(mask, value, _): &&(u64, u64, GoesOn)| number & mask == *value;
        self.instructions.iter().find(fits).map_or(GoesOn::Elsewhere, |(_, _, goes_on)| *goes_on)
    }
}

impl InterruptBits {
    /// Whether interrupts are on in a value of the register, any of them.
    pub fn are_on(&self, value: u64) -> bool {
        self.off(value) != value
    }

    /// A value of the register with these bits as another value has them.
    pub fn with(&self, value: u64, bits_of: u64) -> u64 {
        value & !self.bits | bits_of & self.bits
    }

    /// A value of the register with interrupts off.
    pub fn off(&self, value: u64) -> u64 {
        self.with(value, if self.set { 0 } else { u64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    /// Where an instruction goes on that stands in memory as these bytes, with others behind it.
    fn goes_on(arch: Arch, bytes: &[u8]) -> GoesOn {
        let row = arch.row();
        let mut read = bytes.to_vec();
        read.resize(row.step_over.bytes, 0xa5);
        row.step_over.goes_on(row.number(&read))
    }

    fn assert_goes_on(cases: &[(Arch, &[u8])], expected: impl Fn(u64) -> GoesOn) {
        for (arch, bytes) in cases {
            assert_eq!(goes_on(*arch, bytes), expected(bytes.len() as u64), "{arch}: {bytes:02x?}");
        }
    }

    #[test]
    fn a_no_operation_does_nothing_but_go_on_behind_itself() {
        let cases: &[(Arch, &[u8])] = &[
            (Arch::X8664, b"\x0f\x1f\x44\x00\x00"),     // nopl 0x0(%rax,%rax,1)
            (Arch::Arm64, b"\x1f\x20\x03\xd5"),         // nop
            (Arch::Armhf, b"\x00\xf0\x20\xe3"),         // nop
            (Arch::Riscv64, b"\x13\x00\x00\x00"),       // nop
            (Arch::Riscv64, b"\x01\x00"),               // c.nop
            (Arch::S390x, b"\xc0\x04\x00\x00\x00\x00"), // jgnop
            (Arch::Armhf, b"\x00\x00\xa0\xe1"),         // mov r0, r0
            (Arch::Ppc64el, b"\x00\x00\x00\x60"),       // nop
            (Arch::Mips64, b"\x00\x00\x00\x00"),        // nop
        ];
        assert_goes_on(cases, GoesOn::Nop);
    }

    #[test]
    fn what_functions_begin_with_goes_on_behind_itself() {
        let cases: &[(Arch, &[u8])] = &[
            (Arch::X8664, b"\xf3\x0f\x1e\xfa"),         // endbr64
            (Arch::X8664, b"\x55"),                     // push %rbp
            (Arch::X8664, b"\x41\x56"),                 // push %r14
            (Arch::X8664, b"\x48\x83\xec\x10"),         // sub $0x10,%rsp
            (Arch::Arm64, b"\x3f\x23\x03\xd5"),         // paciasp
            (Arch::Arm64, b"\x5f\x24\x03\xd5"),         // bti c
            (Arch::Arm64, b"\xe9\x03\x1e\xaa"),         // mov x9, x30
            (Arch::Arm64, b"\xfd\x7b\xbd\xa9"),         // stp x29, x30, [sp, #-48]!
            (Arch::Arm64, b"\xff\x43\x01\xd1"),         // sub sp, sp, #0x50
            (Arch::Armhf, b"\xf0\x41\x2d\xe9"),         // push {r4, r5, r6, r7, r8, lr}
            (Arch::Armhf, b"\x04\xe0\x2d\xe5"),         // push {lr}
            (Arch::Riscv64, b"\x13\x01\x01\xb0"),       // addi sp, sp, -1280
            (Arch::Riscv64, b"\x97\x72\x00\x00"),       // auipc t0, 0x7
            (Arch::Riscv64, b"\x39\x71"),               // c.addi16sp sp, -64
            (Arch::Riscv64, b"\x41\x11"),               // c.addi sp, -16
            (Arch::S390x, b"\xeb\x7f\xf0\x50\x00\x24"), // stmg %r7,%r15,80(%r15)
            (Arch::S390x, b"\xb9\x04\x00\x1f"),         // lgr %r1,%r15
            (Arch::Ppc64el, b"\x5d\x00\x4c\x3c"),       // addis r2, r12, 93
            (Arch::Ppc64el, b"\x64\xa1\x42\x38"),       // addi r2, r2, -24220
            (Arch::Ppc64el, b"\xa6\x02\x08\x7c"),       // mflr r0
            (Arch::Ppc64el, b"\x10\x00\x01\xf8"),       // std r0, 16(r1)
            (Arch::Ppc64el, b"\xe1\xff\x21\xf8"),       // stdu r1, -32(r1)
            (Arch::Mips64, b"\x67\xbd\xff\xc0"),        // daddiu $sp, $sp, -64
            (Arch::Mips64el, b"\xc0\xff\xbd\x67"),      // the same
        ];
        assert_goes_on(cases, GoesOn::Behind);
    }

    #[test]
    fn calls_branches_returns_and_traps_do_not() {
        let cases: &[(Arch, &[u8])] = &[
            (Arch::X8664, b"\xe8\x00\x10\x00\x00"),     // call
            (Arch::X8664, b"\xcc"),                     // int3: a kprobe's
            (Arch::X8664, b"\xc3"),                     // ret
            (Arch::X8664, b"\xfa"),                     // cli
            (Arch::X8664, b"\x9c"),                     // pushf
            (Arch::Arm64, b"\x01\x00\x00\x14"),         // b
            (Arch::Arm64, b"\x00\x00\x20\xd4"),         // brk: a kprobe's
            (Arch::Arm64, b"\xc0\x03\x5f\xd6"),         // ret
            (Arch::Arm64, b"\x20\x42\x3b\xd5"),         // mrs x0, daif
            (Arch::Armhf, b"\x00\x00\x00\xeb"),         // bl
            (Arch::Armhf, b"\x1e\xff\x2f\xe1"),         // bx lr
            (Arch::Riscv64, b"\x02\x90"),               // c.ebreak: a kprobe's
            (Arch::Riscv64, b"\x82\x80"),               // ret
            (Arch::Riscv64, b"\x01\x45"),               // c.li a0, 0
            (Arch::S390x, b"\xc0\x05\x00\x00\x00\x10"), // brasl %r0: a call of the tracer's
            (Arch::S390x, b"\x00\x02"),                 // a kprobe's
            (Arch::S390x, b"\x07\xfe"),                 // br %r14
            (Arch::Ppc64el, b"\x01\x00\x00\x48"),       // bl
            (Arch::Ppc64el, b"\x08\x00\xe0\x7f"),       // trap: a kprobe's
            (Arch::Ppc64el, b"\x20\x00\x80\x4e"),       // blr
            (Arch::Mips64, b"\x10\x00\x00\x40"),        // b
            (Arch::Mips64, b"\x40\x02\x60\x00"),        // mfc0 $v0, Status
        ];
        assert_goes_on(cases, |_| GoesOn::Elsewhere);
        assert_eq!(goes_on(Arch::Mips64, b"\x00\x00\x00\x0d"), GoesOn::Trap);
    }

    #[test]
    fn interrupts_are_off_once_they_are_switched_off_and_then_as_they_were() {
        for bits in Arch::all().filter_map(|arch| arch.row().step_over.interrupts) {
            for value in [0, u64::MAX, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210] {
                let off = bits.off(value);
                assert!(!bits.are_on(off), "{bits:?}");
                assert_eq!(off & !bits.bits, value & !bits.bits);
                assert_eq!(bits.with(off, value), value);
            }
        }
    }
}

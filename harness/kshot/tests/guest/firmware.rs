//! A guest of 48 bytes: it writes a text to the serial console and spins. It stands in for a kernel where
//! only the machine is under test.

use std::path::Path;

use kshot_guest::machine::{Accelerator, MachineSpec};
use kshot_stack::arch::Arch;

/// For big-endian MIPS64. Made with `mips64-linux-gnuabi64-as` from
///
/// ```text
///    lui $8, 0xb800; ori $8, $8, 0x3f8       # the UART's data register, uncached
///    lui $9, 0x8010; ori $9, $9, 0x00a8      # the text, right behind this code
/// 1: lbu $10, 0($9); beqz $10, 2f; nop
///    sb $10, 0($8); b 1b; daddiu $9, $9, 1
/// 2: b 2b; nop
/// ```
const CODE: [u32; 12] = [
    0x3c08_b800,
    0x3508_03f8,
    0x3c09_8010,
    0x3529_00a8,
    0x912a_0000,
    0x1140_0004,
    0,
    0xa10a_0000,
    0x1000_fffb,
    0x6529_0001,
    0x1000_ffff,
    0,
];

/// A machine whose guest says `text` and nothing more. Its files go to `folder`.
pub(crate) fn machine(folder: &Path, text: &str) -> MachineSpec {
    let (kernel, initrd) = (folder.join("firmware"), folder.join("initrd"));
    std::fs::write(&kernel, elf(text)).unwrap();
    std::fs::write(&initrd, "none").unwrap();
    MachineSpec {
        arch: Arch::Mips64,
        kernel,
        initrd,
        cmdline: Vec::new(),
        memory_mib: 64,
        icount: false,
        accelerator: Accelerator::Tcg,
    }
}

/// An ELF file of one segment.
fn elf(text: &str) -> Vec<u8> {
    const BASE: u64 = 0xffff_ffff_8010_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + 48 + text.len() as u64 + 1;
    let mut elf = b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |value: u16| value.to_be_bytes().to_vec();
    let word = |value: u32| value.to_be_bytes().to_vec();
    let long = |value: u64| value.to_be_bytes().to_vec();
    // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum, ...
    elf.extend(
        [half(2), half(8), word(1), long(BASE + HEADERS), long(64), long(0), word(0x8000_0000)].concat(),
    );
    elf.extend([half(64), half(56), half(1), half(0), half(0), half(0)].concat());
    // p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    elf.extend(
        [word(1), word(7), long(0), long(BASE), long(BASE), long(length), long(length), long(4096)].concat(),
    );
    elf.extend(CODE.iter().flat_map(|word| word.to_be_bytes()));
    elf.extend(text.bytes().chain([0]));
    elf
}

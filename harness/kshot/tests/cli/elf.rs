//! The head of a made-up kernel.

/// The ELF header of a program for MIPS64 without any section (elf(5)), in the byte order of `bytes`.
pub(crate) fn elf_header(bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let data = if bytes(1) == [1, 0] { 1 } else { 2 };
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, data, 1];
    header.resize(16, 0);
    // ET_EXEC and EM_MIPS.
    header.extend([2, 8].map(bytes).concat());
    header.resize(52, 0);
    header.extend(bytes(64));
    header.resize(64, 0);
    header
}

//! MIPS64, big-endian: Debian has no port, so kernel and userland are cross-built.

use super::{ArchRow, mips};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "mips64",
    qemu: "qemu-system-mips64",
    qemu_package: "qemu-system-mips",
    machine: mips::MACHINE,
    cpu: mips::CPU,
    big_endian: true,
    console: "ttyS0",
    nic: mips::NIC,
    rng: mips::RNG,
    cmdline_bytes: mips::CMDLINE_BYTES,
    initrd_parameter_bytes: mips::INITRD_PARAMETER_BYTES,
    memory_mib_max: mips::MEMORY_MIB_MAX,
    parameters: mips::PARAMETERS,
    icount_shift: mips::ICOUNT_SHIFT,
    restore_toggle: Some(mips::RESTORE_TOGGLE),
    options: mips::OPTIONS,
    image_prefix: mips::IMAGE_PREFIX,
    kbuild: "mips",
    triplet: "mips64-linux-gnuabi64",
    debian: None,
    cross_packages: &["gcc-mips64-linux-gnuabi64", "libc6-dev-mips64-cross"],
    elf_machine: mips::ELF_MACHINE,
    task: mips::TASK,
    registers: mips::REGISTERS,
    step_over: Some(mips::STEP_OVER),
    kernel_stack: mips::KERNEL_STACK,
    stack_pointer: mips::STACK_POINTER,
    return_address: mips::RETURN_ADDRESS,
    trampoline: mips::TRAMPOLINE,
    entries: mips::ENTRIES,
    plumbing: mips::PLUMBING,
};

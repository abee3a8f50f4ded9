//! 64-bit RISC-V: Debian's riscv64, since trixie.

use super::{
    ArchRow, CurrentTask, KernelImage, RegisterGroup, RegisterRange, StubRegisters, UPPER_HALF, debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "riscv64",
    qemu: "qemu-system-riscv64",
    qemu_package: "qemu-system-misc",
    machine: "virt",
    // sstc=off: QEMU 7.2 does not save the register stimecmp of that extension (target/riscv/machine.c), so the timer of
    // a restored guest would not come. Without it the timer is the firmware's.
    cpu: "rv64,sstc=off",
    big_endian: false,
    console: "ttyS0",
    nic: debian::NIC,
    rng: debian::RNG,
    // COMMAND_LINE_SIZE (arch/riscv/include/uapi/asm/setup.h), less the final zero.
    cmdline_bytes: 1023,
    // The device tree says where the initramfs is.
    initrd_parameter_bytes: 0,
    // Below the PCI window above the memory (hw/riscv/virt.c).
    memory_mib_max: 255 << 10,
    parameters: &[],
    icount_shift: debian::ICOUNT_SHIFT,
    restore_toggle: None,
    options: debian::OPTIONS,
    cold_because: None,
    // RISCV_IMAGE_MAGIC2 (arch/riscv/include/asm/image.h, Documentation/arch/riscv/boot-image-header.rst).
    image: KernelImage::Own { name: "Image", offset: 0x38, magic: b"RSC\x05" },
    image_prefix: "vmlinux",
    kbuild: "riscv",
    triplet: "riscv64-linux-gnu",
    debian: Some("riscv64"),
    // bookworm has no such port.
    userland_suite: Some("trixie"),
    cross_packages: &["gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"],
    // EM_RISCV.
    elf_machine: 243,
    word_bytes: 8,
    kernel_from: UPPER_HALF,
    // tp (arch/riscv/include/asm/current.h).
    task: Some(CurrentTask::Register(4)),
    // gdb/riscv-64bit-cpu.xml: x0 to x31 and pc, with the numbers of DWARF. s0 to s11 are x8, x9 and x18 to x27.
    registers: StubRegisters {
        groups: &[RegisterGroup { count: 33, bytes: 8 }],
        program_counter: 32,
        unwinding: &[
            RegisterRange { dwarf: 1, stub: 1, count: 2 },
            RegisterRange { dwarf: 8, stub: 8, count: 2 },
            RegisterRange { dwarf: 18, stub: 18, count: 10 },
        ],
        arguments: &[10, 11, 12, 13, 14, 15, 16, 17],
    },
    step_over: None,
    // THREAD_SIZE_ORDER of arch/riscv/include/asm/thread_info.h.
    kernel_stack: 16 << 10,
    // RISC-V psABI, "DWARF Register Numbers": x2 is sp, x1 is ra.
    stack_pointer: 2,
    cfa_bias: 0,
    return_address: 1,
    trampoline: None,
    // It goes by the frame pointer (walk_stackframe of arch/riscv/kernel/stacktrace.c).
    perf_finds_callers: false,
    // __SYSCALL_DEFINEx of arch/riscv/include/asm/syscall_wrapper.h.
    syscall_prefix: Some("__riscv_"),
    // arch/riscv/kernel/entry.S and head.S.
    entries: &[
        "handle_exception",
        "ret_from_exception",
        "ret_from_fork",
        "ret_from_fork_kernel_asm",
        "ret_from_fork_user_asm",
        "_start_kernel",
        "smp_callin",
    ],
    // arch/riscv/kernel/mcount-dyn.S and mcount.S.
    plumbing: &[
        "ftrace_caller",
        "ftrace_call",
        "ftrace_graph_call",
        "ftrace_regs_caller",
        "ftrace_regs_call",
        "ftrace_graph_regs_call",
        "ftrace_stub",
        "ftrace_stub_graph",
        "return_to_handler",
    ],
};

//! 64-bit POWER, little-endian: Debian's ppc64el.

use super::{
    ArchRow, KernelImage, KernelPointer, RegisterGroup, RegisterRange, StackBefore, StubRegisters,
    UPPER_HALF, debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "ppc64el",
    qemu: "qemu-system-ppc64",
    qemu_package: "qemu-system-ppc",
    // x-vof: a firmware of QEMU's own, which starts at once (docs/system/ppc/pseries.rst). The others:
    // mitigations that TCG has not (hw/ppc/spapr_caps.c); QEMU would say so at each start.
    machine: "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off",
    cpu: "POWER9",
    kvm: None,
    big_endian: false,
    // The hypervisor's terminal.
    console: "hvc0",
    nic: debian::NIC,
    rng: debian::RNG,
    // COMMAND_LINE_SIZE (arch/powerpc/include/uapi/asm/setup.h), less the final zero.
    cmdline_bytes: 2047,
    // The device tree says where the initramfs is.
    initrd_parameter_bytes: 0,
    memory_mib_max: 255 << 10,
    parameters: &[],
    icount_shift: debian::ICOUNT_SHIFT,
    timer_start: None,
    options: &[debian::console("HVC_CONSOLE", &["TTY"]), debian::NIC_OPTION, debian::PCI_OPTION],
    // The decrementer of a restored guest does not count.
    cold_because: Some("QEMU does not restore the timer of ppc64el guests"),
    image: KernelImage::Elf,
    image_prefix: "vmlinux",
    kbuild: "powerpc",
    triplet: "powerpc64le-linux-gnu",
    debian: Some("ppc64el"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"],
    // EM_PPC64.
    elf_machine: 21,
    relocations: &[],
    local_entries: true,
    word_bytes: 8,
    kernel_from: UPPER_HALF,
    // r13 is the paca (arch/powerpc/include/asm/paca.h).
    task: Some(KernelPointer::Field { register: 13, structure: "paca_struct", field: "__current" }),
    // gdb/power64-core.xml: r0 to r31, the program counter, MSR, CR, LR, CTR. r14 to r31 outlive a call.
    registers: StubRegisters {
        // Otherwise QEMU takes FPSCR for longer than it is, and ends in an assertion (`ppc_gdb_register_len`
        // of QEMU 7.2's target/ppc/gdbstub.c).
        described: true,
        groups: &[
            RegisterGroup { count: 34, bytes: 8 },
            RegisterGroup { count: 1, bytes: 4 },
            RegisterGroup { count: 2, bytes: 8 },
        ],
        program_counter: 32,
        unwinding: &[
            RegisterRange { dwarf: 1, stub: 1, count: 1 },
            RegisterRange { dwarf: 14, stub: 14, count: 18 },
            RegisterRange { dwarf: 65, stub: 35, count: 1 },
        ],
        arguments: &[3, 4, 5, 6, 7, 8, 9, 10],
    },
    step_over: None,
    // CONFIG_THREAD_SHIFT of Debian's kernels.
    kernel_stack: 16 << 10,
    // Power Architecture 64-Bit ELF V2 ABI, "DWARF Register Number Mapping": r1 and LR.
    stack_pointer: 1,
    cfa_bias: 0,
    return_address: 65,
    assembly: &[],
    leaves: &[],
    switched_stacks: &[],
    stack_before: StackBefore::Pointer,
    perf_finds_callers: false,
    syscall_prefix: None,
    // arch/powerpc/kernel/interrupt_64.S and head_64.S.
    entries: &[
        "system_call_common",
        "system_call_vectored_common",
        "system_call_vectored_sigill",
        "ret_from_fork",
        "ret_from_fork_scv",
        "ret_from_kernel_thread",
        "ret_from_kernel_user_thread",
        "start_kernel_thread",
        "start_here_common",
    ],
    // arch/powerpc/kernel/trace/ftrace_mprofile.S and ftrace_low.S.
    plumbing: &[
        "ftrace_caller",
        "ftrace_call",
        "ftrace_regs_caller",
        "ftrace_regs_call",
        "ftrace_graph_caller",
        "ftrace_graph_stub",
        "ftrace_stub",
        "return_to_handler",
        "mod_return_to_handler",
    ],
};

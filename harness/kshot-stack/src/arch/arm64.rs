//! 64-bit Arm: Debian's arm64.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage,
    KernelPointer, KvmBoard, RegisterGroup, RegisterMapping, SavedRegisters, StackBefore, StepOver,
    StubRegisters, UPPER_HALF, debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "arm64",
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    // QEMU's board for virtual machines (docs/system/arm/virt.rst); by itself it takes a 32-bit CPU.
    machine: "virt",
    cpu: "cortex-a57",
    // The interrupt controller has to be the host's, too (docs/system/arm/virt.rst).
    kvm: Some(KvmBoard { host: "aarch64", machine: "virt,gic-version=host", cpu: "host" }),
    big_endian: false,
    // The board's PL011.
    console: "ttyAMA0",
    nic: debian::NIC,
    rng: debian::RNG,
    // COMMAND_LINE_SIZE (arch/arm64/include/uapi/asm/setup.h), less the final zero.
    cmdline_bytes: 2047,
    // The device tree says where the initramfs is.
    initrd_parameter_bytes: 0,
    // LEGACY_RAMLIMIT_GB of QEMU's hw/arm/virt.c.
    memory_mib_max: 255 << 10,
    parameters: &[],
    icount_shift: debian::ICOUNT_SHIFT,
    timer_start: None,
    options: &[
        debian::console("SERIAL_AMBA_PL011_CONSOLE", &["TTY", "ARM_AMBA", "SERIAL_AMBA_PL011"]),
        debian::NIC_OPTION,
        debian::PCI_OPTION,
    ],
    cold_because: None,
    // ARM64_IMAGE_MAGIC (arch/arm64/include/asm/image.h, Documentation/arch/arm64/booting.rst).
    image: KernelImage::Own { path: "arch/arm64/boot/Image", offset: 0x38, magic: b"ARM\x64" },
    image_prefix: debian::IMAGE_PREFIX,
    image_base: None,
    kbuild: "arm64",
    config: &["ARM64"],
    triplet: "aarch64-linux-gnu",
    debian: Some("arm64"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    // EM_AARCH64.
    elf_machine: 183,
    relocations: &[],
    local_entries: false,
    word_bytes: 8,
    kernel_from: UPPER_HALF,
    // SP_EL0 has it in the kernel, which the stub does not tell at once; __switch_to writes it here, too
    // (arch/arm64/kernel/process.c, entry_task_switch).
    task: Some(KernelPointer::PerCpu(&["__entry_task"])),
    // gdb/aarch64-core.xml: x0 to x30, sp and pc, with the numbers of DWARF. x19 to x30 and sp outlive a
    // call.
    registers: StubRegisters {
        described: false,
        groups: &[RegisterGroup { count: 33, bytes: 8 }, RegisterGroup { count: 1, bytes: 4 }],
        program_counter: 32,
        unwinding: &[RegisterMapping { dwarf: 19, stub: 19, count: 13 }],
        arguments: &[0, 1, 2, 3, 4, 5, 6, 7],
    },
    // What functions begin with: Arm Architecture Reference Manual, C6.2.
    step_over: StepOver {
        bytes: 4,
        instructions: &[
            (0xffff_ffff, 0xd503_201f, GoesOn::Nop(4)),    // NOP
            (0xffff_f01f, 0xd503_201f, GoesOn::Behind(4)), // other HINTs: PACIASP, BTI
            (0xffff_ffff, 0xaa1e_03e9, GoesOn::Behind(4)), // MOV X9, X30: ftrace's
            (0xffc0_7fff, 0xa980_7bfd, GoesOn::Behind(4)), // STP X29, X30, [SP, #-imm]!
            (0xff80_03ff, 0xd100_03ff, GoesOn::Behind(4)), // SUB SP, SP, #imm
        ],
        trap_vector: None,
        interrupts: Some(InterruptBits { register: 33, bits: 1 << 7, set: false }), // I of PSTATE
    },
    // With pages of 4 KiB (MIN_THREAD_SHIFT of arch/arm64/include/asm/memory.h).
    kernel_stack: 16 << 10,
    // DWARF for the Arm 64-bit Architecture, 4.1: sp, and the link register x30.
    stack_pointer: 31,
    cfa_bias: 0,
    return_address: 30,
    assembly: &[
        // kernel_entry of arch/arm64/kernel/entry.S: a struct pt_regs at the stack pointer
        // (arch/arm64/include/asm/ptrace.h).
        AssemblyFrame {
            labels: &[
                "el1h_64_sync",
                "el1h_64_irq",
                "el1h_64_fiq",
                "el1h_64_error",
                "el1t_64_sync",
                "el1t_64_irq",
                "el1t_64_fiq",
                "el1t_64_error",
            ],
            kind: AssemblyKind::Exception,
            base: 31,
            program_counter: 256,
            stack_pointer: CallerStackPointer::Saved(248),
            saved: &[SavedRegisters { dwarf: 19, offset: 152, count: 12 }],
            user_mode: None,
            marker: None,
        },
        // call_on_irq_stack of arch/arm64/kernel/entry.S: a frame record, which x29 points to.
        AssemblyFrame {
            labels: &["call_on_irq_stack"],
            kind: AssemblyKind::StackSwitch,
            base: 29,
            program_counter: 8,
            stack_pointer: CallerStackPointer::Above(16),
            saved: &[SavedRegisters { dwarf: 29, offset: 0, count: 2 }],
            user_mode: None,
            marker: None,
        },
        // ftrace_regs_entry of arch/arm64/kernel/entry-ftrace.S up to 6.3: a struct pt_regs at the stack
        // pointer.
        AssemblyFrame {
            labels: &["ftrace_call", "ftrace_common"],
            kind: AssemblyKind::FunctionTracer,
            base: 31,
            program_counter: 256,
            stack_pointer: CallerStackPointer::Saved(248),
            saved: &[SavedRegisters { dwarf: 29, offset: 232, count: 2 }],
            user_mode: None,
            marker: None,
        },
    ],
    // arch/arm64/lib/copy_*_user.S, clear_user.S, clear_page.S and copy_page.S.
    leaves: &[
        "__arch_copy_from_user",
        "__arch_copy_to_user",
        "__arch_clear_user",
        "clear_page",
        "__pi_clear_page",
        "copy_page",
        "__pi_copy_page",
    ],
    switched_stacks: &[],
    stack_before: StackBefore::Pointer,
    // It goes by the frame pointer and not by x30 (arch/arm64/kernel/perf_callchain.c, stacktrace.c).
    perf_finds_callers: false,
    // __SYSCALL_DEFINEx of arch/arm64/include/asm/syscall_wrapper.h.
    syscall_prefix: Some("__arm64_"),
    // arch/arm64/kernel/entry.S and head.S.
    entries: &[
        "el0t_64_sync",
        "el0t_64_irq",
        "el0t_64_fiq",
        "el0t_64_error",
        "el0t_32_sync",
        "el0t_32_irq",
        "el0t_32_fiq",
        "el0t_32_error",
        "ret_to_user",
        "ret_from_fork",
        "__primary_switched",
        "__secondary_switched",
    ],
    // arch/arm64/kernel/entry-ftrace.S.
    plumbing: &[
        "ftrace_caller",
        "ftrace_regs_caller",
        "ftrace_common",
        "ftrace_call",
        "ftrace_graph_call",
        "ftrace_common_return",
        "ftrace_stub",
        "ftrace_stub_graph",
        "return_to_handler",
    ],
};

//! 64-bit RISC-V: Debian's riscv64, since trixie.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, DeviceRegister, GoesOn, KernelImage,
    KernelPointer, OwnRelocation, RegisterGroup, RegisterMapping, RelocationOperation, SavedRegisters,
    StackBefore, StepOver, StubRegisters, TimerStart, UPPER_HALF, debian,
};

/// RISC-V psABI, "Relocations": linker relaxation moves code, so the assembler leaves differences of labels
/// to be calculated.
const RELOCATIONS: &[OwnRelocation] = &[
    OwnRelocation { number: 33, bits: 8, operation: RelocationOperation::Add },
    OwnRelocation { number: 34, bits: 16, operation: RelocationOperation::Add },
    OwnRelocation { number: 35, bits: 32, operation: RelocationOperation::Add },
    OwnRelocation { number: 36, bits: 64, operation: RelocationOperation::Add },
    OwnRelocation { number: 37, bits: 8, operation: RelocationOperation::Subtract },
    OwnRelocation { number: 38, bits: 16, operation: RelocationOperation::Subtract },
    OwnRelocation { number: 39, bits: 32, operation: RelocationOperation::Subtract },
    OwnRelocation { number: 40, bits: 64, operation: RelocationOperation::Subtract },
    OwnRelocation { number: 52, bits: 6, operation: RelocationOperation::Subtract },
    OwnRelocation { number: 53, bits: 6, operation: RelocationOperation::Set },
    OwnRelocation { number: 54, bits: 8, operation: RelocationOperation::Set },
    OwnRelocation { number: 55, bits: 16, operation: RelocationOperation::Set },
    OwnRelocation { number: 56, bits: 32, operation: RelocationOperation::Set },
];

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "riscv64",
    qemu: "qemu-system-riscv64",
    qemu_package: "qemu-system-misc",
    machine: "virt",
    // sstc=off: QEMU 7.2 does not save the register stimecmp of that extension (target/riscv/machine.c), so
    // the timer of a restored guest would not come. Without it the timer is the firmware's.
    cpu: "rv64,sstc=off",
    kvm: None,
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
    // QEMU up to 10.1 keeps mtimecmp, and arms no timer by it (hw/intc/riscv_aclint.c; its timers are
    // migrated since a change of 2025); the kernel does not set a timer again that it takes for pending. That
    // of the first processor lies behind the software interrupts of VIRT_CLINT (hw/riscv/virt.c,
    // include/hw/intc/riscv_aclint.h).
    timer_start: Some(TimerStart::Rewrite(DeviceRegister { address: 0x200_4000, bytes: 8 })),
    options: &[
        debian::console("SERIAL_8250_CONSOLE", &["TTY", "SERIAL_8250", "SERIAL_OF_PLATFORM"]),
        debian::NIC_OPTION,
        debian::PCI_OPTION,
    ],
    cold_because: None,
    // RISCV_IMAGE_MAGIC2 (arch/riscv/include/asm/image.h, Documentation/arch/riscv/boot-image-header.rst).
    image: KernelImage::Own { path: "arch/riscv/boot/Image", offset: 0x38, magic: b"RSC\x05" },
    image_prefix: "vmlinux",
    image_base: None,
    kbuild: "riscv",
    config: &["RISCV", "64BIT"],
    triplet: "riscv64-linux-gnu",
    debian: Some("riscv64"),
    // bookworm has no such port.
    userland_suite: Some("trixie"),
    cross_packages: &["gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"],
    // EM_RISCV.
    elf_machine: 243,
    relocations: RELOCATIONS,
    local_entries: false,
    word_bytes: 8,
    kernel_from: UPPER_HALF,
    // tp (arch/riscv/include/asm/current.h).
    task: Some(KernelPointer::Register(4)),
    // gdb/riscv-64bit-cpu.xml: x0 to x31 and pc, with the numbers of DWARF. s0 to s11 are x8, x9 and x18 to
    // x27.
    registers: StubRegisters {
        described: false,
        groups: &[RegisterGroup { count: 33, bytes: 8 }],
        program_counter: 32,
        unwinding: &[
            RegisterMapping { dwarf: 1, stub: 1, count: 2 },
            RegisterMapping { dwarf: 8, stub: 8, count: 2 },
            RegisterMapping { dwarf: 18, stub: 18, count: 10 },
        ],
        arguments: &[10, 11, 12, 13, 14, 15, 16, 17],
    },
    // What functions begin with: RISC-V Unprivileged ISA, chapters 2 and 16. The answer to `g` holds no sstatus.
    step_over: StepOver {
        bytes: 4,
        instructions: &[
            (0xffff_ffff, 0x0000_0013, GoesOn::Nop(4)),    // NOP
            (0x000f_ffff, 0x0001_0113, GoesOn::Behind(4)), // ADDI SP, SP, imm
            (0x0000_0fff, 0x0000_0297, GoesOn::Behind(4)), // AUIPC T0, imm: ftrace's
            (0x0000_ef83, 0x0000_6101, GoesOn::Behind(2)), // C.ADDI16SP imm
            (0x0000_ef83, 0x0000_0101, GoesOn::Behind(2)), // C.ADDI SP, imm
            (0x0000_ffff, 0x0000_0001, GoesOn::Nop(2)),    // C.NOP
        ],
        trap_vector: None,
        interrupts: None,
    },
    // THREAD_SIZE_ORDER of arch/riscv/include/asm/thread_info.h.
    kernel_stack: 16 << 10,
    // RISC-V psABI, "DWARF Register Numbers": x2 is sp, x1 is ra.
    stack_pointer: 2,
    cfa_bias: 0,
    return_address: 1,
    assembly: &[
        // arch/riscv/kernel/entry.S: a struct pt_regs at the stack pointer
        // (arch/riscv/include/uapi/asm/ptrace.h).
        AssemblyFrame {
            labels: &["handle_exception"],
            kind: AssemblyKind::Exception,
            base: 2,
            program_counter: 0,
            stack_pointer: CallerStackPointer::Saved(16),
            saved: &[
                SavedRegisters { dwarf: 1, offset: 8, count: 1 },
                SavedRegisters { dwarf: 8, offset: 64, count: 2 },
                SavedRegisters { dwarf: 18, offset: 144, count: 10 },
            ],
            user_mode: None,
            marker: None,
        },
        // call_on_irq_stack of arch/riscv/kernel/entry.S: a frame record below what s0 points to.
        AssemblyFrame {
            labels: &["call_on_irq_stack"],
            kind: AssemblyKind::StackSwitch,
            base: 8,
            program_counter: -8,
            stack_pointer: CallerStackPointer::Above(0),
            saved: &[SavedRegisters { dwarf: 8, offset: -16, count: 1 }],
            user_mode: None,
            marker: None,
        },
        // ftrace_caller of arch/riscv/kernel/mcount-dyn.S, since 6.10: a struct ftrace_regs at the stack
        // pointer (arch/riscv/include/asm/ftrace.h).
        AssemblyFrame {
            labels: &["ftrace_call", "ftrace_caller"],
            kind: AssemblyKind::FunctionTracer,
            base: 2,
            program_counter: 0,
            stack_pointer: CallerStackPointer::Saved(16),
            saved: &[
                SavedRegisters { dwarf: 1, offset: 8, count: 1 },
                SavedRegisters { dwarf: 8, offset: 24, count: 1 },
            ],
            user_mode: None,
            marker: None,
        },
    ],
    // arch/riscv/lib/uaccess.S, memcpy.S and memset.S.
    leaves: &[
        "__asm_copy_from_user",
        "__asm_copy_to_user",
        "fallback_scalar_usercopy",
        "__clear_user",
        "memcpy",
        "__memcpy",
        "memset",
        "__memset",
    ],
    switched_stacks: &[],
    stack_before: StackBefore::Pointer,
    // It goes by the frame pointer (walk_stackframe of arch/riscv/kernel/stacktrace.c).
    perf_finds_callers: false,
    // __SYSCALL_DEFINEx of arch/riscv/include/asm/syscall_wrapper.h.
    syscall_prefix: Some("__riscv_"),
    // arch/riscv/kernel/entry.S and head.S. _start_kernel jumps to start_kernel(), which so begins the stack
    // of the idle task: the return address there is what the call before has left.
    entries: &[
        "handle_exception",
        "ret_from_exception",
        "ret_from_fork",
        "ret_from_exception_end",
        "ret_from_fork_kernel_asm",
        "ret_from_fork_user_asm",
        "start_kernel",
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

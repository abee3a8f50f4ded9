//! 64-bit x86: Debian's amd64.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage,
    KernelPointer, KvmBoard, RegisterGroup, RegisterMapping, SavedRegisters, StackBefore, StepOver,
    StubRegisters, SwitchedStack, UPPER_HALF, debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "x86-64",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    machine: "q35",
    cpu: "qemu64",
    kvm: Some(KvmBoard { host: "x86_64", machine: "q35", cpu: "host" }),
    big_endian: false,
    console: "ttyS0",
    nic: debian::NIC,
    rng: debian::RNG,
    // COMMAND_LINE_SIZE (arch/x86/include/asm/setup.h), less the final zero.
    cmdline_bytes: 2047,
    // The boot protocol's header says where the initramfs is.
    initrd_parameter_bytes: 0,
    // Below the 40 bits of physical addresses that QEMU's TCG has (target/i386/cpu.h).
    memory_mib_max: 1 << 19,
    // On a busy host the timer of QEMU's board comes too late for the kernel's test of it, which panics then
    // ("IO-APIC + timer doesn't work!", arch/x86/kernel/apic/io_apic.c); under KVM kernels leave the test out
    // themselves.
    parameters: &["no_timer_check"],
    icount_shift: debian::ICOUNT_SHIFT,
    timer_start: None,
    options: &[
        debian::console("SERIAL_8250_CONSOLE", &["TTY", "SERIAL_8250"]),
        debian::NIC_OPTION,
        debian::PCI_OPTION,
    ],
    cold_because: None,
    // Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
    image: KernelImage::Own { path: "arch/x86/boot/bzImage", offset: 0x202, magic: b"HdrS" },
    image_prefix: debian::IMAGE_PREFIX,
    image_base: None,
    kbuild: "x86_64",
    config: &["X86_64"],
    triplet: "x86_64-linux-gnu",
    debian: Some("amd64"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
    // EM_X86_64.
    elf_machine: 62,
    relocations: &[],
    local_entries: false,
    word_bytes: 8,
    kernel_from: UPPER_HALF,
    // arch/x86/include/asm/current.h. In 6.2 to 6.14 it is the first field of pcpu_hot.
    task: Some(KernelPointer::PerCpu(&["current_task", "pcpu_hot"])),
    // gdb/i386-64bit-core.xml: rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15, rip. DWARF's are in figure
    // 3.36 of the System V ABI's AMD64 supplement.
    registers: StubRegisters {
        described: false,
        groups: &[RegisterGroup { count: 17, bytes: 8 }, RegisterGroup { count: 1, bytes: 4 }],
        program_counter: 16,
        unwinding: &[
            RegisterMapping { dwarf: 3, stub: 1, count: 1 },
            RegisterMapping { dwarf: 6, stub: 6, count: 2 },
            RegisterMapping { dwarf: 12, stub: 12, count: 4 },
        ],
        arguments: &[5, 4, 3, 2, 8, 9],
    },
    // What functions begin with: endbr64, the place of a call that ftrace patches in (P6_NOP5 of
    // arch/x86/include/asm/nops.h), pushes, and room on the stack. Intel SDM, volume 2.
    step_over: StepOver {
        bytes: 8,
        instructions: &[
            (0xffff_ffff, 0xfa1e_0ff3, GoesOn::Behind(4)), // ENDBR64
            (0xff_ffff_ffff, 0x0044_1f0f, GoesOn::Nop(5)), // NOPL 0(%RAX,%RAX,1)
            (0xf8, 0x50, GoesOn::Behind(1)),               // PUSH %RAX to %RDI
            (0xf8ff, 0x5041, GoesOn::Behind(2)),           // PUSH %R8 to %R15
            (0xff_ffff, 0xec_8348, GoesOn::Behind(4)),     // SUB $imm8,%RSP
        ],
        trap_vector: None,
        interrupts: Some(InterruptBits { register: 17, bits: 1 << 9, set: true }), // IF of EFLAGS
    },
    // THREAD_SIZE_ORDER of arch/x86/include/asm/page_64_types.h, without KASAN.
    kernel_stack: 16 << 10,
    // System V ABI, AMD64 supplement, figure 3.36: %rsp, and the column of the return address.
    stack_pointer: 7,
    cfa_bias: 0,
    return_address: 16,
    assembly: &[
        // idtentry of arch/x86/entry/entry_64.S: a struct pt_regs at the stack pointer
        // (arch/x86/include/asm/ptrace.h). asm_exc_nmi makes one as well for what it interrupts in the
        // kernel, behind the label end_repeat_nmi.
        AssemblyFrame {
            labels: &[
                "asm_exc_*",
                "asm_sysvec_*",
                "asm_common_interrupt",
                "asm_spurious_interrupt",
                "end_repeat_nmi",
            ],
            kind: AssemblyKind::Exception,
            base: 7,
            program_counter: 128,
            stack_pointer: CallerStackPointer::Saved(152),
            saved: &[
                SavedRegisters { dwarf: 15, offset: 0, count: 1 },
                SavedRegisters { dwarf: 14, offset: 8, count: 1 },
                SavedRegisters { dwarf: 13, offset: 16, count: 1 },
                SavedRegisters { dwarf: 12, offset: 24, count: 1 },
                SavedRegisters { dwarf: 6, offset: 32, count: 1 },
                SavedRegisters { dwarf: 3, offset: 40, count: 1 },
                SavedRegisters { dwarf: 10, offset: 56, count: 1 },
            ],
            user_mode: None,
            marker: None,
        },
        // save_mcount_regs of arch/x86/kernel/ftrace_64.S: the same, of which it fills in a part.
        AssemblyFrame {
            labels: &["ftrace_caller", "ftrace_regs_caller"],
            kind: AssemblyKind::FunctionTracer,
            base: 7,
            program_counter: 128,
            stack_pointer: CallerStackPointer::Saved(152),
            saved: &[SavedRegisters { dwarf: 6, offset: 32, count: 1 }],
            user_mode: None,
            marker: None,
        },
    ],
    // copy_user_64.S, clear_page_64.S, getuser.S, putuser.S, memcpy_64.S and memset_64.S of arch/x86/lib; copy_user_*
    // and clear_user_* up to 6.3.
    leaves: &[
        "copy_user_enhanced_fast_string",
        "copy_user_generic_string",
        "copy_user_generic_unrolled",
        "rep_movs_alternative",
        "clear_user_original",
        "clear_user_rep_good",
        "clear_user_erms",
        "rep_stos_alternative",
        "__get_user_1",
        "__get_user_2",
        "__get_user_4",
        "__get_user_8",
        "__get_user_nocheck_1",
        "__get_user_nocheck_2",
        "__get_user_nocheck_4",
        "__get_user_nocheck_8",
        "__put_user_1",
        "__put_user_2",
        "__put_user_4",
        "__put_user_8",
        "__put_user_nocheck_1",
        "__put_user_nocheck_2",
        "__put_user_nocheck_4",
        "__put_user_nocheck_8",
        "clear_page_orig",
        "clear_page_rep",
        "clear_page_erms",
        "copy_page",
        "memcpy_orig",
        "memset_orig",
    ],
    // call_on_stack of arch/x86/include/asm/irq_stack.h. In 6.2 to 6.14 the pointer is in pcpu_hot
    // (arch/x86/include/asm/current.h).
    switched_stacks: &[
        SwitchedStack { pointer: KernelPointer::PerCpu(&["hardirq_stack_ptr"]), top: 0 },
        SwitchedStack {
            pointer: KernelPointer::PerCpuField { structure: "pcpu_hot", field: "hardirq_stack_ptr" },
            top: 0,
        },
    ],
    stack_before: StackBefore::Pointer,
    // ORC has a row for each instruction (arch/x86/kernel/unwind_orc.c).
    perf_finds_callers: true,
    // __SYSCALL_DEFINEx of arch/x86/include/asm/syscall_wrapper.h.
    syscall_prefix: Some("__x64_"),
    // arch/x86/entry/entry_64.S, entry_64_compat.S and arch/x86/kernel/head_64.S. Up to 6.6 `ret_from_fork`
    // is the assembly code, since then a C function that `ret_from_fork_asm` calls.
    entries: &[
        "entry_SYSCALL_64_after_hwframe",
        "entry_SYSCALL_64_safe_stack",
        "entry_SYSCALL_64",
        "entry_SYSCALL_compat_after_hwframe",
        "entry_SYSENTER_compat_after_hwframe",
        "entry_INT80_compat",
        "asm_int80_emulation",
        "ret_from_fork",
        "ret_from_fork_asm",
        "common_startup_64",
        "secondary_startup_64",
        "secondary_startup_64_no_verify",
    ],
    // arch/x86/kernel/ftrace_64.S.
    plumbing: &[
        "ftrace_caller",
        "ftrace_caller_op_ptr",
        "ftrace_call",
        "ftrace_graph_call",
        "ftrace_regs_caller",
        "ftrace_regs_call",
        "ftrace_stub",
        "ftrace_trampoline",
        "ftrace_graph_caller",
        "return_to_handler",
    ],
};

//! 64-bit IBM Z: Debian's s390x.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage,
    KernelPointer, Nic, RegisterGroup, RegisterMapping, SavedBit, SavedRegisters, StackBefore, StepOver,
    StubRegisters, SwitchedStack, debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "s390x",
    qemu: "qemu-system-s390x",
    qemu_package: "qemu-system-misc",
    machine: "s390-ccw-virtio",
    // By itself the board takes a model without what Debian's kernels are compiled for. Without the vector
    // facility: since 6.9 TCP's checksums are summed with VCKSM, which QEMU 7.2 gets wrong.
    cpu: "max,vx=off",
    kvm: None,
    big_endian: true,
    // SCLP's VT220 terminal; ttyS0 is the one that works by lines (drivers/s390/char).
    console: "ttyS1",
    nic: Nic::Device("virtio-net-ccw"),
    rng: "virtio-rng-ccw",
    // LEGACY_KERN_PARM_AREA_SIZE of QEMU's hw/s390x/ipl.c, less the final zero.
    cmdline_bytes: 895,
    // The parameter area says where the initramfs is.
    initrd_parameter_bytes: 0,
    memory_mib_max: 255 << 10,
    parameters: &[],
    icount_shift: debian::ICOUNT_SHIFT,
    timer_start: None,
    options: &[debian::console("SCLP_VT220_CONSOLE", &["TTY", "SCLP_VT220_TTY"]), debian::NIC_OPTION],
    cold_because: None,
    // arch/s390/boot/head.S.
    image: KernelImage::Own { path: "arch/s390/boot/bzImage", offset: 0x1_0008, magic: b"S390EP" },
    image_prefix: debian::IMAGE_PREFIX,
    // Since 6.10 (setup_kernel_memory_layout() of arch/s390/boot/startup.c, with nokaslr).
    image_base: Some("KERNEL_IMAGE_BASE"),
    kbuild: "s390",
    config: &["S390"],
    triplet: "s390x-linux-gnu",
    debian: Some("s390x"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross"],
    // EM_S390.
    elf_machine: 22,
    relocations: &[],
    local_entries: false,
    word_bytes: 8,
    // Kernel and user space have an address space each: addresses alone do not tell them apart.
    kernel_from: 1,
    // S390_lowcore (arch/s390/include/asm/lowcore.h), at address 0 of each processor.
    task: Some(KernelPointer::At { structure: "lowcore", field: "current_task" }),
    // gdb/s390x-core64.xml: the PSW's mask and address, r0 to r15. r6 to r15 outlive a call.
    registers: StubRegisters {
        described: false,
        groups: &[RegisterGroup { count: 18, bytes: 8 }],
        program_counter: 1,
        unwinding: &[RegisterMapping { dwarf: 6, stub: 8, count: 10 }],
        arguments: &[4, 5, 6, 7, 8],
    },
    // What functions begin with: z/Architecture Principles of Operation, chapter 7.
    step_over: StepOver {
        bytes: 8,
        instructions: &[
            (0xff0f_f000_00ff_0000, 0xeb0f_f000_0024_0000, GoesOn::Behind(6)), // STMG %rX,%r15,D(%r15)
            (0xffff_0000_0000_0000, 0xc004_0000_0000_0000, GoesOn::Nop(6)), // BRCL 0: ftrace's no-operation
            (0xffff_0000_0000_0000, 0xb904_0000_0000_0000, GoesOn::Behind(4)), // LGR
        ],
        trap_vector: None,
        // The masks of I/O and of external interruptions in the PSW (chapter 4).
        interrupts: Some(InterruptBits { register: 0, bits: 0x0300_0000_0000_0000, set: true }),
    },
    // THREAD_SIZE of arch/s390/include/asm/thread_info.h, without KASAN.
    kernel_stack: 16 << 10,
    // s390x ELF ABI supplement, "DWARF Register Number Mapping": r15 and r14.
    stack_pointer: 15,
    // s390x ELF ABI supplement: the register save area is the caller's.
    cfa_bias: 160,
    return_address: 14,
    assembly: &[
        // arch/s390/kernel/entry.S: above the register save area, of 160 bytes, a struct pt_regs with the PSW
        // at 8 and the general registers at 24 (arch/s390/include/asm/ptrace.h). PSW_MASK_PSTATE tells of
        // user space.
        AssemblyFrame {
            labels: &["pgm_check_handler", "io_int_handler", "ext_int_handler"],
            kind: AssemblyKind::Exception,
            base: 15,
            program_counter: 176,
            stack_pointer: CallerStackPointer::Saved(304),
            saved: &[SavedRegisters { dwarf: 6, offset: 232, count: 9 }],
            user_mode: Some(SavedBit { offset: 168, mask: 1 << 48 }),
            marker: None,
        },
        // ftrace_regs_entry of arch/s390/kernel/mcount.S: the same, of which it fills in a part.
        AssemblyFrame {
            labels: &["ftrace_common"],
            kind: AssemblyKind::FunctionTracer,
            base: 15,
            program_counter: 176,
            stack_pointer: CallerStackPointer::Saved(304),
            saved: &[SavedRegisters { dwarf: 14, offset: 296, count: 1 }],
            user_mode: None,
            marker: None,
        },
    ],
    // arch/s390/kernel/entry.S: the idle task waits for an interrupt in it.
    leaves: &["psw_idle"],
    // call_on_stack of arch/s390/include/asm/stacktrace.h, which writes the back chain of a stack's first
    // frame, the last word of its struct stack_frame. In front of that, above the top, the called function
    // saves its registers.
    switched_stacks: &[SwitchedStack {
        pointer: KernelPointer::At { structure: "lowcore", field: "async_stack" },
        top: 0,
    }],
    stack_before: StackBefore::BackChain(152),
    perf_finds_callers: false,
    // __SYSCALL_DEFINEx of arch/s390/include/asm/syscall_wrapper.h.
    syscall_prefix: Some("__s390x_"),
    // arch/s390/kernel/entry.S and head64.S. arch_call_rest_init() of setup.c begins the stack of the idle
    // task and does not return.
    entries: &[
        "system_call",
        "ret_from_fork",
        "kernel_thread_starter",
        "startup_continue",
        // perf's names of the same place, since 6.10 the first of all.
        "_text",
        "_stext",
        "arch_call_rest_init",
        "smp_start_secondary",
    ],
    // arch/s390/kernel/mcount.S.
    plumbing: &[
        "ftrace_caller",
        "ftrace_regs_caller",
        "ftrace_caller_common",
        "ftrace_common",
        "ftrace_graph_caller",
        "ftrace_graph_caller_end",
        "ftrace_shared_hotpatch_trampoline_br",
        "ftrace_shared_hotpatch_trampoline_exrl",
        "ftrace_stub",
        "return_to_handler",
    ],
};

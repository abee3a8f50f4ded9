//! 32-bit Arm: Debian's armhf.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage,
    KernelPointer, RegisterGroup, RegisterMapping, SavedRegisters, StackBefore, StepOver, StubRegisters,
    debian,
};

/// The row.
pub(super) const ROW: ArchRow = ArchRow {
    name: "armhf",
    qemu: "qemu-system-arm",
    qemu_package: "qemu-system-arm",
    machine: "virt",
    // With the large physical addresses that the kernels are built for.
    cpu: "cortex-a15",
    kvm: None,
    big_endian: false,
    console: "ttyAMA0",
    nic: debian::NIC,
    rng: debian::RNG,
    // COMMAND_LINE_SIZE (arch/arm/include/uapi/asm/setup.h), less the final zero.
    cmdline_bytes: 1023,
    // The device tree says where the initramfs is.
    initrd_parameter_bytes: 0,
    // Below 4 GiB, from where the memory begins (hw/arm/virt.c).
    memory_mib_max: 3072,
    parameters: &[],
    icount_shift: debian::ICOUNT_SHIFT,
    timer_start: None,
    options: &[
        debian::console("SERIAL_AMBA_PL011_CONSOLE", &["TTY", "ARM_AMBA", "SERIAL_AMBA_PL011"]),
        debian::NIC_OPTION,
        debian::PCI_OPTION,
    ],
    cold_because: None,
    // _magic_sig of arch/arm/boot/compressed/head.S.
    image: KernelImage::Own { path: "arch/arm/boot/zImage", offset: 0x24, magic: b"\x18\x28\x6f\x01" },
    image_prefix: debian::IMAGE_PREFIX,
    image_base: None,
    kbuild: "arm",
    config: &["ARM"],
    triplet: "arm-linux-gnueabihf",
    debian: Some("armhf"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
    // EM_ARM.
    elf_machine: 40,
    relocations: &[],
    local_entries: false,
    word_bytes: 4,
    // MODULES_VADDR of arch/arm/include/asm/memory.h: 16 MiB below PAGE_OFFSET, which is 3 GiB in Debian's
    // kernels.
    kernel_from: 0xbf00_0000,
    // TPIDRURO has it in the kernel, which the stub does not tell at once; switch_to writes it here, too
    // (arch/arm/kernel/process.c, __entry_task).
    task: Some(KernelPointer::PerCpu(&["__entry_task"])),
    // gdb/arm-core.xml: r0 to r15. r4 to r11 and sp outlive a call.
    registers: StubRegisters {
        described: false,
        // Behind r15 those of the FPA, which QEMU does not have, and cpsr.
        groups: &[
            RegisterGroup { count: 16, bytes: 4 },
            RegisterGroup { count: 8, bytes: 12 },
            RegisterGroup { count: 2, bytes: 4 },
        ],
        program_counter: 15,
        unwinding: &[
            RegisterMapping { dwarf: 4, stub: 4, count: 8 },
            RegisterMapping { dwarf: 13, stub: 13, count: 2 },
        ],
        arguments: &[0, 1, 2, 3],
    },
    // What functions begin with: ARM Architecture Reference Manual, ARMv7-A, A8.8.
    step_over: StepOver {
        bytes: 4,
        instructions: &[
            (0xffff_0000, 0xe92d_0000, GoesOn::Behind(4)), // PUSH {registers}
            (0xffff_ffff, 0xe52d_e004, GoesOn::Behind(4)), // PUSH {LR}
            (0xffff_ffff, 0xe1a0_0000, GoesOn::Nop(4)),    // MOV R0, R0: ftrace's NOP
            (0xffff_ffff, 0xe320_f000, GoesOn::Nop(4)),    // NOP
            (0xffff_ffff, 0xe1a0_c00d, GoesOn::Behind(4)), // MOV IP, SP
        ],
        trap_vector: None,
        interrupts: Some(InterruptBits { register: 25, bits: 1 << 7, set: false }), // I of CPSR
    },
    // THREAD_SIZE_ORDER of arch/arm/include/asm/thread_info.h.
    kernel_stack: 8 << 10,
    // DWARF for the Arm Architecture, 4.1: r13 and r14.
    stack_pointer: 13,
    cfa_bias: 0,
    return_address: 14,
    assembly: &[
        // svc_entry and usr_entry of arch/arm/kernel/entry-armv.S: a struct pt_regs at the stack pointer, r0 to
        // r15 (arch/arm/include/uapi/asm/ptrace.h).
        AssemblyFrame {
            labels: &[
                "__dabt_svc",
                "__fiq_svc",
                "__irq_svc",
                "__pabt_svc",
                "__und_svc",
                "__dabt_usr",
                "__fiq_usr",
                "__irq_usr",
                "__pabt_usr",
                "__und_usr",
            ],
            kind: AssemblyKind::Exception,
            base: 13,
            program_counter: 60,
            stack_pointer: CallerStackPointer::Saved(52),
            saved: &[
                SavedRegisters { dwarf: 4, offset: 16, count: 8 },
                SavedRegisters { dwarf: 14, offset: 56, count: 1 },
            ],
            user_mode: None,
            marker: None,
        },
        // `mcount_enter` of arch/arm/kernel/entry-ftrace.S: r0 to r3 and the place; in front of that the return address
        // that the traced function has pushed.
        AssemblyFrame {
            labels: &["ftrace_caller", "ftrace_call", "ftrace_graph_call"],
            kind: AssemblyKind::FunctionTracer,
            base: 13,
            program_counter: 16,
            stack_pointer: CallerStackPointer::Above(24),
            saved: &[SavedRegisters { dwarf: 14, offset: 20, count: 1 }],
            user_mode: None,
            marker: None,
        },
        // arch/arm/lib/call_with_stack.S with CONFIG_UNWINDER_ARM: r11 and the return address where r11 points.
        AssemblyFrame {
            labels: &["call_with_stack"],
            kind: AssemblyKind::StackSwitch,
            base: 11,
            program_counter: 4,
            stack_pointer: CallerStackPointer::Above(8),
            saved: &[SavedRegisters { dwarf: 11, offset: 0, count: 1 }],
            user_mode: None,
            marker: None,
        },
    ],
    // arch/arm/mm/proc-v7.S, where the idle task waits for an interrupt; getuser.S and putuser.S of arch/arm/lib.
    leaves: &[
        "cpu_v7_do_idle",
        "__get_user_1",
        "__get_user_2",
        "__get_user_4",
        "__get_user_8",
        "__put_user_1",
        "__put_user_2",
        "__put_user_4",
        "__put_user_8",
    ],
    switched_stacks: &[],
    stack_before: StackBefore::Pointer,
    perf_finds_callers: false,
    syscall_prefix: None,
    // arch/arm/kernel/entry-common.S and head.S. What the first is the first of has a name, too
    // (asm/sections.h).
    entries: &[
        "ret_fast_syscall",
        "__ret_fast_syscall",
        "__entry_text_start",
        // At the same address, where nothing is in front of it (arch/arm/kernel/vmlinux.lds.S).
        "__idmap_text_end",
        "__sys_trace_return",
        "vector_swi",
        "ret_from_fork",
        "__mmap_switched",
        // It jumps there.
        "start_kernel",
        // entry-armv.S: from user space.
        "__dabt_usr",
        "__fiq_usr",
        "__irq_usr",
        "__pabt_usr",
        "__und_usr",
    ],
    // arch/arm/kernel/entry-ftrace.S.
    plumbing: &[
        "__gnu_mcount_nc",
        "ftrace_caller",
        "ftrace_call",
        "ftrace_graph_call",
        "ftrace_regs_caller",
        "ftrace_regs_call",
        "ftrace_graph_regs_call",
        "ftrace_stub",
        "return_to_handler",
    ],
};

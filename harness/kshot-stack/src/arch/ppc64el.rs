//! 64-bit POWER, little-endian: Debian's ppc64el.

use super::{
    ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage,
    KernelPointer, Marker, RegisterGroup, RegisterMapping, SavedBit, SavedRegisters, StackBefore, StepOver,
    StubRegisters, SwitchedStack, UPPER_HALF, debian,
};

/// An exception's frame: a struct pt_regs so far above the stack pointer (__GEN_COMMON_BODY of
/// arch/powerpc/kernel/exceptions-64s.S, arch/powerpc/include/asm/ptrace.h), with the general registers from
/// 0, NIP at 256, MSR at 264 and the link register at 288; and, so far above, STACK_FRAME_REGS_MARKER. The
/// labels are what EXC_COMMON_BEGIN and GEN_COMMON make.
macro_rules! exception {
    ($regs:literal, $marker:literal) => {
        AssemblyFrame {
            labels: &[
                "alignment_common*",
                "data_access_common*",
                "data_access_slb_common*",
                "decrementer_common*",
                "doorbell_super_common*",
                "emulation_assist_common*",
                "facility_unavailable_common*",
                "fp_unavailable_common*",
                "h_virt_irq_common*",
                "hardware_interrupt_common*",
                "instruction_access_common*",
                "instruction_access_slb_common*",
                "performance_monitor_common*",
                "program_check_common*",
                "single_step_common*",
                "soft_nmi_common*",
                "system_reset_common*",
            ],
            kind: AssemblyKind::Exception,
            base: 1,
            program_counter: $regs + 256,
            stack_pointer: CallerStackPointer::Saved($regs + 8),
            saved: &[
                SavedRegisters { dwarf: 14, offset: $regs + 14 * 8, count: 18 },
                SavedRegisters { dwarf: 65, offset: $regs + 288, count: 1 },
            ],
            // MSR_PR.
            user_mode: Some(SavedBit { offset: $regs + 264, mask: 1 << 14 }),
            marker: Some(Marker { offset: $marker, value: 0x5347_4552 }),
        }
    };
}

/// The top of a stack that call_do_softirq() or call_do_irq() of arch/powerpc/kernel/irq.c switches to, where
/// they leave the stack pointer: so far above its beginning.
macro_rules! switched {
    ($pointer:literal, $top:expr) => {
        SwitchedStack { pointer: KernelPointer::Variable($pointer), top: $top }
    };
}

/// The smallest stack of a 64-bit kernel: CONFIG_THREAD_SHIFT is 14 in Debian's 6.1, and 15 in its 6.12.
const KERNEL_STACK: u64 = 16 << 10;

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
    image_base: None,
    kbuild: "powerpc",
    config: &["PPC64", "CPU_LITTLE_ENDIAN"],
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
            RegisterMapping { dwarf: 1, stub: 1, count: 1 },
            RegisterMapping { dwarf: 14, stub: 14, count: 18 },
            RegisterMapping { dwarf: 65, stub: 35, count: 1 },
        ],
        arguments: &[3, 4, 5, 6, 7, 8, 9, 10],
    },
    // What functions begin with: Power ISA, book I, chapter 3; book III, chapter 4.
    step_over: StepOver {
        bytes: 4,
        instructions: &[
            (0xffff_ffff, 0x6000_0000, GoesOn::Nop(4)),    // NOP
            (0xffff_ffff, 0x7c08_02a6, GoesOn::Behind(4)), // MFLR r0
            (0xffff_0000, 0x3c4c_0000, GoesOn::Behind(4)), // ADDIS r2, r12, imm
            (0xffff_0000, 0x3842_0000, GoesOn::Behind(4)), // ADDI r2, r2, imm
            (0xffff_0003, 0xf821_0001, GoesOn::Behind(4)), // STDU r1, imm(r1)
            (0xffff_0003, 0xf801_0000, GoesOn::Behind(4)), // STD r0, imm(r1)
        ],
        trap_vector: None,
        interrupts: Some(InterruptBits { register: 33, bits: 1 << 15, set: true }), // MSR[EE]
    },
    kernel_stack: KERNEL_STACK as usize,
    // Power Architecture 64-Bit ELF V2 ABI, "DWARF Register Number Mapping": r1 and LR.
    stack_pointer: 1,
    cfa_bias: 0,
    return_address: 65,
    // STACK_FRAME_OVERHEAD up to 6.1; STACK_INT_FRAME_REGS since 6.2.
    assembly: &[
        exception!(112, 96),
        exception!(48, 32),
        // ftrace_regs_entry of arch/powerpc/kernel/trace/ftrace_entry.S of 6.12: a struct pt_regs, with zero for MSR
        // where not all registers are saved, and with the traced function's return address, which is in r0 at the
        // call, for the link register.
        AssemblyFrame {
            labels: &["ftrace_call", "ftrace_caller"],
            kind: AssemblyKind::FunctionTracer,
            base: 1,
            program_counter: 48 + 256,
            stack_pointer: CallerStackPointer::Saved(48 + 8),
            saved: &[SavedRegisters { dwarf: 65, offset: 48 + 288, count: 1 }],
            user_mode: None,
            marker: Some(Marker { offset: 48 + 264, value: 0 }),
        },
    ],
    // hvCall.S of arch/powerpc/platforms/pseries, where the idle task waits for an interrupt; copyuser_64.S,
    // string_64.S and mem_64.S of arch/powerpc/lib.
    leaves: &["plpar_hcall_norets_notrace", "__copy_tofrom_user_base", "__arch_clear_user", "memset"],
    // THREAD_SIZE less STACK_FRAME_OVERHEAD up to 6.1, less STACK_FRAME_MIN_SIZE since 6.2.
    switched_stacks: &[
        switched!("softirq_ctx", KERNEL_STACK - 112),
        switched!("hardirq_ctx", KERNEL_STACK - 112),
        switched!("softirq_ctx", KERNEL_STACK - 32),
        switched!("hardirq_ctx", KERNEL_STACK - 32),
        switched!("softirq_ctx", 2 * KERNEL_STACK - 32),
        switched!("hardirq_ctx", 2 * KERNEL_STACK - 32),
    ],
    // 64-bit ELF V2 ABI, 2.2.3.1: back chain, CR, LR and TOC pointer.
    stack_before: StackBefore::Header(32),
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
        // exceptions-64s.S: from user space.
        "alignment_common_virt",
        "data_access_common_virt",
        "data_access_slb_common_virt",
        "decrementer_common_virt",
        "doorbell_super_common_virt",
        "emulation_assist_common_virt",
        "facility_unavailable_common_virt",
        "fp_unavailable_common_virt",
        "hardware_interrupt_common_virt",
        "instruction_access_common_virt",
        "instruction_access_slb_common_virt",
        "performance_monitor_common_virt",
        "program_check_common_virt",
        "single_step_common_virt",
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

//! What both byte orders of MIPS64 share: QEMU's board malta, the registers, and the kernel's own labels.

use super::{
    AssemblyFrame, AssemblyKind, CallerStackPointer, GoesOn, InterruptBits, KernelImage, KernelOption,
    KernelPointer, Nic, RegisterGroup, RegisterMapping, RegisterToggle, SavedRegisters, StepOver,
    StubRegisters, TimerStart,
};

/// QEMU's board.
pub(super) const MACHINE: &str = "malta";
/// By itself malta takes a 32-bit CPU, on which a 64-bit kernel hangs without a word.
pub(super) const CPU: &str = "MIPS64R2-generic";
/// The card that malta's slot 11 is wired for.
pub(super) const NIC: Nic = Nic::OnBoard("pcnet");
/// Malta's kernel knows the interrupt lines of slots 10 to 12 and 18 to 21 only
/// (arch/mips/pci/fixup-malta.c); 11 is the network card's.
pub(super) const RNG: &str = "virtio-rng-pci,addr=0x12";
/// ENVP_ENTRY_SIZE of QEMU's hw/mips/malta.c, less the final zero.
pub(super) const CMDLINE_BYTES: usize = 255;
/// What QEMU adds for the initramfs (hw/mips/malta.c): "rd_start=0x" and 16 digits, " rd_size=" and at most 9
/// digits, and a space.
pub(super) const INITRD_PARAMETER_BYTES: usize = 46;
/// What malta's memory map holds below the PCI hole and above it.
pub(super) const MEMORY_MIB_MAX: u32 = 2048;
/// use_softirq: MIPS handles a kprobe with interrupts on, and a softirq of RCU that reaps a task there
/// (kprobe_flush_task) forgets the running kprobe, so that the break after its single step is an oops. In
/// RCU's own thread it cannot come in between. Kernels without SMP have no such thread.
pub(super) const PARAMETERS: &[&str] = &["rcutree.use_softirq=0"];
/// What QEMU's malta has, by the kernel's drivers (arch/mips/mti-malta, drivers/net/ethernet/amd/pcnet32.c).
pub(super) const OPTIONS: &[KernelOption] = &[
    KernelOption::of_board("MIPS_MALTA", &[], "QEMU's board is a Malta"),
    KernelOption::of_board("64BIT", &[], "the guest's programs are 64-bit ones"),
    KernelOption::of_board(
        "SERIAL_8250_CONSOLE",
        &["TTY", "SERIAL_8250"],
        "it drives the board's console, ttyS0",
    ),
    KernelOption {
        name: "PCNET32",
        with: &["PCI", "NETDEVICES", "ETHERNET", "NET_VENDOR_AMD"],
        because: "it drives the board's network card, pcnet",
        is_for_nic: true,
    },
    // Under EXPERT 5.10 turns it off, and init dies of SIGILL.
    KernelOption::of_board("MIPS_FP_SUPPORT", &[], "the guest's programs use the FPU"),
];
/// 16 ns an instruction: about what the emulated CPU takes.
pub(super) const ICOUNT_SHIFT: u8 = 4;
/// QEMU saves the counter and the value that it is compared with, but not the timer between them
/// (target/mips/sysemu/cp0_timer.c): a guest whose next tick was near would wait for it until the counter
/// comes round. Stopping and starting the counter, bit DC of the register Cause, sets the timer anew. Cause
/// is register 36 of gdb's (gdb/features/mips64-cp0.xml).
pub(super) const TIMER_START: TimerStart = TimerStart::Toggle(RegisterToggle { register: 36, bit: 27 });
/// The bootloader that QEMU stands in for takes ELF files (hw/mips/malta.c).
pub(super) const IMAGE: KernelImage = KernelImage::Elf;
/// Debian's kernel is an ELF file that unpacks itself (`vmlinuz`) or a plain one (`vmlinux`).
pub(super) const IMAGE_PREFIX: &str = "vmlinu";
/// EM_MIPS.
pub(super) const ELF_MACHINE: u16 = 8;
/// With pages of 4 KiB.
pub(super) const KERNEL_STACK: usize = 16 << 10;
/// `$sp`.
pub(super) const STACK_POINTER: u16 = 29;
/// `$ra`.
pub(super) const RETURN_ADDRESS: u16 = 31;

/// Entries and plumbing of MIPS, from
/// `arch/mips/kernel/{scall64-n64,scall64-n32,scall64-o32,entry,mcount}.S`.
pub(super) const ENTRIES: &[&str] = &[
    "handle_sys64",
    "handle_sysn32",
    "handle_sys",
    "syscall_common",
    "syscall_trace_entry",
    "n64_syscall_exit",
    "n32_syscall_exit",
    "o32_syscall_exit",
    "syscall_exit", // where a new task leaves schedule_tail for
    "work_resched", // preempted, or handling signals, on the way back to user space
    "work_notifysig",
    "ret_from_kernel_thread",
    "ret_from_fork",
    "kernel_entry",
    "start_kernel",
];
/// The kernel keeps a pointer to the running task's thread_info in $gp
/// (`arch/mips/include/asm/thread_info.h`).
pub(super) const TASK: KernelPointer =
    KernelPointer::Field { register: 28, structure: "thread_info", field: "task" };
/// $0 to $31 have the numbers that DWARF gives them; $16 to $23, $gp, $sp, $fp and $ra outlive a call, and $4
/// to $11 pass arguments (n64). Then come Status, LO, HI, BadVAddr, Cause and the program counter, and those
/// of the floating-point unit (target/mips/gdbstub.c).
pub(super) const REGISTERS: StubRegisters = StubRegisters {
    described: false,
    groups: &[RegisterGroup { count: 73, bytes: 8 }],
    program_counter: 37,
    unwinding: &[
        RegisterMapping { dwarf: 16, stub: 16, count: 8 },
        RegisterMapping { dwarf: 28, stub: 28, count: 4 },
    ],
    arguments: &[4, 5, 6, 7, 8, 9, 10, 11],
};
/// Opcodes of the MIPS64 manual, volume II-A, table A.2 and following.
pub(super) const STEP_OVER: StepOver = StepOver {
    bytes: 4,
    instructions: &[
        (0xffff_ffff, 0, GoesOn::Nop(4)),              // NOP
        (0xfc00_003f, 0x0000_000d, GoesOn::Trap),      // BREAK: a kprobe's
        (0xf800_0000, 0x0800_0000, GoesOn::Elsewhere), // J, JAL
        (0xfc00_0000, 0x0400_0000, GoesOn::Elsewhere), // REGIMM: branches and traps
        (0xf000_0000, 0x1000_0000, GoesOn::Elsewhere), // BEQ, BNE, BLEZ, BGTZ
        (0xf000_0000, 0x5000_0000, GoesOn::Elsewhere), // the same, likely
        (0xf000_0000, 0x4000_0000, GoesOn::Elsewhere), // coprocessors: Status, DI, EI, ERET, branches
        (0xfc00_003e, 0x0000_0008, GoesOn::Elsewhere), // JR, JALR
        (0xfc00_003e, 0x0000_000c, GoesOn::Elsewhere), // SYSCALL, BREAK
        (0, 0, GoesOn::Behind(4)),
    ],
    trap_vector: Some(("ebase", 0x180)), // arch/mips/kernel/traps.c, `set_handler(0x180, &except_vec3_generic, ..)`
    interrupts: Some(InterruptBits { register: 32, bits: 1, set: true }), // Status.IE
};
/// The assembly code that saves a `struct pt_regs`, with EPC at 296 and the registers first
/// (arch/mips/include/asm/ptrace.h).
pub(super) const ASSEMBLY: &[AssemblyFrame] = &[
    // `MCOUNT_SAVE_REGS` of `arch/mips/kernel/mcount.S`: with the place in $31 and, because the traced
    // function calls `_mcount` with its own return address in $at, that in $1.
    AssemblyFrame {
        labels: &["ftrace_caller", "ftrace_call", "ftrace_graph_call"],
        kind: AssemblyKind::FunctionTracer,
        base: STACK_POINTER,
        program_counter: 31 * 8,
        stack_pointer: CallerStackPointer::Above(304),
        saved: &[SavedRegisters { dwarf: RETURN_ADDRESS, offset: 8, count: 1 }],
        user_mode: None,
        marker: None,
    },
    // `handle_int` of `arch/mips/kernel/genex.S` calls the handler on the interrupt's own stack and keeps the
    // stack pointer from before in $17. Its CFI counts on from the stack pointer.
    AssemblyFrame {
        labels: &["handle_int"],
        kind: AssemblyKind::Exception,
        base: 17,
        program_counter: EPC,
        stack_pointer: CallerStackPointer::Saved(29 * 8),
        saved: INTERRUPTED,
        user_mode: None,
        marker: None,
    },
    // `__BUILD_HANDLER` of `arch/mips/kernel/genex.S`, which has no CFI, and `tlb_do_page_fault` of
    // `arch/mips/mm/tlbex-fault.S`, whose CFI has one place for what was interrupted and for its return address.
    AssemblyFrame {
        labels: &[
            "tlb_do_page_fault_0",
            "tlb_do_page_fault_1",
            "handle_adel*",
            "handle_ades*",
            "handle_bp*",
            "handle_cpu*",
            "handle_dbe*",
            "handle_fpe*",
            "handle_ibe*",
            "handle_ov*",
            "handle_ri*",
            "handle_tr*",
        ],
        kind: AssemblyKind::Exception,
        base: STACK_POINTER,
        program_counter: EPC,
        stack_pointer: CallerStackPointer::Saved(29 * 8),
        saved: INTERRUPTED,
        user_mode: None,
        marker: None,
    },
];
/// The offset of EPC in a `struct pt_regs`, in bytes.
const EPC: i64 = 296;
/// $16 to $23, $28 to $31.
const INTERRUPTED: &[SavedRegisters] = &[
    SavedRegisters { dwarf: 16, offset: 16 * 8, count: 8 },
    SavedRegisters { dwarf: 28, offset: 28 * 8, count: 4 },
];
/// memcpy.S, memset.S, strncpy_user.S and strnlen_user.S of `arch/mips/lib`.
pub(super) const LEAVES: &[&str] = &[
    "__raw_copy_from_user",
    "__raw_copy_to_user",
    "memcpy",
    "__rmemcpy",
    "__bzero",
    "memset",
    "__strncpy_from_user_asm",
    "__strnlen_user_asm",
];
pub(super) const PLUMBING: &[&str] = &[
    "ftrace_caller",
    "ftrace_call",
    "ftrace_graph_call",
    "ftrace_stub",
    "_mcount",
    "ftrace_regs_caller",
    "return_to_handler",
    "kprobe_handler",
];

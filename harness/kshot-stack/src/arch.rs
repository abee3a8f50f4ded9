//! The architectures, one row each. Nothing else in kshot asks which architecture it is on.

use serde::{Deserialize, Serialize};

/// A guest architecture, by the name that the catalogue and the result document use.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// MIPS64, big-endian, n64.
    Mips64,
    /// MIPS64, little-endian, n64.
    Mips64el,
}

/// The assembly code between a traced function and the function tracer, which has no DWARF. It saves the traced
/// function's registers at its stack pointer.
#[derive(Debug)]
pub struct Trampoline {
    /// The trampoline's labels, each of which the symbol table lists as a function.
    pub labels: &'static [&'static str],
    /// The offset from the stack pointer, in bytes, of the saved program counter in the traced function.
    pub place: u64,
    /// The offset from the stack pointer, in bytes, of the traced function's own return address.
    pub caller: u64,
    /// The size of the trampoline's stack frame in bytes.
    pub size: u64,
}

/// How to find the current task (`current`), as data: evaluating the same as a C expression would make gdb read the
/// symbol tables of a whole kernel.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CurrentTask {
    /// The register that points to the structure.
    pub register: &'static str,
    /// The structure's type.
    pub structure: &'static str,
    /// The structure's field that points to the current task.
    pub field: &'static str,
}

/// Everything that differs between architectures.
#[derive(Debug)]
pub struct ArchRow {
    /// The name in catalogue, CLI and documents.
    pub name: &'static str,
    /// The QEMU binary.
    pub qemu: &'static str,
    /// The Debian package with the QEMU binary.
    pub qemu_package: &'static str,
    /// The value of QEMU's `-machine`.
    pub machine: &'static str,
    /// The value of QEMU's `-cpu`.
    pub cpu: &'static str,
    /// Whether the architecture is big-endian.
    pub big_endian: bool,
    /// The device named in the kernel's `console=` parameter.
    pub console: &'static str,
    /// The QEMU network card model that the kernels have a driver for.
    pub nic: &'static str,
    /// The QEMU `-device` of the random number generator, in a PCI slot whose interrupt line the board has wired.
    pub rng: &'static str,
    /// The longest kernel command line, in bytes, that the board's firmware passes on; it silently truncates the rest.
    pub cmdline_bytes: usize,
    /// The value of kbuild's `ARCH=`.
    pub kbuild: &'static str,
    /// The GNU triplet; `CROSS_COMPILE=` is the triplet and a dash.
    pub triplet: &'static str,
    /// Debian's name of the architecture, `None` where Debian has no such port.
    pub debian: Option<&'static str>,
    /// The Debian packages with the cross compiler and its C library, the compiler first.
    pub cross_packages: &'static [&'static str],
    /// The value of `e_machine` in an ELF header.
    pub elf_machine: u16,
    /// How to find the current task.
    pub task: CurrentTask,
    /// The registers that unwinding needs besides the program counter.
    pub registers: &'static [(u16, &'static str)],
    /// The size and alignment of a kernel stack in bytes (`THREAD_SIZE`).
    pub kernel_stack: u64,
    /// The DWARF number of the stack pointer.
    pub stack_pointer: u16,
    /// The DWARF number of the register that a call leaves its return address in.
    pub return_address: u16,
    /// The trampoline of the function tracer.
    pub trampoline: Trampoline,
    /// Functions that a complete stack ends in: system-call entries, kernel-thread entries and the boot path, with
    /// every name that one address may have.
    pub entries: &'static [&'static str],
    /// Labels of the tracers' own code, which count neither for nor against a stack.
    pub plumbing: &'static [&'static str],
}

/// Entries and plumbing of MIPS, from `arch/mips/kernel/{scall64-n64,scall64-n32,scall64-o32,entry,mcount}.S`.
const MIPS_ENTRIES: &[&str] = &[
    "handle_sys64",
    "handle_sysn32",
    "handle_sys",
    "syscall_common",
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
/// The kernel keeps a pointer to the running task's thread_info in $gp (`arch/mips/include/asm/thread_info.h`).
const MIPS_TASK: CurrentTask = CurrentTask { register: "gp", structure: "struct thread_info", field: "task" };
const MIPS_REGISTERS: &[(u16, &str)] = &[
    (16, "s0"),
    (17, "s1"),
    (18, "s2"),
    (19, "s3"),
    (20, "s4"),
    (21, "s5"),
    (22, "s6"),
    (23, "s7"),
    (28, "gp"),
    (29, "sp"),
    (30, "s8"),
    (31, "ra"),
];
/// `MCOUNT_SAVE_REGS` of `arch/mips/kernel/mcount.S`: a `struct pt_regs` with the place in $31 and, because the traced
/// function calls `_mcount` with its own return address in $at, that in $1.
const MIPS_TRAMPOLINE: Trampoline = Trampoline {
    labels: &["ftrace_caller", "ftrace_call", "ftrace_graph_call"],
    place: 31 * 8,
    caller: 8,
    size: 304,
};
const MIPS_PLUMBING: &[&str] = &[
    "ftrace_caller",
    "ftrace_call",
    "ftrace_graph_call",
    "ftrace_stub",
    "_mcount",
    "ftrace_regs_caller",
    "return_to_handler",
    "kprobe_handler",
];

const ROWS: [(Arch, ArchRow); 2] = [
    (
        Arch::Mips64,
        ArchRow {
            name: "mips64",
            qemu: "qemu-system-mips64",
            qemu_package: "qemu-system-mips",
            machine: "malta",
            cpu: "MIPS64R2-generic",
            big_endian: true,
            console: "ttyS0",
            nic: "pcnet",
            // Malta's kernel knows the interrupt lines of slots 10 to 12 and 18 to 21 only
            // (arch/mips/pci/fixup-malta.c); 11 is the network card's.
            rng: "virtio-rng-pci,addr=0x12",
            // ENVP_ENTRY_SIZE of QEMU's hw/mips/malta.c, less the final zero.
            cmdline_bytes: 255,
            kbuild: "mips",
            triplet: "mips64-linux-gnuabi64",
            debian: None,
            cross_packages: &["gcc-mips64-linux-gnuabi64", "libc6-dev-mips64-cross"],
            elf_machine: 8,
            task: MIPS_TASK,
            registers: MIPS_REGISTERS,
            kernel_stack: 16 << 10, // with pages of 4 KiB
            stack_pointer: 29,
            return_address: 31,
            trampoline: MIPS_TRAMPOLINE,
            entries: MIPS_ENTRIES,
            plumbing: MIPS_PLUMBING,
        },
    ),
    (
        Arch::Mips64el,
        ArchRow {
            name: "mips64el",
            qemu: "qemu-system-mips64el",
            qemu_package: "qemu-system-mips",
            machine: "malta",
            cpu: "MIPS64R2-generic",
            big_endian: false,
            console: "ttyS0",
            nic: "pcnet",
            rng: "virtio-rng-pci,addr=0x12",
            cmdline_bytes: 255,
            kbuild: "mips",
            triplet: "mips64el-linux-gnuabi64",
            debian: Some("mips64el"),
            cross_packages: &["gcc-mips64el-linux-gnuabi64", "libc6-dev-mips64el-cross"],
            elf_machine: 8,
            task: MIPS_TASK,
            registers: MIPS_REGISTERS,
            kernel_stack: 16 << 10, // with pages of 4 KiB
            stack_pointer: 29,
            return_address: 31,
            trampoline: MIPS_TRAMPOLINE,
            entries: MIPS_ENTRIES,
            plumbing: MIPS_PLUMBING,
        },
    ),
];

impl Arch {
    /// Every architecture, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|(arch, _)| *arch)
    }

    /// The architecture's row of the table.
    pub fn row(self) -> &'static ArchRow {
        let [big, little] = &ROWS;
        match self {
            Self::Mips64 => &big.1,
            Self::Mips64el => &little.1,
        }
    }

    /// The architecture of an ELF file's header: `e_machine` and whether it is big-endian.
    pub fn of_elf(machine: u16, big_endian: bool) -> Option<Self> {
        Self::all().find(|arch| arch.row().elf_machine == machine && arch.row().big_endian == big_endian)
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

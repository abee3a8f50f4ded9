//! The architectures, one file each. Nothing else in kshot asks which architecture it is on. A new one is a
//! file with a `ROW`, its `mod`, and its line in `architectures!`.

mod arm64;
mod debian; // what architectures share whose kernels are Debian's
mod armhf;
mod mips; // what both byte orders of MIPS64 share
mod mips64;
mod mips64el;
mod ppc64el;
mod riscv64;
mod s390x;
mod step_over;
mod x86_64;

use std::ops::Range;

pub use debian::INDEX_OF_ALL;
use serde::{Deserialize, Serialize};
pub use step_over::{GoesOn, InterruptBits, StepOver};

/// Makes [`Arch`] and its rows out of the table: a name, and the module with its `ROW`.
macro_rules! architectures {
    ($($(#[$attribute:meta])* $arch:ident => $module:ident,)*) => {
        /// A guest architecture, by the name that the catalogue and the result document use.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "lowercase")]
        pub enum Arch {
            $($(#[$attribute])* $arch,)*
        }

        impl Arch {
            const ALL: &[Self] = &[$(Self::$arch,)*];

            /// The row of the architecture.
            pub fn row(self) -> &'static ArchRow {
                match self {
                    $(Self::$arch => const { &$module::ROW },)*
                }
            }
        }
    };
}

architectures! {
    /// MIPS64, big-endian, n64.
    Mips64 => mips64,
    /// MIPS64, little-endian, n64.
    Mips64el => mips64el,
    /// 64-bit Arm, little-endian.
    Arm64 => arm64,
    /// 64-bit x86.
    #[serde(rename = "x86-64")]
    X8664 => x86_64,
    /// 64-bit RISC-V.
    Riscv64 => riscv64,
    /// 64-bit IBM Z, big-endian.
    S390x => s390x,
    /// 64-bit POWER, little-endian.
    Ppc64el => ppc64el,
    /// 32-bit Arm with hardware floating point, little-endian.
    Armhf => armhf,
}

/// Where the kernel begins on 64-bit architectures that give user space the lower half.
const UPPER_HALF: u64 = 1 << 63;

/// What QEMU's `-kernel` takes.
#[derive(Debug)]
pub enum KernelImage {
    /// The ELF file `vmlinux`. Its header names the architecture.
    Elf,
    /// A file in a format of the architecture's own.
    Own {
        /// Where kbuild puts it, below the build folder: `arch/x86/boot/bzImage`.
        path: &'static str,
        /// The offset of `magic` in the file, in bytes.
        offset: usize,
        /// What tells the format.
        magic: &'static [u8],
    },
}

/// The board where KVM runs the guest.
#[derive(Clone, Copy, Debug)]
pub struct KvmBoard {
    /// The architecture of hosts that can do it, as Rust names it (`std::env::consts::ARCH`).
    pub host: &'static str,
    /// The value of QEMU's `-machine`.
    pub machine: &'static str,
    /// The value of QEMU's `-cpu`.
    pub cpu: &'static str,
}

/// The network card.
#[derive(Debug)]
pub enum Nic {
    /// A model in the slot that the board has for it (QEMU's `-nic`).
    OnBoard(&'static str),
    /// A card that is added (QEMU's `-device`), with its properties.
    Device(&'static str),
}

/// Assembly code whose caller DWARF does not tell, and where it saves the caller's registers.
#[derive(Debug)]
pub struct AssemblyFrame {
    /// The functions or labels, as the symbol table lists them; `handle_bp*` stands for all that begin so.
    pub labels: &'static [&'static str],
    /// What the code is for.
    pub kind: AssemblyKind,
    /// The DWARF number of the register that all offsets count from.
    pub base: u16,
    /// The offset of the saved program counter in bytes.
    pub program_counter: i64,
    /// The stack pointer of what called or was interrupted.
    pub stack_pointer: CallerStackPointer,
    /// The other saved registers that unwinding may need.
    pub saved: &'static [SavedRegisters],
    /// What of the saved registers says that user space was interrupted; `None` where the program counter
    /// says it.
    pub user_mode: Option<SavedBit>,
    /// What says that the registers are saved here; `None` where they are nowhere else.
    pub marker: Option<Marker>,
}

/// What assembly code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssemblyKind {
    /// A traced function calls it, and it the function tracer.
    FunctionTracer,
    /// An exception or interrupt leads to it from anywhere: the saved program counter is no return address.
    Exception,
    /// It calls a function on another stack.
    StackSwitch,
}

/// Where a stack pointer is found.
#[derive(Clone, Copy, Debug)]
pub enum CallerStackPointer {
    /// It is saved at this offset, in bytes.
    Saved(i64),
    /// It is the base plus so many bytes.
    Above(i64),
}

/// Saved registers that follow each other, a word each.
#[derive(Clone, Copy, Debug)]
pub struct SavedRegisters {
    /// DWARF's number of the first.
    pub dwarf: u16,
    /// The offset of the first in bytes.
    pub offset: i64,
    /// How many there are.
    pub count: u16,
}

/// A relocation in the DWARF of modules that is this architecture's own.
#[derive(Clone, Copy, Debug)]
pub struct OwnRelocation {
    /// Its number.
    pub number: u32,
    /// How many bits it changes, the lowest.
    pub bits: u8,
    /// What is done with them.
    pub operation: RelocationOperation,
}

/// What a relocation does with the value of its symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationOperation {
    /// It takes the place of what is there.
    Set,
    /// It is added to what is there.
    Add,
    /// It is subtracted from what is there.
    Subtract,
}

/// What a stack that C code switches to holds of the one from before.
#[derive(Clone, Copy, Debug)]
pub enum StackBefore {
    /// The word at the top is the stack pointer.
    Pointer,
    /// The same, in the header of a frame of so many bytes, where functions save their return address.
    Header(u64),
    /// A back chain, so many bytes above the top: the stack pointer that the function which switches was
    /// called with.
    BackChain(u64),
}

/// A word of a known value.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    /// Its offset in bytes.
    pub offset: i64,
    /// Its value.
    pub value: u64,
}

/// A stack that C code switches to.
#[derive(Clone, Copy, Debug)]
pub struct SwitchedStack {
    /// What points to it.
    pub pointer: KernelPointer,
    /// How far above where that points the top is, in bytes.
    pub top: u64,
}

/// A bit of a saved word.
#[derive(Clone, Copy, Debug)]
pub struct SavedBit {
    /// The offset of the word in bytes.
    pub offset: i64,
    /// The bit.
    pub mask: u64,
}

/// Where the running kernel keeps a pointer.
#[derive(Clone, Copy, Debug)]
pub enum KernelPointer {
    /// In a register.
    Register(usize),
    /// In a structure that a register points to.
    Field {
        /// The number of the register in QEMU's gdb stub.
        register: usize,
        /// The structure's name.
        structure: &'static str,
        /// The structure's field.
        field: &'static str,
    },
    /// In the first of these variables that the kernel has, or at its beginning; each processor has its own
    /// (`include/linux/percpu-defs.h`).
    PerCpu(&'static [&'static str]),
    /// In a field of a variable that each processor has, which has the name of its structure.
    PerCpuField {
        /// The variable's name, and the structure's.
        structure: &'static str,
        /// The structure's field.
        field: &'static str,
    },
    /// In a variable, or in its first element, which is the first processor's.
    Variable(&'static str),
    /// In a structure that each processor has at address 0.
    At {
        /// The structure's name.
        structure: &'static str,
        /// The structure's field.
        field: &'static str,
    },
}

/// What starts the timer of a restored machine, done through QEMU's gdb stub.
#[derive(Clone, Copy, Debug)]
pub enum TimerStart {
    /// A bit of a register is set and cleared.
    Toggle(RegisterToggle),
    /// A register of a device is written with the value that it holds.
    Rewrite(DeviceRegister),
}

/// A bit of a register.
#[derive(Clone, Copy, Debug)]
pub struct RegisterToggle {
    /// The register's number among gdb's.
    pub register: usize,
    /// The bit; 0 is the least significant.
    pub bit: u32,
}

/// A register of a device of the board.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRegister {
    /// The physical address.
    pub address: u64,
    /// The size in bytes.
    pub bytes: usize,
}

/// A kernel option that the board of an architecture needs, all names without `CONFIG_`.
#[derive(Clone, Copy, Debug)]
pub struct KernelOption {
    /// The option.
    pub name: &'static str,
    /// The options that it depends on.
    pub with: &'static [&'static str],
    /// What needs it.
    pub because: &'static str,
    /// Whether the guest has no network card without it.
    pub is_for_nic: bool,
}

impl KernelOption {
    /// One that the network card does without.
    const fn of_board(name: &'static str, with: &'static [&'static str], because: &'static str) -> Self {
        Self { name, with, because, is_for_nic: false }
    }
}

/// The registers as QEMU's gdb stub numbers them in its answer to `g` (target/*/gdbstub.c).
#[derive(Clone, Copy, Debug)]
pub struct StubRegisters {
    /// Whether the stub is asked for their description first, as gdb does. It may answer otherwise then.
    pub described: bool,
    /// All that the answer may hold, in its order.
    pub groups: &'static [RegisterGroup],
    /// The number of the program counter.
    pub program_counter: usize,
    /// The registers that unwinding needs besides the program counter.
    pub unwinding: &'static [RegisterMapping],
    /// The registers that pass the arguments of a function, in their order.
    pub arguments: &'static [usize],
}

/// Registers of one size that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct RegisterGroup {
    /// How many there are.
    pub count: usize,
    /// The size of each in bytes.
    pub bytes: usize,
}

/// Which registers of the stub are which of DWARF's: some that follow each other in both numberings.
#[derive(Clone, Copy, Debug)]
pub struct RegisterMapping {
    /// DWARF's number of the first.
    pub dwarf: u16,
    /// The stub's number of the first.
    pub stub: usize,
    /// How many there are.
    pub count: u16,
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
    /// The board under KVM; `None` where kshot runs guests by QEMU's own translation alone.
    pub kvm: Option<KvmBoard>,
    /// Whether the architecture is big-endian.
    pub big_endian: bool,
    /// The device named in the kernel's `console=` parameter.
    pub console: &'static str,
    /// The network card, which the kernels have a driver for.
    pub nic: Nic,
    /// The QEMU `-device` of the random number generator.
    pub rng: &'static str,
    /// The longest kernel command line, in bytes, that the board's firmware passes on; it silently truncates
    /// the rest.
    pub cmdline_bytes: usize,
    /// What QEMU adds to the kernel's command line for the initramfs, in bytes; 0 where it passes it
    /// otherwise.
    pub initrd_parameter_bytes: usize,
    /// The most memory that the board takes, in MiB.
    pub memory_mib_max: u32,
    /// Kernel parameters that guests of this architecture need.
    pub parameters: &'static [&'static str],
    /// An instruction takes 2 to this power nanoseconds where the guest's clock goes by them (`-icount
    /// shift=`).
    pub icount_shift: u8,
    /// What starts the timer of a restored machine, where QEMU does not restore it.
    pub timer_start: Option<TimerStart>,
    /// The kernel options that the board needs.
    pub options: &'static [KernelOption],
    /// Why no state of a guest is saved; `None` where QEMU restores them.
    pub cold_because: Option<&'static str>,
    /// The kernel image that is booted.
    pub image: KernelImage,
    /// How the names of kernels begin in Debian's packages, below `boot`.
    pub image_prefix: &'static str,
    /// The option with how far the kernel is moved at boot from where its `vmlinux` is linked, without
    /// `CONFIG_`; `None` where it runs where it is linked.
    pub image_base: Option<&'static str>,
    /// The value of kbuild's `ARCH=`.
    pub kbuild: &'static str,
    /// The options, without `CONFIG_`, that are `y` in a `.config` of this architecture, in one of no other.
    pub config: &'static [&'static str],
    /// The GNU triplet; `CROSS_COMPILE=` is the triplet and a dash.
    pub triplet: &'static str,
    /// Debian's name of the architecture, `None` where Debian has no such port.
    pub debian: Option<&'static str>,
    /// The suite of Debian whose busybox and dropbear the guest runs; `None` where they are built here.
    pub userland_suite: Option<&'static str>,
    /// The Debian packages with the cross compiler and its C library, the compiler first.
    pub cross_packages: &'static [&'static str],
    /// The value of `e_machine` in an ELF header.
    pub elf_machine: u16,
    /// Relocations besides those of an address that is written.
    pub relocations: &'static [OwnRelocation],
    /// Whether the `st_other` of a function's symbol says where all of its callers enter
    /// ([`ArchRow::entry_offset`]).
    pub local_entries: bool,
    /// The size of an address in bytes.
    pub word_bytes: usize,
    /// The lowest address that can be the kernel's.
    pub kernel_from: u64,
    /// The pointer to the current task (`current`); `None` where the truth cannot be had yet.
    pub task: Option<KernelPointer>,
    /// The registers in QEMU's gdb stub.
    pub registers: StubRegisters,
    /// How to leave a breakpoint.
    pub step_over: StepOver,
    /// The size and alignment of a kernel stack in bytes (`THREAD_SIZE`).
    pub kernel_stack: usize,
    /// The DWARF number of the stack pointer.
    pub stack_pointer: u16,
    /// How far the canonical frame address of DWARF lies above the caller's stack pointer, in bytes.
    pub cfa_bias: u64,
    /// The DWARF number of the return address: of a register that a call leaves it in, or of a column of its own
    /// where it is on the stack.
    pub return_address: u16,
    /// The assembly code that truths lead through.
    pub assembly: &'static [AssemblyFrame],
    /// Assembly code without call frame information that leaves the stack pointer and the return address
    /// where they are.
    pub leaves: &'static [&'static str],
    /// The stacks that C code switches to.
    pub switched_stacks: &'static [SwitchedStack],
    /// What is saved there of the stack from before.
    pub stack_before: StackBefore,
    /// Whether the kernel's perf finds the caller of a function that is at its first instruction. Else its
    /// stacks of probes cannot stand in for the truth.
    pub perf_finds_callers: bool,
    /// What stands before `sys_` in the names of functions that implement system calls, besides `__se_`
    /// (`include/linux/syscalls.h`).
    pub syscall_prefix: Option<&'static str>,
    /// Functions that a complete stack ends in: system-call entries, kernel-thread entries and the boot path,
    /// with every name that one address may have.
    pub entries: &'static [&'static str],
    /// Labels of the tracers' own code, which count neither for nor against a stack.
    pub plumbing: &'static [&'static str],
}

impl AssemblyFrame {
    /// The lowest offset of all that is saved, in bytes; 0 where everything lies above the base.
    pub fn lowest_offset(&self) -> i64 {
        let stack_pointer = match self.stack_pointer {
            CallerStackPointer::Saved(offset) => offset,
            CallerStackPointer::Above(_) => 0,
        };
        let saved = self.saved.iter().map(|saved| saved.offset);
        saved.chain([self.program_counter, stack_pointer]).fold(0, i64::min)
    }
}

impl KernelImage {
    /// The name that kbuild gives the image.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Elf => "vmlinux",
            Self::Own { path, .. } => path.rsplit_once('/').map_or(*path, |(_, name)| name),
        }
    }
}

impl Arch {
    /// Every architecture, in table order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    /// The architecture of an ELF file's header: `e_machine` and whether it is big-endian.
    pub fn of_elf(machine: u16, big_endian: bool) -> Option<Self> {
        Self::all().find(|arch| arch.row().elf_machine == machine && arch.row().big_endian == big_endian)
    }

    /// The architecture of a kernel image that is not an ELF file, from its first bytes.
    pub fn of_image(bytes: &[u8]) -> Option<Self> {
        Self::all().find(|arch| match arch.row().image {
            KernelImage::Elf => false,
            KernelImage::Own { offset, magic, .. } => {
                bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic))
            }
        })
    }
}

impl StackBefore {
    /// How far above the top the word is, in bytes.
    pub fn offset(self) -> u64 {
        match self {
            Self::Pointer | Self::Header(_) => 0,
            Self::BackChain(offset) => offset,
        }
    }

    /// How much of the stack lies above the top, in bytes.
    pub fn bytes(self, row: &ArchRow) -> u64 {
        let word = row.word_bytes as u64;
        match self {
            Self::Pointer => word,
            Self::Header(bytes) => bytes,
            Self::BackChain(offset) => offset + word,
        }
    }
}

impl RegisterMapping {
    /// DWARF's number of each register and the stub's.
    pub fn numbers(self) -> impl Iterator<Item = (u16, usize)> {
        (self.dwarf..).zip(self.stub..).take(self.count.into())
    }
}

impl StubRegisters {
    /// Where a register is in the answer, in bytes; `None` for one that the answer does not hold.
    pub fn range(&self, number: usize) -> Option<Range<usize>> {
        let (mut left, mut start) = (number, 0);
        for RegisterGroup { count, bytes } in self.groups {
            if left < *count {
                let at = start + left * bytes;
                return Some(at..at + bytes);
            }
            (left, start) = (left - count, start + count * bytes);
        }
        None
    }
}

impl AssemblyFrame {
    fn has(&self, symbol: &str) -> bool {
        self.labels.iter().any(|label| match label.strip_suffix('*') {
            Some(beginning) => symbol.starts_with(beginning),
            None => symbol == *label,
        })
    }
}

impl ArchRow {
    /// Whether an address can be the kernel's.
    pub fn in_kernel(&self, address: u64) -> bool {
        address >= self.kernel_from
    }

    /// How many bytes behind a function's address all of its callers come by, from its symbol's `st_other`.
    /// Only those with another table of contents execute the bytes before (64-bit ELF V2 ABI, 3.4.1, "Symbol
    /// Values").
    pub fn entry_offset(&self, st_other: u8) -> u64 {
        if self.local_entries { (1 << (st_other >> 5)) & !3 } else { 0 }
    }

    /// The assembly code that a symbol belongs to: one, or as many as there are places where kernels save
    /// its caller's registers.
    pub fn assembly_frames<'a>(&'a self, symbol: &str) -> impl Iterator<Item = &'a AssemblyFrame> {
        self.assembly.iter().filter(move |frame| frame.has(symbol))
    }

    /// Whether an exception or interrupt leads to the code of a symbol.
    pub fn is_exception(&self, symbol: &str) -> bool {
        self.assembly_frames(symbol).any(|frame| frame.kind == AssemblyKind::Exception)
    }

    /// Whether a call leaves its return address on the stack, and not in a register.
    pub fn call_pushes(&self) -> bool {
        let mut registers = self.registers.unwinding.iter().flat_map(|mapping| mapping.numbers());
        registers.all(|(number, _)| number != self.return_address)
    }

    /// The number in some bytes of the guest's memory, eight at the most.
    pub fn number(&self, bytes: &[u8]) -> u64 {
        let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.big_endian {
            true => bytes.iter().fold(0, append),
            false => bytes.iter().rev().fold(0, append),
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

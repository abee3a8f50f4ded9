//! The description of a machine, and its exact QEMU command line. Pure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use kshot_stack::arch::{Arch, Nic};

/// The socket of QEMU's monitor, relative to the private folder that QEMU runs in: a full path could exceed
/// the 108 bytes of `sun_path`.
pub(super) const MONITOR: &str = "qmp.sock";

/// The socket of a second monitor, in the same folder, which tells when the guest stops at a breakpoint.
pub(super) const STOPS: &str = "stops.sock";

/// The socket of QEMU's gdb stub, in the same folder.
pub(super) const GDB: &str = "gdb.sock";

/// The id of QEMU's memory backend object.
const MEMORY: &str = "memory";

/// A machine to be booted. All paths are absolute, because QEMU runs in a folder of its own.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// The architecture.
    pub arch: Arch,
    /// The kernel image, in the format that QEMU's `-kernel` takes.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Kernel parameters beyond those that the machine needs, in order.
    pub cmdline: Vec<String>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest's clock counts instructions (QEMU's `-icount`). Otherwise a breakpoint that stops it
    /// thousands of times would use up its time: on a busy host each continue costs more than a tick.
    pub icount: bool,
    /// What runs the guest's code; KVM only where [`super::AcceleratorChoice::resolve`] says so.
    pub accelerator: Accelerator,
}

/// The storage of a machine's memory.
#[derive(Clone, Copy, Debug)]
pub enum Memory<'a> {
    /// Anonymous memory of QEMU: the machine's state cannot be saved.
    Anonymous,
    /// A shared mapping of this file: the machine's state can be saved ([`super::Machine::save`]).
    Saveable(&'a Path),
    /// A private mapping of this file of a saved state, which does not change: the machine copies the pages
    /// that it writes.
    Restored(&'a Path),
}

impl MachineSpec {
    /// QEMU's command line, the program first.
    pub fn argv(&self, memory: Memory<'_>) -> Vec<OsString> {
        let mut argv = vec![self.arch.row().qemu.into()];
        argv.extend(self.machine_args(memory));
        argv.extend(self.boot_args());
        argv.extend(console_args());
        argv.extend(monitor_args());
        argv.extend(gdb_args());
        argv.extend(self.clock_args());
        argv.extend(self.network_args());
        argv.extend(self.randomness_args());
        if matches!(memory, Memory::Restored(_)) {
            // The guest does not run until the monitor is told where the state is.
            argv.extend(strings(&["-incoming", "defer"]));
        }
        argv
    }

    /// The kernel's command line, without the parameters that QEMU adds for the initramfs.
    pub fn kernel_cmdline(&self) -> String {
        // oops=panic: after an oops a task is gone with all its locks, and whoever needs one of them hangs.
        // panic=-1: reboot at once after a panic, which `-no-reboot` turns into QEMU's end.
        // nokaslr: addresses are those of vmlinux, which symbols go by; and a relocated MIPS kernel cannot
        // handle a fault on user memory in 6.12, which perf's copies of user stacks run into.
        let console = format!("console={}", self.arch.row().console);
        let own = [console.as_str(), "oops=panic", "panic=-1", "nokaslr"];
        own.into_iter()
            .chain(self.arch.row().parameters.iter().copied())
            .chain(self.cmdline.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The longest [`Self::kernel_cmdline`] in bytes; the machine's firmware silently truncates the rest.
    pub fn cmdline_limit(&self) -> usize {
        self.arch.row().cmdline_bytes - self.arch.row().initrd_parameter_bytes
    }

    fn machine_args(&self, memory: Memory<'_>) -> Vec<OsString> {
        let row = self.arch.row();
        let kvm = row.kvm.filter(|_| self.accelerator == Accelerator::Kvm);
        let (board, cpu) = kvm.map_or((row.machine, row.cpu), |kvm| (kvm.machine, kvm.cpu));
        let mut args = strings(&[
            // Without the host's configuration files and QEMU's default devices, the machine is the same
            // everywhere.
            "-no-user-config",
            "-nodefaults",
            "-machine",
            &match memory {
                Memory::Anonymous => board.to_owned(),
                Memory::Saveable(_) | Memory::Restored(_) => {
                    format!("{board},memory-backend={MEMORY}")
                }
            },
            "-cpu",
            cpu,
            "-m",
            &self.memory_mib.to_string(),
            "-display",
            "none",
            // Without it malta wants the ROM of a cirrus card.
            "-vga",
            "none",
            // A guest that resets itself ends QEMU.
            "-no-reboot",
            // A guest that breaks out of QEMU gains no rights (seccomp), and starts no program where QEMU
            // itself need not: a saved guest's devices go through `cat`.
            "-sandbox",
            match memory {
                Memory::Anonymous => {
                    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
                }
                Memory::Saveable(_) | Memory::Restored(_) => {
                    "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny"
                }
            },
        ]);
        if kvm.is_some() {
            args.extend(strings(&["-accel", "kvm"]));
        }
        match memory {
            Memory::Anonymous => {}
            Memory::Saveable(file) => args.extend(self.memory_args(file, "on")),
            // A private mapping: pages that the guest writes are copied, pages that it only reads are shared.
            Memory::Restored(file) => args.extend(self.memory_args(file, "off")),
        }
        args
    }

    fn memory_args(&self, file: &Path, share: &str) -> [OsString; 2] {
        let mut object: OsString =
            format!("memory-backend-file,id={MEMORY},size={}M,share={share},mem-path=", self.memory_mib)
                .into();
        // In QEMU's options a comma within a value is written twice.
        object.push(file.to_string_lossy().replace(',', ",,"));
        ["-object".into(), object]
    }

    fn boot_args(&self) -> Vec<OsString> {
        vec![
            "-kernel".into(),
            self.kernel.clone().into(),
            "-initrd".into(),
            self.initrd.clone().into(),
            "-append".into(),
            self.kernel_cmdline().into(),
        ]
    }

    /// The clock: 16 ns an instruction. The kernel calibrates its CPU against the RTC, so the RTC has to use
    /// the same clock.
    fn clock_args(&self) -> Vec<OsString> {
        if self.icount {
            strings(&["-icount", &format!("shift={}", self.arch.row().icount_shift), "-rtc", "clock=vm"])
        } else {
            Vec::new()
        }
    }

    fn network_args(&self) -> Vec<OsString> {
        // restrict: the guest cannot reach the host's network. Port 0: the host's kernel picks a free port
        // and QMP reports it, so no other process can take it in between. Loopback: no other host reaches the
        // guest.
        const USER: &str = "restrict=on,hostfwd=tcp:127.0.0.1:0-:22";
        match self.arch.row().nic {
            // -nic rather than -device: the board knows the slot whose interrupt line works.
            Nic::OnBoard(model) => strings(&[
                "-nic",
                &format!("user,model={model},{USER}"),
                // Without this the card needs an iPXE ROM, which is a Debian package of its own.
                "-global",
                &format!("{model}.romfile="),
            ]),
            Nic::Device(card) => strings(&[
                "-netdev",
                &format!("user,id=net,{USER}"),
                "-device",
                &format!("{card},netdev=net"),
            ]),
        }
    }

    fn randomness_args(&self) -> Vec<OsString> {
        // The SSH server waits for the kernel's entropy, and this guest has no other source of it.
        strings(&["-device", self.arch.row().rng])
    }
}

/// The serial console, on QEMU's standard output, which is a pipe to kshot.
fn console_args() -> Vec<OsString> {
    // signal=off: a byte from the guest must not send a signal to QEMU.
    strings(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
}

fn monitor_args() -> Vec<OsString> {
    // QEMU connects to kshot: if kshot has died before setpriv(1) set the death signal, nobody listens and
    // QEMU exits. That closes the one gap of PR_SET_PDEATHSIG.
    strings(&["-qmp", &format!("unix:{MONITOR},server=off")])
}

/// The gdb stub and the second monitor. Unix sockets, because any local user could connect to a port. The
/// guest does not wait for a debugger.
fn gdb_args() -> Vec<OsString> {
    let socket = |name| format!("unix:{name},server=on,wait=off");
    strings(&["-gdb", &socket(GDB), "-qmp", &socket(STOPS)])
}

fn strings(args: &[&str]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(arch: Arch) -> MachineSpec {
        MachineSpec {
            arch,
            kernel: "/cache/kernels/a b,c/vmlinux".into(),
            initrd: "/cache/initramfs/1/initramfs".into(),
            cmdline: vec!["ftrace=function".into(), "ftrace_filter=register_netdevice".into()],
            memory_mib: 256,
            icount: false,
            accelerator: Accelerator::Tcg,
        }
    }

    fn shown(arch: Arch) -> String {
        let argv = spec(arch).argv(Memory::Anonymous);
        let words: Vec<_> = argv.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ").replace(" -", " \\\n  -")
    }

    #[test]
    fn argv_of_each_architecture_is_exactly_this() {
        for arch in Arch::all() {
            insta::assert_snapshot!(format!("argv_{arch}"), shown(arch));
        }
    }

    #[test]
    fn a_restored_machine_differs_in_whose_its_memory_is() {
        let words = |memory| spec(Arch::Mips64).argv(memory);
        let file = Path::new("/cache/a,b/memory");
        let (kept, restored) = (words(Memory::Saveable(file)), words(Memory::Restored(file)));
        let other: Vec<_> = restored.iter().filter(|word| !kept.contains(word)).collect();
        assert_eq!(
            other,
            [
                "memory-backend-file,id=memory,size=256M,share=off,mem-path=/cache/a,,b/memory",
                "-incoming",
                "defer"
            ]
        );
        let own = words(Memory::Anonymous);
        let other: Vec<_> = kept.iter().filter(|word| !own.contains(word)).collect();
        assert_eq!(
            other,
            [
                "malta,memory-backend=memory",
                "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny",
                "-object",
                "memory-backend-file,id=memory,size=256M,share=on,mem-path=/cache/a,,b/memory"
            ]
        );
    }

    #[test]
    fn under_kvm_the_board_has_the_hosts_processor() {
        let spec = MachineSpec { accelerator: Accelerator::Kvm, ..spec(Arch::Arm64) };
        let argv = spec.argv(Memory::Anonymous);
        for pair in [["-machine", "virt,gic-version=host"], ["-cpu", "host"], ["-accel", "kvm"]] {
            assert!(argv.windows(2).any(|words| words == pair), "{pair:?}");
        }
    }

    #[test]
    fn a_steady_clock_and_the_rtc_that_it_is_measured_against_go_together() {
        let argv = MachineSpec { icount: true, ..spec(Arch::Mips64) }.argv(Memory::Anonymous);
        let without = spec(Arch::Mips64).argv(Memory::Anonymous);
        let more: Vec<_> = argv.iter().filter(|word| !without.contains(word)).collect();
        assert_eq!(more, ["-icount", "shift=4", "-rtc", "clock=vm"]);
    }

    #[test]
    fn the_initramfs_parameters_leave_room_for_a_command_line() {
        let longest = "rd_start=0xffffffff80f00000 rd_size=123456789 ";
        assert_eq!(longest.len(), Arch::Mips64.row().initrd_parameter_bytes);
        for arch in [Arch::Mips64, Arch::Mips64el] {
            assert_eq!(spec(arch).cmdline_limit(), 255 - 46);
        }
        assert_eq!(spec(Arch::Arm64).cmdline_limit(), 2047, "the initramfs is not in the command line");
    }
}

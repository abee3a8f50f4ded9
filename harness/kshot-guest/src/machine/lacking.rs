//! The kernel options that a guest seems to lack if it did not come up, judged by its console.

use kshot_stack::arch::{ArchRow, KernelOption};

/// What is missing, by a text on the console: init/do_mounts.c, init/initramfs.c, init/main.c, fs/exec.c and
/// our own init.
const SAID: &[(&str, Lack)] = &[
    ("VFS: Unable to mount root fs", NO_INITRAMFS),
    ("couldn't execute it (error -8)", Lack::Options("CONFIG_BINFMT_ELF: its shell is an ELF program")),
    // The initramfs was unpacked; its contents are at fault, not an option.
    ("couldn't execute it (error", Lack::Nothing),
    // A kernel without block devices prints this: it has no root to try.
    ("No working init found", NO_INITRAMFS),
    (
        "compression method gzip not configured",
        Lack::Options("CONFIG_RD_GZIP: its initramfs is compressed with gzip"),
    ),
    (
        "Failed to execute /init (error -8)",
        Lack::Options("CONFIG_BINFMT_SCRIPT and CONFIG_BINFMT_ELF: its init is a shell script"),
    ),
    ("no network device", Lack::Nic),
];
const NO_INITRAMFS: Lack = Lack::Options("CONFIG_BLK_DEV_INITRD: its userland is an initramfs");

/// What a kernel lacks.
enum Lack {
    /// Kernel options, with the reasons.
    Options(&'static str),
    /// An option for the board's network card.
    Nic,
    /// No option that is known.
    Nothing,
}

/// The options that a kernel seems to lack, by a console's last lines; `None` where they name none.
pub(super) fn by_console<'a>(mut lines: impl Iterator<Item = &'a str>, row: &ArchRow) -> Option<String> {
    let (_, lack) = lines.find_map(|line| SAID.iter().find(|(words, _)| line.contains(words)))?;
    match lack {
        Lack::Options(options) => Some(format!("the kernel seems to lack {options}")),
        Lack::Nic => Some(one_of(row.options.iter().filter(|option| option.is_for_nic))),
        Lack::Nothing => None,
    }
}

/// The options for the board's console and network card, as a message.
pub(super) fn board(row: &ArchRow) -> String {
    one_of(row.options.iter())
}

fn one_of<'a>(options: impl Iterator<Item = &'a KernelOption>) -> String {
    let options: Vec<_> = options.map(|one| format!("CONFIG_{} ({})", one.name, one.because)).collect();
    let one_of = if options.len() > 1 { "one of " } else { "" };
    format!("the kernel may lack {one_of}{}", options.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_stack::arch::Arch;

    #[test]
    fn what_a_console_says_names_the_option_that_is_off() {
        let told = |line: &str| by_console(["before", line].into_iter(), Arch::Mips64.row());
        let line = "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
        assert!(told(line).unwrap().contains("CONFIG_BLK_DEV_INITRD"));
        let line = "[    0.9] Initramfs unpacking failed: compression method gzip not configured";
        assert!(told(line).unwrap().contains("CONFIG_RD_GZIP"));
        assert!(
            told("[    1.3] Failed to execute /init (error -8)").unwrap().contains("CONFIG_BINFMT_SCRIPT")
        );
        assert_eq!(
            told("kshot-guest: failed: no network device eth0").unwrap(),
            "the kernel may lack CONFIG_PCNET32 (it drives the board's network card, pcnet)"
        );
        let line = "[    0.4] Kernel panic - not syncing: No working init found.  Try passing init= option";
        assert!(told(line).unwrap().contains("CONFIG_BLK_DEV_INITRD"));
        let refused = |error: i32| {
            let before =
                format!("[    0.3] Starting init: /bin/sh exists but couldn't execute it (error {error})");
            by_console([before.as_str(), line].into_iter(), Arch::Mips64.row())
        };
        assert!(refused(-8).unwrap().contains("CONFIG_BINFMT_ELF"));
        assert_eq!(refused(-13), None, "the file has no mode for it: an initramfs was there");
        assert_eq!(told("[    1.2] Kernel panic - not syncing: Attempted to kill init!"), None);
    }
}
